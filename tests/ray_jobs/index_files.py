"""The files of a root's index, for tests that compare an index before and after."""

from ray_jobs.storage import object_listing, objects


def read_index_files(root: str) -> dict[str, bytes]:
    """The content of each file below the index, by key."""
    return {
        entry.key: objects.read(f"{root}/index/{entry.key}")
        for entry in object_listing.iterate_entries(f"{root}/index")
    }

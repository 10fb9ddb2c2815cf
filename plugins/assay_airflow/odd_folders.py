"""Remember the folders that are no complete checkpoint, so that the watcher opens them again only when they change.

`CheckpointPrefixTrigger` keeps the list in the triggerer's memory, so it opens each folder once more after a restart.
The trigger logs one line per folder and fault.
"""

from typing import NamedTuple

from ray_jobs.storage.odd_items import is_of_store, is_unexpected, refusal

MAX_TRIES = 2  # of a folder that raised an unexpected exception


class OddFolder(NamedTuple):
    listing: str
    tries: int
    why: str


class OddFolders:
    """The last fault of each folder that is no complete checkpoint, by name."""

    def __init__(self) -> None:
        self._folders: dict[str, OddFolder] = {}
        self.lines: list[str] = []

    def must_skip(self, name: str, listing: str) -> bool:
        """Whether the folder with this listing need not be opened."""
        folder = self._folders.get(name)
        return folder is not None and folder.listing == listing and folder.tries >= MAX_TRIES

    def add(self, name: str, listing: str, error: Exception, uri: str) -> None:
        """Note what the folder raised. A fault that may be the store's does not count as a try."""
        before = self._folders.get(name)
        tries = before.tries if before and before.listing == listing else 0
        why = refusal(f"checkpoint {uri}", error)
        if before is None or (before.listing, before.why) != (listing, why):
            self.lines.append(f"passed over: {why}")
        tries = 0 if is_of_store(error) else tries + 1 if is_unexpected(error) else MAX_TRIES
        self._folders[name] = OddFolder(listing, tries, why)

    def digests(self) -> dict[str, str]:
        """The digest of each folder's listing, by name."""
        return {name: folder.listing for name, folder in self._folders.items()}

    def take_lines(self) -> list[str]:
        """The log lines since the last call, one per folder and fault."""
        lines, self.lines = self.lines, []
        return lines

    def keep_only(self, names: set[str]) -> None:
        """Forget all folders but `names`."""
        self._folders = {name: odd for name, odd in self._folders.items() if name in names}

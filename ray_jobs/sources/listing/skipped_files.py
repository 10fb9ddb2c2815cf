"""Log in one line which files a listing skipped, so that nobody has to guess. Skipped files do not count as lost rows.

The sources call this while they list.
"""

import logging
from collections.abc import Iterator

from ray_jobs.dataset.source_files import ALL, Selection
from ray_jobs.storage import object_listing

log = logging.getLogger("assay")
EXAMPLES = 3


class SkippedFiles:
    """Counts the names that are not `wanted`, and keeps the first three."""

    def __init__(self, source: str, wanted: str) -> None:
        self.source, self.wanted = source, wanted
        self.count, self.examples = 0, list[str]()

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)

    def log(self) -> None:
        if self.count:
            some = ", ".join(self.examples) + (", ..." if self.count > EXAMPLES else "")
            log.info("dataset %s: passed over %d not named %s: %s", self.source, self.count, self.wanted, some)


def list_selected(selection: Selection) -> Iterator[object_listing.Entry]:
    """The files below a source that Assay reads. At the end, logs the skipped files and the choice of the split.

    Raises InputError at the end when the files are of several splits and the suite names no split.
    """
    for entry in object_listing.iterate_entries(selection.folder):
        if selection.takes(entry.key):
            yield entry
    selection.check()
    source, skipped = selection.folder, selection.skipped
    if skipped:
        some = ", ".join(skipped[:EXAMPLES]) + (", ..." if selection.count_skipped > EXAMPLES else "")
        count = selection.count_skipped
        log.info("dataset %s: passed over %d that data tools wrote for themselves: %s", source, count, some)
    for doubt in selection.doubts():
        log.warning("dataset %s: %s", source, doubt)
    if selection.split not in (None, ALL) and selection.count_chosen:
        log.info(
            "dataset %s: %d of %d files are of the split %s", source, selection.count_chosen, selection.count_data,
            selection.split,
        )  # fmt: skip

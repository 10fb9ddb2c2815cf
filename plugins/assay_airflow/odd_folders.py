"""Folders that the watcher found to be no whole checkpoint: not opened again until their listing changes.

In memory, because a triggerer that starts anew may well look once more. The trigger says one line for each.
"""

from typing import NamedTuple

from ray_jobs.storage.odd_items import is_of_store, is_unexpected, refusal

TRIES = 2  # of what failed in a way that nobody expected


class OddFolder(NamedTuple):
    listing: str
    tries: int
    why: str


class OddFolders:
    """What was noted of each odd folder by its name."""

    def __init__(self) -> None:
        self._noted: dict[str, OddFolder] = {}
        self.lines: list[str] = []

    def holds(self, name: str, listing: str) -> bool:
        """Whether the folder with this listing need not be opened."""
        noted = self._noted.get(name)
        return noted is not None and noted.listing == listing and noted.tries >= TRIES

    def add(self, name: str, listing: str, error: Exception, uri: str) -> None:
        """Note what the folder raised. What the store may be to blame for is forgotten at once."""
        before = self._noted.get(name)
        tries = before.tries if before and before.listing == listing else 0
        why = refusal(f"checkpoint {uri}", error)
        if before is None or (before.listing, before.why) != (listing, why):
            self.lines.append(f"passed over: {why}")
        tries = 0 if is_of_store(error) else tries + 1 if is_unexpected(error) else TRIES
        self._noted[name] = OddFolder(listing, tries, why)

    def take_lines(self) -> list[str]:
        """The lines since the last call: each fault of each folder is named once."""
        lines, self.lines = self.lines, []
        return lines

    def keep_only(self, names: set[str]) -> None:
        """Forget the folders that are gone."""
        self._noted = {name: odd for name, odd in self._noted.items() if name in names}

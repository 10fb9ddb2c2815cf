"""What a listing passes over, told in one line: a file that is no image is no loss, but nobody should have to guess."""

import logging

log = logging.getLogger("assay")
EXAMPLES = 3


class Leftovers:
    """Counts names that are not `wanted`, and keeps the first few."""

    def __init__(self, source: str, wanted: str) -> None:
        self.source, self.wanted = source, wanted
        self.count, self.examples = 0, list[str]()

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)

    def tell(self) -> None:
        if self.count:
            some = ", ".join(self.examples) + (", ..." if self.count > EXAMPLES else "")
            log.info("dataset %s: passed over %d not named %s: %s", self.source, self.count, self.wanted, some)

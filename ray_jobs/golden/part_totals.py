"""Add up the parts of a golden set, while the driver of `preprocess` collects them one by one."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ray_jobs.contract.artifacts import Part
from ray_jobs.storage import manifests

FACTS = ("repairs", "formats", "source_bytes", "bytes", "referenced", "labelled")


@dataclass
class PartTotals:
    """The parts of the golden set by name, and their facts. A part that is added again replaces the earlier entry."""

    parts: dict[str, Part] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> Part:
        """Add a part from its row, which `describe_part` returns. Returns the part."""
        part = Part.model_validate_json(row["part"])
        self.parts[part.name] = part
        self.facts[part.name] = {name: row[name] for name in FACTS}
        self.origins[row["origin"]] += 1
        self.seconds.update(json.loads(row["seconds"]))
        return part

    def list_parts(self) -> list[Part]:
        """The parts in the order of the golden set."""
        return [self.parts[name] for name in sorted(self.parts)]

    def count_lost(self) -> dict[str, int]:
        """The number of rejected images by reason."""
        return manifests.count_lost(self.parts.values())

    def sum_fact(self, fact: str) -> Any:
        """The sum of one of FACTS over all parts: a number, or a dict of counts by name."""
        values = [facts[fact] for facts in self.facts.values()]
        if isinstance(values[0], int):
            return sum(values)
        return dict(sorted(sum((Counter(json.loads(value)) for value in values), Counter[str]()).items()))

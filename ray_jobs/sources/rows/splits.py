"""Choose the rows of one split, when a column such as `split` names the split of each row.

Karpathy's files, tables and manifests have such a column.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.source_files import ALL, SPLIT_OF
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import printable
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import read_label

COLUMN = "split"
COLUMNS = (COLUMN, "split_name", "data_split", "set", "set_name", "subset", "partition", "phase")
MOST = 20  # the most values that are kept for a message


def split_column(names: Iterable[str]) -> str | None:
    """The likeliest of these columns to name splits, whatever its case; None without one.

    A column named `set` or `subset` may have another meaning. So RowSplits refuses nothing when its values are not
    splits.
    """
    lowered = {name.lower(): name for name in reversed(list(names))}
    return next((lowered[name] for name in COLUMNS if name in lowered), None)


def split_column_of_row(cells: Mapping[str, Any]) -> str:
    """The column that names the split of one row: `split`, or another of COLUMNS whose value is a word for a split."""
    column = split_column(cells)
    if column is None or (column.lower() != COLUMN and str(cells[column]).strip().lower() not in SPLIT_OF):
        return COLUMN
    return column


class RowSplits:
    """Chooses the rows of the suite's split. `where` names the file in errors."""

    def __init__(self, dataset: Dataset, where: str) -> None:
        self.split, self.where = dataset.split, where
        self.values: dict[str, None] = {}
        self.count = 0

    def takes(self, cell: Any) -> bool:
        """True if Assay reads a row with this cell in its split column."""
        value = _text(cell)
        if value is not None and len(self.values) < MOST:
            self.values[value] = None
        chosen = self.split in (None, ALL) or (value is not None and _is_same(value, str(self.split)))
        self.count += chosen
        return chosen

    def check(self) -> None:
        """Raise InputError when no row was of the split, or when rows of several splits would be mixed silently."""
        values = [printable(value, 40) for value in self.values]
        if self.split is None:
            if len({SPLIT_OF[value.lower()] for value in self.values if value.lower() in SPLIT_OF}) > 1:
                raise InputError(
                    f"dataset {self.where}: its rows are of the splits {', '.join(sorted(values))}; name the one to "
                    "use, `split: ...`, or write `split: all`"
                )
        elif not self.count:
            if not values:
                raise InputError(
                    f"dataset {self.where}: no split {self.split!r}: neither the names of its files nor a column "
                    "`split` tell splits; take `split` out, or name the files of the split in `source`"
                )
            raise InputError(f"dataset {self.where}: no split {self.split!r}{suggest(str(self.split), values)}")


def _is_same(value: str, split: str) -> bool:
    """True if two words mean the same split, for example `val` and `validation`."""
    value, split = value.lower(), split.lower()
    return value == split or (value in SPLIT_OF and SPLIT_OF[value] == SPLIT_OF.get(split))


def _text(cell: Any) -> str | None:
    try:
        return read_label(cell)
    except CellFault:
        return None

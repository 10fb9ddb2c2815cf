"""Rows that say of themselves, in a column `split`, which split they are of: a Karpathy file, a table, a manifest."""

from collections.abc import Iterable, Mapping
from typing import Any

from ray_jobs.contract.suite import Dataset
from ray_jobs.dataset.source_files import ALL, SPLIT_OF
from ray_jobs.inputs.errors import InputError, nearest
from ray_jobs.inputs.names import printable
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.values import read_label

COLUMN = "split"
COLUMNS = (COLUMN, "split_name", "data_split", "set", "set_name", "subset", "partition", "phase")
MOST = 20  # values that are kept for a message


def split_column(names: Iterable[str]) -> str | None:
    """The column of these that tells splits, the likeliest first, capitals aside; None for none.

    One that is called `set` or `subset` may hold something else: RowSplits refuses nothing whose values are no splits.
    """
    lowered = {name.lower(): name for name in reversed(list(names))}
    return next((lowered[name] for name in COLUMNS if name in lowered), None)


def split_column_of_row(cells: Mapping[str, Any]) -> str:
    """The column that tells the split of one row: `split`, or another of COLUMNS that holds the word for one."""
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
        """Whether a row with this cell in its column `split` is read."""
        value = _text(cell)
        if value is not None and len(self.values) < MOST:
            self.values[value] = None
        chosen = self.split in (None, ALL) or (value is not None and _is_same(value, str(self.split)))
        self.count += chosen
        return chosen

    def check(self) -> None:
        """Raise InputError where no row was of the split, and where rows of several splits would be mixed silently."""
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
            raise InputError(f"dataset {self.where}: no split {self.split!r}{nearest(str(self.split), values)}")


def _is_same(value: str, split: str) -> bool:
    """Whether two words mean one split: `val` is `validation`."""
    value, split = value.lower(), split.lower()
    return value == split or (value in SPLIT_OF and SPLIT_OF[value] == SPLIT_OF.get(split))


def _text(cell: Any) -> str | None:
    try:
        return read_label(cell)
    except CellFault:
        return None

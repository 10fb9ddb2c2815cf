"""Give names to labels. A raw label is the id of a class, or a key such as a WordNet id. A file may have the names.

Every source calls this, so that a label without a name is reported before any image is read.
"""

from collections.abc import Mapping

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.allowed_folders import refuse_system_path
from ray_jobs.dataset.label_tables import TABLE_BYTES, parse_label_table
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.texts import escape_unencodable
from ray_jobs.sources.cells.values import SEPARATOR
from ray_jobs.storage import objects

LabelNames = Mapping[str, str]


def read_label_names(dataset: Dataset) -> LabelNames | None:
    """Names by raw label from the file of `label_names`; None without such a file.

    `label_tables` says which forms the file may have. Raises InputError when the file has none of them.
    """
    if not (uri := dataset.label_names):
        return None
    refuse_system_path(uri, "label_names")
    try:
        text = objects.read(uri, at_most=TABLE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"label_names {uri}: no such file; check the URI") from None
    except UnicodeDecodeError as error:
        raise InputError(f"label_names {uri}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    names = parse_label_table(uri, text).names
    return {escape_unencodable(key): escape_unencodable(name) for key, name in names.items()}


def name_label(raw: str | None, names: LabelNames | None, dataset: Dataset) -> tuple[str | None, str | None]:
    """(name, id) of a raw label. Without names, the name is the raw label itself and the id is None.

    The names and ids of several labels are joined by commas. The class label -1 means that there is no label. Raises
    InputError when there are names, but no name for this label.
    """
    if raw is None:
        return None, None
    if SEPARATOR in raw:
        several = [name_label(label, names, dataset) for label in raw.split(SEPARATOR)]
        ids = ", ".join(label_id for _, label_id in several if label_id is not None)
        return ", ".join(name for name, _ in several if name is not None) or None, ids or None
    if names is None:
        return raw, None
    if raw == "-1" and not dataset.label_names:
        return None, raw
    if raw not in names:
        where = f"label_names {dataset.label_names}" if dataset.label_names else f"dataset {dataset.source}"
        examples = ", ".join(list(names)[:5])
        form = f", for example by a line `{raw} its name`" if dataset.label_names else ""
        remedy = f"it has {len(names)} ({examples}, ...): add it or correct it{form}"
        raise InputError(f"{where}: no name for label {raw!r}; {remedy}")
    return names[raw], raw

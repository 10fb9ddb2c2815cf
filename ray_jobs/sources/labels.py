"""Names for labels: a raw label is a class's id or a key such as a WordNet id, and a file may give the names."""

import json
from collections.abc import Mapping

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources.cells import SEPARATOR, printable
from ray_jobs.suite_files import TABLE_BYTES, refuse_system_path

Names = Mapping[str, str]


def label_names(dataset: Dataset) -> Names | None:
    """Name by raw label as the file of `label_names` has them, None without such a file.

    The file is a JSON object, or a JSON list or lines of text, numbered from 0. Raises BadInput when it is none.
    """
    if not (uri := dataset.label_names):
        return None
    refuse_system_path(uri, "label_names")
    try:
        text = storage.read(uri, at_most=TABLE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"label_names {uri}: no such file; check the URI") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"label_names {uri}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    found = _parsed(uri, text)
    pairs = found.items() if isinstance(found, dict) else ((str(number), name) for number, name in enumerate(found))
    names = {}
    for key, name in pairs:
        if not isinstance(name, str):
            raise BadInput(f"label_names {uri}: the name of {key!r} is not a text; write it as one")
        names[str(key)] = printable(name.strip())
    return names


def named(raw: str | None, names: Names | None, dataset: Dataset) -> tuple[str | None, str | None]:
    """Name and id of a raw label: the raw label itself and no id where there are no names.

    Those of several labels are joined by commas. Raises BadInput when there are names, but none for this label; -1 is
    how class labels say that there is none.
    """
    if raw is None:
        return None, None
    if SEPARATOR in raw:
        several = [named(label, names, dataset) for label in raw.split(SEPARATOR)]
        ids = ", ".join(label_id for _, label_id in several if label_id is not None)
        return ", ".join(name for name, _ in several if name is not None) or None, ids or None
    if names is None:
        return raw, None
    if raw == "-1" and not dataset.label_names:
        return None, raw
    if raw not in names:
        where = f"label_names {dataset.label_names}" if dataset.label_names else f"dataset {dataset.source}"
        some = ", ".join(list(names)[:5])
        raise BadInput(f"{where}: no name for label {raw!r}; it has {len(names)} ({some}, ...): add it or correct it")
    return names[raw], raw


def _parsed(uri: str, text: str) -> dict[str, object] | list[object]:
    if text.lstrip()[:1] not in ("[", "{"):
        return [line.strip() for line in text.splitlines()]
    try:
        found: dict[str, object] | list[object] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"label_names {uri}: not JSON: {error}; give a list, an object or lines of text") from None
    return found

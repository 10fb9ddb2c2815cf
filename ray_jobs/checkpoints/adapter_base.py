"""Find the base model of a LoRA adapter, from the adapter's config or from the suite.

`inspect` and the plugins call this module.
"""

import os
import posixpath

from ray_jobs.checkpoints import lora_config
from ray_jobs.checkpoints.config_files import read_json
from ray_jobs.checkpoints.errors import translates_errors
from ray_jobs.checkpoints.files import folders_of_bases, list_files
from ray_jobs.checkpoints.weights import is_adapter_folder
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import uris


@translates_errors
def is_adapter(uri: str) -> bool:
    """True if the folder holds an adapter, and not a whole model."""
    return is_adapter_folder(entry.key for entry in list_files(uri))


@translates_errors
def find_base(uri: str, base_model: str | None = None) -> str | None:
    """Return the URI of an adapter's base model, or None if the checkpoint is not an adapter.

    The base is the place that adapter_config.json names, if that is a URI or the absolute path of an existing
    directory. Otherwise it is `base_model`, from the suite. Raises InputError if neither is given. Raises InputError
    too if the adapter names a place that is not the suite's base, and not below its own parent folder,
    ASSAY_CHECKPOINTS or ASSAY_BASES, because an adapter must not choose what the cluster opens.
    """
    if not is_adapter(uri):
        return None
    value = read_json(f"{uri}/{lora_config.CONFIG}", uri).get("base_model_name_or_path")
    named_base = value if isinstance(value, str) else ""
    base = named_base if _names_place(named_base) else base_model
    if base is None:
        raise InputError(
            f"checkpoint {uri}: an adapter, and its base model {printable(named_base)!r} is neither a URI nor a "
            "directory here; set engine.base_model in the suite to the base's URI"
        )
    base = _normalise_uri(base)
    if base == _normalise_uri(named_base) and not _is_allowed(base, uri, base_model):
        raise InputError(
            f"checkpoint {uri}: an adapter, and its base model {printable(base)} lies outside the folders of bases; "
            "name it in engine.base_model of the suite, or its folder in ASSAY_BASES"
        )
    if is_adapter(base):
        raise InputError(f"checkpoint {uri}: its base model {base} is an adapter itself; merge the two and name that")
    return base


def _names_place(name: str) -> bool:
    """True if the name is a URI, or the absolute path of an existing directory."""
    return "://" in name or (os.path.isabs(name) and os.path.isdir(name))


def _normalise_uri(uri: str) -> str:
    """Return the URI without `..` and double slashes, so that a comparison of prefixes is safe."""
    if not uri:
        return ""
    uri = uris.make_absolute(uri)
    if not uris.is_s3(uri):
        return os.path.normpath(uri)
    return f"s3://{posixpath.normpath(uri.removeprefix('s3://'))}"


def _is_allowed(base: str, uri: str, base_model: str | None) -> bool:
    if base_model and base == _normalise_uri(base_model):
        return True
    above = [_normalise_uri(folder) for folder in folders_of_bases()]
    above.append(_normalise_uri(uri).rpartition("/")[0])
    return any(folder and base.startswith(f"{folder.rstrip('/')}/") for folder in above)

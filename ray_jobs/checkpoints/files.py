"""List and open the files of a checkpoint within bounds, because the files are untrusted.

Both planes read every checkpoint through this module, `config_files` and `safetensors_header`. The control plane does
so in its own processes, without a confined child, because everything here has a bound. A listing is one level deep and
has a limit. Only regular files inside the folder are opened, without waiting. Each read and each parse takes at most
about 150 MB of memory. A chat template, a tokenizer and an image processor can compute without a bound, so they run in
the confined child that `checkpoint_probe` starts. A dead NFS mount blocks a child in the kernel just as it blocks a
thread, so a child would not help there.

Every function raises what `checkpoints.errors` names.
"""

import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from ray_jobs.checkpoints.errors import Incomplete, raise_by_errno
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.inputs.regular_files import NotRegularError, open_regular
from ray_jobs.storage import object_listing, objects, uris

MOST_FILES = 20_000  # files directly in the folder
MOST_BYTES = 2 * 10**12  # a sparse file can claim any size, and Assay hashes all of it; the largest models have 1 TB
SIDECAR_BYTES = 256_000_000  # one file beside the weights; the largest tokenizer.json in use has 35 MB
ALL_SIDECAR_BYTES = 10**9  # all files beside the weights together, because a job's driver copies them to its disk
TEMPLATE_BYTES = 1_000_000
HOLES_BYTES = 10**9  # a smaller model is hashed in seconds, even if its files are sparse
MOST_HOLES = 8  # a compressing file system stores real weights in at least a third of their size


def is_loaded(key: str) -> bool:
    """True if loaders read files of this name. An allow-list decides, so that notes do not count as part of the model.

    If a folder has several .safetensors files, `checkpoints.weights` chooses among them.
    """
    return (key.endswith(".safetensors") and "/" not in key) or LOADED.fullmatch(key) is not None


LOADED = re.compile(
    r"config(\.\d[\d.]*)?\.json|generation_config\.json|adapter_config\.json|params\.json"
    r"|tokenizer(\.\d[\d.]*)?\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|tekken\.json"
    r"|vocab\.json|vocab\.txt|unigram\.json|merges\.txt|[^/]*\.model|[^/]*\.tiktoken"
    r"|[^/]*processor_config\.json|chat_template\.(json|jinja|txt)"
    r"|(hf_)?quant(ize|ization)?_config\.json"
    r"|model\.safetensors\.index\.json"
)
FORMER_ENDINGS = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")
FORMER_NOTES = {"trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"}


def was_loaded(key: str) -> bool:
    """True if fingerprints covered files of this name before Assay had the allow-list."""
    return "/" not in key and key not in FORMER_NOTES and key.endswith(FORMER_ENDINGS)


def list_files(uri: str) -> list[object_listing.Entry]:
    """List the files directly in a checkpoint's folder, sorted by name.

    The files that loaders read are also checked: name, size, regular file, target of a link. A link may lead into the
    folder itself, into the Hugging Face cache that holds the folder as a snapshot, or below one of `folders_of_bases`.
    """
    entries = object_listing.list_folder(uri, MOST_FILES)
    local = uris.local_path(uri)
    allowed = _list_allowed_folders(local) if local is not None else []
    if bad_key := next((file.key for file in entries if was_loaded(file.key) and not _is_fit_name(file.key)), None):
        raise InputError(
            f"checkpoint {uri}: {printable(bad_key)!r}: its name has characters that cannot be shown; rename the file"
        )
    loaded = [entry for entry in entries if is_loaded(entry.key)]
    stored_bytes = 0  # bytes on a local disk
    for entry in loaded:
        subject = f"checkpoint {uri}: {printable(entry.key)!r}"
        limit = TEMPLATE_BYTES if entry.key.endswith(".jinja") else SIDECAR_BYTES
        if entry.size > limit and not entry.key.endswith(".safetensors"):
            raise InputError(f"{subject}: {entry.size} bytes, more than the {limit} that are read; save it again")
        if local is not None:
            stored_bytes += _check_regular(local / entry.key, allowed, subject)
    size = sum(entry.size for entry in loaded)
    if size > MOST_BYTES:
        raise InputError(f"checkpoint {uri}: more than {MOST_BYTES / 1e12:.0f} TB; delete what is not the model")
    if (
        sidecar_bytes := sum(entry.size for entry in loaded if not entry.key.endswith(".safetensors"))
    ) > ALL_SIDECAR_BYTES:
        raise InputError(
            f"checkpoint {uri}: {sidecar_bytes} bytes beside the weights, more than the {ALL_SIDECAR_BYTES} that are "
            "read; delete what is not the model"
        )
    if size > HOLES_BYTES and 0 < stored_bytes * MOST_HOLES < size:  # 0: the file system does not report used blocks
        raise Incomplete(
            f"checkpoint {uri}: {size} bytes, of which {stored_bytes} are on the disk and the rest are holes; wait "
            "for the upload or copy it again"
        )
    return entries


def is_regular(uri: str, key: str) -> bool:
    """True if the file may be opened: always on S3; in a directory if the checks of `list_files` accept the file."""
    local = uris.local_path(uri)
    if local is not None:
        try:
            _check_regular(local / key, _list_allowed_folders(local), key)
        except (InputError, RetryableError):
            return False
    return True


def read(uri: str, at_most: int) -> bytes:
    """Return the bytes of a file. Raises InputError if it has more than `at_most` bytes or is not a regular file."""
    local = uris.local_path(uri)
    if local is None:
        return objects.read(uri, at_most)  # a whole read is compared with the ETag; a read of a range is not
    with open_file(local) as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise InputError(f"{printable(uri)}: more than the {at_most} bytes that are read of it; save it again")
    return data


def open_file(path: Path) -> BufferedReader:
    """Open a file of a checkpoint for reading. Raises InputError if it is not a regular file."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise_by_errno(error, printable(str(path)), "opened")
    except NotRegularError:
        raise InputError(f"{printable(str(path))}: not a regular file; save it again") from None


def read_piece(uri: str, start: int, length: int) -> bytes:
    """Return `length` bytes from `start` on, or fewer if the file ends before."""
    local = uris.local_path(uri)
    if local is None:
        return objects.read_range(uri, start, length)
    with open_file(local) as file:
        file.seek(start)
        return file.read(length)


def _is_fit_name(key: str) -> bool:
    return key.isprintable() and len(key) <= 255


def _list_allowed_folders(folder: Path) -> list[Path]:
    real = folder.resolve()
    return [real, *([real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [])]


def folders_of_bases() -> list[str]:
    """Return the folders in ASSAY_CHECKPOINTS and ASSAY_BASES. A checkpoint may name models and files below them."""
    folders = [os.environ.get("ASSAY_CHECKPOINTS", ""), *os.environ.get("ASSAY_BASES", "").split(",")]
    return [folder.strip() for folder in folders if folder.strip()]


def _check_regular(path: Path, allowed: list[Path], subject: str) -> int:
    """Return the bytes that the file takes on the disk. Raises InputError if it must not be opened."""
    real = Path(os.path.realpath(path))
    if real.parent not in allowed and not _is_below_bases(real):
        raise InputError(
            f"{subject}: a link that leads out of the checkpoint; copy the file into its folder, or name the folder "
            "that it leads to in ASSAY_BASES"
        )
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0  # the target of the link is not there yet
    except OSError as error:
        raise_by_errno(error, subject, "looked at")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{subject}: not a regular file; save it again")
    return status.st_blocks * 512


def _is_below_bases(real: Path) -> bool:
    folders = (uris.local_path(folder) for folder in folders_of_bases())
    return any(real.is_relative_to(os.path.realpath(folder.expanduser())) for folder in folders if folder)

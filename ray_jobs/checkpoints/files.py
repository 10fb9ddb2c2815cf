"""List, open and parse the files of a checkpoint within bounds, because the files are untrusted.

Both planes read every checkpoint through this module. The control plane does so in its own processes, without a
confined child, because everything here has a bound. A listing is one level deep and has a limit. Only regular files
inside the folder are opened, without waiting. Each read and each parse takes at most about 150 MB of memory, for a
header at its limits. A chat template, a tokenizer and an image processor can compute without a bound, so they run in
the confined child that `checkpoint_probe` starts. A dead NFS mount blocks a child in the kernel just as it blocks a
thread, so a child would not help there.

Every function raises InputError when waiting cannot help, Incomplete when an upload seems to be under way, and
RetryableError when the storage does not answer.
"""

import errno
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Never, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ray_jobs.inputs import lfs_pointers
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.inputs.regular_files import NotRegularError, open_regular
from ray_jobs.inputs.strict_json import NotJson, parse_object
from ray_jobs.storage import objects

MOST_FILES = 20_000  # files directly in the folder
MOST_SHARDS = 2_000
MOST_BYTES = 2 * 10**12  # a sparse file can claim any size, and Assay hashes all of it; the largest models have 1 TB
CONFIG_BYTES, CONFIG_ITEMS = 10_000_000, 200_000
INDEX_BYTES, INDEX_ITEMS = 50_000_000, 500_000
HEADER_BYTES, HEADER_ITEMS = 25_000_000, 1_000_000  # the format allows 100 MB, but parsing that needs 1 GB of memory
FORMAT_LIMIT = 100_000_000  # safetensors' own limit on a header
BESIDE_BYTES = 256_000_000  # one file beside the weights; the largest tokenizer.json in use has 35 MB
ALL_BESIDE_BYTES = 10**9  # all files beside the weights together, because a job's driver copies them to its disk
TEMPLATE_BYTES = 1_000_000
HOLES_BYTES = 10**9  # a smaller model is hashed in seconds, even if its files are sparse
MOST_HOLES = 8  # a compressing file system stores real weights in at least a third of their size
PERMANENT = {
    errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM,
}  # fmt: skip
LONGEST_URI = 1_024  # bytes of a key on S3
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@,~-]{0,199}\.safetensors")

Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class Incomplete(Exception):
    """The checkpoint is not complete yet. The message says what is missing."""


class NeverWhole(InputError):
    """The folder is not a checkpoint and will not become one, unless an upload is still under way."""


class _Outside(BaseModel):
    """Checks only the fields that Assay reads. A file of the model may have any other fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Config(_Outside):
    """`config.json`."""

    architectures: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]] | None = None
    text_config: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | str | None = None
    compression_config: dict[str, Any] | str | None = None
    vocab_size: Any = None
    hidden_size: Any = None
    tie_word_embeddings: Any = None


class Index(_Outside):
    """`model.safetensors.index.json`: maps the name of each tensor to its file."""

    weight_map: dict[str, str] = {}


@with_config(ConfigDict(extra="forbid"))
class Tensor(TypedDict):
    """A tensor in a safetensors header. `data_offsets` are bytes from the end of the header: start, exclusive end."""

    dtype: str
    shape: Annotated[list[Count], Field(max_length=32)]
    data_offsets: Annotated[list[Count], Field(min_length=2, max_length=2)]


Model = TypeVar("Model", bound=BaseModel)
Given = ParamSpec("Given")
Result = TypeVar("Result")
_TENSORS = TypeAdapter(dict[str, Tensor])
_METADATA = TypeAdapter(dict[str, str] | None)


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turn every exception of the block into InputError, Incomplete or RetryableError with the URI in its message.

    So a broken checkpoint does not stop the work on other checkpoints.
    """
    where = f"checkpoint {printable(uri)}"
    try:
        if len(os.fsencode(uri)) > LONGEST_URI or not uri.isprintable():
            raise InputError(f"{where}: its URI is too long or has characters that cannot be shown; rename the folder")
        yield
    except RetryableError:
        raise
    except (InputError, Incomplete) as error:
        if uri in str(error) or str(error).startswith("checkpoint "):
            raise
        raise type(error)(f"{where}: {error}") from error
    except FileNotFoundError:
        raise Incomplete(f"{where}: a file went away while it was looked at; wait for the upload") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: its URI or a name in it is not text; rename it") from None
    except (OSError, MemoryError) as error:  # the machine or the mount may be at fault: a retry may succeed
        _raise_by_errno(error, where, "read")
    except Exception as error:
        fault = printable(f"{type(error).__name__}: {error}")
        raise InputError(f"{where}: it cannot be judged ({fault}); save the checkpoint again") from error


def translates_errors(reader: Callable[Given, Result]) -> Callable[Given, Result]:
    """Wrap a reader in `translate_errors`. Its first argument must be a URI or a Checkpoint."""

    @wraps(reader)
    def read_translated(*given: Given.args, **named: Given.kwargs) -> Result:
        first: Any = given[0] if given else next(iter(named.values()))
        with translate_errors(first if isinstance(first, str) else first.uri):
            return reader(*given, **named)

    return read_translated


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


def list_files(uri: str) -> list[objects.Entry]:
    """List the files directly in a checkpoint's folder, sorted by name.

    The files that loaders read are also checked: name, size, regular file, target of a link. A link may lead into the
    folder itself, into the Hugging Face cache that holds the folder as a snapshot, or below one of `folders_of_bases`.
    """
    entries = objects.files(uri, MOST_FILES)
    local = objects.local_path(uri)
    places = _places(local) if local is not None else []
    if odd := next((file.key for file in entries if was_loaded(file.key) and not _is_fit_name(file.key)), None):
        raise InputError(
            f"checkpoint {uri}: {printable(odd)!r}: its name has characters that cannot be shown; rename the file"
        )
    loaded = [entry for entry in entries if is_loaded(entry.key)]
    stored = 0  # bytes on a local disk
    for entry in loaded:
        which = f"checkpoint {uri}: {printable(entry.key)!r}"
        most = TEMPLATE_BYTES if entry.key.endswith(".jinja") else BESIDE_BYTES
        if entry.size > most and not entry.key.endswith(".safetensors"):
            raise InputError(f"{which}: {entry.size} bytes, more than the {most} that are read; save it again")
        if local is not None:
            stored += _check_regular(local / entry.key, places, which)
    size = sum(entry.size for entry in loaded)
    if size > MOST_BYTES:
        raise InputError(f"checkpoint {uri}: more than {MOST_BYTES / 1e12:.0f} TB; delete what is not the model")
    if (beside := sum(entry.size for entry in loaded if not entry.key.endswith(".safetensors"))) > ALL_BESIDE_BYTES:
        raise InputError(
            f"checkpoint {uri}: {beside} bytes beside the weights, more than the {ALL_BESIDE_BYTES} that are read; "
            "delete what is not the model"
        )
    if size > HOLES_BYTES and 0 < stored * MOST_HOLES < size:  # 0: the file system does not report used blocks
        raise Incomplete(
            f"checkpoint {uri}: {size} bytes, of which {stored} are on the disk and the rest are holes; wait for the "
            "upload or copy it again"
        )
    return entries


def is_regular(uri: str, key: str) -> bool:
    """True if the file may be opened: always on S3; in a directory if the checks of `list_files` accept the file."""
    local = objects.local_path(uri)
    if local is not None:
        try:
            _check_regular(local / key, _places(local), key)
        except (InputError, RetryableError):
            return False
    return True


def read(uri: str, most: int) -> bytes:
    """Return the bytes of a file. Raises InputError if it has more than `most` bytes or is not a regular file."""
    local = objects.local_path(uri)
    if local is None:
        return objects.read(uri, most)  # a whole read is compared with the ETag; a read of a range is not
    with open_file(local) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"{printable(uri)}: more than the {most} bytes that are read of it; save it again")
    return data


def open_file(path: Path) -> BufferedReader:
    """Open a file of a checkpoint for reading. Raises InputError if it is not a regular file."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        _raise_by_errno(error, printable(str(path)), "opened")
    except NotRegularError:
        raise InputError(f"{printable(str(path))}: not a regular file; save it again") from None


def read_json(uri: str, checkpoint: str, most_bytes: int = CONFIG_BYTES, most_items: int = CONFIG_ITEMS) -> Any:
    """Return the JSON object in a file of the checkpoint.

    Raises Incomplete if the file is gone or is not JSON yet, InputError if it is a Git LFS pointer or breaks a bound.
    """
    which = f"checkpoint {checkpoint}: {printable(uri.rsplit('/', 1)[-1])}"
    try:
        data = read(uri, most_bytes)
        if lfs_pointers.is_pointer(data):
            raise InputError("is a pointer of Git LFS, not the file (git lfs pull fetches it)")
        return parse_object(data, most_items)
    except FileNotFoundError:
        raise Incomplete(f"{which} went away while it was read; wait for the upload") from None
    except NotJson as error:
        raise Incomplete(f"{which} {error}; wait or save it again") from None
    except InputError as error:
        if str(error).startswith(printable(uri)):
            raise InputError(f"checkpoint {checkpoint}: {error}") from None
        raise InputError(f"{which} {error}; save the checkpoint again") from None


def read_config(checkpoint: str) -> Config:
    """Return the checkpoint's `config.json`. Raises InputError if it belongs to a draft model or has a wrong field."""
    value = read_json(f"{checkpoint}/config.json", checkpoint)
    if value.get("speculators_config"):  # vLLM would load the model that this setting names, from any place
        raise InputError(
            f"checkpoint {checkpoint}: config.json is of a draft model (speculators_config); name the model"
        )
    return _validate(Config, value, "config.json", checkpoint)


def read_index(checkpoint: str, index: str) -> dict[str, str]:
    """Return the file name of each tensor by the tensor's name, as the index says."""
    value = read_json(f"{checkpoint}/{index}", checkpoint, INDEX_BYTES, INDEX_ITEMS)
    weight_map = _validate(Index, value, index, checkpoint).weight_map
    shards = sorted(set(weight_map.values()))
    if not shards:
        raise InputError(f"checkpoint {checkpoint}: {index} names no shards; save the checkpoint again")
    if len(shards) > MOST_SHARDS:
        raise InputError(f"checkpoint {checkpoint}: {index} names {len(shards)} shards, more than {MOST_SHARDS}")
    if (odd := next((shard for shard in shards if not SHARD.fullmatch(shard)), None)) is not None:
        raise InputError(
            f"checkpoint {checkpoint}: {index} names {printable(odd)!r}, which is no .safetensors file beside it; "
            "save the checkpoint again"
        )
    return weight_map


@translates_errors
def read_header(uri: str, size: int, which: str = "") -> tuple[dict[str, Tensor], int]:
    """Return the tensors of a safetensors file of `size` bytes by name, and the offset in bytes at which data begins.

    Raises Incomplete while the file is shorter than its header, and InputError if it is not a safetensors file.
    `which` names the file in messages.
    """
    which = which or printable(uri)
    if size < 8:
        raise Incomplete(f"{which}: {size} bytes, shorter than a header; wait for the upload or save it again")
    length = int.from_bytes(read_piece(uri, 0, 8), "little")
    if lfs_pointers.is_pointer(read_piece(uri, 0, len(lfs_pointers.SIGN))):
        raise InputError(f"{which}: {lfs_pointers.REMEDY}")
    if length > FORMAT_LIMIT:
        raise InputError(f"{which}: not a safetensors file; save the checkpoint again")
    if length > HEADER_BYTES:
        raise InputError(f"{which}: its header has {length} bytes, more than {HEADER_BYTES}; save it in more shards")
    if size < 8 + length:
        raise Incomplete(f"{which}: truncated inside its header ({size} bytes); wait for the upload or save it again")
    try:
        value = parse_object(read_piece(uri, 8, length), HEADER_ITEMS)
        _METADATA.validate_python(value.pop("__metadata__", None), strict=True)
        tensors = _TENSORS.validate_python(value, strict=True)
        _check_tensors(tensors)
    except InputError as error:
        raise InputError(f"{which}: its header {error}; save the checkpoint again") from None
    except ValueError:
        raise InputError(f"{which}: its header is not readable; save the checkpoint again") from None
    return tensors, 8 + length


def read_piece(uri: str, start: int, length: int) -> bytes:
    """Return `length` bytes from `start` on, or fewer if the file ends before."""
    local = objects.local_path(uri)
    if local is None:
        return objects.read_range(uri, start, length)
    with open_file(local) as file:
        file.seek(start)
        return file.read(length)


def _check_tensors(tensors: dict[str, Tensor]) -> None:
    """Raise InputError unless the tensors fill the data without gaps or overlaps, as safetensors demands."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = tensor["data_offsets"]
        bits = BITS.get(tensor["dtype"])
        if bits is None:
            raise InputError(f"has a tensor of dtype {printable(tensor['dtype'], 40)!r}, which is unknown")
        if start != end or (stop - start) * 8 != math.prod(tensor["shape"]) * bits:
            raise InputError(f"gives {printable(name, 80)!r} a place that does not fit its shape, or another's")
        end = stop


def _is_fit_name(key: str) -> bool:
    return key.isprintable() and len(key) <= 255


def _places(folder: Path) -> list[Path]:
    real = folder.resolve()
    return [real, *([real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [])]


def folders_of_bases() -> list[str]:
    """Return the folders in ASSAY_CHECKPOINTS and ASSAY_BASES. A checkpoint may name models and files below them."""
    folders = [os.environ.get("ASSAY_CHECKPOINTS", ""), *os.environ.get("ASSAY_BASES", "").split(",")]
    return [folder.strip() for folder in folders if folder.strip()]


def _check_regular(path: Path, places: list[Path], which: str) -> int:
    """Return the bytes that the file takes on the disk. Raises InputError if it must not be opened."""
    real = Path(os.path.realpath(path))
    if real.parent not in places and not _is_below_bases(real):
        raise InputError(
            f"{which}: a link that leads out of the checkpoint; copy the file into its folder, or name the folder that "
            "it leads to in ASSAY_BASES"
        )
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0  # the target of the link is not there yet
    except OSError as error:
        _raise_by_errno(error, which, "looked at")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{which}: not a regular file; save it again")
    return status.st_blocks * 512


def _is_below_bases(real: Path) -> bool:
    folders = (objects.local_path(folder) for folder in folders_of_bases())
    return any(real.is_relative_to(os.path.realpath(folder.expanduser())) for folder in folders if folder)


def _raise_by_errno(error: OSError | MemoryError, which: str, doing: str) -> Never:
    """Raise InputError if the file is at fault, RetryableError if the mount or the machine may recover."""
    if isinstance(error, OSError) and error.errno in PERMANENT:
        raise InputError(f"{which}: cannot be {doing} ({error.strerror}); save it again") from None
    why = printable(getattr(error, "strerror", None) or type(error).__name__)
    raise RetryableError(
        f"{which}: cannot be {doing} ({why}); look at the storage and this machine, then try again"
    ) from error


def _validate(model: type[Model], value: Any, file: str, checkpoint: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = printable(".".join(map(str, first["loc"])), 80)
        raise InputError(
            f"checkpoint {checkpoint}: {file}: {place}: {printable(first['msg'], 120)}; save the checkpoint again"
        ) from None

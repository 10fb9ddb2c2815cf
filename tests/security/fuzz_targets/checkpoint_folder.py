"""A checkpoint's folder as a fuzzer makes it: whatever lies in it, every reader answers, or says why it does not.

The bytes are a folder: for each file a letter that names it, its length in three bytes, and its content. A finding is
whatever is raised but InputError or Incomplete, and a line that is not fit for a log.
"""

import json
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ray_jobs.checkpoints import adapter_base, fingerprints, quantization, safetensors_header, verification

sys.path.insert(0, str(Path(__file__).parents[1]))
from odd_folders import NEVER, UNDER_WAY, good_files

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.lora_config import compute_scale
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.strict_json import NotJson, parse_object

NAMES = {
    "c": "config.json",
    "t": "tokenizer.json",
    "i": "model.safetensors.index.json",
    "1": "model-00001-of-00002.safetensors",
    "2": "model-00002-of-00002.safetensors",
    "m": "model.safetensors",
    "a": "adapter_config.json",
    "w": "adapter_model.safetensors",
    "g": "generation_config.json",
    "j": "chat_template.jinja",
    "q": "hf_quant_config.json",
}
LARGEST = 100_000  # bytes of a seed's file: odd folders with larger ones are tried by the tests


def encode(files: dict[str, bytes]) -> bytes:
    letters = {name: letter for letter, name in NAMES.items()}
    return b"".join(
        letters[name].encode() + len(data).to_bytes(3, "big") + data for name, data in files.items() if name in letters
    )


def decode(data: bytes) -> Iterator[tuple[str, bytes]]:
    while len(data) >= 4:
        length = int.from_bytes(data[1:4], "big")
        if name := NAMES.get(chr(data[0])):
            yield name, data[4 : 4 + length]
        data = data[4 + length :]


def SEEDS() -> list[bytes]:
    """The good folder, and each odd folder of small plain files."""
    seeds = [encode(good_files())]
    for make in (NEVER | UNDER_WAY).values():
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "step-1"
            make(folder)
            if folder.is_symlink() or not folder.is_dir():
                continue
            files = [path for path in folder.iterdir() if path.is_file() and path.stat().st_size < LARGEST]
            seeds.append(encode({path.name: path.read_bytes() for path in sorted(files)}))
    return sorted(set(seeds))


def try_input(data: bytes) -> None:
    """Every reader on the folder. Raises AssertionError for a finding."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as parent:
        folder = Path(parent) / "step-1"
        folder.mkdir()
        files = dict(decode(data))
        for name, content in files.items():
            (folder / name).write_bytes(content)
        _try_readers(str(folder))
        if "adapter_config.json" in files:
            _try_scale(files["adapter_config.json"])


def _try_readers(uri: str) -> None:
    given = Checkpoint(uri=uri, name="step-1", fingerprint="f" * 16)
    headers = [path for path in Path(uri).iterdir() if path.suffix == ".safetensors"]
    for look in (
        lambda: inspect.require_complete(uri),
        lambda: inspect.resolve(uri, "/nowhere/base"),
        lambda: fingerprints.compute_fingerprint(uri),
        lambda: adapter_base.find_base(uri),
        lambda: adapter_base.is_adapter(uri),
        lambda: quantization.quantization_method(uri),
        lambda: inspect.sidecar_files(given),
        lambda: verification.verify(given),
        lambda: [safetensors_header.read_header(str(path), path.stat().st_size) for path in headers],
    ):
        try:
            look()
        except (InputError, Incomplete) as reason:
            line = str(reason)
            assert line.isprintable(), line
            assert len(line) < 1500, line
            assert "cannot be judged" not in line, line  # the last net under the readers: what falls there is a finding


def _try_scale(config: bytes) -> None:
    """What a config that is taken says of a module's weights is a number, or a refusal by name."""
    from ray_jobs.checkpoints.lora_config import explain_unsupported

    try:
        value = parse_object(config, 1000)
    except (InputError, NotJson):
        return
    if explain_unsupported(value) is None:
        for module in ("model.layers.0.self_attn.q_proj", "a" * 60, "x.y"):
            for rank in (4, 8):
                try:
                    number = compute_scale(value, module, rank)
                except ValueError:
                    continue
                json.dumps(number, allow_nan=False)
                struct.pack("<d", number)

"""Folders that are no checkpoint, or a bad one: what a training run, a broken copy or an attacker leaves.

Each is made into a folder by a function of the folder's path. Importable in both environments: it needs the standard
library only. `NEVER` are those that no waiting can mend; the others look like an upload under way.
"""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def header_of(tensors: dict[str, Any], data: bytes = b"") -> bytes:
    return raw_header(json.dumps(tensors).encode(), data)


def raw_header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def tensor(**changed: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} | changed


def good_files() -> dict[str, bytes]:
    """A whole checkpoint of two shards, as small as one can be."""
    return {
        "config.json": b'{"architectures": ["Tiny"]}',
        "tokenizer.json": b"{}",
        INDEX: json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode(),
        FIRST: header_of({"a": tensor()}, b"1234"),
        SECOND: header_of({"b": tensor()}, b"5678"),
    }


def write(folder: Path, files: dict[str, bytes | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (good_files() | files).items():
        if data is not None:
            (folder / name).write_bytes(data)


def with_files(files: dict[str, bytes | None]) -> Callable[[Path], None]:
    return lambda folder: write(folder, files)


def first_header(value: Any) -> Callable[[Path], None]:
    return with_files({FIRST: header_of(value, b"1234")})


def weight_map(value: Any) -> Callable[[Path], None]:
    return with_files({INDEX: json.dumps({"weight_map": value}).encode()})


def config(text: bytes) -> Callable[[Path], None]:
    return with_files({"config.json": text})


def adapter(text: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_bytes(text)
        (folder / "adapter_model.safetensors").write_bytes(header_of({"a": tensor()}, b"1234"))

    return make


def lora(**changed: Any) -> Callable[[Path], None]:
    return adapter(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8} | changed).encode())


def fifo(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, {name: None})
        os.mkfifo(folder / name)

    return make


def link(name: str, target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, {name: None})
        (folder / name).symlink_to(target)

    return make


def folder_instead(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, {name: None})
        (folder / name).mkdir()

    return make


def sparse(name: str, size: int, start: bytes = b"") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, {})
        with (folder / name).open("wb") as file:
            file.write(start)
            file.truncate(size)

    return make


def odd_file_name(name: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, {})
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"{}")

    return make


def link_to_folder(target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(target)

    return make


def a_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECT = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
LONG = "9" * 5_000

NEVER: dict[str, Callable[[Path], None]] = {
    "config: an array": config(b"[]"),
    "config: null": config(b"null"),
    "config: a number": config(b"7"),
    "config: a string": config(b'"architectures"'),
    "config: no architectures": config(b"{}"),
    "config: architectures a text": config(b'{"architectures": "Tiny"}'),
    "config: architectures an object": config(b'{"architectures": {"a": 1}}'),
    "config: architectures of numbers": config(b'{"architectures": [1]}'),
    "config: architectures of arrays": config(b'{"architectures": [["Tiny"]]}'),
    "config: an architecture that is a path": config(b'{"architectures": ["../../x"]}'),
    "config: an architecture that is a template": config(b'{"architectures": ["{{7*7}}"]}'),
    "config: an architecture of a million letters": config(b'{"architectures": ["%s"]}' % (b"A" * 1_000_000)),
    "config: nested arrays": config(b'{"architectures": ["Tiny"], "x": %s}' % DEEP),
    "config: nested objects": config(b'{"architectures": ["Tiny"], "x": %s}' % DEEP_OBJECT),
    "config: nested 200 deep": config(b'{"architectures": ["Tiny"], "x": %s}' % (b"[" * 200 + b"]" * 200)),
    "config: a number of 5,000 digits": config(b'{"architectures": ["Tiny"], "x": %s}' % LONG.encode()),
    "config: a float of 5,000 digits": config(b'{"architectures": ["Tiny"], "x": 0.%s}' % LONG.encode()),
    "config: a key twice": config(b'{"architectures": ["Tiny"], "architectures": []}'),
    "config: a key twice, inside": config(b'{"architectures": ["Tiny"], "x": {"a": 1, "a": 2}}'),
    "config: half a surrogate": config(b'{"architectures": ["Tiny"], "x": "\\ud800"}'),
    "config: half a surrogate in a key": config(b'{"architectures": ["Tiny"], "\\udfff": 1}'),
    "config: not UTF-8": config(b'{"architectures": ["Tiny"], "x": "\xff\xfe"}'),
    "config: UTF-16": config('{"architectures": ["Tiny"]}'.encode("utf-16")),
    "config: a byte order mark": config(b'\xef\xbb\xbf{"architectures": ["Tiny"]}'),
    "config: quantisation a number": config(b'{"architectures": ["Tiny"], "quantization_config": 4}'),
    "config: quantisation an array": config(b'{"architectures": ["Tiny"], "quantization_config": [[]]}'),
    "config: text_config an array": config(b'{"architectures": ["Tiny"], "text_config": []}'),
    "config: a million values": config(b'{"architectures": ["Tiny"], "x": [%s0]}' % (b"0," * 1_000_000)),
    "config: a draft model that names another": config(
        b'{"architectures": ["Tiny"], "speculators_config": {"verifier": {"name_or_path": "/other"}}}'
    ),
    "weights: two sets and no index": with_files(
        {
            INDEX: None,
            FIRST: None,
            SECOND: None,
            "model.safetensors": header_of({"a": tensor()}, b"1234"),
            "consolidated.safetensors": header_of({"a": tensor()}, b"5678"),
        }
    ),
    "weights: an index with shards beside one file": with_files(
        {"model.safetensors": header_of({"a": tensor()}, b"1234")}
    ),
    "weights: a tensor in two shards": with_files({SECOND: header_of({"a": tensor()}, b"1234")}),
    "weights: a tensor without elements": with_files({FIRST: header_of({"a": tensor(shape=[0], data_offsets=[0, 0])})}),
    "weights: a pointer of Git LFS": with_files({FIRST: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"}),
    "weights: pickles": with_files({FIRST: None, SECOND: None, INDEX: None, "pytorch_model.bin": b"PK"}),
    "weights: a pickle of a name for a shell": with_files(
        {FIRST: None, SECOND: None, INDEX: None, "$(reboot)\n';.ckpt": b"PK"}
    ),
    "tokenizer: missing": with_files({"tokenizer.json": None}),
    "config: a gigabyte, sparse": sparse("config.json", 1 << 30, b'{"architectures": ["Tiny"]}'),
    "config: 20 MB": config(b'{"architectures": ["Tiny"]}' + b" " * 20_000_000),
    "config: a FIFO": fifo("config.json"),
    "config: a link to itself": link("config.json", "config.json"),
    "config: a link to a device": link("config.json", "/dev/zero"),
    "config: a link to a secret": link("config.json", "/proc/self/environ"),
    "config: a link out": link("config.json", "../../elsewhere/config.json"),
    "tokenizer: a FIFO": fifo("tokenizer.json"),
    "tokenizer: a gigabyte, sparse": sparse("tokenizer.json", 1 << 30),
    "template: 5 MB": with_files({"chat_template.jinja": b"x" * 5_000_000}),
    "template: a link to a secret": link("chat_template.jinja", "/etc/passwd"),
    "index: null": with_files({INDEX: b"null"}),
    "index: an array": with_files({INDEX: b"[]"}),
    "index: a FIFO": fifo(INDEX),
    "index: no weight_map": with_files({INDEX: b"{}"}),
    "index: weight_map null": weight_map(None),
    "index: weight_map empty": weight_map({}),
    "index: weight_map an array": weight_map([FIRST]),
    "index: weight_map a text": weight_map(FIRST),
    "index: weight_map of numbers": weight_map({"a": 1}),
    "index: weight_map of nulls": weight_map({"a": None}),
    "index: weight_map of objects": weight_map({"a": {"file": FIRST}}),
    "index: weight_map of arrays": weight_map({"a": [FIRST]}),
    "index: weight_map mixed": weight_map({"a": FIRST, "b": 2, "c": None}),
    "index: a shard above": weight_map({"a": f"../{FIRST}"}),
    "index: a shard by its whole path": weight_map({"a": "/etc/passwd"}),
    "index: a shard in a folder": weight_map({"a": f"deep/{FIRST}"}),
    "index: a shard of no name": weight_map({"a": ""}),
    "index: a shard that is the folder": weight_map({"a": "."}),
    "index: a shard with a null byte": weight_map({"a": "a\0.safetensors"}),
    "index: a shard with a newline": weight_map({"a": "a\nb.safetensors"}),
    "index: a shard with a surrogate": weight_map({"a": "a\udc80.safetensors"}),
    "index: a shard of 5,000 letters": weight_map({"a": "a" * 5_000 + ".safetensors"}),
    "index: a shard that is a pickle": weight_map({"a": "pytorch_model.bin"}),
    "index: a shard by URL": weight_map({"a": "https://example.org/a.safetensors"}),
    "index: 3,000 shards": weight_map({str(n): f"s-{n}.safetensors" for n in range(3_000)}),
    "index: a key twice": with_files({INDEX: f'{{"weight_map": {{"a": "{FIRST}", "a": "{SECOND}"}}}}'.encode()}),
    "index: nested": with_files({INDEX: b'{"weight_map": %s}' % DEEP}),
    "index: a gigabyte, sparse": sparse(INDEX, 1 << 30, b"{"),
    "header: 2^63 long": with_files({FIRST: struct.pack("<Q", 1 << 63) + b"x" * 100}),
    "header: 99 MB, sparse": sparse(FIRST, 100_000_000, struct.pack("<Q", 99_000_000)),
    "header: an array": with_files({FIRST: raw_header(b"[]", b"1234")}),
    "header: null": with_files({FIRST: raw_header(b"null", b"1234")}),
    "header: a million values": with_files({FIRST: raw_header(b'{"a": [%s0]}' % (b"0," * 2_000_000))}),
    "header: nested": with_files({FIRST: raw_header(b'{"a": %s}' % DEEP)}),
    "header: not UTF-8": with_files({FIRST: raw_header(b'{"\xff": 1}')}),
    "header: half a surrogate": with_files({FIRST: raw_header(b'{"\\ud800": {}}')}),
    "header: a tensor null": first_header({"a": None}),
    "header: a tensor an array": first_header({"a": [1, 2]}),
    "header: a tensor of nothing": first_header({"a": {}}),
    "header: more than a tensor has": first_header({"a": tensor(device="cuda")}),
    "header: dtype unknown": first_header({"a": tensor(dtype="PICKLE")}),
    "header: dtype a number": first_header({"a": tensor(dtype=8)}),
    "header: dtype of a million letters": first_header({"a": tensor(dtype="U" * 1_000_000)}),
    "header: shape a number": first_header({"a": tensor(shape=4)}),
    "header: shape a text": first_header({"a": tensor(shape="4")}),
    "header: shape negative": first_header({"a": tensor(shape=[-4])}),
    "header: shape of floats": first_header({"a": tensor(shape=[4.0])}),
    "header: shape of booleans": first_header({"a": tensor(shape=[True])}),
    "header: shape of texts": first_header({"a": tensor(shape=["4"])}),
    "header: shape huge": first_header({"a": tensor(shape=[2**62] * 30)}),
    "header: shape of 1,000 dimensions": first_header({"a": tensor(shape=[1] * 1_000)}),
    "header: shape beyond 64 bits": first_header({"a": tensor(shape=[2**70])}),
    "header: offsets a text": first_header({"a": tensor(data_offsets="04")}),
    "header: offsets of texts": first_header({"a": tensor(data_offsets=["0", "8"])}),
    "header: offsets of three": first_header({"a": tensor(data_offsets=[0, 4, 8])}),
    "header: offsets of one": first_header({"a": tensor(data_offsets=[4])}),
    "header: offsets null": first_header({"a": tensor(data_offsets=None)}),
    "header: offsets negative": first_header({"a": tensor(data_offsets=[-4, 0])}),
    "header: offsets backwards": first_header({"a": tensor(data_offsets=[4, 0])}),
    "header: offsets Infinity": first_header({"a": tensor(data_offsets=[0, float("inf")])}),
    "header: offsets NaN": first_header({"a": tensor(data_offsets=[0, float("nan")])}),
    "header: offsets 1e999": with_files(
        {FIRST: raw_header(b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 1e999]}}', b"1234")}
    ),
    "header: offsets of 5,000 digits": with_files(
        {FIRST: raw_header(b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, %s]}}' % LONG.encode(), b"1234")}
    ),
    "header: offsets beyond 64 bits": first_header({"a": tensor(data_offsets=[0, 2**70])}),
    "header: two tensors in one place": first_header({"a": tensor(), "b": tensor()}),
    "header: a hole between tensors": first_header({"a": tensor(), "b": tensor(data_offsets=[8, 12])}),
    "header: shape and place differ": first_header({"a": tensor(shape=[3])}),
    "header: metadata an array": first_header({"__metadata__": [], "a": tensor()}),
    "header: metadata of numbers": first_header({"__metadata__": {"a": 1}, "a": tensor()}),
    "header: a tensor twice": with_files({FIRST: raw_header(b'{"a": {}, "a": {}}', b"1234")}),
    "header: of HTML": with_files({FIRST: b"<!DOCTYPE html><html></html>"}),
    "shard: 3 TB, sparse": sparse(FIRST, 3 * 10**12),
    "shard: a FIFO": fifo(FIRST),
    "shard: a link to a device": link(FIRST, "/dev/zero"),
    "shard: a link out": link(FIRST, "/etc/hostname"),
    "shard: a link to itself": link(FIRST, FIRST),
    "a file: not UTF-8": odd_file_name(b"\xff\xfe.json"),
    "a file: a newline": odd_file_name(b"a\nb.json"),
    "a file: ANSI": odd_file_name(b"\x1b[31m.json"),
    "a file where a folder belongs": a_file,
    "adapter: an array": adapter(b"[]"),
    "adapter: no type": adapter(b"{}"),
    "adapter: type a number": adapter(b'{"peft_type": 7}'),
    "adapter: type a million letters": lora(peft_type="L" * 1_000_000),
    "adapter: nested": adapter(b'{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "x": %s}' % DEEP),
    "adapter: r a text": lora(r="4"),
    "adapter: r true": lora(r=True),
    "adapter: r Infinity": lora(r=float("inf")),
    "adapter: r NaN": lora(r=float("nan")),
    "adapter: r of 30 digits": lora(r=10**30),
    "adapter: r a half": lora(r=0.5),
    "adapter: alpha Infinity": lora(lora_alpha=float("inf")),
    "adapter: alpha NaN": lora(lora_alpha=float("nan")),
    "adapter: alpha of 39 digits": lora(lora_alpha=10**38),
    "adapter: alpha true": lora(lora_alpha=True),
    "adapter: rank_pattern an array": lora(rank_pattern=[4]),
    "adapter: rank_pattern of objects": lora(rank_pattern={"q": {}}),
    "adapter: rank_pattern of 2,000": lora(rank_pattern={f"layers.{n}": 4 for n in range(2_000)}),
    "adapter: rank_pattern that never ends": lora(rank_pattern={"(x+x+)+y": 4}),
    "adapter: alpha_pattern that never ends": lora(alpha_pattern={"(a|aa)+$": 4}),
    "adapter: a pattern that is no regex": lora(rank_pattern={"(": 4}),
    "adapter: bias an object": lora(bias={"a": 1}),
    "adapter: bias a million letters": lora(bias="b" * 1_000_000),
    "adapter: started from an array": lora(init_lora_weights=[1]),
    "adapter: of no base": lora(),
    "adapter: base a number": lora(base_model_name_or_path=7),
    "adapter: base an array": lora(base_model_name_or_path=["/"]),
    "adapter: base is /": lora(base_model_name_or_path="/"),
    "adapter: base is /usr": lora(base_model_name_or_path="/usr"),
    "adapter: base is /etc/..": lora(base_model_name_or_path="/etc/.."),
    "adapter: base is /proc/self": lora(base_model_name_or_path="/proc/self"),
    "adapter: base by ftp": lora(base_model_name_or_path="ftp://example.org/base"),
    "adapter: base by https": lora(base_model_name_or_path="https://example.org/base"),
    "adapter: base file:///": lora(base_model_name_or_path="file:///"),
    "adapter: base a whole bucket": lora(base_model_name_or_path="s3://big-bucket"),
    "adapter: base in another bucket": lora(base_model_name_or_path="s3://big-bucket/base"),
    "adapter: base without a bucket": lora(base_model_name_or_path="s3:///base"),
    "adapter: base with a null byte": lora(base_model_name_or_path="/tmp/\0"),
    "adapter: base with a surrogate": lora(base_model_name_or_path="/tmp/\udc80"),
    "adapter: base with a newline": lora(base_model_name_or_path="/tmp\n"),
    "adapter: base of 300 letters": lora(base_model_name_or_path="/" + "b" * 300),
    "adapter: base of 100,000 letters": lora(base_model_name_or_path="/" + "b" * 100_000),
    "adapter: base a template": lora(base_model_name_or_path="{{7*7}}"),
}


def adapter_without_weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')


UNDER_WAY: dict[str, Callable[[Path], None]] = {
    "nothing in it": lambda folder: folder.mkdir(parents=True),
    "hidden files only": lambda folder: (folder / ".git").mkdir(parents=True),
    "folders only": lambda folder: (folder / "runs" / "events").mkdir(parents=True),
    "a link to nothing": link_to_folder("/nowhere/at/all"),
    "a link to /usr": link_to_folder("/usr"),
    "a link to /": link_to_folder("/"),
    "a link to /proc": link_to_folder("/proc"),
    "config: missing": with_files({"config.json": None}),
    "config: empty": config(b""),
    "config: cut": config(b'{"architectures": ["Ti'),
    "config: cut inside a character": config('{"architectures": ["é'.encode()[:-1]),
    "config: null bytes": config(bytes(100)),
    "config: of HTML": config(b"<html></html>"),
    "config: a folder": folder_instead("config.json"),
    "config: a link to nothing here": link("config.json", "config.json.tmp"),
    "index: missing": with_files({INDEX: None}),
    "index: cut": with_files({INDEX: b'{"weight_map": {"a": '}),
    "index: a shard that is not there": weight_map({"a": FIRST, "b": "other.safetensors"}),
    "shard: missing": with_files({SECOND: None}),
    "shard: empty": with_files({SECOND: b""}),
    "shard: seven bytes": with_files({SECOND: b"1234567"}),
    "shard: cut in its header": with_files({SECOND: good_files()[SECOND][:20]}),
    "shard: cut in its data": with_files({SECOND: good_files()[SECOND][:-1]}),
    "shard: longer than its header says": with_files({SECOND: good_files()[SECOND] + b"9"}),
    "shard: a folder": folder_instead(SECOND),
    "no weights": with_files({FIRST: None, SECOND: None, INDEX: None}),
    "adapter: cut": adapter(b'{"peft_type": "LO'),
    "adapter: no weights": adapter_without_weights,
}
ODD = NEVER | UNDER_WAY

"""The probe runs a checkpoint's code in a confined process: a failure, an endless loop or too much memory is one
line."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from probe_forks import ForkServer, fork_server

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.probe import checkpoint_probe, probe_process
from ray_jobs.engine.probe.checkpoint_probe import PASSED_FOLDER, probe
from ray_jobs.inputs.errors import InputError

REPO = Path(__file__).parents[3]
DEMO = REPO / "demo" / "checkpoints" / "step-0800"
PROMPT = "Describe the image in one sentence."
Change = Callable[[Path], None]
pytestmark = pytest.mark.slow


def template(text: str | bytes) -> Change:
    return lambda folder: _write(folder / "chat_template.jinja", text)


def edit_config(name: str, **settings: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        value = json.loads(file.read_text()) if file.exists() else {}
        _write(file, json.dumps(value | settings))

    return change


def replace_text(name: str, text: str | bytes) -> Change:
    return lambda folder: _write(folder / name, text)


def _write(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def renumber_tokens(folder: Path) -> None:
    """Give the tokenizer a larger vocabulary: the same words with ids a thousand higher."""
    value = json.loads((folder / "tokenizer.json").read_text())
    words = value["model"]["vocab"]
    value["model"]["vocab"] = {word: number + 1000 * (number > 13) for word, number in words.items()}
    _write(folder / "tokenizer.json", json.dumps(value))


def split_by(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DEEP = "[" * 100_000 + "]" * 100_000
ODD: dict[str, tuple[Change, str]] = {
    "template: two nested loops": (template(LOOP), "chat template"),
    "template: two nested loops after the text": (template("{{ messages[0].content[1].text }}" + LOOP), "template"),
    "template: 4.3 GB": (template("{{ 'a' * 4300000000 }}"), "template"),
    "template: doubles": (
        template(
            "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
        ),
        "template",
    ),
    "template: a tower of powers": (template("{{ 9 ** (9 ** 9) }}"), "template"),
    "template: a wide number": (template("{{ '%09999999999d' % 1 }}"), "template"),
    "template: calls itself": (template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "template"),
    "template: another file": (template("{% include '/etc/passwd' %}"), "template"),
    "template: out of the sandbox": (template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "template"),
    "template: raises": (template("{{ raise_exception('no') }}"), "template"),
    "template: no syntax": (template("{% for %}"), "template"),
    "template: without the image": (template("{{ messages[0].content[1].text }}"), "template"),
    "template: not text": (template(b"\xff\xfe\x00"), "checkpoint"),
    "tokenizer: not JSON": (replace_text("tokenizer.json", "{"), "tokenizer"),
    "tokenizer: null": (replace_text("tokenizer.json", "null"), "tokenizer"),
    "tokenizer: nested": (replace_text("tokenizer.json", DEEP), "tokenizer"),
    "tokenizer: a pattern that never ends": (
        edit_config("tokenizer.json", pre_tokenizer=split_by("(?:a+a+)+$")),
        "tokenizer",
    ),
    "tokenizer: another": (edit_config("tokenizer.json", pre_tokenizer=split_by(r"(?:(?:\w|\d)+)+$")), "tokenizer"),
    "tokenizer: a normaliser that never ends": (
        edit_config(
            "tokenizer.json",
            normalizer={"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": "b"},
        ),
        "tokenizer",
    ),
    "tokenizer: a normaliser that explodes": (
        edit_config(
            "tokenizer.json",
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}] * 4,
            },
        ),
        "tokenizer",
    ),
    "tokenizer: settings an array": (replace_text("tokenizer_config.json", "[]"), "tokenizer"),
    "tokenizer: settings nested": (replace_text("tokenizer_config.json", DEEP), "tokenizer"),
    "processor: 9.6 GB for a small image": (
        edit_config(
            "preprocessor_config.json",
            min_pixels=4 * 10**8,
            size={"shortest_edge": 4 * 10**8, "longest_edge": 10**9},
        ),
        "processor",
    ),
    "processor: of an unknown type": (
        edit_config("preprocessor_config.json", image_processor_type="Nothing", processor_class="Nothing"),
        "processor",
    ),
    "processor: patches of another model": (
        edit_config("preprocessor_config.json", patch_size=16),
        "image processor makes patches of 1536 values, and its vision encoder reads 3 x 2 x 14 x 14: preproces",
    ),
    "processor: merges patches as another model": (
        edit_config("preprocessor_config.json", merge_size=4),
        "its image processor merges 4 x 4 patches, and its vision",
    ),
    "tokenizer: larger than the embeddings": (
        renumber_tokens,
        "and its embeddings have 438 rows; save the tokenizer that it was trained with, or resize them",
    ),
    "processor: not JSON": (replace_text("preprocessor_config.json", "{"), "processor"),
    "config: a milliard layers": (edit_config("config.json", num_hidden_layers=10**9), "num_hidden_layers"),
    "config: a deep vision encoder": (edit_config("config.json", vision_config={"depth": 10**7}), "depth"),
    "generation: not JSON": (replace_text("generation_config.json", "{"), "generation_config"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_PROBE_SECONDS", "6")


def probe_changed(tmp_path: Path, change: Change) -> None:
    folder = tmp_path / "step-1"
    shutil.copytree(DEMO, folder)
    change(folder)
    probe(inspect.resolve(str(folder)), [PROMPT])


@pytest.fixture(scope="module")
def loaded() -> Iterator[ForkServer]:
    with fork_server() as server:
        yield server


@pytest.mark.parametrize(("change", "file_name"), ODD.values(), ids=ODD.keys())
def test_a_checkpoint_whose_files_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: ForkServer, change: Change, file_name: str
) -> None:
    monkeypatch.setattr(subprocess, "Popen", loaded.start)
    with pytest.raises(InputError) as error:
        probe_changed(tmp_path, change)
    line = str(error.value)
    assert line.startswith(f"checkpoint {tmp_path}/step-1: ")
    assert file_name in line
    assert line.isprintable()
    assert len(line) < 1000


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def change(folder: Path) -> None:
        (folder / "remote.py").write_text(f"open({str(ran)!r}, 'w')\nclass Remote: pass\n")
        edit_config("config.json", auto_map={"AutoConfig": "remote.Remote"})(folder)
        edit_config("tokenizer_config.json", auto_map={"AutoTokenizer": ["remote.Remote", None]})(folder)
        edit_config("preprocessor_config.json", auto_map={"AutoImageProcessor": "remote.Remote"})(folder)

    probe_changed(tmp_path, change)
    assert not ran.exists()


def test_files_that_have_passed_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_changed(tmp_path, lambda folder: None)
    assert len(list((tmp_path / "cache" / PASSED_FOLDER).iterdir())) == 1
    processes: list[object] = []
    monkeypatch.setattr(checkpoint_probe, "_run_probe", lambda *arguments: processes.append(arguments))
    probe(inspect.resolve(str(DEMO.parent / "step-0300")), [PROMPT])  # of the same training run
    assert not processes
    probe(inspect.resolve(str(DEMO)), ["Other words."])
    assert len(processes) == 1


def test_the_probe_gets_nothing_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_seen: dict[str, Any] = {}
    real = subprocess.Popen

    def note_settings(*arguments: Any, **settings: Any) -> Any:
        settings_seen.update(settings)
        return real(*arguments, **settings)

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setattr(subprocess, "Popen", note_settings)
    probe_changed(tmp_path, lambda folder: None)
    assert "secret" not in settings_seen["env"].values()
    assert not [name for name in settings_seen["env"] if name.startswith(("AWS", "RAY_", "ASSAY"))]


@pytest.mark.parametrize(
    "attempt",
    ["connect", "send", "connect_below_python", "resolve", "fetch", "system", "popen", "exec", "spawn", "fork",
     "memory", "write_much"],
)  # fmt: skip
def test_a_confined_process_reaches_nothing(tmp_path: Path, attempt: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.run(
            [sys.executable, Path(__file__).with_name("confined_attempt.py"), attempt, str(server.getsockname()[1]),
             tmp_path / "file"],
            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(REPO)},
        )  # fmt: skip
    if attempt == "connect_below_python" and "by the hook" in process.stdout:
        pytest.skip("this kernel grants no network namespace, and a hook of Python's sees no system call")
    assert process.stdout.startswith("refused"), process.stdout + process.stderr


def test_patches_that_are_not_flat_are_the_models_own_affair(tmp_path: Path) -> None:
    """PaddleOCR-VL keeps channels, rows and columns apart, although its config has a temporal size."""
    from transformers import PaddleOCRVLImageProcessorPil

    vision = {"patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_channels": 3}
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": vision}))
    processor = PaddleOCRVLImageProcessorPil(min_pixels=784, max_pixels=3136)
    inputs = processor(images=[Image.new("RGB", (56, 56))], return_tensors="np")
    assert inputs["pixel_values"].ndim == 4
    maker = SimpleNamespace(processor=SimpleNamespace(image_processor=processor))
    probe_process._check_patches(tmp_path, inputs, maker)

"""The numbers of a config that the probe reads as numbers of layers."""

import json
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.engine.probe import probe_process
from ray_jobs.engine.probe.probe_process import Fault

MANY = 11_021


@pytest.fixture(autouse=True)
def no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: None)


def try_config(folder: Path, value: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(value))
    probe_process._try_config(folder)


@pytest.mark.parametrize(
    "value",
    [
        {"label2id": {"depth gauge": MANY, "layers": MANY, "depth": MANY}},
        {"text_config": {"label2id": {"depth": MANY}}},
        {"id2label": {"layers": MANY}},
        {"depth_gauge_token_id": MANY},
    ],
)
def test_a_label_is_no_number_of_layers(value: dict[str, Any], tmp_path: Path) -> None:
    try_config(tmp_path, value)


@pytest.mark.parametrize(
    "value",
    [
        {"num_hidden_layers": MANY},
        {"vision_config": {"depth": MANY}},
        {"vision_config": {"depths": [2, MANY]}},
        {"n_layer": MANY},
        {"towers": [{"num_blocks": MANY}]},
    ],
)
def test_a_number_of_layers_has_a_limit(value: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Fault, match="asks for 11021"):
        try_config(tmp_path, value)

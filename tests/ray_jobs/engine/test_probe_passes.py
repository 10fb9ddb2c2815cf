"""Every model family, demo checkpoint, adapter and CLIP model passes the probe at the first try."""

from pathlib import Path

import pytest
from adapters import make_random_pair, write_adapter
from families import FAMILIES
from samples import upload
from tiny_clip import save_tiny_clip

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.probe.checkpoint_probe import PASSED_FOLDER, probe

DEMO = Path(__file__).parents[3] / "demo" / "checkpoints"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / PASSED_FOLDER


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_passes(name: str, families: dict[str, Path], cache: Path) -> None:
    probe(inspect.resolve(str(families[name])), ["Describe the image."])
    assert len(list(cache.iterdir())) == 1


def test_an_adapter_passes_with_its_bases_files(tmp_path: Path, cache: Path) -> None:
    module = "model.layers.0.self_attn.q_proj"
    adapter = write_adapter(tmp_path / "adapter", {module: make_random_pair((96, 96), 4, 0)})
    base = str(DEMO / "step-0300")
    probe(inspect.resolve(str(adapter), base))
    probe(inspect.resolve(base))
    assert len(list(cache.iterdir())) == 1


def test_a_clip_model_passes(tmp_path: Path, cache: Path) -> None:
    probe(inspect.resolve(str(save_tiny_clip(tmp_path / "clip"))), kind="clip")
    assert len(list(cache.iterdir())) == 1


def test_a_checkpoint_on_s3_passes_as_its_copy_did(s3: str, cache: Path) -> None:
    local = inspect.resolve(str(DEMO / "step-0800"))
    probe(local)
    files = {path.name: path.read_bytes() for path in (DEMO / "step-0800").iterdir()}
    probe(inspect.resolve(upload(f"{s3}/step-0800", files)))
    assert len(list(cache.iterdir())) == 1

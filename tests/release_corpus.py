"""The corpus of e0c6db2 planned anew: the demo's six checkpoints and its images, as they were when it was written."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stage_versions import use_released_versions

from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan
from ray_jobs.storage import uris

REPOSITORY = Path(__file__).parents[1]
CORPUS = REPOSITORY / "tests" / "corpus" / "e0c6db2"
WAS = "/srv/assay"  # its root was below, and so was the demo
IMAGES = f"{WAS}/demo/images"
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)  # the time of every image, which is part of the golden set's id
RUNS = {
    path.parent.parent.name.rpartition("-")[0]: path.parent.relative_to(CORPUS).as_posix()
    for path in sorted(CORPUS.glob("runs/*/*/spec.json"))
}


def restore(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay the corpus, the demo and its suite below a folder as if that release had run there; the root.

    The path of the images is part of the golden set's id, and no other path is part of any id. So the suite names the
    images where they were, and storage finds them below the folder, as a mount would have it. The stage versions are
    those of that release until the test ends.
    """
    use_released_versions(monkeypatch)
    local_path = uris.path_of
    monkeypatch.setattr(
        uris,
        "path_of",
        lambda uri: home / "demo" / "images" / uri[len(IMAGES) + 1 :] if uri.startswith(IMAGES) else local_path(uri),
    )
    root = home / "root"
    shutil.copytree(CORPUS, root)
    for file in root.rglob("*.json"):
        file.write_text(file.read_text().replace(f'"{WAS}/', f'"{home}/').replace(f"{home}/demo/images", IMAGES))
    demo = home / "demo"
    shutil.copytree(REPOSITORY / "demo" / "images", demo / "images")
    for file in (demo / "images").rglob("*"):
        os.utime(file, (WRITTEN.timestamp(), WRITTEN.timestamp()))
    for name in ("checkpoints", "judge"):
        shutil.copytree(REPOSITORY / "demo" / name, demo / name)
    shutil.copytree(demo / "checkpoints" / "step-0800", checkpoint_in(home, "step-0800-again"))
    (home / "dags" / "suites").mkdir(parents=True)
    suite = (REPOSITORY / "dags" / "suites" / "demo.yaml").read_text()
    assert "../../demo/images" in suite
    suite_in(home).write_text(suite.replace("../../demo/images", IMAGES))
    return root


def checkpoint_in(home: Path, name: str) -> Path:
    return home / (".assay/run" if name == "step-0800-again" else "demo") / "checkpoints" / name


def suite_in(home: Path) -> Path:
    return home / "dags" / "suites" / "demo.yaml"


def plan_again(home: Path, name: str) -> Spec:
    """The spec of the checkpoint by this version's code."""
    return plan(str(home / "root"), str(suite_in(home)), str(checkpoint_in(home, name)), by_hand=True)


def rewrite_as_newer(root: Path) -> None:
    """Every JSON file of the root as a next major version might write it: another schema and more keys at each level,
    the lines of the index too."""
    for file in root.rglob("*.json"):
        file.write_text(json.dumps(_as_newer(json.loads(file.read_text())) | {"schema": 99}))


def _as_newer(value: Any) -> Any:
    if isinstance(value, dict):
        line = {"schema": 99} if "run_uri" in value else {}
        return {key: _as_newer(item) for key, item in value.items()} | {"added": [1, {"x": None}]} | line
    return [_as_newer(item) for item in value] if isinstance(value, list) else value


def sums_of(root: Path) -> dict[str, tuple[str, int]]:
    """Of every file its SHA-256 and inode, which a replacement changes though the bytes be the same."""
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_ino)
        for path in root.rglob("*")
        if path.is_file()
    }

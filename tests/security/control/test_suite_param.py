"""The right to start a validation is the right to name a suite of the deployment, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from assay_airflow import tasks
from specs import write_checkpoint

from ray_jobs.inputs.errors import InputError
from ray_jobs.planning.suites import load_suite

SUITE = "name: small\ndataset: {source: images}\n"
PARAMS = {
    "absolute file": "{outside}/evil.yaml",
    "absolute file, yml": "{outside}/evil.yml",
    "file with a scheme": "file://{outside}/evil.yaml",
    "file on S3": "s3://bucket/evil.yaml",
    "name on S3": "s3://bucket/evil",
    "name on S3 without a key": "s3://",
    "web address": "https://example.com/evil.yaml",
    "parent": "../outside/evil",
    "parent with extension": "../outside/evil.yaml",
    "parent inside a name": "small/../../outside/evil",
    "here": "./small",
    "dot": ".",
    "two dots": "..",
    "backslashes": "..\\outside\\evil",
    "encoded slash": "..%2Foutside%2Fevil",
    "fullwidth slash": "..／outside／evil",
    "home": "~/evil.yaml",
    "home of root": "~root",
    "process": "/proc/self/environ",
    "device": "/dev/zero",
    "null byte": "small\0",
    "newline": "small\nevil",
    "escape": "small\x1b[31m",
    "bidi": "small\u202elmay.live",
    "surrogate": "small\udc80",
    "empty": "",
    "space": " ",
    "long": "x" * 5000,
    "template": "{{{{ macros.uuid.os.popen('id').read() }}}}",
    "variable": "$(id)",
    "glob": "sm*",
    "hidden": ".small",
    "option": "--suite",
    "upper extension": "small.YAML/..",
    "name with extension": "small.yaml",
    "link to a file outside": "linked",
    "link to a process": "environ",
    "link to itself": "loop",
    "folder": "folder",
    "pipe": "pipe",
    "large": "large",
}


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites with one good suite and odd ones, and a folder beside it that an outsider writes to."""
    import os

    suites, outside = tmp_path / "suites", tmp_path / "outside"
    for folder in (suites / "folder.yaml", outside, tmp_path / "suites" / "images"):
        folder.mkdir(parents=True)
    (suites / "images" / "a.png").write_bytes(b"png")
    (suites / "small.yaml").write_text(SUITE)
    (outside / "evil.yaml").write_text(SUITE)
    (outside / "evil.yml").write_text(SUITE)
    (suites / "linked.yaml").symlink_to(outside / "evil.yaml")
    (suites / "environ.yaml").symlink_to("/proc/self/environ")
    (suites / "loop.yaml").symlink_to(suites / "loop.yaml")
    (suites / "large.yaml").write_text(SUITE + "#" * 2**20)
    os.mkfifo(suites / "pipe.yaml")
    monkeypatch.setenv("ASSAY_SUITES", str(suites))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.delenv("ASSAY_SUITE_FILES", raising=False)
    return tmp_path


def params(deployment: Path, suite: str) -> dict[str, Any]:
    checkpoint = str(write_checkpoint(deployment / "step-1"))
    return {"checkpoint": checkpoint, "suite": suite, "baseline": None, "force": False, "following": None}


@pytest.mark.parametrize("suite", PARAMS.values(), ids=PARAMS.keys())
def test_only_a_suites_name_is_accepted(deployment: Path, suite: str) -> None:
    word = suite.format(outside=deployment / "outside")
    with pytest.raises(InputError) as caught:
        tasks.plan(params(deployment, word), "manual__1")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert not (deployment / "root").exists()


@pytest.mark.parametrize(
    "suite", ["../outside/evil", "/etc/passwd", "s3://b/x", "a/b", "..", "x\ny", "x" * 300, "{{ 7*7 }}", "\u202ex"]
)
def test_the_other_dags_take_names_only_too(deployment: Path, suite: str) -> None:
    (deployment / "run" / "step-1").mkdir(parents=True)
    with pytest.raises(InputError):
        tasks.reconcile("manual", lambda *_: 0, str(deployment / "run"), suite)
    with pytest.raises(InputError):
        tasks.select_audits(None, suite)


@pytest.mark.parametrize("value", ["", "0", "true", "yes", " 1", "01"])
def test_suite_files_are_accepted_only_with_the_setting_1(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ASSAY_SUITE_FILES", value)
    with pytest.raises(InputError, match="ASSAY_SUITE_FILES=1"):
        load_suite(str(deployment / "outside" / "evil.yaml"))


def test_suite_files_are_accepted_by_the_setting_and_by_hand(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(deployment / "outside" / "evil.yaml")
    assert load_suite(file, by_hand=True).name == "small"
    monkeypatch.setenv("ASSAY_SUITE_FILES", "1")
    assert load_suite(file).name == "small"
    assert tasks.plan(params(deployment, "small"), "manual__1").endswith("/spec.json")


def test_suites_of_a_config_map_are_links_within_their_folder(deployment: Path) -> None:
    """Kubernetes mounts `x.yaml -> ..data/x.yaml -> ..2026_11_30/x.yaml`."""
    suites = deployment / "suites"
    (suites / "..2026_11_30").mkdir()
    (suites / "..2026_11_30" / "mounted.yaml").write_text(SUITE.replace("small", "mounted"))
    (suites / "..data").symlink_to("..2026_11_30")
    (suites / "mounted.yaml").symlink_to("..data/mounted.yaml")
    assert load_suite("mounted").name == "mounted"


def test_an_update_of_a_config_map_moves_no_path_of_a_suite(deployment: Path) -> None:
    """A path is part of the golden set's id: with the folder's name of each update, all would be captioned anew."""
    suites = deployment / "suites"
    paths = []
    for update in ("..2026_11_30", "..2026_12_01"):
        (suites / update).mkdir()
        text = SUITE.replace("small", "mounted").replace(
            "dataset: {", "dataset: {label: label, label_names: names.txt, "
        )
        (suites / update / "mounted.yaml").write_text(text)
        (suites / update / "names.txt").write_text("cat\ndog\n")
        (suites / "..data").unlink(missing_ok=True)
        (suites / "..data").symlink_to(update)
        for name in ("mounted.yaml", "names.txt"):
            (suites / name).unlink(missing_ok=True)
            (suites / name).symlink_to(f"..data/{name}")
        paths.append(load_suite("mounted").dataset.label_names)
    assert paths == [str(suites.resolve() / "names.txt")] * 2

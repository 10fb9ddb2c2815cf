"""Specs lie beside results: write access there must not allow code to run on Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import make_spec as made_spec

from ray_jobs.comparison.comparable_metrics import load_known_metrics
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.job import frame
from ray_jobs.planning.suite_files import CODE_BYTES, check_code, read_text
from ray_jobs.planning.suites import load_suite
from ray_jobs.storage import objects

GOOD = "from ray_jobs.metrics import Metric as M\nMETRIC = M('polite', 'share', 1, (0, 1), measure=lambda x: 1)\n"
EVIL = "open({mark!r}, 'w').write('ran')\n"


class Deployment:
    def __init__(self, folder: Path) -> None:
        self.folder, self.suites, self.root = folder, folder / "suites", folder / "root"
        self.mark = folder / "ran"
        (self.suites / "own").mkdir(parents=True)
        (self.suites / "polite.py").write_text(GOOD)
        self.evil = EVIL.format(mark=str(self.mark)) + GOOD

    def spec(self, code: dict[str, str], sources_given: tuple[str, ...] = ()) -> Spec:
        spec_made = made_spec(root=str(self.root))
        metrics = spec_made.suite.metrics.model_copy(update={"own": sources_given})
        suite = spec_made.suite.model_copy(update={"metrics": metrics})
        spec_made = spec_made.model_copy(update={"own_metrics": code, "suite": suite})
        objects.write(spec_made.uri, spec_made.model_dump_json().encode())
        return spec_made


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    new_deployment = Deployment(tmp_path)
    monkeypatch.setenv("ASSAY_SUITES", str(new_deployment.suites))
    monkeypatch.setattr(frame, "connect", lambda: None)
    return new_deployment


def write(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def link(file: Path, to: Path | str) -> str:
    file.symlink_to(to)
    return str(file)


Attack = Callable[[Deployment], tuple[dict[str, str], tuple[str, ...]]]
ATTACKS: dict[str, Attack] = {
    "code that no suite has": lambda d: ({"polite": d.evil}, ()),
    "another name": lambda d: ({"evil": d.evil}, ()),
    "good code under another name": lambda d: ({"other": GOOD}, ()),
    "one line added": lambda d: ({"polite": GOOD + d.evil}, ()),
    "one good, one evil": lambda d: ({"polite": GOOD, "evil": d.evil}, ()),
    "the suite's path": lambda d: ({"polite": d.evil}, (str(d.suites / "polite.py"),)),
    "a file below the root": lambda d: ({"polite": d.evil}, (write(d.root / "polite.py", d.evil),)),
    "a file in another folder": lambda d: ({"polite": d.evil}, (write(d.folder / "x" / "polite.py", d.evil),)),
    "a link to the results": lambda d: (
        {"polite": d.evil}, (link(d.folder / "polite.py", write(d.root / "e.py", d.evil)),)),
    "a file on S3": lambda d: ({"polite": d.evil}, ("s3://bucket/polite.py",)),
    "a name with a path": lambda d: ({"../root/polite": write(d.root / "polite.py", d.evil) and d.evil}, ()),
    "a name of letters only at its end": lambda d: ({"/tmp/x": d.evil}, ()),
    "an empty name": lambda d: ({"": d.evil}, ()),
    "a name with a newline": lambda d: ({"polite\n": GOOD}, ()),
    "half a surrogate": lambda d: ({"polite": GOOD + "# \\udc80"}, ()),
    "another end of lines": lambda d: ({"polite": GOOD.replace("\n", "\r\n")}, ()),
    "a mark at the beginning": lambda d: ({"polite": "\ufeff" + GOOD}, ()),
    "far too long": lambda d: ({"polite": GOOD + "#" * 2**20}, ()),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("files", ["", "1"], ids=["by name", "files allowed"])
def test_a_job_runs_no_code_that_only_the_spec_has(
    deployment: Deployment, attack: Attack, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SUITE_FILES", files)
    code, own_code = attack(deployment)
    spec = deployment.spec(code, own_code)
    if files and own_code == (str(deployment.folder / "x" / "polite.py"),):
        check_code(spec)  # that is what the deployment allowed
        return
    worked: list[Spec] = []
    assert frame.run("evaluate", worked.append, spec.uri) == frame.BAD_INPUT
    assert worked == []
    assert not deployment.mark.exists()
    message = json.loads(objects.read(f"{spec.run_uri}/failure.json"))["message"]
    assert "deploy the same suites" in message
    assert message.isprintable()


@pytest.mark.parametrize("place", ["polite.py", "own/polite.py"])
def test_the_suites_own_code_is_run(deployment: Deployment, place: str) -> None:
    (deployment.suites / "polite.py").unlink()
    (deployment.suites / place).write_text(GOOD)
    spec = deployment.spec({"polite": GOOD})
    worked: list[Spec] = []
    assert frame.run("evaluate", worked.append, spec.uri) == 0
    assert worked == [spec]


def test_comparing_two_runs_runs_no_code_of_theirs(deployment: Deployment) -> None:
    known = load_known_metrics(deployment.spec({"polite": deployment.evil, "chaste": GOOD}))
    assert "polite" not in known
    assert not deployment.mark.exists()
    assert "polite" in load_known_metrics(deployment.spec({"polite": GOOD}))


CHANGED: dict[str, dict[str, Any]] = {
    "another checkpoint": {"checkpoint": {"uri": "/x", "name": "x", "fingerprint": "0" * 16}},
    "another root": {"root": "/tmp/elsewhere"},
    "another revision": {"source_revision": "r2"},
    "another request": {"force": "again"},
    "a baseline": {
        "baseline": {"run_id": "a" * 16, "run_uri": "/r", "caption_id": "b" * 16,
                     "checkpoint": {"uri": "/x", "name": "x", "fingerprint": "0" * 16}}
    },
    "synonyms": {"synonyms": {"cat": ["dog"]}},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_a_spec_that_does_not_fit_its_folder_is_refused(deployment: Deployment, change: dict[str, Any]) -> None:
    spec = deployment.spec({})
    objects.write(spec.uri, json.dumps(json.loads(spec.model_dump_json()) | change).encode())
    worked: list[Spec] = []
    assert frame.run("evaluate", worked.append, spec.uri) == frame.BAD_INPUT
    assert worked == []


OWN = {
    "parent": "../outside/polite.py",
    "parent within": "own/../../outside/polite.py",
    "absolute": "{folder}/outside/polite.py",
    "scheme": "file://{folder}/outside/polite.py",
    "on S3": "s3://bucket/polite.py",
    "linked": "linked/polite.py",
    "link to a file": "polite_link.py",
    "link to a process": "environ.py",
    "link to itself": "loop.py",
    "pipe": "pipe.py",
    "large": "large.py",
    "binary": "binary.py",
    "web": "https://example.com/polite.py",
}


@pytest.mark.parametrize("file_names", OWN.values(), ids=OWN.keys())
def test_a_suite_names_code_beside_it_only(deployment: Deployment, file_names: str) -> None:
    import os

    suites = deployment.suites
    write(deployment.folder / "outside" / "polite.py", GOOD)
    link(suites / "linked", deployment.folder / "outside")
    link(suites / "polite_link.py", deployment.folder / "outside" / "polite.py")
    link(suites / "environ.py", "/proc/self/environ")
    link(suites / "loop.py", suites / "loop.py")
    os.mkfifo(suites / "pipe.py")
    write(suites / "large.py", "#" * 2**20)
    (suites / "binary.py").write_bytes(b"\xff\xfe")
    text = (
        f"name: s\ndataset: {{source: s3://b/i}}\nmetrics: {{own: ['{file_names.format(folder=deployment.folder)}']}}\n"
    )
    write(suites / "s.yaml", text)

    def read_all() -> list[str]:
        return [read_text(file, "metric", CODE_BYTES) for file in load_suite("s").metrics.own]

    with pytest.raises(InputError) as error:
        read_all()
    assert str(error.value).isprintable()

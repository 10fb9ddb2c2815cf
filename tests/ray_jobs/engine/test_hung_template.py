"""A chat template that computes forever, with Ray and vLLM: only its own job fails, and the next one runs.

The caption job is the real one. Where the template must get past the confined trial, the test leaves in the node's
cache what a trial that it passed would have left.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray_cluster
from ray_cluster import Cluster
from stage_jobs import (
    DEMO,
    GOOD,
    PROMPT,
    assert_every_image_once,
    copy_golden_set,
    plan_spec,
    read_rows,
    run_stage,
    start_stage,
    wait_for_exit,
    wait_until,
)

from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.prompt_tokens import texts_for_model
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.probe import checkpoint_probe
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.engine.server.renderers import RendererProcess
from ray_jobs.storage import manifests, objects

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_starts")]

NEXT = DEMO / "checkpoints" / "step-0300"
SILENCE = 20  # seconds, a third of the default: two engines hang one after the other, each for half as long again
TRIAL_SECONDS = "20"
HOLDS_THE_LOCK = "{% set n = 9 %}{{ (n ** (n ** n)) }}"  # one operation: no other thread of the process runs
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for this file alone, with shorter time limits for engines."""
    variables = {
        "ASSAY_CACHE": str(tmp_path_factory.mktemp("checkpoints")),
        "ASSAY_SOURCES": str(tmp_path_factory.getbasetemp()),
        "ASSAY_ENGINE_SILENCE": str(SILENCE),
        "ASSAY_FORK_SERVER": "on",  # for renderers, which the engine's actor starts
    }
    with ray_cluster.start_cluster(variables) as address:
        yield address


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for scene in sorted((DEMO / "images" / "scenes").iterdir())[:12]:
        shutil.copy(scene, folder)
    return folder


@pytest.fixture
def golden(on_cluster: Cluster, scenes: Path) -> Spec:
    """A spec whose golden set exists, of the scenes."""
    spec = plan_spec(scenes.parent, str(scenes.parent / "golden-root"), str(NEXT), str(scenes))
    if manifests.load_manifest(spec.golden_uri) is None:
        run_stage("preprocess", spec)
    return spec


def hostile_run(folder: Path, golden: Spec, template: str, renderers: int | None = None) -> tuple[Spec, Spec]:
    """The specs of a checkpoint with this template and of the next checkpoint, over one existing golden set."""
    hostile = Path(shutil.copytree(GOOD, folder / "step-0800"))
    (hostile / "chat_template.jinja").write_text(template + (GOOD / "chat_template.jinja").read_text())
    root, source, engine = str(folder / "root"), golden.suite.dataset.source, {"renderers": renderers}
    first, second = (plan_spec(folder, root, str(model), source, engine=engine) for model in (hostile, NEXT))
    copy_golden_set(golden, first)
    return first, second


def let_pass(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record in the node's cache that the checkpoint's files passed the probe."""
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_probe, "_run_probe", lambda *_: None)
        probe(spec.checkpoint, [PROMPT], texts=texts_for_model(spec.suite))


def run_refused_job(
    spec: Spec, timeout: float, report: Callable[[str], None], **environment: str
) -> tuple[str, Failure]:
    """The output of a caption job that ends with an input error, and its failure. Prints how long the job took."""
    began = time.time()
    result = wait_for_exit(start_stage("caption", spec, **environment), timeout)
    assert result.code == 2, result.output[-5000:]
    assert not objects.exists(f"{spec.captions_uri}/manifest.json")
    failure = Failure.model_validate_json(objects.read(f"{spec.run_uri}/failure.json"))
    assert failure.kind == "bad-input"
    assert failure.message.startswith(f"checkpoint {spec.checkpoint.uri}: ")
    report(f"bad input after {failure.at.timestamp() - began:.1f} s: {failure.message}")
    return result.output, failure


def assert_next_is_captioned(spec: Spec, failure: Failure, report: Callable[[str], None]) -> None:
    """The next job completes. Prints how long after the failure its engine got the first request."""
    result = wait_for_exit(start_stage("caption", spec))
    assert result.code == 0, result.output[-5000:]
    assert_every_image_once(spec)
    answers = read_rows(spec.captions_uri)
    assert len(answers) == 12
    assert all(answer["caption"] for answer in answers)
    after = min(answer["arrived"] for answer in answers) - failure.at.timestamp()
    report(f"the next engine was asked {after:.1f} s after the failed job's end")


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {line}")

    return print_line


def test_the_job_ends_before_an_engine_starts(
    on_cluster: Cluster, golden: Spec, tmp_path: Path, report: Callable[[str], None]
) -> None:
    on_cluster.end_engines()
    hostile, following = hostile_run(tmp_path, golden, LOOPS)
    output, failure = run_refused_job(hostile, 240, report, ASSAY_PROBE_SECONDS=TRIAL_SECONDS)
    assert f"its chat template did not load and work within {TRIAL_SECONDS} s" in failure.message
    assert "engine:" not in output
    assert not on_cluster.processes("WarmEngine")
    assert_next_is_captioned(following, failure, report)


@pytest.mark.parametrize("renderers", [None, 2], ids=["rendered by itself", "rendered beside it"])
@pytest.mark.parametrize("template", [LOOPS, HOLDS_THE_LOCK], ids=["loops", "one operation that holds Python's lock"])
def test_past_its_trial_it_costs_its_engine_only(
    on_cluster: Cluster,
    golden: Spec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[str], None],
    renderers: int | None,
    template: str,
) -> None:
    """If no thread of the process runs, its watchdog ends it; otherwise the engine that waits for its renderer does."""
    on_cluster.end_engines()
    if template == HOLDS_THE_LOCK and not renderers:  # one of the four, whose engines are not forked
        monkeypatch.delenv("ASSAY_FORK_SERVER")
    hostile, following = hostile_run(tmp_path, golden, template, renderers)
    let_pass(hostile, monkeypatch)
    failure = run_refused_job(hostile, 600, report)[1]
    assert "without an end; mend these files" in failure.message
    if template == LOOPS and not renderers:  # renderers share the processors, so either of two limits comes first
        assert f"computed for {SILENCE // 2} s" in failure.message
    wait_until(lambda: not [*on_cluster.processes("WarmEngine"), *on_cluster.processes(RendererProcess.__name__)], 60)
    wait_until(lambda: not on_cluster.engines(), 60)  # nothing keeps its GPU
    assert_next_is_captioned(following, failure, report)

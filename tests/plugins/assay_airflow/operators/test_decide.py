"""What a person is asked about a run, and what becomes of the answer. e2e/test_validation.py asks in a real Airflow."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException, ParamValidationError
from assay_airflow.operators.decide import AskOperator, DecideOperator, build_question
from specs import make_record

from ray_jobs.contract.artifacts import Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import decisions, objects, records

HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1)) `*_"
ADA = {"id": "7", "name": "ada"}


@pytest.fixture(autouse=True)
def _root(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROOT", spec.root)


def publish(spec: Spec, outcome: str, ask: tuple[str, ...] = ()) -> Spec:
    """Publish the spec's run; returns the spec, as it is stored, of a suite that asks about these outcomes."""
    suite = spec.suite.model_copy(update={"gate": spec.suite.gate.model_copy(update={"ask": ask})})
    spec = spec.model_copy(update={"suite": suite})
    objects.write(spec.uri, spec.model_dump_json().encode())
    records.publish(spec.root, make_record(spec, outcome))
    return spec


def answer(spec: Spec, option: str = "Accept", reason: str = "seen by us", outcome: str = "FAIL") -> str:
    """Answer the question about the spec's run as Airflow hands the answer on."""
    operator = DecideOperator(task_id="decide")
    event = {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_at": None,
        "responded_by_user": ADA,
    }
    ti = SimpleNamespace(xcom_pull=lambda **_: outcome)  # what the question was about
    context: Any = {"params": {"run": f"{spec.run_uri}/record.json"}, "ti": ti}
    return operator.execute_complete(context, event | {"responded_at": SimpleNamespace(isoformat=str)})


def test_an_answer_is_kept_with_its_reason_and_who_gave_it(spec: Spec) -> None:
    publish(spec, "FAIL")
    assert answer(spec).startswith("FAIL accepted by ada, 20")
    assert answer(spec, "Reject", "no more").startswith("FAIL rejected by ada, 20")
    kept = decisions.list_decisions(spec.root, "small")
    assert [(each.accepted, each.reason, each.decided_by) for each in kept] == [
        (True, "seen by us", "ada"),
        (False, "no more", "ada"),
    ]
    assert records.read(spec.run_uri).verdict.outcome == "FAIL"


def test_an_answer_about_another_outcome_is_refused(spec: Spec) -> None:
    """The run was evaluated again while the question waited."""
    publish(spec, "INCONCLUSIVE")
    with pytest.raises(InputError, match="question was about FAIL, and it is INCONCLUSIVE now; clear the task"):
        answer(spec)
    assert decisions.list_decisions(spec.root, "small") == []


def test_an_answer_without_a_reason_is_refused(spec: Spec) -> None:
    publish(spec, "FAIL")
    for reason in ("", "  "):
        with pytest.raises(InputError, match="its reason has 0 characters"):
            answer(spec, reason=reason)
    with pytest.raises(ParamValidationError):
        answer(spec, reason="x" * 2001)
    assert decisions.list_decisions(spec.root, "small") == []


@pytest.mark.parametrize("run", ["s3://elsewhere/runs/step-1/abc", "{root}/runs/../runs/step-1/abc", "{root}/x", "/"])
def test_a_run_elsewhere_is_refused(spec: Spec, run: str) -> None:
    """A person who may trigger the DAG could otherwise have Airflow write where only Airflow may."""
    context: Any = {"params": {"run": run.format(root=spec.root)}}
    operator = DecideOperator(task_id="decide")
    with pytest.raises(InputError, match=r"no folder .*/runs/CHECKPOINT/RUN; name a published run"):
        operator.execute(context)


def test_without_an_answer_the_verdict_stands(spec: Spec) -> None:
    operator = DecideOperator(task_id="decide")
    with pytest.raises(AirflowSkipException, match="nobody answered in time: the verdict stands"):
        operator.process_trigger_event_error({"error_type": "timeout", "error": "late"})


def test_the_form_asks_for_the_reason_only(spec: Spec) -> None:
    operator = DecideOperator(task_id="decide")
    assert list(operator.serialized_params) == ["reason"]
    assert operator.options == ["Accept", "Reject"]


def test_text_from_outside_is_no_markdown(spec: Spec) -> None:
    record = make_record(spec, "FAIL")
    checkpoint = record.checkpoint.model_copy(update={"name": HOSTILE + "\x1b[31m\n# big"})
    verdict = Verdict(outcome="FAIL", reason=HOSTILE + "\n\n# big", baseline=None, alpha=0.0027)
    subject, body = build_question(record.model_copy(update={"checkpoint": checkpoint, "verdict": verdict}))
    assert subject.startswith("Overrule the FAIL of <script>")  # a headline is shown as text
    assert "\n" not in subject
    assert "\x1b" not in subject
    assert r"\<script\>alert\(1\)\</script\> \[x\]\(javascript\:alert\(1\)\) \`\*\_" in body
    assert not any(line.startswith("#") for line in body.splitlines())


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"])
def test_only_what_the_suite_names_is_asked(spec: Spec, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    triggered: list[Any] = []
    monkeypatch.setattr(
        TriggerDagRunOperator, "execute", lambda self, _: triggered.append((self.trigger_run_id, self.conf))
    )
    for ask in ((), ("FAIL", "INCONCLUSIVE")):
        stored = publish(spec, outcome, ask)
        operator = AskOperator(task_id="ask", spec_uri=stored.uri)
        if outcome in ask:
            operator.execute({})
        else:
            with pytest.raises(AirflowSkipException, match=f"^{outcome}: the suite asks nobody about it"):
                operator.execute({})
    expected = (f"{spec.checkpoint.folder}__{spec.run_id}__{outcome}", {"run": spec.run_uri})
    assert triggered == ([expected] if outcome in ("FAIL", "INCONCLUSIVE") else [])

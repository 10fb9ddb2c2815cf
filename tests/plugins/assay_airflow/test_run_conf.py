from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from assay_airflow.run_conf import check_conf, check_params

from ray_jobs.inputs.errors import InputError

VALIDATE, ROUTE, AUDIT = "validate_checkpoint", "checkpoint_router", "audit_engine"
WRONG: dict[str, tuple[str, dict[Any, Any], str]] = {
    "a letter left out": (VALIDATE, {"checkpoint": "/c", "sute": "nightly"}, "'sute'; did you mean 'suite'?"),
    "a capital": (VALIDATE, {"checkpoint": "/c", "Baseline": "none"}, "'Baseline'; did you mean 'baseline'?"),
    "capitals": (VALIDATE, {"CHECKPOINT": "/c"}, "'CHECKPOINT'; did you mean 'checkpoint'?"),
    "a dash": (VALIDATE, {"checkpoint": "/c", "appear-minutes": 5}, "'appear-minutes'; did you mean 'appear_minutes'?"),
    "the router's key": (VALIDATE, {"checkpoints": "/d"}, "'checkpoints'; did you mean 'checkpoint'"),
    "the validation's key": (ROUTE, {"checkpoint": "/c"}, "'checkpoint'; did you mean 'checkpoints'?"),
    "a key of the validation": (ROUTE, {"baseline": "none"}, "'baseline'; known: checkpoints, suite, occ"),
    "the audit's": (AUDIT, {"checkpoints": "/c"}, "'checkpoints'; did you mean 'checkpoint'?"),
    "the audit's with a force": (AUDIT, {"force": True}, "'force'; known: checkpoint, suite"),
    "nested": (VALIDATE, {"conf": {"checkpoint": "/c"}}, "'conf'; known: checkpoint, suite"),
    "nothing like it": (VALIDATE, {"checkpoint": "/c", "x\ny": 1}, "'x\\x0ay'; known: checkpoint"),
    "a number": (VALIDATE, {7: 1}, "'7'; known: checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize(("dag_id", "conf", "message"), WRONG.values(), ids=WRONG.keys())
def test_an_unknown_key_is_refused_with_the_known_ones(dag_id: str, conf: Any, message: str) -> None:
    context: Any = {"dag_run": SimpleNamespace(conf=conf), "dag": SimpleNamespace(dag_id=dag_id)}
    checks: tuple[Callable[[], None], ...] = (lambda: check_conf(context), lambda: check_params(conf, dag_id))
    for refuse in checks:
        with pytest.raises(InputError) as caught:
            refuse()
        assert str(caught.value).startswith(f"unknown param {message}")


@pytest.mark.parametrize("conf", [None, {}, {"suite": "demo"}, {"checkpoint": "/c", "suite": None}])
def test_a_conf_of_known_keys_passes(conf: Any) -> None:
    check_conf({"dag_run": SimpleNamespace(conf=conf), "dag": SimpleNamespace(dag_id=AUDIT)})  # type: ignore[typeddict-item]

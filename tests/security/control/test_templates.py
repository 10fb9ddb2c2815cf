"""Text from outside is never rendered as a template: folder names, params, a run's conf, XComs and run ids."""

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from assay_airflow.operators.untemplated import UntemplatedOperator
from rendering import BAG, TASKS, render, texts

COMMAND = "macros.uuid.os.system('touch canary')"
TEMPLATES = {
    "an-expression": "{{ 7*7 }}",
    "a-command": f"{{{{ {COMMAND} }}}}",
    "a-command-in-a-statement": f"{{% if {COMMAND} %}}{{% endif %}}",
    "a-command-by-do": f"{{% do {COMMAND} %}}",
    "a-command-of-a-loop": f"{{% for x in [{COMMAND}] %}}{{{{ x }}}}{{% endfor %}}",
    "a-template-that-makes-one": "{{ '{{ 7*7 }}' }}",
    "the-run": "{{ ti.run_id }}{{ params }}",
    "secrets": "{{ conn.ray_default.password }}{{ var.value.secret }}",
    "the-environment": "{{ macros.uuid.os.environ }}",
    "an-unknown-name": "{{ nobody_knows_this }}",
    "an-unclosed-one": "{{ 7*7",
    "a-comment": "a{# gone #}b",
    "an-include": "{% include '/etc/passwd' %}",
    "the-name-of-a-file": "/etc/passwd.sql",
    "raw": "{% raw %}{{ 7*7 }}{% endraw %}",
    "ends-a-string": "'}}{{ 7*7 }}{{'",
    "line-statement": "# for x in [1]\n{{ x }}",
}
MAPPED = {"validate": ("trigger_run_id", "conf"), "audit": ("spec_uri",)}
HOSTILE = [pytest.param(template, id=name) for name, template in TEMPLATES.items()]


def confs_with(template: str) -> dict[str, dict[str, Any]]:
    """A conf for each DAG, with the template in every value that a person or the router may set."""
    uri = f"s3://{template}/step-1 {template}"
    return {
        "validate_checkpoint": {
            "checkpoint": uri,
            "suite": template,
            "baseline": uri,
            "following": uri,
            template: {template: [template]},
        },
        "checkpoint_router": {"checkpoints": uri, "suite": template, template: template},
        "audit_engine": {"checkpoint": uri, "suite": template, template: template},
        "decide_run": {"run": uri, template: template},
        "late_verdicts": {"suite": template, template: template},
    }


def xcoms_with(template: str) -> dict[str, Any]:
    """The tasks' return values, with the template in each part that comes from outside."""
    spec_uri = f"s3://{template}/runs/step-1 {template}-f00/{template}/spec-{template}.json"
    conf = {"checkpoint": f"s3://c/step-1 {template}", "suite": template, "following": template}
    return {
        "plan": spec_uri,
        "plan_following": spec_uri,
        "preprocess": template,
        "caption": template,
        "evaluate": template,
        "publish": {"checkpoint": template, "reason": template},
        "reconcile": [{"trigger_run_id": f"router__{template}", "conf": conf | {template: [template]}}],
        "choose": [spec_uri],
    }


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("template", HOSTILE)
@pytest.mark.parametrize(("dag_id", "task_id"), TASKS, ids=[f"{dag_id}.{task_id}" for dag_id, task_id in TASKS])
def test_a_template_in_conf_or_xcom_stays_text(dag_id: str, task_id: str, template: str, tmp_path: Path) -> None:
    conf, xcoms = confs_with(template)[dag_id], xcoms_with(template)
    run_id = f"manual__{template}"
    task, _ = render(dag_id, task_id, run_id, conf, xcoms)
    assert list(tmp_path.iterdir()) == [], "the command was run"
    given = set(texts(conf)) | set(texts(xcoms)) | {run_id}
    for field in (*task.template_fields, *MAPPED.get(task_id, ())):
        for text in texts(getattr(task, field)):
            assert text in given or template not in text, (field, text)
            assert "49" not in text, (field, text)


@pytest.mark.parametrize("template", HOSTILE)
def test_the_router_passes_a_folder_name_unchanged(template: str) -> None:
    xcoms = xcoms_with(template)
    task, label = render("checkpoint_router", "validate", "manual__1", {}, xcoms)
    assert {"trigger_run_id": task.trigger_run_id, "conf": task.conf} == xcoms["reconcile"][0]
    assert label == task.trigger_run_id


@pytest.mark.parametrize("template", HOSTILE)
@pytest.mark.parametrize("task_id", ["preprocess", "caption", "evaluate", "golden_ready"])
def test_a_stage_loads_the_spec_that_was_planned(template: str, task_id: str) -> None:
    xcoms = xcoms_with(template)
    conf = confs_with(template)["validate_checkpoint"]
    task, _ = render("validate_checkpoint", task_id, "manual__1", conf, xcoms)
    assert task.spec_uri == xcoms["plan"]
    assert getattr(task, "next_spec_uri", None) == (xcoms["plan_following"] if task_id == "caption" else None)


@pytest.mark.parametrize("template", HOSTILE)
def test_an_audit_loads_the_spec_that_was_chosen(template: str) -> None:
    xcoms = xcoms_with(template)
    task, label = render("audit_engine", "audit", "manual__1", confs_with(template)["audit_engine"], xcoms)
    assert task.spec_uri == xcoms["choose"][0]
    assert label == xcoms["choose"][0].split("/")[-3][:250]


@pytest.mark.parametrize("template", HOSTILE)
def test_the_sensor_waits_for_the_checkpoint_of_the_conf(template: str) -> None:
    conf = confs_with(template)["validate_checkpoint"]
    task, _ = render("validate_checkpoint", "wait_for_checkpoint", "manual__1", conf, xcoms_with(template))
    assert (task.checkpoint, task.appear_minutes) == (conf["checkpoint"], "0")


@pytest.mark.parametrize(
    ("dag_id", "task_id"), [ids for ids in TASKS if BAG.dags[ids[0]].get_task(ids[1]).is_mapped], ids=str
)
def test_a_mapped_operator_has_no_template_fields_or_is_untemplated(dag_id: str, task_id: str) -> None:
    operator: type[BaseOperator] = BAG.dags[dag_id].get_task(task_id).operator_class
    assert not operator.template_fields or issubclass(operator, UntemplatedOperator)


@pytest.mark.parametrize(("dag_id", "task_id"), TASKS, ids=[f"{dag_id}.{task_id}" for dag_id, task_id in TASKS])
@pytest.mark.parametrize("length", [101, 251, 5000])
def test_a_label_fits_its_column(dag_id: str, task_id: str, length: int) -> None:
    _, label = render(dag_id, task_id, "manual__1", confs_with("x")[dag_id], xcoms_with("x" * length))
    assert len(label) <= 250

from types import SimpleNamespace
from urllib.parse import parse_qs, urljoin, urlsplit

from assay_airflow.links import ExplorerLink, ReportLink

KEY = SimpleNamespace(dag_id="validate_checkpoint", run_id="manual__2026-11-30T02:29:12+00:00")


def test_the_explorers_url_keeps_the_run_id_and_the_prefix_of_a_proxy() -> None:
    url = urljoin("https://host/team/airflow/", ExplorerLink().get_link(SimpleNamespace(), ti_key=KEY))
    assert urlsplit(url).path == "/team/airflow/assay/"
    assert parse_qs(urlsplit(url).query) == {
        "page": ["explorer"],
        "dag": ["validate_checkpoint"],
        "dag_run": ["manual__2026-11-30T02:29:12+00:00"],
    }


def test_the_report_is_that_of_the_run_and_has_no_button_before_there_is_one() -> None:
    operator = SimpleNamespace(run_uri="s3://bucket/root/runs/step-1-0000ffff/0123")
    assert ReportLink().get_link(operator, ti_key=KEY) == "assay/api/report?run=step-1-0000ffff/0123"
    assert ReportLink().get_link(SimpleNamespace(run_uri=None), ti_key=KEY) == ""

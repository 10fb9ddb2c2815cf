"""Links of the report: they lead to files that exist, from every folder that a report lies in."""

import re
from pathlib import Path

import pytest
from report_case import ReportCase, make_images, make_results

from ray_jobs.report.links import Links, measure_depth, move_links, path_of_run, read_pages_url
from ray_jobs.report.write_report import write_report


def test_a_link_climbs_to_the_root() -> None:
    assert Links(3).to_file("runs/a b/r/report.html") == "../../../runs/a%20b/r/report.html"
    assert Links().to_file("x") == ""
    assert Links(3).to_page("run", "step-1-abc/r") == ""
    assert Links(3, "https://host/assay/").to_page("run", "step-1-abc/r") == (
        "https://host/assay/?page=run&run=step-1-abc/r"
    )


@pytest.mark.parametrize("root", ["/root", "s3://bucket/prefix"])
def test_the_depth_of_a_folder_and_the_run_in_it(root: str) -> None:
    assert measure_depth(root, f"{root}/runs/step-1/r") == 3
    assert measure_depth(root, f"{root}/runs/step-1/r/forced/x/y") == 6
    assert path_of_run(root, f"{root}/runs/step-1/r") == "step-1/r"
    assert path_of_run(root, "/elsewhere/runs/step-1/r") == ""


def test_links_move_with_a_copy_and_texts_do_not() -> None:
    page = b'<a href="../../../../x.html">&#34;href=&#34;../../../../x</a> <a href="#metrics"></a>'
    assert move_links(page, 4, 2) == page.replace(b'href="../../../../', b'href="../../')


def test_every_link_of_a_report_leads_to_a_file(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(12), make_results(12, -40), make_results(12), rejected={"corrupt": 1})
    assert case.spec.baseline
    links = re.findall(r'href="(\.\./[^"]+)"', case.html)
    targets = {str(Path(case.uri).parent.joinpath(link).resolve()) for link in links}
    assert targets == {f"{case.spec.baseline.run_uri}/report.html", f"{case.spec.golden_uri}/rejects.html"}


def test_the_pages_are_linked_where_their_address_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ReportCase(tmp_path, make_images(3), make_results(3, -9), make_results(3))
    assert "?page=" not in case.html
    monkeypatch.setenv("ASSAY_PAGES_URL", "https://airflow.example.com/prefix/assay")
    write_report(case.spec, case.scores, case.verdict)
    html = Path(case.uri).read_text()
    run = f"{case.spec.checkpoint.folder}/{case.spec.run_id}"
    for page in ("run", "explorer"):
        assert f'href="https://airflow.example.com/prefix/assay/?page={page}&amp;run={run}" target="_blank"' in html


def test_an_address_that_a_browser_would_run_is_no_link(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ASSAY_PAGES_URL", "javascript:alert(1)")
    assert read_pages_url() == ""
    assert "ASSAY_PAGES_URL is not a web address" in caplog.text

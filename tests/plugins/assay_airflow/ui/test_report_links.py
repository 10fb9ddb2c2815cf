"""The links of a stored report, where the pages serve it: routes instead of files."""

from assay_airflow.ui.report_links import serve_links

RUN = "step-0809-5acd7fa7/f0e3217764502e59"


def test_a_link_to_a_report_is_its_route() -> None:
    page = b'<a href="../../../runs/step-0800-85c1c95b/c09b490d730c17e6/report.html"><title>step-0800</title></a>'
    assert serve_links(page, RUN) == (
        b'<a href="report?run=step-0800-85c1c95b%2Fc09b490d730c17e6"><title>step-0800</title></a>'
    )
    of_forced_run = page.replace(b"../../../", b"../../../../../")
    assert serve_links(of_forced_run, RUN) == serve_links(page, RUN)


def test_the_rejects_are_the_explorers() -> None:
    page = b'<a href="../../../golden/8ae93010dd1c4db8/rejects.html">rejects</a>'
    assert serve_links(page, RUN) == (
        b'<a href="../?page=explorer&amp;run=step-0809-5acd7fa7%2Ff0e3217764502e59&amp;status=rejected">rejects</a>'
    )


def test_all_else_stays() -> None:
    page = (
        b'<a href="#metrics">Metrics</a><a href="https://host/?page=run">x</a><link href="../runs/a/b/report.html">'
        b"&lt;a href=&#34;../runs/a/b/report.html&#34;&gt;"
    )
    assert serve_links(page, RUN) == page

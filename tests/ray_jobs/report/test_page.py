"""The report of every kind of run: its content is complete, not repeated, and never interpreted as markup."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile_run import HOSTILE, make_hostile_run
from report_case import ReportCase, make_comparison, make_images, make_results
from stored_runs import CaptionResult, Image

from ray_jobs.contract.artifacts import LimitCheck
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects
from ray_jobs.storage.manifests import uri_of_part

VOID = {"meta", "link", "img", "br", "path", "circle", "use", "rect"}


class Outline(HTMLParser):
    """Checks that every tag is closed, and collects the tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def sound(page: str) -> Outline:
    """Assert that the page is well-formed and self-contained, and that every picture and table has a text
    alternative."""
    outline = Outline(page)
    tags = [tag for tag, _ in outline.tags]
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(tags)
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    loaded = [
        (tag, attributes.get(name) or "")
        for tag, attributes in outline.tags
        for name in ("src", "href", "xlink:href")
        if name in attributes and tag != "a"
    ]
    icons = [address for tag, address in loaded if tag == "link"]
    assert [attributes["rel"] for tag, attributes in outline.tags if tag == "link"] == ["icon"]
    assert icons[0].startswith("data:image/svg+xml,")
    assert all(address.startswith("data:image/jpeg;base64,") for tag, address in loaded if tag != "link")
    links = [attributes["href"] or "" for tag, attributes in outline.tags if tag == "a"]
    assert all(re.fullmatch(r"#[a-z0-9-]+|(\.\./)+[A-Za-z0-9_./%-]+\.html", link) for link in links), links
    policies = [
        attributes["content"]
        for _, attributes in outline.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]
    assert all(attributes.get("alt") for tag, attributes in outline.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in outline.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert tags.count("h1") == 1
    assert page.count("<svg ") == len(re.findall(r"<svg [^>]*>\s*<title>[^<]+</title>", page))
    headings = re.findall(r"<h3>(.*?)</h3>", page)
    assert len(headings) == len(set(headings))
    assert "None" not in re.sub(r'data:[^"]*', "", page)
    assert "nan" not in re.sub(r'data:[^"]*', "", page).split()
    return outline


def test_a_run_that_failed(tmp_path: Path) -> None:
    case = ReportCase(
        tmp_path,
        make_images(12),
        make_results(12, shift=-40),
        make_results(12),
        judge={"asked": 10, "cached": 14, "tokens": {"prompt": 30211, "completion": 9120}, "cost": 0.25},
        details={"languages": {"en": 0.75}, "label_hit_by_words": [{"from": 4, "to": 7, "n": 12, "mean": 0.5}]},
        rejected={"corrupt": 1, "truncated": 2},
    )
    outline = sound(case.html)
    text = case.text
    assert case.uri == f"{case.spec.run_uri}/report.html"
    assert "FAIL chrf is 2.00 worse on average: worse in 11 of 12 captions, better in 0." in text
    assert "Of 12 captions, 11 got worse and none got better. chrf 2.000 worse" in text
    assert "reason as recorded chrf 2.000 worse" in text
    assert "read 15 rejected 3 2 truncated, 1 corrupt captioned 12 without a caption 0 scored 12" in text
    assert f"{case.spec.golden_uri}/rejects.html" in text
    row = "✕ FAIL 60.00 58.00 \u22122.00 \u22123.50 to \u22120.50 0.0040 1.00 1.25 12"
    assert re.search(rf"chrf&nbsp; ↑ 1 chrF2 {re.escape(row)}", text)
    assert case.html.count("paired t") == 1  # a footnote of both rows
    assert "Got worse the most chrf, difference from the baseline" in text
    assert text.count("because of 11") == 2  # of both, for the image that got worse the most
    for phrase in ("asked 10", "cached 14", "prompt 30,211", "cost 0.250", "en 0.750", "from 4, to 7, n 12 mean 0.500"):
        assert phrase in text
    for phrase in ("start 31.0 s", "steady 6 min 52 s", "vllm 0.29.0", f"captions {case.spec.caption_id}"):
        assert phrase in text
    assert [tag for tag, _ in outline.tags].count("img") == 10
    assert case.html.count("<svg viewBox") == 3 + 2  # chrf, exact_match and words; the trends of what gates
    hidden = case.html[case.html.index('<h2 id="measured">') :]
    assert hidden.count("<details>") == 2
    assert "fill='%23d1383d'" in case.html  # the icon is red
    assert f'href="../../../runs/{case.verdict.baseline.checkpoint.folder}/' in case.html  # type: ignore[union-attr]
    assert f'href="../../../golden/{case.spec.golden_id}/rejects.html"' in case.html


def test_gating_then_limits_then_advisory_and_the_anchor_beside_the_baseline(tmp_path: Path) -> None:
    check = LimitCheck(
        metric="words", kind="max", limit=9.0, outcome="INCONCLUSIVE", method="t", n=12, value=5.0, low=4.0, high=9.5,
        p_worse=0.5, decisive_n=400,
    )  # fmt: skip
    case = ReportCase(
        tmp_path,
        make_images(12),
        make_results(12),
        make_results(12),
        comparisons=[
            make_comparison("words", advisory=True, low=0.1, high=0.3, difference=0.2, outcome="PASS"),
            make_comparison(
                "chrf", outcome="INCONCLUSIVE", decisive_n=1234, clusters=7, worst_low=-9.0, worst_high=4.0
            ),
            make_comparison("chrf", against="anchor", outcome="PASS"),
            make_comparison("words", against="anchor", advisory=True),
        ],
        anchor="step-0",
        verdict={"limits": (check,)},
    )
    sound(case.html)
    assert re.findall(r"<caption>([^<]*)</caption>", case.html)[:6] == [
        "Images",
        "Gating, against the baseline step-1",
        "Gating, against the anchor step-0",
        "Absolute limits",
        "Advisory, against the baseline step-1",
        "Advisory, against the anchor step-0",
    ]
    assert "<summary>Advisory, against the anchor step-0: 1 metric</summary>" in case.html
    assert "? INCONCLUSIVE 1,234 images would decide" in case.text
    assert "(\u22129.00 to +4.00)" in case.text
    assert "7 clusters" in case.text
    assert "at most 9.000 5.000 4.000 to 9.500" in case.text
    assert "? INCONCLUSIVE 400 images would decide" in case.text


def test_images_are_ranked_by_what_fails(tmp_path: Path) -> None:
    comparisons = [make_comparison("chrf", outcome="PASS"), make_comparison("exact_match")]
    case = ReportCase(tmp_path, make_images(12), make_results(12, shift=-40), make_results(12), comparisons=comparisons)
    assert "Got worse the most exact_match, difference from the baseline" in case.text


def test_advisory_rows_have_no_verdict(tmp_path: Path) -> None:
    comparisons = [
        make_comparison("chrf", advisory=True, outcome="FAIL"),
        make_comparison("exact_match", advisory=True, low=0.1, high=0.4, difference=0.2),
        make_comparison("words", advisory=True, low=-1.0, high=1.0, difference=0.0),
        make_comparison(
            "characters", difference=None, advisory=True, low=None, high=None, candidate=None, baseline=None
        ),
    ]
    case = ReportCase(
        tmp_path, make_images(8), make_results(8), make_results(8), outcome="PASS", comparisons=comparisons
    )
    sound(case.html)
    for phrase in ("▼ worse", "▲ better", "no clear difference", "too few images"):
        assert phrase in case.text
    assert "✕ FAIL" not in case.text
    assert case.text.index("▼ worse") < case.text.index("▲ better") < case.text.index("no clear difference")
    assert "<summary>Advisory, without a clear difference: 2 metrics</summary>" in case.html


def test_the_first_run_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(30), make_results(30), None, "PASS", "accepted as the first baseline")
    sound(case.html)
    assert "PASS accepted as the first baseline" in case.text
    assert "Nothing was compared." in case.text
    assert "Lowest chrf" in case.text
    assert "Highest chrf" in case.text
    assert "baseline step" not in case.text
    assert "1 checkpoint, step-2" in case.text


def test_one_image(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(1), make_results(1), None, "PASS", "accepted")
    sound(case.html)
    assert "Lowest chrf" in case.text
    assert "Highest" not in case.text
    sound(ReportCase(tmp_path / "b", make_images(1), make_results(1, 5.0), make_results(1), comparisons=[]).html)


def test_no_image_has_a_caption(tmp_path: Path) -> None:
    nothing = [CaptionResult(None, {"chrf": None, "exact_match": None}, failure="engine-error", detail="too long")] * 5
    case = ReportCase(
        tmp_path, make_images(5), nothing, make_results(5), "INCOMPLETE", "only 0 of 5 images have a caption", []
    )
    sound(case.html)
    assert "INCOMPLETE only 0 of 5 images have a caption" in case.text
    assert "captioned 0 without a caption 5 5 engine-error scored 0 without a score 5 5 no-caption" in case.text
    assert case.text.count("no-caption: engine-error too long") == 3
    assert "Got worse" not in case.text


def test_no_references_no_judge_no_labels(tmp_path: Path) -> None:
    plain = [CaptionResult("a caption", {"words": 2.0 + number, "empty": 0.0}) for number in range(6)]
    pictures = [Image(f"{number}.png") for number in range(6)]
    case = ReportCase(tmp_path, pictures, plain, plain, "PASS", "the suite gates on no metric", [], gate__metrics={})
    sound(case.html)
    assert "No image differs in empty." in case.text
    assert 'class="references"' not in case.html
    assert 'class="rationale"' not in case.html
    assert "judge" not in case.text.partition("stored in")[0]


def test_failures_of_the_judge_are_shown_with_its_answer(tmp_path: Path) -> None:
    new = make_results(6)
    new[2] = CaptionResult("fine", {"chrf": 50.0}, failure="judge-invalid-answer", rationale='{"rationale": "<b>cut')
    case = ReportCase(tmp_path, make_images(6), new, make_results(6))
    sound(case.html)
    assert "scenes/002.png judge-invalid-answer {&#34;rationale&#34;: &#34;&lt;b&gt;cut" in case.text


def test_the_words_that_differ_are_marked(tmp_path: Path) -> None:
    old = [CaptionResult("one small red square", {"chrf": 90.0})]
    new = [CaptionResult("one large red circle", {"chrf": 10.0})]
    case = ReportCase(tmp_path, make_images(1), new, old)
    assert re.findall(r"<mark>([^<]*)</mark>", case.html) == ["small", "square", "large", "circle"]
    case = ReportCase(tmp_path / "b", make_images(1), [CaptionResult("nothing alike at all", {"chrf": 1.0})], old)
    assert "<mark>" not in case.html


def test_an_empty_caption_is_marked(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(1), [CaptionResult("  ", {"chrf": 0.0})], make_results(1))
    assert "(empty caption)" in case.text


def test_two_checkpoints_of_one_name(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(3), make_results(3), make_results(3), called="step-1")
    sound(case.html)
    assert "step-1 bbbbbbbb" in case.text


def test_hostile_text_is_text(tmp_path: Path) -> None:
    case = make_hostile_run(tmp_path)
    sound(case.html)
    assert "owned" in case.html  # shown, so that one sees what was written
    assert not re.search(r"<script|<img src=x|\son\w+=\"doc", case.html)
    assert "{{ 7 * 7 }}" in case.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ufffe\uffff]", case.html)
    assert "bell␇nul␀escape␛[31m" in case.text
    assert "… 600 of 100,000 characters shown" in case.text
    assert html.escape(HOSTILE["arabic"]) in case.text
    assert len(case.html) < 1_000_000


def test_a_report_over_a_missing_part_says_so(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(3), make_results(3), make_results(3))
    objects.delete(uri_of_part(case.spec.scores_uri, "part-00000"))
    from ray_jobs.report.write_report import write_report

    with pytest.raises(InputError, match="part-00000"):
        write_report(case.spec, case.scores, case.verdict)


def test_an_image_that_does_not_open_is_left_out(tmp_path: Path) -> None:
    pictures = [Image("a", data=b"not an image"), Image("b", data=b"")]
    case = ReportCase(tmp_path, pictures, make_results(2, -9.0), make_results(2))
    sound(case.html)
    assert "no image" in case.text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    case = [
        ReportCase(tmp_path / "same", make_images(12), make_results(12, -9.0), make_results(12)).html for _ in range(2)
    ]
    assert case[0] == case[1]


def test_on_a_bucket(s3: str) -> None:
    case = ReportCase(s3, make_images(3), make_results(3, -9.0), make_results(3))
    sound(case.html)
    assert case.uri.startswith("s3://")

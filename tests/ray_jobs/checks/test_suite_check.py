"""The check of a suite as a user runs it: real files, real confined processes, no Ray and no GPU."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from judge_endpoint import KEY, error_reply, message_reply, page_reply, serve_endpoint
from samples import draw_picture, encode_image
from stage_jobs import DEMO, GOOD, ROOT

from ray_jobs import cli

HOSTILE = "<script>alert(1)</script>"
PICTURES = [encode_image(draw_picture(number)) for number in range(12)]


def suite(folder: Path, **sections: Any) -> str:
    """A suite file for the pictures below `data`, with sections added or replaced key by key."""
    raw: dict[str, Any] = {
        "name": "odd",
        "dataset": {"source": "data"},
        "preprocess": {"max_pixels": 12544, "format": "png"},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": {"dtype": "float32", "max_model_len": 512},
    }
    for section, settings in sections.items():
        raw[section] = raw.get(section, {}) | settings
    file = folder / "odd.yaml"
    file.write_text(yaml.safe_dump(raw))
    return str(file)


def folders(place: Path) -> dict[str, Any]:
    """Images of two splits, in a folder of ids for each class, and one file that is no image."""
    for number, data in enumerate(PICTURES):
        file = place / ("train" if number % 2 else "val") / f"n0000000{number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (place / "val" / "n00000000" / "page.jpg").write_text("<html>404</html>")
    return {"dataset": {"label": "folder", "limit": 500, "split": "all"}}


def pandas_csv(place: Path) -> dict[str, Any]:
    """A table whose references are Python objects written as text, and missing values."""
    place.mkdir()
    texts = ["(a, b)", "none given", "none", "", "0.jpg", HOSTILE, "<b>bold</b>"]
    with (place / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "caption"])
        for number, text in enumerate(texts):
            (place / f"{number}.png").write_bytes(PICTURES[number])
            rows.writerow([f"{number}.png", text])
    return {"dataset": {"source": "data/rows.csv", "references": "caption"}}


def captions_of_tools(place: Path) -> dict[str, Any]:
    """Captions as crawlers, annotation tools and training files leave them, invalid labels, and masks."""
    texts = [
        "Tom &amp; Jerry", "caf\u00c3\u00a9 it\u00e2\u20ac\u2122s", "USER: <image> Describe. ASSISTANT: A dog.",
        "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2", "A dog.|A brown dog.", "A dog.\nOne dog runs.", "a <PERSON> at home",
        "It costs 5 & more; see a | b? " + "A long and plain sentence " * 5, "a <b and c> d",
    ]  # fmt: skip
    lines = []
    for number, text in enumerate(texts):
        name = f"{'masks' if number == 1 else 'pictures'}/{number}.png"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(PICTURES[number])
        lines.append(json.dumps({"image": name, "text": text, "kind": "None" if number == 2 else f"k{number % 3}"}))
    (place / "m.jsonl").write_text("\n".join(lines))
    return {"dataset": {"source": "data/m.jsonl", "references": "text", "label": "kind"}}


def copies(place: Path) -> dict[str, Any]:
    """Parquet rows with every image twice, each with another label."""
    place.mkdir()
    table = {"image": PICTURES[:6] * 2, "label": [f"thing {number}" for number in range(12)]}
    pq.write_table(pa.table(table), place / "0.parquet")
    return {"dataset": {"label": "label"}, "gate": {"metrics": {"exact_match": {"margin": 0.05}}}}


def long_texts(place: Path) -> dict[str, Any]:
    """References longer than an answer may be."""
    place.mkdir()
    lines = []
    for number, data in enumerate(PICTURES):
        (place / f"{number}.png").write_bytes(data)
        lines.append(json.dumps({"image": f"{number}.png", "texts": ["two large pink circles " * 9, "short"]}))
    (place / "m.jsonl").write_text("\n".join(lines))
    return {
        "dataset": {"source": "data/m.jsonl", "references": "texts"},
        "caption": {"prompt": "describe the image"},
        "engine": {"max_model_len": 60},
    }


def write_unusable_set(place: Path) -> dict[str, Any]:
    """Files with names of images that are no images, and a metric file without a metric."""
    place.mkdir()
    (place.parent / "wrong.py").write_text("x = 1\n")
    for number in range(3):
        (place / f"{number}.jpg").write_text("no image")
    return {"metrics": {"own": ["wrong.py"], "clip": "nowhere"}, "judge": {"kind": "vllm", "model": "nowhere"}}


@pytest.mark.parametrize(
    ("make", "code", "lines"),
    [
        (
            folders,
            0,
            [
                "images       13 listed, 13 used",
                "labels       3: n00000000 5",
                "limit is 500, and there are 13 images",
                "images of several splits are mixed (7 validation, 6 train)",
                "labels look like ids ('n00000000'",
                "val/n00000000/page.jpg: not-an-image",
            ],
        ),
        (
            pandas_csv,
            0,
            [
                "3 of the 6 references looked at look like lists, objects or markup written out ('(a, b)', '<script>",
                "say that there is none ('none')",
                "look like names of files ('0.jpg')",
                "1 of 7 images have no reference",
            ],
        ),
        (
            captions_of_tools,
            0,
            [
                "1 of the 9 references looked at hold entities of HTML ('Tom &amp; Jerry')",
                "1 of the 9 references looked at look like UTF-8 that was read as another encoding",
                "2 of the 9 references looked at hold tags, turns or placeholders ('USER: <image> Describe",
                "1 of the 9 references looked at are numbers, as boxes are",
                "2 of the 9 references looked at may be several captions in one text ('A dog.|A brown dog.'",
                "1 of the 9 labels looked at say that there is none ('None'); leave them empty",
                "1 of the 9 images looked at lie in a folder that is called as if of masks or thumbnails (masks/1.png)",
            ],
        ),
        (
            copies,
            0,
            [
                "6 of the 12 images looked at have the bytes of another one; duplicates are rejected",
                "the gate compares exact_match, which needs references, and the suite names no `references`",
                "exact_match with margin 0.05: it takes 116 images even for runs that are equal on each",
            ],
        ),
        (
            write_unusable_set,
            2,
            [
                "none of the 3 images looked at can be used",
                "BAD INPUT  CLIP: checkpoint",
                "BAD INPUT  judge: checkpoint",
                "BAD INPUT  suite: metric wrong",
                "3 of the 3 images looked at are rejected, more than max_rejected_fraction 0.1: the job would stop",
            ],
        ),
    ],
    ids=["splits-and-ids", "lists-written-out", "captions-of-tools", "copies", "nothing-usable"],
)
@pytest.mark.slow
def test_an_odd_data_set_is_shown_with_every_doubt(
    make: Any, code: int, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = make(tmp_path / "data")
    assert cli.main(["suite", "check", suite(tmp_path, **sections)]) == code
    page = capsys.readouterr().out
    for line in lines:
        assert line in page, page


@pytest.mark.slow
def test_a_prompt_copied_from_a_notebook_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = long_texts(tmp_path / "data") | {"caption": {"prompt": "<|vision_start|><|image_pad|>describe"}}
    assert cli.main(["suite", "check", suite(tmp_path, **sections), "--checkpoint", str(GOOD)]) == 2
    printed = "".join(capsys.readouterr())
    assert "caption.prompt holds <|vision_start|>, <|image_pad|>: the image is put in by the chat template" in printed


@pytest.mark.slow
def test_a_prompt_is_shown_as_the_model_gets_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = long_texts(tmp_path / "data")
    bare = tmp_path / "bare"
    shutil.copytree(GOOD, bare, ignore=shutil.ignore_patterns("generation_config.json"))
    assert cli.main(["suite", "check", suite(tmp_path, **sections), "--checkpoint", str(bare)]) in (0, 2)
    page = capsys.readouterr().out
    for line in (
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|im_start|>assistant",
        "12 of 24 references are longer than caption.max_tokens 32",
        "over engine.max_model_len 60",
        "there is no generation_config.json",
        "12 images with 2",
    ):
        assert line in page, page


@pytest.mark.slow
def test_a_faulty_checkpoint_and_suite_are_reported_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(GOOD, broken)
    (broken / "chat_template.jinja").write_text("no place for an image")
    file = suite(tmp_path, dataset={"source": "nowhere"}, engine={"max_model_len": 100_000})
    assert cli.main(["suite", "check", file, "--checkpoint", str(broken)]) == 2
    page = capsys.readouterr().out
    assert "BAD INPUT  data set: dataset nowhere" in page
    assert "its chat template drops the user's text; mend chat_template.jinja" in page
    assert "2 would stop a job" in page
    assert "engine.max_model_len is 100000, and the model's config allows" in page


@pytest.mark.slow
def test_the_page_escapes_what_others_wrote(tmp_path: Path) -> None:
    sections = pandas_csv(tmp_path / "data")
    page = tmp_path / "page.html"
    assert cli.main(["suite", "check", suite(tmp_path, **sections), "--html", str(page)]) == 0
    html = page.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert html.count("data:image/jpeg;base64,") == 5


@pytest.mark.slow
def test_json_output_has_each_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = pandas_csv(tmp_path / "data")
    code = cli.main(["suite", "check", suite(tmp_path, **sections), "--json"])
    out = capsys.readouterr().out
    answer = json.loads(out)
    assert out.isascii()
    assert (answer["suite"], answer["checkpoint"], answer["exit_code"]) == ("odd", None, code)
    assert answer["images_listed"] == answer["images_used"] == answer["images_looked_at"] > 0
    assert all(set(finding) == {"kind", "about", "text"} for finding in answer["findings"])
    assert cli.main(["suite", "check", "nosuch", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exit_code"], answer["images_listed"]) == (2, None)
    (finding,) = answer["findings"]
    assert (finding["kind"], finding["about"]) == ("bad input", "suite")
    assert finding["text"].startswith("suite 'nosuch': not in")


def test_a_page_that_cannot_be_written_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "no" / "page.html"
    assert cli.main(["suite", "check", "nosuch", "--html", str(page)]) == 2
    printed = capsys.readouterr()
    assert "BAD INPUT  suite: suite 'nosuch': not in" in printed.out
    assert f"--html {page}: cannot be written (No such file or directory)" in printed.err


ENDPOINT = {"kind": "openai", "model": "m", "prompt": "Rate {caption} by {references}", "tries": 1}
GOOD_ANSWER = json.dumps({"rationale": "so", "score": 4})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behave", "code", "lines"),
    [
        (
            lambda text, before: message_reply(GOOD_ANSWER),
            0,
            [
                'question     Rate <data>"picture',
                'answer       {"rationale": "so", "score": 4}',
                "score        judge 4",
            ],
        ),
        (
            lambda text, before: page_reply("Sign in"),
            2,
            ["BAD INPUT  judge: judge m at http://127.0.0.1:", "check base_url"],
        ),
        (
            lambda text, before: error_reply(401),
            2,
            ["BAD INPUT  judge: ", "401, not this key; correct ASSAY_JUDGE_KEY"],
        ),
        (
            lambda text, before: message_reply(GOOD_ANSWER if "picture 0" in text else "Nice!"),
            0,
            ["4 of 5 of the judge's answers cannot be used", "score        no answer: invalid-answer"],
        ),
    ],
    ids=["good", "a-page", "another-key", "mixed"],
)
def test_the_judge_is_asked(
    behave: Any, code: int, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    place = tmp_path / "data"
    place.mkdir()
    for number in range(5):
        (place / f"{number}.png").write_bytes(PICTURES[number])
    rows = [json.dumps({"file_name": f"{number}.png", "text": f"picture {number}"}) for number in range(5)]
    (place / "metadata.jsonl").write_text("\n".join(rows))
    with serve_endpoint(behave) as endpoint:
        file = suite(tmp_path, dataset={"references": "text"}, judge=ENDPOINT | {"base_url": endpoint.url})
        assert cli.main(["suite", "check", file, "--judge"]) == code
    page_text = capsys.readouterr().out
    for line in lines:
        assert line in page_text, page_text
    assert KEY not in page_text


@pytest.mark.slow
def test_a_truth_that_no_answer_can_equal_would_stop_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    lines = []
    for number, count in enumerate(["3", "three", 50]):
        (tmp_path / "data" / f"{number}.png").write_bytes(PICTURES[number])
        lines.append(json.dumps({"image": f"{number}.png", "n": count}))
    (tmp_path / "data" / "m.jsonl").write_text("\n".join(lines))
    fields = {"type": "object", "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}}}
    file = suite(
        tmp_path, dataset={"source": "data/m.jsonl", "truth": {"count": "n"}}, caption={"prompt": "x", "fields": fields}
    )
    assert cli.main(["suite", "check", file]) == 2
    page = capsys.readouterr().out
    truth_lines = [line for line in page.splitlines() if line.startswith("BAD INPUT  truth: ")]
    assert [line.partition("image ")[2][:5] for line in truth_lines] == ["1.png", "2.png"]


@pytest.mark.slow
def test_fields_are_shown_with_their_truth(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["suite", "check", "demo-fields", "--checkpoint", str(GOOD), "--sample", "10"]) == 0
    page = capsys.readouterr().out
    assert "fields       caption, count, colour, shape, boxes" in page
    assert page.count('truth        {"count": ') == 5
    assert "exact_match, field_count, field_colour, field_shape with margin 0.05" in page
    assert "longer than caption.max_tokens" not in page


@pytest.mark.slow
def test_the_demo_has_no_fault(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ray_jobs.suite_check", "--suite", "demo", "--checkpoint", str(GOOD)]
    process = subprocess.run(
        [*command, "--html", str(tmp_path / "demo.html")], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "283 listed, 283 used" in process.stdout
    assert "256 images with 1" in process.stdout
    assert str(DEMO / "judge") in process.stdout
    assert "passed over 2 not named like an image: faulty/expected.json, photos/SOURCES.md" in process.stdout
    assert "0 would stop a job" in process.stdout
    assert (tmp_path / "demo.html").read_text().count("<img") == 5

"""Show the results of the checks: as text for a terminal, and as one HTML page that needs no other file or host.

`ray_jobs.suite_check` calls this. Names, captions and labels are untrusted. So every text is cut, its control
characters are made visible, and the template escapes the text.
"""

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from ray_jobs.checks.images import SampleImage
from ray_jobs.checks.model import Model, RenderedPrompt
from ray_jobs.checks.run import CheckResult
from ray_jobs.checks.sample_size import compute_images_needed
from ray_jobs.images.prepare import GoldenImage, Reject, thumbnail
from ray_jobs.inputs.display_text import sanitise as make_visible

LINE, BLOCK = 200, 1500  # the most characters that the page shows of a name, and of a prompt
MOST_REFERENCES, MOST_LABELS, MOST_REJECTS = 5, 10, 10

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def format_line(text: object, most: int = LINE) -> str:
    """The text in one line of at most `most` characters, with visible control characters."""
    visible = make_visible(" ".join(str(text).split()), most)
    return visible.text + ("…" if visible.note else "")


def format_block(text: object, most: int = BLOCK) -> str:
    """The text with its line breaks, at most `most` characters, with visible control characters."""
    visible = make_visible(str(text), most)
    return visible.text + (f"… ({visible.note})" if visible.note else "")


def build_view(checked: CheckResult) -> dict[str, Any]:
    """The content of both pages, as texts and numbers. Nothing in it is escaped yet."""
    order = {"bad input": 0, "trouble": 1, "doubt": 2}
    return {
        "suite": checked.suite.name if checked.suite else checked.suite_name,
        "findings": sorted(checked.findings.items, key=lambda finding: order[finding.kind]),
        "facts": list(_list_facts(checked)),
        "rows": [_build_row(checked, number, image) for number, image in enumerate(checked.choose_shown())],
        "rejects": [_describe_reject(image) for image in checked.looked if isinstance(image.image, Reject)][
            :MOST_REJECTS
        ],
        "prompts": list(_list_prompts(checked)),
        "notes": checked.notes,
    }


def render_text(checked: CheckResult) -> str:
    """The page for a terminal."""
    view = build_view(checked)
    lines = [f"suite {format_line(view['suite'])}", ""]
    for name, value in view["facts"]:
        lines.append(f"  {format_line(name):<12} {format_line(value, 600)}")
    for title, text in view["prompts"]:
        lines += ["", f"{title}:", *(f"  | {line}" for line in format_block(text).split("\n"))]
    for row in view["rows"]:
        lines += ["", f"image {format_line(row['image_id'])}: {row['size']}"]
        lines += [f"  {format_line(name):<12} {format_line(value, 600)}" for name, value in row["facts"]]
    if view["rejects"]:
        lines += ["", "rejected:"]
        lines += [
            f"  {format_line(row['image_id'])}: {row['reason']}, {format_line(row['detail'])}"
            for row in view["rejects"]
        ]
    if view["notes"]:
        lines += ["", "what the jobs say of it:", *(f"  {format_line(note, 600)}" for note in view["notes"])]
    lines.append("")
    lines += [
        f"{finding.kind.upper()}  {finding.about}: {format_line(finding.text, 700)}" for finding in view["findings"]
    ]
    lines.append(_summarise_findings(checked))
    return "\n".join(lines)


def render_html(checked: CheckResult) -> str:
    """The page for a browser."""
    TEMPLATES.filters["plain"] = format_line
    TEMPLATES.filters["block"] = format_block
    return TEMPLATES.get_template("page.html").render(build_view(checked) | {"summary": _summarise_findings(checked)})


def _summarise_findings(checked: CheckResult) -> str:
    counts = Counter(finding.kind for finding in checked.findings.items)
    if not counts:
        return "nothing to doubt was found"
    stops = counts["bad input"] + counts["trouble"]
    return f"{stops} would stop a job, {counts['doubt']} doubts"


def _list_facts(checked: CheckResult) -> Iterator[tuple[str, str]]:
    suite, listing = checked.suite, checked.listing
    if suite is None:
        return
    yield "data set", f"{suite.dataset.source} (revision {checked.revision or 'unknown'})"
    if listing:
        size = f", {listing.megabytes:,.1f} MB" if listing.megabytes else ""
        yield "images", f"{listing.listed:,} listed, {listing.used:,} used{size}, {len(checked.looked)} looked at"
        yield "labels", _describe_labels(checked)
        yield "references", _describe_references(checked)
    rejects = Counter(image.image.reason for image in checked.looked if isinstance(image.image, Reject))
    if checked.looked:
        yield "rejected", ", ".join(f"{count} {reason}" for reason, count in rejects.most_common()) or "none of them"
        formats = Counter(image.image.format for image in checked.looked if isinstance(image.image, GoldenImage))
        repairs = Counter(
            name for image in checked.looked if isinstance(image.image, GoldenImage) for name in image.image.repairs
        )
        yield "formats", ", ".join(f"{count} {name}" for name, count in formats.most_common()) or "none"
        if repairs:
            yield "repairs", ", ".join(f"{count} {name}" for name, count in repairs.most_common())
    if suite.caption.schema_of_fields:
        yield "fields", ", ".join(suite.caption.schema_of_fields["properties"])
    if checked.model:
        yield "checkpoint", _describe_model(checked.model)
    if checked.prompt:
        yield "prompt", _describe_tokens(checked.prompt, suite.caption.max_tokens, suite.engine.max_model_len)
    if suite.judge.kind != "none":
        opened = (
            _describe_model(checked.judge_model)
            if checked.judge_model
            else f"{suite.judge.model} at {suite.judge.base_url}"
        )
        yield "judge", opened if suite.judge.kind == "openai" or checked.judge_model else str(suite.judge.model)
    if checked.judge_prompt:
        yield (
            "question",
            _describe_tokens(checked.judge_prompt, suite.judge.max_tokens, suite.judge.engine.max_model_len),
        )
    for needed in compute_images_needed(suite):
        figures = [
            f"{count:,} images {case}"
            for count, case in ((needed.equal, "for equal runs"), (needed.differing, "where a tenth of them differ"))
            if count is not None
        ]
        yield "gate", f"{needed.metric} within {needed.margin:g}: {', '.join(figures) or 'no number can be told'}"


def _describe_labels(checked: CheckResult) -> str:
    assert checked.suite
    assert checked.listing
    if not checked.suite.dataset.label:
        return "none asked for"
    listing = checked.listing
    if listing.labelled:
        counts, distinct, where = list(listing.labels), listing.label_count, ""
    else:
        counter = Counter(image.row.label for image in checked.looked if image.row.label is not None)
        counts, distinct, where = list(counter.most_common()), len(counter), " of the images looked at"
    some = ", ".join(f"{format_line(label, 40)} {count}" for label, count in counts[:MOST_LABELS])
    return f"{distinct}{where}: {some}{', ...' if distinct > MOST_LABELS else ''}" if distinct else "none found"


def _describe_references(checked: CheckResult) -> str:
    assert checked.suite
    assert checked.listing
    if not checked.suite.dataset.references:
        return "none asked for"
    if checked.listing.referenced:
        counts, where = list(checked.listing.references), ""
    else:
        counter = Counter(len(image.row.references) for image in checked.looked)
        counts, where = sorted(counter.items()), ", of the images looked at"
    some = ", ".join(f"{count} images with {number}" for number, count in counts[:MOST_LABELS])
    return f"{some}{', ...' if len(counts) > MOST_LABELS else ''}{where}"


def _describe_model(model: Model) -> str:
    quantised = f", quantised ({model.quantised})" if model.quantised else ""
    base = f", over {model.checkpoint.base.uri}" if model.checkpoint.base else ""
    files = f"{model.files} file{'' if model.files == 1 else 's'} of weights, {model.gigabytes:,.3g} GB"
    return f"{model.checkpoint.uri} ({model.architecture}, {files}{quantised}{base}, {model.checkpoint.fingerprint})"


def _describe_tokens(prompt: RenderedPrompt, answer: int, most: int) -> str:
    lengths = sorted(tokens for tokens in prompt.with_image.values() if tokens)
    with_image = f"{lengths[0]} to {lengths[-1]} with an image" if lengths else "no image size is taken"
    stops = ", ".join(format_line(token, 40) for token in prompt.stops)
    return (
        f"{prompt.prompt_tokens} tokens, {with_image}; the answer has up to {answer}, the engine takes {most} "
        f"together; an answer ends with {stops or 'nothing'}"
    )


def _list_prompts(checked: CheckResult) -> Iterator[tuple[str, str]]:
    if checked.prompt:
        yield "the prompt as the chat template writes it", checked.prompt.prompt
    elif checked.suite:
        yield "the prompt in the suite", checked.suite.caption.prompt
    if checked.judge_prompt:
        yield "the judge's question as its chat template writes it", checked.judge_prompt.prompt


def _build_row(checked: CheckResult, number: int, image: SampleImage) -> dict[str, Any]:
    assert checked.suite
    golden = image.image
    assert isinstance(golden, GoldenImage)
    facts = [("label", _describe_label(image))] if checked.suite.dataset.label else []
    references = image.row.references
    facts += [("reference", text) for text in references[:MOST_REFERENCES]]
    if len(references) > MOST_REFERENCES:
        facts.append(("reference", f"and {len(references) - MOST_REFERENCES} more"))
    facts += [("truth", image.row.truth)] if image.row.truth else []
    if checked.prompt and (tokens := checked.prompt.with_image.get((golden.width, golden.height))):
        facts.append(("tokens", f"{tokens} of prompt and image"))
    if number < len(checked.asked):
        example = checked.asked[number]
        facts.append(("question", example.question))
        if example.answer is not None:
            facts.append(("answer", example.answer))
        if example.values:
            facts.append(("score", example.values))
    small = thumbnail(golden.image, checked.suite.preprocess)
    source = f"{golden.source_width}x{golden.source_height} {golden.format}, {golden.source_bytes:,} bytes"
    return {
        "image_id": image.row.image_id,
        "size": f"{source} -> {golden.width}x{golden.height}, {len(golden.image):,} bytes",
        "facts": facts,
        "thumbnail": base64.b64encode(small).decode() if small else "",
    }


def _describe_label(image: SampleImage) -> str:
    if image.row.label is None:
        return "none"
    return f"{image.row.label} ({image.row.label_id})" if image.row.label_id else image.row.label


def _describe_reject(image: SampleImage) -> dict[str, str]:
    assert isinstance(image.image, Reject)
    return {"image_id": image.row.image_id, "reason": image.image.reason, "detail": image.image.detail}

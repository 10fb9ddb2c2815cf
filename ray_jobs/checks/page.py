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
MAX_REFERENCES, MAX_LABELS, MAX_REJECTS = 5, 10, 10

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def format_line(text: object, most: int = LINE) -> str:
    """Returns the text on one line of at most `most` characters, with visible control characters."""
    visible = make_visible(" ".join(str(text).split()), most)
    return visible.text + ("…" if visible.note else "")


def format_block(text: object, most: int = BLOCK) -> str:
    """Returns at most `most` characters of the text, with its line breaks and with visible control characters."""
    visible = make_visible(str(text), most)
    return visible.text + (f"… ({visible.note})" if visible.note else "")


def build_view(result: CheckResult) -> dict[str, Any]:
    """Returns the content of both pages, as texts and numbers. Nothing in it is escaped yet."""
    order = {"bad input": 0, "trouble": 1, "doubt": 2}
    return {
        "suite": result.suite.name if result.suite else result.suite_name,
        "findings": sorted(result.findings.items, key=lambda finding: order[finding.kind]),
        "facts": list(_list_facts(result)),
        "rows": [_build_row(result, number, image) for number, image in enumerate(result.choose_page_images())],
        "rejects": [_describe_reject(image) for image in result.images if isinstance(image.image, Reject)][
            :MAX_REJECTS
        ],
        "prompts": list(_list_prompts(result)),
        "notes": result.notes,
    }


def render_text(result: CheckResult) -> str:
    """Returns the page as text for a terminal."""
    view = build_view(result)
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
    lines.append(_summarise_findings(result))
    return "\n".join(lines)


def render_html(result: CheckResult) -> str:
    """Returns the page as HTML for a browser."""
    TEMPLATES.filters["plain"] = format_line
    TEMPLATES.filters["block"] = format_block
    return TEMPLATES.get_template("page.html").render(build_view(result) | {"summary": _summarise_findings(result)})


def _summarise_findings(result: CheckResult) -> str:
    counts = Counter(finding.kind for finding in result.findings.items)
    if not counts:
        return "nothing to doubt was found"
    stops = counts["bad input"] + counts["trouble"]
    return f"{stops} would stop a job, {counts['doubt']} doubts"


def _list_facts(result: CheckResult) -> Iterator[tuple[str, str]]:
    suite, listing = result.suite, result.listing
    if suite is None:
        return
    yield "data set", f"{suite.dataset.source} (revision {result.revision or 'unknown'})"
    if listing:
        size = f", {listing.megabytes:,.1f} MB" if listing.megabytes else ""
        yield (
            "images",
            f"{listing.image_count:,} listed, {listing.sample_count:,} used{size}, {len(result.images)} looked at",
        )
        yield "labels", _describe_labels(result)
        yield "references", _describe_references(result)
    rejects = Counter(image.image.reason for image in result.images if isinstance(image.image, Reject))
    if result.images:
        yield "rejected", ", ".join(f"{count} {reason}" for reason, count in rejects.most_common()) or "none of them"
        formats = Counter(image.image.format for image in result.images if isinstance(image.image, GoldenImage))
        repairs = Counter(
            name for image in result.images if isinstance(image.image, GoldenImage) for name in image.image.repairs
        )
        yield "formats", ", ".join(f"{count} {name}" for name, count in formats.most_common()) or "none"
        if repairs:
            yield "repairs", ", ".join(f"{count} {name}" for name, count in repairs.most_common())
    if suite.caption.schema_of_fields:
        yield "fields", ", ".join(suite.caption.schema_of_fields["properties"])
    if result.model:
        yield "checkpoint", _describe_model(result.model)
    if result.prompt:
        yield "prompt", _describe_tokens(result.prompt, suite.caption.max_tokens, suite.engine.max_model_len)
    if suite.judge.kind != "none":
        model_info = (
            _describe_model(result.judge_model)
            if result.judge_model
            else f"{suite.judge.model} at {suite.judge.base_url}"
        )
        yield "judge", model_info if suite.judge.kind == "openai" or result.judge_model else str(suite.judge.model)
    if result.judge_prompt:
        yield (
            "question",
            _describe_tokens(result.judge_prompt, suite.judge.max_tokens, suite.judge.engine.max_model_len),
        )
    for needed in compute_images_needed(suite):
        figures = [
            f"{count:,} images {case}"
            for count, case in ((needed.equal, "for equal runs"), (needed.differing, "where a tenth of them differ"))
            if count is not None
        ]
        yield "gate", f"{needed.metric} within {needed.margin:g}: {', '.join(figures) or 'no number can be told'}"


def _describe_labels(result: CheckResult) -> str:
    assert result.suite
    assert result.listing
    if not result.suite.dataset.label:
        return "none asked for"
    listing = result.listing
    if listing.labelled_count:
        counts, distinct, where = list(listing.labels), listing.distinct_labels, ""
    else:
        counter = Counter(image.row.label for image in result.images if image.row.label is not None)
        counts, distinct, where = list(counter.most_common()), len(counter), " of the images looked at"
    some = ", ".join(f"{format_line(label, 40)} {count}" for label, count in counts[:MAX_LABELS])
    return f"{distinct}{where}: {some}{', ...' if distinct > MAX_LABELS else ''}" if distinct else "none found"


def _describe_references(result: CheckResult) -> str:
    assert result.suite
    assert result.listing
    if not result.suite.dataset.references:
        return "none asked for"
    if result.listing.referenced_count:
        counts, where = list(result.listing.references), ""
    else:
        counter = Counter(len(image.row.references) for image in result.images)
        counts, where = sorted(counter.items()), ", of the images looked at"
    some = ", ".join(f"{count} images with {number}" for number, count in counts[:MAX_LABELS])
    return f"{some}{', ...' if len(counts) > MAX_LABELS else ''}{where}"


def _describe_model(model: Model) -> str:
    quantised = f", quantised ({model.quantization})" if model.quantization else ""
    base = f", over {model.checkpoint.base.uri}" if model.checkpoint.base else ""
    files = f"{model.files} file{'' if model.files == 1 else 's'} of weights, {model.gigabytes:,.3g} GB"
    return f"{model.checkpoint.uri} ({model.architecture}, {files}{quantised}{base}, {model.checkpoint.fingerprint})"


def _describe_tokens(prompt: RenderedPrompt, answer: int, most: int) -> str:
    lengths = sorted(tokens for tokens in prompt.tokens_with_image.values() if tokens)
    with_image = f"{lengths[0]} to {lengths[-1]} with an image" if lengths else "no image size is taken"
    stops = ", ".join(format_line(token, 40) for token in prompt.stop_tokens)
    return (
        f"{prompt.prompt_tokens} tokens, {with_image}; the answer has up to {answer}, the engine takes {most} "
        f"together; an answer ends with {stops or 'nothing'}"
    )


def _list_prompts(result: CheckResult) -> Iterator[tuple[str, str]]:
    if result.prompt:
        yield "the prompt as the chat template writes it", result.prompt.prompt
    elif result.suite:
        yield "the prompt in the suite", result.suite.caption.prompt
    if result.judge_prompt:
        yield "the judge's question as its chat template writes it", result.judge_prompt.prompt


def _build_row(result: CheckResult, number: int, image: SampleImage) -> dict[str, Any]:
    assert result.suite
    golden = image.image
    assert isinstance(golden, GoldenImage)
    facts = [("label", _describe_label(image))] if result.suite.dataset.label else []
    references = image.row.references
    facts += [("reference", text) for text in references[:MAX_REFERENCES]]
    if len(references) > MAX_REFERENCES:
        facts.append(("reference", f"and {len(references) - MAX_REFERENCES} more"))
    facts += [("truth", image.row.truth)] if image.row.truth else []
    if result.prompt and (tokens := result.prompt.tokens_with_image.get((golden.width, golden.height))):
        facts.append(("tokens", f"{tokens} of prompt and image"))
    if number < len(result.judge_examples):
        example = result.judge_examples[number]
        facts.append(("question", example.question))
        if example.answer is not None:
            facts.append(("answer", example.answer))
        if example.values:
            facts.append(("score", example.values))
    small = thumbnail(golden.image, result.suite.preprocess)
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

"""Finds settings of a suite that have no effect. They are refused like a mistyped key, because they mislead the author.

`parse_suite` calls this and the model does not, so a stored suite stays readable and no id changes. A setting at its
default is not checked. `sources.settings` refuses a setting that does not suit the format of the data set.
"""

import difflib
import re
from collections.abc import Iterator

from pydantic import BaseModel

from ray_jobs.contract.metric_names import BUILT_IN, CLIP, build_judge_facts
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.suite import Suite

ENDPOINT_SETTINGS = (
    "base_url",
    "key_variable",
    "concurrency",
    "timeout_seconds",
    "tries",
)  # of a judge behind an endpoint
WARM_SETTINGS = ("keep_seconds", "renderers")
FILLED_PLACEHOLDERS = {
    "judge.prompt": ("caption", "references"),
    "judge.pairwise_prompt": ("first", "second", "references"),
    "caption.prompt": (),
}
KNOWN_PLACEHOLDERS = ("image", "caption", "references", "reference", "first", "second", "label")


def find_unused(suite: Suite) -> str | None:
    """Returns the first setting without effect, with the remedy; None if there is none."""
    return next(_iterate_faults(suite), None)


def find_doubts(suite: Suite) -> list[str]:
    """Returns one line per setting that has no effect without references or labels. `plan` logs these lines.

    The settings are not refused, because a gate without a value is INCOMPLETE, and the verdict says so.
    """
    dataset, gate, doubts = suite.dataset, suite.gate, []
    if suite.metrics.synonyms and not dataset.label:
        doubts.append("metrics.synonyms: nothing uses it without labels; set dataset.label, or take it out")
    declared = BUILT_IN | CLIP
    lacks = {"references": not dataset.references, "name": not dataset.label}
    for section, names in (("metrics", gate.metrics), ("limits", gate.limits)):
        for name in names:
            if (metric := declared.get(name)) and lacks.get(metric.needs):
                what = "label" if metric.needs == "name" else metric.needs
                doubts.append(
                    f"gate.{section}.{name}: it has no value without {what}; set dataset.{what}, or take it out"
                )
    return doubts


def _iterate_faults(suite: Suite) -> Iterator[str]:
    yield from _find_judge_faults(suite)
    yield from _find_engine_faults(suite.engine, "engine")
    yield from _find_placeholder_faults(suite)
    if suite.gate.cluster == "label" and not suite.dataset.label:
        yield "gate.cluster: there are no labels; set dataset.label, or another cluster"
    yield from _find_gate_faults(suite)


def _find_judge_faults(suite: Suite) -> Iterator[str]:
    judge, changed = suite.judge, _list_changed(suite.judge)
    if judge.kind == "none":
        for name in changed:
            yield f"judge.{name}: there is no judge to use it; set judge.kind to vllm or openai, or take it out"
        return
    unused = ENDPOINT_SETTINGS if judge.kind == "vllm" else ("engine",)
    other = "openai" if judge.kind == "vllm" else "vllm"
    for name in changed:
        if name in unused:
            yield f"judge.{name}: nothing uses it with kind {judge.kind}; take it out, or set judge.kind: {other}"
    if "pairwise_prompt" in changed and not judge.pairwise:
        yield "judge.pairwise_prompt: no pair is judged; set judge.pairwise: true, or take it out"
    if "audit" in _list_changed(judge.engine):
        yield "judge.engine.audit: only captions are audited; take it out, or set engine.audit"
    yield from _find_engine_faults(judge.engine, "judge.engine")


def _find_engine_faults(engine: Engine, where: str) -> Iterator[str]:
    why = "kind ray_data_llm" if engine.kind == "ray_data_llm" else "quantization"
    if engine.kind == "ray_data_llm" or engine.quantization:
        for name in _list_changed(engine):
            if name in WARM_SETTINGS:
                yield f"{where}.{name}: it is for warm engines, and with {why} there is none; take it out"


def _find_placeholder_faults(suite: Suite) -> Iterator[str]:
    """Yields placeholders that nothing fills: the model would read them with their braces."""
    texts = {"caption.prompt": suite.caption.prompt}
    if suite.judge.kind != "none":
        texts["judge.prompt"] = suite.judge.prompt
        if suite.judge.pairwise:
            texts["judge.pairwise_prompt"] = suite.judge.pairwise_prompt
    for setting, text in texts.items():
        filled = FILLED_PLACEHOLDERS[setting]
        for match in re.finditer(r"\{ ?([A-Za-z_]{1,40}) ?\}", text):
            written, place = match[0], match[1]
            if written == f"{{{place}}}" and place in filled:
                if place == "references" and not suite.dataset.references:
                    yield f"{setting} holds {{references}}, and there are none; set dataset.references, or take it out"
                continue
            close = difflib.get_close_matches(place.lower(), filled, n=1)
            if close:
                yield f"{setting} holds {written}, and nothing is put in there; did you mean {{{close[0]}}}?"
            elif place.lower() in KNOWN_PLACEHOLDERS:
                yield f"{setting} holds {written}, and nothing is put in there; take it out"


def _find_gate_faults(suite: Suite) -> Iterator[str]:
    """Yields margins and limits that decide nothing, because they lie outside the metric's range."""
    declared = BUILT_IN | CLIP | build_judge_facts(suite.judge.metrics(), bool(suite.judge.criteria))
    for name, gating in suite.gate.metrics.items():
        if metric := declared.get(name):
            low, high = metric.range
            if gating.margin >= high - low:
                yield (
                    f"gate.metrics.{name}: no checkpoint could fail by a margin of {gating.margin:g}, because all "
                    f"values are from {low:g} to {high:g}; lower it"
                )
    for name, limit in suite.gate.limits.items():
        if metric := declared.get(name):
            low, high = metric.range
            for kind, value in (("max", limit.max), ("min", limit.min)):
                if value is not None and not low <= value <= high:
                    yield (
                        f"gate.limits.{name}: {kind} {value:g} decides nothing, because all values are from {low:g} to "
                        f"{high:g}; correct it"
                    )


def _list_changed(section: BaseModel) -> list[str]:
    """Returns the settings that the suite names with a value other than the default, in the order of the model."""
    fields = type(section).model_fields
    return [
        name
        for name in fields
        if name in section.model_fields_set
        and getattr(section, name) != fields[name].get_default(call_default_factory=True)
        and name != "kind"
    ]

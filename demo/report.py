"""Builds demo/RESULTS.md from the measurements of demo.evaluate, which calls it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import judge_task, scenes
from demo.scenes import VALUES, Scene


@dataclass(frozen=True)
class Verdict:
    """The truth about each attribute, and the judge's answer; None when the judge gave no valid answer."""

    truth: dict[str, bool]
    answer: dict[str, bool] | None

    def is_right(self, name: str) -> bool:
        return self.answer is not None and self.answer[name] == self.truth[name]

    def is_all_right(self) -> bool:
        return all(self.is_right(name) for name in VALUES)


def format_table(header: list[str], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def format_share(right: list[bool]) -> str:
    return f"{sum(right) / len(right):.3f}" if right else "-"


def format_interval(right: list[bool]) -> str:
    """Wilson's 95 % interval of a share (Wilson 1927, JASA 22:209)."""
    n, p, z = len(right), sum(right) / len(right), 1.96
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"{(centre - half) / (1 + z * z / n):.3f} to {(centre + half) / (1 + z * z / n):.3f}"


def compute_correlation(pairs: list[tuple[float, float]]) -> float:
    """Pearson's r."""
    n = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    spread = sum((x - mean_x) ** 2 for x, _ in pairs) * sum((y - mean_y) ** 2 for _, y in pairs)
    return covariance / math.sqrt(spread) if spread else math.nan


def list_captioner_rows(truths: list[Scene], written: dict[str, list[str]]) -> list[list[str]]:
    rows = []
    for checkpoint, captions in written.items():
        exact = [text == scenes.write_caption(truth) for truth, text in zip(truths, captions, strict=True)]
        agrees = [judge_task.judge_attributes(truth, text) for truth, text in zip(truths, captions, strict=True)]
        shares = [format_share([agreement[name] for agreement in agrees]) for name in VALUES]
        whole = format_share([scenes.parse(text) is not None for text in captions])
        rows.append([checkpoint, format_share(exact), format_interval(exact), whole, *shares])
    return rows


def list_attribute_rows(verdicts: dict[str, list[Verdict]]) -> list[list[str]]:
    """One row per attribute, over every planted caption that fits the grammar."""
    planted = [verdict for kind in ("right", *VALUES, "any number", "another image's") for verdict in verdicts[kind]]
    rows = []
    for name in VALUES:
        wrong = [not verdict.truth[name] for verdict in planted]
        caught = [verdict.is_right(name) for verdict, is_wrong in zip(planted, wrong, strict=True) if is_wrong]
        passed = [verdict.is_right(name) for verdict, is_wrong in zip(planted, wrong, strict=True) if not is_wrong]
        alone = [verdict.is_right(name) for verdict in verdicts[name]]
        both = f"{sum(caught)} of {len(caught)}", f"{len(passed) - sum(passed)} of {len(passed)}"
        rows.append(
            [name, format_share(caught + passed), f"{both[0]} ({format_share(caught)})", both[1], format_share(alone)]
        )
    return rows


def list_kind_rows(verdicts: dict[str, list[Verdict]]) -> list[list[str]]:
    rows = []
    for kind, judged in verdicts.items():
        truth = sum(sum(verdict.truth.values()) for verdict in judged) / len(VALUES) / len(judged)
        valid = [verdict.answer for verdict in judged if verdict.answer is not None]
        judged_share = sum(answer[name] for answer in valid for name in VALUES) / len(VALUES) / max(1, len(valid))
        label = f"only {kind} wrong" if kind in VALUES else kind
        rows.append(
            [
                label,
                f"{len(valid)} of {len(judged)}",
                f"{truth:.3f}",
                f"{judged_share:.3f}",
                format_share([v.is_all_right() for v in judged]),
            ]
        )
    return rows


def list_training_rows(training: Path) -> list[list[str]]:
    runs = [json.loads(line) for line in training.read_text().splitlines()]
    return [[run["checkpoint"], run["command"], run["steps"], f"{run['seconds']:.0f}"] for run in runs]


def build_results(
    truths: list[Scene],
    written: dict[str, list[str]],
    judge_captions: list[str],
    verdicts: dict[str, list[Verdict]],
    seconds: dict[str, float],
    training: Path,
) -> str:
    """RESULTS.md."""
    everything = [verdict for judged in verdicts.values() for verdict in judged]
    pairs = [(sum(v.truth.values()) / 6, sum(v.answer[n] for n in VALUES) / 6) for v in everything if v.answer]
    exact = format_share(
        [text == scenes.write_caption(truth) for truth, text in zip(truths, judge_captions, strict=True)]
    )
    valid = [verdict.answer is not None for verdict in everything]
    kinds = {name: verdicts[name] for name in verdicts if name not in written}
    captioned = {name: verdicts[name] for name in written}
    kind_header = ["captions", "valid JSON", "true, in truth", "true, by the judge", "all six verdicts right"]
    sections = [
        "# Results of the demo's checkpoints and judge",
        "Written by `python -m demo.evaluate` (vLLM on the CPU, float32, greedy) over the 256 held-out scenes. Every\n"
        "figure was measured by that run, the training times by the runs that made the checkpoints.",
        "## Captioners",
        "`exact`: the caption equals the reference, with Wilson's 95 % interval. `whole`: it is of the grammar. The\n"
        "others: the attribute is right (a caption outside the grammar is right in none).",
        format_table(["checkpoint", "exact", "95 %", "whole", *VALUES], list_captioner_rows(truths, written)),
        "## The judge, attribute by attribute",
        "Over the planted captions that are of the grammar. `errors caught`: told that a wrong attribute is wrong.\n"
        "`false alarms`: called a right attribute wrong. `caught alone`: caught as the only error in its caption.",
        format_table(
            ["attribute", "right", "errors caught", "false alarms", "caught alone"], list_attribute_rows(verdicts)
        ),
        "## The judge, by what was planted",
        "Shares of the six attributes that are true, on average, and as the judge has it.",
        format_table(kind_header, list_kind_rows(kinds)),
        "## The judge on what the captioners wrote",
        format_table(kind_header, list_kind_rows(captioned)),
        f"Over all {len(everything)} verdicts: valid JSON {sum(valid)}; the judged share of true attributes against\n"
        f"the real one r = {compute_correlation(pairs):.3f}. Asked for captions, the judge itself is exact on {exact}.",
        "## What the judge cannot see",
        describe_limits(verdicts),
        "## Times",
        "Training, on two CPU cores that other work shared:",
        format_table(["checkpoint", "command", "steps", "seconds"], list_training_rows(training)),
        "This run:",
        format_table(["what", "seconds"], [[what, f"{value:.1f}"] for what, value in seconds.items()]),
    ]
    return "\n\n".join(sections) + "\n"


def describe_limits(verdicts: dict[str, list[Verdict]]) -> str:
    alone = {name: [verdict.is_right(name) for verdict in verdicts[name]] for name in VALUES}
    missed = ", ".join(f"{name} {len(right) - sum(right)} of {len(right)}" for name, right in alone.items())
    blamed = sum(not verdict.is_all_right() for verdict in verdicts["right"])
    garbled = [verdict.answer for verdict in verdicts["garbled"] if not any(verdict.truth.values())]
    praised = sum(answer is not None and any(answer[name] for name in VALUES) for answer in garbled)
    return "\n".join(
        [
            f"- Single errors it let pass, of those planted alone: {missed}.",
            f"- Right captions it found fault with: {blamed} of {len(verdicts['right'])}.",
            f"- Captions outside the grammar in which it still found something true: {praised} of {len(garbled)}.",
            "- It has seen nothing but these scenes and their one grammar. What it says of a photograph means nothing,",
            "  and a caption that is right in other words (`a couple of red discs`) it was taught to call false.",
            "- It learned from the same generator as the captioners: an image that misleads them may mislead it as",
            "  well, and then the two agree on an error.",
        ]
    )

"""Answers in the shapes that the pages' server gives, with texts that try to be more than text."""

from typing import Any

OLD, BAD, NEW = "step-0800-00000001/aaaa", "step-0809-00000002/bbbb", "step-0840-00000003/cccc"
METRICS = ["judge", "exact_match", "words"]
IMAGES = 100_000

SCRIPT = (
    "<script>document.title='owned'</script><img src=x onerror=\"alert('owned')\"><style>body{display:none}</style>"
)
BACKWARDS = "red \u202e square\u202e \u05d0\u05d3\u05d5\u05dd"  # an override that is never closed, and Hebrew
MEGABYTE = "one large square " * 61_681  # 1,048,577 characters
HOSTILE = [SCRIPT, BACKWARDS, MEGABYTE, "{{constructor.constructor('alert(1)')()}}", "javascript:alert(1)"]


def describe_metrics() -> list[dict[str, Any]]:
    decides = {"unit": "share", "higher_is_better": True, "gating": True, "margin": 0.05}
    return [
        {"name": "judge", "label": "judge", **decides},
        {"name": "exact_match", "label": "exact match", **decides},
        {"name": "words", "label": "words", "unit": "words", "higher_is_better": None, "gating": False, "margin": None},
    ]


def measure(value: float, difference: float | None) -> dict[str, Any]:
    """One value; `words` of a run has a difference without an interval, as the gate leaves it for constant metrics."""
    return {
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "n": 256,
        "difference": difference and {"value": difference, "low": difference - 0.03, "high": difference + 0.03},
        "outcome": difference and ("worse" if difference < 0 else "better"),
    }


def answer_checkpoint(run: str, step: int | None, verdict: str, value: float, **changes: Any) -> dict[str, Any]:
    difference = None if run == OLD else value - 0.97
    row = {
        "run": run,
        "checkpoint": f"step-{step or 0:04d}",
        "step": step,
        "training_run": "sft",
        "created": f"2026-12-01T0{(step or 0) % 7}:00:00Z",
        "verdict": verdict,
        "accepted": run == OLD,
        "reason": f"exact match 0.211 worse {SCRIPT}" if verdict == "FAIL" else "as good as before",
        "baseline_run": None if run == OLD else OLD,
        "captions": 256,
        "coverage": 1.0,
        "report": True,
        "dag_run": None,
        "metrics": {
            "judge": measure(value, difference),
            "exact_match": measure(value - 0.1, difference),
            "words": {
                "value": 11.0,
                "low": None,
                "high": None,
                "n": 256,
                "difference": {"value": 0.0, "low": None, "high": None},
                "outcome": None,
            },
        },
    }
    return row | changes


def answer_checkpoints() -> dict[str, Any]:
    rows = [
        answer_checkpoint(OLD, 800, "PASS", 0.97),
        answer_checkpoint(BAD, 809, "FAIL", 0.78),
        answer_checkpoint(NEW, 840, "INCONCLUSIVE", 0.96, training_run="ablation"),
        answer_checkpoint("odd-00000004/dddd", None, "FAIL", 0.5, checkpoint=SCRIPT, training_run=BACKWARDS),
    ]
    live = {
        "dag_id": "validate",
        "run_id": "manual__2026-12-01T00:00:00+00:00",
        "checkpoint": "step-0900",
        "suite": "demo",
        "stage": "caption",
        "done": 3,
        "total": 9,
        "started": "2026-12-01T00:00:00Z",
    }
    return {"suite": "demo", "metrics": describe_metrics(), "rows": rows, "live": [live]}


def answer_pair(index: int) -> dict[str, Any]:
    """The image `index` of the list; the first ones have the hostile captions."""
    caption = HOSTILE[index] if index < len(HOSTILE) else f"one large red square number {index} on a brown wall"
    return {
        "key": f"image-{index:06d}.png" if index else SCRIPT,
        "image": "api/image?golden=g&part=part-00000&row=1",
        "width": 8,
        "height": 8,
        "label": "square",
        "references": [f"one large red square number {index} on a black wall", BACKWARDS],
        "left": {"caption": f"one large red square number {index} on a black wall", "status": "ok", "failure": None},
        "right": {"caption": caption, "status": "ok" if index % 4 else "truncated", "failure": None},
        "metrics": {name: {"left": 1.0, "right": 0.25, "difference": -0.75} for name in METRICS},
        "judge": {"left": "a square", "right": SCRIPT},
    }


def answer_pairs(offset: int, limit: int, total: int) -> dict[str, Any]:
    return {
        "left": OLD,
        "right": BAD,
        "total": total,
        "metrics": METRICS,
        "about": describe_metrics(),
        "sort": "judge",
        "by": "difference",
        "order": "worst",
        "rows": [answer_pair(index) for index in range(offset, min(total, offset + limit))],
    }


def answer_histogram(metric: str) -> dict[str, Any]:
    edges = [-1 + index / 20 for index in range(41)]
    return {"metric": metric, "edges": edges, "counts": [index * index for index in range(40)], "missing": 7}


def answer_run() -> dict[str, Any]:
    row = answer_checkpoint(BAD, 809, "FAIL", 0.78)
    return {
        **{name: row[name] for name in ("run", "checkpoint", "verdict", "metrics", "baseline_run")},
        "suite": "demo",
        "sentence": row["reason"],
        "rests_on": {"captions": 256, "note": SCRIPT, "nested": {"deeper": [1, 2, 3]}},
        "funnel": [
            {"label": "read", "count": 283, "reasons": {}},
            {"label": "prepared", "count": 274, "reasons": {SCRIPT: 9}},
        ],
        "phases": [
            {"name": "prepare", "started": "2026-12-01T00:00:00Z", "seconds": 4.5},
            {"name": SCRIPT, "started": None, "seconds": 2.0},
        ],
        "engine": {"versions": {"vllm": "0.29.0"}},
        "links": {"report": "api/report?run=x", "ray_job": "javascript:alert('owned')", "dag_run": "../dags/validate"},
        "about": describe_metrics(),
        "record": {"text": SCRIPT},
    }


def answer_compare() -> dict[str, Any]:
    numbers = {"left": 0.97, "right": 0.78, "difference": -0.19, "low": -0.22, "high": -0.16, "p": 1e-9, "n": 256}
    slices = [{"name": "label", "value": text, **numbers, "outcome": "worse"} for text in ("square", SCRIPT)]
    outcomes = dict(zip(METRICS, ("worse", "better", "unclear"), strict=True))
    return {
        "left": OLD,
        "right": BAD,
        "comparable": True,
        "problems": [f"the prompts differ: {SCRIPT}"],
        "metrics": [
            {**facts, **numbers, "outcome": outcomes[facts["name"]], "slices": slices} for facts in describe_metrics()
        ],
    }

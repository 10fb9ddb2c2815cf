"""A run whose every text tries to break the report's page."""

from pathlib import Path
from typing import Any

from report_case import ReportCase, make_comparison
from stored_runs import CaptionResult, Image

HOSTILE = {
    "script": "<script>document.title='owned'</script>",
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "attribute": '" onmouseover="document.title=\'owned\'" x="',
    "style": "</style></title></svg></bdi><style>body{display:none}</style>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "entity": "&lt;script&gt;&#x202e;",
    "reversed": "\u202ereversed\u2066",
    "control": "bell\x07nul\x00escape\x1b[31m",
    "long": "word " * 20_000,
    "unbroken": "x" * 100_000,
    "emoji": "👩\u200d👩\u200d👧🏳\ufe0f\u200d🌈",
    "marks": "Z" + "\u0335\u0321\u0489" * 300,
    "arabic": "قطة حمراء على سجادة",
    "noncharacter": "\ufffe\uffff",
}


def make_hostile_run(root: Path, **settings: Any) -> ReportCase:
    """Every hostile text as a caption, a reference, a label, an image's name, a rationale and a reason."""
    texts = list(HOSTILE.values())
    pictures = [Image(f"{number} {text[:300]}", [text, text], text) for number, text in enumerate(texts)]
    new = [CaptionResult(text, {"chrf": 10.0 + number}, rationale=text) for number, text in enumerate(texts)]
    new += [CaptionResult(None, failure=text[:300], detail=text) for text in texts[:3]]
    new += [CaptionResult("x", {"chrf": 1.0}, failure=texts[0], rationale=texts[0])]
    old = [
        CaptionResult(text[::-1], {"chrf": 90.0 * (number % 2)}, rationale=text) for number, text in enumerate(texts)
    ]
    old += [CaptionResult("x", {"chrf": 1.0})] * 4
    pictures += [Image(f"more {number}") for number in range(4)]
    script = HOSTILE["script"]
    hostile_texts: dict[str, Any] = {
        "reason": " ".join(texts)[:5000],
        "called": script + HOSTILE["attribute"] + HOSTILE["reversed"] + HOSTILE["control"],
        "judge": {script: {script: script}},
        "details": {script: {script: 0.5}},
        "comparisons": [make_comparison("chrf", method=script)],
        "rejected": {script: 2},
    }
    return ReportCase(root, pictures, new, old, **hostile_texts | settings)

"""Golden parts and captions for the judge's tests, written without an engine."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from samples import draw_picture, encode_image, make_baseline, make_spec

from ray_jobs.caption import SCHEMA
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import manifests, parts

PART_ROWS = 4
SHORT: dict[str, Any] = {"tries": 2, "timeout_seconds": 5.0, "concurrency": 4}


def make_judge_spec(root: str, url: str, called: str = "step-1", **judge: Any) -> Spec:
    """A spec whose judge is behind the endpoint."""
    settings = {"kind": "openai", "model": "m", "base_url": url, "prompt": "Rate: {caption}"} | SHORT | judge
    flat = {f"judge__{name}": value for name, value in settings.items()}
    return make_spec(root, called[-1] * 16, called, **flat)


def write_judge_inputs(spec: Spec, captions: Mapping[str, str | None]) -> Spec:
    """Write the golden set of the spec, one picture per caption, and the captions; None is a failed caption. Returns
    the spec."""
    names = list(captions)
    golden, captioned_parts = [], []
    for first in range(0, len(names), PART_ROWS):
        part, ids = manifests.name_of_part(first // PART_ROWS), names[first : first + PART_ROWS]
        rows = {
            "image_id": ids,
            "image": [encode_image(draw_picture(first + number, (8, 8))) for number in range(len(ids))],
            "references": [[f"a picture of {name}"] for name in ids],
            "blake3": [f"{first + number:064x}" for number in range(len(ids))],
        }
        golden.append(parts.write(spec.golden_uri, part, pa.table(rows), {"lost": {}}))
        failed = sum(captions[name] is None for name in ids)
        table = pa.Table.from_pylist(
            [
                {"image_id": name, "caption": captions[name], "finish_reason": "stop", "tokens": 3,
                 "failure": "engine-error" if captions[name] is None else None}
                for name in ids
            ],
            schema=SCHEMA,
        )  # fmt: skip
        captioned_parts.append(
            parts.write(spec.captions_uri, part, table, {"lost": {"engine-error": failed} if failed else {}})
        )
    manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, golden, len(names), {}, {}))
    manifests.commit(
        spec.captions_uri, manifests.build_manifest("captions", spec.caption_id, captioned_parts, len(names), {}, {})
    )
    return spec


def with_baseline(candidate: Spec, other: Spec) -> Spec:
    """The candidate's spec with the other run as its baseline."""
    return candidate.model_copy(update={"baseline": make_baseline(other)})

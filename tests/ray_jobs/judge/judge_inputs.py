"""Golden parts and captions for a judge to be asked about, made without an engine."""

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


def write_judge_inputs(planned: Spec, captions: Mapping[str, str | None]) -> Spec:
    """The spec with its golden set (one picture a caption, unless there) and these captions, None for a failed one."""
    names = list(captions)
    golden, told = [], []
    for first in range(0, len(names), PART_ROWS):
        part, some = manifests.name_of_part(first // PART_ROWS), names[first : first + PART_ROWS]
        rows = {
            "image_id": some,
            "image": [encode_image(draw_picture(first + number, (8, 8))) for number in range(len(some))],
            "references": [[f"a picture of {name}"] for name in some],
            "blake3": [f"{first + number:064x}" for number in range(len(some))],
        }
        golden.append(parts.write(planned.golden_uri, part, pa.table(rows), {"lost": {}}))
        failed = sum(captions[name] is None for name in some)
        table = pa.Table.from_pylist(
            [
                {"image_id": name, "caption": captions[name], "finish_reason": "stop", "tokens": 3,
                 "failure": "engine-error" if captions[name] is None else None}
                for name in some
            ],
            schema=SCHEMA,
        )  # fmt: skip
        told.append(
            parts.write(planned.captions_uri, part, table, {"lost": {"engine-error": failed} if failed else {}})
        )
    manifests.commit(
        planned.golden_uri, manifests.build_manifest("golden", planned.golden_id, golden, len(names), {}, {})
    )
    manifests.commit(
        planned.captions_uri, manifests.build_manifest("captions", planned.caption_id, told, len(names), {}, {})
    )
    return planned


def with_baseline(candidate: Spec, other: Spec) -> Spec:
    """The candidate's spec with the other run for its baseline."""
    return candidate.model_copy(update={"baseline": make_baseline(other)})

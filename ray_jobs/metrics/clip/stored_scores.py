"""Load the stored CLIP scores of a part. Imports neither the model nor Ray, because every scoring task imports this."""

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import parts

FOLDER = "clip"  # below the scores of the captions


def load_clip_scores(spec: Spec, caption_id: str, part: str) -> dict[str, dict[str, float | None]]:
    """The values of each CLIP metric by image id, for the captions of a part."""
    rows = parts.read(spec.scores_uri_of(caption_id), part, folder=FOLDER).to_pylist()
    return {row.pop("image_id"): row for row in rows}

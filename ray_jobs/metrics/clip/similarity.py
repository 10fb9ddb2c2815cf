"""CLIPScore and RefCLIPScore of a caption (Hessel et al. 2021): how close it is to its image and references."""

from collections.abc import Sequence

from ray_jobs.metrics import Metric

WEIGHT = 2.5  # stretches the cosines that occur in practice to [0, 1]

METRICS = (
    Metric("clipscore", "CLIPScore", +1, (0, 2.5)),
    Metric("refclipscore", "RefCLIPScore", +1, (0, 10 / 7), needs="references"),
)


def compute_scores(to_image: float, to_references: Sequence[float]) -> dict[str, float | None]:
    """CLIPScore and RefCLIPScore by the cosines of a caption with its image and with each reference.

    Hessel et al., CLIPScore (2021), equations 1 and 2: 2.5 max(cos, 0), and its harmonic mean with that of the closest
    reference. Without references there is no RefCLIPScore.
    """
    clipscore = WEIGHT * min(max(to_image, 0.0), 1.0)
    if not to_references:
        return {"clipscore": clipscore, "refclipscore": None}
    closest = min(max(*to_references, 0.0), 1.0)
    return {
        "clipscore": clipscore,
        "refclipscore": 2 * clipscore * closest / (clipscore + closest) if clipscore + closest else 0.0,
    }

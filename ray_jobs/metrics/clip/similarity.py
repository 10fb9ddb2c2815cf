"""CLIPScore and RefCLIPScore: how close a caption is to its image and its references (Hessel et al. 2021)."""

from collections.abc import Sequence

from ray_jobs.metrics import Metric

WEIGHT = 2.5  # stretches the cosines that occur in practice to [0, 1]

METRICS = (
    Metric("clipscore", "CLIPScore", +1, (0, 2.5)),
    Metric("refclipscore", "RefCLIPScore", +1, (0, 10 / 7), needs="references"),
)


def compute_scores(to_image: float, to_references: Sequence[float]) -> dict[str, float | None]:
    """CLIPScore and RefCLIPScore, from the cosines of a caption with its image and with each reference.

    Hessel et al., CLIPScore (2021), equations 1 and 2. CLIPScore is 2.5 max(cos, 0). RefCLIPScore is the harmonic mean
    of CLIPScore and max(cos, 0) with the closest reference; None without references.
    """
    clipscore = WEIGHT * min(max(to_image, 0.0), 1.0)
    if not to_references:
        return {"clipscore": clipscore, "refclipscore": None}
    closest = min(max(*to_references, 0.0), 1.0)
    return {
        "clipscore": clipscore,
        "refclipscore": 2 * clipscore * closest / (clipscore + closest) if clipscore + closest else 0.0,
    }

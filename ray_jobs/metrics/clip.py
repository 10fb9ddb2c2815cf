"""How close a caption is to its image, and to its references, in the space of a CLIP model."""

from ray_jobs.metrics import Metric

WEIGHT = 2.5  # Hessel et al.: stretches what cosines there are in practice to [0, 1]

CLIPSCORE = Metric("clipscore", "CLIPScore", +1, (0, 2.5))
REFCLIPSCORE = Metric("refclipscore", "RefCLIPScore", +1, (0, 2.5), needs="references")
METRICS = (CLIPSCORE, REFCLIPSCORE)

"""Values whose images come in clusters (one label, one source) and are not independent within them."""

from collections.abc import Sequence

import numpy as np

from ray_jobs.gate.moments import moments
from ray_jobs.gate.studentised import Studentised


class Clusters:
    """How many values each cluster has and their sum; memory grows with the clusters, not with the values."""

    def __init__(self) -> None:
        self._index: dict[object, int] = {}
        self.counts = np.zeros(0)
        self.sums = np.zeros(0)

    def __len__(self) -> int:
        return len(self._index)

    def add(self, names: Sequence[object], values: np.ndarray) -> None:
        """One more chunk: the cluster of each value beside the values."""
        at = np.fromiter((self._index.setdefault(name, len(self._index)) for name in names), int, len(names))
        grown = len(self._index) - len(self.counts)
        if grown > 0:  # doubled, so that clusters which arrive one by one cost no copy each
            room = np.zeros(max(grown, len(self.counts)))
            self.counts, self.sums = np.append(self.counts, room), np.append(self.sums, room)
        np.add.at(self.counts, at, 1)
        np.add.at(self.sums, at, values)

    def studentised(self) -> Studentised:
        """The mean over the images with its cluster-robust error, for two clusters or more."""
        return studentised(self.counts[: len(self)], self.sums[: len(self)])


def studentised(counts: np.ndarray, sums: np.ndarray) -> Studentised:
    """Mean of clustered values, `counts` and `sums` by cluster along the last axis.

    The mean over the images is the ratio of two sums over clusters. Its variance is CR2, with Bell and McCaffrey's
    degrees of freedom under independent images (2002, Survey Methodology 28:169), which are G - 1 when the clusters
    have one size and fewer when a few clusters hold most images. For a mean, with w the cluster's share of the images,
    both have closed forms: each residual sum is divided by sqrt(1 - w), and
    1/df = sum w^2 + sum over g != h of w_g^2 w_h^2 / ((1 - w_g)(1 - w_h)).
    """
    total = counts.sum(-1, keepdims=True)
    w = counts / total
    mean = sums.sum(-1, keepdims=True) / total
    parts = (sums - counts * mean) / np.sqrt(1 - w) / total
    shares = w**2 / (1 - w)
    crossed = shares.sum(-1) ** 2 - (shares**2).sum(-1)
    size = np.asarray(counts.shape[-1])
    spread = moments(parts)
    return Studentised(
        method="cluster-robust t with Hall's correction for skewness",
        estimate=mean[..., 0],
        error=np.sqrt((parts**2).sum(-1)),
        skewness=spread.skewness,
        kurtosis=spread.kurtosis,
        size=size,
        freedom=np.minimum(size - 1, 1 / ((w**2).sum(-1) + crossed)),
        images=total[..., 0],
    )

"""Test the mean of values whose images come in clusters, for example one cluster per label or per source.

`accumulator` calls this, because images within a cluster are not independent.
"""

import numpy as np

from ray_jobs.gate.moments import compute_moments
from ray_jobs.gate.skewed_mean import MeanTest


class Clusters:
    """The count and the sum of each cluster's values. Memory grows with the clusters, not with the values."""

    def __init__(self) -> None:
        self._counts = np.zeros(0)
        self._sums = np.zeros(0)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._counts))

    def add(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """Add a chunk of values. `numbers` has the number of each value's cluster, from 0."""
        most = int(numbers.max()) + 1
        if most > len(self._counts):  # double at least, so that not every new cluster costs a copy
            room = np.zeros(max(most, 2 * len(self._counts)) - len(self._counts))
            self._counts, self._sums = np.append(self._counts, room), np.append(self._sums, room)
        self._counts[:most] += np.bincount(numbers, minlength=most)
        self._sums[:most] += np.bincount(numbers, weights=values, minlength=most)

    def build_test(self) -> MeanTest:
        """The test of the mean over the images, with a cluster-robust error. Needs two clusters or more."""
        present = self._counts > 0
        return build_clustered_mean_test(self._counts[present], self._sums[present])


def build_clustered_mean_test(counts: np.ndarray, sums: np.ndarray) -> MeanTest:
    """The test of the mean of clustered values. `counts` and `sums` are per cluster, along the last axis.

    The mean over the images is the ratio of two sums over clusters. Its variance is CR2. The degrees of freedom are
    Bell and McCaffrey's under independent images (2002, Survey Methodology 28:169). They are G - 1 when all G clusters
    have one size, and fewer when a few clusters hold most images. For a mean both have closed forms. Let w be the
    cluster's share of the images. Then each residual sum is divided by sqrt(1 - w), and
    1/df = sum w^2 + sum over g != h of w_g^2 w_h^2 / ((1 - w_g)(1 - w_h)).
    """
    total = counts.sum(-1, keepdims=True)
    w = counts / total
    mean = sums.sum(-1, keepdims=True) / total
    parts = (sums - counts * mean) / np.sqrt(1 - w) / total
    shares = w**2 / (1 - w)
    crossed = shares.sum(-1) ** 2 - (shares**2).sum(-1)
    size = np.asarray(counts.shape[-1])
    spread = compute_moments(parts)
    return MeanTest(
        method="cluster-robust t with Hall's correction for skewness",
        estimate=mean[..., 0],
        error=np.sqrt((parts**2).sum(-1)),
        skewness=spread.skewness,
        kurtosis=spread.kurtosis,
        size=size,
        freedom=np.minimum(size - 1, 1 / ((w**2).sum(-1) + crossed)),
        images=total[..., 0],
    )

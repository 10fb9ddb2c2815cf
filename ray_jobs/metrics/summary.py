"""A mean with its error bar."""

import numpy as np
from scipy import stats

from ray_jobs.contract import Summary


def summarise(values: np.ndarray, expected: int) -> Summary:
    """Mean, standard error s/sqrt(n) and Student's 95% interval over the images that have a value (NaN: none).

    `expected` counts the images that should have one. With one value there is a mean and no error bar; with none,
    neither: a missing score is missing.
    """
    present = values[~np.isnan(values)]
    n = len(present)
    if n == 0:
        return Summary(n=0, expected=expected, mean=None, standard_error=None, low=None, high=None)
    mean = float(present.mean())
    if n == 1:
        return Summary(n=1, expected=expected, mean=mean, standard_error=None, low=None, high=None)
    error = float(present.std(ddof=1) / np.sqrt(n))
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return Summary(n=n, expected=expected, mean=mean, standard_error=error, low=mean - half, high=mean + half)

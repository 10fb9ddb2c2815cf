"""Simulates nights to measure the gate's error rates and power; prints a Markdown table.

    nice -n 10 .assay/data/bin/python -m benchmarks.gate_simulation            # a few minutes on one core
    .assay/data/bin/python -m benchmarks.gate_simulation --nights 0.02         # a short run

A night compares a checkpoint with its baseline. To measure false alarms, the true difference of every metric is exactly
-margin, the worst allowed difference. To measure power, one metric is worse by the gate's `detectable` difference. All
nights of a setting are tested at once, by the functions that the gate calls for one night. The last table runs the
whole gate.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

from ray_jobs.gate import accumulator, cluster_robust
from ray_jobs.gate.holm import adjust_p_values
from ray_jobs.gate.moments import Moments, compute_moments
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import PairedDifferences
from ray_jobs.gate.paired_proportions import PairedProportionsTest, losses_p_value
from ray_jobs.gate.skewed_mean import MeanTest
from ray_jobs.gate.zero_variance import ZeroVarianceTest

ALPHAS = (0.05, 0.0027)
FAMILIES = (1, 4)
POWER = 0.8
NIGHTS = {30: 80_000, 100: 80_000, 300: 40_000, 1000: 20_000, 5000: 8_000}  # comparisons; a quarter as many families
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class NightPValues:
    """The p-values of every night at the boundary, of "worse" and "no worse", and the power by family.

    `power` has the announced difference and the share of nights that found it.
    """

    worse: np.ndarray
    no_worse: np.ndarray
    power: dict[int, tuple[float, float]]


# --- differences with mean 0 ----------------------------------------------------------------------------------------


def draw_normal(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return random.standard_normal(shape)


def draw_rare_gains(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Lognormal with sigma 1: skewness 6.2. Few images gain much, and a sample without them does not show it."""
    return np.exp(random.standard_normal(shape)) - math.exp(0.5)


def draw_mild_gains(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Lognormal with sigma 0.5: skewness 1.75."""
    return np.asarray(np.exp(0.5 * random.standard_normal(shape)) - math.exp(0.125))


def draw_rare_losses(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return -draw_rare_gains(random, shape)


def draw_lognormal_differences(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(draw_rare_gains(random, shape) - draw_rare_gains(random, shape))


def draw_inflated_gains(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """No difference on nine of ten images, and a gain of up to 1 on the others."""
    return np.where(random.random(shape) < 0.1, random.random(shape), 0.0) - 0.05


def draw_inflated_losses(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return -draw_inflated_gains(random, shape)


def draw_rare_changes(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(random.random(shape) < 0.1, random.uniform(-1, 1, shape), 0.0)


def draw_collapse(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """`collapse` of two checkpoints that write twenty captions, the k-th with a chance of 1/k. Its order is 2."""
    return np.asarray(_draw_shares(random, shape) - _draw_shares(random, shape))


def _draw_shares(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    chance = 1 / np.arange(1, 21)
    caption = np.searchsorted(np.cumsum(chance / chance.sum()), random.random(shape)).clip(max=19)
    night = np.arange(shape[0])[:, None] * 20
    return np.asarray(
        (np.bincount((night + caption).ravel(), minlength=20 * shape[0])[night + caption] - 1) / (shape[1] - 1)
    )


MEANS: dict[str, Draw] = {
    "normal": draw_normal, "lognormal, sigma 0.5, gains": draw_mild_gains, "lognormal, sigma 1, gains": draw_rare_gains,
    "lognormal, sigma 1, losses": draw_rare_losses, "difference of two lognormals": draw_lognormal_differences,
    "90% zeros, gains": draw_inflated_gains, "90% zeros, losses": draw_inflated_losses,
    "90% zeros, both": draw_rare_changes,
}  # fmt: skip
# baseline's share, correlation of the two runs, margin
SHARES = {(0.5, 0.2, 0.05), (0.9, 0.5, 0.05), (0.97, 0.5, 0.02), (0.99, 0.8, 0.01), (0.5, 0.5, 0.0), (0.9, 0.8, 0.0)}
# clusters, share of the variance between them, how unequal they are (sigma of the lognormal sizes)
CLUSTERS = ((10, 0.2, 0.0), (15, 0.2, 0.5), (30, 0.2, 0.5), (100, 0.05, 1.0), (100, 0.5, 0.5))


def simulate_means(random: np.random.Generator, draw: Draw, n: int, nights: int, order: int = 1) -> NightPValues:
    """Nights of one metric with `n` differences. The margin does not matter, because only the distance to it counts."""
    step = max(1, 2_000_000 // n)
    chunks = [compute_moments(draw(random, (min(step, nights - first), n))) for first in range(0, nights, step)]
    fields = {name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("mean", "m2", "m3", "m4")}
    fields |= {name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("least", "most")}
    moments = Moments(np.asarray(n), **fields)
    with np.errstate(all="ignore"):
        p_values = _compute_p_values(accumulator.build_mean_test(moments, order))
    for night in np.nonzero(moments.is_constant)[0]:
        constant = ZeroVarianceTest(float(moments.mean[night]), n, -1.0, 1.0)
        p_values.worse[night], p_values.no_worse[night] = constant.p_below(0.0), constant.p_above(0.0)
    return p_values


def simulate_clusters(
    random: np.random.Generator, number: int, between: float, unequal: float, nights: int
) -> NightPValues:
    """Nights with clusters of about 20 images. The differences within a cluster share a common part."""
    counts = np.maximum(np.round(20 * np.exp(unequal * random.standard_normal((nights, number)))), 1)
    common = math.sqrt(between) * random.standard_normal(counts.shape)
    individual = math.sqrt(1 - between) * random.standard_normal(counts.shape)
    return _compute_p_values(
        cluster_robust.build_clustered_mean_test(counts, counts * common + np.sqrt(counts) * individual)
    )


def _compute_p_values(test: MeanTest) -> NightPValues:
    power = {}
    for family in FAMILIES:
        alpha = ALPHAS[1] / family
        is_announced = np.isfinite(announced := test.detectable(0.0, alpha, POWER))
        worse = float(announced[is_announced].mean()) if is_announced.mean() > 0.5 else math.nan
        is_found = test.p_below(-worse)[is_announced] <= alpha  # all differences moved by `worse` against the bound 0
        power[family] = worse, float(is_found.mean()) if is_announced.any() else math.nan
    return NightPValues(test.p_below(0.0), test.p_above(0.0), power)


def simulate_shares(
    random: np.random.Generator, share: float, correlation: float, margin: float, n: int, nights: int
) -> NightPValues:
    """Nights of a binary metric at the boundary: the candidate's share is the baseline's minus the margin."""
    both = share * (share - margin)
    both += correlation * math.sqrt(share * (1 - share) * (share - margin) * (1 - share + margin))
    gain = max(share - margin - both, 0.0)
    losses, gains, _ = random.multinomial(n, [gain + margin, gain, 1 - margin - 2 * gain], nights).T
    power = {}
    for family in FAMILIES:
        alpha = ALPHAS[1] / family
        differences = [
            PairedProportionsTest(0, count, n, "").detectable(-margin, alpha, POWER) for count in _pick_typical(gains)
        ]
        worse = -float(np.nanmean(differences)) if np.isfinite(differences).mean() > 0.5 else math.nan
        if math.isfinite(worse):
            lost, gained, _ = random.multinomial(n, [gain + worse, gain, 1 - worse - 2 * gain], nights).T
            power[family] = -worse, float((losses_p_value(lost, gained, n, margin) <= alpha).mean())
        else:
            power[family] = math.nan, math.nan
    never = PairedProportionsTest(0, 0, n, "").p_above(-margin)
    no_worse = np.where((losses == 0) & (gains == 0), never, losses_p_value(gains, losses, n, -margin))
    return NightPValues(losses_p_value(losses, gains, n, margin), no_worse, power)


def _pick_typical(gains: np.ndarray) -> list[int]:
    """Fifteen typical nights, because computing the detectable difference is slow. It depends only on the gains."""
    middles = (np.arange(15) + 0.5) / 15
    return [int(count) for count in np.quantile(gains, middles, method="nearest")]


# --- the tables -----------------------------------------------------------------------------------------------------


def list_settings(nights: float) -> Iterator[tuple[str, int, Callable[[np.random.Generator], NightPValues]]]:
    """The name of each setting, its number of images or clusters, and a function that simulates its nights."""
    for name, draw in MEANS.items():
        for n, full in NIGHTS.items():
            yield name, n, partial(simulate_means, draw=draw, n=n, nights=int(full * nights))
    for share, correlation, margin in sorted(SHARES):
        for n in NIGHTS:
            name = f"share {share:g}, correlation {correlation:g}, margin {margin:g}"
            drawn = partial(simulate_shares, share=share, correlation=correlation, margin=margin, n=n)
            yield name, n, partial(drawn, nights=int(80_000 * nights))
    for number, between, unequal in CLUSTERS:
        name = f"clusters, {between:.0%} of variance between, sizes' sigma {unequal:g}"
        grouped = partial(simulate_clusters, number=number, between=between, unequal=unequal)
        yield name, number, partial(grouped, nights=int(80_000 * nights))
    for n, full in NIGHTS.items():
        yield (
            "collapse, 20 captions",
            n,
            partial(simulate_means, draw=draw_collapse, n=n, nights=int(full * nights), order=2),
        )


def format_rate(hits: np.ndarray) -> str:
    """The share in percent with Clopper and Pearson's 95% interval."""
    k, n = int(hits.sum()), len(hits)
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{100 * k / n:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def format_row(name: str, n: int, p_values: NightPValues) -> str:
    cells = []
    for alpha in ALPHAS:
        for family in FAMILIES:
            first = p_values.worse[: len(p_values.worse) // family * family].reshape(-1, family).min(axis=1)
            # Holm rejects something if the smallest p passes its first step.
            cells.append(format_rate(first <= alpha / family))
    cells.append(format_rate(p_values.no_worse <= ALPHAS[1]))
    for announced, reached in p_values.power.values():
        cells.append(f"{100 * reached:.1f} at {announced:.3f}" if math.isfinite(announced) else "not announced")
    return f"| {name} | {n} | {' | '.join(cells)} |"


def simulate_gate(random: np.random.Generator, nights: int) -> str:
    """Four metrics of 300 images, correlated, all at their margins, through `compare_metric` and Holm."""
    kinds = {"normal": "mean", "mild": "mean", "inflated": "mean", "share": "share"}
    metrics = {
        name: SimpleNamespace(
            name=name, unit="", direction=1, range=(-math.inf, math.inf), kind=kind, order=1, needs="nothing"
        )
        for name, kind in kinds.items()
    }
    hits: dict[float, list[bool]] = {alpha: [] for alpha in ALPHAS}
    for _ in range(nights):
        common = random.standard_normal(300)
        losses = np.where(random.random(300) < 0.08, -1.0, np.where(random.random(300) < 0.03 / 0.92, 1.0, 0.0))
        differences: dict[str, np.ndarray] = {
            "normal": common - 0.05,
            "mild": np.exp(0.35 * common + 0.357 * random.standard_normal(300)) - math.exp(0.125) - 0.05,
            "inflated": draw_rare_changes(random, (1, 300))[0] - 0.05,
            "share": losses,
        }  # fmt: skip
        ps = []
        for name, values in differences.items():
            pairs: Any = PairedDifferences(metrics[name])
            pairs.add(np.zeros(300), values)
            ps.append(compare_metric(metrics[name], pairs, 0.05, 0.0027, advisory=True).p_worse or 0.0)
        for alpha, rejections in hits.items():
            rejections.append(min(adjust_p_values(ps)) <= alpha)
    return " | ".join(format_rate(np.array(rejections)) for rejections in hits.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nights", type=float, default=1.0, help="share of the full number")
    parser.add_argument("--only", default="", help="settings whose name has this in it")
    arguments = parser.parse_args()
    began = time.perf_counter()
    heads = [f"FAIL, {family} at {alpha:.2%}" for alpha in ALPHAS for family in FAMILIES]
    heads += [f"PASS, 1 at {ALPHAS[1]:.2%}", *(f"power, {family} at {ALPHAS[1]:.2%}" for family in FAMILIES)]
    print(f"| differences | n | {' | '.join(heads)} |\n| {' | '.join(['---'] * (len(heads) + 2))} |")
    for number, (name, n, simulate) in enumerate(list_settings(arguments.nights)):
        if arguments.only in name:
            print(format_row(name, n, simulate(np.random.default_rng(number))), flush=True)
    if not arguments.only:
        nights = int(10_000 * arguments.nights)
        print(f"\n| the whole gate, four metrics at their margins, 300 images, {nights} nights | at 5% | at 0.27% |")
        print(f"| --- | --- | --- |\n| FAIL | {simulate_gate(np.random.default_rng(99), nights)} |")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Chooses the shares of one GPU that the captions' engine and the judge's take, if the suite leaves them out.

`client/gpu_shares.py` calls it in the drivers, and finds out what it needs to know. With the default share of each,
every checkpoint would end one engine to start the other.

Both shares together are DEFAULT_SHARE, so vLLM, which measures free memory when it starts, has room beside the other
engine, whichever starts first. Neither is above MAX_SHARED, because Ray gives such an engine the whole GPU. Of the
shares in steps of STEP_PERCENT, we take those with which the engine with less room for requests has most room. With
room for fewer than MIN_SEQUENCES requests, an engine would be so slow that we rather start both in turn, as before.
"""

from dataclasses import dataclass

from ray_jobs.contract.sections.engine import DEFAULT_SHARE, MAX_SHARED, Engine
from ray_jobs.engine.chosen_settings import MAX_SEQUENCES, ModelSizes, Workload, count_room

MIN_SEQUENCES = 64
STEP_PERCENT = 5
PERCENT, MAX_PERCENT = round(100 * DEFAULT_SHARE), round(100 * MAX_SHARED)


@dataclass(frozen=True)
class EngineNeed:
    """The settings of an engine, what its requests are like, and the sizes of its model; None if they are unknown."""

    engine: Engine
    workload: Workload
    sizes: ModelSizes | None


def choose_shares(captions: EngineNeed, judge: EngineNeed, gpu_bytes: int) -> tuple[Engine, Engine, str]:
    """Returns the settings of both engines on one GPU of so many bytes, and one line that explains them.

    A share of the suite's own stays. If there is no room for both, the settings are returned as they were.
    """
    unchanged = captions.engine, judge.engine
    if not captions.sizes or not judge.sizes:
        return *unchanged, _explain("the config of a model does not say what a token takes")
    best, most = unchanged, 0.0
    for shares in _list_shares(captions.engine, judge.engine):
        pair = _set_share(captions.engine, shares[0]), _set_share(judge.engine, shares[1])
        rooms = [
            count_room(engine, need.workload, sizes, gpu_bytes) / _count_wanted(need.engine)
            for engine, need, sizes in zip(pair, (captions, judge), (captions.sizes, judge.sizes), strict=True)
        ]
        if (least := min(*rooms, MAX_SEQUENCES / MIN_SEQUENCES)) >= 1 and least > most:
            best, most = pair, least
    weights = f"{captions.sizes.weight_bytes / 1e9:.1f} + {judge.sizes.weight_bytes / 1e9:.1f} GB of weights"
    memory = f"{gpu_bytes / 1e9:.0f} GB"
    if best is unchanged:
        return *unchanged, _explain(f"one GPU of {memory} has no room for {weights} and the requests of both")
    return *best, (
        f"gpu_memory_utilization {best[0].gpu_share:g} for the captions and {best[1].gpu_share:g} for the judge are "
        f"chosen, so that both engines stay: {weights} on one GPU of {memory}"
    )


def _list_shares(captions: Engine, judge: Engine) -> list[tuple[float, float]]:
    """Returns the pairs of shares to compare. The first of equally good pairs wins, so equal shares come first."""
    if share := captions.gpu_memory_utilization:
        return [(share, _rest_of(share))] if share <= MAX_SHARED else []
    if share := judge.gpu_memory_utilization:
        return [(_rest_of(share), share)] if share <= MAX_SHARED else []
    percents = sorted(
        range(PERCENT - MAX_PERCENT, MAX_PERCENT + 1, STEP_PERCENT), key=lambda percent: abs(2 * percent - PERCENT)
    )
    return [(percent / 100, (PERCENT - percent) / 100) for percent in percents]


def _rest_of(share: float) -> float:
    """What an engine beside one with this share gets."""
    return min(MAX_SHARED, round(DEFAULT_SHARE - share, 2))


def _set_share(engine: Engine, share: float) -> Engine:
    return engine.model_copy(update={"gpu_memory_utilization": share})


def _count_wanted(engine: Engine) -> int:
    """How many requests an engine must have room for at least."""
    return min(MIN_SEQUENCES, engine.max_num_seqs or MIN_SEQUENCES)


def _explain(reason: str) -> str:
    return f"the captions' engine and the judge's have the GPU in turn: {reason}"

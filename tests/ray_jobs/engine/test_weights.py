from torch import nn

from ray_jobs.engine.vllm_plugin.weight_hash import Tally
from ray_jobs.engine.vllm_plugin.worker import Held, watched


def test_tied_parameters_are_one() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embed"].weight
    held, once = Held(Tally), Tally()
    once.add(model["embed"].weight)
    with watched(model, held):
        pass
    assert list(held) == [1]
    assert (held[1].sum, held[1].count) == (once.sum, once.count)

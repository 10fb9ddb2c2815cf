from torch import nn

from ray_jobs.engine.vllm_plugin.weight_hash import WeightHash
from ray_jobs.engine.vllm_plugin.worker import HashesByReplication, hash_loads


def test_tied_parameters_are_one() -> None:
    embed = nn.Embedding(7, 4)
    model = nn.ModuleDict({"embed": embed, "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = embed.weight
    hashes, once = HashesByReplication(WeightHash), WeightHash()
    once.add(embed.weight)
    with hash_loads(model, hashes):
        pass
    assert list(hashes) == [1]
    assert (hashes[1].sum, hashes[1].count) == (once.sum, once.count)

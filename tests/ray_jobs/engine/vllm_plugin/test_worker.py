from typing import Any

import pytest
import torch
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


@pytest.mark.parametrize("kept_type", [torch.float8_e4m3fn, torch.bfloat16])
def test_what_is_quantised_counts_as_it_was_read(kept_type: torch.dtype) -> None:
    """Whether vLLM changes the type of the values or only packs them with a scale beside them."""
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    class Quantise(QuantizeMethodBase):  # type: ignore[misc]
        def create_weights(self, layer: Any, *_: Any, **__: Any) -> None: ...

        def apply(self, layer: Any, *_: Any, **__: Any) -> torch.Tensor:
            return torch.empty(0)

        def process_weights_after_loading(self, layer: Any) -> None:
            layer.weight = nn.Parameter((layer.weight.data / 2).to(kept_type).t(), requires_grad=False)
            if kept_type == torch.bfloat16:
                layer.scale = nn.Parameter(torch.tensor([2.0]), requires_grad=False)

    layer = nn.Linear(4, 7, bias=False, dtype=torch.bfloat16)
    layer.quant_method = Quantise()
    hashes, read = HashesByReplication(WeightHash), WeightHash()
    read.add(layer.weight)
    with hash_loads(nn.ModuleList([layer]), hashes):
        layer.quant_method.process_weights_after_loading(layer)
    assert layer.weight.dtype == kept_type
    assert (hashes[1].sum, hashes[1].count) == (read.sum, read.count)

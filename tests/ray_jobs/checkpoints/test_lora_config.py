"""Configs of adapters that a merge can honour, and those that it cannot."""

from typing import Any

import pytest
from adapters import CONFIG

from ray_jobs.checkpoints.lora_config import explain_unsupported


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LOHA"}, "an adapter of type LOHA, not LORA"),
        ({"use_dora": True}, r"not a plain LoRA \(use_dora is set\)"),
        ({"bias": "lora_only"}, r"trains biases \(bias: lora_only\)"),
        ({"init_lora_weights": "pissa_niter_16"}, r"began by changing the base \(init_lora_weights: pissa_niter_16\)"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is set"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is set"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"alora_invocation_tokens": [7]}, "alora_invocation_tokens is set"),
        ({"target_parameters": ["experts.down_proj"]}, "target_parameters is set"),
        ({"of_a_peft_to_come": {"factor": 2}}, "of_a_peft_to_come is set"),
        ({"r": 0}, "r, or what rank_pattern has, is not above zero"),
        ({"rank_pattern": {"q_proj": "8"}}, "r, or what rank_pattern has, is not above zero"),
        ({"rank_pattern": [8]}, "rank_pattern or alpha_pattern is not an object"),
        ({"lora_alpha": None}, "lora_alpha, or what alpha_pattern has, is not a number"),
    ],
)
def test_a_config_that_a_merge_cannot_honour(settings: dict[str, Any], message: str) -> None:
    assert explain_unsupported(CONFIG) is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(explain_unsupported(CONFIG | settings))


@pytest.mark.parametrize("began", [True, False, "gaussian", "eva", "orthogonal"])
def test_a_beginning_that_leaves_the_base_alone_is_fine(began: Any) -> None:
    assert explain_unsupported(CONFIG | {"init_lora_weights": began}) is None

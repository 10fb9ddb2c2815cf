"""Plants faults between a checkpoint's file and vLLM's loader, on some ranks of a model that is spread over
processes.

python planted_weights.py FIRST SECOND OUT

The checkpoints have one layout. Writes whether the sums of each load agree, or the error.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ray_jobs.engine.vllm_plugin.tensor_parallel import reconcile_ranks
from ray_jobs.engine.vllm_plugin.worker import WorkerExtension

Pairs = Iterable[tuple[str, torch.Tensor]]
FAULTS: dict[str, Callable[[str, torch.Tensor], torch.Tensor | None]] = {
    "nothing loaded": lambda name, tensor: None,
    "columns dropped": lambda name, tensor: None if "layers.1.mlp.up_proj" in name else tensor,
    "rows dropped": lambda name, tensor: None if "layers.1.mlp.down_proj" in name else tensor,
    "keys dropped": lambda name, tensor: None if "layers.1.self_attn.k_proj" in name else tensor,
    "keys stale": lambda name, tensor: tensor * 1.01 if "layers.1.self_attn.k_proj.weight" in name else tensor,
    "norm dropped": lambda name, tensor: None if "layers.0.input_layernorm" in name else tensor,
    "embeddings dropped": lambda name, tensor: None if "embed_tokens" in name else tensor,
    "bias of rows stale": lambda name, tensor: tensor + 1 if "blocks.1.attn.proj.bias" in name else tensor,
    "norm empty": lambda name, tensor: torch.zeros_like(tensor) if "blocks.1.norm1" in name else tensor,
    "the other's columns": lambda name, tensor: tensor.roll(48, 0) if "layers.0.mlp.up_proj" in name else tensor,
}
ON_ONE = {"the other's columns", "another file"}  # on both it is all there, in other places; or another checkpoint is


class Planted(WorkerExtension):
    rank: int

    def planted_load(self, path: str, first: str, fault: str, ranks: list[int]) -> dict[str, Any]:
        """Load as `assay_load` does, with the fault on these ranks. `first` is the checkpoint that was loaded
        before."""
        if self.rank not in ranks:
            return self.assay_load(path)
        if fault == "another file":
            return self.assay_load(first)
        before = load_file(Path(first) / "model.safetensors")
        reload = self.model_runner.reload_weights

        def faulty(weights: Pairs) -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in weights:
                value = before[name] if fault == "values of another" else FAULTS[fault](name, tensor)
                if value is not None:
                    yield name, value

        self.model_runner.reload_weights = lambda weights_iterator: reload(weights_iterator=faulty(weights_iterator))
        try:
            return self.assay_load(path)
        finally:
            del self.model_runner.reload_weights


def main(first: str, second: str, out: str) -> None:
    from vllm import LLM

    from ray_jobs.contract.sections.engine import Engine
    from ray_jobs.engine.settings import engine_environment

    settings = engine_environment(Engine(enforce_eager=True), has_gpu=False)
    os.environ |= settings | {"VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
    llm = LLM(first, worker_extension_cls="planted_weights.Planted", dtype="float32", max_model_len=512, max_num_seqs=4,
              enforce_eager=True, tensor_parallel_size=2, distributed_executor_backend="mp",
              limit_mm_per_prompt={"image": 1, "video": 0})  # fmt: skip

    def proven(method: str, *arguments: Any) -> bool | str:
        try:
            sums = reconcile_ranks(llm.collective_rpc(method, args=arguments))
        except ValueError as error:
            return str(error)
        return (sums["read"], sums["values_read"]) == (sums["held"], sums["values_held"])

    results = {"good": proven("assay_load", second)}
    for fault in (*FAULTS, "values of another", "another file"):
        for ranks in ([0], [1], [0, 1])[: 2 if fault in ON_ONE else 3]:
            results[f"good before {fault} {ranks}"] = proven("assay_load", first)
            results[f"{fault} {ranks}"] = proven("planted_load", second, first, fault, ranks)
    results["good after"] = proven("assay_load", second)
    Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])

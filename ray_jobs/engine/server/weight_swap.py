"""Swaps the weights in a vLLM engine, and proves which weights are in it, or raises. The actor calls it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ray_jobs.checkpoints.node_cache import fetch, find_weights_folder
from ray_jobs.checkpoints.verification import verify
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import canary
from ray_jobs.engine.bounded_calls import run_limited
from ray_jobs.engine.compatibility import TensorLayout, first_difference, tensor_layout
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.server.renderers import Renderer
from ray_jobs.engine.server.scheduler import RequestScheduler
from ray_jobs.engine.vllm_plugin.tensor_parallel import reconcile_ranks
from ray_jobs.inputs.errors import InputError

CANARY_TIMEOUT_S = 300.0


class WeightsUnverified(Exception):
    """It is not proven that exactly the checkpoint's weights are in vLLM, so the engine must not answer any more."""


class WeightSwapper:
    """Loads and verifies the weights in vLLM. vLLM was started with the weights of `checkpoint`, of this layout.

    `hashing` verifies the checkpoint's files. It began before vLLM read them.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        layout: TensorLayout,
        hashing: "Future[None]",
        prompts: PromptBuilder,
        llm: Any,
        renderer: Renderer,
        scheduler: RequestScheduler,
    ) -> None:
        self.resident: str | None = None  # fingerprint of the weights in vLLM; None while that is not proven
        self._started_for: str | None = checkpoint.fingerprint  # until the first load
        self._layout, self._hashing, self._prompts = layout, hashing, prompts
        self._llm, self._renderer, self._scheduler = llm, renderer, scheduler
        self._canary, self._held_hash = canary.Canary({}), -1

    async def load(self, checkpoint: Checkpoint, check_lease: Callable[[], None]) -> tuple[str, bool]:
        """Have the checkpoint's weights in vLLM. Returns how that was done, and whether the engine was warm.

        Raises WeightsUnverified if it is not proven that exactly these weights are loaded, and InputError if the files
        were changed meanwhile. `check_lease` is called before the weights are touched, and its error is raised.
        """
        is_first = self._started_for == checkpoint.fingerprint
        self._started_for = None  # later vLLM may have other weights
        if is_first:
            reason = await self._verify_first_load(checkpoint)
        elif self.resident == checkpoint.fingerprint:
            reason = await self._verify_resident(checkpoint)
        else:
            reason = await self._swap_in(checkpoint, check_lease)
        self.resident = checkpoint.fingerprint
        return reason, not is_first

    async def _verify_first_load(self, checkpoint: Checkpoint) -> str:
        """Verify that the files are the planned ones. vLLM has just loaded them, and refuses a missing tensor."""
        await asyncio.to_thread(self._hashing.exception)  # waits, so that no file is hashed twice
        await asyncio.to_thread(verify, checkpoint)
        self._canary.remember(checkpoint.fingerprint, await self._trace_canary(checkpoint))
        return "started for this checkpoint"

    async def _verify_resident(self, checkpoint: Checkpoint) -> str:
        if mismatch := self._canary.find_mismatch(
            checkpoint.fingerprint, await self._trace_canary(checkpoint), weights_differ=False
        ):
            raise WeightsUnverified(mismatch)
        return "the weights of the job before"

    async def _swap_in(self, checkpoint: Checkpoint, check_lease: Callable[[], None]) -> str:
        path = await asyncio.to_thread(fetch, checkpoint)
        if difference := first_difference(
            self._layout, await asyncio.to_thread(tensor_layout, find_weights_folder(checkpoint, path))
        ):
            raise WeightsUnverified(f"tensors differ: {difference}")
        check_lease()  # a download can take long
        self.resident = None
        try:
            hashing = asyncio.create_task(asyncio.to_thread(verify, checkpoint))
            hashes = reconcile_ranks(await self._llm.collective_rpc("assay_load", args=(str(path),)))
            await hashing
            await asyncio.to_thread(verify, checkpoint)  # compares with the hashes just made: no file has changed
            await self._llm.reset_prefix_cache()
            await self._llm.reset_mm_cache()
            await self._llm.reset_encoder_cache()
            trace = await self._trace_canary(checkpoint)
        except (InputError, WeightsUnverified):
            raise
        except Exception as error:
            raise WeightsUnverified(
                f"the swap failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from None
        if (hashes["read"], hashes["values_read"]) != (hashes["held"], hashes["values_held"]):
            raise WeightsUnverified(
                f"{hashes['values_read']} values were read and {hashes['values_held']} are held, or not the same"
            )
        if mismatch := self._canary.find_mismatch(checkpoint.fingerprint, trace, hashes["held"] != self._held_hash):
            raise WeightsUnverified(mismatch)
        self._held_hash = hashes["held"]
        self._canary.remember(checkpoint.fingerprint, trace)
        return "weights swapped and checked"

    async def _trace_canary(self, checkpoint: Checkpoint) -> canary.LogprobTrace:
        """The log-probabilities of vLLM's answers about the canary's pictures."""
        from vllm.exceptions import VLLMClientError

        prompts = self._prompts
        prompt = await asyncio.to_thread(
            run_limited, lambda: prompts.tokens(prompts.prompt(canary.PROMPT)), prompts.uri
        )
        sampling = {"max_tokens": canary.TOKENS, "temperature": 0.0, "logprobs": 1, "ignore_eos": True}
        try:
            inputs = [
                await asyncio.to_thread(self._renderer.render, prompt, {"image": picture})
                for picture in canary.make_pictures()
            ]
            answers = (self._scheduler.generate(request, sampling) for request in inputs)
            return canary.trace_of(await asyncio.wait_for(asyncio.gather(*answers), CANARY_TIMEOUT_S))
        except TimeoutError:
            raise WeightsUnverified(f"the canary did not answer within {CANARY_TIMEOUT_S:g} s") from None
        except (ValueError, VLLMClientError) as error:
            side, reason = canary.SIDE, " ".join(str(error.__cause__ or error).split())[:300]
            raise InputError(
                f"checkpoint {checkpoint.uri}: vLLM refuses even a picture of {side} x {side}: {reason}; raise "
                "engine.max_model_len in the suite, or see what the checkpoint's processor makes of it"
            ) from None

"""What is in a vLLM engine, and how the next checkpoint gets in: whole and exactly, or with a doubt."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ray_jobs.checkpoints.inspect import verify
from ray_jobs.checkpoints.node_cache import fetch, place_of_weights
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
    """The engine may not have exactly the checkpoint's weights: it must answer nobody any more."""


class WeightSwapper:
    """The weights in an engine that was started with a checkpoint's, of this layout.

    `hashing` goes on since before vLLM read them, and verifies the checkpoint's files.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        found: TensorLayout,
        hashing: "Future[None]",
        maker: PromptBuilder,
        llm: Any,
        renderer: Renderer,
        answerer: RequestScheduler,
    ) -> None:
        self.resident: str | None = None  # fingerprint of what is in it; None while that is not certain
        self._started_for: str | None = checkpoint.fingerprint  # until it is first asked for
        self._layout, self._hashing, self._maker = found, hashing, maker
        self._llm, self._renderer, self._answerer = llm, renderer, answerer
        self._canary, self._held_hash = canary.Canary({}), -1

    async def load(self, checkpoint: Checkpoint, still_held: Callable[[], None]) -> tuple[str, bool]:
        """Have the checkpoint's weights in the engine; how that was done, and whether it was warm.

        Raises Doubt when it is not certain that they are in it, and exactly they, InputError when somebody wrote to
        them, and what `still_held` raises, which is asked before the weights are touched.
        """
        started, self._started_for = (
            self._started_for == checkpoint.fingerprint,
            None,
        )  # once: then they may be another's
        if started:
            told = await self._begun(checkpoint)
        elif self.resident == checkpoint.fingerprint:
            told = await self._kept(checkpoint)
        else:
            told = await self._swapped(checkpoint, still_held)
        self.resident = checkpoint.fingerprint
        return told, not started

    async def _begun(self, checkpoint: Checkpoint) -> str:
        """vLLM has just loaded it, and refuses a checkpoint with a tensor less; it must have been what was planned."""
        await asyncio.to_thread(self._hashing.exception)  # wait for it: no file is hashed twice
        await asyncio.to_thread(verify, checkpoint)
        self._canary.keep(checkpoint.fingerprint, await self._said(checkpoint))
        return "started for this checkpoint"

    async def _kept(self, checkpoint: Checkpoint) -> str:
        if doubt := self._canary.doubt(checkpoint.fingerprint, await self._said(checkpoint), weights_differ=False):
            raise WeightsUnverified(doubt)
        return "the weights of the job before"

    async def _swapped(self, checkpoint: Checkpoint, still_held: Callable[[], None]) -> str:
        path = await asyncio.to_thread(fetch, checkpoint)
        if difference := first_difference(
            self._layout, await asyncio.to_thread(tensor_layout, place_of_weights(checkpoint, path))
        ):
            raise WeightsUnverified(f"tensors differ: {difference}")
        still_held()  # a download can take long
        self.resident = None
        try:
            hashing = asyncio.create_task(asyncio.to_thread(verify, checkpoint))
            found = reconcile_ranks(await self._llm.collective_rpc("assay_load", args=(str(path),)))
            await hashing
            await asyncio.to_thread(verify, checkpoint)  # a look at what was hashed meanwhile: nobody wrote to it
            await self._llm.reset_prefix_cache()
            await self._llm.reset_mm_cache()
            await self._llm.reset_encoder_cache()
            said = await self._said(checkpoint)
        except (InputError, WeightsUnverified):
            raise
        except Exception as error:
            raise WeightsUnverified(
                f"the swap failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from None
        if (found["read"], found["values_read"]) != (found["held"], found["values_held"]):
            raise WeightsUnverified(
                f"{found['values_read']} values were read and {found['values_held']} are held, or not the same"
            )
        if doubt := self._canary.doubt(checkpoint.fingerprint, said, found["held"] != self._held_hash):
            raise WeightsUnverified(doubt)
        self._held_hash = found["held"]
        self._canary.keep(checkpoint.fingerprint, said)
        return "weights swapped and checked"

    async def _said(self, checkpoint: Checkpoint) -> canary.LogprobTrace:
        """What the engine says of the canary's pictures."""
        from vllm.exceptions import VLLMClientError

        maker = self._maker
        prompt = await asyncio.to_thread(run_limited, lambda: maker.tokens(maker.prompt(canary.PROMPT)), maker.uri)
        sampling = {"max_tokens": canary.TOKENS, "temperature": 0.0, "logprobs": 1, "ignore_eos": True}
        try:
            inputs = [
                await asyncio.to_thread(self._renderer.render, prompt, {"image": one}) for one in canary.make_pictures()
            ]
            asked = (self._answerer.generate(one, sampling) for one in inputs)
            return canary.trace_of(await asyncio.wait_for(asyncio.gather(*asked), CANARY_TIMEOUT_S))
        except TimeoutError:
            raise WeightsUnverified(f"the canary did not answer within {CANARY_TIMEOUT_S:g} s") from None
        except (ValueError, VLLMClientError) as error:
            side, why = canary.SIDE, " ".join(str(error.__cause__ or error).split())[:300]
            raise InputError(
                f"checkpoint {checkpoint.uri}: vLLM refuses even a picture of {side} x {side}: {why}; raise "
                "engine.max_model_len in the suite, or see what the checkpoint's processor makes of it"
            ) from None

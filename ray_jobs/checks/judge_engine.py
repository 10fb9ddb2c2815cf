"""Ask a judge that runs on vLLM a few questions, without Ray. vLLM runs in a separate process.

`suite_check --judge` calls this on a machine that can run the judge: with a GPU, or with vLLM's CPU build.
"""

import os
from collections.abc import Sequence
from typing import Any

from ray_jobs.checks.images import SampleImage
from ray_jobs.checks.judge import JudgeExample, build_question, read_answer
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.engine.protocol import why_image_missing
from ray_jobs.golden.decoder_process import ConfinedProcess, ProcessDied
from ray_jobs.images.prepare import GoldenImage
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.judge import rubric
from ray_jobs.runtime.collector import collector_paused

MEGABYTES = 2**30  # in effect no bound, because the engine needs as much memory as the model
SECONDS = 1800.0


def ask_engine(judge: Judge, checkpoint: Checkpoint, images: Sequence[SampleImage]) -> list[JudgeExample]:
    """Returns the judge's real answers about these images. Raises RetryableError if vLLM does not start, or dies."""
    probe(checkpoint)
    questions = [build_question(judge, image.row.references) for image in images]
    jpegs = [image.image.image for image in images if isinstance(image.image, GoldenImage)]
    process = ConfinedProcess(MEGABYTES)
    try:
        answers = process.run(_generate_answers, judge, checkpoint, questions, jpegs, dict(os.environ), seconds=SECONDS)
    except ProcessDied as died:
        raise RetryableError(
            f"judge {checkpoint.uri}: its engine did not answer ({died}); is there memory enough?"
        ) from None
    finally:
        process.close()
    return [read_answer(judge, text, answer) for text, answer in zip(questions, answers, strict=True)]


def _generate_answers(
    judge: Judge, checkpoint: Checkpoint, questions: list[str], images: list[bytes], environment: dict[str, str]
) -> list[str]:
    import torch

    from ray_jobs.engine import settings

    has_gpu = torch.cuda.is_available()
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    os.environ.update(environment | settings.engine_environment(judge.engine, has_gpu) | alone)
    with collector_paused():
        from vllm import LLM, SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

    from ray_jobs.checkpoints.node_cache import fetch
    from ray_jobs.engine.prompt import prompt_builder_for
    from ray_jobs.engine.protocol import build_request

    prompt_builder = prompt_builder_for(checkpoint)
    schema = rubric.build_schema(judge)
    requests = [
        build_request("", number, image, text, prompt_builder, {})
        for number, (text, image) in enumerate(zip(questions, images, strict=True))
    ]
    try:
        engine: Any = LLM(
            model=str(fetch(checkpoint)), trust_remote_code=False, **settings.vllm_arguments(judge.engine, has_gpu)
        )
        outputs = engine.generate(
            [
                {"prompt_token_ids": request["tokenized_prompt"], "multi_modal_data": request["multimodal_data"]}
                for request in requests
            ],
            SamplingParams(
                max_tokens=judge.max_tokens, temperature=0.0, structured_outputs=StructuredOutputsParams(json=schema)
            ),
            use_tqdm=False,
        )  # fmt: skip
    except Exception as error:  # vLLM raises errors of many types
        why = " ".join(str(error).split())[:300]
        raise RetryableError(f"judge {checkpoint.uri}: its engine fails here: {type(error).__name__}: {why}") from None
    for request, output in zip(requests, outputs, strict=True):
        if detail := why_image_missing(len(output.prompt_token_ids), request["least_tokens"]):
            raise RetryableError(f"judge {checkpoint.uri}: its engine lost an image: {detail}")
    return [output.outputs[0].text for output in outputs]

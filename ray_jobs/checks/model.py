"""Open a checkpoint as the jobs do: check its files, and render the prompt with its chat template.

`checks.run` calls this. Only the files beside the weights are copied. `checkpoint_probe` tries them first. Then a
confined process uses them as the engine's renderers would.
"""

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ray_jobs.checkpoints import config_files
from ray_jobs.checkpoints import files as checkpoint_files
from ray_jobs.checkpoints.inspect import resolve, sidecar_files
from ray_jobs.checkpoints.quantization import quantization_method
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.golden.decoder_process import ConfinedProcess, ProcessDied
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable

T = TypeVar("T")
MEGABYTES = 8192  # enough for a tokenizer and vLLM's modules
SECONDS = 300.0
WEIGHTS = (".safetensors",)


@dataclass(frozen=True)
class RenderedPrompt:
    """The suite's texts after the model's chat template and tokenizer. All counts are tokens.

    `prompt` is the text that vLLM gets. `prompt_tokens` is its length with one placeholder for the image.
    `tokens_with_image` has its length by (width, height) of the image; 0 if the model's processor refuses that size.
    `escaped_tokens` are the special tokens in the suite's own text, which Assay escapes. `text_tokens` has the length
    of each text that the model might answer. An answer ends with one of `stop_tokens`.
    """

    prompt: str
    prompt_tokens: int
    tokens_with_image: dict[tuple[int, int], int]
    escaped_tokens: tuple[str, ...]
    text_tokens: tuple[int, ...]
    stop_tokens: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A complete checkpoint. `max_positions` is what its config allows; None if the config does not say."""

    checkpoint: Checkpoint
    files: int
    gigabytes: float
    architecture: str
    max_positions: int | None
    quantization: str | None
    has_generation_config: bool


def resolve_model(uri: str, base_model: str | None) -> Model:
    """Returns the checkpoint. Raises InputError and Incomplete as `plan` does."""
    checkpoint = resolve(uri, base_model)
    weights = [entry for entry in checkpoint_files.list_files(checkpoint.uri) if entry.key.endswith(WEIGHTS)]
    beside = sidecar_files(checkpoint)
    config_uri = beside["config.json"]
    config = config_files.read_json(config_uri, checkpoint.uri)
    return Model(
        checkpoint=checkpoint,
        files=len(weights),
        gigabytes=sum(entry.size for entry in weights) / 1e9,
        architecture=", ".join(map(str, config.get("architectures") or ["unknown"])),
        max_positions=_read_max_positions(config),
        quantization=None if checkpoint.base else quantization_method(checkpoint.uri),
        has_generation_config="generation_config.json" in beside,
    )


def resolve_clip(uri: str) -> Checkpoint:
    """Returns the CLIP model, after its files were tried. Raises the errors of `plan` and `evaluate`."""
    checkpoint = resolve(uri)
    probe(checkpoint, kind="clip")
    return checkpoint


def try_files(checkpoint: Checkpoint, prompt: str, grammar: str | None) -> bool:
    """Returns True. Raises InputError if the checkpoint's own files fail, as the jobs do before they ask for a GPU."""
    probe(checkpoint, [prompt], grammar=grammar)
    return True


def render_prompt(
    checkpoint: Checkpoint, text: str, sizes: Sequence[tuple[int, int]], texts: Sequence[str]
) -> RenderedPrompt:
    """Returns the text as the checkpoint's chat template writes it. Raises InputError if the files fail."""
    with _copy_files(checkpoint) as folder:
        return _run_confined(checkpoint.uri, _render_in_process, folder, checkpoint.uri, text, list(sizes), list(texts))


def find_engine_fault(checkpoint: Checkpoint, engine: Engine) -> str | None:
    """Returns why vLLM would not start with these settings, in vLLM's own words. None if vLLM accepts them.

    vLLM computes its whole configuration from the model's config and tokenizer, and loads no weights.
    """
    with _copy_files(checkpoint) as folder:
        return _run_confined(checkpoint.uri, _find_engine_fault, folder, engine)


def compute_largest_size(settings: Preprocess) -> tuple[int, int]:
    """Returns the width and the height of the largest square golden image, in pixels."""
    side = max(math.isqrt(settings.max_pixels) // settings.patch, 1) * settings.patch
    return side, side


def _read_max_positions(config: dict[str, Any]) -> int | None:
    inside = config.get("text_config")
    for section in (inside if isinstance(inside, dict) else {}, config):
        value = section.get("max_position_embeddings")
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


@contextmanager
def _copy_files(checkpoint: Checkpoint) -> Iterator[str]:
    """Yields a temporary folder with copies of the files beside the weights."""
    with tempfile.TemporaryDirectory(prefix="assay-check-") as folder:
        for name, uri in sidecar_files(checkpoint).items():
            Path(folder, name).write_bytes(checkpoint_files.read(uri, checkpoint_files.SIDECAR_BYTES))
        yield folder


def _run_confined(uri: str, work: Callable[..., T], *arguments: Any) -> T:
    process = ConfinedProcess(MEGABYTES)
    try:
        return process.run(work, *arguments, seconds=SECONDS)
    except ProcessDied as died:
        raise InputError(f"checkpoint {uri}: its files ended the process that used them ({died}); mend them") from None
    except MemoryError:
        raise RetryableError(
            f"checkpoint {uri}: its files take over {MEGABYTES} MB; look for what is large in them"
        ) from None
    finally:
        process.close()


def _render_in_process(
    folder: str, uri: str, text: str, sizes: list[tuple[int, int]], texts: list[str]
) -> RenderedPrompt:
    from ray_jobs.engine.prompt import ImageRefused, PromptBuilder

    os.environ["HF_HUB_OFFLINE"] = "1"
    builder = PromptBuilder(Path(folder), uri)
    prompt = builder.prompt(text)
    tokens_with_image = {}
    for width, height in sizes:
        try:
            tokens_with_image[width, height] = builder.least_tokens(prompt, width, height)
        except ImageRefused:
            tokens_with_image[width, height] = 0
    escaped_text = builder.escape_special_tokens(text)
    special = sorted(
        {str(token) for token in builder.tokenizer.all_special_tokens} | _list_special_tokens(builder.tokenizer)
    )
    return RenderedPrompt(
        prompt=prompt,
        prompt_tokens=len(builder.tokens(prompt)),
        tokens_with_image=tokens_with_image,
        escaped_tokens=tuple(token for token in special if token in text) if escaped_text != text else (),
        text_tokens=tuple(len(builder.tokenizer(answer, add_special_tokens=False).input_ids) for answer in texts),
        stop_tokens=tuple(str(token) for token in builder.tokenizer.convert_ids_to_tokens(sorted(builder.stop_ids))),
    )


def _list_special_tokens(tokenizer: Any) -> set[str]:
    return {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}


def _find_engine_fault(folder: str, engine: Engine) -> str | None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.CRITICAL)
    from ray_jobs.engine.settings import build_warm_config, engine_environment

    os.environ.update(engine_environment(engine, has_gpu=False))
    try:
        build_warm_config(engine, False, folder)
    except MemoryError:
        raise
    except Exception as error:  # vLLM raises errors of many types
        lines = [
            line.strip() for line in str(error).splitlines() if line.strip() and "For further information" not in line
        ]
        message = next((line for line in lines if "Value error" in line), lines[-1] if lines else type(error).__name__)
        return printable(message.replace(folder, "the checkpoint").partition(" [type=")[0], 400)
    return None

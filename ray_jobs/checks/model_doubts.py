"""Find odd things in a checkpoint and its prompt that the jobs would accept. `checks.run` calls this."""

from collections.abc import Iterator, Sequence

from ray_jobs.checks.model import Model, RenderedPrompt
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.inputs.names import printable


def find_model_doubts(model: Model, engine: Engine, fault: str | None) -> Iterator[str]:
    """Yields doubts about the checkpoint. `fault` is the reason why vLLM refuses the engine settings, if it does."""
    if not model.has_generation_config:
        yield (
            "there is no generation_config.json, so an answer ends at the tokenizer's end token only; if the model "
            "ends its turn with another one, save that file beside it"
        )
    if model.quantization:
        yield f"the weights are quantised ({model.quantization}); a baseline that is not so differs for that alone"
    if model.max_positions and engine.max_model_len > model.max_positions:
        yield (
            f"engine.max_model_len is {engine.max_model_len}, and the model's config allows {model.max_positions} "
            f"positions; lower it to {model.max_positions} at most"
        )
    elif fault:
        yield f"vLLM would not start with the suite's engine settings (tried as on a CPU): {fault}"


def find_prompt_doubts(rendered: RenderedPrompt, engine: Engine, max_tokens: int, setting: str) -> Iterator[str]:
    """Yields doubts about a prompt as the model gets it. `setting` is the section of the suite with the prompt."""
    if rendered.escaped_tokens:
        named = ", ".join(repr(printable(token, 40)) for token in rendered.escaped_tokens[:5])
        yield f"{setting}.prompt holds special tokens ({named}); the chat template puts the image in: take them out"
    refused = [size for size, tokens in rendered.tokens_with_image.items() if not tokens]
    if refused:
        yield (
            f"the model's processor refuses images of {_format_sizes(refused)} pixels; change preprocess.max_pixels or "
            "patch"
        )
    most = max(rendered.tokens_with_image.values(), default=0)
    if most + max_tokens > engine.max_model_len:
        yield (
            f"prompt and image take up to {most} tokens and the answer up to {max_tokens}: {most + max_tokens}, over "
            f"engine.max_model_len {engine.max_model_len}; raise it, or lower preprocess.max_pixels"
        )
    if rendered.tokens_with_image and 0 < most <= rendered.prompt_tokens:
        yield "the image adds no tokens to the prompt; does this model see it?"


def find_length_doubts(rendered: RenderedPrompt, texts: Sequence[str], max_tokens: int, what: str) -> Iterator[str]:
    """Yields a doubt if right answers do not fit into `caption.max_tokens`.

    Right answers are the references, or objects that contain them. `what` names them in the message.
    """
    longer = [text for text, tokens in zip(texts, rendered.text_tokens, strict=True) if tokens + 1 > max_tokens]
    if longer:
        most = max(rendered.text_tokens)
        yield (
            f"{len(longer)} of {len(texts)} {what} are longer than caption.max_tokens {max_tokens} (up to {most} "
            "tokens), so a right caption is cut off; raise it"
        )


def _format_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{width}x{height}" for width, height in list(sizes)[:3])

"""Loads and tries the files that a checkpoint has beside its weights. `checkpoint_probe` starts it as its own process.

    python -P -m ray_jobs.engine.probe.probe_process < request.json

The process writes one line before each step. The last line is JSON: `{"fault": null}`, or the fault in words. The
process reads only the request's folder, which has copies of the files. It does not look at the weights.
"""

import contextlib
import json
import os
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_jobs.engine.prompt import PromptBuilder

PICTURE_SIDE = 112  # pixels of the picture that is tried
REPEATS = 64  # repeats of one character: a regular expression that backtracks never ends on so many
SAMPLES = [
    *(letter * REPEATS + ("!" if letter != "!" else "a") for letter in string.printable),
    "ab " * REPEATS, "a b" * REPEATS + "!", "日本語 é 😀 " * REPEATS, string.printable * 4, "",
]  # fmt: skip
LAYERS = ("layers", "n_layer", "depth", "depths", "num_blocks")  # keys of a config that say how many objects are made
LABELS = ("label2id", "id2label")  # keys whose content the model's author named
MAX_LAYERS = 10_000


JSON = (
    "config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "chat_template.json", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json",
)  # fmt: skip
MAX_VALUES = 20_000_000  # of one file: a large vocabulary with its merges has one million


class Fault(Exception):
    """A fault of the checkpoint. The message follows the checkpoint's URI in an error."""


def try_vision(folder: Path, uri: str, prompts: list[str], step: Callable[[str], None]) -> "PromptBuilder":
    """Use a vision-language model's files as the engine does: write and tokenise prompts, and process an image.

    Returns the prompt builder. Raises Fault.
    """
    from ray_jobs.engine.prompt import ImageRefused, PromptBuilder
    from ray_jobs.inputs.errors import InputError

    _try_json(folder, step)
    _try_config(folder)
    step("the files of its tokenizer and image processor")
    try:
        prompt_builder = PromptBuilder(folder, uri)
        step("generation_config.json")
        _ = prompt_builder.stop_ids
        step("its chat template")
        filled_prompts = [prompt_builder.prompt(text) for text in prompts]
        step("tokenizer.json")
        for text in [*filled_prompts, *SAMPLES]:
            prompt_builder.tokens(text)
        for text in filled_prompts:
            _check_tokens(folder, prompt_builder, text)
        step("preprocessor_config.json")
        picture, inputs = _picture(), None
        with contextlib.suppress(ImageRefused):
            prompt_builder.least_tokens(filled_prompts[0], PICTURE_SIDE, PICTURE_SIDE)
        with _only_memory():
            inputs = prompt_builder.processor(text=[filled_prompts[0]], images=[picture])
        _check_patches(folder, inputs, prompt_builder)
        return prompt_builder
    except InputError as error:
        raise Fault(str(error).removeprefix(f"checkpoint {uri}: ")) from None


def _check_tokens(folder: Path, prompt_builder: Any, prompt: str) -> None:
    """Raises Fault if a token of the prompt has no embedding. The image's token needs none: the image replaces it."""
    from ray_jobs.checkpoints.config_files import Config
    from ray_jobs.checkpoints.shapes import read_text_sizes

    rows, _ = read_text_sizes(Config.model_validate(json.loads((folder / "config.json").read_bytes())))
    image = prompt_builder.tokenizer(prompt_builder.processor.image_token, add_special_tokens=False).input_ids
    odd = next(
        (token for token in prompt_builder.tokens(prompt) if rows and token >= rows and token not in image), None
    )
    if odd is not None:
        raise Fault(
            f"its prompt has token {odd} ({prompt_builder.tokenizer.convert_ids_to_tokens(odd)!r}), and its embeddings "
            f"have {rows} rows; save the tokenizer that it was trained with, or resize them (resize_token_embeddings)"
        )


def _check_patches(folder: Path, processed: Any, prompt_builder: Any) -> None:
    """Raises Fault if the processor cuts an image into patches (as Qwen's do) of another size than the model reads."""
    eye = json.loads((folder / "config.json").read_bytes()).get("vision_config") or {}
    channels = eye.get("in_channels") or eye.get("in_chans") or 3
    side, depth = eye.get("patch_size"), eye.get("temporal_patch_size")
    if processed is None or "image_grid_thw" not in processed or type(side) is not int or type(depth) is not int:
        return
    values = processed["pixel_values"]
    # PaddleOCR-VL's patches have axes for channels, rows and columns, and none for frames.
    if len(getattr(values, "shape", ())) != 2:
        return
    length = len(values[0]) if len(values) else 0
    if length != channels * depth * side**2:
        raise Fault(
            f"its image processor makes patches of {length} values, and its vision encoder reads "
            f"{channels} x {depth} x {side} x {side}: preprocessor_config.json is of another model; save its own"
        )
    merged = getattr(prompt_builder.processor.image_processor, "merge_size", None)
    wanted = eye.get("spatial_merge_size")
    if type(merged) is int and type(wanted) is int and merged != wanted:
        raise Fault(
            f"its image processor merges {merged} x {merged} patches, and its vision encoder {wanted} x {wanted}: "
            "preprocessor_config.json is of another model; save its own"
        )


def try_texts(texts: dict[str, str], prompt_builder: "PromptBuilder") -> None:
    """Raises Fault if one of the suite's texts, by setting, contains a special token of the tokenizer."""
    from ray_jobs.contract.prompt_tokens import find_token_fault

    if fault := find_token_fault(texts, prompt_builder.special_tokens):
        raise Fault(fault)


def try_clip(folder: Path, uri: str, prompts: list[str], step: Callable[[str], None]) -> None:
    """Use a CLIP model's files as the CLIP score does. Raises Fault."""
    from transformers import AutoImageProcessor, AutoTokenizer

    _try_json(folder, step)
    _try_config(folder)
    try:
        step("the files of its tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        step("tokenizer.json")
        for text in [*prompts, *SAMPLES]:
            tokenizer(text, add_special_tokens=False, verbose=False)
        step("preprocessor_config.json")
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        processor([_picture()])
    except MemoryError:
        raise
    except Exception as error:
        raise Fault(f"it cannot be used ({_one_line(error)}); give `metrics.clip` a CLIPModel") from None


KINDS: dict[str, Callable[..., Any]] = {"vision": try_vision, "clip": try_clip}


def try_grammar(folder: Path, grammar: str, step: Callable[[str], None]) -> None:
    """Compile the grammar as vLLM does, with xgrammar and the checkpoint's tokenizer. Raises Fault."""
    import xgrammar
    from transformers import AutoTokenizer

    step("caption.fields")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
        compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_grammar(grammar)
        allowed = xgrammar.allocate_token_bitmask(1, info.vocab_size)
        xgrammar.GrammarMatcher(compiled).fill_next_token_bitmask(allowed)
    except MemoryError:
        raise
    except Exception as error:
        raise Fault(
            f"caption.fields does not compile for its tokenizer ({_one_line(error)}); "
            "take caption.fields out of the suite"
        ) from None
    if not allowed.any():
        raise Fault("its tokenizer has no token that begins a JSON object; take caption.fields out of the suite")


def _try_json(folder: Path, step: Callable[[str], None]) -> None:
    """Raises Fault, which names the file, if a file is not one JSON object. The libraries' own errors come later."""
    from ray_jobs.inputs.errors import InputError
    from ray_jobs.inputs.strict_json import NotJson, parse_object

    for name in JSON:
        step(name)
        if (folder / name).exists():
            try:
                parse_object((folder / name).read_bytes(), MAX_VALUES)
            except (InputError, NotJson) as error:
                raise Fault(f"{name} {str(error).removesuffix(' (yet)')}; save the checkpoint again") from None


def _try_config(folder: Path) -> None:
    """Raises Fault if the config has so many layers that the engine would never start.

    A config that transformers cannot read is no fault, because vLLM may know it.
    """
    from transformers import AutoConfig

    for name, number in _numbers(json.loads((folder / "config.json").read_bytes()), ""):
        if name.endswith(LAYERS) and number > MAX_LAYERS:
            raise Fault(f"config.json asks for {number:.6g} {name}; save the checkpoint again")
    with contextlib.suppress(ValueError, KeyError, OSError, TypeError, AttributeError):
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            if key in LABELS:
                continue
            yield from _numbers(inside, key)
    elif isinstance(value, list):
        for inside in value:
            yield from _numbers(inside, name)
    elif isinstance(value, int | float):
        yield name, value


@contextlib.contextmanager
def _only_memory() -> Iterator[None]:
    """Raises only MemoryError. A processor may refuse an image, which costs that image; it may not take all memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if "allocate" in str(error):
            raise MemoryError from None


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), (90, 120, 150))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def load_libraries() -> None:
    """The slow imports. They come before the limits, because their time does not count as the checkpoint's."""
    from ray_jobs.runtime.collector import collector_paused

    with collector_paused():
        import transformers

        import ray_jobs.engine.prompt  # noqa: F401

        for name in ("AutoConfig", "AutoImageProcessor", "AutoProcessor", "AutoTokenizer", "GenerationConfig"):
            getattr(transformers, name)  # the package imports each class when it is asked for it


def main() -> None:
    from ray_jobs.runtime.confinement import leave_network, limit_resources

    answers = os.fdopen(os.dup(1), "w", buffering=1)  # so that output of a library is not taken for an answer
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    leave_network()
    request = json.load(sys.stdin)

    load_libraries()
    limit_resources(request["memory"], request["seconds"])
    fault: str | None = None
    steps = []

    def step(name: str) -> None:
        steps.append(name)
        print(name, file=answers)

    try:
        prompt_builder = KINDS[request["kind"]](Path(request["folder"]), request["uri"], request["prompts"], step)
        if prompt_builder and request["texts"]:
            try_texts(request["texts"], prompt_builder)
        if request["grammar"]:
            try_grammar(Path(request["folder"]), request["grammar"], step)
    except Fault as error:
        fault = str(error)
    except MemoryError:
        fault = "memory"
    except RecursionError:
        fault = "depth"
    except Exception as error:  # libraries raise any error for broken files
        fault = f"{steps[-1]} fails ({type(error).__name__}: {_one_line(error)}); save it beside the model again"
    print(json.dumps({"fault": fault}), file=answers)


if __name__ == "__main__":
    main()
    os._exit(0)  # without waiting for a library's threads

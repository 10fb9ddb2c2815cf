"""Recognise folders of trainers that will never become a checkpoint, and say how to convert them.

`inspect` calls this module for a folder without a .safetensors file, without config.json or without a tokenizer. Some
forms are never written beside the .safetensors files of a model: they raise InputError, which ends the wait at once.
Other files may come first in an upload: optimizer states, folders of further checkpoints, notes. They raise NeverWhole.
The sensor that waits for a checkpoint ends on NeverWhole if the folder has stayed the same for a minute, or for ten
minutes on S3. A trainer itself writes the weights first.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from ray_jobs.checkpoints import lora_config
from ray_jobs.checkpoints.errors import NeverWhole
from ray_jobs.checkpoints.weights import INDEX, SINGLE
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import object_listing, uris

MOST_FOLDERS = 1_000  # folders of which the names are read
MOST_OPENED = 20  # folders that are searched for a model
PLAIN = re.compile(r"[A-Za-z0-9_./=+@,-]{1,500}")
RUN = re.compile(r"(checkpoint|step|epoch|iter|v)[-_=]?\d.*", re.ASCII)
PICKLES = (
    "run python -c \"from transformers import AutoModelForImageTextToText as M; M.from_pretrained('DIR')"
    ".save_pretrained('DIR')\""
)
OLD_PICKLES = PICKLES.replace("'DIR')", "'DIR', from_HOW=True)", 1) + " (transformers below 5)"
ADAPTER = (
    'run python -c "import torch; from safetensors.torch import save_file; save_file({k: v.contiguous() for k, v in '
    "torch.load('DIR/adapter_model.bin', weights_only=True).items()}, 'DIR/adapter_model.safetensors')\""
)
LIGHTNING = (
    'run python -c "import torch; from transformers import AutoModelForImageTextToText as M; M.from_pretrained('
    "'BASE', state_dict={k.removeprefix('model.'): v for k, v in torch.load('DIR/FILE')['state_dict'].items()})"
    ".save_pretrained('OUT')\", and name OUT"
)
MEGATRON = (
    "run swift export --mcore_model DIR --to_hf true --output_dir OUT (ms-swift), or AutoBridge.from_hf_pretrained("
    "'BASE').export_ckpt('DIR', 'OUT') of megatron.bridge, and name OUT"
)


class Layout(NamedTuple):
    """A form of a model, recognised by the name of a file, or of a folder with a slash at its end.

    `may_precede_weights`: the weights may still follow.
    """

    pattern: str
    description: str
    remedy: str
    may_precede_weights: bool = False


# The first match is reported, so special patterns come before general ones.
LAYOUTS = (
    Layout(r"adapter_model\.bin", "an adapter as a pickle, which is not read", ADAPTER),
    Layout(
        r"actor/|model_world_size_\d+_rank_\d+\.pt", "a checkpoint of verl in shards",
        "run python -m verl.model_merger merge --backend fsdp --local_dir DIR/actor --target_dir OUT, and name OUT",
    ),
    Layout(
        r"iter_\d+/|latest_checkpointed_iteration\.txt|mp_rank_\d+(_\d+)*/|common\.pt", "a checkpoint of Megatron",
        MEGATRON,
    ),
    Layout(
        r"pytorch_model_fsdp_\d+/", "a checkpoint of FSDP in shards (.distcp)",
        "run accelerate merge-weights DIR/FILE DIR, or set fsdp_state_dict_type: FULL_STATE_DICT",
    ),
    Layout(
        r".*\.distcp", "a shard of torch.distributed.checkpoint",
        "run accelerate merge-weights DIR OUT, and put OUT's files beside config.json and the tokenizer",
    ),
    Layout(
        r"zero_to_fp32\.py|global_step\d+/", "DeepSpeed's own state, and no gathered weights are there",
        "run python DIR/zero_to_fp32.py DIR DIR --safe_serialization, or set "
        "stage3_gather_16bit_weights_on_model_save", may_precede_weights=True,
    ),
    Layout(
        r"(bf16_)?zero_pp_rank_.*\.pt|mp_rank_\d+_model_states\.pt", "of the inside of DeepSpeed's global_step folder",
        "run python zero_to_fp32.py . . --safe_serialization in the folder above it, and name that",
    ),
    Layout(
        r"(pytorch_)?model(_fsdp|-\d+-of-\d+)?(\.[A-Za-z0-9]+)?\.bin|pytorch_model\.bin\.index\.json",
        "of weights as pickles, which are not read", PICKLES,
    ),
    Layout(r".*\.ckpt/?", "a checkpoint of Lightning", LIGHTNING),
    Layout(
        r"(hf|meta)_model_\d+(_\d+)?\.pt|recipe_state(\.pt|/)", "of a checkpoint of torchtune in its own form",
        "set safe_serialization: True and the checkpointer FullModelHFCheckpointer in the recipe, and save again",
    ),
    Layout(
        r"consolidated(\.\d+)?\.pth", "a pickle of Llama's or Mistral's own form",
        "convert it (transformers' convert_*_weights_to_hf.py), or name the repository's files of Hugging Face's form",
    ),
    Layout(
        r".*\.gguf", "of llama.cpp (GGUF), which is not read",
        "name the checkpoint that convert_hf_to_gguf.py was given",
    ),
    Layout(r"tf_model.*\.h5", "of TensorFlow's weights", OLD_PICKLES.replace("HOW", "tf")),
    Layout(r"flax_model.*\.msgpack", "of Flax's weights", OLD_PICKLES.replace("HOW", "flax")),
    Layout(
        r"_CHECKPOINT_METADATA|ocdbt\.process_\d+/", "of a checkpoint of Orbax (JAX)",
        "export it to Hugging Face's form with the trainer's own exporter, and name that", may_precede_weights=True,
    ),
    Layout(
        r".*\.nemo", "a checkpoint of NeMo",
        "run nemo llm export path=DIR/FILE target=hf output_path=OUT, and name OUT",
    ),
    Layout(r".*\.onnx|.*\.npz", "an exported model", "name the checkpoint that it was exported from"),
    Layout(
        r"(model|checkpoint|pytorch_model|state_dict|weights|model_state).*\.(pt|pth)|adapter_\d+\.pt",
        "a pickle of torch.save, which is not read", "load it into the model and save that with save_pretrained",
    ),
)  # fmt: skip


def refuse_foreign(uri: str, names: Iterable[str]) -> None:
    """Raise InputError or NeverWhole if a folder without weights holds a model in another form."""
    files, folders = set(names), _list_folders(uri)
    _refuse_cache(uri, folders)
    _refuse_nested(uri, folders)
    names_in_folder = sorted(files) + [f"{folder}/" for folder in folders]
    for layout in LAYOUTS:
        if name := next(
            (
                name_in_folder
                for name_in_folder in names_in_folder
                if re.fullmatch(layout.pattern, name_in_folder, re.DOTALL)
            ),
            None,
        ):
            kind = NeverWhole if layout.may_precede_weights or INDEX in files else InputError
            raise kind(
                f"checkpoint {uri}: {printable(name, 100)} is {layout.description}; {_fill_remedy(layout, uri, name)}"
            )
    _refuse_run(uri, folders)


def refuse_without_config(uri: str, names: Iterable[str]) -> None:
    """Raise InputError or NeverWhole if a folder without a config.json holds a model in another form."""
    files = set(names)
    if "params.json" in files and (consolidated := _find_first(files, r"consolidated.*\.safetensors")):
        raise NeverWhole(
            f"checkpoint {uri}: {consolidated} is of Mistral's own form; convert it (transformers' "
            "convert_mistral_weights_to_hf.py), or name the repository's files of Hugging Face's form"
        )
    if "model_index.json" in files:
        raise InputError(f"checkpoint {uri}: a pipeline of diffusers (model_index.json), which captions nothing")
    weights = _find_first(files, r"(?!adapter_).*\.safetensors")
    if weights is None:
        refuse_foreign(uri, files)
    elif states := _find_first(files, r"random_states_\d+\.pkl|optimizer(_\d+)?\.(bin|pt)|scheduler(_\d+)?\.(bin|pt)"):
        raise NeverWhole(
            f"checkpoint {uri}: {weights} beside {states} and no config.json: a state that accelerate saved; copy "
            "config.json, the tokenizer's and the processor's files of its base into the folder"
        )


def refuse_without_tokenizer(uri: str, names: Iterable[str]) -> None:
    """Raise NeverWhole if the trainer's state is there, because a trainer writes its own state last."""
    if state := _find_first(set(names), r"trainer_state\.json|training_args\.bin"):
        raise NeverWhole(
            f"checkpoint {uri}: the tokenizer is missing, and the trainer's save is over ({state}); copy "
            "tokenizer*.json, *processor_config.json and chat_template.* of its base into the folder, and give the "
            "trainer a processing_class"
        )


def _refuse_cache(uri: str, folders: list[str]) -> None:
    """Raise NeverWhole with the URI of a snapshot if the folder is a repository in the hub's cache."""
    if not {"blobs", "snapshots"} <= set(folders):
        return
    snapshot = next(iter(object_listing.list_subfolders(f"{uri}/snapshots")), None)
    if snapshot:
        place = f"{uri}/snapshots/{printable(snapshot, 100)}"
        raise NeverWhole(f"checkpoint {uri}: a repository in the cache of the Hugging Face hub; name {place}")


def _refuse_nested(uri: str, folders: list[str]) -> None:
    for folder in [*folders[:MOST_OPENED], "actor/huggingface"]:
        is_adapter = all(
            object_listing.find_entry(f"{uri}/{folder}/{name}") for name in (lora_config.CONFIG, lora_config.WEIGHTS)
        )
        if is_adapter or all(any(map(object_listing.find_entry, group)) for group in _list_marks(f"{uri}/{folder}")):
            form = "adapter" if is_adapter else "model"
            place = printable(folder, 100)
            raise NeverWhole(f"checkpoint {uri}: the {form} is in {place}/; name {uri}/{place}")


def _list_marks(folder: str) -> Iterator[list[str]]:
    """Yield groups of files. A folder with at least one file of each group holds a model."""
    yield [f"{folder}/config.json"]
    yield [f"{folder}/{SINGLE}", f"{folder}/{INDEX}"]


def _refuse_run(uri: str, folders: list[str]) -> None:
    """Raise NeverWhole with the URI of the last checkpoint if the folder is a training run."""
    steps = [folder for folder in folders if RUN.fullmatch(folder)]
    if steps:
        last = printable(max(steps, key=lambda name: [int(number) for number in re.findall(r"\d{1,18}", name)]), 100)
        raise NeverWhole(
            f"checkpoint {uri}: a training run ({last} and {len(steps) - 1} more folders), and no model; name one, "
            f"{uri}/{last}, or watch the run (ASSAY_CHECKPOINTS)"
        )


def _list_folders(uri: str) -> list[str]:
    return [name for name in islice(object_listing.list_subfolders(uri), MOST_FOLDERS) if not name.startswith(".")]


def _fill_remedy(layout: Layout, uri: str, name: str) -> str:
    """Return the command with the names filled in. A name that a shell would not take as it is stays DIR or FILE."""
    local = uris.local_path(uri)
    place = str(local) if local is not None and PLAIN.fullmatch(str(local)) else "DIR"
    file = name.rstrip("/")
    return layout.remedy.replace("FILE", file if PLAIN.fullmatch(file) else "FILE").replace("DIR", place)


def _find_first(names: set[str], pattern: str) -> str | None:
    return next((printable(name, 100) for name in sorted(names) if re.fullmatch(pattern, name)), None)

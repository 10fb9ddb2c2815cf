"""Compares Assay with other engines at their newest versions, in environments of their own; prints one Markdown table.

    .assay/data/bin/python -m benchmarks.rivals --setup            # makes the environments, once
    .assay/data/bin/python -m benchmarks.rivals                    # all, on a GPU: less than an hour
    .assay/data/bin/python -m benchmarks.rivals assay generate     # some

All caption the same images with the same prompt, settings and number of tokens, one after the other. Rates are without
the start, after a warm-up. On a CPU the demo's tiny model is used, and vLLM's community build for CPUs: that tries the
script, and its rates say nothing about a GPU. The versions are pinned in requirements/rivals/. Ray Data LLM runs in
Assay's own environment, because its newest version pins the vLLM that Assay has.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ray

from benchmarks.engine import end_engines, run_job
from benchmarks.geometry import write_checkpoints
from benchmarks.jobs import draw_photographs, read_captions, write_job
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.settings import choose_compilation, engine_environment
from ray_jobs.storage import manifests, parts

REPO = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "rival_programs"
WARM_IMAGES = 64
CPU_IMAGES, CPU_TOKENS = 128, 8


@dataclass(frozen=True)
class Rival:
    """Another engine: its name in the table, its environment on a GPU and on a CPU (None: it has none), its program."""

    title: str
    on_gpu: str
    on_cpu: str | None
    program: tuple[str, str]


RIVALS = {
    "generate": Rival("vLLM, `LLM.generate`", "vllm-gpu", "vllm-cpu", ("with_vllm.py", "generate")),
    "expert": Rival("vLLM, `LLM.generate`, set by an expert", "vllm-gpu", "vllm-cpu", ("with_vllm.py", "expert")),
    "async": Rival("vLLM, `AsyncLLM`", "vllm-gpu", "vllm-cpu", ("with_vllm.py", "asynchronous")),
    "sglang": Rival("SGLang, offline engine", "sglang", None, ("with_sglang.py", "offline")),
}
OURS = {"assay": ("Assay", "warm", "vllm"), "ray": ("Ray Data LLM", "ray_data_llm", "ray")}


@dataclass
class Row:
    title: str
    version: str
    rate: float
    start: float | None


@dataclass
class Contest:
    folder: Path
    options: argparse.Namespace
    has_gpu: bool

    def write_job(self, images: int, kind: str) -> Spec:
        """The spec of a job over this number of images, whose captions are not there."""
        options = self.options
        shape = {"dtype": "bfloat16", "max_model_len": 2048} if self.has_gpu else {
            "dtype": "float32", "max_model_len": 1024, "enforce_eager": True}  # fmt: skip
        suite = {
            "name": "rivals",
            "dataset": {"source": "benchmark"},
            "caption": {"prompt": "describe the image " * 12, "max_tokens": options.tokens},
            "engine": shape | {
                "kind": kind, "max_num_seqs": options.sequences, "max_num_batched_tokens": options.step_tokens
            },
        }  # fmt: skip
        (model,) = write_checkpoints(
            options.models or self.folder / "models", options.geometry if self.has_gpu else "tiny", 1
        )
        width, height = map(int, (options.size if self.has_gpu else "112x112").split("x"))
        spec = write_job(
            self.folder / "root", suite, model, f"made {images}", draw_photographs(images, (width, height))
        )
        manifests.clear_stage(spec.captions_uri, uuid.uuid4().hex)
        return spec

    def measure_ours(self, name: str) -> Row:
        """The row of Assay, or of Ray Data LLM as Assay's reference engine calls it: whole jobs."""
        title, kind, package = OURS[name]
        address = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        start = None
        for images in (WARM_IMAGES, self.options.images) if kind == "warm" else (self.options.images,):
            spec = self.write_job(images, kind)
            run_job("caption", spec, address)
            manifest = manifests.require_manifest(spec.captions_uri, "caption")
            start = manifest.seconds["cold_start"] if start is None else start
        end_engines()
        times = read_captions(spec, ["arrived", "finished"])
        took = max(row["finished"] for row in times) - min(row["arrived"] for row in times)
        distribution = package if self.has_gpu or package == "ray" else "vllm-cpu"
        return Row(title, f"{package} {version(distribution)}", len(times) / took, start)

    def measure_rival(self, name: str) -> Row:
        """The row of another engine. Raises RuntimeError with the end of its output if it fails."""
        rival = RIVALS[name]
        environment = rival.on_gpu if self.has_gpu else rival.on_cpu
        if environment is None:
            raise RuntimeError("it has no wheels for a CPU")
        python = Path(self.options.environments) / environment / "bin" / "python"
        if not python.exists():
            raise RuntimeError("it has no environment; make it with --setup")
        program, style = rival.program
        inputs = self.write_inputs()
        spec = self.write_job(self.options.images, "warm")
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables |= engine_environment(spec.suite.engine, self.has_gpu)
        run = subprocess.run(
            [python, PROGRAMS / program, style, inputs], env=variables, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=self.options.limit,
        )  # fmt: skip
        if run.returncode or not (lines := [line for line in run.stdout.splitlines() if line.startswith('{"took"')]):
            raise RuntimeError(run.stdout[-2000:])
        result = json.loads(lines[-1])
        if result["tokens"] != self.options.images * self.options.tokens:
            raise RuntimeError(f"it made {result['tokens']} tokens")
        package = "sglang" if name == "sglang" else "vllm"
        return Row(rival.title, f"{package} {result['version']}", self.options.images / result["took"], result["start"])

    def write_inputs(self) -> Path:
        """The file that a rival's program reads: the model, the prompt, the images and the settings."""
        spec, images, inputs = self.write_job(self.options.images, "warm"), self.folder / "images", self.folder / "in"
        if not images.exists():
            images.mkdir()
            names = [part.name for part in manifests.require_manifest(spec.golden_uri, "golden").parts]
            golden = (image for name in names for image in read_images(spec, name))
            for number, image in enumerate(golden):
                (images / f"{number:07d}.jpg").write_bytes(image)
        prompts = PromptBuilder(Path(spec.checkpoint.uri), spec.checkpoint.uri)
        engine = spec.suite.engine
        settings = engine.model_dump(include={
            "dtype", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager"
        })  # fmt: skip
        inputs.write_text(json.dumps({
            "model": spec.checkpoint.uri, "prompt": prompts.prompt(spec.suite.caption.prompt), "images": str(images),
            "max_tokens": self.options.tokens, "compilation": choose_compilation(engine, self.has_gpu),
            "engine": settings | {"limit_mm_per_prompt": {"image": 1, "video": 0}},
        }))  # fmt: skip
        return inputs


def read_images(spec: Spec, part: str) -> list[bytes]:
    return [image.as_py() for image in parts.read(spec.golden_uri, part, ["image"])["image"]]


def main(options: argparse.Namespace, folder: Path) -> None:
    ray.init("local", include_dashboard=False, logging_level="warning", log_to_driver=False)
    contest = Contest(folder, options, bool(ray.cluster_resources().get("GPU")))
    if not contest.has_gpu:
        options.images, options.sequences = min(options.images, CPU_IMAGES), min(options.sequences, CPU_IMAGES)
        options.tokens = min(options.tokens, CPU_TOKENS)
        print("no GPU: the demo's tiny model on this CPU, which only tries the script\n", flush=True)
    print("| engine | version | captions/s | Assay is faster by | start, s |\n" + "| --- " * 5 + "|", flush=True)
    rows: list[Row] = []
    for name in options.names:
        try:
            rows.append(contest.measure_ours(name) if name in OURS else contest.measure_rival(name))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            title = OURS[name][0] if name in OURS else RIVALS[name].title
            print(f"| {title} | | not measured: {' '.join(str(error).split())[-200:]} | | |", flush=True)
            continue
        row = rows[-1]
        ratio = f"{rows[0].rate / row.rate:.2f}" if rows[0].title == "Assay" else ""
        print(f"| {row.title} | {row.version} | {row.rate:.1f} | {ratio} | {row.start or 0:.1f} |", flush=True)
    faster = [row.title for row in rows if rows[0].title == "Assay" and row.rate > rows[0].rate]
    print(f"\nAssay is not first: {', '.join(faster)}" if faster else "", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals")
    parser.add_argument("names", nargs="*", default=[*OURS, *RIVALS], help=f"of {', '.join([*OURS, *RIVALS])}")
    parser.add_argument("--setup", action="store_true", help="make the environments of this machine, and end")
    parser.add_argument("--environments", default=str(REPO / ".assay" / "rivals"), help="the folder of environments")
    parser.add_argument("--geometry", choices=["3b", "7b"], default="3b", help="on a GPU")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--size", default="504x364", help="pixels of an image, on a GPU")
    parser.add_argument("--tokens", type=int, default=64, help="of a caption")
    parser.add_argument("--sequences", type=int, default=1024)
    parser.add_argument("--step-tokens", type=int, default=6144)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that one rival may take")
    parser.add_argument("--models", type=Path, help="a folder where the checkpoint is, or will be")
    arguments = parser.parse_args()
    if arguments.setup:
        has_gpu = subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True).returncode == 0
        wanted = {rival.on_gpu if has_gpu else rival.on_cpu for rival in RIVALS.values()} - {None}
        script = Path(__file__).parent / "set_up_rivals.sh"
        sys.exit(subprocess.run([script, arguments.environments, *sorted(map(str, wanted))]).returncode)
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as place:
        main(arguments, Path(place))

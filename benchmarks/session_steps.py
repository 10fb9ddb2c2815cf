"""The steps of `benchmarks.gpu_session`, in order of worth: what each one answers, its command, and how long it takes.

The expected minutes are those of an H200, from the figures in results/2026-11-30-engine-gpu.md. A limit is twice the
expected time, because a step that takes longer hangs or measures something else.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PLAIN_STEP_TOKENS, LARGE_STEP_TOKENS = 6144, 16384  # tokens per step: for small images, and for large ones
START_MINUTES = 2.0  # of an engine that compiles
SHAPES = {  # pixels and tokens: captions/s of `LLM.generate` there, which is the slowest of a table
    ("504x364", 64): 84.0, ("1024x768", 128): 21.0, ("1024x1024", 256): 9.0,
}  # fmt: skip
SETTINGS = (
    "1024/6144", "1024/8192", "512/16384", "1024/16384/3", "1024/12288/2", "1536/9216", "1024/6144/nogc", "1024/16384",
)  # fmt: skip
TINY_SETTINGS = ("8/1024", "4/1024/3", "8/1024/nogc")
TABLE = ("warm", "ours", "expert", "generate", "plain", "rendered")
REPLICAS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Step:
    """`minutes` are expected. `needs` names steps that must have their results before, `makes` a folder for others.

    A step with `patched` runs in a copy of the tree to which `--patch` was applied.
    """

    name: str
    answers: str
    minutes: float
    command: tuple[str, ...]
    gpus: int = 1
    needs: tuple[str, ...] = ()
    patched: bool = False
    time_limit: float | None = None
    makes: Path | None = None

    @property
    def limit(self) -> float:
        """Seconds after which the step is ended: `time_limit`, or twice the expected time and a minute."""
        return 120 * self.minutes + 60 if self.time_limit is None else self.time_limit


@dataclass(frozen=True)
class Session:
    """What the steps share. `images` is the number of images of each table of captions per second."""

    work: Path
    images: int
    tiny: bool
    rivals: Path | None = None

    def list_steps(self) -> list[Step]:
        """All steps, the most valuable first."""
        tables = [self.build_table("3b", *shape) for shape in SHAPES]
        others = [self.build_table(geometry, *shape) for shape in SHAPES for geometry in ("7b", "qwen3")]
        return [
            self.build_weights("3b", 0.5), tables[0], *self.list_starts(), tables[1], *self.list_settings(),
            *self.list_fp8(), tables[2], self.build_weights("7b", 1.0), others[0], self.build_weights("qwen3", 0.5),
            others[1], *map(self.build_replicas, REPLICAS), self.build_rivals(), self.build_night(), *others[2:],
        ]  # fmt: skip

    def list_starts(self) -> list[Step]:
        def build(name: str, answers: str, minutes: float, *rows: str) -> Step:
            module = ("start", "--geometry", self._geometry("3b"), "--models", self._models("3b"))
            return self._build(name, answers, minutes, *module, "--work", str(self.work), "--rows", *rows)

        return [
            build("start", "seconds of a start by phase: no cache, full caches, the next checkpoint, forks", 7,
                  "empty", "same", "next", "first fork", "fork"),
            build("start-fetch", "does a fresh node start sooner with compiled code from the root?", 4,
                  "upload", "fetch"),
            build("start-vllm", "how long vLLM's own start takes (`vllm bench startup`)", 5, "vllm"),
        ]  # fmt: skip

    def list_settings(self) -> list[Step]:
        settings = TINY_SETTINGS if self.tiny else SETTINGS
        command = ["live_settings", "--geometry", self._geometry("3b"), "--models", self._models("3b")]
        command += ["--images", str(self._count(self.images))] + ["--gpu"] * (not self.tiny)
        graphs = ["--compile", *(["cudagraph_mm_encoder"] * (not self.tiny)), "--", settings[0]]
        return [
            self._build("scheduler", "which settings of vLLM's scheduler are fastest, in one engine", 8,
                        *command, *settings),
            self._build("encoder-graphs", "CUDA graphs of the encoder together with the compiled encoder", 4,
                        *command, *graphs),
            self._build("chosen", "captions/s with the settings that Assay chooses itself", 5,
                        *self._engine("3b", "504x364", 64, {}, sequences=0), "warm", "ours"),
        ]  # fmt: skip

    def list_fp8(self) -> list[Step]:
        fp8 = {"max_num_batched_tokens": PLAIN_STEP_TOKENS} | ({} if self.tiny else {"quantization": "fp8"})
        agreement = ["quantized", "--eager", "--checkpoints", "step-0300", "step-0800"]
        agreement += ["--quantization=", "--dtype", "float32", "--images", "32"] if self.tiny else []
        of_vllm, of_assay = (self._engine("3b", "504x364", 64, fp8) for _ in range(2))
        return [
            self._build("fp8-rate", "captions/s with fp8: vLLM alone", 5, *of_vllm, "expert", "rendered"),
            self._build("fp8-warm", "captions/s of Assay's warm engine with fp8, and seconds of a weight swap", 5,
                        *of_assay, "warm", "ours", patched=True),
            self._build("fp8-agreement", "how many captions fp8 changes (the demo's checkpoints, a cold engine)", 4,
                        *agreement, needs=()),
        ]  # fmt: skip

    def build_weights(self, geometry: str, minutes: float) -> Step:
        command = (sys.executable, "-m", "benchmarks.geometry", self._models(geometry), self._geometry(geometry), "2")
        last = Path(self._models(geometry), "step-1")
        return Step(f"weights-{geometry}", f"(makes the checkpoints of {geometry})", minutes, command, makes=last)

    def build_table(self, geometry: str, size: str, tokens: int) -> Step:
        """Captions per second of Assay and of vLLM in one run; all ways for the first geometry."""
        ways = TABLE if geometry == "3b" else TABLE[:4]
        step_tokens = PLAIN_STEP_TOKENS if size == "504x364" else LARGE_STEP_TOKENS
        command = self._engine(geometry, size, tokens, {"max_num_batched_tokens": step_tokens})
        seconds = (len(ways) - 1) * self.images / SHAPES[size, tokens] * (2.2 if geometry == "7b" else 1) / 1.3
        further = ", AsyncLLM, the ceiling" if geometry == "3b" else ""
        answers = f"captions/s: Assay, the expert's and the plain `LLM.generate`{further}; {size}, {tokens} tokens"
        minutes = len(ways) * START_MINUTES * 0.8 + seconds / 60
        return self._build(f"{geometry}-{size}", answers, round(minutes, 1), *command, *ways)

    def build_replicas(self, engines: int) -> Step:
        command = self._engine(
            "3b", "504x364", 64, {"max_num_batched_tokens": PLAIN_STEP_TOKENS}, feed=self.images * engines
        )
        spread = ["--replicas", str(engines), "--gpus", str(engines), "--costs", "warm", "ours"]
        answers = f"{engines} engines, a GPU each: captions/s; CPU time and memory of driver, renderers, object store"
        return self._build(f"replicas-{engines}", answers, 5 + engines / 2, *command, *spread, gpus=engines)

    def build_rivals(self) -> Step:
        command = ["rivals", "--images", str(self._count(self.images)), "--models", self._models("3b")]
        command += ["--environments", str(self.rivals)] if self.rivals else []
        return self._build("rivals", "Assay beside the newest vLLM, Ray Data LLM and SGLang", 25, *command)

    def build_night(self) -> Step:
        command = ["night_engine", "--geometry", self._geometry("3b")]
        command += ["--images", "24", "--checkpoints", "2", "--script", "restart"] if self.tiny else []
        return self._build(
            "night", "8 checkpoints x 1,000 images with a judge, against a script", 25, *command, needs=()
        )

    def _build(
        self, name: str, answers: str, minutes: float, module: str, *arguments: str, gpus: int = 1,
        needs: tuple[str, ...] | None = None, patched: bool = False,
    ) -> Step:  # fmt: skip
        command = (sys.executable, "-m", f"benchmarks.{module}", *arguments)
        geometry = name.split("-")[0] if name.startswith(("7b", "qwen3")) else "3b"
        return Step(
            name, answers, minutes, command, gpus, (f"weights-{geometry}",) if needs is None else needs, patched
        )

    def _engine(
        self, geometry: str, size: str, tokens: int, engine: Mapping[str, object], feed: int | None = None,
        sequences: int | None = None,
    ) -> list[str]:  # fmt: skip
        """The command line of `engine_gpu` without its steps."""
        feed = self._count(feed or self.images)
        if sequences is None:
            sequences = 1024 if size == "504x364" else 512
        return [
            "engine_gpu", "--geometry", self._geometry(geometry), "--models", self._models(geometry),
            "--work", str(self.work), "--checkpoints", "2", "--images", str(max(8, feed // 12)), "--feed", str(feed),
            "--size", size, "--tokens", str(tokens), "--sequences", str(sequences), "--engine", json.dumps(engine),
        ]  # fmt: skip

    def _geometry(self, geometry: str) -> str:
        return geometry if not self.tiny else "qwen3-tiny" if geometry == "qwen3" else "tiny"

    def _models(self, geometry: str) -> str:
        return str(self.work / f"models-{geometry}")

    def _count(self, images: int) -> int:
        return 40 if self.tiny else images

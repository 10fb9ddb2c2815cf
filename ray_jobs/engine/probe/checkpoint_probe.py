"""Is what a checkpoint has beside its weights fit to be used? Tried in a confined process, before a GPU is asked for.

A chat template, a tokenizer, an image processor and a config compute on the cluster what their author wants: a template
of two nested loops took an engine's event loop for good. So each job's driver first has copies of these files loaded
and used as the engine will use them, by `probe_child`: no network, no other program, no variable of this process, a
limit on memory and on time. Files that have passed on this node with the same prompts are not tried again, which
makes the probe free for all checkpoints of a training run but the first (5 s on two cores, most of it imports).
"""

import contextlib
import hashlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

from ray_jobs.checkpoints import files
from ray_jobs.checkpoints.inspect import INDEX, check_present, sidecar_files
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import canary
from ray_jobs.engine.versions import read_versions
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.private_cache import cache

log = logging.getLogger("assay")

PASSED_FOLDER = ".probed"  # folder of the node's cache: what has passed, by content
PROBE_VERSION = 2
MEMORY = 2 << 30  # bytes beyond what the libraries take
IMPORT_SECONDS = 180  # until the libraries are loaded; a node under load needs a minute
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
LOADED = "config.json"  # the child's first step


def time_limit() -> int:
    """ASSAY_PROBE_SECONDS: how long loading and trying may take."""
    return int(os.environ.get("ASSAY_PROBE_SECONDS", "60"))


def probe(
    checkpoint: Checkpoint,
    prompts: Sequence[str] = (),
    kind: Literal["vision", "clip"] = "vision",
    grammar: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Raises InputError, which names the file, for a checkpoint whose own files fail, never end or take all memory.

    With a `grammar` also for a tokenizer that vLLM could not hold to it: in the engine, that could end the engine. And
    for one of the suite's own `texts`, by their settings, that holds a special token of the tokenizer.
    """
    check_present(checkpoint)
    began, tried = time.monotonic(), [*prompts, canary.PROMPT]
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="assay-probe-") as folder:
        hashes = _copy(checkpoint, Path(folder))
        further = [one for one in (grammar, texts) if one]
        passed = cache() / PASSED_FOLDER / digest(PROBE_VERSION, read_versions(), kind, tried, hashes, *further)
        if passed.exists():
            return
        if fault := _run(Path(folder), checkpoint.uri, tried, kind, grammar, texts or {}):
            raise InputError(f"checkpoint {checkpoint.uri}: {fault}")
    passed.parent.mkdir(exist_ok=True)
    passed.touch()
    log.info("checkpoint %s: its tokenizer and processor work (%.1f s)", checkpoint.uri, time.monotonic() - began)


def _copy(checkpoint: Checkpoint, folder: Path) -> dict[str, str]:
    """Copies of what is loaded beside the weights, and their SHA-256 by name."""
    hashes = {}
    for name, uri in sidecar_files(checkpoint).items():
        if name != INDEX:
            data = files.read(uri, files.BESIDE_BYTES)
            (folder / name).write_bytes(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def _run(
    folder: Path, uri: str, prompts: list[str], kind: str, grammar: str | None, texts: Mapping[str, str]
) -> str | None:
    """What is wrong in words, None when nothing is. Raises RetryableError where the process does not get to its
    work."""
    request = {
        "folder": str(folder), "uri": uri, "prompts": prompts, "kind": kind, "memory": MEMORY, "seconds": time_limit(),
        "grammar": grammar, "texts": dict(texts),
    }  # fmt: skip
    variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HOME": str(folder), "HF_HOME": str(folder / ".hf"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "ray_jobs.engine.probe.probe_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=variables, cwd="/", start_new_session=True,
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(request).encode())
        lines, in_time = _follow(child.stdout)
        if in_time:  # it has closed its answers, so it is about to end, and its exit code says how
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        child.stdout.close()
    return _explain(lines, in_time, code, uri)


def _follow(answers: IO[bytes]) -> tuple[list[str], bool]:
    """The child's lines until it ends, and whether it ended by itself before its time was over."""
    received, deadline = b"", time.monotonic() + IMPORT_SECONDS
    with selectors.DefaultSelector() as ready:
        ready.register(answers, selectors.EVENT_READ)
        while ready.select(max(0.0, deadline - time.monotonic())):
            if not (data := os.read(answers.fileno(), 65536)) or len(received) > 1_000_000:
                return received.decode(errors="replace").splitlines(), True
            if not received:  # the libraries are loaded
                deadline = time.monotonic() + time_limit()
            received += data
    return received.decode(errors="replace").splitlines(), False


def _explain(lines: list[str], in_time: bool, code: int, uri: str) -> str | None:
    if not lines:
        raise RetryableError(
            f"checkpoint {uri}: the process that tries its files did not start (exit code {code}); try again"
        )
    with contextlib.suppress(ValueError, TypeError, KeyError):
        fault: str | None = json.loads(lines[-1])["fault"]
        step = lines[-2] if len(lines) > 1 else LOADED
        if fault == "memory":
            return f"{step} needs more than {MEMORY >> 30} GB of memory; mend it"
        if fault == "depth":
            return f"{step} is nested too deep; mend it"
        return printable(fault, 500) if fault else None
    if not in_time or code == -signal.SIGXCPU:
        return f"{lines[-1]} did not load and work within {time_limit()} s; mend it, or raise ASSAY_PROBE_SECONDS"
    return f"{lines[-1]} ended the process that tried it (exit code {code}); mend it"

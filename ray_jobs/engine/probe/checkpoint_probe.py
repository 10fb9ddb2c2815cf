"""Tries the files that a checkpoint has beside its weights, in a confined process, before a job requests a GPU.

Each job's driver calls it. A chat template, a tokenizer, an image processor and a config compute what their author
wants: a template of two nested loops blocked an engine's event loop for good. So `probe_process` loads copies of these
files and uses them as the engine will. That process has no network, starts no program, gets few of this process's
variables (KEPT_VARIABLES), and has a limit on memory and on time. Files that have passed on this node with the same
prompts are not tried again. So only the first checkpoint of a training run costs time (5 s on two cores, most of it
imports).
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
from ray_jobs.checkpoints.inspect import sidecar_files
from ray_jobs.checkpoints.verification import check_present
from ray_jobs.checkpoints.weights import INDEX
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import canary
from ray_jobs.engine.versions import read_versions
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.runtime.private_cache import ensure_cache_folder

log = logging.getLogger("assay")

PASSED_FOLDER = ".probed"  # folder of the node's cache: one empty file per passed probe, named by a hash of its input
PROBE_VERSION = 2
MEMORY = 2 << 30  # bytes, beyond those that the libraries take
IMPORT_SECONDS = 180  # until the libraries are loaded; a node under load needs a minute
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
LOADED = "config.json"  # the child's first step


def time_limit() -> int:
    """The seconds that loading and trying the files may take: ASSAY_PROBE_SECONDS, or 60."""
    return int(os.environ.get("ASSAY_PROBE_SECONDS", "60"))


def probe(
    checkpoint: Checkpoint,
    prompts: Sequence[str] = (),
    kind: Literal["vision", "clip"] = "vision",
    grammar: str | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Raises InputError, which names the file, if a file of the checkpoint fails, never ends or takes too much memory.

    Also if `grammar` is given and does not compile for the tokenizer, because that could end the engine. And if one of
    the suite's `texts`, by setting, contains a special token of the tokenizer. Raises RetryableError if the process
    that tries the files does not start.
    """
    check_present(checkpoint)
    began, all_prompts = time.monotonic(), [*prompts, canary.PROMPT]
    ensure_cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="assay-probe-") as folder:
        hashes = _copy_files(checkpoint, Path(folder))
        further = [option for option in (grammar, texts) if option]
        passed = (
            ensure_cache_folder()
            / PASSED_FOLDER
            / digest(PROBE_VERSION, read_versions(), kind, all_prompts, hashes, *further)
        )
        if passed.exists():
            return
        if fault := _run_probe(Path(folder), checkpoint.uri, all_prompts, kind, grammar, texts or {}):
            raise InputError(f"checkpoint {checkpoint.uri}: {fault}")
    passed.parent.mkdir(exist_ok=True)
    passed.touch()
    log.info("checkpoint %s: its tokenizer and processor work (%.1f s)", checkpoint.uri, time.monotonic() - began)


def _copy_files(checkpoint: Checkpoint, folder: Path) -> dict[str, str]:
    """Copy the files that are loaded beside the weights to the folder. Returns their SHA-256 by name."""
    hashes = {}
    for name, uri in sidecar_files(checkpoint).items():
        if name != INDEX:
            data = files.read(uri, files.SIDECAR_BYTES)
            (folder / name).write_bytes(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def _run_probe(
    folder: Path, uri: str, prompts: list[str], kind: str, grammar: str | None, texts: Mapping[str, str]
) -> str | None:
    """The fault in words; None if there is none. Raises RetryableError if the process does not start its work."""
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
        lines, in_time = _read_lines(child.stdout)
        if in_time:  # the child has closed its output, so it ends soon, and its exit code says how
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        child.stdout.close()
    return _explain_result(lines, in_time, code, uri)


def _read_lines(answers: IO[bytes]) -> tuple[list[str], bool]:
    """The lines that the child wrote, and whether it closed its output before its time was over."""
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


def _explain_result(lines: list[str], in_time: bool, code: int, uri: str) -> str | None:
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

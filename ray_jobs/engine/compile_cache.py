"""Shares vLLM's compiled code between nodes, as one object per architecture, settings, versions and GPU.

The actor calls it when an engine starts. It is off unless the deployment names a place in `ASSAY_COMPILE_CACHE`,
because the object holds code: who may write there may run code on the nodes with GPUs. A fault of the place or of
the object costs one line in the log, and vLLM compiles.
"""

import hashlib
import logging
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from ray_jobs.contract.ids import digest
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.compatibility import compatibility_key
from ray_jobs.engine.compile_archive import MAX_BYTES, BadArchive, pack, unpack
from ray_jobs.engine.versions import read_versions
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.runtime.private_cache import ensure_cache_folder
from ray_jobs.storage import objects

log = logging.getLogger("assay")

VARIABLE = "ASSAY_COMPILE_CACHE"
FETCH_SECONDS = 60.0  # compiling takes about as long
# These files decide what vLLM compiles, besides vLLM itself and the model.
CODE = ("settings.py", "config_overrides.py", "vision_padding.py", "vllm_plugin/compile_key.py")
NOT_COMPILED = {"kind", "keep_seconds", "replicas", "audit", "base_model", "renderers"}  # settings of the suite
FAULTS = (BadArchive, InputError, RetryableError, OSError)


class CompileCache:
    """The folder in which one engine's compiled code lies, and the object from which it comes."""

    def __init__(self, place: str, key: str) -> None:
        self.uri = f"{place.rstrip('/')}/{key}.compiled"
        self.folder = ensure_cache_folder() / "compiled" / key
        self._restored = False

    def environment(self) -> dict[str, str]:
        """Environment variables with which vLLM, PyTorch and Triton keep compiled code in the folder."""
        return {
            "VLLM_CACHE_ROOT": str(self.folder / "vllm"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
            "TRITON_CACHE_DIR": str(self.folder / "triton"),
        }

    def restore(self) -> None:
        """Fetch the object and unpack it into the folder, unless the folder is there. Raises nothing.

        Waits at most FETCH_SECONDS. A fetch that takes longer goes on in its thread, and is of no use to this engine.
        """
        if self.folder.exists():
            return
        fetching = threading.Thread(target=self._fetch, daemon=True, name="compile-cache")
        fetching.start()
        fetching.join(FETCH_SECONDS)
        if fetching.is_alive():
            log.warning("engine: compile cache %s: not fetched within %.0f s; vLLM compiles", self.uri, FETCH_SECONDS)

    def share(self) -> None:
        """Write the object from the folder unless there is one. Raises nothing. Called once vLLM has started."""
        if self._restored:
            return
        try:
            if objects.exists(self.uri):
                return
            began, data = time.monotonic(), pack(self.folder)
            if objects.create(self.uri, data):
                seconds = time.monotonic() - began
                log.info("engine: compile cache %s: written, %.1f MB in %.1f s", self.uri, len(data) / 1e6, seconds)
        except FAULTS as error:
            log.warning("engine: compile cache %s: not written: %s", self.uri, _one_line(error))

    def _fetch(self) -> None:
        began = time.monotonic()
        partial = None
        try:
            data = objects.read(self.uri, at_most=MAX_BYTES + 1000)
            self.folder.parent.mkdir(exist_ok=True, mode=0o700)
            partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=self.folder.parent))
            header = unpack(data, partial)
            partial.rename(self.folder)
            self._restored = True
            log.info(
                "engine: compile cache %s: %.1f MB, %.1f days old, fetched in %.1f s",
                self.uri, len(data) / 1e6, (time.time() - header.made_at) / 86400, time.monotonic() - began,
            )  # fmt: skip
        except FileNotFoundError:
            log.info("engine: compile cache %s: not there yet; vLLM compiles", self.uri)
        except FAULTS as error:
            log.warning("engine: compile cache %s: not used: %s; vLLM compiles", self.uri, _one_line(error))
        finally:
            if partial:
                shutil.rmtree(partial, ignore_errors=True)


def open_compile_cache(checkpoint: Checkpoint, engine: Engine, gpu: str | None) -> CompileCache | None:
    """The cache of engines like this one; None if it is off. `gpu` describes the GPU; code for a CPU is not shared.

    It is off if `ASSAY_COMPILE_CACHE` is not set, or if the deployment has its own place in `VLLM_CACHE_ROOT`.
    """
    place = os.environ.get(VARIABLE, "").strip()
    if not place or gpu is None or engine.enforce_eager:
        return None
    if os.environ.get("VLLM_CACHE_ROOT"):
        log.warning("engine: %s is not used, because VLLM_CACHE_ROOT is set", VARIABLE)
        return None
    with suppress(*FAULTS):
        return CompileCache(place, make_key(checkpoint, engine, gpu))
    return None


def make_key(checkpoint: Checkpoint, engine: Engine, gpu: str) -> str:
    """A hash of all that compiled code depends on. vLLM checks its own, finer keys inside the folder.

    Python's and the cache's folders count, because compiled code has paths of both.
    """
    package = Path(__file__).parent
    code = [hashlib.sha256((package / name).read_bytes()).hexdigest() for name in CODE]
    python = [platform.machine(), platform.python_version(), sys.prefix, str(ensure_cache_folder())]
    settings = engine.model_dump(exclude=NOT_COMPILED)
    return digest(compatibility_key(checkpoint), settings, read_versions(), gpu, code, python)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

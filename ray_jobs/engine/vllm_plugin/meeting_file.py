"""Has vLLM make the file by which a model's processes meet in the engine's folder. vLLM's own place is TMPDIR.

vLLM's own processes import it with `compile_key`, before they make the file.
"""

import os
import tempfile
from uuid import uuid4

from vllm.utils import network_utils
from vllm.v1.executor import uniproc_executor

from ray_jobs.engine.engine_folder import VARIABLE


def name_meeting_file() -> str:
    """The URI of a new file."""
    return f"file://{os.environ.get(VARIABLE) or tempfile.gettempdir()}/vllm_dist_{uuid4().hex}"


network_utils.get_file_store_init_method = uniproc_executor.get_file_store_init_method = name_meeting_file

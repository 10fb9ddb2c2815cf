"""vLLM's own renderer, in Ray's processes and in threads."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import Cluster
from stage_jobs import GOOD, wait_for_exit

pytestmark = pytest.mark.integration


def test_rows_are_rendered_alike_in_processes_and_without_them(on_cluster: Cluster) -> None:
    """Rows come in order, and each image has its own name. A failing row costs only itself. Without processes,
    threads render."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, str(Path(__file__).with_name("render_rows.py")), str(GOOD)]
    result = wait_for_exit(subprocess.Popen(command, **pipes))
    assert result.code == 0, result.output[-5000:]
    beside, fallen_back, alone = result.json_lines
    assert [pool["processes"] for pool in (beside, fallen_back, alone)] == [2, 0, 0]
    assert beside["parts"] == fallen_back["parts"] == alone["parts"]
    for pool in (beside, fallen_back, alone):
        assert len(set(pool["names"])) == len(pool["names"]) == 20 - 2 + 2
    first, second, third = alone["parts"]
    assert [key for key, *_ in first] == [f"a/{row}" for row in range(20)]
    assert [row[0] for row in second] == ["b/7", "b/2"]
    assert [failure for _, failure, *_ in first] == [None] * 3 + ["engine-error", None, "image-refused"] + [None] * 14
    assert len({pixels for *_, pixels in first if pixels is not None}) == 18
    assert third == "c is gone"

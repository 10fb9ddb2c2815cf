from typing import Any

import pytest

from ray_jobs.contract.share_doubts import find_share_doubts
from ray_jobs.contract.suite import Suite


def find_doubts(captions: dict[str, Any], judge: dict[str, Any], kind: str = "vllm") -> list[str]:
    return find_share_doubts(
        Suite.model_validate(
            {
                "name": "small",
                "dataset": {"source": "/data/images"},
                "engine": captions,
                "judge": {"kind": kind, "model": "/m", "engine": judge, "base_url": "http://judge"},
            }
        )
    )


def share(part: float) -> dict[str, Any]:
    return {"gpu_memory_utilization": part}


def test_shares_above_one_gpu_are_doubted_in_one_line() -> None:
    (line,) = find_doubts(share(0.9), share(0.45))
    assert line.startswith(
        "engine.gpu_memory_utilization 0.9 and judge.engine.gpu_memory_utilization 0.45: on a cluster with one GPU, "
    )
    assert "leave them out and Assay chooses, or set both to at most 0.5" in line


@pytest.mark.parametrize(
    ("captions", "judge"),
    [
        (share(0.6), share(0.4)),  # Ray gives an engine with more than half a whole GPU
        (share(0.6), {}),
        ({}, share(0.9)),
        (share(0.45) | {"replicas": 2}, share(0.45)),
        (share(0.45) | {"tensor_parallel_size": 2}, share(0.45)),
    ],
)
def test_other_shares_that_do_not_fit(captions: dict[str, Any], judge: dict[str, Any]) -> None:
    assert len(find_doubts(captions, judge)) == 1


@pytest.mark.parametrize(
    ("captions", "judge", "kind"),
    [
        ({}, {}, "vllm"),  # Assay chooses
        (share(0.45), share(0.45), "vllm"),
        (share(0.4), {}, "vllm"),
        (share(0.9), {}, "openai"),
        (share(0.9), {}, "none"),
    ],
)
def test_shares_that_fit_are_not_doubted(captions: dict[str, Any], judge: dict[str, Any], kind: str) -> None:
    assert find_doubts(captions, judge, kind) == []

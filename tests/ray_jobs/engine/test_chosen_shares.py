import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.chosen_settings import ModelSizes, Workload, choose_settings
from ray_jobs.engine.chosen_shares import EngineNeed, choose_shares

H200, A100, A6000, L4 = 143_771 << 20, 40_960 << 20, 49_140 << 20, 23_034 << 20
SMALL, LARGE = ModelSizes(7_500_000_000, 36_864), ModelSizes(16_600_000_000, 57_344)  # Qwen2.5-VL, 3B and 7B
TINY = ModelSizes(4_300_000, 1024)
CAPTIONS, QUESTIONS = Workload(295, 64), Workload(350, 256)


def choose(
    captions: Engine, judge: Engine, sizes: tuple[ModelSizes | None, ModelSizes | None], gpu_bytes: int
) -> tuple[Engine, Engine, str]:
    return choose_shares(EngineNeed(captions, CAPTIONS, sizes[0]), EngineNeed(judge, QUESTIONS, sizes[1]), gpu_bytes)


@pytest.mark.parametrize(
    ("sizes", "gpu_bytes", "shares"),
    [
        ((SMALL, LARGE), H200, (0.45, 0.45)),  # both have more room than they use
        ((LARGE, SMALL), H200, (0.45, 0.45)),
        ((SMALL, LARGE), A6000, (0.4, 0.5)),  # 0.45 leave the judge without room
        ((LARGE, SMALL), A6000, (0.5, 0.4)),
        ((TINY, TINY), L4, (0.45, 0.45)),
    ],
)
def test_both_engines_fit_beside_each_other(
    sizes: tuple[ModelSizes, ModelSizes], gpu_bytes: int, shares: tuple[float, float]
) -> None:
    captions, judge, line = choose(Engine(), Engine(), sizes, gpu_bytes)
    assert (captions.gpu_memory_utilization, judge.gpu_memory_utilization) == shares
    assert captions.gpus + judge.gpus <= 0.9 + 1e-9  # what Ray is asked for
    assert line.startswith(f"gpu_memory_utilization {shares[0]:g} for the captions and {shares[1]:g} for the judge are")
    for engine, workload, model in ((captions, CAPTIONS, sizes[0]), (judge, QUESTIONS, sizes[1])):
        chosen, _ = choose_settings(engine, workload, model, gpu_bytes)
        assert chosen.max_num_seqs
        assert chosen.max_num_seqs >= 64
        assert chosen.gpu_memory_utilization == engine.gpu_memory_utilization


@pytest.mark.parametrize("captions_first", [True, False])
def test_vllm_finds_its_share_free_beside_the_other_engine(captions_first: bool) -> None:
    """A stand-in for vLLM's check at the start: the free memory of the GPU must be at least the engine's share of it.

    The engine that runs takes its share, a CUDA context, and the images of a second step. No GPU is here.
    """
    captions, judge, _ = choose(Engine(), Engine(), (SMALL, LARGE), A6000)
    first, second = (captions, judge) if captions_first else (judge, captions)
    context, second_step = 600 << 20, 16384 * 2048 * 2 * 4
    free = A6000 - first.gpu_share * A6000 - context - second_step
    assert free - context >= second.gpu_share * A6000


@pytest.mark.parametrize(("sizes", "gpu_bytes"), [((SMALL, LARGE), A100), ((SMALL, LARGE), L4), ((SMALL, SMALL), L4)])
def test_engines_without_room_for_both_have_the_gpu_in_turn(
    sizes: tuple[ModelSizes, ModelSizes], gpu_bytes: int
) -> None:
    captions, judge, line = choose(Engine(), Engine(), sizes, gpu_bytes)
    assert (captions, judge) == (Engine(), Engine())
    assert (captions.gpus, judge.gpus) == (1, 1)
    assert line.startswith("the captions' engine and the judge's have the GPU in turn: one GPU of ")


def test_a_model_of_unknown_size_has_the_gpu_in_turn() -> None:
    assert choose(Engine(), Engine(), (SMALL, None), H200)[:2] == (Engine(), Engine())


@pytest.mark.parametrize(
    ("captions", "judge", "shares"),
    [
        (0.3, None, (0.3, 0.5)),
        (0.5, None, (0.5, 0.4)),
        (None, 0.45, (0.45, 0.45)),
        (None, 0.2, (0.5, 0.2)),
        (0.6, None, (0.6, None)),  # takes a whole GPU, so the judge's engine gets no share beside it
        (None, 0.9, (None, 0.9)),
        (0.05, None, (0.05, None)),  # its own weights have no room: vLLM itself says so
    ],
)
def test_a_share_of_the_suite_stays(
    captions: float | None, judge: float | None, shares: tuple[float | None, float | None]
) -> None:
    pair = choose(Engine(gpu_memory_utilization=captions), Engine(gpu_memory_utilization=judge), (SMALL, SMALL), H200)
    assert (pair[0].gpu_memory_utilization, pair[1].gpu_memory_utilization) == shares


def test_fewer_requests_need_less_room() -> None:
    """The judge's 0.5 of this GPU have room for 62 requests, and its suite wants 32."""
    gpu_bytes = int((16.6e9 + (6 << 30) + 62 * 606 * 57_344) / 0.5)
    assert choose(Engine(), Engine(), (SMALL, LARGE), gpu_bytes)[1].gpu_memory_utilization is None
    assert choose(Engine(), Engine(max_num_seqs=32), (SMALL, LARGE), gpu_bytes)[1].gpu_memory_utilization == 0.5

from ray_jobs.engine.server.vllm_start import StartClock


def test_the_clock_splits_the_time_since_it_began_into_phases() -> None:
    clock = StartClock()
    clock.end_phase("imports")
    clock.end_phase("vLLM")
    clock.seconds.update(imports=25.94, vLLM=45.4)
    assert clock.describe() == "71.3 s: imports 25.9, vLLM 45.4"


def test_each_phase_has_the_seconds_since_the_one_before() -> None:
    clock = StartClock()
    clock._last -= 10
    clock.end_phase("imports")
    clock.end_phase("files")
    assert clock.seconds["imports"] >= 10 > clock.seconds["files"]

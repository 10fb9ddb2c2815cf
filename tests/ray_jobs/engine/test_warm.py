"""The warm engine with Ray, vLLM and the demo's checkpoints: every swap is compared with transformers, and planted
faults are found."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from engine_drivers import DRIVERS, caption_by_transformers, finish, resume, run_driver, start_driver, wait_for_line
from forked_processes import find_actor
from ray_cluster import Cluster
from safetensors.torch import load_file, save_file
from samples import upload
from stage_jobs import DEMO, wait_for_exit, wait_until

from ray_jobs.engine.server.renderers import RendererProcess
from ray_jobs.storage import s3_client

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_starts")]

CHECKPOINTS = sorted(folder for folder in (DEMO / "checkpoints").iterdir() if not folder.name.endswith("again"))

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def captions_by_checkpoint() -> dict[str, list[str]]:
    """The captions of every checkpoint by transformers."""
    captions = {folder.name: caption_by_transformers(folder) for folder in CHECKPOINTS}
    assert len({tuple(texts) for texts in captions.values()}) == len(CHECKPOINTS) == 5
    return captions


def tour(nodes: list[Path]) -> list[Path]:
    """Checkpoints in an order in which every ordered pair is adjacent once (an Eulerian circuit)."""
    return [
        node for index, first in enumerate(nodes) for second in nodes[index + 1 :] for node in (first, second)
    ] + nodes[:1]


@pytest.mark.usefixtures("plain_starts")
def test_in_every_order_of_swaps_captions_are_those_of_transformers(
    captions_by_checkpoint: dict[str, list[str]],
) -> None:
    order = tour(CHECKPOINTS)
    assert len(order) == 21
    runs = run_driver("in_order", *order)
    for folder, run in zip(order, runs, strict=True):
        assert run["said"] == captions_by_checkpoint[folder.name]
    assert [run["warm"] for run in runs] == [True] * 21
    assert {run["told"] for run in runs} == {"weights swapped and checked"}


def test_a_holder_that_is_killed_loses_the_engine_and_the_next_one_finds_it_warm(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]]
) -> None:
    holder = start_driver("holding", CHECKPOINTS[2])
    wait_for_line(holder, "HOLDING")
    waiting = start_driver("one", CHECKPOINTS[2])
    wait_for_line(waiting, "engine: another job holds it; waiting")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    run = finish(waiting)
    assert run["said"] == captions_by_checkpoint[CHECKPOINTS[2].name]
    assert (run["warm"], run["told"]) == (True, "the weights of the job before")


def test_why_an_engine_could_not_take_a_checkpoint_is_in_the_record(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]], tmp_path: Path
) -> None:
    """An engine that ends itself after failed verification exists for a moment longer. Meeting it again must not
    become the reason."""
    longer = Path(shutil.copytree(CHECKPOINTS[1], tmp_path / "longer"))
    for shard in longer.glob("*.safetensors"):
        save_file({name: tensor.double() for name, tensor in load_file(shard).items()}, shard, {"format": "pt"})
    runs = run_driver("alike", CHECKPOINTS[0], longer)
    assert [run["said"] for run in runs] == [captions_by_checkpoint[CHECKPOINTS[number].name] for number in (0, 1)]
    assert runs[1]["told"].startswith("a fresh engine, for tensors differ: "), runs[1]["told"]


def find_engine_folder(core: psutil.Process) -> Path:
    """The folder of all that vLLM's processes meet by: the actor's sockets, and a file."""
    names = [Path(connection.laddr) for connection in find_actor(core).net_connections("unix") if connection.laddr]
    (folder,) = {name.parent for name in names if UUID.fullmatch(name.name)}
    assert folder.name.startswith("engine-")
    others = [name.name for name in folder.iterdir() if not UUID.fullmatch(name.name)]
    assert [name.startswith("vllm_dist_") for name in others] == [True]
    return folder


def test_killed_in_the_middle_of_a_swap_and_of_answering(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]], tmp_path: Path
) -> None:
    """After any death, the answers are those of the right weights, and no engine stays behind."""
    order = [CHECKPOINTS[number] for number in (0, 3, 1)]
    on_cluster.end_engines()
    process = start_driver("killed_in_turn", *order, tmp_path)
    wait_for_line(process, "READY")
    core = on_cluster.engine()
    assert core
    left_folder = find_engine_folder(core)
    core.suspend()  # so that the swap is under way, and stays so
    resume(process)
    wait_until(lambda: len([*tmp_path.glob("part-*")]) == 4, 60)  # parts, which are rendered meanwhile
    core.kill()
    wait_for_line(process, "READY")

    core = on_cluster.engine()
    assert core
    assert find_engine_folder(core).exists()
    assert not left_folder.exists()
    resume(process)
    wait_for_line(process, "engine: warm, weights swapped and checked")
    wait_until(lambda: any(tmp_path.glob("unfinished-*")), 60)  # a part is rendered up to its last row
    find_actor(core).kill()
    (tmp_path / "killed").touch()
    core.wait(10)  # its process ends with the actor's: nothing holds a GPU that nobody knows of

    runs = finish(process)
    assert [run["said"] for run in runs] == [captions_by_checkpoint[folder.name] for folder in order]
    assert runs[1]["told"].startswith("a fresh engine, for ")
    assert runs[2]["told"].startswith("a fresh engine, for the engine's process died")
    assert [run["swapped"] for run in runs] == [False, False, True]  # the last by the engine that was killed


def test_images_are_rendered_in_separate_processes(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]], tmp_path: Path
) -> None:
    """Killing a renderer ends its engine, and all renderers end with the engine."""

    def list_renderers() -> list[psutil.Process]:
        return on_cluster.processes(RendererProcess.__name__)

    order = [CHECKPOINTS[number] for number in (2, 0, 4)]
    on_cluster.end_engines()
    process = start_driver("beside", *order, tmp_path)
    wait_for_line(process, "READY")
    first, _ = list_renderers()
    resume(process)
    wait_until(lambda: len([*tmp_path.iterdir()]) >= 2, 60)  # tasks, one in each process
    first.kill()
    *runs, last = finish(process)
    assert runs.pop().endswith(" is gone")
    assert [run["said"] for run in [*runs, last]] == [captions_by_checkpoint[folder.name] for folder in order]
    assert runs[1]["told"] == "weights swapped and checked"
    assert last["told"].startswith("a fresh engine, for ")
    again = run_driver("beside_again", order[-1])
    assert (again["said"], again["told"]) == (captions_by_checkpoint[order[-1].name], "the weights of the job before")
    assert len(list_renderers()) == 2  # they outlive the job that started them, as the engine does
    on_cluster.end_engines()
    wait_until(lambda: not list_renderers(), 30)


def test_a_row_of_which_engines_die_is_set_aside_alone(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]]
) -> None:
    run = run_driver("poisoned", CHECKPOINTS[0])
    assert run["said"] == [captions_by_checkpoint[CHECKPOINTS[0].name][0], "engine-died"]
    assert run["details"][0].startswith("an engine died of it when asked alone: ")


def test_jobs_that_wait_for_an_engine_have_it_in_turn(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]]
) -> None:
    order = [str(CHECKPOINTS[number]) for number in (2, 0, 1, 0, 3, 1, 0, 4)]
    on_cluster.end_engines()
    runs = run_driver("in_line", *order)
    assert runs[0] == [order[0], captions_by_checkpoint[Path(order[0]).name]]  # by whom it was started
    assert sorted(runs[:3]) == sorted([uri, captions_by_checkpoint[Path(uri).name]] for uri in order[:3])
    assert runs[3:] == [[uri, captions_by_checkpoint[Path(uri).name]] for uri in order[3:]]


def test_the_next_checkpoint_is_fetched_while_an_engine_answers_for_another(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]]
) -> None:
    """The next one is the successor in a series, or the checkpoint of a job that waits already."""
    s3_client.get_client().create_bucket(Bucket="series")
    order = [CHECKPOINTS[number] for number in (0, 1, 3)]
    files = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in order]
    first, *others = [
        upload(f"s3://series/{folder.name}", contents) for folder, contents in zip(order, files, strict=True)
    ]
    assert run_driver("followed", first, others[0])[-1], "it was not there when the last part was answered"
    runs = run_driver("fetched_while_waiting", *others)
    assert [run["said"] for run in runs] == [captions_by_checkpoint[order[number].name] for number in (2, 1)]
    assert [run["told"] for run in runs] == ["weights swapped and checked"] * 2


def test_two_engines_share_a_job_and_one_of_them_is_killed(
    on_cluster: Cluster, captions_by_checkpoint: dict[str, list[str]], tmp_path: Path
) -> None:
    on_cluster.end_engines()
    order = [CHECKPOINTS[number] for number in (0, 3)]
    process = start_driver("several", *order, tmp_path)
    wait_for_line(process, "READY")
    first, second = sorted(on_cluster.engines(), key=lambda engine: engine.create_time())
    resume(process)
    wait_for_line(process, "engine: one more, weights swapped and checked")
    wait_until(lambda: len(list(tmp_path.glob("asked-*"))) == 2, 60)
    second.kill()
    (tmp_path / "go").touch()
    runs = finish(process)
    assert [run["said"] for run in runs] == [captions_by_checkpoint[folder.name] for folder in order]
    assert runs[1]["told"].startswith("a fresh engine, for ")
    assert first.is_running()
    on_cluster.end_engines()


def test_a_checkpoint_with_a_tensor_less_is_refused_by_name(on_cluster: Cluster, tmp_path: Path) -> None:
    model = Path(shutil.copytree(CHECKPOINTS[0], tmp_path / "model"))
    shard = sorted(model.glob("*.safetensors"))[0]
    weights = load_file(shard)
    missing = next(name for name in sorted(weights) if "layernorm" in name or "norm" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != missing}, shard)
    index = model / "model.safetensors.index.json"
    files = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {name: file for name, file in files.items() if name != missing}}))
    result = wait_for_exit(start_driver("one", model))
    assert result.code
    last = result.output.strip().splitlines()[-1]
    assert f"checkpoint {model}: weights are missing: " in last, result.output[-3000:]


def test_a_swap_that_leaves_one_layer_as_it_was_is_noticed() -> None:
    """The faults are planted between the file and vLLM's loader: a layer not loaded, one with other values, one of
    zeros."""
    command = [sys.executable, str(DRIVERS / "planted_faults.py"), str(CHECKPOINTS[0]), str(CHECKPOINTS[1])]
    result = wait_for_exit(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    assert result.code == 0, result.output[-5000:]
    (line,) = [line for line in result.output.splitlines() if line.startswith('{"good"')]
    results = json.loads(line)
    assert results == {"good": True, "drop_tensor": False, "change_tensor": False, "zero_tensor": False}

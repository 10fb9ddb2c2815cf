"""The warm engine for real: Ray, vLLM, the demo's checkpoints; every swap against transformers, and planted faults."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from making import upload
from ray_cluster import Cluster
from running import DEMO, ENGINE, Ended, ended, wait_until
from safetensors.torch import load_file, save_file

from ray_jobs.storage import objects

pytestmark = pytest.mark.integration

CHECKPOINTS = sorted(folder for folder in (DEMO / "checkpoints").iterdir() if not folder.name.endswith("again"))
SCENES = sorted((DEMO / "images" / "scenes").iterdir())[:20]

# What every driver below has: the scenes as the tasks of parts, asked of the warm engine about a checkpoint.
DRIVER = f"""
import json, sys, time, os, signal
from pathlib import Path
import ray
from ray_jobs import checkpoint, job
from ray_jobs.contract.spec import InputError, Engine, RetryableError
from ray_jobs.engine.client.engines import warm
from ray_jobs.engine.shared.protocol import Served, request

job.connect()
engine = Engine(**json.loads({json.dumps(json.dumps(ENGINE | {"kind": "warm", "keep_seconds": 120}))}))
scenes = json.loads({json.dumps(json.dumps([str(scene) for scene in SCENES]))})
tasks = [{{"part": f"part-{{number}}", "rows": list(range(number, len(scenes), 4))}} for number in range(4)]

def requests(part, rows, maker):
    for row in rows:
        yield request(part, row, open(scenes[row], "rb").read(), "describe the image", maker,
                      {{"max_tokens": 32, "temperature": 0.0, "seed": 1}})

def said(uri, requests=requests, following=None):
    served = Served()
    blocks = warm.ask(checkpoint.resolve(uri), engine, tasks, requests, served, following)
    answers = [answer for block in blocks for answer in block]
    found = {{answer["key"].split("/")[1]: answer["failure"] or answer["text"] for answer in answers}}
    assert len(answers) == len(found) == len(scenes), (len(answers), len(found))
    return {{"said": [found[str(row)] for row in range(len(scenes))], "warm": served.warm, "told": served.told,
            "swapped": served.swapped, "swap": served.swap,
            "details": [answer["detail"] for answer in answers if answer["failure"]]}}
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", DRIVER + script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def driven(script: str, *arguments: str) -> Any:
    """What the driver prints last, read as JSON."""
    done: Ended = ended(start(script, *arguments))
    assert done.code == 0, done.output[-5000:]
    return done.told


def by_transformers(folder: Path) -> list[str]:
    """The captions of a checkpoint as transformers decodes them greedily in float32."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the image"}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    pixels = [[Image.open(scene).convert("RGB")] for scene in SCENES]
    asked = processor(text=[prompt] * len(pixels), images=pixels, return_tensors="pt", padding=True)
    with torch.no_grad():
        made = network.generate(**asked, do_sample=False, max_new_tokens=32)
    texts: list[str] = processor.tokenizer.batch_decode(made[:, asked.input_ids.shape[1] :], skip_special_tokens=True)
    return texts


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    """The captions of every checkpoint by transformers."""
    found = {folder.name: by_transformers(folder) for folder in CHECKPOINTS}
    assert len({tuple(texts) for texts in found.values()}) == len(CHECKPOINTS) == 5
    return found


def tour(nodes: list[Path]) -> list[Path]:
    """Checkpoints in an order that has every ordered pair of them next to each other once (an Eulerian circuit)."""
    return [one for at, first in enumerate(nodes) for second in nodes[at + 1 :] for one in (first, second)] + nodes[:1]


# The engine is started for the second checkpoint by a job that ends before it asks anything.
IN_ORDER = """
from ray_jobs.engine.client.session import PREFIX, held

second = checkpoint.resolve(sys.argv[2])
with held(PREFIX + warm.identity(second, engine), second, engine):
    pass
print(json.dumps([said(uri) for uri in sys.argv[1:]]))
"""


def test_in_every_order_of_swaps_captions_are_those_of_transformers(
    on_cluster: Cluster, expected: dict[str, list[str]]
) -> None:
    order = tour(CHECKPOINTS)
    assert len(order) == 21
    on_cluster.end_engines()
    found = driven(IN_ORDER, *map(str, order))
    for folder, one in zip(order, found, strict=True):
        assert one["said"] == expected[folder.name]
    assert [one["warm"] for one in found] == [True] * 21
    assert {one["told"] for one in found} == {"weights swapped and checked"}


# Planted: an identity by which one engine is asked to serve both.
ALIKE = """
warm.identity = lambda *_: "planted"
print(json.dumps([said(uri) for uri in sys.argv[1:]]))
"""


def test_why_an_engine_could_not_take_a_checkpoint_is_in_the_record(
    on_cluster: Cluster, expected: dict[str, list[str]], tmp_path: Path
) -> None:
    """An engine that ends itself of a doubt is still there for a moment: to meet it once more is not the reason."""
    longer = Path(shutil.copytree(CHECKPOINTS[1], tmp_path / "longer"))
    for shard in longer.glob("*.safetensors"):
        save_file({name: tensor.double() for name, tensor in load_file(shard).items()}, shard, {"format": "pt"})
    found = driven(ALIKE, str(CHECKPOINTS[0]), str(longer))
    assert [one["said"] for one in found] == [expected[CHECKPOINTS[number].name] for number in (0, 1)]
    assert found[1]["told"].startswith("a fresh engine, for tensors differ: "), found[1]["told"]


def told(process: "subprocess.Popen[str]", mark: str, whole: bool = True) -> None:
    """Read what the driver prints until a `whole` line, or one's beginning, is the mark."""
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.strip() == mark or (not whole and line.startswith(mark)):
            return
    raise AssertionError("".join(seen)[-5000:])


def parent(process: psutil.Process) -> psutil.Process:
    found = process.parent()
    assert found
    return found


IN_TURN = """
def slow(part, rows, maker):
    for asked in requests(part, rows, maker):
        time.sleep(0.3)
        yield asked

def telling(part, rows, maker, place=sys.argv[4]):
    for asked in requests(part, rows, maker):
        Path(place, f"{part}-{os.getpid()}").touch()
        yield asked

found = [said(sys.argv[1])]
print("READY", flush=True); sys.stdin.readline()
found.append(said(sys.argv[2], telling))
print("READY", flush=True); sys.stdin.readline()
found.append(said(sys.argv[3], slow))
print(json.dumps(found))
"""


def test_killed_in_the_middle_of_a_swap_and_of_answering(
    on_cluster: Cluster, expected: dict[str, list[str]], tmp_path: Path
) -> None:
    """Whatever dies, what is said after it is said by the right weights, and no engine stays behind."""
    order = [CHECKPOINTS[number] for number in (0, 3, 1)]
    on_cluster.end_engines()
    command = [sys.executable, "-c", DRIVER + IN_TURN, *map(str, order), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdin
    told(process, "READY")
    core = on_cluster.engine()
    assert core
    core.suspend()  # so that the swap is under way, and stays so
    process.stdin.write("\n")
    process.stdin.flush()
    wait_until(lambda: len([*tmp_path.iterdir()]) == 4, 60)  # parts, which are rendered meanwhile
    core.kill()
    told(process, "READY")

    core = on_cluster.engine()
    assert core
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(1.5)  # the first task of five rows takes as long
    parent(core).kill()
    core.wait(10)  # its process ends with the actor's: nothing holds a GPU that nobody knows of

    done = ended(process)
    assert done.code == 0, done.output[-5000:]
    found = done.told
    assert [one["said"] for one in found] == [expected[folder.name] for folder in order]
    assert found[1]["told"].startswith("a fresh engine, for ")
    assert found[2]["told"].startswith("a fresh engine, for the engine's process died")
    assert [one["swapped"] for one in found] == [False, False, True]  # the last by the engine that was killed


BESIDE = """
engine = engine.model_copy(update={"renderers": 2})

def slow(part, rows, maker):
    for asked in requests(part, rows, maker):
        time.sleep(0.3)
        yield asked

def broken(part, rows, maker):
    raise RetryableError(f"{part} is gone")
    yield

found = [said(sys.argv[1]), said(sys.argv[2])]
try:
    said(sys.argv[2], broken)
except RetryableError as error:
    found.append(str(error))
print("READY", flush=True); sys.stdin.readline()
found.append(said(sys.argv[3], slow))
print(json.dumps(found))
"""


def test_images_are_rendered_in_processes_beside_it(on_cluster: Cluster, expected: dict[str, list[str]]) -> None:
    """One that is killed takes the engine with it, and all end with the engine."""

    def beside() -> list[psutil.Process]:
        return on_cluster.processes("RenderingProcess")

    order = [CHECKPOINTS[number] for number in (2, 0, 4)]
    on_cluster.end_engines()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen([sys.executable, "-c", DRIVER + BESIDE, *map(str, order)], text=True, **pipes)
    assert process.stdin
    told(process, "READY")
    first, _ = beside()
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(1.5)
    first.kill()
    done = ended(process)
    assert done.code == 0, done.output[-5000:]
    *found, last = done.told
    assert found.pop().endswith(" is gone")
    assert [one["said"] for one in [*found, last]] == [expected[folder.name] for folder in order]
    assert found[1]["told"] == "weights swapped and checked"
    assert last["told"].startswith("a fresh engine, for ")
    again = driven(BESIDE.splitlines()[1] + "\nprint(json.dumps(said(sys.argv[1])))", str(order[-1]))
    assert (again["said"], again["told"]) == (expected[order[-1].name], "the weights of the job before")
    assert len(beside()) == 2  # they outlive the job that started them, as the engine does
    on_cluster.end_engines()
    wait_until(lambda: not beside(), 30)


POISON = """
def poisoned(part, rows, maker):
    import psutil
    from contextlib import suppress
    for row, asked in zip(rows, requests(part, rows, maker)):
        if row == 1:
            for one in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "EngineCore" in " ".join([one.name(), *one.cmdline()]):
                        one.kill()
            time.sleep(1)
        yield asked

del scenes[2:]
tasks[:] = [{"part": "part-0", "rows": [0, 1]}]
print(json.dumps(said(sys.argv[1], poisoned)))
"""


def test_a_row_of_which_engines_die_is_set_aside_alone(on_cluster: Cluster, expected: dict[str, list[str]]) -> None:
    found = driven(POISON, str(CHECKPOINTS[0]))
    assert found["said"] == [expected[CHECKPOINTS[0].name][0], "engine-died"]
    assert found["details"][0].startswith("an engine died of it when asked alone: ")


HOLDING = """
def slow(part, rows, maker):
    for asked in requests(part, rows, maker):
        time.sleep(60)
        yield asked

said(sys.argv[1])
print("HOLDING", flush=True)
said(sys.argv[1], slow)
"""


def test_a_holder_that_is_killed_loses_the_engine_and_the_next_one_finds_it_warm(
    on_cluster: Cluster, expected: dict[str, list[str]]
) -> None:
    holder = start(HOLDING, str(CHECKPOINTS[2]))
    told(holder, "HOLDING")
    waiting = start("print(json.dumps(said(sys.argv[1])))", str(CHECKPOINTS[2]))
    time.sleep(8)
    assert waiting.poll() is None  # one at a time
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    done = ended(waiting, 90)
    found = done.told
    assert found["said"] == expected[CHECKPOINTS[2].name]
    assert (found["warm"], found["told"]) == (True, "the weights of the job before")


IN_LINE = """
import threading
from ray_jobs.engine.client.session import PREFIX, held

name = PREFIX + warm.identity(checkpoint.resolve(sys.argv[1]), engine)
found, waiting = [], []

def wait(uris):
    for uri in uris:
        waiting.append(threading.Thread(target=lambda uri=uri: found.append((uri, said(uri)["said"]))))
        waiting[-1].start()
        time.sleep(1)

first = checkpoint.resolve(sys.argv[1])
wait(sys.argv[1:4])  # while it starts
while len(found) < 3:
    time.sleep(0.1)
with held(name, first, engine):
    wait(sys.argv[4:])
    assert len(found) == 3
for one in waiting:
    one.join()
print(json.dumps(found))
"""


def test_jobs_that_wait_for_an_engine_have_it_in_turn(on_cluster: Cluster, expected: dict[str, list[str]]) -> None:
    order = [str(CHECKPOINTS[number]) for number in (2, 0, 1, 0, 3, 1, 0, 4)]
    on_cluster.end_engines()
    found = driven(IN_LINE, *order)
    assert found[0] == [order[0], expected[Path(order[0]).name]]  # by whom it was started
    assert sorted(found[:3]) == sorted([uri, expected[Path(uri).name]] for uri in order[:3])
    assert found[3:] == [[uri, expected[Path(uri).name]] for uri in order[3:]]


FOLLOWED = """
from ray_jobs import asking
from ray_jobs.runtime.private_cache import cache

def slow(part, rows, maker):
    end = time.time() + 60
    while not (cache() / second.fingerprint).exists() and time.time() < end:
        time.sleep(0.1)
    yield from requests(part, rows, maker)

first, second = map(checkpoint.resolve, sys.argv[1:])
pending = {task["part"]: task["rows"] for task in tasks}
times = asking.Times(began=time.time())
there = []
for part, answers in asking.ask_parts(first, engine, pending, slow, times, following=second.uri):
    there.append((cache() / second.fingerprint).exists())
print(json.dumps(there))
"""
WAITING = """
import threading
from ray_jobs.engine.client.session import PREFIX, held
from ray_jobs.runtime.private_cache import cache

def copied(uri):
    there, end = cache() / checkpoint.resolve(uri).fingerprint, time.time() + 60
    while not there.exists() and time.time() < end:
        time.sleep(0.1)
    return there.exists()

second, third = sys.argv[1:]
planned, found = checkpoint.resolve(second), []
with held(PREFIX + warm.identity(planned, engine), planned, engine):
    waiting = threading.Thread(target=lambda: found.append(said(third)))
    waiting.start()
    assert copied(third)
    assert not found
waiting.join()
found.append(said(second, following=f"{second}/nothing"))
print(json.dumps(found))
"""


def test_the_next_checkpoint_is_fetched_while_an_engine_answers_for_another(
    on_cluster: Cluster, expected: dict[str, list[str]]
) -> None:
    """Be it the one that follows in a series, or one whose job waits already."""
    objects._s3().create_bucket(Bucket="series")
    order = [CHECKPOINTS[number] for number in (0, 1, 3)]
    files = [{file.name: file.read_bytes() for file in one.iterdir()} for one in order]
    first, *others = [upload(f"s3://series/{one.name}", its) for one, its in zip(order, files, strict=True)]
    assert driven(FOLLOWED, first, others[0])[-1], "it was not there when the last part was answered"
    found = driven(WAITING, *others)
    assert [one["said"] for one in found] == [expected[order[number].name] for number in (2, 1)]
    assert [one["told"] for one in found] == ["weights swapped and checked"] * 2


SEVERAL = """
import logging, urllib.request
from ray_jobs.engine.client.session import NAMESPACE
logging.getLogger("assay").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("assay").setLevel(logging.INFO)
engine = engine.model_copy(update={"replicas": 2})

folder = Path(sys.argv[3])

def blocked(part, rows, maker):
    (folder / f"asked-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.1)
    yield from requests(part, rows, maker)

def further():
    names = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if one["namespace"] == NAMESPACE]
    return [ray.get_actor(name, NAMESPACE) for name in names if name.endswith("-2")]

found = [said(sys.argv[1])]
while not further():
    time.sleep(0.2)
ray.get(further()[0].release.remote("nobody"))  # answered once it has started
print("READY", flush=True); sys.stdin.readline()
found.append(said(sys.argv[2], blocked))
port, end = ray.nodes()[0]["MetricsExportPort"], time.time() + 30
while time.time() < end:
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    if all(name in told for name in ("ray_assay_answers", "ray_assay_swap_seconds", "ray_vllm")):
        break
    time.sleep(1)
else:
    raise AssertionError(told[-3000:])
print(json.dumps(found))
"""


def test_two_engines_share_a_job_and_one_of_them_is_killed(
    on_cluster: Cluster, expected: dict[str, list[str]], tmp_path: Path
) -> None:
    on_cluster.end_engines()
    order = [CHECKPOINTS[number] for number in (0, 3)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-c", DRIVER + SEVERAL, *map(str, order), str(tmp_path)]
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdin
    told(process, "READY")
    first, second = sorted(on_cluster.engines(), key=lambda engine: engine.create_time())
    process.stdin.write("\n")
    process.stdin.flush()
    told(process, "engine: one more, weights swapped and checked", whole=False)
    wait_until(lambda: len(list(tmp_path.glob("asked-*"))) == 2, 60)
    second.kill()
    (tmp_path / "go").touch()
    done = ended(process)
    assert done.code == 0, done.output[-5000:]
    found = done.told
    assert [one["said"] for one in found] == [expected[folder.name] for folder in order]
    assert found[1]["told"].startswith("a fresh engine, for ")
    assert first.is_running()
    on_cluster.end_engines()


def test_a_checkpoint_with_a_tensor_less_is_refused_by_name(on_cluster: Cluster, tmp_path: Path) -> None:
    model = Path(shutil.copytree(CHECKPOINTS[0], tmp_path / "model"))
    shard = sorted(model.glob("*.safetensors"))[0]
    weights = load_file(shard)
    lost = next(name for name in sorted(weights) if "layernorm" in name or "norm" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, shard)
    index = model / "model.safetensors.index.json"
    named = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {name: file for name, file in named.items() if name != lost}}))
    done = ended(start("said(sys.argv[1])", str(model)))
    assert done.code
    last = done.output.strip().splitlines()[-1]
    assert f"checkpoint {model}: weights are missing: " in last, done.output[-3000:]


PLANTED = """
import json, os, sys
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
import torch
from vllm import LLM
from vllm.v1.worker.gpu_model_runner import GPUModelRunner
from ray_jobs.engine.vllm_plugin.tensor_parallel import together

first, second = sys.argv[1:]
extension = "ray_jobs.engine.vllm_plugin.worker.Weights"
llm = LLM(first, worker_extension_cls=extension, dtype="float32", max_model_len=512, max_num_seqs=4,
          enforce_eager=True, distributed_executor_backend="uni", limit_mm_per_prompt={"image": 1})
reload = GPUModelRunner.reload_weights

def dropped(weights):
    for name, tensor in weights:
        if "layers.1.mlp.down_proj" not in name:
            yield name, tensor

def stale(weights):
    for name, tensor in weights:
        yield name, tensor * 1.01 if "layers.2.self_attn.k_proj.weight" in name else tensor

def empty(weights):
    for name, tensor in weights:
        yield name, torch.zeros_like(tensor) if "merger" in name else tensor

found = {}
for fault in (None, dropped, stale, empty, None):
    def planted(self, weights_iterator, fault=fault):
        return reload(self, weights_iterator=fault(weights_iterator) if fault else weights_iterator)
    GPUModelRunner.reload_weights = planted
    said = together(llm.collective_rpc("assay_load", args=(second,)))
    name = fault.__name__ if fault else "good"
    found[name] = found.get(name, True) and (said["read"], said["values_read"]) == (said["held"], said["values_held"])
    assert said["values_read"] > 700_000
print(json.dumps(found))
"""


def test_a_swap_that_leaves_one_layer_as_it_was_is_noticed() -> None:
    """Faults planted between the file and vLLM's own loader: a layer not loaded, one of other values, one of zeros."""
    done = ended(
        subprocess.Popen(
            [sys.executable, "-c", PLANTED, str(CHECKPOINTS[0]), str(CHECKPOINTS[1])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    assert done.code == 0, done.output[-5000:]
    (line,) = [line for line in done.output.splitlines() if line.startswith('{"good"')]
    found = json.loads(line)
    assert found == {"good": True, "dropped": False, "stale": False, "empty": False}

"""A suite's YAML text: a Suite that stays the same as JSON, or one line of InputError."""

from pathlib import Path

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.errors import InputError

SUITES = Path(__file__).parents[3] / "dags" / "suites"
ODD = (
    b"a: &a [x, x]\nb: &b [*a, *a]\nname: [*b, *b]\n",
    b"name: x\nname: y\ndataset: {source: z}\n",
    b"name: 2026-11-30\ndataset: {source: 1e3, limit: .inf}\n",
    b"name: x\ndataset: {source: d}\ngate: {metrics: {words: {margin: 1}}, limits: {empty: {max: 0.1}}}\n",
    b"name: x\ndataset: {source: d}\nmetrics: {own: [a/b.py], synonyms: s.json}\n",
    b"name: x\ndataset: {source: d}\njudge: {kind: openai, model: m, base_url: 'https://h:8/v1', criteria: [a, b]}\n",
    b"name: x\ndataset: {source: d}\nengine: {kind: warm, tensor_parallel_size: 2}\n",
    b"? [a, b]\n: !!python/object/apply:os.system [id]\n",
    b"name: !!binary aGk=\ndataset: !!set {source}\n",
    b"[" * 200 + b"]" * 200,
)


def SEEDS() -> list[bytes]:
    return [*(file.read_bytes() for file in sorted(SUITES.glob("*.yaml"))), *ODD]


def try_input(data: bytes) -> None:
    try:
        suite = parse_suite(data, "fuzzed")
    except InputError as error:
        line = str(error)
        assert "\n" not in line, line
        assert line.isprintable(), line
        assert len(line) < 1000, line
        return
    assert Suite.model_validate_json(suite.model_dump_json()) == suite

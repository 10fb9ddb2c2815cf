"""Every call of ours that loads a model refuses the checkpoint's own code, without a question at a terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
CHECK = REPO / "dev" / "check_remote_code.py"
SOURCES = ["ray_jobs", "plugins", "dags", "demo", "benchmarks", "dev"]
OPEN = {
    "left out": "AutoProcessor.from_pretrained(path)",
    "true": "AutoProcessor.from_pretrained(path, trust_remote_code=True)",
    "a variable": "AutoProcessor.from_pretrained(path, trust_remote_code=engine.trusts)",
    "among other arguments": "AutoTokenizer.from_pretrained(path, **arguments)",
    "a config": "AutoModel.from_config(config)",
    "an engine": "LLM(model=path, **arguments)",
    "an engine's arguments": "vllm.AsyncEngineArgs(model=path)",
    "vLLM's config": "get_config(path)",
    "vLLM's tokenizer": "get_tokenizer(path)",
    "Ray Data LLM": "vLLMEngineProcessorConfig(model_source=path, engine_kwargs=arguments(engine))",
    "Ray Data LLM, true": "vLLMEngineProcessorConfig(engine_kwargs=a() | {'trust_remote_code': True})",
    "a pipeline": "pipeline('image-to-text', path)",
    "a dictionary": "settings = {'trust_remote_code': 1}",
    "an item": "settings['trust_remote_code'] = True",
    "an attribute": "config.trust_remote_code = True",
    "another call": "load(path, trust_remote_code=None)",
}


def check(*paths: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(CHECK), *map(str, paths)], capture_output=True, text=True, cwd=REPO)


def test_every_source_refuses_remote_code() -> None:
    process = check(*SOURCES)
    assert (process.returncode, process.stdout) == (0, "")


@pytest.mark.parametrize("call", OPEN.values(), ids=OPEN.keys())
def test_a_call_that_allows_remote_code_is_named(tmp_path: Path, call: str) -> None:
    file = tmp_path / "planted.py"
    file.write_text(f"def load(path):\n    return 1\n\n\n{call}\n")
    process = check(tmp_path)
    assert process.returncode == 1
    assert f"{file}:5: " in process.stdout


@pytest.mark.parametrize(
    "call",
    [
        "AutoProcessor.from_pretrained(path, trust_remote_code=False)",
        "LLM(path, trust_remote_code=False, **own)",
        "vLLMEngineProcessorConfig(engine_kwargs=arguments() | {'trust_remote_code': False})",
    ],
)
def test_a_call_that_refuses_remote_code_passes(tmp_path: Path, call: str) -> None:
    (tmp_path / "planted.py").write_text(call)
    assert check(tmp_path).returncode == 0


def test_the_lint_runs_the_check() -> None:
    assert f"dev/check_remote_code.py {' '.join(SOURCES)}" in (REPO / "dev" / "test.sh").read_text()

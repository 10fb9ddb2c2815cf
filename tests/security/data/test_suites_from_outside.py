"""The text of a suite: bounded, with one meaning, and every fault in one line with its remedy."""

import time
from pathlib import Path

import pytest

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.inputs.errors import InputError
from ray_jobs.planning.suites import load_suite

HEAD = "name: small\ndataset: {source: s3://b/images}\n"
LEVELS = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12))
MERGES = "\n".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 12))
TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "only a comment": "# nothing",
    "a list": "- name: x",
    "a text": "x",
    "a number": "1",
    "null": "~",
    "two documents": HEAD + "---\n" + HEAD,
    "not UTF-8": b"name: \xff\xfe",
    "UTF-16": HEAD.encode("utf-16"),
    "UTF-32": HEAD.encode("utf-32"),
    "null bytes": b"\0" * 100,
    "large": HEAD + "#" * 300_000,
    "large text": HEAD + "caption: {prompt: '" + "x" * 300_000 + "'}",
    "lists 30 deep": HEAD + "x: " + "[" * 30 + "]" * 30,
    "lists 5,000 deep": HEAD + "x: " + "[" * 5000 + "]" * 5000,
    "lists 100,000 deep and open": "[" * 100_000,
    "mappings 5,000 deep": HEAD + "x: " + "{a: " * 5000 + "}" * 5000,
    "keys 5,000 deep": "? " * 5000,
    "dashes 5,000 deep": "- " * 5000,
    "20,000 values": HEAD + "x: [" + "1, " * 20_000 + "]",
    "bomb of aliases": f"l0: &l0 [x]\n{LEVELS}\n{HEAD}",
    "bomb of merges": f"l0: &l0 {{a: b}}\n{MERGES}\n{HEAD}",
    "alias of itself": HEAD + "metrics: &m {own: [*m]}",
    "list in itself": "&a [*a]",
    "merge with itself": "&a {<<: *a}",
    "unknown alias": HEAD + "engine: *nowhere",
    "key twice": HEAD + "name: other",
    "key twice, one in quotes": HEAD + "'name': other",
    "section twice": HEAD + "gate: {alpha: 0.1}\ngate: {alpha: 0.4}",
    "inner key twice": "name: x\ndataset: {source: a, source: b}",
    "merge twice": HEAD + "engine: {<<: {dtype: auto}, <<: {dtype: float32}}",
    "number as key": HEAD + "1: x",
    "boolean as key": HEAD + "yes: x",
    "null as key": HEAD + "~: x",
    "date as key": HEAD + "2026-11-30: x",
    "list as key": HEAD + "? [a, b]\n: x",
    "mapping as key": HEAD + "? {a: b}\n: x",
    "python object": "!!python/object/apply:os.system ['id']",
    "python name": HEAD + "x: !!python/name:os.system",
    "python tuple": HEAD + "metrics: {own: !!python/tuple [a.py]}",
    "binary": "name: !!binary aGVsbG8=\ndataset: {source: x}",
    "set": HEAD + "metrics: {own: !!set {a.py}}",
    "ordered mapping": HEAD + "engine: !!omap [dtype: auto]",
    "own tag": HEAD + "engine: !secret {dtype: auto}",
    "tag of another kind": HEAD + "engine: !!str {dtype: auto}",
    "tag of a list on a mapping": HEAD + "engine: !!seq {dtype: auto}",
    "directive": "%YAML 9.9\n---\n" + HEAD,
    "date as name": "name: 2026-11-30\ndataset: {source: x}",
    "date that is none": "name: 2026-13-45\ndataset: {source: x}",
    "time as text": HEAD + "caption: {prompt: 2026-11-30 10:00:00}",
    "number as name": "name: 1\ndataset: {source: x}",
    "number as source": "name: x\ndataset: {source: 1.5}",
    "boolean as name": "name: yes\ndataset: {source: x}",
    "boolean as number": "name: x\ndataset: {source: x, limit: yes}",
    "boolean as fraction": HEAD + "gate: {coverage: true}",
    "boolean as margin": HEAD + "gate: {metrics: {chrf: {margin: true}}}",
    "octal": "name: x\ndataset: {source: x, limit: 010}",
    "hexadecimal": "name: x\ndataset: {source: x, limit: 0x10}",
    "binary number": "name: x\ndataset: {source: x, limit: 0b10}",
    "sixties": "name: x\ndataset: {source: x, limit: 1:30}",
    "sixties with a fraction": HEAD + "judge: {timeout_seconds: 1:30.5}",
    "number of 5,000 digits": "name: x\ndataset: {source: x, limit: " + "9" * 5000 + "}",
    "infinite": HEAD + "gate: {alpha: .inf}",
    "no number": HEAD + "gate: {alpha: .nan}",
    "null byte in a text": HEAD + 'caption: {prompt: "a\\0b"}',
    "bell in a text": HEAD + 'caption: {prompt: "a\\x07b"}',
    "escape in a text": HEAD + 'caption: {prompt: "a\\e[31mb"}',
    "half a surrogate": HEAD + 'caption: {prompt: "a\\ud800b"}',
    "raw null byte": HEAD + "caption: {prompt: 'a\0b'}",
    "raw escape": HEAD + "caption: {prompt: 'a\x1b[31mb'}",
    "bidi in a key": HEAD + "'\u202eetag': {}",
    "newline in a key": HEAD + '"gate\\nx": {}',
    "long key": HEAD + "x" * 1000 + ": 1",
    "long key of 10,000": HEAD + "? " + "x" * 10_000 + "\n: 1",
    "name with a slash": "name: a/b\ndataset: {source: x}",
    "name with dots": "name: ../x\ndataset: {source: x}",
    "name with a newline": 'name: "a\\n"\ndataset: {source: x}',
    "name with bidi": 'name: "a\\u202e"\ndataset: {source: x}',
    "long name": "name: " + "a" * 300 + "\ndataset: {source: x}",
    "template in a name": "name: '{{ 7*7 }}'\ndataset: {source: x}",
    "a list for a section": HEAD + "gate: []",
    "a text for a section": HEAD + "gate: x",
    "a list for the metrics": HEAD + "gate: {metrics: [chrf]}",
    "a text for a margin": HEAD + "gate: {metrics: {chrf: 0.1}}",
    "a typo below a metric": HEAD + "gate: {metrics: {chrf: {marginn: 0.1}}}",
    "a typo below a list": HEAD + "metrics: {own: [{x: 1}]}",
    "a key below a scalar": "name: {x: 1}\ndataset: {source: x}",
    "tabs": "name:\tx\n\tdataset: y",
    "unclosed": HEAD + "gate: {metrics: {chrf",
    "unclosed quote": HEAD + "caption: {prompt: 'x",
    "block of 100,000 lines": HEAD + "caption:\n  prompt: |\n" + "    x\n" * 100_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_is_no_suite_ends_in_one_line(text: str | bytes) -> None:
    began = time.process_time()
    with pytest.raises(InputError) as error:
        parse_suite(text, "small")
    message = str(error.value)
    assert message.startswith("suite small: ")
    assert message.isprintable()
    assert len(message) < 700
    assert time.process_time() - began < 5  # of this process alone, whatever else the machine does


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "engine: &e {dtype: float32}\njudge: {kind: vllm, model: m, engine: *e}",
        HEAD + "engine: &e {dtype: float32}\njudge: {kind: vllm, model: m, engine: {<<: *e, replicas: 2}}",
        HEAD + "gate: {alpha: 1e-3, coverage: 0.5, metrics: {chrf: {margin: 1}}}",
        HEAD + "caption: {prompt: \"صف الصورة\\nin one line\\t.\", seed: -1}",
        b"\xef\xbb\xbf" + HEAD.encode(),
    ],
    ids=["alias", "merge", "numbers", "languages", "byte order mark"],
)  # fmt: skip
def test_what_people_write_is_taken(text: str | bytes) -> None:
    assert parse_suite(text, "small").name == "small"


PLACES = {
    "dataset": "name: s\ndataset: {{source: '{}'}}",
    "clip": "name: s\ndataset: {{source: s3://b/i}}\nmetrics: {{clip: '{}'}}",
    "judge": "name: s\ndataset: {{source: s3://b/i}}\njudge: {{kind: vllm, model: '{}'}}",
    "base model": "name: s\ndataset: {{source: s3://b/i}}\nengine: {{base_model: '{}'}}",
    "names of labels": "name: s\ndataset: {{source: s3://b/i, label: l, label_names: '{}'}}",
    "synonyms": "name: s\ndataset: {{source: s3://b/i}}\nmetrics: {{synonyms: '{}'}}",
}
PATHS = ["/proc/self/environ", "/proc/self/root/proc/1/environ", "/dev/zero", "/sys/kernel", "file:///proc/self/environ",
         "linked", "/tmp/../proc/self/environ", "/", "/tmp/.."]  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_a_suite_leads_into_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, path: str
) -> None:
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path))
    (tmp_path / "linked").symlink_to("/proc/self/environ")
    (tmp_path / "s.yaml").write_text(place.format(path))
    with pytest.raises(InputError, match=r"the system|below the folder"):
        load_suite("s")


@pytest.mark.parametrize("path", ["/dev/shm/set", "/run/media/me/disk/set"])
def test_a_data_set_may_lie_where_people_keep_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path))
    (tmp_path / "s.yaml").write_text(PLACES["dataset"].format(path))
    assert load_suite("s").dataset.source == path


@pytest.mark.parametrize("place", ["names of labels", "synonyms"])
@pytest.mark.parametrize("path", ["../secrets.json", "/etc/passwd", "x/../../secrets.json", "leading"])
def test_tables_lie_beside_their_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, path: str) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    (tmp_path / "secrets.json").write_text("{}")
    (suites / "leading").symlink_to(tmp_path / "secrets.json")
    (suites / "s.yaml").write_text(PLACES[place].format(path))
    monkeypatch.setenv("ASSAY_SUITES", str(suites))
    with pytest.raises(InputError, match="is not below the folder of the suite; put the file there"):
        load_suite("s")

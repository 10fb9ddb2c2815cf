"""URLs that carry a secret: it is neither stored nor shown anywhere."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reply_server import Reply, serve_replies
from samples import draw_picture, encode_image, make_spec

from ray_jobs.contract.artifacts import Part
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.golden import build_part, part_plan, previews, set_checks
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.reading import web
from ray_jobs.storage import manifests

NAMES = (
    "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "sig", "Signature", "token",
    "access_token", "api_key", "apikey", "key", "password", "passwd", "pwd", "jwt", "auth", "Authorization", "secret",
    "client_secret", "code", "session", "sid", "st", "se", "hash", "hmac", "credential", "id_token", "refresh_token",
)  # fmt: skip
HIDDEN = "tOpSeCrEt0123"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = web.Limits(connect=0.3, read=0.3, total=1.2, size=10_000, retries=0, backoff=0.01, retry_after=0.1)
    monkeypatch.setattr(web, "LIMITS", limits)
    monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_stored(name: str) -> None:
    for url in (f"https://h/x.png?{name}={HIDDEN}", f"https://h/x.png?a=1&{name}={HIDDEN}#{HIDDEN}",
                f"https://h/x.png?{name.upper()}={HIDDEN}"):  # fmt: skip
        redacted = web.redact_url(url)
        assert HIDDEN.lower() not in redacted.lower()
        assert redacted.startswith("https://h/x.png")


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{HIDDEN}@h/x.png", f"https://{HIDDEN}@h/x.png", f"https://h/x.png#{HIDDEN}",
        f"https://h/x.png?{HIDDEN}", f"http://[::1/x?token={HIDDEN}", f"http://[{HIDDEN}", f"https://a@b:{HIDDEN}@h/x",
        f"HTTPS://me:{HIDDEN}@h/x.png",
    ],
)  # fmt: skip
def test_no_other_piece_is_stored(url: str) -> None:
    assert HIDDEN not in web.redact_url(url)


def test_two_images_of_one_path_stay_two_and_a_new_signature_is_the_same_image() -> None:
    assert web.redact_url("https://h/x?id=1") != web.redact_url("https://h/x?id=2")
    old, new = (web.redact_url(f"https://h/x?id=1&X-Amz-Signature={sign}") for sign in ("a", "b"))
    assert old == new
    assert web.redact_url("https://h/x?X-Amz-Signature=a") == "https://h/x"


@pytest.mark.parametrize("port", [1, 99999])
@pytest.mark.parametrize("name", ["X-Amz-Signature", "api_key", "jwt"])
def test_a_failed_connection_does_not_show_secrets(name: str, port: int) -> None:
    for url in (f"http://127.0.0.1:{port}/x?{name}={HIDDEN}", f"https://me:{HIDDEN}@127.0.0.1:{port}/x"):
        data, detail = web.fetch(url)
        assert data is None
        assert HIDDEN not in detail


@pytest.mark.parametrize("url", [f"http://[::1/x?key={HIDDEN}", f"http://a b/x?key={HIDDEN}", f"http://?key={HIDDEN}",
                                 f"http://h:x/?key={HIDDEN}", f"http://me:{HIDDEN}@", f"http://.h/?key={HIDDEN}",
                                 f"http://{'a' * 70}.invalid/x?key={HIDDEN}"])  # fmt: skip
def test_a_malformed_address_does_not_show_secrets(url: str) -> None:
    data, detail = web.fetch(url)
    assert data is None
    assert HIDDEN not in detail


@pytest.mark.parametrize(
    "location",
    [f"http://127.0.0.1:1/y?key={HIDDEN}", f"ftp://me:{HIDDEN}@h/y", f"http://[::1/{HIDDEN}?key={HIDDEN}",
     f"file:///x?{HIDDEN}", f"http://10.0.0.1/?key={HIDDEN}", f"http://127.0.0.1:99999/?key={HIDDEN}"],
)  # fmt: skip
def test_a_redirect_does_not_show_secrets(location: str) -> None:
    with serve_replies(lambda *_: Reply(302, headers={"Location": location})) as address:
        data, detail = web.fetch(f"{address}/x?token={HIDDEN}")
    assert data is None
    assert HIDDEN not in detail


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 503])
def test_an_answer_does_not_show_secrets(status: int) -> None:
    def then(handler: object) -> None:
        pass

    with serve_replies(lambda *_: Reply(status, body=HIDDEN.encode(), headers={"X": HIDDEN}, then=then)) as address:
        data, detail = web.fetch(f"{address}/x?token={HIDDEN}")
    assert data is None
    assert HIDDEN not in detail


@pytest.mark.parametrize("name", ["X-Amz-Signature", "api_key", "password"])
def test_an_image_of_a_manifest_is_called_without_it(name: str, tmp_path: Path) -> None:
    url = f"http://me:{HIDDEN}@127.0.0.1:1/x.png?{name}={HIDDEN}#{HIDDEN}"
    (tmp_path / "m.jsonl").write_text(json.dumps({"url": url}) + "\n")
    source = open_source(Dataset(source=str(tmp_path / "m.jsonl")))
    (ref,) = source.list_images()
    (row,) = source.read([ref])
    assert HIDDEN not in ref.image_id + row.image_id + row.detail


def read_all_text(file: Path) -> str:
    """The whole text of a file, including a table's compressed columns and its footer."""
    if file.suffix != ".parquet":
        return file.read_bytes().decode("latin-1")
    table = pq.read_table(file)
    return f"{table.to_pylist()} {table.schema.metadata}"


@pytest.mark.parametrize("name", ["X-Amz-Signature", "api_key"])
def test_a_golden_set_holds_it_in_its_plan_only(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers need the whole URL. It is stored only in the plan, which they read (SECURITY.md)."""

    with serve_replies(
        lambda path, _: Reply(body=encode_image(draw_picture(1))) if "good" in path else Reply(403)
    ) as address:
        host = address.removeprefix("http://")
        urls = [f"http://me:{HIDDEN}@{host}/{path}.png?{name}={HIDDEN}" for path in ("good", "refused")]
        urls += [f"http://127.0.0.1:1/away.png?{name}={HIDDEN}", f"http://[::1/broken?{name}={HIDDEN}"]
        (tmp_path / "m.jsonl").write_text("".join(json.dumps({"url": url}) + "\n" for url in urls))
        spec = make_spec(root=str(tmp_path / "root"), dataset__source=str(tmp_path / "m.jsonl"))
        spec = spec.model_copy(update={"source_revision": source_revision(spec.suite.dataset)})
        source = open_source(spec.suite.dataset)
        plan = part_plan.load_or_create_plan(spec, source)
        prepare = partial(prepare_row, settings=spec.suite.preprocess)
        rows = [build_part.decode_part(part.model_dump(), source, spec.golden_uri, prepare) for part in plan.parts]
    parts_written = [Part.model_validate_json(row["part"]) for row in rows]
    lost_counts = manifests.count_lost(parts_written)
    assert lost_counts == {"unreadable-source": 3}
    previews.write_rejects(spec.golden_uri, spec.suite.dataset.source, parts_written, lost_counts)
    with pytest.raises(InputError) as error:
        set_checks.check_rejects(spec, lost_counts, plan.rows)
    golden = Path(spec.golden_uri)
    files = [file for file in golden.rglob("*") if file.is_file()]
    holding = {str(file.relative_to(golden)) for file in files if HIDDEN in read_all_text(file)}
    assert holding == {f"plan/{part.file}" for part in plan.parts}
    assert (golden / "rejects.html").exists()
    assert HIDDEN not in str(error.value) + "".join(capfd.readouterr())

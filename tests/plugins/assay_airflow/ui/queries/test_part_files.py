"""The pages over a root on S3: parts are copied once, and only those that a manifest names."""

import os
import uuid
from pathlib import Path

import pytest
from assay_airflow.ui.queries import part_files
from assay_airflow.ui.queries.cache_folder import find_pages_cache
from corpus_runs import find_run
from page_users import Login

from ray_jobs.storage import objects, s3_client

pytestmark = pytest.mark.integration


@pytest.fixture
def bucket(swift: dict[str, str], pages_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a root on S3 with the same runs as the corpus."""
    for name, value in swift.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client._cache, "client", None)
    monkeypatch.setattr(s3_client._cache, "owner", None)
    bucket = f"pages-{uuid.uuid4().hex[:12]}"
    s3_client.get_client().create_bucket(Bucket=bucket)
    for file in pages_root.rglob("*"):
        if file.is_file() and "judge/" not in str(file):
            objects.write(f"s3://{bucket}/root/{file.relative_to(pages_root)}", file.read_bytes())
    return f"s3://{bucket}/root"


def test_pages_read_a_root_on_s3(login: Login, bucket: str, pages_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = login("VIEWER")
    pair = {"left": find_run(pages_root, "step-0800"), "right": find_run(pages_root, "step-0809"), "limit": 200}
    local = viewer.get("/api/pairs", params=pair).json()
    monkeypatch.setenv("ASSAY_ROOT", bucket)
    assert viewer.get("/api/suites").json()["suites"][0]["runs"] == 6
    answer = viewer.get("/api/pairs", params=pair).json()
    assert answer == local
    image = viewer.get(f"/{answer['rows'][0]['image']}")
    assert image.content.startswith(b"\x89PNG")
    copies = sorted((find_pages_cache() / "parts").iterdir())
    assert len(copies) == 5 * 5  # scores and captions of two runs, and the golden set, in five parts each
    assert all(copy.suffix == ".parquet" for copy in copies)

    def refuse_download(*_: object) -> None:
        raise AssertionError("a part was copied again")

    monkeypatch.setattr(part_files, "_download", refuse_download)
    assert viewer.get("/api/pairs", params=pair).json() == answer
    assert viewer.get("/api/pairs", params=pair | {"sort": "chrf"}).status_code == 200


def test_an_object_that_is_missing_is_one_line(
    login: Login, bucket: str, pages_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = login("VIEWER")
    monkeypatch.setenv("ASSAY_ROOT", bucket)
    pair = {"right": find_run(pages_root, "step-0300")}
    (part,) = {file.relative_to(pages_root).as_posix() for file in pages_root.glob("golden/*/parts/part-00001.parquet")}
    objects.delete(f"{bucket}/{part}")
    answer = viewer.get("/api/pairs", params={**pair, "limit": 200}).json()
    assert answer["problems"] == ["part-00001: the object is missing though a manifest names it; restore it"]
    assert any(row["image"] is None for row in answer["rows"])
    assert not [name for name in os.listdir(find_pages_cache() / "parts") if name.startswith(".part-")]

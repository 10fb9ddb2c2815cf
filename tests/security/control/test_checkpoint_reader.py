"""For any content of a checkpoint's folder, every reader answers or raises an error of one short line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from odd_folders import FIRST, NEVER, ODD, UNDER_WAY, good_files, write

from ray_jobs.checkpoints import adapter_base, fingerprints, inspect, quantization, safetensors_header, verification
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError

Make = Callable[[Path], None]


def _checkpoint(uri: str) -> Checkpoint:
    return Checkpoint(uri=uri, name="step-1", fingerprint="f" * 16)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 1000


READERS: dict[str, Callable[[str], object]] = {
    "check_whole": inspect.require_complete,
    "resolve": inspect.resolve,
    "fingerprint": fingerprints.compute_fingerprint,
    "base_of": adapter_base.find_base,
    "is_adapter": adapter_base.is_adapter,
    "quantisation": quantization.quantization_method,
    "companions": lambda uri: inspect.sidecar_files(_checkpoint(uri)),
    "verify": lambda uri: verification.verify(_checkpoint(uri)),
    "read_header": lambda uri: safetensors_header.read_header(f"{uri}/{FIRST}", _size_of(Path(uri, FIRST))),
}


def refusal_of(read: Callable[[str], object], uri: str) -> str | None:
    """The line of the reader's error, which must be fit for a log; None if the reader answers."""
    try:
        read(uri)
    except (InputError, Incomplete) as reason:
        line = str(reason)
    else:
        return None
    assert line.isprintable()
    assert len(line) < 1200
    assert "cannot be judged" not in line  # the message for faults of the reader itself
    return line


@pytest.fixture(params=list(ODD.values()), ids=list(ODD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make: Make = request.param
    make(tmp_path / "below" / "step-1")
    return str(tmp_path / "below" / "step-1")


@pytest.mark.timeout(20)
def test_every_reader_answers_or_raises_one_line(odd: str) -> None:
    for name, read in READERS.items():
        line = refusal_of(read, odd)
        assert line is None or odd in line, name


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", NEVER.values(), ids=NEVER.keys())
def test_a_folder_that_can_never_be_whole_is_an_input_error(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "below" / "step-1")
    with pytest.raises(InputError):
        inspect.resolve(str(tmp_path / "below" / "step-1"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", UNDER_WAY.values(), ids=UNDER_WAY.keys())
def test_a_folder_that_may_still_be_uploading_is_incomplete(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "below" / "step-1")
    with pytest.raises((Incomplete, InputError)) as reason:
        inspect.resolve(str(tmp_path / "below" / "step-1"))
    assert isinstance(reason.value, Incomplete)


def test_the_good_folder_that_the_odd_ones_are_made_from_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "step-1", {})
    assert set(inspect.require_complete(str(tmp_path / "step-1"))) == set(good_files())


def test_a_snapshot_of_the_hugging_face_cache_is_whole(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, (name, data) in enumerate(good_files().items()):
        (blobs / str(number)).write_bytes(data)
        (snapshot / name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert inspect.resolve(str(snapshot)).name == "0123abc"


@pytest.mark.parametrize(
    "uri",
    ["", "/", "//", ".", "..", "s3://", "s3:///", "s3://bucket/..", "ftp://host/step-1", "file://", "file:///",
     "/tmp/\0/step-1", "/tmp/\n/step-1", "/tmp/\udc80/step-1", "/" + "a/" * 3000 + "step-1", "/proc/self/fd/0",
     "/" + "b" * 300 + "/step-1", "~nobody/step-1"],
)  # fmt: skip
def test_an_odd_uri_is_one_line(uri: str) -> None:
    for read in (inspect.require_complete, inspect.resolve, fingerprints.compute_fingerprint, adapter_base.is_adapter):
        refusal_of(read, uri)
    with pytest.raises((InputError, Incomplete)):
        inspect.resolve(uri)

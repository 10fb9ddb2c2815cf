import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import webdataset
from image_formats import (
    CAPTIONS,
    LABELS,
    NAMES,
    PICTURES,
    list_refs,
    make_settings,
    read_refs,
    webdataset_folder,
    write_shards,
)

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import objects


def tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def write_sample(path: Path, members: list[tuple[str, bytes]], **settings: Any) -> Any:
    return read_refs(Dataset(source=str(tar(path / "a.tar", members)), **settings))


def test_on_s3_as_a_folder_a_shard_and_a_pattern(s3: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        objects.upload(path, f"{s3}/data/{path.name}")
    for source in (f"{s3}/data", f"{s3}/data/train-{{000..001}}.tar"):
        rows = read_refs(Dataset(source=source, label="kind", references="caption"))
        assert [row.data for row in rows] == PICTURES
        assert ([row.label for row in rows], [row.references for row in rows]) == (LABELS, CAPTIONS)
        assert [row.image_id for row in rows][3:5] == ["train-000.tar/003", "train-001.tar/004"]
    rows = read_refs(Dataset(source=f"{s3}/data/train-001.tar"))
    assert [row.image_id for row in rows] == [f"train-001.tar/00{n}" for n in (4, 5, 6)]
    with pytest.raises(InputError, match=r"train-002\.tar is not there; correct the pattern"):
        list_refs(Dataset(source=f"{s3}/data/train-{{000..002}}.tar"))


@pytest.mark.slow
def test_many_shards_are_listed_in_order_while_others_are_read_ahead(s3: str, tmp_path: Path) -> None:
    count = 3000  # more than are kept of a shard that has to wait
    path = tar(tmp_path / "x.tar", [(f"{number:05d}.png", b"x") for number in range(count)])
    for number in range(5):
        objects.upload(path, f"{s3}/{number}.tar")
    source = open_source(Dataset(source=s3, reads=3))
    expected = [f"{shard}.tar/{number:05d}" for shard in range(5) for number in range(count)]
    assert [ref.image_id for ref in source.list_images()] == expected
    listing = source.list_images()
    next(listing)
    listing.close()  # type: ignore[attr-defined] # and nothing waits for who does not listen


def test_the_grouping_is_that_of_webdataset(tmp_path: Path) -> None:
    members = [
        ("__meta__.json", b"{}"), ("dir/a.b/c.seg.png", b"seg"), ("dir/a.b/c.PNG", b"image"), ("dir/a.b/c.cls", b"3"),
        ("noextension", b"x"), ("d.JPG", b"image 2"), ("__x__/e.png", b"skipped"),
    ]  # fmt: skip
    path = tar(tmp_path / "a.tar", members)
    theirs = list(webdataset.WebDataset(str(path), shardshuffle=False))
    ours = read_refs(Dataset(source=str(path)))
    assert [row.image_id for row in ours] == [f"a.tar/{sample['__key__']}" for sample in theirs]
    assert [row.data for row in ours] == [sample.get("png") or sample.get("jpg") for sample in theirs]
    assert [row.data for row in read_refs(Dataset(source=str(path), image="seg.png"))] == [None, b"seg", None]


def test_skipped_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "assay")
    path = tar(tmp_path / "a.tar", [("a.png", b"1"), ("README", b"x")])
    list_refs(Dataset(source=str(path)))
    assert caplog.messages == [f"dataset {path}: passed over 1 not named {{key}}.{{extension}}: README"]


def test_labels_and_references_by_extension_or_by_key(tmp_path: Path) -> None:
    both = [
        ("a.jpg", b"1"), ("a.cls", b"7\n"), ("a.txt", " a dög \n".encode()), ("a.json", b'{"cls": 1}'),
        ("b.jpg", b"2"), ("b.json", b'{"cls": 8, "txt": ["x", "y"]}'),
        ("c.jpg", b"3"),
    ]  # fmt: skip
    rows = write_sample(tmp_path, both, label="cls", references="txt")
    assert [(row.label, row.references) for row in rows] == [("7", ["a dög"]), ("8", ["x", "y"]), (None, [])]
    strata = Dataset(source=str(tmp_path / "a.tar"), label="cls", stratify=True, limit=1)
    assert [ref.label for ref in list_refs(strata)] == ["7", "8", None]


def test_labels_for_strata_are_read_from_every_shard(tmp_path: Path) -> None:
    dataset = make_settings(webdataset_folder(tmp_path / "data"), label="kind", stratify=True, limit=2)
    assert [ref.label for ref in list_refs(dataset)] == LABELS


def test_samples_without_an_image_and_duplicates_are_counted(tmp_path: Path) -> None:
    members = [
        ("a.png", b"1"), ("b.json", b'{"caption": "x"}'), ("a.png", b"2"), ("a.png", b"3"), ("a#2.png", b"4"),
    ]  # fmt: skip
    rows = write_sample(tmp_path, members, references="caption")
    assert [(row.image_id, row.data) for row in rows] == [
        ("a.tar/a", b"1"), ("a.tar/b", None), ("a.tar/a#2", b"2"), ("a.tar/a#3", b"3"), ("a.tar/a#2#4", b"4"),
    ]  # fmt: skip
    assert (rows[1].detail, rows[1].references) == ("the sample has no image", ["x"])


def test_an_invalid_json_is_a_row_without_data(tmp_path: Path) -> None:
    rows = write_sample(
        tmp_path, [("a.png", b"1"), ("a.json", b'{"k": 1}'), ("b.png", b"2"), ("b.json", b"[1")], label="k"
    )
    assert [(row.data, row.detail) for row in rows] == [(b"1", ""), (None, "the sample's json is not a JSON object")]


def test_what_the_settings_name_and_no_sample_has(tmp_path: Path) -> None:
    members = [("a.png", b"1"), ("a.json", b'{"kind": 1}')]
    for settings, message in (
        ({"image": "jpg"}, "no member 'jpg' in its first samples, but json, png; set `dataset.image`"),
        ({"label": "kidn"}, r"no column 'kidn' for label; did you mean 'kind'\?"),
        ({"references": "txt"}, "no column 'txt' for references; known: kind, json, png"),
    ):
        with pytest.raises(InputError, match=message):
            write_sample(tmp_path, members, **settings)
    with pytest.raises(InputError, match="no member named like an image in its first samples, but json"):
        write_sample(tmp_path, members[1:])
    with pytest.raises(InputError, match="its shards hold no samples"):
        write_sample(tmp_path, [])


def test_a_truncated_shard_is_reported_by_name_and_offset(tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    data = (tmp_path / "data" / "train-000.tar").read_bytes()
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512
    for size in (0, 1, 511, 512, 700, 512 + len(PICTURES[0]) // 512 * 512, 5000, end, end + 100):
        (tmp_path / "data" / "train-001.tar").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"train-001\.tar: (cut off or corrupt at byte \d+: |empty)") as error:
            list_refs(Dataset(source=str(tmp_path / "data")))
        assert "\n" not in str(error.value)


def test_a_corrupt_header_and_an_appended_archive_are_reported(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [(name, data) for name, data in zip(NAMES, PICTURES, strict=True)])
    data = path.read_bytes()
    second = 512 + -(-len(PICTURES[0]) // 512) * 512
    path.write_bytes(data[:second] + b"garbage" + data[second + 7 :])
    with pytest.raises(InputError, match=rf"a\.tar: cut off or corrupt at byte {second}: an unreadable header"):
        list_refs(Dataset(source=str(path)))
    path.write_bytes(data + data)
    with pytest.raises(InputError, match=r"a\.tar: goes on behind its end mark at byte \d+"):
        list_refs(Dataset(source=str(path)))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_a_compressed_shard(tmp_path: Path, name: str) -> None:
    plain = tar(tmp_path / "plain", [("a.png", b"1")]).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(plain))
    with pytest.raises(InputError, match=rf"{name}: compressed \(gzip\); decompress it"):
        list_refs(Dataset(source=str(tmp_path / name)))


def test_a_shard_that_became_shorter_since_it_was_listed(tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    dataset = Dataset(source=str(tmp_path / "data"), label="kind")
    refs = list_refs(dataset)
    path = tmp_path / "data" / "train-001.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(RetryableError, match=r"train-001\.tar: ends before byte \d+; it changed since it was listed"):
        read_refs(dataset, refs)


def test_members_far_apart_are_read_without_what_lies_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [("a.jpg", b"1"), ("a.big", b"x" * 2_000_000), ("a.json", json.dumps({"k": "v"}).encode())]
    lengths: list[int | None] = []
    original = objects.read_range

    def count_reads(uri: str, start: int, length: int | None) -> bytes:
        lengths.append(length)
        return original(uri, start, length)

    monkeypatch.setattr(objects, "read_range", count_reads)
    (row,) = write_sample(tmp_path, members, label="k")
    assert (row.data, row.label, sorted(lengths)) == (b"1", "v", [1, 10])  # type: ignore[type-var]


def test_a_header_that_leads_back_is_reported_not_followed(tmp_path: Path) -> None:
    """A negative size, possible in base 256, would make Python's reader find that member forever."""
    write_shards(tmp_path / "data")
    path = tmp_path / "data" / "train-000.tar"
    data = bytearray(path.read_bytes())
    data[124:136] = b"\xff" * 10 + b"\xfe\x00"  # -512
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"train-000\.tar: cut off or corrupt at byte 0: "):
        list_refs(Dataset(source=str(tmp_path / "data")))


def test_a_first_name_like_the_sign_of_a_packer_is_a_name(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "BZ_001", "png": PICTURES[0]})
    assert [row.data for row in read_refs(Dataset(source=str(tmp_path / "a.tar")))] == [PICTURES[0]]


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["0.png", "1.png", "0.txt", "1.txt"], "0"),
        (["0.txt", "1.txt", "0.png", "1.png"], "0"),
        (["a/0.png", "a/1.png", "a/0.json"], "a/0"),
        (["0.png", "0.txt", "1.png", "0.cls"], "0"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("settings", [{}, {"references": "txt"}], ids=str)
def test_members_that_are_not_side_by_side_are_reported(
    tmp_path: Path, names: list[str], key: str, settings: dict[str, str]
) -> None:
    members = [(name, b"{}" if name.endswith("json") else b"x") for name in names]
    if settings and "0.txt" not in names:
        members.insert(0, ("first.txt", b"x"))
    with pytest.raises(InputError, match=rf"a\.tar: the members of '{key}' are not side by side .*tar --sort=name"):
        write_sample(tmp_path, members, **settings)


def test_captions_that_all_come_before_the_images_are_reported(tmp_path: Path) -> None:
    members = [(f"{number}.{kind}", b"x") for kind in ("txt", "png") for number in range(150)]
    with pytest.raises(InputError, match="if images follow further down, pack the files again, with tar --sort=name"):
        write_sample(tmp_path, members)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [("./0000.JPG", "a.tar/./0000"), ("00/0000.jpeg", "a.tar/00/0000"), ("v1.2/x.PNG", "a.tar/v1.2/x")],
)
def test_names_as_tools_write_them(tmp_path: Path, name: str, image_id: str) -> None:
    assert [(row.image_id, row.data) for row in write_sample(tmp_path, [(name, b"1")])] == [(image_id, b"1")]


def test_what_the_finder_of_a_mac_adds_is_no_sample(tmp_path: Path) -> None:
    members = [("._a.png", b"x"), ("a.png", b"1"), ("__MACOSX/._a.png", b"x"), ("__MACOSX/a.png", b"x")]
    assert [row.data for row in write_sample(tmp_path, members)] == [b"1"]


def test_a_dot_in_a_key_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"but v2\.jpg; .*a key ends at the first dot of a name, so other dots in it"):
        write_sample(tmp_path, [("photo.v2.jpg", b"1")])


@pytest.mark.parametrize(
    ("member", "references", "detail"),
    [
        ("\ufeffA dog.\n".encode(), ["A dog."], ""), (b"", [], ""), (b"['A dog.', 'A cat.']", ["A dog.", "A cat."], ""),
        (b'[{"id": 0, "caption": "A dog."}]', ["A dog."], ""), (b"t\xe4nch", [], "bytes that are no UTF-8 text"),
        ("A dog.".encode("utf-16"), [], "bytes that are no UTF-8 text; save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_text_member_is_read_as_any_cell(tmp_path: Path, member: bytes, references: list[str], detail: str) -> None:
    rows = write_sample(
        tmp_path, [("a.png", b"1"), ("a.txt", member), ("b.png", b"2"), ("b.txt", b"fine")], references="txt"
    )
    assert rows[0].references == references
    assert detail in rows[0].detail
    assert (rows[0].data is None) == bool(detail)
    assert (rows[1].data, rows[1].references) == (b"2", ["fine"])


def test_labels_and_references_in_a_json_member_are_read_as_any_cell(tmp_path: Path) -> None:
    samples = [
        {"kind": 3.0, "said": [{"raw": "A dog."}]}, {"kind": float("nan"), "said": float("nan")}, {"kind": [1, 2]},
        {"kind": {"id": 1, "n": 2}}, {"said": 7},
    ]  # fmt: skip
    members = [
        pair
        for n, sample in enumerate(samples)
        for pair in ((f"{n}.png", b"1"), (f"{n}.json", json.dumps(sample).encode()))
    ]
    rows = write_sample(tmp_path, members, label="kind", references="said")
    assert [(row.label, row.references) for row in rows[:3]] == [("3", ["A dog."]), (None, []), ("1, 2", [])]
    assert "label 'kind': an object ({id, n})" in rows[3].detail
    assert "references 'said': a number (7)" in rows[4].detail

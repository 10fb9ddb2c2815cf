"""Every example of docs/how-to/describe-your-data.md: its files are written, its suite is read, its rows are
compared."""

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from image_formats import PICTURES, read_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.storage import objects

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "describe-your-data.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, list[tuple[str, str, str]]]:
    """The blocks of each section that has a suite: kind, path, content."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    blocks = {section.partition("\n")[0]: BLOCK.findall(section) for section in sections}
    return {
        title: code_blocks for title, code_blocks in blocks.items() if any(kind == "yaml" for kind, _, _ in code_blocks)
    }


EXAMPLES = examples()


def write_block(store: str, kind: str, path: str, content: str) -> None:
    """Write the file or the files that a block shows."""
    if kind == "files":
        for number, name in enumerate(content.split()):
            objects.write(f"{store}/{name}", PICTURES[number])
    elif kind == "text":
        objects.write(f"{store}/{path}", content.encode())
    elif kind == "parquet":
        rows = [
            {name: PICTURES[int(value[-1])] if value.startswith("bytes of picture") else value for name, value in row}
            for row in (json.loads(line, object_pairs_hook=list) for line in content.splitlines())
        ]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        objects.write(f"{store}/{path}", sink.getvalue())
    elif kind == "tar":
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for line in content.splitlines():
                name, _, text = line.partition(" ")
                data = text.encode() or PICTURES[int(name[-5])]
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        objects.write(f"{store}/{path}", sink.getvalue())


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_read_as_its_table_says(store: str, title: str) -> None:
    settings: dict[str, Any] = {}
    expected: list[list[str]] = []
    for kind, path, content in EXAMPLES[title]:
        if kind == "yaml":
            settings = yaml.safe_load(content)
        elif kind == "rows":
            expected = [[cell.strip() for cell in line.split("|")] for line in content.splitlines()]
        else:
            write_block(store, kind, path, content)
    for name in ("source", "label_names"):
        if name in settings:
            settings[name] = f"{store}/{settings[name]}"
    dataset = Dataset(**settings)
    assert source_revision(dataset)
    rows = read_refs(dataset)
    assert [[row.image_id, row.label or "", " / ".join(row.references)] for row in rows] == expected
    assert [row.detail for row in rows] == [""] * len(rows)
    assert all(row.data or row.file for row in rows)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) > 15
    assert all({"yaml", "rows"} <= {kind for kind, _, _ in blocks} for blocks in EXAMPLES.values())

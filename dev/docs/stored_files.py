"""Builds the page docs/reference/storage.md: the place and the schema of each stored file.

`dev.docs.reference` calls it. Paths and their meaning are written here; keys and columns come from the models and the
Arrow schemas. tests/docs/test_reference_pages.py compares the paths with those of a root that a release wrote.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dev.docs.columns import describe_column
from dev.docs.suite_keys import read_field_texts
from ray_jobs import caption
from ray_jobs.contract.artifacts import (
    Comparison,
    Failure,
    LimitCheck,
    Manifest,
    Part,
    Record,
    Scores,
    Summary,
    Verdict,
)
from ray_jobs.contract.decision import Decision
from ray_jobs.contract.spec import Baseline, Checkpoint, Predecessor, Spec
from ray_jobs.dataset.same_content import SameContent
from ray_jobs.golden import build_part, part_plan, previews
from ray_jobs.golden.part_plan import GoldenPlan, PlannedPart
from ray_jobs.judge import answer_store, preference
from ray_jobs.judge.totals import JudgeTotals, TokenUsage
from ray_jobs.storage.audits import Audit, Difference
from ray_jobs.storage.index import Index
from ray_jobs.storage.record_summary import RecordSummary


@dataclass(frozen=True)
class StoredFile:
    """A path below the root, the meaning of the file, and the heading of its schema. `{...}` in a path is one name."""

    path: str
    meaning: str
    schema: str = ""


FILES = (
    StoredFile("golden/{golden_id}/manifest.json", "The golden set is complete.", "Manifest"),
    StoredFile("golden/{golden_id}/parts/{part}.parquet", "Golden images; the footer has the part's rejects.",
               "Golden part"),
    StoredFile("golden/{golden_id}/rejects.parquet", "All rejects.", "Rejects"),
    StoredFile("golden/{golden_id}/rejects.html", "The first thousand rejects with thumbnails."),
    StoredFile("golden/{golden_id}/preview.png", "Some images that were kept."),
    StoredFile("golden/{golden_id}/plan/plan.json", "How the sample is cut into parts.", "GoldenPlan"),
    StoredFile("golden/{golden_id}/plan/{rows}.parquet", "Where each image lies in the source.", "Planned rows"),
    StoredFile("golden/{golden_id}/cells.json", "A set of an earlier version was checked and found right."),
    StoredFile("golden/{golden_id}/{frequencies}/{table}", "In how many images' references each n-gram occurs."),
    StoredFile("captions/{caption_id}/manifest.json", "The captions are complete.", "Manifest"),
    StoredFile("captions/{caption_id}/parts/{part}.parquet", "Captions.", "Captions part"),
    StoredFile("captions/{caption_id}/audit.json", "What a fresh engine said of a sample of them.", "Audit"),
    StoredFile("judge/{judge}/{golden_id}/{part}/{answers}.parquet", "The judge's answers by content, shared by all "
               "checkpoints.", "Judge's answers"),
    StoredFile("scores/{scores_id}/manifest.json", "The scores are complete.", "Manifest"),
    StoredFile("scores/{scores_id}/parts/{part}.parquet", "Scores, one row per caption.", "Scores part"),
    StoredFile("scores/{scores_id}/{mark}", "A forced run replaced these scores' captions."),
    StoredFile("scores/{scores_id}/{frequencies}/{table}", "How often each n-gram and each caption occurs."),
    StoredFile("runs/{checkpoint}/{run_id}/spec.json", "What the run is. A forced run adds another.", "Spec"),
    StoredFile("runs/{checkpoint}/{run_id}/scores.json", "Mean, interval and histogram of each metric.", "Scores"),
    StoredFile("runs/{checkpoint}/{run_id}/judge.json", "What the judge was asked, and what it cost.", "JudgeTotals"),
    StoredFile("runs/{checkpoint}/{run_id}/preference/manifest.json", "The pairs are complete.", "Manifest"),
    StoredFile("runs/{checkpoint}/{run_id}/preference/{part}.parquet", "The better one of each pair.", "Preferences"),
    StoredFile("runs/{checkpoint}/{run_id}/report.html", "The report, one file without outside resources."),
    StoredFile("runs/{checkpoint}/{run_id}/verdict.json", "The verdict and its comparisons.", "Verdict"),
    StoredFile("runs/{checkpoint}/{run_id}/record.json", "The run's one record: the source of every index and page.",
               "Record"),
    StoredFile("decisions/{suite}/{series_id}/{number}-{token}.json", "A person accepted or rejected a run.",
               "Decision"),
    StoredFile("runs/{checkpoint}/{run_id}/failure.json", "Why the last job failed.", "Failure"),
    StoredFile("runs/{checkpoint}/{run_id}/timed-out-{stage}.json", "A stage ran into its time limit once.", "Failure"),
    StoredFile("runs/{checkpoint}/{run_id}/attempt", "The attempt that an INCOMPLETE run is on."),
    StoredFile("index/{suite}/{series_id}/{entry}.json", "A copy of each record; its name holds what a search needs."),
    StoredFile("index/{suite}/index.json", "The records of the suite, newest last.", "Index"),
    StoredFile("same_content/{content_id}.json", "The golden set that was made of this content. May be deleted.",
               "SameContent"),
    StoredFile("router/{folder}.json", "What the router knows about each checkpoint folder. May be deleted."),
    StoredFile("quarantine/{checkpoint}.json", "A checkpoint that could not be read. Delete it to have it read again."),
)  # fmt: skip

MODELS: tuple[type, ...] = (
    Spec, Checkpoint, Baseline, Predecessor, Manifest, Part, Scores, Summary, Verdict, Comparison, LimitCheck, Record,
    Decision, Failure, Audit, Difference, GoldenPlan, PlannedPart, JudgeTotals, TokenUsage, Index, RecordSummary,
    SameContent,
)  # fmt: skip

SCHEMAS: dict[str, pa.Schema] = {
    "Golden part": build_part.WITH_TRUTH,
    "Rejects": previews.REJECTS,
    "Planned rows": part_plan.REF_SCHEMA,
    "Captions part": caption.SCHEMA,
    "Scores part": pa.schema({
        "image_id": pa.string(), "label": pa.string(), "references": pa.bool_(), "failure": pa.string(),
        "rationale": pa.string(), "(one column per metric)": pa.float64(),
    }),
    "Judge's answers": answer_store.SCHEMA,
    "Preferences": preference.SCHEMA,
}  # fmt: skip

INTRODUCTION = """# Storage

All results are below one root, `ASSAY_ROOT`: `s3://bucket/prefix`, or a directory that every node shares. There is no
other state, except Airflow's own database.

- **An id is a hash** of what determines the content below it. A changed prompt makes a new `caption_id`; the golden set
  keeps its id and is used again.
- **A manifest is written last**, and never over another one. A stage without a manifest is not complete.
- **Nothing is lost silently**: a manifest's `rows_in` is `rows_out` plus the sum of `lost`, with a reason each.
- **A forced run** writes below `forced/{request}/` in the folder of its stage. When its results are complete, they
  replace those before.
- Each JSON file carries `schema`, a whole number. A reader keeps keys that it does not know. A file of a newer schema
  is never replaced or deleted.

`make docs` writes the schemas on this page from the code."""


def build_page() -> str:
    """The text of docs/reference/storage.md."""
    links = (f"[{file.schema}](#{anchor(file.schema)})" if file.schema else "" for file in FILES)
    files = ((f"`{file.path}`", file.meaning, link) for file, link in zip(FILES, links, strict=True))
    lines = [INTRODUCTION, "", "## Files", "", *_format_table(("path below the root", "meaning", "schema"), files)]
    lines += ["", "## JSON files"]
    for model in MODELS:
        lines += ["", f"### {model.__name__}", "", _describe(model), ""]
        lines += _format_table(("key", "type", "default", "meaning"), _list_key_rows(model))
    lines += ["", "## Parquet files", "", "A part is one Parquet file of a few hundred rows. A column of a metric, a",
              "field or a failure is null where there is nothing."]  # fmt: skip
    for name, schema in SCHEMAS.items():
        columns = ((f"`{column.name}`", f"`{column.type}`", describe_column(name, column.name)) for column in schema)
        lines += ["", f"### {name}", "", *_format_table(("column", "type", "meaning"), columns)]
    return "\n".join(lines) + "\n"


def anchor(heading: str) -> str:
    """The anchor that GitHub and the site give a heading of letters, spaces and apostrophes."""
    return heading.lower().replace("'", "").replace(" ", "-")


def _describe(model: type) -> str:
    return inspect.cleandoc(vars(model).get("__doc__") or "").replace("<", "&lt;")


def list_keys(model: type) -> list[str]:
    """The keys of the JSON that the model is stored as."""
    return [key for key, *_ in _list_stored_fields(model)]


def _format_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]


def _list_key_rows(model: type) -> Iterator[tuple[str, ...]]:
    texts = read_field_texts(model)
    for key, name, annotation, default in _list_stored_fields(model):
        meaning = texts.get(name, "The schema of the file, a whole number." if key == "schema" else "")
        yield f"`{key}`", _format_type(annotation), default, meaning


def _list_stored_fields(model: type) -> Iterator[tuple[str, str, Any, str]]:
    """JSON key, field name, type and default of each stored field. A dataclass is always stored with every field."""
    if is_dataclass(model):
        yield from ((field.metadata.get("key", field.name), field.name, field.type, "") for field in fields(model))
        return
    assert issubclass(model, BaseModel)
    for name, field in model.model_fields.items():
        if not field.exclude:
            required = field.default is PydanticUndefined and field.default_factory is None
            default = "required" if required else "" if isinstance(field.default, BaseModel) else f"`{field.default!r}`"
            yield field.alias or name, name, field.annotation, default


def _format_type(annotation: Any) -> str:
    """The type as Python writes it, without the names of modules."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return f"`{re.sub(r'[A-Za-z_]+[.](?=[A-Za-z_])', '', text)}`".replace("|", "\\|")

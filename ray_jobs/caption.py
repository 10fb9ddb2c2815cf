"""Caption the golden set with the checkpoint: every image once. No caption is made without its image in the prompt.

    python -m ray_jobs.caption --spec URI

Existing parts are not captioned again. An image without a caption keeps its row, with the reason.
"""

if __name__ == "__main__":
    from ray_jobs.fork_server.entrypoint import run_forked

    run_forked()  # does not return if a fork server runs this program; before the imports, which take seconds

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.field_schema import max_length
from ray_jobs.contract.ids import request_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.early_engines import prepare_judge_engine, probe_captions
from ray_jobs.engine.client.gpu_shares import expect_captions, share_gpu
from ray_jobs.engine.client.stream import EngineTimings, stream_parts
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, build_request
from ray_jobs.engine.versions import read_versions
from ray_jobs.fields.columns import add_fields, list_column_types, sum_fits
from ray_jobs.fields.grammar import grammar_of
from ray_jobs.fields.truth import check_truth
from ray_jobs.job import frame
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.runtime.progress import Progress
from ray_jobs.storage import audits, manifests, objects, parts

log = logging.getLogger("assay")

DescribedPart = tuple[Part, dict[str, Any]]  # a part's entry in the manifest, and its footer
READERS = 8  # parts of an earlier job that are read at once
CHARACTERS_PER_TOKEN = 4  # English text; a token of digits or brackets has fewer

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "caption": pa.string(),
        "finish_reason": pa.string(),
        "prompt_tokens": pa.int32(),
        "tokens": pa.int32(),
        "arrived": pa.float64(),
        "finished": pa.float64(),
        "failure": pa.string(),
        "detail": pa.string(),
    }
)


def caption(spec: Spec) -> None:
    """Complete the captions of the spec."""
    golden = manifests.require_manifest(spec.golden_uri, "preprocess")
    stage_uri = f"{spec.captions_uri}/{request_folder(spec.force)}" if spec.force else spec.captions_uri
    if manifest := manifests.load_manifest(stage_uri):
        manifest = _install(spec, manifest) if spec.force else manifest  # a killed job may not have made it current
        log.info("captions %s are complete: %d images", spec.captions_uri, manifest.rows_out)
        return
    timings = EngineTimings(began=time.time())
    done = manifests.list_part_names(spec.captions_uri, _parts_folder(spec))
    sizes = {part.name: part.rows for part in golden.parts if part.rows}
    progress = Progress("captions", golden.rows_out, sum(rows for name, rows in sizes.items() if name in done))
    pending = {name: range(rows) for name, rows in sizes.items() if name not in done}
    written: dict[str, DescribedPart] = {}
    if pending:
        frame.join_cluster(spec)
        warn_of_long_answers(spec)
        if images := check_truth(spec, golden):
            log.info("truth: %s, of %d images", ", ".join(f"{name} {n}" for name, n in images.items()), golden.rows_out)
        probe_captions(spec)
        settings = share_gpu(spec)
        stream = stream_parts(
            spec.checkpoint,
            settings.captions,
            pending,
            make_request_builder(spec),
            timings.began,
            next_checkpoint=spec.next_checkpoint,
            workload=expect_captions(spec),
        )
        with prepare_judge_engine(spec, settings) as judge_engine:
            judge_engine.prepare()
            stream.on_ready = judge_engine.start  # not before: vLLM measures the GPU's memory while it starts
            for name, answers in stream:
                written[name] = _write_part(spec, name, answers, stream.timings.report.weights_swapped)
                part, _ = written[name]
                progress.add(part.rows, f"{sum(part.lost.values())} failed in {name}" if part.lost else "")
        timings = stream.timings
    commit(spec, golden, timings, written)


def warn_of_long_answers(spec: Spec) -> None:
    """Log a warning if the schema allows answers that are far longer than `max_tokens`: vLLM cuts them off."""
    schema, most = spec.suite.caption.schema_of_fields, spec.suite.caption.max_tokens
    if schema and (characters := max_length(schema)) > CHARACTERS_PER_TOKEN * most:
        log.warning(
            "caption.fields: an answer may have %d characters, and max_tokens is %d: one that is cut off does not fit; "
            "lower maxLength and maxItems, or raise max_tokens",
            characters, most,
        )  # fmt: skip


def commit(spec: Spec, golden: Manifest, timings: EngineTimings, written: Mapping[str, DescribedPart]) -> None:
    """Write the manifest over all parts. Reads only the parts that are not `written`: those of an earlier job.

    Raises FileNotFoundError for a part that is not there, also if this job has written it.
    """
    names = [part.name for part in golden.parts if part.rows]
    stored = manifests.list_part_names(spec.captions_uri, _parts_folder(spec))
    present = {name: part for name, part in written.items() if name in stored}

    def describe_part(name: str) -> DescribedPart:
        if name in present:
            return present[name]
        data = objects.read(manifests.uri_of_part(spec.captions_uri, name, _parts_folder(spec)))
        return parts.describe(name, data), parts.decode_footer(data)

    part_entries, swapped, fits = [], False, []
    for entry, footer in prefetch(describe_part, names, READERS):
        part_entries.append(entry)
        swapped = swapped or footer.get("swapped", True)
        fits.append(footer.get("fields", {}))
    fields_detail = {"fields": sum_fits(fits)} if spec.suite.caption.schema_of_fields else {}
    manifest = manifests.build_manifest(
        "captions",
        spec.caption_id,
        part_entries,
        rows_in=golden.rows_out,
        seconds=timings.seconds(),
        versions=read_versions(),
        details={
            "checkpoint": spec.checkpoint.uri,
            "golden_id": spec.golden_id,
            "engine": timings.report.details() | {"swapped": swapped},
            "per_second": timings.rates(),
            **fields_detail,
        },
    )
    manifest = _install(spec, manifest) if spec.force else manifests.commit(spec.captions_uri, manifest)
    log.info("captions complete: %d in, %d captioned, failed %s", manifest.rows_in, manifest.rows_out, manifest.lost)
    if fields := manifest.details.get("fields"):
        log.info("fields: %d answers fit the schema, invalid-fields %s", fields["valid"], fields["invalid"])
    log.info("engine seconds: %s", ", ".join(f"{label} {took:.1f}" for label, took in manifest.seconds.items()))
    if rates := manifest.details.get("per_second"):
        log.info("per second: %s", ", ".join(f"{rate:.1f} {label}" for label, rate in rates.items()))


def make_request_builder(spec: Spec) -> Requests:
    """Returns the function that builds the requests of a part. Ray can send it, because it holds only a URI and
    settings."""
    golden_uri, settings = spec.golden_uri, spec.suite.caption
    sampling: dict[str, Any] = {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
    if grammar := grammar_of(settings):
        sampling["structured_outputs"] = {"grammar": grammar}

    def requests(part: str, rows: Sequence[int], prompt_builder: PromptBuilder) -> Iterator[dict[str, Any]]:
        golden = parts.read(golden_uri, part, ["image_id", "image"])
        for row in rows:
            seed = settings.seed_of(golden["image_id"][row].as_py())
            yield build_request(
                part, row, golden["image"][row].as_py(), settings.prompt, prompt_builder, sampling | {"seed": seed}
            )

    return requests


def _write_part(spec: Spec, name: str, answers: pa.Table, swapped: bool) -> DescribedPart:
    image_ids = parts.read_columns(spec.golden_uri, name, ["image_id"])["image_id"]  # the images stay in the store
    answers, fits = add_fields(answers, spec.suite.caption)
    table = answers.rename_columns({"text": "caption"}).append_column("image_id", image_ids)
    lost = Counter(failure for failure in table["failure"].to_pylist() if failure)
    schema = pa.schema([*SCHEMA, *list_column_types(spec.suite.caption).items()])
    table = table.select(schema.names).cast(schema)
    facts = {"lost": dict(sorted(lost.items())), "swapped": swapped} | ({"fields": fits} if fits else {})
    return parts.write_and_describe(spec.captions_uri, name, table, facts, _parts_folder(spec))


def _parts_folder(spec: Spec) -> str:
    """Returns the folder of the spec's parts below the stage. A forced request has its own folder."""
    return f"{request_folder(spec.force)}/parts" if spec.force else "parts"


def _install(spec: Spec, manifest: Manifest) -> Manifest:
    """Make the captions of a forced request the current ones. Returns the stage's manifest afterwards.

    The audit is deleted first, because it is of the captions before them.
    """
    assert spec.force
    return manifests.commit_forced(
        spec.captions_uri,
        manifest,
        request_folder(spec.force),
        before_swap=lambda: objects.delete(audits.uri_of(spec.captions_uri)),
    )


main = partial(frame.run, "caption", caption)  # main(spec_uri) runs the stage and returns the exit code


if __name__ == "__main__":
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.caption))

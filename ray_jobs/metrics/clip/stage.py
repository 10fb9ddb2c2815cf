"""Compute the CLIP scores of a set of captions, part by part, with Ray actors that hold the model.

The driver of `evaluate` calls this.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from ray_jobs.checkpoints import verification
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.engine import gpus
from ray_jobs.engine.client import eviction
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.metrics.clip import similarity
from ray_jobs.metrics.clip.stored_scores import FOLDER
from ray_jobs.runtime.progress import Progress
from ray_jobs.runtime.ray_dataset import ray_dataset
from ray_jobs.storage import manifests, parts


def measure_parts(spec: Spec, caption_id: str) -> None:
    """Complete the CLIP scores of these captions. Finished parts are reused."""
    assert spec.clip
    uri = spec.scores_uri_of(caption_id)
    captions = manifests.require_manifest(spec.captions_uri_of(caption_id), "caption")
    finished = manifests.list_part_names(uri, FOLDER)
    pending = [{"part": part.name, "rows": part.rows} for part in captions.parts if part.name not in finished]
    if not pending:
        return
    verification.verify(spec.clip)
    probe(spec.clip, kind="clip")
    progress = Progress("clip", captions.rows_in, sum(part.rows for part in captions.parts if part.name in finished))
    has_gpu = gpus.has_gpus()
    gpus_of_cluster = int(ray.cluster_resources().get("GPU", 0))
    measured = ray_dataset(pending).map(
        ClipActor,
        fn_constructor_args=(spec.clip,),
        fn_kwargs={"golden_uri": spec.golden_uri, "captions_uri": spec.captions_uri_of(caption_id), "scores_uri": uri},
        compute=ray.data.ActorPoolStrategy(size=max(gpus_of_cluster, 1) if has_gpu else 1),
        num_gpus=1 if has_gpu else 0,
        num_cpus=1,
    )
    for row in eviction.evict_until_first(measured.iter_rows(), 1 if has_gpu else 0, "clip"):
        progress.add(row["rows"])


class ClipActor:
    def __init__(self, model: Checkpoint) -> None:
        self.checkpoint = model

    @cached_property
    def model(self) -> Any:
        """The model, loaded with the first part. An error in the actor's constructor would reach the driver as text."""
        from ray_jobs.metrics.clip.model import ClipModel

        return ClipModel(fetch(self.checkpoint), self.checkpoint.uri)

    def __call__(self, row: dict[str, Any], golden_uri: str, captions_uri: str, scores_uri: str) -> dict[str, Any]:
        golden = {
            entry["image_id"]: entry
            for entry in parts.read_columns(golden_uri, row["part"], ["image_id", "image", "references"]).to_pylist()
        }
        captions = [
            (entry["image_id"], entry["caption"])
            for entry in parts.read_columns(captions_uri, row["part"], ["image_id", "caption", "failure"]).to_pylist()
            if entry["failure"] is None
        ]
        if missing := [image_id for image_id, _ in captions if image_id not in golden]:
            raise RetryableError(
                f"{captions_uri}: {row['part']} has a caption of {missing[0]!r}, which its golden set lacks"
            )
        scored = [
            {"image_id": image_id} | values
            for (image_id, _), values in zip(captions, self._score_captions(captions, golden), strict=True)
        ]
        schema = pa.schema({"image_id": pa.string()} | {metric.name: pa.float64() for metric in similarity.METRICS})
        parts.write(scores_uri, row["part"], pa.Table.from_pylist(scored, schema=schema), {}, FOLDER)
        return {"rows": row["rows"]}

    def _score_captions(
        self, captions: list[tuple[str, str]], golden: dict[str, dict[str, Any]]
    ) -> list[dict[str, float | None]]:
        images = self.model.embed_images([golden[image_id]["image"] for image_id, _ in captions])
        texts = self.model.embed_texts([text for _, text in captions])
        references = [golden[image_id]["references"] or [] for image_id, _ in captions]
        others = self.model.embed_texts([text for texts_of in references for text in texts_of])
        ends = np.cumsum([0, *map(len, references)])
        return [
            similarity.compute_scores(float(texts[n] @ images[n]), (others[ends[n] : ends[n + 1]] @ texts[n]).tolist())
            for n in range(len(captions))
        ]

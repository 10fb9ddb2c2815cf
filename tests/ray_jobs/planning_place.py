"""A root, a suite and checkpoints, for tests that plan."""

from pathlib import Path

import yaml
from samples import checkpoint_files, encode_shard, make_record, upload, write_pictures

from ray_jobs import plan
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import records


class Place:
    """A root, a suite and checkpoints to plan with."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder / "root")
        self.images = write_pictures(folder / "images", 2)
        self.folder = folder
        self.suite({})

    def suite(self, settings: dict[str, object]) -> None:
        self.file = self.folder / "nightly.yaml"
        self.file.write_text(yaml.safe_dump({"name": "nightly", "dataset": {"source": "images"}} | settings))

    def checkpoint(self, name: str, fill: int = 0) -> str:
        files = checkpoint_files() | {"model-00002-of-00002.safetensors": encode_shard({"b": bytes([fill]) * 100})}
        return upload(str(self.folder / "models" / name), files)

    def plan(self, checkpoint: str, baseline: str | None = None, force: str | None = None) -> Spec:
        return plan.plan(self.root, str(self.file), checkpoint, baseline, force, by_hand=True)

    def validate(self, checkpoint: str, outcome: str, baseline: str | None = None) -> Spec:
        planned_spec = self.plan(checkpoint, baseline)
        records.publish(self.root, make_record(planned_spec, outcome))
        return planned_spec

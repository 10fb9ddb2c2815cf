"""A suite: the YAML file that says what to validate with. Adding a suite is adding a file."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from ray_jobs.contract.metric_names import METRICS, RESERVED, field_metric_names
from ray_jobs.contract.sections.caption import Caption
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.sections.gate import Gate
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.sections.metrics import Metrics
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.suite_section import SuiteSection
from ray_jobs.inputs.errors import nearest
from ray_jobs.inputs.names import printable


class Suite(SuiteSection):
    """What one kind of validation uses: images, prompt, engine, metrics, judge and gate."""

    ELSEWHERE: ClassVar = {
        "name": "the run's id holds it",
        **dict.fromkeys(
            ("dataset", "preprocess", "caption", "engine", "metrics", "judge", "gate"), "has an identity of its own"
        ),
    }

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The name of the suite. It must be the file's name without `.yaml`."""
    dataset: Dataset
    """Where the images come from, and which of them are used."""
    preprocess: Preprocess = Preprocess()
    """How images are resized, stored and rejected."""
    caption: Caption = Caption()
    """What the model is asked about each image."""
    engine: Engine = Engine()
    """How vLLM runs."""
    metrics: Metrics = Metrics()
    """What is measured of each caption beyond the built-in metrics."""
    judge: Judge = Judge()
    """The model that scores how well a caption and its image agree."""
    gate: Gate = Gate()
    """How scores become a verdict."""

    @model_validator(mode="after")
    def _truth_is_of_fields(self) -> Self:
        if self.dataset.truth and self.caption.fields is None:
            raise ValueError("dataset.truth: gives the right values of fields, and there are none; set caption.fields")
        if self.caption.schema_of_fields:
            for name in self.dataset.truth:
                if name not in self.caption.field_names:
                    hint = nearest(name, list(self.caption.field_names))
                    raise ValueError(f"dataset.truth: caption.fields has no property {printable(name, 60)!r}{hint}")
        return self

    @model_validator(mode="after")
    def _gate_names_metrics(self) -> Self:
        schema, is_in_file = self.caption.schema_of_fields, isinstance(self.caption.fields, str)
        fields = field_metric_names(schema, self.dataset.truth) if schema else []
        further = [*self.metrics.names(), *self.judge.metrics(), *fields]
        for name in further:
            if name in METRICS or further.count(name) > 1 or (name in RESERVED and name in self.metrics.names()):
                raise ValueError(f"metrics: {name!r} is there already; rename metrics.own's file")
        known = {"metrics": [name for name, direction in METRICS.items() if direction] + further}
        known["limits"] = list(METRICS) + further
        for section, names in known.items():
            for name in getattr(self.gate, section):
                if is_in_file and name.startswith("field"):  # `plan` looks again when it has read the file
                    continue
                if name not in names:
                    raise ValueError(f"gate.{section}: unknown metric {name!r}{nearest(name, names)}")
        return self

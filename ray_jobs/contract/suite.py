"""The model of a suite: the YAML file with all settings of a validation.

`parse_suite` makes it from a file in the control plane. The jobs get it inside the spec. The validators here check
settings of several sections together; each section checks its own settings.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from ray_jobs.contract.metric_names import METRICS, RESERVED, list_field_metrics
from ray_jobs.contract.sections.caption import Caption
from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.sections.gate import Gate
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.sections.metrics import Metrics
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.suite_section import SuiteSection
from ray_jobs.inputs.errors import suggest
from ray_jobs.inputs.names import printable


class Suite(SuiteSection):
    """The settings of one kind of validation: images, prompt, engine, metrics, judge and gate."""

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
    """The metrics of each caption beyond the built-in metrics."""
    judge: Judge = Judge()
    """The model that scores how well a caption and its image agree."""
    gate: Gate = Gate()
    """How scores become a verdict."""

    @model_validator(mode="after")
    def _check_truth(self) -> Self:
        if self.dataset.truth and self.caption.fields is None:
            raise ValueError("dataset.truth: gives the right values of fields, and there are none; set caption.fields")
        if self.caption.schema_of_fields:
            for name in self.dataset.truth:
                if name not in self.caption.field_names:
                    hint = suggest(name, list(self.caption.field_names))
                    raise ValueError(f"dataset.truth: caption.fields has no property {printable(name, 60)!r}{hint}")
        return self

    @model_validator(mode="after")
    def _check_metric_names(self) -> Self:
        schema, is_in_file = self.caption.schema_of_fields, isinstance(self.caption.fields, str)
        fields = list_field_metrics(schema, self.dataset.truth) if schema else []
        own_names = [*self.metrics.names(), *self.judge.metrics(), *fields]
        for name in own_names:
            if name in METRICS or own_names.count(name) > 1 or (name in RESERVED and name in self.metrics.names()):
                raise ValueError(f"metrics: {name!r} is there already; rename metrics.own's file")
        known = {"metrics": [name for name, direction in METRICS.items() if direction] + own_names}
        known["limits"] = list(METRICS) + own_names
        for section, names in known.items():
            for name in getattr(self.gate, section):
                if is_in_file and name.startswith("field"):  # `plan` checks these names after it has read the file
                    continue
                if name not in names:
                    raise ValueError(f"gate.{section}: unknown metric {name!r}{suggest(name, names)}")
        return self

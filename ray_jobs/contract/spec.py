"""The spec of a run: all settings of its stages, and the ids and URIs of their outputs.

`plan` writes the spec in the control plane, and every job reads it on Ray. So this file imports only pydantic and the
standard library. Each id is a hash of exactly the settings that determine the content. A new prompt therefore gives the
captions a new id, while the golden set keeps its id.
"""

from typing import ClassVar, Self

from pydantic import Field, PrivateAttr

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.identity import Identified
from ray_jobs.contract.ids import digest, request_folder, slug
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.contract.suite import Suite

# Raise a version when the code of its stage writes other content for the same settings. The outputs then get new ids.
# CONTRIBUTING.md, "Versions", names the other lines that change with it.
PREPROCESS_VERSION, CAPTION_VERSION, JUDGE_VERSION, EVALUATE_VERSION = 3, 3, 2, 2


class Checkpoint(FrozenModel):
    """A checkpoint, identified by its content: if its files are overwritten in place, it is another checkpoint."""

    uri: str
    """The folder of the checkpoint."""
    name: str
    """The last component of its path."""
    fingerprint: str
    """A hash of the files that are loaded; for an adapter, also of its base model's files."""
    base: "Checkpoint | None" = None
    """The model that a LoRA adapter changes."""
    files: tuple[tuple[str, str], ...] = ()
    """The hash of each loaded file, by name. Only specs have it: an error can then name an overwritten file."""

    @property
    def folder(self) -> str:
        return f"{slug(self.name)}-{self.fingerprint[:8]}"


class Baseline(FrozenModel):
    """A published run that the candidate is compared with."""

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    caption_id: str
    """The captions of the run."""
    checkpoint: Checkpoint
    """The checkpoint of the run."""


class Predecessor(Identified, FrozenModel):
    """The last accepted run of an earlier series of the suite. A spec has it if its own series has no accepted run.

    If the spec lacks only its anchor, this is the first accepted run of the earlier series.
    """

    IDENTIFYING: ClassVar = frozenset(("run_id", "changed"))
    ELSEWHERE: ClassVar = {"run_uri": "the run's id holds what determines it", "checkpoint": "the run's id holds it"}

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    checkpoint: Checkpoint | None
    """The checkpoint of the run; null if no spec of that series can be read."""
    changed: tuple[str, ...] = ()
    """The settings that a person changed since that series; empty if only Assay's own versions differ."""


class Spec(Identified, StoredModel):
    """All settings of a run. `plan` writes the spec once, and the jobs only read it."""

    ELSEWHERE: ClassVar = {
        "schema_version": "how the file is read",
        "root": "where things are kept",
        "force": "the spec's name holds it",
        "next_checkpoint": "a hint about another run",
        "content_id": "where a golden set of the same content is noted",
        "same_golden": "it is the golden id",
        **dict.fromkeys(
            (
                "suite",
                "checkpoint",
                "judge",
                "clip",
                "own_metrics",
                "synonyms",
                "source_revision",
                "baseline",
                "anchor",
            ),
            "named in the ids below",
        ),
    }

    root: str
    """The URI of the folder that holds all results."""
    suite: Suite
    """The suite, with its paths made absolute and the schema of its fields put in."""
    checkpoint: Checkpoint
    """The checkpoint that is validated."""
    judge: Checkpoint | None = None
    """The judge's checkpoint, for a judge of kind `vllm`."""
    clip: Checkpoint | None = None
    """The CLIP model of `metrics.clip`."""
    own_metrics: dict[str, str] = {}
    """The source code of the suite's own metrics, by name."""
    synonyms: dict[str, tuple[str, ...]] = {}
    """Further names of each label."""
    source_revision: str
    """The revision of the data set: a commit, or a hash of its listing."""
    baseline: Baseline | None = None
    """The run that this run is compared with."""
    anchor: Baseline | None = None
    """The second, fixed baseline."""
    predecessor: Predecessor | None = None
    """The last accepted run of an earlier series, if this run's series has none."""
    force: str | None = None
    """The token of a request to caption and score again; null for a request that reuses complete results."""
    next_checkpoint: str | None = Field(None, alias="following")
    """The URI of the checkpoint that is validated next. It is a hint: a node may fetch that checkpoint early."""
    content_id: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    """A hash of the content of a local data set."""
    same_golden: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    """The id of a golden set that was made from the same content at another place."""
    _scores_folders: dict[str, str] = PrivateAttr(default_factory=dict)  # private: no file can set them
    _results_folder: str = PrivateAttr("")

    def with_folders(self, scores: dict[str, str], results: str = "") -> Self:
        """Returns a copy of the spec that places scores and results in folders below their usual folders.

        `scores` maps a caption id to the folder of its scores.
        """
        copy = self.model_copy()
        copy._scores_folders, copy._results_folder = {**self._scores_folders, **scores}, results or self._results_folder
        return copy

    @property
    def has_lost_baseline(self) -> bool:
        """Whether this run has no baseline only because of an upgrade of Assay. No person changed a setting."""
        return self.baseline is None and self.predecessor is not None and not self.predecessor.changed

    @property
    def has_lost_anchor(self) -> bool:
        """Whether this run has no anchor only because of an upgrade of Assay. No person changed a setting."""
        lost = self.predecessor is not None and not self.predecessor.changed
        return lost and self.anchor is None and self.suite.gate.anchor == "first"

    @property
    def golden_id(self) -> str:
        return self.same_golden or digest(
            PREPROCESS_VERSION, self.source_revision, self.suite.dataset.identity(), self.suite.preprocess.identity()
        )

    @property
    def series_id(self) -> str:
        """Runs of one series have the same images, prompt, sampling and engine settings, so they can be compared."""
        return digest(CAPTION_VERSION, self.golden_id, self.suite.caption.identity(), self.suite.engine.identity())

    @property
    def caption_id(self) -> str:
        return digest(self.series_id, self.checkpoint.fingerprint)

    @property
    def judge_id(self) -> str:
        """Judges with the same id have the same model, prompts, criteria and settings of answers."""
        return digest(JUDGE_VERSION, self.suite.judge.content(), self.judge.fingerprint if self.judge else None)

    @property
    def scoring_id(self) -> str:
        """Runs with the same id were scored alike: with the same metrics and the same judge."""
        measured = self.suite.metrics.identity(), self.own_metrics, self.synonyms
        return digest(EVALUATE_VERSION, measured, self.clip.fingerprint if self.clip else None, self.judge_id)

    @property
    def run_id(self) -> str:
        compared = [item.run_id if item else None for item in (self.baseline, self.anchor)]
        # Both are empty now. They hold later sections of a suite and later fields of a spec that enter no other id.
        later = [item for item in (self.suite.identity(), self.identity()) if item]
        return digest(self.caption_id, self.scoring_id, self.suite.name, self.suite.gate.identity(), compared, *later)

    @property
    def golden_uri(self) -> str:
        return f"{self.root}/golden/{self.golden_id}"

    @property
    def captions_uri(self) -> str:
        return self.captions_uri_of(self.caption_id)

    @property
    def scores_uri(self) -> str:
        return self.scores_uri_of(self.caption_id)

    def captions_uri_of(self, caption_id: str) -> str:
        return f"{self.root}/captions/{caption_id}"

    def scores_id_of(self, caption_id: str) -> str:
        return digest(caption_id, self.scoring_id)

    def scores_uri_of(self, caption_id: str) -> str:
        """The URI of these captions' scores, with the metrics and judge of this spec.

        The captions are the candidate's, the baseline's or the anchor's.
        """
        return _append_folder(self.scores_stage_of(caption_id), self._scores_folders.get(caption_id, ""))

    def scores_stage_of(self, caption_id: str) -> str:
        """The URI of the folder whose manifest names the current scores of these captions."""
        return f"{self.root}/scores/{self.scores_id_of(caption_id)}"

    @property
    def judge_uri(self) -> str:
        """The URI of the judge's answers about this golden set. All checkpoints and prompts share this folder."""
        judge = digest(
            JUDGE_VERSION, self.suite.judge.answer_settings(), self.judge.fingerprint if self.judge else None
        )
        return f"{self.root}/judge/{judge}/{self.golden_id}"

    @property
    def run_uri(self) -> str:
        return f"{self.root}/runs/{self.checkpoint.folder}/{self.run_id}"

    @property
    def request_uri(self) -> str:
        """The URI of the folder of this request's verdict. A forced request has its own folder, so a retry finds it."""
        return _append_folder(self.run_uri, request_folder(self.force) if self.force else "")

    @property
    def results_uri(self) -> str:
        """The URI where this process writes the run's results. A forced request has its own folder below the run."""
        return _append_folder(self.run_uri, self._results_folder)

    @property
    def uri(self) -> str:
        """The URI of this spec. A forced request has its own file, so a plain request cannot overwrite its token."""
        return f"{self.run_uri}/spec{f'-{slug(self.force)}' if self.force else ''}.json"


def _append_folder(uri: str, folder: str) -> str:
    return f"{uri}/{folder}" if folder else uri

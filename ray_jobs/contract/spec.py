"""The spec of a run: everything that its stages need to know, and the ids and places of what they write.

Imported by both planes, so only pydantic and the standard library. Every id is a hash of exactly what determines the
content it names: change the prompt and the captions get a new home while the golden set stays where it is.
"""

from typing import ClassVar, Self

from pydantic import Field, PrivateAttr

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.identity import Identified
from ray_jobs.contract.ids import digest, forced_folder, slug
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.contract.suite import Suite

# Raise one of these when the code of a stage changes what it writes for the same settings: its outputs get new ids.
PREPROCESS_VERSION, CAPTION_VERSION, JUDGE_VERSION, EVALUATE_VERSION = 3, 3, 2, 2


class Checkpoint(FrozenModel):
    """A checkpoint, known by what it holds: one that was overwritten in place is another checkpoint."""

    uri: str
    """Where it is."""
    name: str
    """The last component of its path."""
    fingerprint: str
    """A hash of the files that are loaded; for an adapter, of its base too."""
    base: "Checkpoint | None" = None
    """The model that a LoRA adapter changes."""
    files: tuple[tuple[str, str], ...] = ()
    """The hash of each file that is loaded, by name, so that an error can name what was overwritten since. Only in
    specs."""

    @property
    def folder(self) -> str:
        return f"{slug(self.name)}-{self.fingerprint[:8]}"


class Baseline(FrozenModel):
    """A published run whose captions the candidate's are compared with."""

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    caption_id: str
    """The captions of the run."""
    checkpoint: Checkpoint
    """The checkpoint of the run."""


class Predecessor(Identified, FrozenModel):
    """The last accepted run of the series that the suite had before the spec's own series.

    The spec's own series has accepted nothing yet. Where the spec lacks only its anchor, it is the first accepted run.
    """

    IDENTIFYING: ClassVar = frozenset(("run_id", "changed"))
    ELSEWHERE: ClassVar = {"run_uri": "the run's id holds what determines it", "checkpoint": "the run's id holds it"}

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    checkpoint: Checkpoint | None
    """The checkpoint of the run; null where that series' specs cannot be read."""
    changed: tuple[str, ...] = ()
    """The settings that a person changed since; empty where only Assay's own versions differ."""


class Spec(Identified, StoredModel):
    """Everything that the jobs of a run need. `plan` resolves and writes it once."""

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
    """The place of all results."""
    suite: Suite
    """The whole suite, with the content of its files."""
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
    """The last accepted run of an earlier series, where the own series has none."""
    force: str | None = None
    """The request that wants everything captioned and scored again."""
    next_checkpoint: str | None = Field(None, alias="following")
    """The URI of the checkpoint that comes next, a hint: a node may fetch it meanwhile."""
    content_id: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    """A hash of the content of a local data set."""
    same_golden: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    """The golden set that was made of the same content at another place."""
    _scores_folders: dict[str, str] = PrivateAttr(default_factory=dict)  # private: no file can set them
    _results_folder: str = PrivateAttr("")

    def with_folders(self, scores: dict[str, str], results: str = "") -> Self:
        """Returns the spec for a process that writes scores and results to folders below their usual places.

        `scores` has the folder of each caption id's scores.
        """
        copy = self.model_copy()
        copy._scores_folders, copy._results_folder = {**self._scores_folders, **scores}, results or self._results_folder
        return copy

    @property
    def lost_baseline(self) -> bool:
        """Whether an upgrade of Assay, and nothing that a person changed, left this run without a baseline."""
        return self.baseline is None and self.predecessor is not None and not self.predecessor.changed

    @property
    def lost_anchor(self) -> bool:
        """Whether an upgrade of Assay, and nothing that a person changed, left this run without its anchor."""
        lost = self.predecessor is not None and not self.predecessor.changed
        return lost and self.anchor is None and self.suite.gate.anchor == "first"

    @property
    def golden_id(self) -> str:
        return self.same_golden or digest(
            PREPROCESS_VERSION, self.source_revision, self.suite.dataset.content(), self.suite.preprocess.content()
        )

    @property
    def series_id(self) -> str:
        """Two checkpoints of one series were asked alike: same images, prompt and sampling, engine settings."""
        return digest(CAPTION_VERSION, self.golden_id, self.suite.caption.identity(), self.suite.engine.output())

    @property
    def caption_id(self) -> str:
        return digest(self.series_id, self.checkpoint.fingerprint)

    @property
    def judge_id(self) -> str:
        """Two judges with one id give the same answers to the same question."""
        return digest(JUDGE_VERSION, self.suite.judge.content(), self.judge.fingerprint if self.judge else None)

    @property
    def scale_id(self) -> str:
        """Two runs with the same scale were measured alike: same metrics, same judge."""
        measured = self.suite.metrics.content(), self.own_metrics, self.synonyms
        return digest(EVALUATE_VERSION, measured, self.clip.fingerprint if self.clip else None, self.judge_id)

    @property
    def run_id(self) -> str:
        compared = [item.run_id if item else None for item in (self.baseline, self.anchor)]
        # Empty until a suite has a section, or a spec a field, that no other id holds.
        later = [item for item in (self.suite.identity(), self.identity()) if item]
        return digest(self.caption_id, self.scale_id, self.suite.name, self.suite.gate.identity(), compared, *later)

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
        return digest(caption_id, self.scale_id)

    def scores_uri_of(self, caption_id: str) -> str:
        """Where these captions' scores on this spec's scale are: the candidate's, the baseline's or the anchor's."""
        return _below(self.scores_stage_of(caption_id), self._scores_folders.get(caption_id, ""))

    def scores_stage_of(self, caption_id: str) -> str:
        """The URI of the folder whose manifest names the current scores of these captions."""
        return f"{self.root}/scores/{self.scores_id_of(caption_id)}"

    @property
    def judge_uri(self) -> str:
        """Where the judge's answers about this golden set are kept, shared by all checkpoints and prompts."""
        judge = digest(
            JUDGE_VERSION, self.suite.judge.answer_settings(), self.judge.fingerprint if self.judge else None
        )
        return f"{self.root}/judge/{judge}/{self.golden_id}"

    @property
    def run_uri(self) -> str:
        return f"{self.root}/runs/{self.checkpoint.folder}/{self.run_id}"

    @property
    def request_uri(self) -> str:
        """The URI of the folder of this request's verdict. A forced request has its own, which its retry finds."""
        return _below(self.run_uri, forced_folder(self.force) if self.force else "")

    @property
    def results_uri(self) -> str:
        """The URI where this process writes the run's results. A forced request has its own folder below the run."""
        return _below(self.run_uri, self._results_folder)

    @property
    def uri(self) -> str:
        """A forced request has a spec of its own, so that a plain one meanwhile cannot take its token away."""
        return f"{self.run_uri}/spec{f'-{slug(self.force)}' if self.force else ''}.json"


# --- what the stages leave behind -----------------------------------------------------------------------------------


def _below(uri: str, folder: str) -> str:
    return f"{uri}/{folder}" if folder else uri

"""The spec of a run: everything that its stages need to know, and the ids and places of what they write.

Imported by both planes, so only pydantic and the standard library. Every id is a hash of exactly what determines the
content it names: change the prompt and the captions get a new home while the golden set stays where it is.
"""

from typing import ClassVar, Self

from pydantic import Field, PrivateAttr

from ray_jobs.contract.identity import Identified
from ray_jobs.contract.ids import digest, forced_folder, slug
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.contract.suite import FrozenModel, Suite

# Raise one of these when the code of a stage changes what it writes for the same settings: its outputs get new ids.
PREPROCESS_VERSION, CAPTION_VERSION, JUDGE_VERSION, EVALUATE_VERSION = 3, 3, 2, 2


class Checkpoint(FrozenModel):
    """`fingerprint` is a hash of the weights, so a checkpoint overwritten in place is another checkpoint.

    Of a LoRA adapter it covers its `base` too, the model that it changes. `files` has a hash of each file that is
    loaded, by name, in a spec: what was overwritten since is named by it. Empty in records, and in specs of before.
    """

    uri: str
    name: str
    fingerprint: str
    base: "Checkpoint | None" = None
    files: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> str:
        return f"{slug(self.name)}-{self.fingerprint[:8]}"


class Baseline(FrozenModel):
    """A published run whose captions the candidate's are compared with."""

    run_id: str
    run_uri: str
    caption_id: str
    checkpoint: Checkpoint


class Predecessor(Identified, FrozenModel):
    """The last accepted run of the series that a suite had before the spec's own, which has accepted nothing yet. Where
    the spec misses its anchor only: the first accepted run.

    `changed` names the settings in which the spec differs from that series. It is empty where only Assay's own versions
    differ, and where that series' specs cannot be read: then `checkpoint` is None.
    """

    IDENTIFYING: ClassVar = frozenset(("run_id", "changed"))
    ELSEWHERE: ClassVar = {"run_uri": "the run's id holds what determines it", "checkpoint": "the run's id holds it"}

    run_id: str
    run_uri: str
    checkpoint: Checkpoint | None
    changed: tuple[str, ...] = ()


class Spec(Identified, StoredModel):
    """Everything a job needs, resolved once by `plan`. `force` names the request that wants the captions made anew.

    `following` is the URI of the checkpoint that will be validated next, if any: it may be fetched meanwhile.
    `content_id` hashes what the files of a local source hold; `same_golden` is the golden set that was made of the same
    content at another place. `own_metrics` is the source code of the suite's own metrics by name, `synonyms` the
    further names of each label.
    """

    ELSEWHERE: ClassVar = {
        "schema_version": "how the file is read",
        "root": "where things are kept",
        "force": "the spec's name holds it",
        "following": "a hint about another run",
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
    suite: Suite
    checkpoint: Checkpoint
    judge: Checkpoint | None = None
    clip: Checkpoint | None = None
    own_metrics: dict[str, str] = {}
    synonyms: dict[str, tuple[str, ...]] = {}
    source_revision: str
    baseline: Baseline | None = None
    anchor: Baseline | None = None
    predecessor: Predecessor | None = None
    force: str | None = None
    following: str | None = None
    content_id: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    same_golden: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    _scores_folders: dict[str, str] = PrivateAttr(default_factory=dict)  # private: no file can set them
    _results_folder: str = PrivateAttr("")

    def with_folders(self, scores: dict[str, str], results: str = "") -> Self:
        """The spec for a process that keeps the scores of some captions, by caption id, and the run's results in
        folders below their usual places."""
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
        compared = [one.run_id if one else None for one in (self.baseline, self.anchor)]
        # Empty until a suite has a section, or a spec a field, that no other id holds.
        later = [one for one in (self.suite.identity(), self.identity()) if one]
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
        """Where the manifest is that says which scores of these captions stand."""
        return f"{self.root}/scores/{self.scores_id_of(caption_id)}"

    @property
    def judge_uri(self) -> str:
        """Where the judge's answers about this golden set are kept, shared by all checkpoints and prompts."""
        judge = digest(JUDGE_VERSION, self.suite.judge.answering(), self.judge.fingerprint if self.judge else None)
        return f"{self.root}/judge/{judge}/{self.golden_id}"

    @property
    def run_uri(self) -> str:
        return f"{self.root}/runs/{self.checkpoint.folder}/{self.run_id}"

    @property
    def request_uri(self) -> str:
        """Where the verdict of this request is: a forced one has its own, which its retry finds."""
        return _below(self.run_uri, forced_folder(self.force) if self.force else "")

    @property
    def results_uri(self) -> str:
        """Where this process keeps the run's results: a forced request makes its own beside those that stand."""
        return _below(self.run_uri, self._results_folder)

    @property
    def uri(self) -> str:
        """A forced request has a spec of its own, so that a plain one meanwhile cannot take its token away."""
        return f"{self.run_uri}/spec{f'-{slug(self.force)}' if self.force else ''}.json"


# --- what the stages leave behind -----------------------------------------------------------------------------------


def _below(uri: str, folder: str) -> str:
    return f"{uri}/{folder}" if folder else uri

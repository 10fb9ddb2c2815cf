"""Says which engine a stage's job may start early for the stage after it.

The driver of `preprocess` starts the captions' engine, and that of `caption` starts the judge's (`early_start.py`).
"""

from ray_jobs.contract.prompt_tokens import texts_for_judge, texts_for_model
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.early_start import EarlyStart, EngineNeeded
from ray_jobs.engine.client.gpu_shares import EngineSettings, expect_captions, expect_questions, share_gpu
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.fields.grammar import grammar_of


def prepare_captions_engine(spec: Spec) -> EarlyStart:
    """The context within which `preprocess` may start the captions' engine."""

    def find_need() -> EngineNeeded:
        return EngineNeeded(
            spec.checkpoint, share_gpu(spec).captions, expect_captions(spec), lambda: probe_captions(spec)
        )

    return EarlyStart("captions", find_need)


def prepare_judge_engine(spec: Spec, settings: EngineSettings) -> EarlyStart:
    """The context within which `caption` may start the judge's engine.

    None is started beside replicas of the captions' engine, because it could take the GPU of a later replica.
    """

    def find_need() -> EngineNeeded | None:
        if spec.suite.judge.kind != "vllm" or not spec.judge or settings.captions.replicas > 1:
            return None
        return EngineNeeded(spec.judge, settings.judge, expect_questions(spec), lambda: probe_judge(spec))

    return EarlyStart("judge", find_need)


def probe_captions(spec: Spec) -> None:
    """Try the checkpoint's files with the prompt of the captions. Raises as `probe` does."""
    caption = spec.suite.caption
    probe(spec.checkpoint, [caption.prompt], grammar=grammar_of(caption), texts=texts_for_model(spec.suite))


def probe_judge(spec: Spec) -> None:
    """Try the files of the judge's checkpoint. Raises as `probe` does."""
    assert spec.judge
    probe(spec.judge, texts=texts_for_judge(spec.suite))

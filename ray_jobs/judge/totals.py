"""Adds up the judge's answers about a run, and their cost. `run` calls it in the driver of `evaluate`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.judge.answer_store import Answer

MAX_MODELS = 20  # model names that are kept, because an endpoint may give another name with each answer


@dataclass(frozen=True)
class TokenUsage:
    """Questions, their tokens and their cost."""

    questions: int = 0
    """The questions."""
    prompt_tokens: int = 0
    """The tokens of the prompts of all tries."""
    completion_tokens: int = 0
    """The tokens of the answers of all tries."""
    cost: float = 0.0
    """The price of all these tokens."""

    def plus(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            self.questions + other.questions,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class JudgeTotals:
    """`judge.json`: all questions about a run's captions and pairs, each counted once."""

    questions: int = 0
    """`answered` plus the sum of `failed`."""
    answered: int = 0
    """The questions with a usable answer."""
    cached: int = 0
    """The questions that another run had asked."""
    failed: dict[str, int] = field(default_factory=dict)
    """The questions without a usable answer, by reason; `judge-silent` was never answered."""
    total_usage: TokenUsage = field(default_factory=TokenUsage, metadata={"key": "spent"})
    """The usage for all answers, whichever run asked."""
    run_usage: TokenUsage = field(default_factory=TokenUsage, metadata={"key": "asked"})
    """The usage for the questions that this run asked, kills and resumes included."""
    seconds: float = 0.0
    """The wall time of asking in seconds, in processes that completed."""
    served_by: tuple[str, ...] = ()
    """The models that gave the valid answers, as the endpoint called them: the first 20 in alphabetical order."""

    def plus(self, other: "JudgeTotals") -> "JudgeTotals":
        """The totals of these questions and of others."""
        return JudgeTotals(
            questions=self.questions + other.questions,
            answered=self.answered + other.answered,
            cached=self.cached + other.cached,
            failed=dict(sorted((Counter(self.failed) + Counter(other.failed)).items())),
            total_usage=self.total_usage.plus(other.total_usage),
            run_usage=self.run_usage.plus(other.run_usage),
            seconds=self.seconds + other.seconds,
            served_by=_limit_models({*self.served_by, *other.served_by}),
        )


def dump_totals(totals: JudgeTotals) -> dict[str, Any]:
    """The content of `judge.json`. Two fields keep the keys that their metadata names."""
    values = asdict(totals)
    return {field.metadata.get("key", field.name): values[field.name] for field in fields(totals)}


def compute_totals(answers: Iterable[Answer | None], run: str, judge: Judge) -> JudgeTotals:
    """The totals of questions with these answers, None for a question without one. `run` is this attempt's name."""
    all_answers = list(answers)
    present = [answer for answer in all_answers if answer]
    failed = Counter(
        f"judge-{answer.failure if answer else 'silent'}" for answer in all_answers if answer is None or answer.failure
    )
    of_run = [answer for answer in present if answer.run == run]
    return JudgeTotals(
        questions=len(all_answers),
        answered=len(all_answers) - failed.total(),
        cached=len(present) - len(of_run),
        failed=dict(sorted(failed.items())),
        total_usage=_sum_usage(present, judge),
        run_usage=_sum_usage(of_run, judge),
        served_by=_limit_models({answer.served_by for answer in present if answer.served_by and not answer.failure}),
    )


def _limit_models(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names)[:MAX_MODELS])


def _sum_usage(answers: list[Answer], judge: Judge) -> TokenUsage:
    prompt_tokens, completion_tokens = (
        sum(answer.prompt_tokens for answer in answers),
        sum(answer.tokens for answer in answers),
    )
    cost = (prompt_tokens * judge.price.input + completion_tokens * judge.price.output) / 1e6
    return TokenUsage(len(answers), prompt_tokens, completion_tokens, cost)

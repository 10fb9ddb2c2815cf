"""Chooses the error for an endpoint that does not answer: InputError or RetryableError.

`endpoint_run` calls it in the driver of `evaluate`, and so do the checks. A failure that no retry can change is an
InputError: a person must correct the suite, the key or the endpoint. Any other failure is a RetryableError, and the job
runs again.
"""

from collections import Counter
from collections.abc import Sequence

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.judge.endpoint import MODEL_FAILURES, NO_COMPLETION, QUOTA, REJECTED, Reply, describe_judge

MIN_DENIED = 3  # denied questions before the job ends, because a firewall may deny a single caption
TRANSIENT = frozenset((408, 409, 425, 429))  # statuses below 500 that a later retry may not meet
OF_ONE_QUESTION = frozenset((400, 413, 414, 422, 431))  # statuses that may concern this image alone
CHANGE_MODEL_OR_PROMPT = "this model does not do what the prompt asks, change one of them"


def explain_account(judge: Judge, reply: Reply) -> InputError | None:
    """The error if the endpoint refuses the account or its key, because all other questions would fail; else None."""
    if reply.status == 401:
        return InputError(f"judge {describe_judge(judge)}: 401, not this key; correct {judge.key_variable}")
    if reply.status == 402 or reply.failure == QUOTA:
        return InputError(
            f"judge {describe_judge(judge)}: the account of the key in {judge.key_variable} has no credit or quota "
            f"left ({reply.detail}); top it up, what is answered is kept"
        )
    return None


def is_denied(reply: Reply) -> bool:
    """Whether the endpoint would refuse any other question too."""
    return _is_permanent_status(reply) and reply.status not in OF_ONE_QUESTION


def explain_outage(judge: Judge, replies: Sequence[Reply], was_answered: bool) -> Exception:
    """The error that ends the job. `was_answered`: this endpoint has answered a question about this golden set."""
    denied = [reply for reply in replies if is_denied(reply)]
    is_early = len(denied) >= MIN_DENIED and not was_answered
    last = denied[-1] if is_early else replies[-1]
    line = f"judge {describe_judge(judge)}: {len(replies)} answers in a row failed, the last: {last.failure}"
    line += f" ({last.detail})" if last.detail else ""
    if is_early or all(_is_permanent(reply, was_answered) for reply in replies):
        return InputError(f"{line}; {_choose_remedy(judge, last, replies)}")
    where = "; check base_url" if last.failure == NO_COMPLETION and not was_answered else ""
    return RetryableError(f"{line}{where}; what is answered is kept, run again when it is up")


def _is_permanent(reply: Reply, was_answered: bool) -> bool:
    """Whether no retry can change the failure. A page instead of an answer may pass if the endpoint answered before."""
    if reply.failure == NO_COMPLETION:
        return not was_answered
    return reply.failure in MODEL_FAILURES or _is_permanent_status(reply)


def _is_permanent_status(reply: Reply) -> bool:
    return reply.status is not None and 300 <= reply.status < 500 and reply.status not in TRANSIENT


def _choose_remedy(judge: Judge, last: Reply, replies: Sequence[Reply]) -> str:
    if last.failure == NO_COMPLETION:
        return "no chat completions come from there, check base_url"
    if last.status == 413:
        return "lower preprocess.max_pixels, or raise the endpoint's limit on the size of a request"
    if last.status is not None and 300 <= last.status < 400:
        return "redirects are not followed, set base_url to where it leads"
    if last.failure == REJECTED:
        return "check that this model takes images and this many tokens"
    if last.failure in MODEL_FAILURES:
        remedies = Counter(reply.remedy for reply in replies if reply.remedy)
        return remedies.most_common(1)[0][0] if remedies else CHANGE_MODEL_OR_PROMPT
    return f"check base_url, model and what the key in {judge.key_variable} may do"

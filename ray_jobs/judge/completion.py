"""Parses the body that an endpoint sent with a status of success: a chat completion, or an error, a page or a stream.

The driver of `evaluate` and the checks parse every answer with it. Invariant: an unusable completion is a failure of
the model. Any other body is a failure of the endpoint, also with a status of success.
"""

import json
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.names import excerpt

EXCERPT_CHARACTERS = 100
STATUS_OF_ERROR = {  # HTTP status by an error's code or type, as the same endpoints send it elsewhere
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "resource_exhausted": 429, "insufficient_quota": 429,
    "toomanyrequests": 429, "ratelimiterror": 429, "throttling_error": 429, "billing_error": 402,
    "invalid_api_key": 401, "authentication_error": 401, "unauthenticated": 401, "authenticationerror": 401,
    "permission_error": 403, "permission_denied": 403, "permissiondeniederror": 403,
    "model_not_found": 404, "not_found_error": 404, "not_found": 404, "deploymentnotfound": 404, "notfounderror": 404,
    "request_too_large": 413, "context_length_exceeded": 400, "badrequesterror": 400, "invalid_argument": 400,
    "invalid_request_error": 400, "overloaded_error": 503, "unavailable": 503, "serviceunavailableerror": 503,
}  # fmt: skip
QUOTA_ERRORS = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")  # no retry helps
TEXT_PART_TYPES = ("text", "output_text")
MESSAGE_KEYS, MAX_DEPTH = ("error", "message", "msg", "detail", "status_msg"), 4
REFUSAL_REASONS = ("content_filter", "refusal", "safety", "recitation")  # a finish_reason that is a refusal


class NoCompletion(Exception):
    """The body is no completion. `is_error`: the endpoint calls the body an error. `status` is the error's status."""

    def __init__(self, message: str, is_error: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.is_error, self.status = is_error, status


@dataclass(frozen=True)
class Completion:
    """`text` is None if the message has none; `description` then says what it has. `refusal` is the model's text."""

    body: dict[str, Any]
    text: str | None
    description: str
    refusal: str | None
    is_cut_off: bool


def parse_completion(body: str) -> Completion:
    """The completion in a body. Raises NoCompletion for anything else, with an excerpt of the body."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise _describe_text(body) from None
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict) and "error" in answer[0]:
        answer = answer[0]  # as Google's endpoints send errors
    if isinstance(answer, str):
        raise NoCompletion(f"no completion but {quote_excerpt(answer)}")
    if not isinstance(answer, dict):
        raise NoCompletion(f"JSON that is no completion: {quote_excerpt(body)}")
    choice = _first_choice(answer.get("choices"))
    message = choice.get("message")
    text, refusal = _read_message(message) if isinstance(message, dict) else (None, None)
    finish = choice.get("finish_reason")
    finish = finish.lower() if isinstance(finish, str) else ""
    error = answer.get("error") or choice.get("error") or (answer if answer.get("object") == "error" else None)
    if (error and not text and not refusal) or finish == "error":
        raise NoCompletion(f"an error with a status of success: {quote_excerpt(message_of(error or answer))}", True,
                           _status_of(error, answer))  # fmt: skip
    if not isinstance(message, dict):
        raise NoCompletion(f"JSON that is no completion: {quote_excerpt(body)}", bool(_status_of(None, answer)),
                           _status_of(None, answer))  # fmt: skip
    if finish in REFUSAL_REASONS:
        refusal = refusal or finish
    return Completion(answer, text, "" if text else _describe_message(message), refusal, finish == "length")


def message_of(error: Any) -> str:
    """The message in an error object of any usual shape; the whole object as JSON if it has no message."""
    for _ in range(MAX_DEPTH):
        name = next((name for name in MESSAGE_KEYS if isinstance(error, dict) and error.get(name)), None)
        error = error[name] if name else error
    return error if isinstance(error, str) else _dump(error)


def error_text(body: str) -> str:
    """The message in the body of an error, which may be JSON, a page or empty."""
    try:
        return message_of(json.loads(body)) if body.strip() else "no message"
    except (ValueError, RecursionError):
        return body


def is_quota_empty(body: str) -> bool:
    """Whether the code or the type of an error says that the account has no quota left.

    The message is not searched, because it may repeat a caption. Errors that pass in a minute also say "quota".
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    answer = answer[0] if isinstance(answer, list) and answer else answer
    error = answer.get("error") if isinstance(answer, dict) else None
    places = [place for place in (answer, error) if isinstance(place, dict)]
    return any(place.get(name) in QUOTA_ERRORS for place in places for name in ("code", "type"))


def describe_cut(judge: Judge, is_cut_off: bool) -> str:
    return f", cut off at max_tokens ({judge.max_tokens})" if is_cut_off else ""


def describe_fault(judge: Judge, fault: str, text: str, is_cut_off: bool) -> str:
    """The reason why a text is not a valid answer, for the job's last line."""
    return f"not what the schema says{describe_cut(judge, is_cut_off)}: {fault}: {quote_excerpt(text)}"


def quote_excerpt(text: str) -> str:
    """The beginning of a text, in quotes on one line."""
    return f"'{excerpt(text, EXCERPT_CHARACTERS)}'"


def _describe_text(body: str) -> NoCompletion:
    """The error for a body that is not JSON."""
    text = body.strip().removeprefix("\ufeff").strip()
    if not text:
        return NoCompletion("an empty body")
    if text.startswith("<"):
        return NoCompletion(f"a page: {quote_excerpt(text)}")
    if text.startswith(("data:", "event:", ": ")):
        first = next((line for line in text.splitlines() if line.startswith("data:")), "")
        try:
            parse_completion(first.removeprefix("data:"))
        except NoCompletion as nothing:
            if nothing.is_error:
                return nothing
        return NoCompletion(f"an event stream, though none was asked for: {quote_excerpt(text)}")
    return NoCompletion(f"no JSON: {quote_excerpt(text)}")


def _first_choice(choices: Any) -> dict[str, Any]:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _status_of(error: Any, answer: dict[str, Any]) -> int | None:
    """The HTTP status that an error names, as a number or by a code in STATUS_OF_ERROR."""
    for place in (error, answer):
        for name in ("code", "status_code", "status", "type"):
            value = place.get(name) if isinstance(place, dict) else None
            if isinstance(value, str):
                value = int(value) if value.isdecimal() and len(value) == 3 else STATUS_OF_ERROR.get(value.lower())
            if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
                return value
    return None


def _read_message(message: dict[str, Any]) -> tuple[str | None, str | None]:
    """(text, refusal) of a message. Its content is a text or a list of parts."""
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, str):
        return content or None, _text_of(refusal)
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif (
            isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PART_TYPES
        ):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("refusal"):
            refusal = refusal or part["refusal"]
    return "".join(texts) or None, _text_of(refusal)


def _text_of(refusal: Any) -> str | None:
    return (refusal if isinstance(refusal, str) else _dump(refusal)) if refusal else None


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "an object nested too deep"


def _describe_message(message: dict[str, Any]) -> str:
    """A description of a message without text: reasoning, a call of a tool, or other content."""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not reasoning and isinstance(content := message.get("content"), list):
        reasoning = next((part.get("thinking") for part in content if isinstance(part, dict)), None)
    if reasoning:
        return (
            f"no text, only reasoning: {quote_excerpt(reasoning if isinstance(reasoning, str) else _dump(reasoning))}"
        )
    if message.get("tool_calls") or message.get("function_call"):
        return "no text, only a call of a tool"
    content = message.get("content")
    return f"no text but {quote_excerpt(_dump(content))}" if content else "no text"

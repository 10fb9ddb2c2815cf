"""Asks an OpenAI-compatible chat endpoint one question, with retries. Without an answer, the reply has the reason.

The driver of `evaluate` and the checks call it. The `openai` package retries timeouts, lost connections, 408, 409, 429
and 5xx by itself. The package waits as long as `Retry-After` says (up to two minutes), or else 0.5 s, 1 s, 2 s and so
on up to 8 s. This module handles the rest: a completion that is no valid answer, a refusal, and an endpoint that does
not know a parameter.
"""

import asyncio
import base64
import json
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import openai

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge import rubric
from ray_jobs.judge.completion import (
    NoCompletion,
    describe_cut,
    describe_fault,
    error_text,
    is_quota_empty,
    parse_completion,
)
from ray_jobs.judge.destination import check_destination
from ray_jobs.judge.exchange import LOCATION_KEY, NO_COMPLETION_KEY, BoundedClient
from ray_jobs.judge.key_redaction import Secret

TRIES = 3  # if the endpoint answers, but with no valid answer
PAUSE = 0.1  # seconds before the second try, twice as long before the third
DETAIL_CHARACTERS = 300
SERVED_BY_KEYS, SERVED_CHARACTERS = ("model", "system_fingerprint"), 100
# The package would read these headers from environment variables of this machine.
OMITTED_HEADERS: Any = {name: openai.Omit() for name in ("OpenAI-Organization", "OpenAI-Project")}
MODEL_FAILURES = ("invalid-answer", "refusal")  # failures of an endpoint that is up
NO_COMPLETION, REJECTED, QUOTA = "no-completion", "request-rejected", "quota"
# Failures after which the package asks again.
RETRIED_FAILURES = (NO_COMPLETION, "rate-limit", "server-error", "http-408", "http-409")
RAISE_MAX_TOKENS = "raise judge.max_tokens, or turn the model's reasoning off"
NO_REASONING = "turn the model's reasoning off, or start the endpoint with the reasoning parser of this model"


@dataclass(frozen=True)
class Reply:
    """A valid answer as `text`, or a `failure`, perhaps with the unusable text. Tokens and tries are of all calls.

    `served_by` is the model and its system fingerprint, as the endpoint names them. `remedy` says what a person must
    do if all answers are like this one.
    """

    text: str | None = None
    failure: str | None = None
    detail: str | None = None
    status: int | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    tries: int = 1
    served_by: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class Dialect:
    """The parameters that the endpoint takes: structured output, the name of the length limit, a temperature."""

    takes_schema: bool = True
    length_key: str = "max_tokens"
    takes_temperature: bool = True

    def drop_parameter(self, complaint: str) -> "Dialect | None":
        """The dialect to try after the endpoint rejected a request; None if no parameter is left to drop."""
        if self.length_key == "max_tokens" and "max_completion_tokens" in complaint:
            return replace(self, length_key="max_completion_tokens")
        if self.takes_temperature and "temperature" in complaint:
            return replace(self, takes_temperature=False)
        return replace(self, takes_schema=False) if self.takes_schema else None


@dataclass
class Endpoint:
    """The endpoint and its dialect. `is_proven`: a request in this dialect was answered, so the dialect stays."""

    judge: Judge
    client: openai.AsyncOpenAI
    secret: Secret
    dialect: Dialect = field(default_factory=Dialect)
    is_proven: bool = False

    async def ask(self, text: str, image: bytes, is_pair: bool) -> Reply:
        """The reply to one question about an image. A failure of the endpoint is a reply too, and is never raised."""
        tries = prompt_tokens = tokens = 0
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE * 2 ** (number - 1))
            reply = await self._request_reply(text, image, is_pair, self.judge.tries - tries)
            tries, tokens = tries + reply.tries, tokens + reply.tokens
            prompt_tokens += reply.prompt_tokens
            if reply.failure not in MODEL_FAILURES or tries >= self.judge.tries:
                break
        return replace(reply, prompt_tokens=prompt_tokens, tokens=tokens, tries=tries)

    async def _request_reply(self, text: str, image: bytes, is_pair: bool, tries: int) -> Reply:
        dialect = self.dialect
        client = self.client.with_options(max_retries=tries - 1)
        while True:
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    **_build_request(self.judge, dialect, text, image, is_pair)
                )
            except openai.APIStatusError as error:
                failure = _classify_status_error(error)
                next_dialect = None if self.is_proven or failure != REJECTED else dialect.drop_parameter(str(error))
                if next_dialect is None:
                    return self._build_failure(failure, error, tries if failure in RETRIED_FAILURES else 1)
                dialect = next_dialect
                continue
            except openai.APITimeoutError as error:
                return self._build_failure("timeout", error, tries)
            except openai.APIConnectionError as error:
                return self._build_failure("connection-error", error, tries)
            except openai.APIError as error:
                return self._build_failure(NO_COMPLETION, error)
            self.dialect, self.is_proven = dialect, True
            return replace(self._read_reply(raw.text, is_pair), tries=raw.retries_taken + 1)

    def _build_failure(self, failure: str, error: openai.APIError, tries: int = 1) -> Reply:
        status = getattr(error, "status_code", None)
        detail = self.secret.mask(self._describe(error))[:DETAIL_CHARACTERS]
        return Reply(failure=failure, detail=detail, status=status, tries=tries)

    def _describe(self, error: openai.APIError) -> str:
        """The fault, with an excerpt of the endpoint's body."""
        if not isinstance(error, openai.APIStatusError):
            return f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        if NO_COMPLETION_KEY in error.response.extensions:
            return self._explain_no_text(error.response.text)
        if where := error.response.extensions.get(LOCATION_KEY):
            return f"status {error.status_code}, a redirect to {where.partition('?')[0]}"
        return f"status {error.status_code}: {error_text(error.response.text)}"

    def _explain_no_text(self, body: str) -> str:
        """The reason why a body has no text. Masks the key first, because an excerpt may cut the key."""
        try:
            return parse_completion(self.secret.mask(body, one_line=False)).description
        except NoCompletion as nothing:
            return str(nothing)

    def _read_reply(self, body: str, is_pair: bool) -> Reply:
        """The reply in the body of a status of success. The body may be anything."""
        try:
            completion = parse_completion(body)
        except NoCompletion:
            return Reply(
                failure=NO_COMPLETION, detail=self.secret.mask(self._explain_no_text(body))[:DETAIL_CHARACTERS]
            )
        fields = completion.body
        models = [
            self.secret.mask(name)[:SERVED_CHARACTERS]
            for name in map(fields.get, SERVED_BY_KEYS)
            if isinstance(name, str)
        ]
        usage = Reply(
            prompt_tokens=_read_token_count(fields, "prompt_tokens"),
            tokens=_read_token_count(fields, "completion_tokens"),
            served_by=" ".join(filter(None, models)) or None,
        )
        if completion.refusal:
            return replace(usage, failure="refusal", detail=self.secret.mask(completion.refusal)[:DETAIL_CHARACTERS])
        cut = describe_cut(self.judge, completion.is_cut_off)
        content = completion.text
        if content is None:
            remedy = RAISE_MAX_TOKENS if cut else NO_REASONING if "reasoning" in completion.description else None
            detail = self.secret.mask(f"no text{cut}{self._explain_no_text(body).removeprefix('no text')}")
            return replace(usage, failure="invalid-answer", detail=detail[:DETAIL_CHARACTERS], remedy=remedy)
        mask = partial(self.secret.mask, one_line=False)
        result = rubric.parse_pair_answer(content, None) if is_pair else rubric.parse_answer(self.judge, content, None)
        if result.failure:
            text = mask(content)[: rubric.RATIONALE_CHARACTERS]
            detail = describe_fault(self.judge, str(result.fault), mask(content), completion.is_cut_off)
            return replace(
                usage, text=text, failure="invalid-answer", detail=self.secret.mask(detail)[:DETAIL_CHARACTERS],
                remedy=RAISE_MAX_TOKENS if cut else None,
            )  # fmt: skip
        return replace(usage, text=rubric.redact_rationale(self.judge, content, is_pair, mask))


def connect(judge: Judge) -> Endpoint:
    """The judge's endpoint.

    Raises InputError if this machine has no usable key, or if the deployment does not allow it to be sent there.
    """
    check_destination(judge)
    secret = os.environ.get(judge.key_variable, "").strip()
    if not secret:
        raise InputError(
            f"judge {describe_judge(judge)}: {judge.key_variable} is not set on the Ray cluster; set it to the "
            f"endpoint's key (to anything where it wants none)"
        )
    if not (secret.isascii() and secret.isprintable()):
        raise InputError(
            f"judge {describe_judge(judge)}: {judge.key_variable} holds what no HTTP header can; set it to the key"
        )
    seconds = judge.timeout_seconds
    client = openai.AsyncOpenAI(
        api_key=secret,
        base_url=judge.base_url,
        timeout=seconds,
        http_client=BoundedClient(seconds, judge.base_url or ""),
        default_headers=OMITTED_HEADERS,
    )
    return Endpoint(judge, client, Secret(secret))


def describe_judge(judge: Judge) -> str:
    """The model and its endpoint, without a user name or password in the URL."""
    url = urlsplit(judge.base_url or "")
    return f"{judge.model} at {url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}"


def _classify_status_error(error: openai.APIStatusError) -> str:
    """The name of the failure that the error's status and body mean."""
    if is_quota_empty(error.response.text):
        return QUOTA
    if error.status_code in (400, 422):
        return REJECTED
    if error.status_code == 429:
        return "rate-limit"
    if error.status_code >= 500:
        nothing = error.response.extensions.get(NO_COMPLETION_KEY)
        return NO_COMPLETION if isinstance(nothing, NoCompletion) and not nothing.is_error else "server-error"
    return f"http-{error.status_code}"


def _build_request(judge: Judge, dialect: Dialect, text: str, image: bytes, is_pair: bool) -> dict[str, Any]:
    schema = rubric.build_pair_schema(judge) if is_pair else rubric.build_schema(judge)
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    url = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    request: dict[str, Any] = {
        "model": judge.model,
        "messages": [
            {"role": "system", "content": rubric.build_system_message(schema)},
            {"role": "user", "content": content},
        ],
        dialect.length_key: judge.max_tokens,
    }
    if dialect.takes_temperature:
        request["temperature"] = 0.0
    if dialect.takes_schema:
        named = {"name": "judgement", "strict": True, "schema": json.loads(schema)}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    return request


def _read_token_count(fields: dict[str, Any], name: str) -> int:
    usage = fields.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**40 else 0

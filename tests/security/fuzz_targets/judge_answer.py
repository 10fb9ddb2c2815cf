"""What an endpoint answers: a valid text or a failure, nothing of the key, nothing that cannot be stored."""

import json

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.display_text import sanitise
from ray_jobs.judge import rubric
from ray_jobs.judge.endpoint import Endpoint
from ray_jobs.judge.key_redaction import Secret

KEY = "sk-very-secret-0123456789"
JUDGE = Judge(kind="openai", model="m", base_url="http://127.0.0.1:9/v1", criteria=("count", "colour"))
PLAIN = JUDGE.model_copy(update={"criteria": ()})


def completion(content: object, **more: object) -> bytes:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}} | more
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode()


def SEEDS() -> list[bytes]:
    return [
        completion('{"rationale": "so", "count": true, "colour": false}'),
        completion('{"rationale": "so", "score": 3}'),
        completion('```json\n{"rationale": "so", "score": 3}\n```'),
        completion('{"rationale": "so", "better": "tie"}'),
        completion(None, message={"refusal": "no"}),
        completion(f'{{"rationale": "the key is {KEY}", "score": 5}}', finish_reason="length"),
        completion("\ud800 \u202e \u001b[31m {").replace(b"\\\\", b"\\"),
        b'{"choices": [[[[[[1e999, NaN, {"a": -0.0}]]]]]]}',
        b'{"model": "m\\u0000", "system_fingerprint": ["x"], "usage": {"prompt_tokens": 1e30}, "choices": [{}]}',
    ]


def try_input(data: bytes) -> None:
    body = data.decode("utf-8", "replace")
    for judge in (JUDGE, PLAIN):
        endpoint = Endpoint(judge, None, Secret(KEY))  # type: ignore[arg-type]  # reading needs no client
        for pair in (False, True):
            reply = endpoint._read_reply(body, pair)
            assert (reply.failure is None) <= (reply.text is not None)
            texts = [text for text in (reply.text, reply.detail, reply.served_by) if text is not None]
            for text in texts:
                assert KEY not in text
                text.encode()
            if reply.detail is not None:
                assert reply.detail.isprintable(), reply.detail
                assert len(reply.detail) <= 400
            if reply.served_by is not None:
                assert reply.served_by.isprintable()
            assert isinstance(reply.tokens, int)
            assert 0 <= reply.tokens < 2**40
            if reply.failure is None:
                reparsed = (
                    rubric.parse_pair_answer(reply.text, None) if pair else rubric.parse_answer(judge, reply.text, None)
                )
                assert reparsed.failure is None
                sanitise(reparsed.rationale or "").text.encode()
    for judge in (JUDGE, PLAIN):
        for answer in (rubric.parse_answer(judge, body, None), rubric.parse_pair_answer(body, None)):
            if answer.rationale is not None and answer.failure is None:
                assert len(answer.rationale) <= rubric.RATIONALE_CHARACTERS

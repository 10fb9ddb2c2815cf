"""Checks that Ray's Jobs API can start a job, without starting one.

Ray's head answers before it can start a job. The agent, another process, starts jobs. The agent comes later, or never,
for example because one of its ports was taken. Only a submission reaches the agent. So the probe submits a node label
that the agent refuses as malformed: the refusal proves that the agent lives, and no job is made. `wait_for_ray`,
`make up` and `make status` use it.
"""

from ray_jobs.inputs.names import printable

MARK = "assay?ping"  # no value of a label
PATH = "/api/jobs/"
PROBE = {"entrypoint": "true", "submission_id": "assay-ping", "entrypoint_label_selector": {"assay": MARK}}
NO_AGENT = (
    "has no agent that starts jobs; wait a minute if it has just started, else read dashboard_agent.log of the Ray "
    "head (a port of the agent may be taken) and restart it"
)


def find_fault(status: int, text: str) -> str | None:
    """Returns the fault of the answer to PROBE, in words that follow the address; None if a job could start."""
    if status >= 400 and f"`{MARK}`" in text:
        return None
    if "No available agent" in text or "Cannot connect to host" in text:
        return NO_AGENT
    line = printable((text.strip().splitlines() or ["no message"])[-1], 300)
    if status < 400 or status in (404, 405, 501):
        return f"answers {status}, and not as Ray does ({line}); is another program there?"
    return f"answers {status}: {line}"

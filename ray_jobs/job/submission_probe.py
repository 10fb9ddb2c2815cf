"""Ask Ray's Jobs API for what a submission needs, without starting anything.

Ray's head answers before it can start a job: an agent beside it does that, another process, which comes later or never,
for example because one of its ports was taken. Only a submission gets as far as the agent. So this one asks for a node
label that the agent refuses as malformed: its complaint is the proof that it lives, and no job is made.
`wait_for_ray`, `make up` and `make status` ask this.
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
    """What is wrong with the answer to PROBE, in words that follow the address; None where a job could start."""
    if status >= 400 and f"`{MARK}`" in text:
        return None
    if "No available agent" in text or "Cannot connect to host" in text:
        return NO_AGENT
    line = printable((text.strip().splitlines() or ["no message"])[-1], 300)
    if status < 400 or status in (404, 405, 501):
        return f"answers {status}, and not as Ray does ({line}); is another program there?"
    return f"answers {status}: {line}"

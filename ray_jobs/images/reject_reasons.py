"""The reasons why an image is not in the golden set: a closed list, and the exception that carries one of them.

The decoder's process raises it, and `golden.build_part` counts the reasons.
"""

from typing import Literal, get_args

Reason = Literal[
    "empty",  # no bytes
    "not-an-image",  # no format that is read here
    "truncated",  # ends before its pixels do
    "corrupt",  # its codec refuses it, or had to make pixels up
    "too-large",  # more pixels than `max_source_pixels`, or more memory than `decode_mb`
    "too-small",  # a side under `min_side`
    "extreme-aspect",  # longer than `max_aspect` times its width
    "unreadable-source",  # the source has no bytes for it
    "timeout",  # over `decode_seconds`
    "duplicate",  # the same bytes as an earlier image
    "joined",  # the same, and the earlier image has its references too
    "crashed-decoder",  # twice, the second time alone, the process that decoded it died
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class ImageRejected(Exception):
    """The image cannot be used. `reason` is from the closed list. `detail` describes the fault, on one line."""

    def __init__(self, reason: Reason, detail: str) -> None:
        detail = " ".join(detail.split())[:300]
        super().__init__(reason, detail)  # pickle rebuilds the exception from these arguments
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"

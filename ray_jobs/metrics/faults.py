"""Captions that are visibly broken."""

from ray_jobs.metrics import Captioned


def empty(caption: Captioned) -> float:
    """1 when nothing but white space was written, else 0."""
    return float(not caption.text.strip())


def truncated(caption: Captioned) -> float:
    """1 when the caption was cut at the token limit instead of ending by itself, else 0."""
    return float(caption.finish_reason == "length")

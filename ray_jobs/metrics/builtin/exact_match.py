"""Whether a caption equals one of the references, apart from case and spacing."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float | None:
    """1 when the caption equals a reference, else 0; None without references.

    Case, spacing and full stops at the end do not matter.
    """
    if not caption.references:
        return None
    caption_text = _normalise(caption.text)
    return float(any(caption_text == _normalise(reference) for reference in caption.references))


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".").rstrip()


METRIC = Metric("exact_match", "share of captions", +1, (0, 1), "share", "references", measure=measure)

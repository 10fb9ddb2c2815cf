"""Whether a caption is in the suite's `metrics.language`, by py3langid; no value where py3langid is not sure."""

from ray_jobs.metrics import CaptionContext, Metric


def measure(caption: CaptionContext) -> float | None:
    """1 when the caption is in `caption.language`, 0 for another language; None when py3langid cannot tell."""
    return None if caption.detected_language is None else float(caption.detected_language == caption.language)


METRIC = Metric("language", "share of captions", +1, (0, 1), "share", "text", measure=measure)

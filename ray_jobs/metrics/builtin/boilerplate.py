"""Whether a caption begins with a phrase that fits any image, such as "The image shows"."""

import re

from ray_jobs.metrics import CaptionContext, Metric

PICTURE = r"(?:image|picture|photo|photograph|photography|scene|figure|illustration|snapshot|screenshot|shot)"
OPENING = re.compile(
    rf"""\W*(?:(?:sure|certainly|of\ course|okay|ok|here['’]?s|here\ is)\b[\s,.!:-]*)?
    (?:(?:the|this|that|an?)\ (?:[\w-]+\ )?{PICTURE}\ (?:is|shows|depicts|features|displays|contains|captures|portrays
          |presents|showcases|illustrates|appears|seems|has|of|you)\b
      |this\ is\ (?:an?|the)\ (?:[\w-]+\ )?{PICTURE}\b
      |in\ (?:the|this|that)\ (?:[\w-]+\ )?{PICTURE}\b
      |(?:we|you|i)\ (?:can\ )?see\b
      |there\ (?:is|are)\ an?\ {PICTURE}\b
      |(?:an?\ |the\ )?(?:caption|description)\ ?(?:of|for|:)
      |(?:image|picture|photo|photograph)\ (?:of|shows|showing|depicting)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
MAX_CHARACTERS = 200


def measure(caption: CaptionContext) -> float:
    """1 when the caption opens with a phrase about the image as an image ("The image shows", "This is a picture of").

    Else 0. The metric has no direction, because a prompt may ask for such a phrase. The share changes when a model's
    style changes. Set a limit on the share, or read it beside the other metrics. The metric knows English openings
    only, and counts "a framed picture of a dog hangs on a wall" as well.
    """
    return float(OPENING.match(" ".join(caption.text[:MAX_CHARACTERS].split())) is not None)


METRIC = Metric("boilerplate", "share of captions", 0, (0, 1), "share", measure=measure)

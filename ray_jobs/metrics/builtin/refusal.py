"""Whether a caption begins with a refusal, such as "I'm sorry, I can't"."""

import re

from ray_jobs.metrics import CaptionContext, Metric

# The pattern matches the opening only, because "a sign says I cannot" describes an image.
OPENING = re.compile(
    r"""\W*(?:(?:i['’]?m|i\ am|we['’]?re|we\ are|my\ apologies|apologies|unfortunately|sorry)\b[\s,.:!-]*
        (?:(?:very|so|really|terribly|but|sorry|afraid|that|to\ say)\b[\s,.:!-]*)*)?
    (?:(?:sorry|my\ apologies|i\ apologi[sz]e|we\ apologi[sz]e)\b
      |(?:i|we)\ (?:can\ ?not|can['’]?t|could\ ?not|couldn['’]?t|won['’]?t|will\ not|do\ not|don['’]?t
          |am\ not\ able\ to|['’]?m\ not\ able\ to|are\ not\ able\ to|am\ unable\ to|are\ unable\ to)
        \ (?:\w+\ ){0,2}(?:describe|see|view|assist|help|provide|identify|process|access|analy[sz]e|caption|comply
          |fulfil|fulfill|answer|discuss|engage|generate|create|recogni[sz]e|determine|have\ access)\b
      |i['’]m\ (?:not\ able|unable)\ to\b
      |(?:not\ able|unable)\ to\ (?:describe|see|view|assist|help|provide|identify|process|access|analy[sz]e)\b
      |as\ an?\ (?:ai|artificial|large\ language|language|text-based|text\ based)\b
      |i['’]?\ ?a?m\ (?:just\ |only\ )?an?\ (?:ai|artificial|language|text-based|large\ language)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
MAX_CHARACTERS = 200  # characters of the opening; a hostile text is not searched to its end


def measure(caption: CaptionContext) -> float:
    """1 when the caption opens with a refusal ("I'm sorry, I can't", "As an AI"), else 0. English refusals only."""
    return float(OPENING.match(" ".join(caption.text[:MAX_CHARACTERS].split())) is not None)


METRIC = Metric("refusal", "share of captions", -1, (0, 1), "share", measure=measure)

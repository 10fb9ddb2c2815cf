"""How long a caption is."""

from ray_jobs.metrics import Captioned


def characters(caption: Captioned) -> float:
    """Unicode code points, surrounding white space left out."""
    return len(caption.text.strip())


def words(caption: Captioned) -> float:
    """Runs of characters between white space."""
    return len(caption.words)


def tokens(caption: Captioned) -> float:
    """Tokens the model generated, the one that ends the caption included."""
    return caption.tokens

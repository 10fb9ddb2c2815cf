"""Find odd images, labels and references in a suite that the jobs would accept. `checks.run` calls this."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ray_jobs.checks.images import Listing, SampleImage
from ray_jobs.contract.suite import Suite
from ray_jobs.fields.truth import TRUTH, truth_of_suite
from ray_jobs.images.prepare import GoldenImage, Reject
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.metrics.registry import BUILT_IN

LOOKS_LIKE_ID = re.compile(r"-?\d+(\.0)?|[a-z]\d{6,}|[0-9a-f]{16,}|[0-9a-f-]{36}", re.IGNORECASE)
LOOKS_LIKE_OBJECT = re.compile(r"\s*([\[{(].*[\]})]|b'.*'|b\".*\"|<[a-z!/].*>)\s*", re.DOTALL | re.IGNORECASE)
EMPTY_WORDS = {"nan", "none", "null", "n/a", "na", "<na>", "nat", "-", "?", "undefined"}
LOOKS_LIKE_FILE = re.compile(r"\S+\.(jpe?g|png|webp|txt)", re.IGNORECASE)
NUMBERS = re.compile(r"[-+.,;:\d]*\d[-+.,;:\d]*(\s+[-+.,;:\d]+)+")
TAG = re.compile(
    r"<\|?/?[a-z_]+\|?>|\[/?(CLS|SEP|PAD|UNK|MASK|INST)\]|\b(USER|ASSISTANT|HUMAN|GPT):|\bstartseq\b", re.I
)
ENTITY = re.compile(r"&([a-z]{2,8}|#\d{1,6}|#x[0-9a-f]{1,5});", re.IGNORECASE)
MOJIBAKE = re.compile(r"[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac")  # UTF-8 that was read as Latin-1 or cp1252
NO_PICTURES = re.compile(
    r"(^|/)(masks?|annotations?|labels?|depths?|segmentations?|thumbs?|thumbnails?)/", re.IGNORECASE
)
LONG_LINE = 100  # the most characters of each caption, if one text seems to hold several
LONG_REFERENCE = 2000  # characters
MAX_REFERENCES = 50


def _has_several_captions(text: str) -> bool:
    """Whether the text may be several short captions in one cell, separated by |, ###, ;; or line ends."""
    parts = [part for part in re.split(r"\||###|;;|\n", text.strip()) if part.strip()]
    return len(parts) > 1 and all(len(part) <= LONG_LINE for part in parts)


ODD_REFERENCES: dict[str, Callable[[str], object]] = {
    "look like lists, objects or markup written out": LOOKS_LIKE_OBJECT.fullmatch,
    "say that there is none": lambda text: text.strip().lower() in EMPTY_WORDS,
    "are empty": lambda text: not text.strip(),
    "begin with a byte order mark": lambda text: text.startswith("\ufeff"),
    "look like ids or numbers": lambda text: LOOKS_LIKE_ID.fullmatch(text.strip()),
    "are numbers, as boxes are": NUMBERS.fullmatch,
    "hold tags, turns or placeholders": lambda text: not LOOKS_LIKE_OBJECT.fullmatch(text) and TAG.search(text),
    "hold entities of HTML": ENTITY.search,
    "look like UTF-8 that was read as another encoding": MOJIBAKE.search,
    "may be several captions in one text": lambda text: not NUMBERS.fullmatch(text) and _has_several_captions(text),
    "look like names of files": LOOKS_LIKE_FILE.fullmatch,
    f"have over {LONG_REFERENCE} characters": lambda text: len(text) > LONG_REFERENCE,
    "have characters that could not be decoded": lambda text: "\ufffd" in text,
}


def find_image_doubts(suite: Suite, listing: Listing, images: Sequence[SampleImage]) -> Iterator[str]:
    """Yields doubts about the images: their number, splits, rejects, duplicates, folders and sizes."""
    dataset = suite.dataset
    if dataset.limit and dataset.limit > listing.image_count:
        yield (
            f"limit is {dataset.limit}, and there are {listing.image_count} images; lower it, or look for the missing "
            "ones"
        )
    if len(listing.splits) > 1:
        counts = ", ".join(f"{count} {split}" for split, count in listing.splits)
        yield (
            f"images of several splits are mixed ({counts}); a checkpoint must not be judged on its training images: "
            "name one split's files"
        )
    elif [split for split, _ in listing.splits] == ["train"]:
        yield "the images' names speak of a training split; a checkpoint must not be judged on its training images"
    rejects = [image for image in images if isinstance(image.image, Reject)]
    if rejects:
        share, most = len(rejects) / len(images), suite.preprocess.max_rejected_fraction
        first = rejects[0]
        assert isinstance(first.image, Reject)
        over = f", more than max_rejected_fraction {most:g}: the job would stop" if share > most else ""
        yield (
            f"{len(rejects)} of the {len(images)} images looked at are rejected{over}; the first is "
            f"{printable(first.row.image_id, 100)}: {first.image.reason}, {printable(first.image.detail, 200)}"
        )
    golden = [image.image for image in images if isinstance(image.image, GoldenImage)]
    if repeated := len(golden) - len({image.blake3 for image in golden}):
        fate = "rejected" if suite.preprocess.duplicates == "reject" else "kept"
        yield f"{repeated} of the {len(images)} images looked at have the bytes of another one; duplicates are {fate}"
    apart = [image.row.image_id for image in images if NO_PICTURES.search(image.row.image_id)]
    if 0 < len(apart) < len(images):
        yield (
            f"{len(apart)} of the {len(images)} images looked at lie in a folder that is called as if of masks or "
            f"thumbnails ({printable(apart[0], 100)}); name the folder of the pictures alone"
        )
    if golden and all(2 * image.source_width * image.source_height < image.width * image.height for image in golden):
        yield "every image looked at is enlarged by preprocess.min_pixels; are these thumbnails?"


def find_label_doubts(suite: Suite, listing: Listing, images: Sequence[SampleImage]) -> Iterator[str]:
    """Yields doubts about labels."""
    dataset = suite.dataset
    rows = [image.row for image in images]
    if not dataset.label:
        if suite.gate.cluster == "label":
            yield "gate.cluster is label, and the suite names no `label`"
        for name in _list_gate_metrics(suite, "label", "name"):
            yield f"the gate compares {name}, which needs labels, and the suite names no `label`"
        return
    labels = [row.label for row in rows if row.label is not None]
    if missing := len(rows) - len(labels):
        yield f"{missing} of the {len(rows)} images looked at have no label"
    if odd := [label for label in labels if LOOKS_LIKE_ID.fullmatch(label)]:
        yield (
            f"labels look like ids ({_quote_examples(odd)}); no caption holds one, so label_hit measures nothing: give "
            "their names with `label_names`"
        )
    if none := [label for label in labels if label.strip().lower() in EMPTY_WORDS]:
        share = f"{len(none)} of the {len(labels)} labels looked at"
        yield f"{share} say that there is none ({_quote_examples(none)}); leave them empty"
    counts = dict(listing.labels) if listing.labelled_count else dict(Counter(labels))
    distinct = listing.distinct_labels if listing.labelled_count else len(counts)
    if distinct == 1 and labels:
        yield f"all images have one label, {printable(next(iter(counts)), 60)!r}"
    total = listing.labelled_count or len(labels)
    if total > 20 and distinct == total:
        yield f"each of {total} images has a label of its own; is `label` the column of names?"


def find_reference_doubts(suite: Suite, listing: Listing, images: Sequence[SampleImage]) -> Iterator[str]:
    """Yields doubts about references."""
    if not suite.dataset.references:
        for name in _list_gate_metrics(suite, "references"):
            yield f"the gate compares {name}, which needs references, and the suite names no `references`"
        return
    rows = [image.row for image in images]
    bare = len([row for row in rows if not row.references])
    if listing.referenced_count and listing.referenced_count < listing.sample_count:
        yield f"{listing.sample_count - listing.referenced_count} of {listing.sample_count} images have no reference"
    elif bare:
        yield f"{bare} of the {len(rows)} images looked at have no reference"
    texts = [text for row in rows for text in row.references]
    for why, is_odd in ODD_REFERENCES.items():
        if odd := [text for text in texts if is_odd(text)]:
            yield f"{len(odd)} of the {len(texts)} references looked at {why} ({_quote_examples(odd)}); mend the source"
    if any(len(set(row.references)) < len(row.references) for row in rows):
        yield "an image has the same reference twice"
    if any(len(row.references) > MAX_REFERENCES for row in rows):
        yield f"an image has over {MAX_REFERENCES} references; does one image collect those of others?"
    if len(texts) > 5 and len(set(texts)) == 1:
        yield f"all references looked at are the same text ({_quote_examples(texts)})"


def find_truth_faults(suite: Suite, images: Sequence[SampleImage]) -> Iterator[str]:
    """Yields faults of right values that no answer can equal, at most one per image. Each would end the caption job."""
    for image in images:
        if isinstance(image.image, GoldenImage):
            try:
                truth_of_suite(suite, {"image_id": image.row.image_id, TRUTH: image.row.truth})
            except InputError as fault:
                yield str(fault)


def find_truth_doubts(suite: Suite, listing: Listing, images: Sequence[SampleImage]) -> Iterator[str]:
    """Yields doubts about the right values of fields."""
    wanted = set(suite.dataset.truth)
    rows = [json.loads(image.row.truth or "{}") for image in images] if wanted else []
    for name in sorted(wanted):
        if missing := sum(row.get(name) is None for row in rows):
            yield f"{missing} of the {len(rows)} images looked at have no truth of {printable(name, 60)!r}"


def _list_gate_metrics(suite: Suite, *needs: str) -> list[str]:
    """Returns the built-in metrics in the gate's margins and limits that need one of `needs`."""
    names = dict.fromkeys([*suite.gate.metrics, *suite.gate.limits])
    return [name for name in names if name in BUILT_IN and BUILT_IN[name].needs in needs]


def _quote_examples(texts: Sequence[str]) -> str:
    return ", ".join(repr(printable(text, 60)) for text in list(dict.fromkeys(texts))[:3])

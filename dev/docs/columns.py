"""The meaning of each column of the stored Parquet files. `dev.docs.stored_files` adds it to the Arrow schemas."""

COMMON = {
    "image_id": "The image's name, relative to the source.",
    "failure": "Why the row has no result, for example `engine-died` or `judge-timeout`; null where it has one.",
    "detail": "More about the failure: the message of vLLM, the processor or the endpoint.",
    "label": "The label, a name where the source or `label_names` gives one.",
    "rationale": "The judge's reason.",
}
COLUMNS: dict[str, dict[str, str]] = {
    "Golden part": {
        "image": "The golden image, encoded as `preprocess.format` says.",
        "width": "Its width in pixels.",
        "height": "Its height in pixels.",
        "label_id": "The label as the source has it.",
        "references": "The reference captions.",
        "repairs": "What was repaired, for example an EXIF rotation.",
        "format": "The format of the source image.",
        "source_width": "The width of the source image.",
        "source_height": "The height of the source image.",
        "source_bytes": "The size of the source image's file.",
        "blake3": "The BLAKE3 hash of the source image's file.",
        "truth": "The right values of fields, as JSON. Only where `dataset.truth` is set.",
    },
    "Rejects": {
        "reason": "The reason, from the [list](../explanation/golden-set.md#from-a-file-to-a-golden-image).",
        "detail": "More about the reason.",
        "thumbnail": "A small picture, where the image could be decoded.",
    },
    "Planned rows": {
        "where": "Where the image lies in the source.",
        "size": "The size of its file in bytes.",
        "references": "The reference captions.",
        "fault": "Why the row is a reject, if that is known from the listing.",
        "truth": "The right values of fields, as JSON.",
    },
    "Captions part": {
        "caption": "The caption.",
        "finish_reason": "`stop`, or `length` where `caption.max_tokens` cut it off.",
        "prompt_tokens": "The tokens of the prompt, those of the image included.",
        "tokens": "The tokens of the caption.",
        "arrived": "When the engine got the request, in seconds since 1970.",
        "finished": "When the caption was complete, in seconds since 1970.",
    },
    "Scores part": {
        "references": "Whether the image has references.",
        "(one column per metric)": "The metric's value; null where the image has none.",
    },
    "Judge's answers": {
        "key": "A hash of the image and the whole question.",
        "text": "The answer as the judge wrote it.",
        "prompt_tokens": "The tokens of the prompts of all tries.",
        "tokens": "The tokens of the answers of all tries.",
        "run": "The run that asked.",
        "at": "When the answer came, in seconds since 1970.",
        "served_by": "The model behind the endpoint, as the endpoint named it.",
    },
    "Preferences": {
        "preference": "-1 where the baseline's caption is better, +1 where the candidate's is, 0 for a tie.",
        "consistent": "Whether both orders gave the same answer.",
    },
}


def describe_column(schema: str, column: str) -> str:
    """The meaning of the column in files of this schema. Raises KeyError for a column without a text here."""
    return COLUMNS[schema].get(column) or COMMON[column]

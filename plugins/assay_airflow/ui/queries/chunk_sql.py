"""The SQL that joins one chunk of parts of two runs: a row per image of the right run, in the order of its parts."""

from collections.abc import Collection, Mapping, Sequence

SCORE_COLUMNS = ("image_id", "label", "failure", "rationale")
CAPTION_COLUMNS = ("image_id", "caption", "finish_reason", "failure")
MOST_TEXT = 20_000  # characters of one text that a page gets

NUMBERS = ("n", "part", "label", "right_status", "left_status")
TEXTS = (
    "n", "image_id", "part", "label",
    "right_caption", "right_cut", "right_status", "right_failure", "right_rationale",
    "left_caption", "left_cut", "left_status", "left_failure", "left_rationale",
)  # fmt: skip


def quote_name(name: str) -> str:
    """Returns the name of a column as SQL."""
    return '"' + name.replace('"', '""') + '"'


def list_metric_columns(metrics: Sequence[str]) -> list[str]:
    return [f"{side}{place}" for side in ("r", "l") for place in range(len(metrics))]


def build_chunk_sql(files: Mapping[str, Collection[str]], metrics: Sequence[str], left_metrics: Collection[str]) -> str:
    """Returns a query with the columns of NUMBERS and TEXTS and those of the metrics.

    `files` tells which of the four stages have files; the values `right_scores` and so on are their paths, `names` the
    names of the parts of the right scores, and `first` the number of the first row.
    """
    right = [f"{_finite('s', name)} AS r{place}" for place, name in enumerate(metrics)]
    left = [
        f"{_finite('ls', name) if name in left_metrics else 'NULL::DOUBLE'} AS l{place}"
        for place, name in enumerate(metrics)
    ]
    columns = [
        "$first + row_number() OVER (ORDER BY f.place, s.file_row_number) - 1 AS n",
        f"left(s.image_id, {MOST_TEXT}) AS image_id",
        "f.name AS part",
        f"left(s.label, {MOST_TEXT}) AS label",
        *_describe_side("right", "s", "c"),
        *_describe_side("left", "ls", "lc"),
        *right,
        *left,
    ]
    return (
        f"SELECT {', '.join(columns)} FROM read_parquet($right_scores, filename = true, file_row_number = true) AS s "
        "JOIN (SELECT unnest($right_scores) AS path, unnest($names) AS name, "
        "generate_subscripts($names, 1) AS place) AS f ON s.filename = f.path "
        f"LEFT JOIN {_read_stage('right_captions', files, CAPTION_COLUMNS)} AS c ON c.image_id = s.image_id "
        f"LEFT JOIN {_read_stage('left_scores', files, (*SCORE_COLUMNS, *left_metrics))} AS ls "
        "ON ls.image_id = s.image_id "
        f"LEFT JOIN {_read_stage('left_captions', files, CAPTION_COLUMNS)} AS lc ON lc.image_id = s.image_id"
    )


def _read_stage(stage: str, files: Mapping[str, Collection[str]], columns: Sequence[str]) -> str:
    if files[stage]:
        return f"(SELECT {', '.join(map(quote_name, columns))} FROM read_parquet(${stage}))"
    return f"(SELECT {', '.join(f'NULL::VARCHAR AS {quote_name(name)}' for name in columns)} WHERE false)"


def _describe_side(side: str, scores: str, captions: str) -> list[str]:
    return [
        f"left({captions}.caption, {MOST_TEXT}) AS {side}_caption",
        f"coalesce(length({captions}.caption) > {MOST_TEXT}, false) AS {side}_cut",
        f"CASE WHEN {captions}.image_id IS NULL THEN NULL WHEN {captions}.failure IS NOT NULL THEN 'failed' "
        f"WHEN {captions}.finish_reason = 'length' THEN 'truncated' "
        f"WHEN starts_with({scores}.failure, 'judge-') THEN 'judge_missing' ELSE 'ok' END AS {side}_status",
        f"left(coalesce({captions}.failure, {scores}.failure), 200) AS {side}_failure",
        f"left({scores}.rationale, {MOST_TEXT}) AS {side}_rationale",
    ]


def _finite(table: str, name: str) -> str:
    value = f"{table}.{quote_name(name)}::DOUBLE"
    return f"CASE WHEN isfinite({value}) THEN {value} END"

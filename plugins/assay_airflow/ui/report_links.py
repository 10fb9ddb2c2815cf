"""Turn a stored report's links into URLs of the pages, because its relative links lead to files below the root.

The route `api/report` calls this. Captions cannot look like such a link: the report escapes all quotes in them.
"""

import re
from urllib.parse import quote

RUN_LINK = re.compile(rb'(?<=<a href=")(?:\.\./)+runs/([A-Za-z0-9_.%-]+)/([A-Za-z0-9_.%-]+)/report\.html(?=")')
REJECTS_LINK = re.compile(rb'(?<=<a href=")(?:\.\./)+golden/[A-Za-z0-9_.%-]+/rejects\.html(?=")')


def serve_links(page: bytes, run: str) -> bytes:
    """Returns the report of a run with links that are relative to `api/report`, so that a proxy's prefix stays.

    A link to another report leads to that report's route, and the link to the rejects leads to the explorer.
    """
    rejects = f"../?page=explorer&amp;run={quote(run, safe='')}&amp;status=rejected".encode()
    return REJECTS_LINK.sub(lambda _: rejects, RUN_LINK.sub(rb"report?run=\1%2F\2", page))

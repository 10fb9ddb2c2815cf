"""Build the report's links: relative ones to files below the root, and addresses of Assay's pages in Airflow.

`report.page` calls this, and `gate.results_folders` moves the links of a copied report. A relative link climbs from the
report's folder to the root. So it works wherever the root is served or copied as a whole.
"""

import logging
import os
from dataclasses import dataclass
from urllib.parse import quote

PAGES_VARIABLE = "ASSAY_PAGES_URL"

log = logging.getLogger("assay")


@dataclass(frozen=True)
class Links:
    """Makes the links of one report.

    `depth` is the number of folders between the root and the report. None means that the report lies somewhere else, so
    it has no relative links. `pages_url` is the address of Assay's pages; empty if it is not known.
    """

    depth: int | None = None
    pages_url: str = ""

    def to_file(self, path: str) -> str:
        """A relative link to a file, from its path below the root; empty if the report lies elsewhere."""
        return "" if self.depth is None else f"{'../' * self.depth}{quote(path)}"

    def to_page(self, page: str, run: str) -> str:
        """The address of a page of the run `checkpoint_folder/run_id`; empty if the pages' address is not known."""
        return f"{self.pages_url}?page={page}&run={quote(run)}" if self.pages_url else ""


def read_pages_url() -> str:
    """The address of Assay's pages that this process was given; empty without one, or if it is no web address."""
    url = os.environ.get(PAGES_VARIABLE, "").strip()
    if url and not url.startswith(("http://", "https://")):  # a fault in a setting must not cost a run its verdict
        log.warning("the report has no links to Assay's pages: %s is not a web address", PAGES_VARIABLE)
        return ""
    return f"{url.rstrip('/')}/" if url else ""


def path_of_report(run: str) -> str:
    """The path of a run's report below the root, for the run `checkpoint_folder/run_id`."""
    return f"runs/{run}/report.html"


def path_of_run(root: str, run_uri: str) -> str:
    """`checkpoint_folder/run_id` of a run below the root; empty if the run lies elsewhere."""
    start = f"{root}/runs/"
    return run_uri.removeprefix(start) if run_uri.startswith(start) else ""


def measure_depth(root: str, folder_uri: str) -> int:
    """The number of folders between the root and a folder below it."""
    return len(folder_uri.removeprefix(root).strip("/").split("/"))


def move_links(html: bytes, depth: int, new_depth: int) -> bytes:
    """The page for another depth. Texts from outside have no bare quotes, so they never look like a link."""
    return html.replace(b'href="' + b"../" * depth, b'href="' + b"../" * new_depth)

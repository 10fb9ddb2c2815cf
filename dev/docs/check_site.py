"""Refuse a site if one of its pages loads anything from another host.

    python dev/docs/check_site.py .assay/site

`dev/docs/build.sh` runs it with the Python of the docs environment. It reads HTML (scripts, style sheets, images,
frames, fonts) and the addresses in style sheets. A link that a reader follows is not a resource.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

RESOURCE_ATTRIBUTES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "link": "href",
}
# Values of `rel` of a <link> that loads nothing.
LINKS_ONLY = {"next", "prev", "index", "search", "author", "copyright", "canonical"}
OUTSIDE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class Resources(HTMLParser):
    """Collects the addresses that a browser loads when it shows the page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and set((values.get("rel") or "").split()) <= LINKS_ONLY:
            return
        self.addresses.append(values.get(RESOURCE_ATTRIBUTES.get(tag, "")) or "")
        self.addresses += IN_STYLE.findall(values.get("style") or "")

    def handle_data(self, data: str) -> None:
        self.addresses += IN_STYLE.findall(data) if "@import" in data or "url(" in data else []


def list_outside_resources(site: Path) -> Iterator[str]:
    """A line for each resource from another host, with the file that loads it."""
    for file in sorted(site.rglob("*")):
        addresses: list[str] = []
        if file.suffix == ".html":
            resources = Resources()
            resources.feed(file.read_text())
            addresses = resources.addresses
        elif file.suffix in (".css", ".svg"):
            addresses = IN_STYLE.findall(file.read_text())
        yield from (f"{file.relative_to(site)}: loads {address}" for address in addresses if OUTSIDE.match(address))


def main(site: str) -> int:
    """Print the outside resources. Returns 1 if there are any."""
    lines = list(list_outside_resources(Path(site)))
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

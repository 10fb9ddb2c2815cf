"""The committed bundle of the pages is what their sources build to, and asks nothing of other hosts."""

import re

import pytest
from built_pages import STATIC, build_pages

FILES = ["app.css", "app.js", "licences.txt"]


@pytest.mark.parametrize("name", FILES)
def test_the_committed_bundle_is_what_the_sources_build_to(name: str) -> None:
    built = (build_pages() / name).read_bytes()
    assert (STATIC / name).read_bytes() == built, "run `make pages` and commit plugins/assay_airflow/ui/static"


def test_the_bundle_names_no_other_host() -> None:
    """Namespaces of XML are names, not addresses: no browser asks for them."""
    text = "".join((STATIC / name).read_text() for name in ("app.css", "app.js"))
    addresses = set(re.findall(r"https?://[\w./-]+|url\([^)]*\)|@import[^;]*", text))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/1999/xhtml",
    }


def test_the_bundle_never_reads_text_as_markup() -> None:
    sources = STATIC.parent / "web" / "src"
    text = "".join(path.read_text() for path in sources.rglob("*.ts*"))
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function", text)

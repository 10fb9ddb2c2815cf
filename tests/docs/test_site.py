"""The build of the site refuses each kind of fault, with the configuration that `make docs` uses."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
ENVIRONMENT = REPO / ".assay" / "docs" / "bin"
INDEX = "# Site\n\n```{toctree}\npage\n```\n"

pytestmark = pytest.mark.slow


def build(folder: Path, pages: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Build a site of these pages as dev/docs/build.sh builds ours."""
    for name, text in pages.items():
        (folder / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "docs" / name).write_text(text)
    shutil.copytree(REPO / "docs" / "static", folder / "conf" / "static")
    shutil.copytree(REPO / "docs" / "redirect", folder / "conf" / "redirect")
    shutil.copy(REPO / "docs" / "conf.py", folder / "conf")
    command: list[str | Path] = [
        str(ENVIRONMENT / "sphinx-build"),
        "-W",
        "--keep-going",
        "-q",
        "-E",
        "-c",
        str(folder / "conf"),
        str(folder),
        str(folder / "site"),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def check(site: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [ENVIRONMENT / "python", REPO / "dev" / "docs" / "check_site.py", site]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_sound_site_is_built(tmp_path: Path) -> None:
    page = "# Page\n\n## A part\n\n[here](#a-part), [there](index.md#site)\n\n```files\na.png\n```\n"
    built = build(tmp_path, {"index.md": INDEX, "page.md": page})
    assert (built.returncode, built.stderr) == (0, "")
    assert (tmp_path / "site" / "docs" / "page.html").exists()
    checked = check(tmp_path / "site")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        ({"page.md": "# Page\n\n[gone](gone.md)\n"}, "gone.md"),
        ({"page.md": "# Page\n\n[script](../dev/gone.py)\n"}, "../dev/gone.py"),
        ({"page.md": "# Page\n\n[part](index.md#gone)\n"}, "gone"),
        ({"page.md": "# Page\n\n[part](#gone)\n"}, "gone"),
        ({"page.md": "# Page\n\n![picture](gone.png)\n"}, "gone.png"),
        ({"page.md": "# Page\n", "alone.md": "# Alone\n"}, "isn't included in any toctree"),
        ({}, "nonexisting document"),
        ({"page.md": "# Page\n\n```nolanguage\nx\n```\n"}, "nolanguage"),
    ],
    ids=["page", "script", "anchor", "own-anchor", "picture", "outside-the-navigation", "navigation", "language"],
)
def test_a_fault_fails_the_build(tmp_path: Path, pages: dict[str, str], complaint: str) -> None:
    built = build(tmp_path, {"index.md": INDEX, **pages})
    assert built.returncode == 1
    assert complaint in built.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/x.css">'),
        ("a.html", '<link rel="preconnect" href="https://fonts.example">'),
        ("a.html", '<img src="http://example.org/x.png">'),
        ("a.html", "<style>@import 'https://fonts.example/x.css';</style>"),
        ("a.html", '<p style="background: url(https://example.org/x.png)">x</p>'),
        ("a.css", "@font-face { src: url('https://fonts.example/x.woff2') }"),
    ],
)
def test_a_resource_from_outside_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    checked = check(tmp_path)
    assert checked.returncode == 1
    assert "loads" in checked.stderr
    assert name in checked.stderr


def test_a_link_that_a_reader_follows_is_no_resource(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://example.org">x</a><link rel="canonical" href="https://example.org">'
    )
    assert check(tmp_path).returncode == 0

"""How Sphinx builds the site. `make docs` runs it; every warning is an error there.

The source folder is the whole repository, so that each link in each page is checked: also those of README.md, and those
from docs/ to a script. A link to a file that is no page becomes a download.
"""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "Assay"
copyright = "2026, the Assay developers"
extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "benchmarks/**.md",
    "demo/*.md",
    "docker/*.md",
    "examples/*.md",
    "helm/**.md",
    "requirements/*.md",
]
exclude_patterns = [
    ".*",
    "dags",
    "dev",
    "plugins",
    "ray_jobs",
    "tests",
    "demo/images",
    "demo/checkpoints*",
    "demo/judge",
]

myst_heading_anchors = 4  # the anchors that GitHub gives the same headings
myst_enable_extensions = ["dollarmath"]

html_theme = "furo"
html_title = "Assay"
html_extra_path = ["redirect"]  # the site's first page is docs/index.html
html_static_path = ["static"]
html_css_files = ["assay.css"]
html_copy_source = False
html_use_index = False
smartquotes = False  # `--sort` in a table of error lines is two dashes
copybutton_prompt_text = "$ "


def setup(app: Sphinx) -> None:
    """Blocks that a test reads by their language: plain text to the reader."""
    for language in ("files", "rows", "parquet", "tar"):
        app.add_lexer(language, TextLexer)

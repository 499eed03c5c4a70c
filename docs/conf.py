"""Configuration of the documentation site: `nox -s docs` builds it, warnings are errors.

The source folder is the root of the repository, so that relative links between pages are the same on the site
and in a repository browser: `sphinx-build -c docs . OUT`.
"""

import importlib
import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
REPO = DOCS.parent
sys.path.insert(0, str(DOCS / "site"))
# autodoc imports with TYPE_CHECKING set, in which the models of FastAPI cannot be built.
importlib.import_module("fastapi")

project = "voiceface"
author = "the voice-face authors"
copyright = "2026, the voice-face authors"
_version = re.search(r'^version = "(.+)"', (REPO / "shared" / "pyproject.toml").read_text(), re.MULTILINE)
release = version = _version[1] if _version else ""

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "api_reference",  # docs/site
    "plain_docstrings",  # docs/site
]
root_doc = "docs/index"
include_patterns = [
    *("docs/**", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"),
    *("packages/*/README.md", "shared/README.md", "third_party/*.md", "tests/parity/README.md"),
]
exclude_patterns = [
    *(
        ".*",
        "**/.*",
        "build",
        "dist",
        "runs",
        "benchmarks",
        "docs/site",
        "docs/images",
        "**/src",
        "**/site-packages",
    ),
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ.setdefault("OMP_NUM_THREADS", "1")

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_use_type_comments = False
autodoc_default_options = {"undoc-members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
suppress_warnings = ["ref.python"]

# The whole tree of the reference beside each of its pages would take longer than everything else.
html_sidebars = {"docs/api/**": []}
html_theme = "pydata_sphinx_theme"
html_title = f"voiceface {release}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_depth": 2,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "collapse_navigation": True,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}

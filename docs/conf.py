"""How `make docs` builds the site; `tests/test_site.py` builds it too, and looks at it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

# The API pages import the package, and Keras with it: before that, what the Makefile says to the tests as well.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxRole

import tiedio

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "tiedio"
release = version = tiedio.__version__
html_title = f"tiedio {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["benchmarks/results.json"]

# A page is read on the code host and on the site: plain Markdown, with links to headings as the host makes them.
myst_heading_anchors = 4

# Docstrings write `like this`; what is the name of something public becomes a link, the rest stays as it is.
default_role = "backticks"
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 72  # longer ones: an argument a line
toc_object_entries_show_parents = "hide"
# Lists of other projects' names lie on the network, where a build does not go.
nitpick_ignore_regex = [(r"py:class", r"(collections\.abc|hypothesis|os|pydot)\..*")]
# Private on purpose: "the class that was given", what parts of one file count together, what random models are made of.
nitpick_ignore = [
    ("py:class", "tiedio.serialization._Class"),
    ("py:class", "tiedio.allowance.Allowance"),
    ("py:class", "tiedio.testing.strategies_recipe.Recipe"),
]

html_theme = "furo"
pygments_dark_style = "github-dark"  # the default underlines what is imported
html_static_path = ["_static"]
html_css_files = ["tiedio.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

_PUBLIC = frozenset(tiedio.__all__)
_ROOT = Path(__file__).resolve().parents[1]
_LINK_OUT = re.compile(r"\[(?P<text>[^\]\n]+)\]\((?P<target>(?:\.\./)+[^)#\s]+)\)")


def _unlink_folders(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave the text alone of a link to a folder of the repository: the host shows it, the site has no page of it."""
    folder = (_ROOT / "docs" / docname).parent

    def unlinked(match: re.Match[str]) -> str:
        return match["text"] if (folder / match["target"]).is_dir() else match[0]

    source[0] = _LINK_OUT.sub(unlinked, source[0])


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Lead from where a name lives (`tiedio.manifest.Tie`) to where it is public (`tiedio.Tie`) and has a page."""
    target = str(node.get("reftarget", ""))
    name = target.rpartition(".")[2]
    public = f"tiedio.{name}"
    if node.get("refdomain") != "py" or not target.startswith("tiedio.") or name not in _PUBLIC or target == public:
        return None
    return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, contnode)


def _without_factories(
    _app: Sphinx, _what: str, _name: str, _value: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write a dataclass's default that a function makes as `...`: `<factory>` is no Python and breaks the layout."""
    return signature and signature.replace("<factory>", "..."), returned


class Backticks(SphinxRole):
    """What docstrings have between backticks: a link if it names something public for certain, else code.

    `tiedio.verify` and `Limits` do; `verify` may be an argument of that name.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the node; docutils calls it."""
        code = nodes.literal(self.rawtext, self.text)
        name = self.text.removeprefix("tiedio.")
        if name not in _PUBLIC or (name == self.text and name.islower()):
            return [code], []
        link = pending_xref(self.rawtext, code, refdomain="py", reftype="obj", reftarget=f"tiedio.{name}")
        link.attributes.update(refdoc=self.env.current_document.docname, refexplicit=False, refwarn=True)
        return [link], []


def setup(app: Sphinx) -> None:
    """Connect what stands above; Sphinx calls it."""
    app.add_role("backticks", Backticks())
    app.connect("source-read", _unlink_folders)
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-signature", _without_factories)

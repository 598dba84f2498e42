"""Put the scripts of live cells, of figures that move and of the claims on the pages that have some, and their files
beside them.

Without the script, from `file://` and in print a page keeps the outputs that it was built with, and a line
says how they come alive. `make live` makes the files.
"""

import shutil
from pathlib import Path

from answers import FIELD
from sphinx.errors import ExtensionError

_FIGURE = '<div class="explore"'
_CLAIMS = '<div class="claims-tool"'
_CELL = '<div class="cell tag_live'
_NOTE = (
    '<p class="live-note">The derivations on this page can be run and changed in the browser where the book is '
    "served: on its website, or by <code>make serve</code>.</p>\n"
)


def _files(app) -> Path:
    """`_build/live`, beside the staged sources."""
    return Path(app.srcdir).parent / "live"


def _check(app):
    if not (_files(app) / "sympy.zip").exists():
        raise ExtensionError(f"{_files(app)} lacks what live cells need; `make live` makes it")


def _add(app, pagename, templatename, context, doctree):
    body = context.get("body", "")
    if _CELL in body or FIELD in body:
        context["body"] = body.replace(_CELL, _NOTE + _CELL, 1)
        app.add_js_file("live/page.js", type="module")
    for part, script in ((_FIGURE, "figures"), (_CLAIMS, "claims")):
        if part in context.get("body", ""):
            app.add_js_file(f"live/{script}.js", loading_method="defer")


def _copy(app, exception):
    if exception is None and app.builder.format == "html":
        shutil.copytree(_files(app), Path(app.outdir) / "_static" / "live", dirs_exist_ok=True)


def setup(app):
    app.connect("builder-inited", _check)
    app.connect("html-page-context", _add)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""On a phone a figure stands with its panels one under another, where it was drawn so, too (`narrow/` of the stage)."""

import re
from pathlib import Path

_FIGURE = re.compile(r'<img alt="[^"]*" src="((?:\.\./)*)_images/([0-9a-f]{64}\.svg)" />')


def _add(app, pagename, templatename, context, doctree):
    kept = Path(app.srcdir) / "_static" / "narrow"

    def with_narrow(found):
        if not (kept / found[2]).exists():
            return found[0]
        narrow = f"{found[1]}_static/narrow/{found[2]}"
        return f'<picture><source media="(max-width: 600px)" srcset="{narrow}">{found[0]}</picture>'

    if app.builder.name == "html" and "body" in context:
        context["body"] = _FIGURE.sub(with_narrow, context["body"])


def setup(app):
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

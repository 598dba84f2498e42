"""Keep scripts out of the pages that they do not need.

Jupyter Book loads sphinx-thebe whether or not it is used; its configuration names a CDN and is
declared twice in a rebuilt page, which is a script error. The theme loads Font Awesome twice, as
fonts and as a script of 1.5 MB that draws the same icons.
"""

import re
from pathlib import Path

_ICONS = re.compile(r'\s*<(?:script|link)[^>]*fontawesome/[^"]*/js/[^>]*>(?:</script>)?')


def _without_thebe(app, pagename, templatename, context, doctree):
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script
        for script in scripts
        if "thebe"
        not in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]


def _without_icon_script(app, exception):
    if exception is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            if _ICONS.search(text):
                page.write_text(_ICONS.sub("", text), encoding="utf-8")
        for script in Path(app.outdir).glob("_static/vendor/fontawesome/*/js"):
            for file in script.iterdir():
                file.unlink()


def setup(app):
    app.connect("html-page-context", _without_thebe, priority=900)
    app.connect("build-finished", _without_icon_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

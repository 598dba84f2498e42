"""Keep scripts that would call the network out of the pages.

Jupyter Book loads sphinx-thebe whether or not it is used; its configuration names a CDN and is
declared twice in a rebuilt page, which is a script error.
"""


def _without_thebe(app, pagename, templatename, context, doctree):
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script
        for script in scripts
        if "thebe"
        not in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {}).get('body', '')}".lower()
    ]


def setup(app):
    app.connect("html-page-context", _without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

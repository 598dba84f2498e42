"""Let the book be built as a single page, from which its PDF is printed.

Some extension registers its nodes for `singlehtml` by name; Sphinx then forgets those that others
registered for `html`, which a single page is as well.
"""


def _with_all_nodes(app):
    known = app.registry.translation_handlers
    known["singlehtml"] = known.get("html", {}) | known.get("singlehtml", {})
    if app.builder.name == "singlehtml":  # its first page has no equation, the others have
        app.set_html_assets_policy("always")


def setup(app):
    app.connect("builder-inited", _with_all_nodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

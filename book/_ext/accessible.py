"""Mend what screen readers stumble over in the pages as Sphinx and its extensions make them."""

_MENDED = {
    # A name that hides the text that can be seen.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # A list whose entries are not list items.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}


def _mend(app, pagename, templatename, context, doctree):
    for fault, right in _MENDED.items():
        if "body" in context:
            context["body"] = context["body"].replace(fault, right)


def setup(app):
    app.connect("html-page-context", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

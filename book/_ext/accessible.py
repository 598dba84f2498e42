"""Mend what screen readers stumble over in the pages as Sphinx and its extensions make them."""

from sphinx.errors import ExtensionError

_MENDED = {
    # A name that hides the text that can be seen.
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # A list whose entries are not list items.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
# What this build has mended, and the pages that it wrote.
_found, _pages = set(), set()


def _mend(app, pagename, templatename, context, doctree):
    for fault, right in _MENDED.items():
        if fault in context.get("body", ""):
            context["body"] = context["body"].replace(fault, right)
            _found.add(fault)
    _pages.add(pagename)


def _check(app, exception):
    """A fault that no page has any more is another fault now, or none: in a build of all pages it is looked for."""
    whole = app.builder.name == "html" and set(app.env.found_docs) <= _pages
    if exception is None and whole and (gone := [fault for fault in _MENDED if fault not in _found]):
        raise ExtensionError(f"no page has {gone[0]} any more: look at what accessible.py mends")


def setup(app):
    app.connect("html-page-context", _mend)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

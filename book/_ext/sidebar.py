"""Fold the parts of the book in the sidebar, the one that is read left open, so that all parts can be seen at once."""

from bs4 import BeautifulSoup


def _folded(listing) -> str:
    soup = BeautifulSoup(str(listing), "html.parser")
    for caption in soup.select("p.caption"):
        chapters = caption.find_next_sibling("ul")
        part = soup.new_tag("details", attrs={"class": "part"})
        if chapters.select_one(".current"):
            part["open"] = ""
        name = soup.new_tag("summary")
        name.string = caption.get_text()
        caption.replace_with(part)
        part.extend([name, chapters.extract()])
    return str(soup)


def _wrap(app, pagename, templatename, context, doctree):
    listed = context.get("generate_toctree_html")
    if listed:
        context["generate_toctree_html"] = lambda *given, **named: (
            _folded(listed(*given, **named)) if named.get("kind") == "sidebar" else listed(*given, **named)
        )


def setup(app):
    app.connect("html-page-context", _wrap, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

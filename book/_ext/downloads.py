"""A line at the end of every chapter with its notebooks, and on the home page with the whole book."""

from replication.pages.publish import repository


def _links(app, pagename):
    up = "../" * pagename.count("/") + "downloads/"
    folder, _, name = pagename.rpartition("/")
    if folder == "notebooks":
        yield f"{up}{name}.ipynb", "this chapter as a notebook"
        yield f"{up}{name}-executed.ipynb", "with its outputs"
        if repository().startswith("https://github.com/"):
            project = repository().removeprefix("https://github.com/")
            yield f"https://colab.research.google.com/github/{project}/blob/notebooks/{name}.ipynb", "open it in Colab"
    if pagename == app.config.root_doc:
        yield f"{up}book.zip", "this book, to read offline"
        if (app.srcdir / "extra" / "downloads" / "book.pdf").exists():
            yield f"{up}book.pdf", "as a PDF"


def _add(app, pagename, templatename, context, doctree):
    links = [f'<a href="{address}">{text}</a>' for address, text in _links(app, pagename)]
    if links and doctree is not None and app.builder.name == "html":
        context["body"] += f'<p class="downloads">Take along: {" · ".join(links)}</p>\n'


def _home(app, env, added, changed, removed):
    """Home is written each time: it says whether there is a PDF, which Sphinx copies only when some page is written."""
    return [app.config.root_doc]


def setup(app):
    app.connect("env-get-outdated", _home)
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

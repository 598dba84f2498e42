"""Set the numbers that pages take from their code as the tables do: with minus signs, and powers of ten raised."""

from docutils import nodes

from replication.pages.typeset import numerals


def _set(app, doctree):
    for pasted in doctree.findall(nodes.inline):
        if "pasted-text" in pasted["classes"]:
            parts = [part for piece in numerals(pasted.astext()) for part in _nodes(*piece)]
            pasted.children = []
            pasted += parts


def _nodes(text, power):
    yield nodes.Text(text)
    if power:
        yield nodes.superscript(power, power)


def setup(app):
    app.connect("doctree-read", _set)

"""Link the first use of a glossary's term on every page to its entry."""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

# Words of everyday use, which pages link by the role `term` where they mean the entry.
_COMMON = {"block", "branch", "chain", "entropy", "cell", "effect", "scope", "stack", "filter", "fan"}
# Where a word is no running text of the page's own.
_ELSEWHERE = (nodes.reference, nodes.title, nodes.literal, nodes.raw, nodes.math, nodes.caption, addnodes.pending_xref)


def _read(app):
    entries = re.findall(r"(?m)^(\S.*)\n  \S", (Path(app.srcdir) / "book" / "glossary.md").read_text(encoding="utf-8"))
    app.env.glossary_terms = sorted(set(entries) - _COMMON, key=len, reverse=True)


def _link(app, doctree):
    if app.env.docname == "book/glossary":
        return
    waiting = {term: re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", re.I) for term in app.env.glossary_terms}
    for paragraph in list(doctree.findall(nodes.paragraph)):
        texts = list(paragraph.findall(nodes.Text))[::-1]
        while texts:
            text = texts.pop()
            if not _own(text):
                continue
            found = {term: match for term, pattern in waiting.items() if (match := pattern.search(text))}
            if found:
                term = min(found, key=lambda each: (found[each].start(), -len(each)))
                del waiting[term]
                parts = _split(app, text, term, found[term])
                text.parent.replace(text, parts)
                texts += [part for part in reversed(parts) if isinstance(part, nodes.Text)]


def _own(text):
    node = text.parent
    while node is not None:
        if isinstance(node, _ELSEWHERE):
            return False
        node = node.parent
    return True


def _split(app, text, term, match):
    shown = nodes.inline(match[0], match[0], classes=["xref", "std", "std-term"])
    link = addnodes.pending_xref(
        "", shown, refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True,
        refdoc=app.env.docname,
    )  # fmt: skip
    parts = [nodes.Text(text[: match.start()]), link, nodes.Text(text[match.end() :])]
    return [part for part in parts if part is link or part.astext()]


def setup(app):
    app.connect("builder-inited", _read)
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The directive `answer`: a field under an exercise whose answer SymPy checks in the reader's browser.

The right answer is the directive's argument, in SymPy's words; `names` are the symbols that it may contain, `ask` is
what stands before the field. Without scripts there is no field, and the solution stands below.
"""

import html

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

FIELD = '<form class="answer"'


class Answer(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"names": directives.unchanged, "ask": directives.unchanged_required}

    def run(self):
        right, names = (html.escape(text, quote=True) for text in (self.arguments[0], self.options.get("names", "")))
        ask = html.escape(self.options.get("ask", "Your answer"))
        field = (
            f'{FIELD} data-right="{right}" data-names="{names}"><label>{ask} <input type="text" autocomplete="off" '
            'autocapitalize="off" spellcheck="false"></label> <button>Check</button> <output></output></form>'
        )
        return [nodes.raw("", field, format="html")]


def setup(app):
    app.add_directive("answer", Answer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The role `paper`: a link to a section or an equation of the paper's text at arXiv, {paper}`3.1` or {paper}`Eq. 6`."""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxRole

_TEXT = "https://arxiv.org/html/2308.14938v2"
# The last equation of each section that has some.
_LAST_EQUATION = {2: 2, 3: 18, 4: 23, 5: 25}


class Paper(SphinxRole):
    def run(self):
        section = re.fullmatch(r"(\d)(?:\.(\d))?", self.text)
        equation = re.fullmatch(r"Eq\. (\d+)", self.text)
        if section:
            anchor, shown = f"S{section[1]}" + (f".SS{section[2]}" if section[2] else ""), f"Section {self.text}"
        elif equation:
            number = int(equation[1])
            within = next(part for part, last in _LAST_EQUATION.items() if number <= last)
            anchor, shown = f"S{within}.E{number}", self.text
        else:
            raise ValueError(f"the role paper takes a section or an equation, such as 3.1 or Eq. 6, got {self.text!r}")
        return [nodes.reference("", shown, refuri=f"{_TEXT}#{anchor}")], []


def setup(app):
    app.add_role("paper", Paper())
    return {"parallel_read_safe": True, "parallel_write_safe": True}

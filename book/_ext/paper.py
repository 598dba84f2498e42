"""The role `paper`: a link to a section of the paper's text at arXiv, such as {paper}`3.1`."""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxRole

_TEXT = "https://arxiv.org/html/2308.14938v2"


class Paper(SphinxRole):
    def run(self):
        found = re.fullmatch(r"(\d)(?:\.(\d))?", self.text)
        if not found:
            raise ValueError(f"the role paper takes the number of a section, such as 3.1, got {self.text!r}")
        anchor = f"S{found[1]}" + (f".SS{found[2]}" if found[2] else "")
        return [nodes.reference("", f"Section {self.text}", refuri=f"{_TEXT}#{anchor}")], []


def setup(app):
    app.add_role("paper", Paper())
    return {"parallel_read_safe": True, "parallel_write_safe": True}

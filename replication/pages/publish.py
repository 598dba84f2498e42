"""What a reader takes along: a chapter as a notebook, the book as a zip and as a PDF.

`$BOOK_REPOSITORY`, such as `https://github.com/owner/name`, is set where the book is published; elsewhere nobody knows
the project's address, and notebooks say so.
"""

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat

_FETCH = """\
# In Colab, or wherever the project is not at hand: fetch it as it was when this book was built.
try:
    import replication
except ImportError:
    !test -d entropy || git clone --quiet {repository} entropy && git -C entropy checkout --quiet {commit}
    !grep -v "^torch" entropy/constraints.txt > entropy/pinned.txt  # the torch that is there knows its GPU
    %pip install --quiet --constraint entropy/pinned.txt --editable ./entropy --editable ./entropy/replication
    import site, sys; [site.addsitedir(folder) for folder in sys.path if folder.endswith("-packages")]
"""
_HERE = "Run this notebook in a checkout of the project, with the environment that `make book` makes."


def repository() -> str:
    """The project's address for a browser, or nothing where it is unknown.

    Raises:
        ValueError: an address that is none of a repository.
    """
    given = os.environ.get("BOOK_REPOSITORY", "").strip()
    by_key = re.fullmatch(r"(?:ssh://)?git@([^:/]+)[:/](.+)", given)
    address = f"https://{by_key[1]}/{by_key[2]}" if by_key else given
    address = address.removesuffix("/").removesuffix(".git")
    if given and not re.fullmatch(r"https?://[^\s/]+/[^\s]*[^\s/]", address):
        raise ValueError(f"BOOK_REPOSITORY must be such as https://github.com/owner/name, got {given!r}")
    return address


def clean(source: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """A chapter without outputs, and before it a cell that makes the project available."""
    notebook = copy.deepcopy(source)
    if repository():
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
        first = nbformat.v4.new_code_cell(_FETCH.format(repository=repository(), commit=commit or "main"))
    else:
        first = nbformat.v4.new_markdown_cell(_HERE)
    first.id = "before-you-start"  # a fixed one: the same notebook twice is the same file
    notebook.cells.insert(0, first)
    return notebook


def archive(site: Path) -> Path:
    """`downloads/book.zip` within the site: all of it, for reading offline."""
    target = site / "downloads" / "book.zip"
    target.unlink(missing_ok=True)
    packed = Path(shutil.make_archive(str(site.parent / "book"), "zip", site))
    target.parent.mkdir(exist_ok=True)
    return packed.rename(target)

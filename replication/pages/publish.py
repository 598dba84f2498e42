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
from typing import Any

import nbformat

from replication.files import write_atomically

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


# Width in pixels of what stands between the margins, which are 670 pixels apart at full size.
_PAPER = 800
# What a click opens on the screen lies open on paper; what scrolls on the screen is made to fit.
FOR_PAPER = """() => {
  for (const part of document.querySelectorAll('.toggle-hidden')) part.classList.remove('toggle-hidden');
  for (const part of document.querySelectorAll('table.claims details, details.origin')) part.open = true;
  for (const formula of document.querySelectorAll('mjx-container[display="true"]')) {
    const wide = formula.scrollWidth / formula.parentElement.clientWidth;
    if (wide > 1) formula.style.fontSize = `${Math.floor(100 / wide) - 1}%`;
  }
  for (const table of document.querySelectorAll('.cell_output table')) {
    const wide = table.scrollWidth / table.parentElement.clientWidth;
    if (wide > 1) table.style.zoom = 0.99 / wide;
  }
}"""


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


def print_page(page: Path, pdf: Path) -> Path:
    """Print a built page to A4 by Chromium, with bookmarks of its headings.

    Raises:
        RuntimeError: Chromium is missing; `make browser` installs it.
    """
    from playwright.sync_api import Error, sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    number = '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        except Error as error:
            raise RuntimeError("no Chromium on this machine; `make browser` installs it") from error
        tab = browser.new_page(color_scheme="light", viewport={"width": _PAPER, "height": 1000})
        tab.emulate_media(media="print")
        tab.goto(page.as_uri())
        tab.wait_for_function(
            "window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => true)", timeout=120_000
        )
        tab.evaluate(FOR_PAPER)
        options: dict[str, Any] = {"format": "A4", "print_background": True, "outline": True, "tagged": True}
        options["scale"] = 670 / _PAPER
        options["margin"] = {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
        write_atomically(
            pdf,
            lambda temporary: tab.pdf(
                path=str(temporary), display_header_footer=True, header_template="<span></span>",
                footer_template=number, **options,
            ),
        )  # fmt: skip
        browser.close()
    return pdf

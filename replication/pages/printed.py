"""Pages on paper; and the whole book, with a title page, contents, running heads, and the page beside each reference.

Chromium sets all but the numbers: it knows no page of another place. So the book is printed, the places of its headings
are read from the file, written where they are asked for, and it is printed again, until no place has moved.
"""

import datetime
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright
from pypdf import PdfReader

from replication.files import write_atomically
from replication.pages.crate import citation

# Width in pixels of what stands between the margins, which are 670 pixels apart at full size.
PAPER = 800
# What a click opens on the screen lies open on paper; what scrolls on the screen is made to fit.
FOR_PAPER = """() => {
  for (const part of document.querySelectorAll('.toggle-hidden')) part.classList.remove('toggle-hidden');
  for (const part of document.querySelectorAll('.cell_output details, details.origin')) part.open = true;
  for (const formula of document.querySelectorAll('mjx-container[display="true"]')) {
    const wide = formula.scrollWidth / formula.parentElement.clientWidth;
    if (wide > 1) formula.style.fontSize = `${Math.floor(100 / wide) - 1}%`;
  }
  for (const table of document.querySelectorAll('.cell_output table')) {
    const wide = table.scrollWidth / table.parentElement.clientWidth;
    if (wide > 1) table.style.zoom = 0.99 / wide;
  }
}"""

_SHEET: dict[str, Any] = {"print_background": True, "outline": True, "tagged": True, "scale": 670 / PAPER}
# Numbers have a width of their own, so that what they are moves little.
_PASSES = 4
BOOK = Path(__file__).with_name("templates") / "printed.js"
_NUMBER = """(pages) => {
  for (const number of document.querySelectorAll('.page-number')) {
    const page = pages[number.dataset.target] ?? '000';
    number.textContent = number.matches('.beside') ? ` (p. ${page})` : page;
  }
  return [...document.querySelectorAll('.page-number')].map((number) => number.dataset.target);
}"""


@contextmanager
def opened(page: Path) -> Iterator[Page]:
    """A built page in Chromium, with its formulas set and all that a click opens laid open.

    Raises:
        RuntimeError: Chromium is missing, which `make browser` installs; or it cannot open or print the page.
    """
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        except Error as error:
            raise RuntimeError("no Chromium on this machine; `make browser` installs it") from error
        with launched as browser:
            try:
                tab = browser.new_page(color_scheme="light", viewport={"width": PAPER, "height": 1000})
                tab.emulate_media(media="print")
                tab.goto(page.as_uri())
                tab.wait_for_function(
                    "window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => true)", timeout=120_000
                )
                tab.evaluate(FOR_PAPER)
                yield tab
            except Error as error:
                raise RuntimeError(f"{page.name} cannot be printed: {error}") from error


def print_page(page: Path, pdf: Path) -> Path:
    """Print a built page to A4 by Chromium, with bookmarks of its headings.

    Raises:
        RuntimeError: Chromium is missing, which `make browser` installs; or it cannot open or print the page.
    """
    number = '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
    options = _SHEET | {"format": "A4", "margin": {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}}
    options |= {"display_header_footer": True, "header_template": "<span></span>", "footer_template": number}
    with opened(page) as tab:
        write_atomically(pdf, lambda temporary: tab.pdf(path=str(temporary), **options))
    return pdf


def print_book(page: Path, pdf: Path) -> Path:
    """Print a page that holds the whole book.

    Raises:
        RuntimeError: Chromium is missing, which `make browser` installs; a place that no page is known of; numbers that
            do not settle.
    """
    cited = citation()
    (paper,) = cited["references"]
    names = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    about = {
        "name": cited["title"],
        "about": f"A reproducible companion to “{paper['title']}” by {names} ({paper['journal']}, {paper['year']})",
        "made": f"Version {cited['version']}, printed on {datetime.date.today():%d %B %Y}. {cited['license']} License.",
    }
    with opened(page) as tab:
        tab.evaluate(BOOK.read_text(encoding="utf-8"), about)
        return write_atomically(pdf, lambda path: _settled(tab, path))


def _settled(tab: Page, path: Path) -> None:
    """Print until the numbers on the pages are those of the places."""
    written: dict[str, int] = {}
    for _ in range(_PASSES):
        asked = tab.evaluate(_NUMBER, written)
        tab.pdf(path=str(path), prefer_css_page_size=True, **_SHEET)
        known = places(path)
        if lost := sorted(set(asked) - set(known)):
            raise RuntimeError(f"no page is known of {', '.join(lost)}")
        if known == written:
            return
        written = known
    raise RuntimeError(f"page numbers have not settled in {_PASSES} prints")


def places(pdf: Path) -> dict[str, int]:
    """The page, from 1, of every place in a PDF that a link leads to."""
    reader = PdfReader(pdf)
    found: Mapping[str, Any] = reader.named_destinations
    pages = {name.removeprefix("/"): reader.get_destination_page_number(where) for name, where in found.items()}
    return {name: number + 1 for name, number in pages.items() if number is not None}

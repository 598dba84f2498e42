"""The built book in a real browser, with everything but this machine blocked."""

import functools
import gzip
import html
import http.server
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest
from playwright.sync_api import sync_playwright
from pypdf import PdfReader

from replication.pages import book, printed
from replication.pages.verdicts import shown
from replication.verdicts import ledger
from replication.verdicts.claim import load_claims
from tests.test_book import executed  # noqa: F401
from tests.test_project import ROOT

pytestmark = pytest.mark.browser
PAGES = [f"notebooks/{chapter.name}.html" for chapter in book.chapters()] + [
    f"book/{name}.html" for name in ("notation", "hosting", "api", "glossary", "bibliography")
]


@pytest.fixture(scope="session")
def site(executed):  # noqa: F811
    return book.build()


@pytest.fixture(scope="session")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        if not path and not os.path.exists(playwright.chromium.executable_path):
            if os.environ.get("REQUIRE_BROWSER"):
                pytest.fail("no Chromium on this machine, and REQUIRE_BROWSER is set; `make browser` installs it")
            pytest.skip("no Chromium on this machine; `make browser` installs it")
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Open a page; hand it over with the list of what went wrong."""
    contexts = []

    def open_page(path: str, width: int = 1200, scheme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        wrong = []

        def guard(route):
            if route.request.url.startswith(address):
                return route.continue_()
            wrong.append(f"request to {route.request.url}")
            return route.abort()

        context.route(re.compile(r"^https?://"), guard)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", state="attached")
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


def weight(site, page) -> int:
    """Bytes that a web server sends for the page, as it compresses what is text."""
    entries = page.evaluate("performance.getEntries().map(entry => entry.name).filter(name => name.startsWith('http'))")
    files = {site / entry.split("/", 3)[3].partition("?")[0] for entry in entries}
    raw = [file.read_bytes() for file in files if file.is_file()]
    return sum(min(len(part), len(gzip.compress(part))) for part in raw)


def serious_faults(page, *left_out: str) -> list[str]:
    """What axe-core finds in the page's main part that keeps people out, by its rules without those left out."""
    page.add_script_tag(path=ROOT / "live" / "node_modules" / "axe-core" / "axe.min.js")
    found = page.evaluate("axe.run('main', {resultTypes: ['violations']}).then(result => result.violations)")
    return [
        f"{fault['id']}: {len(fault['nodes'])} x {fault['nodes'][0]['html'][:160]}"
        for fault in found
        if fault["impact"] in ("serious", "critical") and fault["id"] not in left_out
    ]


@pytest.mark.parametrize("path", PAGES)
def test_page_loads_offline_light_and_without_errors_faults_or_raw_latex(visit, site, path):
    page, wrong = visit(path)
    assert wrong == []
    assert 1e5 < weight(site, page) < 3e6
    page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
    visible = page.evaluate(
        """() => {
          const body = document.querySelector('article').cloneNode(true);
          body.querySelectorAll('pre, code, mjx-container, script').forEach(node => node.remove());
          return body.textContent;
        }"""
    )
    assert not re.search(r"\\(frac|log|det|mathbb|begin|lambda|text)\b|\$\$", visible)
    assert "{glue" not in visible and "{ref}" not in visible and "{eq}" not in visible
    assert page.locator("mjx-merror").count() == 0
    assert page.locator("article h1").count() == 1
    assert serious_faults(page) == []

    for figure in page.locator(".cell_output figure").all():
        image = figure.locator("img")
        assert image.get_attribute("alt") and figure.locator("figcaption").inner_text()
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


@pytest.mark.parametrize("path", PAGES)
def test_page_fits_a_phone_and_is_accessible_in_the_dark(visit, path):
    page, _ = visit(path, width=390, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    # What scrolls within itself on a phone is moved by a finger, and by browsers' own keyboard focus.
    assert serious_faults(page, "scrollable-region-focusable") == []


def test_toggles_open_and_close(visit):
    page, wrong = visit("notebooks/dense.html")
    source = page.locator("details.hide").first
    assert not source.evaluate("details => details.open")
    source.locator("summary").first.click()
    assert source.evaluate("details => details.open")
    proof = page.locator(".admonition.dropdown").first
    body = proof.locator("p:not(.admonition-title)").first
    assert not body.is_visible()
    proof.locator(".toggle-button").click()
    assert body.is_visible() and wrong == []


def test_dark_mode_has_light_ink(visit):
    page, _ = visit("notebooks/autoencoder.html", scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    filters = page.locator(".cell_output figure img").evaluate_all(
        "images => images.map(image => [!!image.closest('.tag_photo'), getComputedStyle(image).filter])"
    )
    assert all(("invert" in style) != photo for photo, style in filters) and any(photo for photo, _ in filters)


def test_home_answers_in_one_screen(visit):
    """Question, answer, three doors and the figure, before anything is scrolled; on a phone the caption may follow."""
    for width, height in ((1280, 800), (390, 844)):
        page, wrong = visit("notebooks/home.html", width=width)
        page.set_viewport_size({"width": width, "height": height})
        parts = [
            page.locator("article h1"),
            page.locator("p.promises"),
            page.locator(".doors"),
            page.locator("figure img"),
        ]
        ends = [part.bounding_box()["y"] + part.bounding_box()["height"] for part in parts]
        assert ends == sorted(ends) and ends[-1] <= height and wrong == []
    assert page.locator(".doors a").evaluate_all("doors => doors.length") == 3


def test_the_sidebar_shows_every_part_and_opens_the_one_that_is_read(visit):
    page, _ = visit("notebooks/dense.html", width=1280)
    page.set_viewport_size({"width": 1280, "height": 800})
    parts = page.locator("details.part > summary")
    assert parts.count() >= 5 and all(part.bounding_box()["y"] < 800 for part in parts.all())
    assert page.locator("details.part[open] > summary").all_inner_texts() == ["The theory, step by step"]
    page.get_by_text("The experiments", exact=True).click()
    assert page.get_by_role("link", name="Performance of the sweeps").first.is_visible()


def test_panels_stand_one_under_another_on_a_phone(visit):
    for width, narrow in ((390, True), (1200, False)):
        page, wrong = visit("notebooks/entropy.html", width=width)
        image = page.locator("#fig-cloud img")
        image.scroll_into_view_if_needed()
        assert ("narrow" in image.evaluate("image => image.currentSrc")) == narrow
        size = image.bounding_box()
        assert (size["height"] > size["width"]) == narrow and size["width"] <= width and wrong == []


def test_a_figure_says_where_it_comes_from_when_it_is_asked(visit):
    page, _ = visit("notebooks/entropy.html")
    origin = page.locator("details.origin").first
    assert "notebooks/entropy.md" not in origin.inner_text()
    origin.locator("summary").click()
    assert "notebooks/entropy.md" in origin.inner_text()


def test_search_finds_corollary_6(visit):
    page, wrong = visit("search.html?q=Corollary+6")
    page.wait_for_selector("#search-results li")
    assert "Corollary 6" in page.locator("#search-results").inner_text() and wrong == []


def links(site, path: str, css: str) -> list[str]:
    """Addresses of a built page's links that have this class or stand in a paragraph of it, without a browser."""
    text = (site / path).read_text()
    found = re.findall(rf'<a class="[^"]*\b{css}\b[^"]*" href="([^"]+)"', text)
    return found + [
        link
        for part in re.findall(rf'<p class="{css}">(.*?)</p>', text, re.S)
        for link in re.findall(r'href="([^"]+)"', part)
    ]


@pytest.mark.parametrize("path", PAGES)
def test_links_between_pages_lead_somewhere(site, path):
    for link in links(site, path, "internal"):
        target, _, anchor = html.unescape(link).partition("#")
        file = (site / path).parent / target if target else site / path
        assert file.exists(), f"{path} links to {link}"
        assert not anchor or f'id="{anchor}"' in file.read_text(), f"{path} links to {link}"


def test_the_first_use_of_a_word_of_the_glossary_leads_to_its_entry(site):
    page = (site / "notebooks" / "autoencoder.html").read_text()
    for word in ("horizon", "trial", "square part"):
        entry = f'href="../book/glossary.html#term-{word.replace(" ", "-")}"'
        assert page.count(entry) == 1, word


def test_numbers_that_prose_takes_from_code_have_minus_signs_and_raised_powers(site):
    pasted = [
        text
        for page in (site / "notebooks").glob("*.html")
        for text in re.findall(r'<span class="pasted-text">([^<]*)', page.read_text(encoding="utf-8"))
    ]
    assert any("−" in text for text in pasted)
    assert [text for text in pasted if re.search(r"(?<![\w)])-\d|\de[+-]?\d", text)] == []


def test_what_is_offered_for_download_is_there(site):
    for path in [page for page in PAGES if page.startswith("notebooks/")]:
        offered = [link for link in links(site, path, "downloads") if not link.startswith("http")]
        assert len(offered) >= 2
        assert all(((site / path).parent / link).stat().st_size > 0 for link in offered)
    assert (site / "downloads" / "book.zip").stat().st_size < 60e6 and (site / "404.html").exists()


def test_every_mark_on_the_home_page_leads_to_its_claim(visit, site):
    page, _ = visit("notebooks/home.html")
    links = page.locator("table.marks a").evaluate_all("links => links.map(link => link.hash.slice(1))")
    assert sorted(links) == sorted(claim.id for claim in load_claims(ROOT / "claims.yml"))
    text = (site / "notebooks" / "claims.html").read_text()
    assert all(f'id="{link}"' in text for link in links)


def test_the_page_claims_agrees_with_the_records(site):
    table = ledger.rows()
    page = (site / "notebooks" / "claims.html").read_text()
    assert shown(page) == dict(zip(table.id, table.verdict, strict=True))


def claims_shown(page) -> list[str]:
    return page.locator("table.claims tr[data-claim]:visible").evaluate_all(
        "rows => rows.map(row => row.dataset.claim)"
    )


def test_claims_are_filtered_sorted_searched_and_sent_by_address(visit, address):
    table = ledger.rows()
    page, wrong = visit("notebooks/claims.html")
    assert sorted(claims_shown(page)) == sorted(table.id)
    bar, effects = page.locator(".claims-bar"), page.locator("table.forest tr[data-claim]:visible")
    every = effects.count()
    bar.get_by_role("button", name="fails").click()
    assert sorted(claims_shown(page)) == sorted(table.id[table.verdict == "fails"])
    assert bar.get_by_role("button", name="fails").get_attribute("aria-pressed") == "true"
    bar.get_by_role("button", name="holds").click()
    bar.get_by_label("Part").select_option("entropy flow")
    wanted = table[(table.section == "5") & table.verdict.isin(["fails", "holds"])]
    assert claims_shown(page) == wanted.id.tolist() and effects.count() == 0 < every
    assert page.locator("tr.part:visible").all_inner_texts() == ["entropy flow"]
    assert bar.get_by_role("status").inner_text() == f"{len(wanted)} of {len(table)} claims."
    bar.get_by_label("Order").select_option("by name")
    assert claims_shown(page) == sorted(wanted.id) and page.locator("tr.part:visible").count() == 0
    # The view is in the address; a word that is nowhere leaves nothing, "all" brings everything back.
    again, _ = visit(page.url.removeprefix(address))
    assert claims_shown(again) == sorted(wanted.id)
    bar.get_by_label("Search").fill("xyzzy")
    assert claims_shown(page) == [] and "0 of" in bar.get_by_role("status").inner_text()
    bar.get_by_role("button", name="all", exact=True).click()
    assert len(claims_shown(page)) == len(table) and "?" not in page.url
    bar.get_by_label("Search").fill("stopping epoch")
    assert "ae-fewer-epochs" in claims_shown(page) and "theorem-2" not in claims_shown(page) and wrong == []


def test_a_claim_that_the_address_names_is_shown_with_its_test_whatever_is_filtered(visit):
    page, wrong = visit("notebooks/claims.html?verdict=holds#ae-fewer-epochs")
    row = page.locator("#ae-fewer-epochs")
    assert row.is_visible() and row.locator("dl").is_visible() and row.evaluate("row => row.matches(':target')")
    page.evaluate("location.hash = 'theorem-2'")
    page.locator("#theorem-2 dl").wait_for()
    assert page.locator("#theorem-2 mjx-container").count() and wrong == []


def test_without_scripts_the_whole_table_of_claims_stands(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}notebooks/claims.html")
    assert page.locator("table.claims tr[data-claim]:visible").count() == len(ledger.rows())
    assert page.locator(".claims-bar").count() == 0
    context.close()


# --- Live cells ----------------------------------------------------------------------------------


def button(cell, name):
    return cell.get_by_role("button", name=name, exact=True)


def add(page, cell, line):
    """Edit a cell: a line at its end."""
    button(cell, "Edit").click()
    cell.locator(".cm-editor").wait_for()
    page.keyboard.press("Control+End")
    page.keyboard.type(f"\n{line}")


def test_live_cells_run_edit_reset_and_stop(visit):
    page, wrong = visit("notebooks/dense.html")
    cells = page.locator("div.cell.tag_live")
    fetched = []
    page.context.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    built = cells.nth(2).locator(".cell_output").inner_text()
    assert not page.locator(".live-note").is_visible()

    # Run takes the cells above with it, and typesets.
    button(cells.nth(2), "Run").click()
    cells.nth(2).locator(".live-output mjx-container").wait_for(timeout=60_000)
    assert {"worker.js", "pyodide.asm.wasm", "sympy.zip"} <= set(fetched) and "editor.js" not in fetched
    assert cells.nth(1).get_by_role("status").inner_text() == "" and cells.nth(3).locator(".live-output").count() == 0
    assert re.match(r"ran in \d+\.\d\d s", cells.nth(2).get_by_role("status").inner_text())
    assert cells.nth(2).locator(".live-output").inner_text().split() == built.split()

    # Edit: the cells below use what was changed; "/" belongs to the editor, not to the page's search.
    add(page, cells.nth(2), "V = V / 2; print('halved')")
    page.keyboard.press("Shift+Enter")
    cells.nth(2).locator(".live-output").get_by_text("halved").wait_for()
    button(cells.nth(3), "Run").click()
    cells.nth(3).locator(".live-error").wait_for()
    assert "AssertionError: this step is false: det W = 18" in cells.nth(3).locator(".live-error").inner_text()

    # Reset brings back the text and the output of the book.
    button(cells.nth(2), "Reset").click()
    assert cells.nth(2).locator(".cell_output").inner_text().split() == built.split()
    assert cells.nth(2).locator(".cm-editor").count() == 0 and cells.nth(2).locator("pre").first.is_visible()

    # Stop ends an endless loop; Python starts again by itself.
    add(page, cells.nth(3), "while True: pass")
    button(cells.nth(3), "Run").click()
    page.wait_for_timeout(500)
    button(cells.nth(3), "Stop").click()
    assert "stopped" in cells.nth(3).get_by_role("status").inner_text()
    button(cells.nth(3), "Reset").click()
    button(cells.nth(3), "Run").click()
    cells.nth(3).get_by_text("✓ det W = 18").wait_for(timeout=60_000)
    assert cells.nth(3).locator(".live-error").count() == 0 and wrong == []


def test_python_is_fetched_when_somebody_comes_near_and_says_how_far_it_is(visit):
    page, wrong = visit("notebooks/dense.html")
    cell, fetched = page.locator("div.cell.tag_live").first, []
    page.context.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    cell.scroll_into_view_if_needed()
    cell.locator(".cell_input").hover()
    page.wait_for_timeout(400)
    assert fetched == []  # a reader who only reads
    page.evaluate("""() => {
        window.told = [];
        const watch = new MutationObserver((all) => all.forEach(({ target }) => told.push(target.textContent)));
        watch.observe(document.querySelector('.live-bar [role=status]'), { childList: true });
    }""")
    button(cell, "Edit").hover()
    page.wait_for_function("performance.getEntriesByType('resource').some(({ name }) => name.endsWith('worker.js'))")
    button(cell, "Run").click()
    expected(cell)
    assert "worker.js" in fetched
    told = page.evaluate("told")
    shares = [int(share) for text in told for share in re.findall(r"fetching Python \((\d+) %", text)]
    assert shares == sorted(shares) and all(share <= 100 for share in shares) and wrong == []


def test_after_a_long_run_is_stopped_another_python_stands_by(visit):
    page, wrong = visit("notebooks/dense.html")
    page.evaluate("""() => {
        window.started = 0;
        window.Worker = class extends Worker { constructor(...given) { super(...given); started++; } };
    }""")
    cell = page.locator("div.cell.tag_live").nth(2)  # its last line is not indented
    add(page, cell, "while True: pass")
    button(cell, "Run").click()
    page.wait_for_function("started === 2", timeout=60_000)
    button(cell, "Stop").click()
    button(cell, "Reset").click()
    button(cell, "Run").click()
    expected(cell)
    assert page.evaluate("started") == 2 and wrong == []


def test_all_cells_run_from_above_and_an_edit_outlives_a_reload(visit):
    page, wrong = visit("notebooks/dense.html")
    cells = page.locator("div.cell.tag_live")
    button(cells.first, "Run all").click()
    ran = "[...document.querySelectorAll('.live-bar [role=status]')].every((said) => /^ran in/.test(said.textContent))"
    page.wait_for_function(ran, timeout=60_000)  # those in folded solutions, too
    add(page, cells.nth(1), "print('mine')")
    page.reload()
    cell = page.locator("div.cell.tag_live").nth(1)
    assert "print('mine')" in cell.locator("pre").first.inner_text() and "as you left it" in cell.inner_text()
    page.evaluate("localStorage.setItem(`live ${location.pathname} 0`, 'no JSON')")  # of another hand
    button(cell, "Run").click()
    cell.locator(".live-output").get_by_text("mine").wait_for(timeout=60_000)
    button(cell, "Reset").click()
    page.reload()
    assert "mine" not in page.locator("div.cell.tag_live").nth(1).inner_text() and wrong == []


def served(page, name, **answer):
    """Let the server answer so to requests for a file of the live cells; for ever, or `times`."""
    times = answer.pop("times", 10**6)

    def handle(route):
        nonlocal times
        times -= 1
        return route.fulfill(**answer) if times >= 0 else route.fallback()

    page.context.route(re.compile(rf"/live/{re.escape(name)}$"), handle)


def failure(cell, page) -> str:
    """What a cell says that cannot run, within seconds; no cell waits for it afterwards. No pointer comes near."""
    button(cell, "Run").dispatch_event("click")
    cell.locator(".live-error").wait_for(timeout=20_000)
    cell.get_by_role("status").get_by_text("failed").wait_for(timeout=5_000)
    return cell.locator(".live-error").inner_text()


def test_live_cells_say_why_python_cannot_start_and_recover(visit, site):
    page, _ = visit("notebooks/dense.html")
    cell = page.locator("div.cell.tag_live").first
    for name, status in (
        ("session.txt", 403),
        ("pyodide.asm.wasm", 404),
        ("sympy.zip", 503),
        ("pyodide-lock.json", 500),
    ):
        served(page, name, status=status, body="<html>no</html>", times=1)
        assert f"answered {status} to the request for {name}" in failure(cell, page)
    served(page, "worker.js", status=404, body="", times=1)
    assert "worker.js was not loaded" in failure(cell, page)
    served(page, "pyodide.js", status=404, body="", times=1)
    assert "pyodide.js could not be loaded" in failure(cell, page)
    # Whatever type the server gives the program, it runs.
    wasm = (site / "_static" / "live" / "pyodide.asm.wasm").read_bytes()
    served(page, "pyodide.asm.wasm", body=wasm, headers={"Content-Type": "text/plain"})
    button(cell, "Run").click()
    expected(cell)
    # A formula that cannot be typeset, or a browser that starts no worker, blocks no other cell.
    page.evaluate("() => { MathJax.typesetPromise = () => Promise.reject(new Error('no')) }")
    second = page.locator("div.cell.tag_live").nth(1)
    button(second, "Run").click()
    expected(second)
    page.reload()
    page.evaluate("() => { window.Real = Worker; window.Worker = function () { throw new Error('blocked') } }")
    assert "blocked; the host's content policy must allow worker-src" in failure(cell, page)
    page.evaluate("() => { window.Worker = window.Real }")
    button(second, "Run").click()
    expected(second)


def expected(cell):
    cell.get_by_role("status").get_by_text(re.compile(r"ran in \d")).wait_for(timeout=60_000)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("script-src 'self' 'unsafe-inline'", "content policy must allow script-src 'wasm-unsafe-eval'"),
        ("worker-src 'none'", "worker"),
        ("connect-src 'none'", "could not be fetched"),
        ("script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'", ""),
    ],
)
def test_live_cells_name_what_a_content_policy_must_allow(visit, policy, said):
    page, _ = visit("notebooks/dense.html")

    def with_policy(route):
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "Content-Security-Policy": policy})

    page.context.route(re.compile(r"dense\.html$|worker\.js$"), with_policy)
    page.reload()
    cell = page.locator("div.cell.tag_live").first
    if said:
        assert said in failure(cell, page)
    else:
        button(cell, "Run").click()
        expected(cell)


def test_an_answer_is_checked_by_sympy_in_the_page(visit):
    page, wrong = visit("notebooks/entropy.html")
    form = page.locator("form.answer").first
    for given, said in (("log(7)", "Not that."), ("log(3) + log(4)", "Right.")):
        form.locator("input").fill(given)
        form.get_by_role("button", name="Check").click()
        form.get_by_text(said).wait_for(timeout=60_000)
    assert form.evaluate("form => form.classList.contains('right')") and wrong == []


def test_without_scripts_or_a_server_the_outputs_stay_and_a_line_says_more(chromium, site, address):
    for target, scripts in ((f"{address}notebooks/dense.html", False), (f"file://{site}/notebooks/dense.html", True)):
        context = chromium.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(target)
        assert page.locator(".live-note").is_visible() and "make serve" in page.locator(".live-note").inner_text()
        assert page.locator("div.cell.tag_live .cell_output").first.is_visible()
        assert page.get_by_role("button", name="Run", exact=True).count() == 0
        assert page.locator("form.answer").first.is_hidden()
        context.close()


def test_pages_without_live_cells_fetch_nothing_for_them(visit):
    page, _ = visit("notebooks/imagenette.html")
    assert page.locator("script[src*='live/']").count() == 0 and page.locator(".live-note").count() == 0


# --- Figures that move ------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "sliders"),
    [
        ("losses", "losses", 2),
        ("limits", "kernel", 9),
        ("entropy", "cloud", 4),
        ("dense", "columns", 16),
        ("corollary-6", "convolution", 10),
        ("classifiers", "price", 3),
        ("autoencoder", "coefficients", 1),
        ("autoencoder", "train", 3),
        ("curved-memory", "memory", 4),
        ("entropy-landscape", "spiral", 2),
    ],
)
def test_figures_answer_to_the_keyboard(visit, path, kind, sliders):
    page, wrong = visit(f"notebooks/{path}.html")
    figure = page.locator(f".explore[data-kind={kind}]")
    inputs = figure.locator("input[type=range]")
    assert inputs.count() == sliders and figure.locator(".explore-note").count() == 0
    before = figure.locator("p[role=status]").inner_text(), figure.inner_html()
    inputs.first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert (figure.locator("p[role=status]").inner_text(), figure.inner_html()) != before
    assert "NaN" not in figure.inner_text() and "undefined" not in figure.inner_text() and wrong == []


def test_a_kernel_of_one_tap_off_the_corner_loses_nothing(visit):
    page, _ = visit("notebooks/limits.html")
    figure = page.locator(".explore[data-kind=kernel]")
    figure.get_by_role("button", name="centre").click()
    assert [cell.inner_text() for cell in figure.locator("td").all()] == ["−∞", "0.000", "0.000", "0.000"]
    figure.get_by_role("button", name="corner").click()
    assert figure.locator("td").first.inner_text() == "0.000"


def test_a_cold_curved_network_recalls_and_a_warm_flat_one_does_not(visit):
    page, wrong = visit("notebooks/curved-memory.html")
    figure = page.locator(".explore[data-kind=memory]")
    says = figure.locator("p[role=status]")
    assert ": recalled" in says.inner_text()
    figure.locator("input[type=range]").nth(1).fill("1.2")
    assert "not recalled" in says.inner_text() and "T = 1.20" in says.inner_text()
    figure.locator("input[type=range]").nth(1).fill("0.5")
    figure.locator("input[type=range]").first.fill("0.8")
    assert "not recalled" in says.inner_text() and wrong == []


def test_without_its_first_tap_the_papers_determinant_is_zero_and_the_picture_stays(visit):
    page, wrong = visit("notebooks/corollary-6.html")
    figure = page.locator(".explore[data-kind=convolution]")
    values, says = figure.locator("td"), figure.locator("p[role=status]")
    paper, found = values.all_inner_texts()
    assert paper == found != "−∞"  # the corollary's formula, and the determinant of the matrix
    figure.locator("input[type=range]").first.fill("0")
    assert values.all_inner_texts() == ["−∞", "−∞"] and "sees c₁₁ alone" in says.inner_text()
    figure.get_by_label("circular").check()
    assert values.first.inner_text() == "−∞" != values.last.inner_text() and "may depend on all" in says.inner_text()
    figure.get_by_text("c₂₂").click()
    assert "c₂₂ (lit) stands in 16 places" in says.inner_text() and wrong == []


def test_a_canvas_follows_the_theme_that_the_reader_chooses(visit):
    page, wrong = visit("notebooks/corollary-6.html")
    lit = """canvas => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const opaque = data.findIndex((value, i) => i % 4 === 3 && value === 255);
        return Array.from(data.slice(opaque - 3, opaque));
    }"""  # fmt: skip
    canvas = page.locator(".explore[data-kind=convolution] canvas").first
    assert canvas.evaluate(lit) == [0x00, 0x72, 0xB2]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"([canvas]) => ({lit})(canvas)[0] === 0x56", arg=[canvas.element_handle()])
    assert canvas.evaluate(lit) == [0x56, 0xB4, 0xE9] and wrong == []


def test_another_order_of_columns_changes_the_determinant_and_not_the_volume(visit):
    page, wrong = visit("notebooks/dense.html", width=390)
    figure = page.locator(".explore[data-kind=columns]")
    numbers = figure.locator(".explore-side > table:not(.explore-completed) td")
    before = numbers.all_inner_texts()
    assert before[1] == before[2]  # Cauchy and Binet
    figure.get_by_role("button", name="move column 3 to the right").press("Enter")
    assert page.evaluate("document.activeElement.ariaLabel") == "move column 4 to the right"  # it goes with the column
    after = numbers.all_inner_texts()
    assert after[0] != before[0] and after[1:] == before[1:] and "Columns 1, 2, 4" in figure.inner_text()
    figure.get_by_role("button", name="1, 2, 3", exact=True).click()
    assert numbers.all_inner_texts() == before and wrong == []


def test_a_squashed_cloud_has_no_entropy_and_a_dragged_corner_moves_the_map(visit):
    page, wrong = visit("notebooks/entropy.html")
    figure = page.locator(".explore[data-kind=cloud]")
    values, says = figure.locator("td"), figure.locator("p[role=status]")
    figure.get_by_role("button", name="double one side").click()
    assert values.all_inner_texts()[:2] == ["2.00", "0.693"] and float(values.last.inner_text()) == pytest.approx(
        math.log(2), abs=0.05
    )
    handle = figure.locator(".explore-handle").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] - 20, box["y"] + 9, steps=4)
    page.mouse.up()
    assert 1 < float(values.first.inner_text()) < 2
    figure.get_by_role("button", name="squash").click()
    assert values.all_inner_texts()[:2] == ["0.00", "−∞"] and "no density" in says.inner_text() and wrong == []


def test_p_values_are_even_where_nothing_is_chosen_and_crowd_at_zero_where_something_is(visit):
    page, wrong = visit("notebooks/classifiers.html")
    figure = page.locator(".explore[data-kind=price]")
    low = figure.locator("td").first
    for _ in range(4):
        figure.get_by_role("button", name="100 more tables").click()
    assert 15 < float(low.inner_text().split()[0]) < 24
    figure.locator("input[type=range]").first.fill("1")
    figure.get_by_role("button", name="100 more tables").click()
    assert 3 < float(low.inner_text().split()[0]) < 7 and wrong == []


def test_a_reader_trains_and_sees_the_guided_network_stopped(visit):
    """By keyboard; the page's own run showed the effect at the dimension where the figure opens."""
    page, wrong = visit("notebooks/autoencoder.html")
    figure = page.locator(".explore[data-kind=train]")
    says, stop = figure.locator("p[role=status]"), figure.get_by_role("button", name="Stop")
    assert stop.is_disabled() and "Press Train" in says.inner_text()
    figure.get_by_role("button", name="Train", exact=True).press("Enter")
    page.wait_for_function(
        "/Epoch 120 of/.test(document.querySelector('.explore-progress').textContent)", timeout=120_000
    )
    told = says.inner_text()
    at, times = re.search(r"λ = 0.1 is stopped at epoch (\d+) .*, ([\d.]+) times that of", told).groups()
    assert 20 < int(at) < 60 and float(times) > 1.3 and "NaN" not in figure.inner_text()
    assert figure.locator("tbody tr").count() == 2 and figure.locator("canvas").count() == 3
    figure.get_by_label("patience").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")  # stopped five epochs later, without another training
    assert f"stopped at epoch {int(at) + 5}" in says.inner_text()
    # Where the square part reads what has hardly any ink, the images that have some are hijacked.
    figure.get_by_label("those with the least ink").check()
    figure.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function(
        "/Epoch 120 of/.test(document.querySelector('.explore-progress').textContent)", timeout=120_000
    )
    found = re.search(r"have ([\d.]+) times the error of the others \(unguided: ([\d.]+)\)", says.inner_text())
    guided, free = map(float, found.groups())
    assert guided > 1.5 * free and wrong == []


def test_training_is_calm_where_that_is_asked(chromium, address):
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{address}notebooks/autoencoder.html")
    page.evaluate("""() => {
        window.told = [];
        const watch = new MutationObserver((all) => all.forEach(({ target }) => told.push(target.textContent)));
        watch.observe(document.querySelector('.explore-progress'), { childList: true });
    }""")
    page.locator(".explore[data-kind=train]").get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function("told.some((text) => /^Epoch 120/.test(text))", timeout=120_000)
    seen = {int(re.search(r"Epoch (\d+)", text).group(1)) for text in page.evaluate("told")}
    assert {20, 40, 120} <= seen and all(epoch % 20 == 0 for epoch in seen)
    context.close()


def test_training_in_the_page_can_be_stopped_by_finger(chromium, address):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{address}notebooks/autoencoder.html")
    figure = page.locator(".explore[data-kind=train]")
    figure.get_by_label("those with the least ink").tap()
    figure.get_by_role("button", name="Train with every λ").tap()
    page.wait_for_function(
        "/Epoch [2-9] of/.test(document.querySelector('.explore-progress').textContent)", timeout=120_000
    )
    figure.get_by_role("button", name="Stop").tap()
    assert figure.locator("tbody tr").count() == 7 and "share of the hidden signal" in figure.inner_text()
    seen = figure.locator(".explore-progress").inner_text()
    page.wait_for_timeout(500)
    assert figure.locator(".explore-progress").inner_text() == seen
    context.close()


def test_figures_that_move_say_so_where_scripts_do_not_run(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}notebooks/losses.html")
    assert page.locator(".explore-note").is_visible()
    context.close()


def test_figures_move_from_a_file_too(chromium, site):
    page = chromium.new_page()
    page.goto(f"file://{site}/notebooks/losses.html")
    page.locator(".explore input").first.wait_for()
    page.goto(f"file://{site}/notebooks/autoencoder.html")
    figure = page.locator(".explore[data-kind=train]")
    figure.get_by_role("button", name="Train", exact=True).click()  # the one that needs a worker says so
    figure.get_by_text("serve the book").wait_for()
    page.close()


def test_a_page_is_printed_with_its_formulas_within_the_margins(site, chromium, tmp_path):
    """In a process of its own: Playwright does not run twice in one."""
    program = f"""
        from pathlib import Path
        from replication.pages.printed import print_page
        print_page(Path({str(site)!r}) / "notebooks" / "entropy.html", Path({str(tmp_path)!r}) / "page.pdf")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=ROOT)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page = chromium.new_page(viewport={"width": 450, "height": 1000})  # where formulas do need it
    page.emulate_media(media="print")
    page.goto(f"file://{site}/notebooks/entropy.html")
    page.wait_for_selector("mjx-container", state="attached")
    page.wait_for_function("MathJax.startup.promise.then(() => true)")
    formulas = page.locator('mjx-container[display="true"]')
    widths = "all => all.map(formula => formula.scrollWidth / formula.parentElement.clientWidth)"
    assert max(formulas.evaluate_all(widths)) > 1  # or there is nothing to fit
    page.evaluate(printed.FOR_PAPER)
    assert max(formulas.evaluate_all(widths)) <= 1
    page.close()


def whole_book(titles, of):
    """A page as Sphinx makes it of a whole book: an address for each chapter, references with another page's name."""
    entries = [
        f'<li class="toctree-l1"><a href="#document-notebooks/c{k}">{title}</a></li>' for k, title in enumerate(titles)
    ]
    chapters = [
        f"""<span id="document-notebooks/c{k}"></span><section id="s{k}"><h2>{title}</h2>{"<p>text</p>" * 150}
        <p>See <a class="reference internal" href="notebooks/home.html#s{of[k]}">
        <span class="std std-ref">there</span></a> and <a href="c{of[k]}.html">all of it</a>.</p>
        <p><a class="reference internal" href="c{of[k]}.html#same"><span class="std std-ref">theirs</span></a></p>
        <p id="same">Mine.</p></section>"""
        for k, title in enumerate(titles)
    ]
    formulas = "<script>window.MathJax = {startup: {promise: Promise.resolve()}}</script>"
    contents = f'<nav id="jb-print-toc"><p class="caption">Part</p><ul>{"".join(entries)}</ul></nav>'
    return f"""<!doctype html>{formulas}<link rel="stylesheet" href="book.css">
        <div id="jb-print-docs-body">{contents}</div>
        <article class="bd-article"><p>Home.</p>{"".join(chapters)}</article>"""


def test_the_printed_book_has_a_title_contents_running_heads_and_the_pages_of_references(tmp_path):
    titles, of = ["Apples", "Pears", "Plums"], [2, 0, 1]
    shutil.copy(ROOT / "book" / "_static" / "book.css", tmp_path)
    (tmp_path / "whole.html").write_text(whole_book(titles, of))
    program = f"""
        from pathlib import Path
        from replication.pages.printed import print_book
        print_book(Path({str(tmp_path)!r}) / "whole.html", Path({str(tmp_path)!r}) / "book.pdf")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=ROOT)
    texts = [page.extract_text() for page in PdfReader(tmp_path / "book.pdf").pages]
    headed = [next((k for k, title in enumerate(titles) if text.strip().startswith(title)), None) for text in texts]
    first = [headed.index(k) for k in range(3)]  # chapters begin on a page of their own, with a head above each page
    assert first == sorted(first) and first[1] - first[0] > 1 and headed[first[0] :] == sorted(headed[first[0] :])
    assert "Entropy-based guidance, replicated" in texts[0] and "Meni" in texts[0] and "Home." in texts[2]
    ends = [*first[1:], len(texts)]
    for k, title in enumerate(titles):
        assert re.search(rf"{title}\s*{first[k] + 1}\b", texts[1]), texts[1]
        last = texts[ends[k] - 1]
        assert re.search(rf"there\s+\(p. {first[of[k]] + 1}\)\s+and all of it", last), last
        assert re.search(rf"theirs\s+\(p. {ends[of[k]]}\)", last), last  # the same name stands in every chapter
    assert not texts[0].rstrip().endswith("1") and texts[1].rstrip().endswith("2")

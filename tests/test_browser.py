"""The built book, as a reader meets it: `make test-book`, after `make book` and `make system-deps`."""

import functools
import http.server
import json
import re
import threading
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml

from causalkit import connectivity, plots

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [f"{name}.html" for name in [TOC["root"], *CHAPTERS, "search"]]
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: pytest's output is for failures."""


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A page that is left while it loads breaks its connections; the browser reports what matters."""


@pytest.fixture(scope="module")
def site():
    assert (SITE / "index.html").exists(), "there is no built book: run `make book` first"
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def open_page(browser, site):
    """Open a page; its `problems` fill with console errors, failed requests and requests to anywhere else."""
    contexts = {}

    def open_page(address, size="desktop", scheme="light"):
        if (size, scheme) not in contexts:
            options = {"viewport": SIZES[size], "color_scheme": scheme, "has_touch": size == "phone"}
            contexts[size, scheme] = browser.new_context(**options)
            contexts[size, scheme].set_default_timeout(120_000)  # milliseconds; CI machines can be slow
        page = contexts[size, scheme].new_page()
        page.problems = []

        def failed(request):
            if request.failure != "net::ERR_ABORTED":  # the reader went on while something was loading
                page.problems.append(f"{request.failure}: {request.url}")

        page.on("console", lambda m: page.problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(f"script: {error}"))
        page.on("requestfailed", failed)
        page.on("response", lambda r: page.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("request", lambda r: None if r.url.startswith((site, "data:")) else page.problems.append(r.url))
        page.goto(site + address if "://" not in address else address, wait_until="load")
        return page

    yield open_page
    for context in contexts.values():
        context.close()


def load_images(page):
    """Scroll through the page, so that images which load late are loaded."""
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("[...document.images].every(image => image.complete)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_complete_and_accessible(open_page, size, scheme):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    findings = []
    for name in PAGES:
        page = open_page(name, size, scheme)
        load_images(page)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        broken = "[...document.images].filter(i => !i.naturalWidth || !i.alt.trim()).map(i => i.src)"
        findings += [f"{name}: image does not load or has no alt text: {source}" for source in page.evaluate(broken)]
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > SIZES[size]["width"]:
            findings.append(f"{name}: scrolls sideways, {width} pixels wide")
        findings += [f"{name}: {problem}" for problem in page.problems]
        # Colors fade in when the theme is set: measured half way, their contrast is that of neither theme.
        page.add_style_tag(content="*, ::before, ::after { transition: none !important; animation: none !important }")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.evaluate(axe)
        for violation in page.evaluate("axe.run({preload: false}).then(result => result.violations)"):
            if violation["impact"] in ("serious", "critical"):
                where = [node["html"][:160] for node in violation["nodes"][:3]]
                findings.append(f"{name}: {violation['id']} ({violation['impact']}) at {where}")
        page.close()
    assert not findings, "\n".join(findings)


def test_a_reader_clicks_from_the_landing_page_to_every_chapter(open_page, site):
    page = open_page("index.html")
    page.wait_for_url(f"**/{TOC['root']}.html")
    for chapter in CHAPTERS:
        page.locator(f".bd-sidebar-primary a[href$='{Path(chapter).name}.html']").first.click()
        page.wait_for_url(f"**/{chapter}.html")
        assert page.locator("article h1").first.is_visible()
        page.locator("a.navbar-brand").first.click()
        page.wait_for_url(f"**/{TOC['root']}.html")
    assert not page.problems


def test_the_three_doors_of_the_landing_page_open(open_page):
    page = open_page(f"{TOC['root']}.html")
    doors = {"Read": "background", "Run it again": "rerun", "Use it on your recording": "own_recording"}
    for words, name in doors.items():
        page.locator(".sd-card", has_text=words).first.click()
        page.wait_for_url(f"**/{name}.html")
        page.go_back()


def test_next_leads_through_the_whole_book(open_page):
    page = open_page(f"{TOC['root']}.html")
    for chapter in CHAPTERS:
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/{chapter}.html")


def test_on_a_phone_the_menu_opens_and_leads_to_a_chapter(open_page):
    page = open_page(f"{TOC['root']}.html", "phone")
    link = page.locator(".bd-sidebar-primary a[href$='01_simulate.html']").first
    assert not link.is_visible()
    page.locator("button.primary-toggle").first.click()
    link.click()
    page.wait_for_url("**/01_simulate.html")


@pytest.mark.parametrize("where", ["served", "opened from disk"])
def test_search_finds_a_chapter(open_page, where):
    page = open_page("search.html" if where == "served" else f"file://{SITE}/search.html")
    page.goto(f"{page.url}?q=attention")
    page.wait_for_selector("#search-results li a[href*='background.html']")  # results are added one by one


def test_the_search_button_takes_a_query(open_page):
    page = open_page(f"{TOC['root']}.html")
    page.locator(".search-button-field, .search-button").first.click()
    page.keyboard.type("izhikevich")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")


def test_formulas_are_drawn(open_page):
    page = open_page("book/background.html")
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() > 10
    assert page.locator("mjx-merror").count() == 0


SOLID = """(figure, of) => [...figure.querySelectorAll(`g[data-of=${of}][stroke-dasharray=none]`)].filter(
    edge => getComputedStyle(edge).visibility === "visible").length"""


def found_and_false(sentence):
    """True edges found, and false edges, as the figure's sentence says."""
    found, false = re.search(r"(\d+) of \d+ true edges found.* (\d+) are false", sentence).groups()
    return int(found), int(false)


def test_the_false_discovery_rate_moves_by_keyboard(open_page):
    page = open_page("notebooks/08_single_index_granger.html")
    figure = page.locator(".ck-fdr")
    slider = figure.get_by_role("slider", name="false discovery rate")
    states = json.loads(figure.get_attribute("data-states"))
    slider.focus()
    page.keyboard.press("Home")
    seen = set()
    for rate, value, sentence in states:
        assert slider.get_attribute("aria-valuetext") == value and float(value) == rate
        assert figure.locator("output[aria-live=polite]").inner_text() == sentence
        found, false = found_and_false(sentence)
        assert figure.evaluate(SOLID, "truth") == found  # those that are not dashed: missed
        assert figure.evaluate(SOLID, "estimate") == found
        seen.add(figure.locator("g[data-of=estimate][visibility=visible]").count())
        assert max(seen) == found + false
        page.keyboard.press("ArrowRight")
    assert len(seen) > 3
    assert not page.problems


@pytest.mark.parametrize("scripts", [True, False])
def test_two_figures_on_a_page_and_a_page_without_scripts(browser, scripts):
    p = np.full((3, 3), 0.9)
    p[0, 1], p[1, 2] = 1e-5, 0.03
    c = connectivity.build(1 - p, neurons=list("abc"), method="test", p_value=p)
    figures = plots.fdr_slider(c, fdr=0.01).html + plots.fdr_slider(c, np.eye(3, k=1), fdr=0.2).html
    context = browser.new_context(java_script_enabled=scripts, reduced_motion="reduce")
    page = context.new_page()
    page.set_content(f"<!doctype html><html lang=en><body>{figures}</body></html>")
    first, second = page.locator(".ck-fdr").all()
    shown = "g[data-of=estimate][visibility=visible]"
    assert [first.locator(shown).count(), second.locator(shown).count()] == [1, 2]
    assert page.locator("input:visible").count() == 2 * scripts
    if scripts:
        assert first.locator("g").last.evaluate("edge => getComputedStyle(edge).transitionDuration") == "0s"
        first.locator("input").press("End")
        assert [first.locator(shown).count(), second.locator(shown).count()] == [2, 2]
        second.locator("input").press("Home")
        assert [first.locator(shown).count(), second.locator(shown).count()] == [2, 1]
        assert "1 of 2 true edges found" in second.locator("output").inner_text()
    context.close()

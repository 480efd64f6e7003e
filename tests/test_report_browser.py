"""The report in Chromium, opened from disk: `make test-book`, after `make system-deps`."""

import json
from importlib.resources import files

import numpy as np
import pytest

from causalkit import connectivity, from_array, report

pytestmark = pytest.mark.browser

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</script><b>x", "нейрон", "n" * 500, "f"]


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(5)
    p = rng.random((6, 6)) ** 5
    return connectivity.build(
        1 - p, neurons=NAMES, method="test", p_value=p, sign=np.sign(rng.standard_normal((6, 6))),
        lag_score=rng.random((6, 6, 4)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory, found):
    recording = from_array(np.random.default_rng(6).standard_normal((800, 6)), neurons=NAMES, dt_ms=2, kind="other")
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(recording, found, title=NAMES[1], source=NAMES[2]).save(path)
    return path.as_uri()


@pytest.fixture
def open_page(browser, address):
    contexts = []

    def open_page(size="desktop", scheme="light", **options):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **options)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.problems.append(f"script: {error}"))
        page.on("dialog", lambda dialog: (page.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith(("data:", address)) else page.problems.append(r.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_accessible_fits_and_runs_nothing_foreign(open_page, size, scheme):
    page = open_page(size, scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    violations = page.evaluate("axe.run({preload: false}).then(result => result.violations)")
    serious = [(v["id"], v["nodes"][0]["html"][:120]) for v in violations if v["impact"] in ("serious", "critical")]
    assert not serious
    assert not page.problems


def test_the_slider_moves_ring_table_and_matrix(open_page, found):
    page = open_page()
    states = json.loads(page.locator(".ck-fdr").get_attribute("data-states"))
    slider = page.get_by_role("slider", name="false discovery rate")
    slider.focus()
    page.keyboard.press("Home")
    pictures = set()
    for rate, value, sentence in states:
        n_edges = int(connectivity.adjacency(found, fdr=rate).sum())
        assert slider.get_attribute("aria-valuetext") == value
        assert page.locator(".ck-fdr output").inner_text() == sentence and f": {n_edges} of 30" in sentence
        assert page.locator("g[data-pair][visibility=visible]").count() == n_edges
        rows = page.locator("#edges-table tbody tr")
        assert rows.count() - page.locator("#edges-table tr.outside").count() == min(n_edges, rows.count())
        pictures.add(page.evaluate("document.getElementById('ck-matrix').toDataURL()"))
        page.keyboard.press("ArrowRight")
    assert len(pictures) == len({int(connectivity.adjacency(found, fdr=rate).sum()) for rate, _, _ in states}) > 3
    assert not page.problems


def test_the_matrix_is_read_by_keyboard_and_pointer_in_every_order(open_page, found):
    page = open_page()
    matrix, said = page.locator("#ck-matrix"), page.locator("#ck-pair")
    matrix.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    score = found.score.values[1, 5]
    text = said.inner_text()
    assert text.startswith("f ") and NAMES[1] in text and f"score {score:.3g}" in text
    page.keyboard.press("Home")
    assert NAMES[0] in said.inner_text()
    page.locator("#ck-order").select_option("name")
    matrix.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    first, second = sorted(NAMES, key=str.lower)[:2]
    assert first in said.inner_text() and second in said.inner_text()
    box = matrix.bounding_box()
    matrix.hover(position={"x": box["width"] - 4, "y": box["height"] - 4})
    assert "its own past" in said.inner_text()
    assert not page.problems


def test_one_neuron_stands_out(open_page, found):
    page = open_page()
    page.locator("#ck-neuron").select_option("3")
    graph = connectivity.adjacency(found, fdr=0.05).values
    about = page.locator("#ck-about").inner_text()
    drives, driven = about.split("It is driven by")
    for other, name in enumerate(NAMES):
        if other not in (3, 4):  # not itself, and not the one whose name is cut
            assert (name in drives) == graph[other, 3] and (name in driven) == graph[3, other]
    for edge in page.locator("g[data-pair]").all():
        ends = edge.get_attribute("data-pair").split()
        assert ("ck-dim" in edge.get_attribute("class")) == ("3" not in ends)
    page.locator("#ck-neuron").select_option("")
    assert page.locator(".ck-dim").count() == 0 and page.locator("#ck-about").inner_text() == ""


def test_the_theme_button_and_paper(open_page):
    page = open_page()
    button = page.get_by_role("button", name="Dark")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == before
    assert not button.is_visible() and not page.locator("nav").is_visible()


def test_without_scripts_everything_but_the_matrix_is_there(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#edges-table tbody tr").count() > 5
    assert page.locator(".ck-fdr svg").first.is_visible()
    assert not page.locator("#ck-matrix").is_visible() and not page.get_by_role("slider").is_visible()
    assert "need scripts" in page.locator("noscript").inner_text()

"""The sources of the book: complete, titled, cited; building them is what `make book` does."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def source(page):
    """Text of a page: Markdown, or for a notebook the text that it is made of."""
    if page.startswith("notebooks/"):
        return (ROOT / "notebooks" / "py" / f"{page.split('/')[1]}.py").read_text()
    return (ROOT / f"{page}.md").read_text()


def test_every_page_is_in_the_table_of_contents():
    there = {f"book/{path.stem}" for path in BOOK.glob("*.md")}
    there |= {f"notebooks/{path.stem}" for path in (ROOT / "notebooks" / "py").glob("[0-9][0-9]_*.py")}
    assert set(PAGES) == there
    assert len(PAGES) == len(set(PAGES))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_begins_with_its_one_title(page):
    text = source(page)
    if "{include}" in text:
        text = (ROOT / "CHANGELOG.md").read_text()
    outside_code = re.sub(r"```.*?```", "", text, flags=re.S)
    if page.startswith("notebooks/"):
        markdown = re.findall(r"^# (?:%% \[markdown\]\n)((?:#.*\n)+)", outside_code, re.M)
        titles = re.findall(r"^# # (.+)", "".join(markdown), re.M)
    else:
        titles = re.findall(r"^# (.+)", outside_code, re.M)
        assert outside_code.lstrip().startswith("# ")
    assert len(titles) == 1


def test_every_reference_is_cited_and_every_citation_has_its_reference():
    keys = set(re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), re.M))
    cited = set()
    for page in PAGES:
        for found in re.findall(r"\{cite:[pt]\}`([^`]+)`", source(page)):
            cited |= {key.strip() for key in found.split(",")}
    assert cited == keys


def test_figures_in_prose_have_alt_text():
    for page in PAGES:
        for figure in re.findall(r"```\{(?:figure|image)\}.*?```", source(page), re.S):
            assert re.search(r"^:alt: \S", figure, re.M), f"{page}: {figure[:60]}"


def test_numbers_that_the_prose_takes_from_notebooks_are_glued_there():
    for page in PAGES:
        for notebook, key in re.findall(r"\{glue:\w+\}`\.\./notebooks/(\w+)\.ipynb::(\w+)", source(page)):
            assert f'rerun.glue("{key}"' in source(f"notebooks/{notebook}"), f"{page}: {key} of {notebook}"


def test_stored_results_that_notebooks_show_are_there_and_say_where_they_come_from():
    for page in PAGES:
        for name in re.findall(r'rerun\.stored\("([^"]+)"\)', source(page)):
            path = BOOK / "results" / name
            assert path.exists(), f"{page} shows {name}"
            assert path.with_suffix(".json").exists(), f"{name} has no provenance beside it"


def test_nothing_in_the_pages_is_loaded_from_elsewhere():
    for path in [*BOOK.glob("_static/*.css"), *BOOK.glob("_static/*.js")]:
        assert "http" not in path.read_text(), path
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(http|<(?:img|script|iframe)[^>]*src=.http", source(page)), page

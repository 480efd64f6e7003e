"""The figure with a slider: its edges are those of `connectivity.adjacency` at every rate, and it is safe HTML."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from causalkit import MVGC, connectivity, plots, significance, simulate

EDGE = ("target", "source")
RATES = [0.001, 0.01, 0.05, 0.2, 0.5]


class Page(HTMLParser):
    """Edges, sentences and controls of the HTML, as a browser reads them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.edges, self.tags, self.texts, self.open = [], [], {}, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.open.append(tag)
        if "data-q" in attributes:
            self.edges.append(attributes)
        elif tag == "path" and self.edges and "fill" in attributes:
            self.edges[-1].setdefault("d", attributes["d"])

    handle_startendtag = handle_starttag

    def handle_data(self, text):
        tag = self.open[-1] if self.open else ""
        self.texts.setdefault(tag, []).append(text)
        if tag == "title" and self.edges and "words" not in self.edges[-1]:
            self.edges[-1]["words"] = text

    def states(self):
        (figure,) = [attributes for tag, attributes in self.tags if tag == "figure"]
        return json.loads(figure["data-states"])

    def shown(self, rate, of="estimate"):
        """(source, target) of the edges that the script leaves visible at a rate."""
        edges = [edge for edge in self.edges if edge["data-of"] == of and float(edge["data-q"]) <= rate]
        return {tuple(re.match(r"(\S+) \w+ (\S+),", edge["words"]).groups()) for edge in edges}


def built(p, sign=None, names="abcdefgh"):
    n = len(p)
    return connectivity.build(
        np.where(np.isnan(p), 0, 1 - p), neurons=list(names)[:n], method="test", p_value=p, sign=sign
    )


def as_pairs(graph):
    return {
        (str(graph.source.values[j]), str(graph.target.values[i])) for i, j in np.argwhere(graph.values)
    }


def random_p_values(seed, n=7):
    rng = np.random.default_rng(seed)
    p = np.round(rng.random((n, n)) ** 6, 3)  # with ties, and with zeros
    np.fill_diagonal(p, np.nan)
    return p


@pytest.mark.parametrize("seed", range(5))
def test_every_rate_shows_exactly_the_graph_of_adjacency(seed):
    c = built(random_p_values(seed))
    ties = np.unique(significance.fdr(c.p_value).values)  # rates that equal an adjusted p-value: ≤ decides
    rates = [*RATES, *ties[np.isfinite(ties)][:10].tolist()]
    page = Page(plots.fdr_slider(c, rates=rates).html)
    assert [rate for rate, *_ in page.states()] == sorted({*rates})
    for rate, value, sentence in page.states():
        graph = connectivity.adjacency(c, fdr=rate)
        assert page.shown(rate) == as_pairs(graph)
        assert float(value) == pytest.approx(rate, rel=1e-5)
        assert f": {int(graph.sum())} of 42 possible edges" in sentence


def test_of_a_fitted_recording_it_counts_what_is_found_missed_and_false():
    recording = simulate.izhikevich(6, 0.5, n_steps=1500, random_state=3)
    for correction in ("bh", "by"):  # adjacency is Benjamini and Hochberg's, whatever the method stores
        c = MVGC(order=2, correction=correction).fit(recording).connectivity_
        page = Page(plots.fdr_slider(c, recording).html)
        true = as_pairs(recording.connectivity != 0)
        assert {(edge["words"].split()[0], edge["words"].split()[2].strip(",")) for edge in page.edges
                if edge["data-of"] == "truth"} == true  # fmt: skip
        for rate, _, sentence in page.states():
            found = as_pairs(connectivity.adjacency(c, fdr=rate))
            assert page.shown(rate) == found and page.shown(rate, "truth") == found & true
            assert f"{len(found & true)} of {len(true)} true edges found, {len(true - found)} missed." in sentence
            assert f"Of {len(found)} edges in the estimate, {len(found - true)} are false" in sentence


def test_without_scripts_the_default_rate_stands_alone():
    c = built(random_p_values(1))
    html = plots.fdr_slider(c, np.eye(7, k=1), fdr=0.07).html
    page = Page(html)
    found = as_pairs(connectivity.adjacency(c, fdr=0.07))
    of = {name: [edge for edge in page.edges if edge["data-of"] == name] for name in ("truth", "estimate")}
    visible = [edge["words"].split(",")[0] for edge in of["estimate"] if edge["visibility"] == "visible"]
    assert len(visible) == len(found) and {tuple(words.split(" drives ")) for words in visible} == found
    dashed = [edge for edge in of["truth"] if edge["stroke-dasharray"] != "none"]
    assert len(of["truth"]) == 6 and len(dashed) == 6 - len({(chr(98 + i), chr(97 + i)) for i in range(6)} & found)
    (label,) = [attributes for tag, attributes in page.tags if tag == "label"]
    assert "hidden" in label  # the script shows it
    assert page.states()[int(dict(page.tags)["input"]["value"])][2] in page.texts["output"]
    assert "0.07" in page.texts["b"]


def test_an_edge_runs_from_source_to_target_with_its_sign():
    p = np.full((4, 4), 0.9)
    p[0, 1] = p[3, 2] = 1e-4  # b drives a, c drives d
    sign = np.zeros((4, 4))
    sign[0, 1], sign[3, 2] = 1, -1
    edges = Page(plots.fdr_slider(built(p, sign), rates=[0.1]).html).edges
    place = {"a": (0, -100), "b": (100, 0), "c": (0, 100), "d": (-100, 0)}  # the first on top, then clockwise
    for edge, (source, target, kind) in zip(edges, [("b", "a", "excites"), ("c", "d", "inhibits")], strict=True):
        assert edge["words"].startswith(f"{source} {kind} {target}") and edge["class"] == f"ck-{kind}"
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d", edge["d"])]
        assert np.hypot(*np.subtract(numbers[:2], place[source])) < 10
        assert np.hypot(*np.subtract(numbers[-2:], place[target])) < 25  # the arrow's head follows
    assert {edge["stroke"] for edge in edges} == {"#D55E00", "#0072B2"}


def test_order_of_neurons_follows_the_truth_and_changes_nothing():
    rng = np.random.default_rng(2)
    c, order = built(random_p_values(2)), [3, 0, 6, 1, 5, 2, 4]
    names = c.source.values
    truth = xr.DataArray(rng.choice([-1.0, 0, 1], (7, 7)), dims=EDGE, coords={"target": names, "source": names})
    turned = truth.isel(target=order, source=order)
    page, other = Page(plots.fdr_slider(c, truth).html), Page(plots.fdr_slider(c, turned.T).html)
    assert page.states() == other.states()
    assert {e["words"] for e in page.edges} == {e["words"] for e in other.edges}
    labels = [text for text in other.texts["text"]]
    assert labels[:7] == list(names[order])


def test_names_and_captions_are_text_not_html():
    names = ["<b>x</b>", 'a"&', "'><script>alert(1)</script>"]
    p = np.full((3, 3), 1e-4)
    c = built(p, names=names)
    html = plots.fdr_slider(c, np.eye(3, k=1), caption="<img src=x onerror=alert(2)>").html
    page = Page(html)
    assert {tag for tag, _ in page.tags} == {
        "style", "figure", "label", "span", "b", "input", "output", "div", "svg", "g", "title", "path", "circle",
        "text", "figcaption", "script",
    }  # fmt: skip
    assert html.count("<script") == 1 and "<img src=x onerror=alert(2)>" in page.texts["figcaption"]
    assert {name for name in page.texts["title"]} >= set(names)
    assert "http" not in html and not re.search(r'\sid="', html)  # nothing from elsewhere, no names to share


def test_it_is_shown_as_html_and_told_in_words():
    figure = plots.fdr_slider(built(random_p_values(0)), fdr=0.05)
    assert figure._repr_html_() == figure.html
    assert repr(figure) == "FDRSlider(7 neurons, rates 0.001 to 0.5)"


def test_graphs_of_boolean_truths_and_of_no_edge():
    p = np.full((3, 3), 0.9)
    page = Page(plots.fdr_slider(built(p), np.eye(3, k=1) > 0).html)
    assert {edge["class"] for edge in page.edges} == {"ck-drives"}
    assert page.states()[0][2].endswith("0 of 2 true edges found, 2 missed. Of 0 edges in the estimate, 0 are false.")


def test_what_cannot_be_drawn_is_refused():
    c = built(random_p_values(0))
    with pytest.raises(ValueError, match="gives no p-values"):
        plots.fdr_slider(c.drop_vars("p_value"))
    with pytest.raises(ValueError, match=r"fdr is 5\.0: it is a share"):
        plots.fdr_slider(c, fdr=5)
    with pytest.raises(ValueError, match="must be the same square"):
        plots.fdr_slider(c, np.zeros((3, 3)))
    truth = xr.DataArray(np.zeros((7, 7)), dims=EDGE, coords={"target": list("tuvwxyz"), "source": list("tuvwxyz")})
    with pytest.raises(ValueError, match="name different target neurons"):
        plots.fdr_slider(c, truth)

"""The one figure that a reader can move: the graph at every false discovery rate, in plain HTML, SVG and JavaScript.

Python draws all edges and writes all sentences; the script only shows and hides them. Nothing is loaded from elsewhere.
"""

from html import escape
from json import dumps

import numpy as np
import xarray as xr

from .. import metrics, significance
from ..connectivity import EDGE, adjacency
from .style import BLUE, RED

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of all pairs, for methods without p-values
BEND = 0.13  # of an edge's length, as in `network_graph`: edges of opposite direction stay apart
RADIUS = 100.0  # of the ring of neurons
DASHES = "5 4"
BY_RATE = {"label": "false discovery rate", "edge": "adjusted p-value"}
BY_SHARE = {"label": "share of pairs shown", "edge": "among the strongest share of"}
LETTERS = 8  # of a name
NAMES = {1: "excites", -1: "inhibits", 0: "drives"}
COLORS = {1: RED, -1: BLUE, 0: "currentColor"}
STYLE = """
.ck-fdr { margin: 0; max-width: 46rem; }
.ck-fdr label { display: flex; flex-wrap: wrap; gap: 0 0.8rem; align-items: center; }
.ck-fdr label[hidden] { display: none; }
.ck-fdr input { flex: 1 1 14rem; min-width: 0; min-height: 2rem; cursor: pointer; accent-color: #0072B2; }
.ck-fdr output { display: block; min-height: 3em; margin: 0.2rem 0; }
.ck-fdr .ck-panels { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.ck-fdr .ck-panel { flex: 1 1 15rem; min-width: 0; max-width: 23rem; }
.ck-fdr .ck-title { font-weight: 600; text-align: center; }
.ck-fdr .ck-panel > svg { display: block; width: 100%; height: auto; }
.ck-fdr .ck-legend { display: flex; flex-wrap: wrap; gap: 0 1.2rem; }
.ck-fdr .ck-legend svg { width: 2.4em; height: 0.9em; vertical-align: middle; }
.ck-fdr figcaption { margin-top: 0.4rem; }
@media (max-width: 560px) { .ck-fdr .ck-panel:last-child { order: -1; } }
html[data-theme="dark"] .ck-fdr .ck-excites, body[data-jp-theme-light="false"] .ck-fdr .ck-excites {
  stroke: #FF8A45; fill: #FF8A45;
}
html[data-theme="dark"] .ck-fdr .ck-inhibits, body[data-jp-theme-light="false"] .ck-fdr .ck-inhibits {
  stroke: #6CC0F2; fill: #6CC0F2;
}
.ck-fdr g[visibility="hidden"] { opacity: 0; }
@media (prefers-reduced-motion: no-preference) { .ck-fdr g[data-q] { transition: opacity 0.15s; } }
"""
SCRIPT = """
for (const figure of document.querySelectorAll(".ck-fdr:not([data-ready])")) {
  figure.dataset.ready = "";
  const input = figure.querySelector("input"), said = figure.querySelector("output");
  const states = JSON.parse(figure.dataset.states);
  const show = () => {
    const [rate, value, sentence] = states[input.value];
    for (const edge of figure.querySelectorAll("g[data-q]")) {
      const found = Number(edge.dataset.q) <= rate;
      if (edge.dataset.of === "truth") edge.setAttribute("stroke-dasharray", found ? "none" : figure.dataset.dashes);
      else edge.setAttribute("visibility", found ? "visible" : "hidden");
    }
    input.setAttribute("aria-valuetext", value);
    figure.querySelector("b").textContent = value;
    said.textContent = sentence;
    figure.dispatchEvent(new CustomEvent("ck-rate", { bubbles: true, detail: rate }));
  };
  input.closest("label").hidden = false;
  input.addEventListener("input", show);
  show();
}
"""


class FDRSlider:
    """What `fdr_slider` returns: a figure that notebooks and books show as HTML.

    Attributes
    ----------
    html : str
        The whole figure. It needs no other file, and several may stand on one page.
    figure : str
        The same without its style and script, for a page that brings `STYLE` and `SCRIPT` itself.
    """

    def __init__(self, figure, about):
        self.figure, self.about = figure, about
        self.html = f"<style>{STYLE}</style>{figure}<script>{{{SCRIPT}}}</script>"

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return f"FDRSlider({self.about})"


def fdr_slider(connectivity, truth=None, *, fdr=0.05, rates=RATES, caption="", most_edges=None):
    """Draw the estimated graph with a slider for the false discovery rate, beside the true graph if that is known.

    At every rate the graph is exactly that of ``connectivity.adjacency(connectivity, fdr=rate)``. Red arrows excite,
    blue bars inhibit. An edge that only one of the two graphs has is dashed: missed in the true one, false in the
    estimate. The slider takes the arrow keys, and a sentence says what is found. Where scripts do not run, the graph at
    `fdr` stands alone.

    Parameters
    ----------
    connectivity : xarray.Dataset
        With `p_value` (target, source), and `sign` where the method gives it.
    truth : xarray.Dataset, xarray.DataArray or array_like, optional
        Signed or binary wiring, shape (n_neurons, n_neurons): row target, column source; or a recording with a known
        `connectivity`. Neurons are matched by names where both have them, and drawn in the truth's order.
    fdr : float, default 0.05
        Rate at which the slider stands first.
    rates : sequence of float
        Where it can stand, besides `fdr`; from 0 to 1.
    caption : str
        A sentence below the figure.
    most_edges : int, optional
        Draw the strongest estimated edges only, for large networks. Sentences count all.

    Returns
    -------
    FDRSlider
        Shown when it is the last line of a cell; its `html` can be written to a file.

    Raises
    ------
    ValueError
        If the method gives no p-values, a rate is no share, or the truth has other neurons.
    """
    rates = sorted({float(rate) for rate in (*rates, fdr)})
    weights = None
    if truth is not None:
        connectivity, weights = _aligned(connectivity, truth)
    graphs = np.stack([adjacency(connectivity, fdr=rate).values for rate in rates])
    adjusted = significance.fdr(connectivity["p_value"].transpose(*EDGE)).values
    sentences = [rate_sentence(rate, graph, weights) for rate, graph in zip(rates, graphs, strict=True)]
    return level_slider(
        connectivity, weights, adjusted, graphs, rates, fdr, sentences, caption=caption, most_edges=most_edges
    )


def share_slider(connectivity, *, share=0.1, shares=SHARES, caption="", most_edges=None):
    """Draw the graph of the strongest pairs, with a slider for their share: for methods that give no p-values.

    At every share the graph is that of ``connectivity.adjacency(connectivity, density=share)``. How many edges there
    are is the reader's choice and no finding, which the sentence below the slider says.

    Parameters
    ----------
    connectivity : xarray.Dataset
        With `score` (target, source), and `sign` where the method gives it.
    share : float, default 0.1
        Share of all ordered pairs at which the slider stands first.
    shares : sequence of float
        Where it can stand, besides `share`; from 0 to 1.
    caption : str
        A sentence below the figure.
    most_edges : int, optional
        Draw the strongest edges only, for large networks. Sentences count all.

    Returns
    -------
    FDRSlider
        Shown when it is the last line of a cell; its `html` can be written to a file.

    Raises
    ------
    ValueError
        If a share lies outside 0 to 1.
    """
    shares = sorted({float(value) for value in (*shares, share)})
    graphs = np.stack([adjacency(connectivity, density=value).values for value in shares])
    place = pair_ranks(connectivity)
    sentences = [share_sentence(value, graph) for value, graph in zip(shares, graphs, strict=True)]
    return level_slider(
        connectivity, None, place, graphs, shares, share, sentences, caption=caption, most_edges=most_edges,
        words=BY_SHARE,
    )  # fmt: skip


def pair_ranks(connectivity):
    """Share of pairs whose score is at least as strong, (n_neurons, n_neurons): 1 for the weakest, NaN on the diagonal.

    Ties go as in ``connectivity.adjacency(connectivity, density=...)``, target by target.
    """
    score = connectivity["score"].transpose(*EDGE).values
    n = len(score)
    possible = n * (n - 1)
    ranks = np.full(n * n, np.nan)
    order = np.argsort(-np.where(np.eye(n, dtype=bool), -np.inf, score).ravel(), kind="stable")
    # An edge is in the graph of a share if its place is within the rounded number: half a place makes both agree.
    ranks[order[:possible]] = (np.arange(1, possible + 1) - 0.5) / possible
    return ranks.reshape(n, n)


def level_slider(
    connectivity, weights, levels, graphs, rates, first_rate, sentences, *, caption, most_edges,
    words=BY_RATE,
):  # fmt: skip
    """Of graphs, one a rate, the figure; `levels` (target, source) is the rate from which on an edge is there."""
    first, last = graphs[rates.index(first_rate)], graphs[-1]
    drawn = last
    if most_edges is not None and last.sum() > most_edges:
        drawn = _strongest(connectivity, levels, last, most_edges)
    sign = np.zeros(last.shape, dtype=int)
    if "sign" in connectivity:
        sign = connectivity["sign"].transpose(*EDGE).values.astype(int)

    ring = _Ring(connectivity["source"].values, max((first & drawn).sum(), np.count_nonzero(weights)), words["edge"])
    panels, kinds = [], set(sign[last])
    if weights is not None:
        true_sign = np.zeros_like(sign) if weights.dtype == bool else np.sign(weights).astype(int)
        edges = [
            ring.edge(*pair, true_sign[*pair], levels[*pair], of="truth", dashed=not first[*pair])
            for pair in np.argwhere(weights)
        ]
        panels.append(ring.panel("true graph", edges))
        kinds |= set(true_sign[weights != 0])
    edges = [
        ring.edge(*pair, sign[*pair], levels[*pair], of="estimate", hidden=not first[*pair],
                  dashed=weights is not None and not weights[*pair])
        for pair in np.argwhere(drawn)
    ]  # fmt: skip
    title = "estimate" if drawn is last else f"estimate, {most_edges} strongest edges"
    panels.append(ring.panel(title, edges))
    states = [(rate, f"{rate:g}", sentence) for rate, sentence in zip(rates, sentences, strict=True)]
    legend = _legend(kinds, weights is not None)
    figure = _figure(states, rates.index(first_rate), panels, legend, caption, words["label"])
    return FDRSlider(figure, f"{len(sign)} neurons, rates {rates[0]:g} to {rates[-1]:g}")


def _strongest(connectivity, levels, graph, n_edges):
    """The first edges of a graph by level, then by score."""
    score = connectivity["score"].transpose(*EDGE).values
    pairs = np.argwhere(graph)
    order = np.lexsort((-score[*pairs.T], levels[*pairs.T]))[:n_edges]
    chosen = np.zeros_like(graph)
    chosen[*pairs[order].T] = True
    return chosen


def _aligned(connectivity, truth):
    """The connectivity in the truth's order of neurons, and the truth as a matrix, (n_neurons, n_neurons)."""
    metrics._matrices(truth, connectivity)  # refuses other shapes and names
    truth = truth["connectivity"] if isinstance(truth, xr.Dataset) else truth
    if isinstance(truth, xr.DataArray):
        truth = truth.transpose(*EDGE)
        connectivity = connectivity.sel({dim: truth[dim].values for dim in EDGE if dim in truth.coords})
    weights = np.array(truth)
    np.fill_diagonal(weights, 0)
    return connectivity, weights


def rate_sentence(rate, graph, weights=None):
    n_edges = int(graph.sum())
    if weights is None:
        possible = len(graph) * (len(graph) - 1)
        return (
            f"At a false discovery rate of {rate:g}: {n_edges} of {possible} possible edges. If the p-values hold, at "
            f"most {100 * rate:g} % of the edges of such a graph are false, on average."
        )
    right, true = int((graph & (weights != 0)).sum()), np.count_nonzero(weights)
    share = f" ({100 * (n_edges - right) / n_edges:.0f} %)" if n_edges else ""
    return (
        f"At a false discovery rate of {rate:g}: {right} of {true} true edges found, {true - right} missed. Of "
        f"{n_edges} edges in the estimate, {n_edges - right} are false{share}."
    )


def share_sentence(share, graph):
    """What the graph of the strongest pairs holds."""
    possible = len(graph) * (len(graph) - 1)
    return (
        f"The strongest {100 * share:g} % of all pairs: {int(graph.sum())} of {possible}. The method gives no "
        f"p-values, "
        "so it does not say how many of them are edges."
    )


class _Ring:
    """Neurons on a circle, the first on top, as in `network_graph`; coordinates of an SVG, y downwards."""

    def __init__(self, names, n_edges, level="adjusted p-value"):
        self.names = [str(name) for name in names]
        self.level = level
        angle = 2 * np.pi * np.arange(len(self.names)) / len(self.names)
        self.place = RADIUS * np.stack([np.sin(angle), -np.cos(angle)], axis=-1)
        self.node = float(np.clip(60 / len(self.names), 2, 6))
        self.thin = float(np.clip(6 / max(n_edges, 1) ** 0.5, 0.3, 1))

    def edge(self, target, source, sign, adjusted, *, of, dashed, hidden=False):
        """An arrow or a bar, from source to target, that knows its adjusted p-value."""
        start, stop = self.place[source], self.place[target]
        along = stop - start
        bend = (start + stop) / 2 + BEND * np.array([-along[1], along[0]])
        start = start + (self.node + 1) * _unit(bend - start)
        ahead = _unit(stop - bend)
        tip = stop - (self.node + 2) * ahead
        across = np.array([-ahead[1], ahead[0]])
        size = 3 + 6 * self.thin
        if sign < 0:
            line_end = tip
            head = [tip - 0.6 * size * across, tip + 0.6 * size * across]
            head = [*head, head[1] - 1.2 * self.thin * ahead - ahead, head[0] - 1.2 * self.thin * ahead - ahead]
        else:
            line_end = tip - 0.8 * size * ahead
            head = [tip, tip - size * ahead + 0.4 * size * across, tip - size * ahead - 0.4 * size * across]
        words = f"{self.names[source]} {NAMES[sign]} {self.names[target]}, {self.level} {adjusted:.2g}"
        return (
            f'<g class="ck-{NAMES[sign]}" data-of="{of}" data-q="{float(adjusted)!r}" data-pair="{target} {source}" '
            f'stroke="{COLORS[sign]}" fill="{COLORS[sign]}" stroke-dasharray="{DASHES if dashed else "none"}" '
            f'visibility="{"hidden" if hidden else "visible"}"><title>{escape(words)}</title>'
            f'<path fill="none" d="M{_at(start)}Q{_at(bend)} {_at(line_end)}"/>'
            f'<path stroke="none" d="M{"L".join(map(_at, head))}Z"/></g>'
        )

    def panel(self, title, edges):
        named = len(self.names) <= 40
        shown = [name if len(name) <= LETTERS else name[: LETTERS - 1] + "…" for name in self.names]
        width = RADIUS + 16 + (6.5 * max(map(len, shown)) if named else 0)
        nodes = [
            f'<circle data-neuron="{k}" cx="{x:.1f}" cy="{y:.1f}" r="{self.node:.1f}" fill="currentColor">'
            f"<title>{escape(name)}</title></circle>"
            for k, (name, (x, y)) in enumerate(zip(self.names, self.place, strict=True))
        ]
        for name, (x, y) in zip(shown, self.place * [1 + 11 / RADIUS, 1 + 15 / RADIUS], strict=True):
            anchor = "middle" if abs(x) < RADIUS / 3 else "start" if x > 0 else "end"
            nodes.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(name)}</text>' * named)
        words = escape(f"{title}, {len(self.names)} neurons on a circle")
        return (
            f'<div class="ck-panel"><div class="ck-title">{title}</div>'
            f'<svg role="img" aria-label="{words}" viewBox="{-width:.0f} {-RADIUS - 24:.0f} {2 * width:.0f} '
            f'{2 * RADIUS + 48:.0f}" font-size="{11 if len(self.names) <= 20 else 8}" fill="currentColor">'
            f'<g stroke-width="{0.3 + 1.9 * self.thin:.2f}" opacity="{0.4 + 0.6 * self.thin:.2f}">{"".join(edges)}</g>'
            f"{''.join(nodes)}</svg></div>"
        )


def _unit(vector):
    return vector / np.hypot(*vector)


def _at(point):
    return f"{point[0]:.1f} {point[1]:.1f}"


def _legend(kinds, with_truth):
    """What colors, heads and dashes mean, of those that occur."""
    arrow, bar = '<path stroke="none" d="M30 6L20 2L20 10Z"/>', '<path stroke-width="2" d="M30 1L30 11"/>'
    lines = [
        (f"ck-{NAMES[sign]}", COLORS[sign], bar if sign < 0 else arrow, NAMES[sign], "none")
        for sign in sorted(kinds, reverse=True)
    ]
    if with_truth:
        lines.append(("", "currentColor", "", "in this graph only", DASHES))
    items = [
        f'<span><svg aria-hidden="true" viewBox="0 0 32 12" class="{style}" stroke="{color}" fill="{color}">'
        f'<path d="M0 6L{24 if head else 32} 6" stroke-width="2" stroke-dasharray="{dashes}"/>{head}</svg> {words}'
        "</span>"
        for style, color, head, words, dashes in lines
    ]
    return f'<div class="ck-legend">{"".join(items)}</div>'


def _figure(states, first, panels, legend, caption, label):
    _, value, sentence = states[first]
    return (
        f'<figure class="ck-fdr" data-dashes="{DASHES}" data-states="{escape(dumps(states))}">'
        f"<label hidden><span>{label} <b>{value}</b></span>"
        f'<input type="range" min="0" max="{len(states) - 1}" step="1" value="{first}" aria-valuetext="{value}" '
        'autocomplete="off"></label>'
        f'<output aria-live="polite">{escape(sentence)}</output>'
        f'<div class="ck-panels">{"".join(panels)}</div>{legend}'
        f"{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"
    )

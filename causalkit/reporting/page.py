"""The page itself: what is said, in which order, and what makes it safe to open."""

from __future__ import annotations

import base64
import json
import platform
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage

from .. import __version__, connectivity, io, significance
from ..connectivity import EDGE
from ..methods import METHODS
from ..plots.fdr_slider import (
    BY_RATE,
    BY_SHARE,
    RATES,
    SCRIPT,
    SHARES,
    STYLE,
    level_slider,
    pair_ranks,
    rate_sentence,
    share_sentence,
)
from ..preprocess import decay_free, history_in_words
from ..recording import as_recording, trial_slices
from . import agreement, figures
from .diagnostics import diagnose
from .text import clean, embedded, named

MOST_NEURONS = 300  # in the matrix and the tables: what bounds the size of the page
MOST_EDGES = 600  # drawn on the ring
MOST_ROWS = 60  # of the table of edges
MOST_LETTERS = 400  # of what was done to the recording
WORDS = {1: "excites", -1: "inhibits", 0: "drives"}
PAPERS = {
    "mvgc": "L. Barnett and A. K. Seth, The MVGC multivariate Granger causality toolbox, J. Neurosci. Meth. 223 (2014)",
    "causalformer": "Z. Lu et al., Attention for Causal Relationship Discovery from Biological Neural Dynamics (2023)",
    "pcmci": "J. Runge et al., Detecting and quantifying causal associations, Science Advances 5 (2019)",
}
CAUTIONS = {
    "gaussian_process": "Trust the ranking of this method before its p-values. In 40 simulated networks without any "
    "edge, 12 % of the pairs of voltages had a p-value below .05, and 13 networks got an edge. Where sources multiply, "
    "many true edges do not pass.",
}
THEME = (
    'document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";'
)


class Report:
    """What `report` returns: a page, and the findings on it.

    Attributes
    ----------
    html : str
        The whole page, one file that needs no other.
    findings : list of Finding
        What the diagnostics say, warnings first.
    comparisons : list of (str, dict or str)
        What was compared, and how far it agrees, or why it was not compared.
    """

    def __init__(self, html, findings, comparisons):
        self.html, self.findings, self.comparisons = html, findings, comparisons

    def save(self, path):
        """Write the page; the file appears complete or not at all."""
        with io.atomic(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return path

    def __repr__(self):
        warns = sum(finding.warns for finding in self.findings)
        return f"Report({len(self.html.encode()) / 1e3:,.0f} kB, {warns} of {len(self.findings)} diagnostics warn)"


def report(recording, connectivity, *, fdr=0.05, title=None, command=None, source=None, second_opinion=True):
    """Make a page about a recording and what a method found in it, for a colleague who has nothing installed.

    On it: the recording at a glance; what may be wrong with it (`causalkit.reporting.diagnose`); the graph, with a
    slider for the false discovery rate, beside a matrix that can be sorted and clustered; the strongest edges with
    their lags and p-values; how far another method and the halves of the recording agree; and how to make it again.
    Methods without p-values get a slider for the share of pairs. Calcium is shown, and asked, without the decay of its
    indicator (`preprocess.decay_free`).

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes
    connectivity : xarray.Dataset
        What a method found in it: ``method.fit(x).connectivity_``.
    fdr : float, default 0.05
        Rate at which the slider stands first.
    title : str, optional
        Heading of the page.
    command : str, optional
        The command line that makes it, to be shown.
    source : str, optional
        Name of the file that the recording came from, to be shown.
    second_opinion : bool, default True
        Fit MVGC too, to the recording and to its halves, to compare.

    Returns
    -------
    Report
        Its `html` is the page, `save` writes it.

    Raises
    ------
    ValueError
        If recording and connectivity have other neurons, or `fdr` is no share.

    Notes
    -----
    The page holds 300 neurons at most, those with the strongest edges, and 600 edges on the ring, which bounds its
    size to about 3 MB. It loads nothing from elsewhere. Names are shown as text whatever they hold, cut after 60
    letters, and a content security policy lets no script run but the page's own.
    """
    recording = decay_free(as_recording(recording))
    result = _matched(recording, connectivity)
    if not 0 < fdr < 1:
        raise ValueError(f"fdr is {fdr}: it is the share of false edges that a graph may hold; give 0.05, for example")
    findings = diagnose(recording, result, fdr=fdr)
    comparisons = agreement.second_opinions(recording, result, fdr) if second_opinion else []
    page = _Page(recording, result, fdr, findings, comparisons, title or source or "A recording", command, source)
    return Report(page.html(), findings, comparisons)


def _matched(recording, result):
    """The connectivity in the recording's order of neurons."""
    if "score" not in getattr(result, "data_vars", {}):
        raise ValueError("this is no connectivity, it has no score: pass method.fit(recording).connectivity_")
    names = recording["neuron"].values.astype(str).tolist()
    places = {}
    for dim in EDGE:
        held = result[dim].values.astype(str).tolist()
        if sorted(held) != sorted(names):
            other = sorted(set(held) ^ set(names))[:4]
            raise ValueError(
                f"the scores are of {len(held)} neurons and the recording of {len(names)}, and names differ "
                f"({', '.join(map(clean, other))}): these scores belong to another recording; fit it again"
            )
        place = {name: k for k, name in enumerate(held)}
        places[dim] = [place[name] for name in names]
    return result.isel(places)


class _Page:
    def __init__(self, recording, result, fdr, findings, comparisons, title, command, source):
        self.recording, self.findings, self.comparisons = recording, findings, comparisons
        self.title, self.command, self.source, self.fdr = clean(title), command, source, fdr
        self.tested = "p_value" in result
        if self.tested:
            levels = significance.fdr(result["p_value"].transpose(*EDGE)).values
            self.rates, self.first = sorted({*RATES, fdr}), fdr
        else:
            levels = pair_ranks(result)
            self.rates, self.first = sorted(SHARES), 0.1
        say = rate_sentence if self.tested else share_sentence
        self.sentences = [say(rate, levels <= rate) for rate in self.rates]
        self.n_edges = int((levels <= self.first).sum())
        self.n_all, self.table = recording.sizes["neuron"], connectivity.to_frame(result)
        self.kept = _strongest_neurons(result, levels)
        self.result = result.isel(target=self.kept, source=self.kept)
        self.levels = levels[np.ix_(self.kept, self.kept)]
        self.names = [clean(name) for name in recording["neuron"].values[self.kept]]
        self.result = self.result.assign_coords(dict.fromkeys(EDGE, self.names))
        self.method = str(result.attrs.get("method", "unknown method"))
        self.dt_ms = recording.attrs["dt_ms"]

    def html(self):
        sections = [
            ("findings", "What to watch for", self._findings()),
            ("recording", "The recording", self._recording()),
            ("graph", "The graph", self._graph()),
            ("edges", "The strongest edges", self._edges()),
            ("agreement", "Does another look agree?", self._agreement()),
            ("again", "Cite and repeat", self._again()),
        ]
        sections = [section for section in sections if section[2]]
        scripts = [THEME, f"{{{SCRIPT}}}", _asset("page.js")]
        hashes = " ".join(f"'sha256-{base64.b64encode(sha256(s.encode()).digest()).decode()}'" for s in scripts)
        policy = (
            f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
            "form-action 'none'"
        )
        links = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in sections)
        body = "".join(
            f'<section id="{key}" aria-labelledby="{key}-heading"><h2 id="{key}-heading">{heading}</h2>{content}'
            "</section>"
            for key, heading, content in sections
        )
        return (
            '<!doctype html>\n<html lang="en" data-theme="light">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)} · causalkit</title>\n<script>{scripts[0]}</script>\n"
            f"<style>{STYLE}{_asset('page.css')}</style>\n</head>\n<body>\n"
            '<a class="skip" href="#main">Skip to the content</a>\n'
            f"<header><div><p class=\"kicker\">Who drives whom? A causalkit report</p><h1>{named(self.title)}</h1>"
            f"{self._lead()}</div>"
            '<button type="button" id="theme" aria-pressed="false" hidden>Dark</button></header>\n'
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="main" tabindex="-1">\n{body}\n</main>\n'
            f"<footer>Made with causalkit {escape(__version__)} on {datetime.now(UTC):%d %B %Y}. Nothing on this "
            f"page is "
            "loaded from elsewhere.</footer>\n"
            f'<script type="application/json" id="ck-data">{embedded(self._data())}</script>\n'
            f"<script>{scripts[1]}</script>\n<script>{scripts[2]}</script>\n</body>\n</html>\n"
        )

    def _lead(self):
        n_times, n_neurons = self.recording["activity"].shape
        seconds = n_times * self.dt_ms / 1000
        n_warnings = sum(finding.warns for finding in self.findings)
        tiles = [
            (f"{n_neurons}", "neurons"),
            (f"{seconds:,.4g} s", f"in steps of {self.dt_ms:g} ms"),
            (f"{self.n_edges}", f"of {n_neurons * (n_neurons - 1):,} possible edges")
            if self.tested else ("ranked", f"{n_neurons * (n_neurons - 1):,} pairs, no p-values"),
            (f"{n_warnings}", "warning" if n_warnings == 1 else "warnings"),
        ]  # fmt: skip
        rule = f"at a false discovery rate of {self.fdr:g}" if self.tested else "by score alone"
        items = "".join(f"<div><dt>{label}</dt><dd>{number}</dd></div>" for number, label in tiles)
        why = str(self.result.attrs.get("chosen_because", ""))
        chosen = f" It was chosen for this recording: {escape(clean_sentence(why))}." if why else ""
        caution = CAUTIONS.get(self.method)
        return (
            f'<dl class="tiles">{items}</dl><p>Method: <code>{escape(self.method)}</code>, {rule}.{chosen}</p>'
            f"<p>{self._meaning()} It does not say that there is a synapse.</p>"
            + (f"<p>{caution}</p>" if caution else "")
        )

    def _meaning(self):
        method = METHODS.get(self.method)
        if method is not None and not method.traits.directed:
            return (
                "An edge says that, in this recording, two neurons move together within a time step beyond what all "
                "other recorded neurons tell. It has no direction: each pair is there both ways."
            )
        return (
            "An edge says that, in this recording, the past of one neuron helps to forecast another beyond what all "
            "other recorded neurons tell."
        )

    def _findings(self):
        cards = []
        for finding in self.findings:
            word, kind = ("Warning", "warns") if finding.warns else ("Fine", "fine")
            if not finding.warns and ("unknown" in finding.title or finding.title.startswith("No p")):
                word, kind = "Note", "note"
            advice = f"<p>{escape(finding.advice)}</p>" if finding.advice else ""
            cards.append(
                f'<li class="{kind}"><h3><span class="flag">{word}</span> {escape(finding.title)}</h3>'
                f"<p>{escape(finding.text)}</p>{advice}</li>"
            )
        return (
            f'<ul class="cards">{"".join(cards)}</ul><p class="small">No diagnostic sees a neuron that was not '
            f'recorded '
            "and drives only a few of the others. Silence is no proof.</p>"
        )

    def _recording(self):
        trials = len(trial_slices(self.recording))
        n_times, n_neurons = self.recording["activity"].shape
        facts = [
            ("file", named(self.source) if self.source else "not from a file"),
            ("kind", escape(self.recording.attrs["kind"])),
            ("shape", f"{n_times:,} time steps, {n_neurons} neurons" + (f", {trials} trials" if trials > 1 else "")),
        ]
        if done := history_in_words(self.recording):
            facts.append(("shown after", escape(clean(done, MOST_LETTERS))))
        facts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
        rows = figures.neuron_table(self.recording, self.findings, MOST_NEURONS)
        few = n_neurons <= figures.NAMED
        more = f"The first {MOST_NEURONS} of {n_neurons} neurons." if n_neurons > MOST_NEURONS else ""
        return (
            f'<dl class="facts">{facts}</dl>{figures.excerpt(self.recording)}{figures.overview(self.recording)}'
            f"<details{' open' if few else ''}><summary>Each neuron in numbers</summary>"
            f"{_scrolling(rows, f'Each neuron over the whole recording. {more}', 'neurons')}</details>"
        )

    def _graph(self):
        words = BY_RATE if self.tested else BY_SHARE
        graphs = np.stack([self.levels <= rate for rate in self.rates])
        figure = level_slider(
            self.result, None, self.levels, graphs, self.rates, self.first, self.sentences,
            caption="", most_edges=MOST_EDGES, words=words,
        ).figure  # fmt: skip
        cut = ""
        if len(self.kept) < self.n_all:
            cut = f"<p>Shown are the {len(self.kept)} of {self.n_all} neurons with the strongest edges.</p>"
        neurons = "".join(f'<option value="{k}">{escape(name)}</option>' for k, name in enumerate(self.names))
        orders = "".join(f'<option value="{key}">{words}</option>' for key, words, _ in self._orders())
        canvas = (
            '<canvas id="ck-matrix" tabindex="0" role="application" aria-label="Matrix of scores: a row a target, a '
            'column '
            'a source. Arrow keys move, and the pair is read out." aria-describedby="ck-pair"></canvas>'
        )
        return (
            f"{cut}<p>Move the slider with the mouse or the arrow keys. Choose a neuron, or point at one, to see "
            f"only what "
            'it drives and what drives it.</p><div class="controls" hidden><label>Neuron <select id="ck-neuron">'
            f'<option value="">all</option>{neurons}</select></label><label>Order of the matrix <select id="ck-order">'
            f'{orders}</select></label></div><p id="ck-about" class="about" aria-live="polite"></p>{figure}'
            f'<figure class="matrix" hidden>{canvas}<output id="ck-pair" aria-live="polite">Point at a cell, or step '
            "through the matrix with the arrow keys.</output><figcaption>Every pair: row, the neuron that is driven; "
            "column, the one that drives. The darker, the stronger among all pairs. Colored: in the graph, orange if "
            "it excites, blue if it inhibits; gray: not in it.</figcaption></figure>"
            "<noscript><p>The slider and the matrix need scripts. The table of edges below does not.</p></noscript>"
        )

    def _orders(self):
        graph = self.levels <= self.first
        score = np.nan_to_num(self.result["score"].transpose(*EDGE).values)
        out, into = graph.sum(axis=0), graph.sum(axis=1)
        yield "file", "as in the file", np.arange(len(self.names))
        yield "cluster", "clustered: alike in what they drive and what drives them", _clustered(score)
        yield "out", "drives most first", np.lexsort((-score.sum(axis=0), -out))
        yield "in", "driven most first", np.lexsort((-score.sum(axis=1), -into))
        yield "name", "by name", np.argsort(np.array([name.lower() for name in self.names]), kind="stable")

    def _edges(self):
        columns = ["source", "", "target", "score"]
        lagged = self.result.sizes.get("lag", 0) if "lag_score" in self.result else 0
        columns += ["p-value", "adjusted"] * self.tested + ["lag"] * (lagged > 0) + ["profile"] * (lagged > 1)
        shown = self.table.head(min(MOST_ROWS, max(self.n_edges + 10, 20)))
        places = {str(name): k for k, name in enumerate(self.recording["neuron"].values[self.kept])}
        rows = []
        for edge in shown.itertuples():
            i, j = places.get(str(edge.target)), places.get(str(edge.source))
            if i is None or j is None:
                continue  # of a neuron that the page leaves out
            sign = int(getattr(edge, "sign", 0) or 0)
            cells = [f'<td class="sign{sign}">{WORDS[sign]}</td><td>{named(edge.target)}</td><td>{edge.score:.4g}</td>']
            if self.tested:
                cells.append(f"<td>{_p(edge.p_value)}</td><td>{_p(self.levels[i, j])}</td>")
            if lagged:
                cells.append(f"<td>{edge.lag * self.dt_ms:g} ms</td>")
            if lagged > 1:
                profile = self.result["lag_score"].transpose(*EDGE, "lag").values[i, j]
                picture = figures.lag_profile(profile, self.dt_ms) if np.isfinite(profile).any() else ""
                cells.append(f"<td>{picture}</td>")
            inside = "" if self.levels[i, j] <= self.first else ' class="outside"'
            rows.append(
                f'<tr data-level="{float(self.levels[i, j])!r}"{inside}><th scope="row">{named(edge.source)}</th>'
                f"{''.join(cells)}</tr>"
            )
        head = "".join(f'<th scope="col">{word or "<span class=unseen>effect</span>"}</th>' for word in columns)
        caption = (
            f"The {len(rows)} of {len(self.table):,} pairs with the largest scores. Pale rows are not in the graph "
            f"at the "
            f"{'rate' if self.tested else 'share'} above."
        )
        if lagged > 1:
            caption += " Profile: the score of each lag, from the shortest on, over the largest."
        table = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        return _scrolling(table, caption, "pairs", "edges-table")

    def _agreement(self):
        rows, refused = [], []
        for what, found in self.comparisons:
            if isinstance(found, str):
                refused.append(f"<p>{escape(what)}: not compared. {escape(clean_sentence(found))}</p>")
                continue
            same = "" if np.isnan(found["same_sign"]) else f"{100 * found['same_sign']:.0f} %"
            share = "" if np.isnan(found["jaccard"]) else f"{100 * found['jaccard']:.0f} %"
            rho = "" if np.isnan(found["rank_correlation"]) else f"{found['rank_correlation']:.2f}"
            rows.append(
                f'<tr><th scope="row">{escape(what)}</th><td>{rho}</td><td>{found["both"]}</td>'
                f"<td>{found['only_first']}</td><td>{found['only_second']}</td><td>{share}</td><td>{same}</td></tr>"
            )
        if not self.comparisons:
            return ""
        heads = ["", "rank correlation", "edges of both", "only the first", "only the second", "in common", "same sign"]
        head = "".join(f'<th scope="col">{word or "<span class=unseen>what</span>"}</th>' for word in heads)
        table = ""
        if rows:
            rules = {found["rule"] for _, found in self.comparisons if not isinstance(found, str)}
            caption = f"Graphs: {'; '.join(sorted(rules))}. In common: of the edges that either graph has."
            table = _scrolling(
                f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>", caption, "agreement", "agreement-table"
            )
        return (
            "<p>Edges that two different methods find, or both halves of a recording, deserve more trust. Where "
            "they differ, "
            "neither is right for that alone: MVGC is linear and sees only sums of the past.</p>"
            f"{table}{''.join(refused)}"
        )

    def _again(self):
        attributes = self.result.attrs
        try:
            parameters = json.loads(attributes.get("parameters", "{}"))
        except (TypeError, ValueError):
            parameters = {}
        items = "".join(
            f'<tr><th scope="row">{escape(clean(name))}</th><td>{escape(clean(json.dumps(value)))}</td></tr>'
            for name, value in parameters.items()
        )
        head = '<thead><tr><th scope="col">parameter</th><th scope="col">value</th></tr></thead>'
        parts = [f"python {platform.python_version()}"]
        for package in ("causalkit", "numpy", "scipy", "xarray", "torch"):
            try:
                parts.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                parts.append(f"{package} {__version__}" if package == "causalkit" else f"{package} not installed")
        fitted = f" Scores were made by causalkit {escape(clean(attributes.get('version', 'unknown')))}"
        seconds = attributes.get("seconds")
        fitted += f" in {float(seconds):.3g} s." if isinstance(seconds, int | float | np.floating) else "."
        command = ""
        if self.command:
            command = f"<h3>The command</h3><pre><code>{escape(self.command)}</code></pre>"
        paper = PAPERS.get(self.method)
        cite = f"The causalkit authors, causalkit: which neuron drives which, version {__version__}"
        also = f" and, for the method, {escape(paper)}" if paper else ""
        return (
            f"{command}<h3>The method</h3>"
            + _scrolling(f"{head}<tbody>{items}</tbody>", f"Parameters of {self.method}.", "parameters")
            + f"<p>Versions: {escape(', '.join(parts))}.{fitted}</p>"
            f"<h3>To cite</h3><p>{escape(cite)}{also}. Name the parameters and the version, so that others can run "
            f"the same "
            "code.</p>"
        )

    def _data(self):
        """What the script needs: names, orders, and a number a pair, target by target."""
        score = np.nan_to_num(self.result["score"].transpose(*EDGE).values)
        n = len(self.names)
        data = {"names": self.names, "dt": float(self.dt_ms), "tested": self.tested}
        data["orders"] = {key: np.asarray(order).tolist() for key, _, order in self._orders()}
        data["score"] = _packed(score, np.float32)
        data["level"] = _packed(np.nan_to_num(self.levels, nan=2.0), np.float64)
        data["rank"] = _packed(np.round(65535 * (1 - np.nan_to_num(pair_ranks(self.result), nan=1))), np.uint16)
        if self.tested:
            data["p"] = _packed(np.nan_to_num(self.result["p_value"].transpose(*EDGE).values, nan=2.0), np.float32)
        sign = self.result["sign"].transpose(*EDGE).values if "sign" in self.result else np.zeros((n, n))
        data["sign"] = _packed(sign, np.int8)
        if "lag_score" in self.result:
            lags = np.nan_to_num(self.result["lag_score"].transpose(*EDGE, "lag").values, nan=-np.inf)
            data["lag"] = _packed(np.minimum(self.result["lag"].values[lags.argmax(axis=-1)], 255), np.uint8)
        return data


def clean_sentence(text):
    """A message that may name neurons, at most as long as a paragraph."""
    text = " ".join(str(text).split())
    return text if len(text) <= 400 else text[:399] + "…"


def _packed(values, dtype):
    """Numbers as base64 of their little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _strongest_neurons(result, levels):
    """Places of the neurons that the page shows, in the order of the file."""
    n_neurons = result.sizes["target"]
    if n_neurons <= MOST_NEURONS:
        return np.arange(n_neurons)
    score = result["score"].transpose(*EDGE).values
    order = np.lexsort((-np.nan_to_num(score).ravel(), np.nan_to_num(levels, nan=2.0).ravel()))
    places = np.stack(np.unravel_index(order, score.shape), axis=1).ravel()
    _, first = np.unique(places, return_index=True)
    return np.sort(places[np.sort(first)[:MOST_NEURONS]])


def _clustered(score):
    """Order in which neurons that drive the same, and are driven by the same, stand together."""
    n = len(score)
    if n < 3:
        return np.arange(n)
    ranks = np.argsort(np.argsort(score, axis=None)).reshape(n, n) / max(n * n - 1, 1)
    profile = np.concatenate([ranks, ranks.T], axis=1)
    return leaves_list(linkage(profile, "average", optimal_ordering=n <= 100))


def _p(value):
    return "&lt; 1e-300" if value < 1e-300 else f"{value:.2g}"


def _scrolling(rows, caption, words, key=None):
    """A table that scrolls inside itself where the page is narrow, and takes the focus to be scrolled by keyboard.

    What it shows stands above the part that scrolls.
    """
    name = f"{words}-caption"
    return (
        f'<p class="small caption" id="{name}">{escape(caption)}</p><div class="scroll" role="region" '
        f'aria-labelledby="{name}" tabindex="0"><table aria-labelledby="{name}"{f" id={key!r}" if key else ""}>{rows}'
        "</table></div>"
    )


def _asset(name):
    return files(__package__).joinpath(name).read_text(encoding="utf-8")

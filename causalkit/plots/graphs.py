"""Figures of wiring and scores on (target, source)."""

import matplotlib
import networkx as nx
import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap, LogNorm

from .. import metrics
from .style import (
    BLACK,
    BLUE,
    CELL_COLORS,
    GRAY,
    RED,
    WIDTH,
    cell_handles,
    neuron_ticks,
    new_axes,
    panels,
    styled,
)


@styled
def network_graph(connectivity, cell_type=None, ax=None):
    """Wiring as a graph on a circle, Figure 1a of the paper: arrows excite, bars inhibit.

    Parameters
    ----------
    connectivity : xarray.DataArray or array_like
        Signed weights or a boolean graph, shape (n_neurons, n_neurons): row target, column source.
    cell_type : array_like, optional
        "excitatory" or "inhibitory" for each neuron, the color of its circle (and of its edges in a boolean
        graph); read from the signs of its outgoing edges by default, black where these are mixed.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the matrix is not square or has NaN values (scores are not a graph yet).
    """
    weights, names = _square(connectivity)
    if weights.dtype != bool and np.isnan(weights).any():
        raise ValueError(
            "connectivity has NaN values, as scores do: a graph needs a decision on each edge; make one with "
            "connectivity.adjacency(scores, fdr=..., top_k=... or density=...)"
        )
    n_neurons = len(weights)
    ax = ax if ax is not None else new_axes(4.6, 4.8)
    signed = weights.dtype != bool
    if cell_type is None:
        negative, positive = (weights < 0).any(axis=0), (weights > 0).any(axis=0)
        mixed = (negative & positive) | (not signed)  # estimates may break Dale's law
        cell_type = np.where(mixed, "unknown", np.where(negative, "inhibitory", "excitatory"))
    kinds = np.asarray(cell_type, dtype=str)

    def edge_kind(source, target):
        if not signed:
            return kinds[source]
        return "inhibitory" if weights[target, source] < 0 else "excitatory"

    angles = np.pi / 2 - 2 * np.pi * np.arange(n_neurons) / n_neurons
    position = {i: (np.cos(angle), np.sin(angle)) for i, angle in enumerate(angles)}
    node_size = float(np.clip(9000 / n_neurons, 120, 1100))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n_neurons))
    graph.add_edges_from((int(source), int(target)) for target, source in np.argwhere(weights))
    thin = float(np.clip(5 / max(graph.number_of_edges(), 1) ** 0.5, 0.2, 1))
    for kind in sorted({edge_kind(*edge) for edge in graph.edges}):
        arrows = nx.draw_networkx_edges(
            graph,
            position,
            [edge for edge in graph.edges if edge_kind(*edge) == kind],
            ax=ax,
            edge_color=CELL_COLORS.get(kind, BLACK),
            arrowstyle="|-|,widthA=0,widthB=0.4" if kind == "inhibitory" else "-|>",
            arrowsize=20 * thin**0.5,
            width=2.2 * thin,
            alpha=0.4 + 0.6 * thin,
            node_size=node_size * (1.6 if kind == "inhibitory" else 1.3),
            connectionstyle="arc3,rad=0.13",
        )
        for arrow in arrows:
            arrow.set_gid(f"{kind} edge")
    nx.draw_networkx_nodes(
        graph,
        position,
        ax=ax,
        node_color="white",
        edgecolors=[CELL_COLORS.get(kind, BLACK) for kind in kinds],
        linewidths=2,
        node_size=node_size,
    )
    if n_neurons <= 20:
        size = 13 if n_neurons <= 10 else 9
        nx.draw_networkx_labels(graph, position, dict(enumerate(names)), ax=ax, font_size=size)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.margins(0.12)
    handles = cell_handles([edge_kind(*edge) for edge in graph.edges] or kinds, lw=2.5)
    if handles:
        for handle in handles:
            excites = handle.get_label() == "excitatory"
            handle.set_label("excites (arrow)" if excites else "inhibits (bar)")
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.03), ncols=2)
    return ax


@styled
def score_matrices(scores, axes=None, *, log=False):
    """Several score matrices, each with its own color scale: a method beside its controls.

    Parameters
    ----------
    scores : mapping of str to (xarray.Dataset, xarray.DataArray or array_like)
        Title and matrix, shape (n_neurons, n_neurons): row target, column source. The diagonal and missing
        entries are gray.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each matrix.
    log : bool
        Logarithmic colors, for scores over several orders of magnitude.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        One for each matrix.
    """
    axes = np.ravel(axes) if axes is not None else _square_panels(len(scores))
    for ax, (title, matrix) in zip(axes, scores.items(), strict=True):
        _score_map(ax, *_square(matrix), title, log)
    return axes


@styled
def connectivity_pair(truth, estimate, axes=None, *, protocol="off_diagonal"):
    """True wiring beside estimated scores, Figures 1d and 1e of the paper, with the AUROC in the title.

    Parameters
    ----------
    truth : xarray.Dataset, xarray.DataArray or array_like
        Signed or binary wiring, shape (n_neurons, n_neurons): row target, column source; or a recording with
        a known `connectivity`.
    estimate : xarray.Dataset, xarray.DataArray or array_like
        A connectivity or its score, same shape. The diagonal is drawn gray. Drawn in the truth's order of
        neurons where both have names.
    axes : array_like of two matplotlib.axes.Axes, optional
    protocol : {"off_diagonal", "published"}
        Of the AUROC; see `causalkit.metrics.auroc`.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The truth's and the estimate's.

    Raises
    ------
    ValueError
        As `causalkit.metrics.auroc`.
    """
    area = metrics.auroc(truth, estimate, protocol=protocol)
    axes = np.ravel(axes) if axes is not None else _square_panels(2, height=4)
    truth = truth["connectivity"] if isinstance(truth, xr.Dataset) else truth
    estimate = estimate["score"] if isinstance(estimate, xr.Dataset) else estimate
    if isinstance(truth, xr.DataArray) and isinstance(estimate, xr.DataArray):
        shared = set(truth.coords) & set(estimate.coords) & set(metrics.EDGE)
        estimate = estimate.sel({dim: truth[dim].values for dim in shared})
    _wiring_map(axes[0], *_square(truth))
    score, names = _square(estimate)
    _score_map(axes[1], score, names, f"estimate, AUROC {area:.2f}\n({protocol.replace('_', ' ')})")
    return axes


def _square(matrix):
    """Values as an array, row target, column source, and the neurons' names."""
    if isinstance(matrix, xr.Dataset):
        matrix = matrix["score"]
    if isinstance(matrix, xr.DataArray):
        matrix = matrix.transpose("target", "source")
    values = np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(
            f"matrix has shape {values.shape}, which is not square: it is drawn with one row a target and "
            "one column a source; give (n_neurons, n_neurons)"
        )
    named = isinstance(matrix, xr.DataArray) and "source" in matrix.coords
    names = matrix["source"].values if named else [f"n{i}" for i in range(len(values))]
    return (values if values.dtype == bool else values.astype(float)), names


def _square_panels(n_panels, height=3.7):
    """Two panels a row: more could not be read on a phone."""
    n_columns = min(n_panels, 2)
    n_rows = -(-n_panels // n_columns)
    width = WIDTH if n_columns == 2 else WIDTH / 1.6
    axes = panels(n_rows, n_columns, width=width, height=height * n_rows).ravel()
    for ax in axes[n_panels:]:
        ax.remove()
    return axes[:n_panels]


def _score_map(ax, values, names, title, log=False):
    masked = np.ma.masked_invalid(np.where(np.eye(len(values), dtype=bool), np.nan, values))
    scale = {"norm": LogNorm()} if log else {"vmin": min(0, masked.min())}
    image = ax.imshow(masked, cmap=_with_gray("viridis"), **scale)
    bar = _color_bar(ax, image, "score")
    if not log:
        bar.ax.locator_params(nbins=4)
    _matrix_axes(ax, names, title)


def _color_bar(ax, image, label):
    bar = ax.figure.colorbar(image, ax=ax, location="bottom", fraction=0.06, aspect=16, label=label)
    bar.outline.set(color=GRAY, linewidth=0.8)
    bar.ax.tick_params(labelsize=10)
    return bar


def _wiring_map(ax, weights, names):
    shown = np.sign(weights.astype(float))  # -1, 0, +1
    np.fill_diagonal(shown, np.nan)
    signed = (shown < 0).any()
    colors = [BLUE, "white", RED if signed else BLACK]
    image = ax.imshow(np.ma.masked_invalid(shown), cmap=_with_gray(ListedColormap(colors)), vmin=-1, vmax=1)
    ticks = {-2 / 3: "inhibitory", 0: "none", 2 / 3: "excitatory"} if signed else {0: "none", 2 / 3: "edge"}
    bar = _color_bar(ax, image, "connection")
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(length=0)
    if not signed:
        bar.ax.set_xlim(-1 / 3, 1)
    n_pairs = len(weights) * (len(weights) - 1)
    _matrix_axes(ax, names, f"truth\n{np.count_nonzero(np.nan_to_num(shown))} edges in {n_pairs} pairs")


def _with_gray(cmap):
    """The color map, with gray for the diagonal: no method answers whether a neuron drives itself."""
    return (matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(bad="#C8C8C8")


def _matrix_axes(ax, names, title):
    neuron_ticks(ax.xaxis, names, most=5)
    neuron_ticks(ax.yaxis, names, most=10 if len(names) == 10 else 5)
    ax.tick_params(length=0, labelsize=10)
    ax.set(xlabel="source neuron", ylabel="target neuron", title=title)
    if len(names) <= 20:  # thin white lines between cells
        ax.set_xticks(np.arange(-0.5, len(names)), minor=True)
        ax.set_yticks(np.arange(-0.5, len(names)), minor=True)
        ax.grid(which="minor", color="#DDDDDD", lw=0.6)
        ax.tick_params(which="minor", length=0)
    for spine in ax.spines.values():
        spine.set(visible=True, color=GRAY, linewidth=0.8)

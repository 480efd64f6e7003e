"""Figures of whether p-values hold, and what graphs at a false discovery rate are worth; the unit is the network."""

from itertools import cycle

import numpy as np
from matplotlib.lines import Line2D
from scipy import stats

from .style import BLACK, DASHES, PALETTE, new_axes, panels, styled
from .sweeps import _check

MARKERS = "osD^vP"


@styled
def reliability(table, ax=None, *, confidence=0.95):
    """Draw how often p-values of non-edges fall below a level, against the level: on the diagonal, they hold.

    Above the diagonal p-values are too small, below it too large. Both axes are logarithmic, because small levels
    decide which edges a graph holds.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network and level: `group`, `level`, and the `share` of the network's non-edges with a p-value below
        it. Groups stand in the order of their first rows. Empty shares are left out.
    ax : matplotlib.axes.Axes, optional
    confidence : float, default 0.95
        Of the intervals, by Student's distribution over networks.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    _check(table, ("group", "level", "share"))
    ax = ax if ax is not None else new_axes(4.6, 4.6)
    levels = np.sort(table["level"].unique())
    ax.plot(levels[[0, -1]], levels[[0, -1]], color=BLACK, ls="--", lw=1, label="p-values hold", zorder=1)
    for k, (group, part, style) in enumerate(_groups(table)):
        mean, below, above = _mean_and_interval(part, "level", "share", confidence)
        x = mean.index * 1.05 ** (k - (table["group"].nunique() - 1) / 2)  # side by side, not on top of each other
        ax.errorbar(x, mean, [below, above], capsize=2, **style, label=group)
    smallest = levels[0] / 4
    ax.set(xlabel="level", ylabel="share of non-edges below it", xscale="log", yscale="log")
    ax.set(xlim=(levels[0] / 1.3, 1.1), ylim=(smallest, 1.3), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.legend(loc="upper left", handlelength=2)
    return ax


@styled
def discovery_curves(table, axes=None, *, confidence=0.95):
    """Draw what graphs at several false discovery rates hold: false edges against those allowed, and power.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network and rate: `group`, `rate`, `allowed` (the rate times the share of pairs that are not
        connected, all that Benjamini and Hochberg's procedure lets through on average), `false` (share of the graph's
        edges that are false) and `power` (share of edges that it holds). Groups stand in the order of their first rows.
    axes : array_like of two matplotlib.axes.Axes, optional
    confidence : float, default 0.95
        Of the intervals of `false`, by Student's distribution over networks.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Of false against allowed, and of power against false; one dot a rate.

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    _check(table, ("group", "rate", "allowed", "false", "power"))
    axes = panels(1, 2, height=3.5)[0] if axes is None else np.ravel(axes)
    handles = []
    for group, part, style in _groups(table):
        false, below, above = _mean_and_interval(part, "rate", "false", confidence)
        means = part.groupby("rate")[["allowed", "power"]].mean()
        axes[0].errorbar(means["allowed"], false, [below, above], capsize=2, **style)
        axes[1].plot(false, means["power"], **style)
        handles.append(Line2D([], [], **style, label=group))
    most = max(axes[0].get_xlim()[1], axes[0].get_ylim()[1])
    axes[0].plot([0, most], [0, most], color=BLACK, ls="--", lw=1, zorder=1)
    handles.append(Line2D([], [], color=BLACK, ls="--", lw=1, label="as allowed"))
    axes[0].set(xlabel="share of false edges allowed", ylabel="share of false edges", xlim=(0, None), ylim=(0, None))
    axes[1].set(xlabel="share of false edges", ylabel="share of edges found", xlim=(0, None), ylim=(None, 1.005))
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=2)
    return axes


def _groups(table):
    """Name, rows and style of each group."""
    looks = zip(cycle(PALETTE), cycle(DASHES), cycle(MARKERS), strict=False)
    for group, (color, dash, marker) in zip(dict.fromkeys(table["group"]), looks, strict=False):
        style = {"color": color, "ls": dash, "marker": marker, "ms": 5, "lw": 1.6}
        yield group, table[table["group"] == group], style


def _mean_and_interval(part, by, column, confidence):
    """Mean over networks at each value of `by`, and how far its interval reaches below and above."""
    groups = part.groupby(by)[column]
    mean, n = groups.mean(), groups.count()
    reach = groups.sem() * stats.t.ppf((1 + confidence) / 2, np.maximum(n - 1, 1))
    reach = reach.fillna(0)
    return mean, np.minimum(reach, mean), reach

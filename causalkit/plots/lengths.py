"""What a longer recording is worth."""

from itertools import cycle

import numpy as np
from matplotlib.lines import Line2D

from .style import BLACK, DASHES, GRAY, PALETTE, panels, styled
from .sweeps import _check, _plain_logarithmic

MARKERS = "osD^vP"


@styled
def length_curves(table, axes=None):
    """Draw AUROC against recording length: a dot a network, and a line through the means where no network is refused.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network, method and length: `n_neurons`, `n_steps`, `method`, `auroc`. An empty AUROC says that the
        method refused the recording: it is drawn as a cross at the bottom.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each number of neurons.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    _check(table, ("n_neurons", "n_steps", "method", "auroc"))
    sizes, methods = sorted(table["n_neurons"].unique()), list(dict.fromkeys(table["method"]))
    axes = panels(1, len(sizes), height=3.4, sharey=True)[0] if axes is None else np.ravel(axes)
    bottom = min(0.45, table["auroc"].min() - 0.05)
    looks = list(zip(cycle(PALETTE), cycle(DASHES), cycle(MARKERS), range(len(methods)), strict=False))
    for ax, size in zip(axes, sizes, strict=True):
        for method, (color, dash, marker, k) in zip(methods, looks, strict=True):
            mine = table[(table["n_neurons"] == size) & (table["method"] == method)]
            x = mine["n_steps"] * 1.07 ** (k - (len(methods) - 1) / 2)  # side by side, not on top of each other
            ax.plot(x, mine["auroc"], marker, color=color, ms=4.5, alpha=0.6, mew=0)
            mean = mine.groupby("n_steps")["auroc"].apply(lambda values: values.mean(skipna=False))
            ax.plot(mean.index, mean, color=color, ls=dash, lw=2)
            refused = x[mine["auroc"].isna()]
            ax.plot(refused, np.full(len(refused), bottom + 0.02 + 0.05 * k), "x", color=color, ms=7, mew=2)
        ax.axhline(0.5, color=GRAY, ls=":", lw=1)
        ax.set(xscale="log", xlabel="recording length (steps)", title=f"{size} neurons", ylim=(bottom, 1.01))
        _plain_logarithmic(ax.xaxis)
    axes[0].set_ylabel("AUROC, off the diagonal")
    handles = [
        Line2D([], [], color=color, ls=dash, marker=marker, ms=4.5, lw=2, label=method)
        for method, (color, dash, marker, _) in zip(methods, looks, strict=True)
    ]
    if table["auroc"].isna().any():
        handles.append(Line2D([], [], color=BLACK, ls="", marker="x", ms=7, mew=2, label="refused: too short"))
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=2, handlelength=2)
    return axes

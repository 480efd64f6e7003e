"""Figures that compare readouts of one trained model."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.stats import rankdata

from .. import metrics
from .graphs import _with_gray
from .style import BLACK, BLUE, GRAY, ORANGE, PALETTE, RED, neuron_ticks, panels, styled
from .sweeps import _check


@styled
def readout_maps(connectivities, truth, axes=None, *, columns=3):
    """How each readout ranks all pairs of neurons, with the true edges framed, and its AUROC.

    Ranks, not scores: readouts differ in unit and contrast, and their AUROC depends on the order of pairs alone.

    Parameters
    ----------
    connectivities : mapping of str to (xarray.Dataset, xarray.DataArray or array_like)
        Title and scores, (n_neurons, n_neurons): row target, column source.
    truth : DataArray or array_like
        Wiring, same shape; nonzero = an edge.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each connectivity.
    columns : int
        Panels in a row.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        One for each connectivity.
    """
    n_rows = -(-len(connectivities) // columns)
    if axes is None:
        axes = panels(n_rows, columns, width=2.2 * columns, height=2.5 * n_rows + 0.7).ravel()
        for ax in axes[len(connectivities) :]:
            ax.remove()
    axes = np.ravel(axes)[: len(connectivities)]
    edge = np.asarray(truth) != 0
    off = ~np.eye(len(edge), dtype=bool)
    for ax, (title, result) in zip(axes, connectivities.items(), strict=True):
        score = np.asarray(result["score"].transpose("target", "source") if hasattr(result, "data_vars") else result)
        rank = np.full(score.shape, np.nan)
        rank[off] = (rankdata(score[off]) - 1) / (off.sum() - 1)
        image = ax.imshow(np.ma.masked_invalid(rank), cmap=_with_gray("viridis"), vmin=0, vmax=1)
        for target, source in np.argwhere(edge & off):
            corner = source - 0.44, target - 0.44
            ax.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=RED, lw=1.6))
        ax.set_title(f"{title}\nAUROC {metrics.auroc(truth, score):.2f}", fontsize=11)
        neuron_ticks(ax.xaxis, range(len(edge)), most=5)
        neuron_ticks(ax.yaxis, range(len(edge)), most=5)
        ax.tick_params(length=0, labelsize=9)
    axes[0].set_ylabel("target")
    axes[-1].set_xlabel("source")
    bar = axes[0].figure.colorbar(image, ax=list(axes), location="bottom", fraction=0.03, aspect=30, ticks=[0, 0.5, 1])
    bar.set_label("rank of the pair (1: highest score); framed: true edges")
    return axes


@styled
def readout_scores(table, axes=None, *, baseline="attention"):
    """AUROC of each readout, of single members and of the ensemble, in one panel for each size of network.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network and readout: `network`, `n_neurons`, `readout`, `auroc` (ensemble) and `auroc_single` (mean of
        its members). Readouts stand in the order of their first rows, from the top.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each size.
    baseline : str
        Readout whose mean ensemble AUROC is marked by a dotted line.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (number of sizes,).

    Raises
    ------
    ValueError
        If the table lacks a column, or the baseline's rows.
    """
    _check(table, ("network", "n_neurons", "readout", "auroc", "auroc_single"))
    readouts, sizes = list(dict.fromkeys(table["readout"])), sorted(table["n_neurons"].unique())
    if baseline not in readouts:
        raise ValueError(f"baseline={baseline!r} has no rows in the table, which holds {readouts}: name one of them")
    if axes is None:
        axes = panels(1, len(sizes), width=1.8 + 1.9 * len(sizes), height=1.3 + 0.42 * len(readouts), sharey=True)
    axes = np.ravel(axes)
    low = table[["auroc", "auroc_single"]].min().min() - 0.02
    for ax, size in zip(axes, sizes, strict=True):
        part = table[table["n_neurons"] == size]
        ax.axvline(part.loc[part["readout"] == baseline, "auroc"].mean(), color=BLACK, ls=":", lw=1.3, zorder=0)
        for y, readout in enumerate(readouts):
            mine = part[part["readout"] == readout]
            for column, color, marker, shift in (("auroc_single", ORANGE, "o", 0.16), ("auroc", BLUE, "D", -0.16)):
                ax.plot(mine[column], np.full(len(mine), y + shift), marker, color=color, ms=3.5, alpha=0.4, mew=0)
                ax.plot(mine[column].mean(), y + shift, marker, color=color, ms=7.5, mec="white")
        ax.set(xlim=(low, 1.02), ylim=(len(readouts) - 0.5, -0.5), xlabel="AUROC")
        ax.set_title(f"N = {size} ({part['network'].nunique()} networks)", fontsize=11)
        ax.grid(axis="y", color=GRAY, lw=0.3)
    axes[0].set_yticks(range(len(readouts)), [readout.replace("_", " ") for readout in readouts])
    handles = [
        Line2D([], [], color=BLUE, marker="D", ms=7, mec="white", ls="", label="ensemble"),
        Line2D([], [], color=ORANGE, marker="o", ms=7, mec="white", ls="", label="single member"),
        Line2D([], [], color=BLACK, ls=":", lw=1.3, label=f"{baseline}, ensemble"),
    ]
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=1.4, columnspacing=1.2)
    return axes


@styled
def lag_profiles(connectivities, truth, axes=None):
    """Mean `lag_score` of true edges and of other pairs, over the largest, in one panel for each connectivity.

    Parameters
    ----------
    connectivities : mapping of str to xarray.Dataset
        Title and a connectivity with `lag_score (target, source, lag)`.
    truth : array_like
        Wiring, (n_neurons, n_neurons), [target, source]; nonzero = an edge.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each connectivity.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a connectivity has no lags.
    """
    without = [title for title, result in connectivities.items() if "lag_score" not in result]
    if without:
        raise ValueError(f"{without} have no lag_score: these readouts do not tell lags apart; leave them out")
    truth = np.asarray(truth) != 0
    off = ~np.eye(len(truth), dtype=bool)
    axes = panels(1, len(connectivities), height=2.8, sharey=True)[0] if axes is None else np.ravel(axes)
    for ax, (title, result) in zip(axes, connectivities.items(), strict=True):
        lags = result["lag_score"].transpose("target", "source", "lag").values
        lines = {"edge": lags[truth & off].mean(0), "no edge": lags[~truth & off].mean(0)}
        largest = max(line.max() for line in lines.values())
        for (label, line), color, marker, dash in zip(lines.items(), PALETTE, "Ds", ("-", "--"), strict=False):
            ax.plot(result["lag"], line / largest, color=color, marker=marker, ms=4.5, ls=dash, label=label)
        ax.set(title=title, xlabel="lag (steps)", ylim=(0, 1.05), xticks=result["lag"].values[::3])
    axes[0].set_ylabel("mean score / largest")
    axes[-1].legend(loc="upper right")
    return axes

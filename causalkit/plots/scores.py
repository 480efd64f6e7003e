"""Figures of how well methods and forecasts do."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..metrics import PROTOCOLS
from .style import BLACK, BLUE, DASHES, GRAY, ORANGE, PALETTE, RED, new_axes, panels, styled

FEW_NETWORKS = 5
COLUMNS = ("n_neurons", "connection_probability", "method", "auroc")


@styled
def roc(curves, ax=None):
    """ROC curves with the area under each in the legend, and chance as a dotted diagonal.

    Parameters
    ----------
    curves : pandas.DataFrame or mapping of str to pandas.DataFrame
        Label and curve, columns `fpr` and `tpr`, as `causalkit.metrics.roc_curve` gives them.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    curves = {"": curves} if isinstance(curves, pd.DataFrame) else curves
    ax = ax if ax is not None else new_axes(4.6, 4.6)
    for (label, curve), color, dashes in zip(curves.items(), cycle(PALETTE), cycle(DASHES), strict=False):
        area = np.trapezoid(curve["tpr"], curve["fpr"])
        label = f"{label}: AUROC {area:.3f}" if label else f"AUROC {area:.3f}"
        ax.plot(curve["fpr"], curve["tpr"], color=color, ls=dashes, lw=2.2, label=label)
    ax.plot([0, 1], [0, 1], color=GRAY, ls=":", lw=1.5, label="chance: AUROC 0.500")
    ax.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    ax.legend(loc="lower right", handlelength=1.8, borderaxespad=0.3)
    return ax


@styled
def training_curves(training, ax=None):
    """Loss over epochs: one line a seed, training dashed, validation solid, a dot where weights were kept.

    Parameters
    ----------
    training : xarray.Dataset
        `train_loss` and `validation_loss` (n_seeds, n_epochs), NaN after a seed has stopped; `best_epoch`
        (n_seeds,).
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no epoch: an untrained network has no curve.
    """
    if not training.sizes["epoch"]:
        raise ValueError(
            "training has no epochs: the network was left untrained (max_epochs=0), so no loss to draw; "
            "fit it with max_epochs of at least 1"
        )
    ax = ax if ax is not None else new_axes()
    epochs = training["epoch"].values
    n_seeds = training.sizes["seed"]
    for name, color, dashes in (("train_loss", ORANGE, "--"), ("validation_loss", BLUE, "-")):
        losses = training[name].transpose("epoch", "seed")
        ax.plot(epochs, losses, color=color, ls=dashes, lw=1.4, alpha=1 if n_seeds < 4 else 0.6)
    best = training["best_epoch"].values
    kept = training["validation_loss"].sel(epoch=training["best_epoch"]).values
    ax.plot(best, kept, "o", color=BLUE, ms=7, mec="white")
    ax.set(xlabel="epoch", ylabel="mean squared error\n(z-scored activity)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D([], [], color=ORANGE, ls="--", label="training"),
        Line2D([], [], color=BLUE, label="validation"),
        Line2D([], [], color=BLUE, ls="", marker="o", ms=7, mec="white", label="weights kept"),
    ]
    ax.legend(handles=handles, loc="upper right", title=f"{n_seeds} seed{'s' * (n_seeds > 1)}")
    return ax


@styled
def auroc_violins(table, published=None, axes=None, *, protocol="off_diagonal"):
    """AUROC of each method on networks of each size and density: Figure 2 of the paper.

    A method with more than five networks in a panel gets a violin, with the median as a white dot and a black
    bar from the 25th to the 75th percentile; with fewer, each network is a dot. Empty scores are left out.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network and method: `n_neurons`, `connection_probability`, `method`, `auroc`.
    published : pandas.DataFrame, optional
        Published values with the same columns: in each panel their median is a diamond, on a line from the lowest to
        the highest. A method may be in this table alone.
    axes : array_like of matplotlib.axes.Axes, optional
        Shape (number of probabilities, number of sizes).
    protocol : {"off_diagonal", "published"}
        That of the scores; says where chance is. The diagonal, if it is counted as true negatives, lifts it above
        one half, and the further the fewer non-edges there are.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        One row a connection probability, one column a network size.

    Raises
    ------
    ValueError
        If a table lacks a column, or the protocol is unknown.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"protocol is {protocol!r}: it says where the line of chance stands; give one of {list(PROTOCOLS)}"
        )
    tables = [_with_columns(table, "table")]
    if published is not None:
        tables.append(_with_columns(published, "published"))
    sizes, probabilities = (sorted(table[name].unique()) for name in COLUMNS[:2])
    methods = list(dict.fromkeys(name for each in tables for name in each["method"]))
    colors = dict(zip(methods, cycle(PALETTE), strict=False))
    if axes is None:
        n_rows, n_columns = len(probabilities), len(sizes)
        height = 1.1 + 0.2 * len(methods) + (1.25 if n_rows > 1 else 2.2) * n_rows
        axes = panels(n_rows, n_columns, height=height, sharex=True, sharey=True)
    axes = np.reshape(axes, (len(probabilities), len(sizes)))
    low = min(float(each["auroc"].min()) for each in tables)
    shift, width = (0, 0.85) if published is None else (-0.15, 0.6)  # room for the diamonds
    for (row, column), ax in np.ndenumerate(axes):
        own, theirs = (_cell(each, sizes[column], probabilities[row]) for each in (table, published))
        for x, (method, color) in enumerate(colors.items()):
            values = own.loc[own["method"] == method, "auroc"].dropna().to_numpy()
            _draw_distribution(ax, x + shift, values, color, width)
            values = theirs.loc[theirs["method"] == method, "auroc"].dropna()
            if len(values):
                ax.plot([x + 0.32] * 2, [values.min(), values.max()], color=BLACK, lw=1.2, zorder=4)
                ax.plot(x + 0.32, values.median(), "D", ms=5.5, mfc=color, mec=BLACK, mew=1, zorder=5)
        ax.axhline(_chance(sizes[column], probabilities[row], protocol), color=GRAY, ls=":", lw=1)
        ax.set(xticks=[], xlim=(-0.6, len(methods) - 0.4), ylim=(min(0.45, low - 0.03), 1.03))
        if row == 0:
            ax.set_title(f"N = {sizes[column]}")
        if column == 0:
            ax.set_ylabel(f"p = {probabilities[row]:g}\nAUROC")
    handles = [Patch(color=color, label=method) for method, color in colors.items()]
    if published is not None:
        handles.append(
            Line2D([], [], color=BLACK, lw=1.2, marker="D", ms=6, mfc="white", mec=BLACK, label="published median")
        )
    handles.append(Line2D([], [], color=GRAY, ls=":", label="chance"))
    axes[0, 0].figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=1.4)
    return axes


@styled
def r2_histogram(r2, ax=None, *, what="models"):
    """How much of the test data forecasts explain: Figure 4b of the paper.

    Parameters
    ----------
    r2 : array_like
        Test R² of each model (or neuron), any shape.
    ax : matplotlib.axes.Axes, optional
    what : str
        What is counted, for the label.

    Returns
    -------
    matplotlib.axes.Axes
    """
    r2 = np.ravel(r2)
    ax = ax if ax is not None else new_axes()
    sns.histplot(
        x=r2, ax=ax, color=BLUE, edgecolor="white", alpha=0.9, bins=int(np.clip(len(r2) // 3, 6, 40))
    )
    ax.axvline(np.median(r2), color=RED, ls="--", lw=2, label=f"median {np.median(r2):.3f}")
    ax.set(xlabel="test R²", ylabel=f"number of {what}")
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return ax


def _with_columns(table, name):
    missing = sorted(set(COLUMNS) - set(table.columns))
    if missing:
        raise ValueError(
            f"{name} has no columns {missing}: there is a panel for each network size and probability, and a "
            f"violin for each method; give one row a network and method, with the columns {list(COLUMNS)}"
        )
    return table


def _cell(table, n_neurons, probability):
    """Rows of one panel."""
    if table is None:
        return pd.DataFrame(columns=COLUMNS)
    return table[(table["n_neurons"] == n_neurons) & np.isclose(table["connection_probability"], probability)]


def _chance(n_neurons, probability, protocol):
    """AUROC of a blind method on a network with as many non-edges as are expected."""
    if protocol == "off_diagonal":
        return 0.5
    non_edges = (1 - probability) * n_neurons * (n_neurons - 1)
    return (0.5 * non_edges + n_neurons) / (non_edges + n_neurons)


def _draw_distribution(ax, x, values, color, width):
    if len(values) > FEW_NETWORKS and np.ptp(values) > 0:
        violin = ax.violinplot(values, [x], widths=width, showextrema=False)
        plt.setp(violin["bodies"], facecolor=color, edgecolor=BLACK, alpha=1, linewidth=0.8)
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        ax.plot([x, x], [low, high], color=BLACK, lw=3.5, solid_capstyle="butt")
        ax.plot(x, middle, "o", color="white", ms=4, mec=BLACK, mew=0.6)
    else:
        spread = np.linspace(-0.2, 0.2, len(values)) * width if len(values) > 1 else np.zeros(len(values))
        ax.plot(x + spread, values, "o", color=color, ms=6, mec=BLACK, mew=0.5)

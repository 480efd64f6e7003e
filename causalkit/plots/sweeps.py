"""Figures of sweeps that change one thing at a time, network by network."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from .style import BLACK, BLUE, DASHES, GRAY, ORANGE, PALETTE, new_axes, panels, styled


@styled
def setting_curves(table, axes=None, *, measures, xlabel="", default=None):
    """Draw measures against the values of one setting: a line a network, a thick one for their mean.

    The mean is that of the networks which have all values, if there are two or more.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a network and value: `network`, `value`, and a column for each measure. Values stand side by side in the
        order of their first rows, at equal distances. Empty measures are left out.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each measure.
    measures : mapping of str to str
        Column and what its axis says.
    xlabel : str
        Name of the setting.
    default : optional
        Value to mark with a dotted line.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (number of measures,).

    Raises
    ------
    ValueError
        If the table lacks a column, or has two rows for a network and value.
    """
    _check(table, ("network", "value", *measures))
    if table.duplicated(["network", "value"]).any():
        raise ValueError(
            "table has several rows for a network and value, and a line can pass one only: take the mean, or keep one "
            "method or seed"
        )
    axes = panels(1, len(measures), height=2.9)[0] if axes is None else np.ravel(axes)
    values = list(dict.fromkeys(table["value"]))
    x = np.arange(len(values))
    for (measure, label), ax in zip(measures.items(), axes, strict=True):
        wide = table.pivot(index="network", columns="value", values=measure)[values]
        for network in wide.to_numpy(float):
            known = np.isfinite(network)
            ax.plot(x[known], network[known], color=GRAY, lw=1, marker="o", ms=3)
        # the mean of some networks beside the mean of others would show their difference, not the setting's
        whole = wide.dropna(axis=1, how="all").dropna()
        if len(whole) > 1:
            places = [values.index(value) for value in whole]
            ax.plot(places, whole.mean(), color=BLUE, lw=2.4, marker="o", ms=6, mec="white")
        if default in values:
            ax.axvline(values.index(default), color=BLACK, ls=":", lw=1.2, zorder=0)
        step = -(-len(values) // 6)
        ax.set(xlabel=xlabel, ylabel=label, xlim=(-0.3, len(values) - 0.7))
        ax.set_xticks(x[::step], [str(value) for value in values[::step]])
    handles = [
        Line2D([], [], color=GRAY, lw=1, marker="o", ms=3, label="one network"),
        Line2D([], [], color=BLUE, lw=2.4, marker="o", ms=6, mec="white", label="mean"),
    ]
    if default in values:
        handles.append(Line2D([], [], color=BLACK, ls=":", lw=1.2, label="default"))
    axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=1.6)
    return axes


@styled
def paired_effects(differences, ax=None, *, xlabel="difference in AUROC"):
    """Draw what each change does: a dot a network, the mean with its standard error over networks as a bar.

    Parameters
    ----------
    differences : pandas.DataFrame
        One row a change and network: `label`, `network`, `difference` (changed minus unchanged, on the same network).
        Changes stand in the order of their first rows, from the top.
    ax : matplotlib.axes.Axes, optional
    xlabel : str

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table lacks a column, or holds nothing.
    """
    _check(differences, ("label", "network", "difference"))
    differences = differences.dropna(subset="difference")
    if differences.empty:
        raise ValueError("there are no differences to draw: no network has both runs; run the sweep first")
    labels = list(dict.fromkeys(differences["label"]))
    ax = ax if ax is not None else new_axes(height=1.2 + 0.36 * len(labels))
    ax.axvline(0, color=BLACK, ls="--", lw=1)
    for y, label in enumerate(labels):
        values = differences.loc[differences["label"] == label, "difference"].to_numpy(float)
        ax.plot(values, np.full(len(values), y), "o", color=GRAY, ms=4.5, zorder=2)
        if len(values) > 1:  # one network has no spread
            error = values.std(ddof=1) / np.sqrt(len(values))
            ax.errorbar(values.mean(), y, xerr=error, color=BLUE, lw=2.2, capsize=4, marker="D", ms=6, mec="white")
        else:
            ax.plot(values, [y], "D", color=ORANGE, ms=6, mec="white", zorder=3)
    ax.set(xlabel=xlabel, ylim=(len(labels) - 0.4, -0.6))
    ax.set_yticks(range(len(labels)), [f"{label}  ({_count(differences, label)})" for label in labels])
    handles = [
        Line2D([], [], color=BLUE, marker="D", ms=6, mec="white", lw=2.2, label="mean ± SE"),
        Line2D([], [], color=GRAY, marker="o", ms=4.5, ls="", label="one network"),
    ]
    if differences.groupby("label").size().min() == 1:
        handles.append(Line2D([], [], color=ORANGE, marker="D", ms=6, mec="white", ls="", label="the only one"))
    ax.figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=1.6)
    return ax


@styled
def cost_curves(table, axes=None, *, measures, sizes):
    """Draw what methods cost against the size of their input, on logarithmic axes, where a power law is a line.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a method and size: `method`, `sweep` (what was varied, the others held), and the columns that
        `measures` and `sizes` name. Rows of a sweep that `sizes` does not know are single sizes, drawn as crosses
        against each of its columns.
    axes : array_like of matplotlib.axes.Axes, optional
        One for each measure and size, row by row.
    measures : mapping of str to str
        Column and what its axis says: one row of panels each.
    sizes : mapping of str to (str, str)
        Sweep, and its column and what its axis says: one column of panels each.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        Shape (number of measures, number of sizes).

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    _check(table, ("method", "sweep", *measures, *(column for column, _ in sizes.values())))
    shape = (len(measures), len(sizes))
    axes = panels(*shape, height=2.3 * shape[0] + 0.5) if axes is None else np.reshape(axes, shape)
    methods = list(dict.fromkeys(table["method"]))
    for row, (measure, label) in zip(axes, measures.items(), strict=True):
        for ax, (sweep, (column, xlabel)) in zip(row, sizes.items(), strict=True):
            for method, color, dash in zip(methods, PALETTE, DASHES, strict=False):
                mine = table[table["method"] == method]
                line = mine[mine["sweep"] == sweep].sort_values(column)
                ax.plot(line[column], line[measure], color=color, ls=dash, marker="o", ms=4)
                single = mine[~mine["sweep"].isin(list(sizes))]
                ax.plot(single[column], single[measure], "x", color=color, ms=7, mew=2)
            ax.set(xscale="log", yscale="log", xlabel=xlabel)
            _plain_logarithmic(ax.xaxis)
            _plain_logarithmic(ax.yaxis)
        row[0].set_ylabel(label)
    handles = [
        Line2D([], [], color=color, ls=dash, marker="o", ms=4, label=method)
        for method, color, dash in zip(methods, PALETTE, DASHES, strict=False)
    ]
    axes[0, 0].figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=2)
    return axes


def _plain_logarithmic(axis):
    """Few ticks, in plain numbers: powers of ten, and twice and five times these where there are not two of them."""
    low, high = np.log10(axis.get_data_interval())
    axis.set_major_locator(LogLocator(subs=(1,) if high - low > 1.5 else (1, 2, 5), numticks=5))
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axis.set_minor_formatter(NullFormatter())


def _count(differences, label):
    return int((differences["label"] == label).sum())


def _check(table, columns):
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"the table has no columns {missing}: give one row a network, with {list(columns)}")

"""Figures of recordings and of forecasts of them: time runs to the right, one row a neuron."""

import numpy as np
from matplotlib.lines import Line2D

from .. import metrics
from .style import (
    BLACK,
    CELL_COLORS,
    ORANGE,
    cell_handles,
    cell_types,
    legend_above,
    neuron_ticks,
    new_axes,
    styled,
)


@styled
def raster(recording, ax=None):
    """Spikes of each neuron over time, colored by cell type where that is known.

    Parameters
    ----------
    recording : xarray.Dataset
        With `spikes` (n_times, n_neurons), or of kind "spikes". Choose a shorter stretch first:
        ``recording.sel(time=slice(0, 1000))``.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the recording has no spikes.
    """
    if "spikes" not in recording and recording.attrs.get("kind") != "spikes":
        raise ValueError(
            "recording has no spikes: a raster shows spike times, which a recording of another kind does not "
            "hold; pass spikes= to from_array, or draw its activity with plots.voltage_traces"
        )
    spikes = recording["spikes"] if "spikes" in recording else recording["activity"]
    spikes = spikes.transpose("time", "neuron").values > 0
    n_neurons = spikes.shape[1]
    ax = ax if ax is not None else new_axes(height=1.3 + 0.16 * min(max(n_neurons, 8), 40))
    types = cell_types(recording)
    ax.eventplot(
        [recording["time"].values[spikes[:, i]] for i in range(n_neurons)],
        colors=[CELL_COLORS.get(cell_type, BLACK) for cell_type in types],
        lineoffsets=np.arange(n_neurons),
        linelengths=0.8,
        linewidths=1.2,
    )
    neuron_ticks(ax.yaxis, recording["neuron"].values)
    first, last = recording["time"].values[[0, -1]]
    ax.set(xlabel="time (ms)", ylabel="neuron", xlim=(first, last), ylim=(n_neurons - 0.4, -0.6))
    legend_above(ax, cell_handles(types, lw=3))
    return ax


@styled
def voltage_traces(recording, threshold_mv=30, ax=None):
    """Membrane potential of each neuron, with the firing threshold as a dashed line: Figure 1b of the paper.

    Parameters
    ----------
    recording : xarray.Dataset
        `activity` (n_times, n_neurons) is drawn. Choose a shorter stretch first:
        ``recording.sel(time=slice(0, 500))``.
    threshold_mv : float or None
        None for recordings that are no voltages: then there is no line, and no mV in the labels.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    activity = recording["activity"].transpose("time", "neuron")
    types = cell_types(recording)
    ax = ax if ax is not None else new_axes(height=1.3 + 0.55 * min(activity.sizes["neuron"], 20))
    offsets = _stacked(ax, activity, [CELL_COLORS.get(cell_type, BLACK) for cell_type in types], threshold_mv)
    handles = cell_handles(types, lw=2)
    if threshold_mv is None:
        ax.set(xlabel="time (ms)", ylabel="activity of neuron")
    else:
        for offset in offsets:
            ax.axhline(threshold_mv + offset, color=BLACK, ls=(0, (4, 3)), lw=0.9)
        handles.append(Line2D([], [], color=BLACK, ls="--", lw=1, label=f"threshold {threshold_mv:g} mV"))
        _scale_bar(ax, offsets[-1] + float(activity.isel(neuron=-1).min()), 50, "50 mV")
        ax.set(xlabel="time (ms)", ylabel="membrane potential (mV)\nof neuron")
    legend_above(ax, handles)
    return ax


@styled
def forecast_traces(true, predicted, ax=None):
    """True and predicted activity of each neuron with its R²: Figure 4a of the paper.

    Parameters
    ----------
    true, predicted : xarray.DataArray
        Dimensions time and neuron, same units (z-scores in the book). Only the times of both are drawn.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the two have no time in common.
    """
    true, predicted = (values.transpose("time", "neuron").dropna("time") for values in (true, predicted))
    times = np.intersect1d(true["time"], predicted["time"])
    if not len(times):
        raise ValueError(
            "true and predicted have no time in common: a forecast is compared with what happened at the "
            "same times; give both the same time coordinate, in ms"
        )
    true, predicted = true.sel(time=times), predicted.sel(time=times)
    ax = ax if ax is not None else new_axes(height=1.3 + 0.6 * min(true.sizes["neuron"], 20))
    offsets = _stacked(ax, true, [BLACK] * true.sizes["neuron"], linewidth=1.8)
    r2 = metrics.r2(true.values, predicted.values)
    for i, offset in enumerate(offsets):
        ax.plot(times, predicted.values[:, i] + offset, color=ORANGE, ls=(0, (3, 1)), lw=1.5)
        middle = offset + float(true.values[:, i].mean())
        ax.annotate(f"R² {r2[i]:.2f}", (1.01, middle), xycoords=("axes fraction", "data"), va="center")
    true_line = Line2D([], [], color=BLACK, lw=1.8, label="true")
    predicted_line = Line2D([], [], color=ORANGE, ls=(0, (3, 1)), lw=1.5, label="predicted one step ahead")
    legend_above(ax, [true_line, predicted_line])
    ax.set(xlabel="time (ms)", ylabel="activity (z-score)\nof neuron")
    return ax


def _stacked(ax, activity, colors, threshold=None, linewidth=1.2):
    """Draw one trace above the other, the first neuron on top, and return each one's offset."""
    values = activity.values  # (n_times, n_neurons)
    top = max(float(values.max()), -np.inf if threshold is None else threshold)
    spacing = 1.15 * (top - float(values.min())) or 1.0
    offsets = -spacing * np.arange(values.shape[1])
    for i, offset in enumerate(offsets):
        ax.plot(activity["time"], values[:, i] + offset, color=colors[i], lw=linewidth)
    neuron_ticks(ax.yaxis, activity["neuron"].values, offsets + values.mean(axis=0))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(offsets[-1] + float(values.min()) - 0.05 * spacing, top + 0.05 * spacing)
    ax.margins(x=0)
    return offsets


def _scale_bar(ax, bottom, size, label):
    """A vertical bar of known size right of the axes: stacked traces have no common y axis."""
    transform = ax.get_yaxis_transform()
    ax.plot([1.02, 1.02], [bottom, bottom + size], color=BLACK, lw=2.5, transform=transform, clip_on=False)
    ax.text(1.04, bottom + size / 2, label, transform=transform, va="center", ha="left", fontsize=11)

"""The pictures of a report: inline SVG whose lines keep their width at any size, and one small PNG."""

from __future__ import annotations

import base64
import io
from html import escape

import matplotlib
import numpy as np
from PIL import Image

from ..recording import normalize
from ..summary import spike_rates_hz
from .text import clean, named

TRACES, STEPS = 12, 600  # neurons and time steps of the excerpt
COLUMNS = 480  # of the overview
NAMED = 24  # neurons whose names fit beside the overview


def excerpt(recording):
    """Traces of a dozen neurons for six hundred steps in the middle, or their spikes; a row of HTML each."""
    x = recording["activity"].values
    n_times, n_neurons = x.shape
    shown = np.unique(np.linspace(0, n_neurons - 1, min(n_neurons, TRACES)).round().astype(int))
    first = max((n_times - STEPS) // 2, 0)
    rows = slice(first, first + STEPS)
    spikes = recording.attrs["kind"] == "spikes"
    lines = []
    for place in shown:
        path = _ticks(x[rows, place]) if spikes else _line(x[rows, place])
        name = recording["neuron"].values[place]
        lines.append(
            f'<div class="trace"><span>{named(name)}</span><svg viewBox="0 0 {STEPS} 30" preserveAspectRatio="none" '
            f'role="img" aria-label="{"spikes" if spikes else "trace"} of {escape(clean(name), quote=True)}">'
            f'<path d="{path}"/></svg></div>'
        )
    time = recording["time"].values
    seconds = min(STEPS, n_times) * recording.attrs["dt_ms"] / 1000
    span = f"{seconds:.3g} s from {time[first] / 1000:.3g} s on"
    which = "All neurons" if len(shown) == n_neurons else f"{len(shown)} of {n_neurons} neurons, evenly chosen"
    what = "a tick for each bin with a spike" if spikes else "each on a scale of its own"
    return (
        f'<figure><div class="traces{" raster" if spikes else ""}">{"".join(lines)}</div>'
        f"<figcaption>{which}, {span}, {what}.</figcaption></figure>"
    )


def _line(values):
    low, high = float(values.min()), float(values.max())
    y = 28 - 26 * (values.astype(float) - low) / (high - low) if high > low else np.full(len(values), 15.0)
    return "M" + "L".join(f"{k} {v:.1f}".replace(".0", "") for k, v in enumerate(y))


def _ticks(values):
    return "".join(f"M{k} 4V26" for k in np.flatnonzero(values > 0)) or "M0 0"


def overview(recording):
    """All neurons over the whole recording as one image: a row a neuron, a column a stretch of time."""
    z = normalize_all(recording)
    n_times, n_neurons = z.shape
    edges = np.unique(np.linspace(0, n_times, min(COLUMNS, n_times) + 1).round().astype(int))
    columns = np.add.reduceat(z, edges[:-1], axis=0) / np.diff(edges)[:, None]
    reach = max(float(np.quantile(np.abs(columns), 0.98)), 1e-9)
    levels = np.clip(127.5 * (1 + columns.T / reach), 0, 255).astype(np.uint8)
    palette = (matplotlib.colormaps["RdBu_r"](np.arange(0, 256, 4) / 255)[:, :3] * 255).astype(np.uint8)
    image = Image.fromarray(levels // 4)  # of 64 colors, which pack well
    image.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    names = ""
    if n_neurons <= NAMED:
        names = "".join(f"<span>{named(name)}</span>" for name in recording["neuron"].values)
        names = f'<div class="names" aria-hidden="true">{names}</div>'
    seconds = n_times * recording.attrs["dt_ms"] / 1000
    height = f"{1.25 * n_neurons:.4g}rem" if n_neurons <= NAMED else f"{min(30, max(12, n_neurons / 8)):.4g}rem"
    each = f"{np.diff(edges).mean() * recording.attrs['dt_ms']:.3g} ms"
    return (
        f'<figure class="overview"><div class="heat" style="height:{height}">{names}<img alt="Activity of '
        f'{n_neurons} neurons over the whole recording: slow changes are bands of another color" '
        f'src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"></div>'
        f'<div class="ends" aria-hidden="true"><span>0 s</span><span>{seconds:.3g} s</span></div><figcaption>All '
        f"neurons over the whole recording, one row each, in the order of the file: means of {each}. Red: above the "
        f"neuron's mean, blue: below it; full color at {reach:.2g} standard deviations.</figcaption></figure>"
    )


def normalize_all(recording):
    """Neurons in standard deviations; those that never change are 0."""
    x = recording["activity"].values
    varies = x.max(axis=0) > x.min(axis=0)
    z = np.zeros(x.shape)
    z[:, varies] = normalize(x[:, varies])
    return z


def neuron_table(recording, findings, most):
    """Mean, spread, rate and change of each neuron."""
    x = recording["activity"].values.astype(float)
    rates = spike_rates_hz(recording)
    if rates is not None and not rates.any():
        rates = None  # a voltage that never crosses 0 mV
    stationary = next((f for f in findings if f.name == "not_stationary" and "mean_shift" in f.values), None)
    heads = ["neuron", "mean", "spread"] + ["spikes / s"] * (rates is not None)
    heads += ["change between halves"] * (stationary is not None)
    changed = set() if stationary is None else set(stationary.values["changed"].tolist())
    rows = []
    for place, name in enumerate(recording["neuron"].values[:most]):
        cells = [f"{x[:, place].mean():.4g}", f"{x[:, place].std():.3g}"]
        if rates is not None:
            share = rates[place] / max(rates.max(), 1e-12)
            cells.append(f'<span class="bar" style="--share:{share:.3f}">{rates[place]:.3g}</span>')
        if stationary is not None:
            mark = " <strong>changes</strong>" if place in changed else ""
            cells.append(f"{stationary.values['mean_shift'][place]:+.2f} SD{mark}")
        rows.append(f'<tr><th scope="row">{named(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    head = "".join(f'<th scope="col">{word}</th>' for word in heads)
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"


def lag_profile(values, dt_ms):
    """A bar for each lag, the largest marked."""
    values = np.nan_to_num(np.asarray(values, dtype=float))
    top, best = max(values.max(), 1e-300), int(values.argmax())
    width = 84 / len(values)
    bars = "".join(
        f'<rect class="{"best" if k == best else "lag"}" x="{k * width + 0.5:.2f}" y="{24 - 22 * v / top:.2f}" '
        f'width="{max(width - 1, 0.4):.2f}" height="{22 * v / top + 1:.2f}"/>'
        for k, v in enumerate(np.maximum(values, 0))
    )
    words = f"largest at lag {best + 1} of {len(values)} ({(best + 1) * dt_ms:g} ms)"
    return (
        f'<svg class="profile" viewBox="0 0 84 26" role="img" aria-label="{words}"><title>{words}</title>{bars}</svg>'
    )

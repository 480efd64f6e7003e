"""A first look: what is in a recording, what its spikes do, and how long a method would take on it."""

import textwrap
import warnings
from time import perf_counter

import numpy as np
import xarray as xr
from sklearn.base import clone

from .preprocess import history_in_words
from .recording import from_array, trial_slices
from .series import printable

_CROSSING_MV = 0.0
_MOST_TIMED, _MOST_TIMED_OF_MANY = 20_000, 5000  # steps
_MOST_NEURONS = 60  # that a trial takes
_SPIKING = 0.05  # share of bins with a spike, in trials on noise
_MOST_COUNTED = 20
_TIED = "\N{NO-BREAK SPACE}"


def describe(recording):
    """Describe a recording in a few lines of text: shape, duration, names, rates."""
    n_times, n_neurons = recording["activity"].shape
    dt_ms, names = recording.attrs["dt_ms"], recording["neuron"].values.tolist()
    n_trials, first = len(trial_slices(recording)), float(recording["time"].values[0])
    done = history_in_words(recording)
    lines = [
        f"shape       {n_times:,} time steps x {n_neurons} neurons"
        + (f", in {n_trials} trials" if n_trials > 1 else ""),
        f"duration    {n_times * dt_ms / 1000:,.6g} s, from {first:,.10g} ms in steps of {dt_ms:g} ms "
        f"({1000 / dt_ms:,.6g} per second)",
        f"kind        {recording.attrs['kind']}"
        + (", assumed: the file does not say" if recording.encoding.get("kind_assumed") else ""),
        *([f"prepared    {printable(done)}"] if done else []),
        f"neurons     {', '.join(names)}",
    ]
    rates = spike_rates_hz(recording)
    if rates is None:
        mean, sd = recording["activity"].mean("time").values, recording["activity"].std("time").values
        values = [f"{name}{_TIED}{m:.4g}{_TIED}±{_TIED}{s:.3g}" for name, m, s in zip(names, mean, sd, strict=True)]
        lines.append(f"activity    mean {', '.join(values)} (± standard deviation)")
    else:
        values = ", ".join(f"{name}{_TIED}{rate:.1f}" for name, rate in zip(names, rates, strict=True))
        lines.append(f"spike rate  mean {rates.mean():.1f} Hz: {values}")
    if "connectivity" in recording:
        n_edges = int((recording["connectivity"].values != 0).sum())
        lines.append(f"truth       {n_edges} known connections (not shown to the method)")
    wrap = textwrap.TextWrapper(width=100, subsequent_indent=12 * " ", break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in lines).replace(_TIED, " ")


def spike_rates_hz(recording):
    """Return the mean spike rate of each neuron in Hz, shape (n_neurons,); None for other kinds.

    From `spikes` where there are any, from the counts of a "spikes" recording, and for a "voltage" from its
    upward crossings of 0 mV.
    """
    seconds = recording.sizes["time"] * recording.attrs["dt_ms"] / 1000
    activity = recording["activity"].values
    if "spikes" in recording:
        return recording["spikes"].values.sum(axis=0) / seconds
    if recording.attrs["kind"] == "spikes":
        return activity.sum(axis=0) / seconds
    if recording.attrs["kind"] != "voltage":
        return None
    above = activity >= _CROSSING_MV
    trials = [above[rows] for rows in trial_slices(recording)]
    return np.sum([(~rows[:-1] & rows[1:]).sum(axis=0) for rows in trials], axis=0) / seconds


def looks_like_spikes(recording):
    """Whether the activity is nothing but small whole numbers from 0, as of spike counts."""
    activity = recording["activity"].values
    return bool(((activity >= 0) & (activity <= _MOST_COUNTED) & (activity == np.round(activity))).all())


def spike_effects(recording):
    """By how much more each target rises in the step after a spike of each source.

    The plainest look at a connection: the mean rise of the target's activity from t to t + 1 when the source
    fires at t, minus that when it does not. Steps in which the target itself fires, before or after, are left
    out: its own spike and reset would drown everything else.

    Parameters
    ----------
    recording : xarray.Dataset
        With `activity` and `spikes (time, neuron)`.

    Returns
    -------
    xarray.DataArray
        (target, source), in the unit of the activity; NaN on the diagonal and for sources that never fire.

    Raises
    ------
    ValueError
        If the recording has no spikes.
    """
    if "spikes" not in recording:
        raise ValueError("the recording has no spikes: effects are averaged over them; set recording['spikes']")
    names = recording["neuron"].values
    steps = np.concatenate([np.arange(rows.start, rows.stop - 1) for rows in trial_slices(recording)])
    activity, spikes = recording["activity"].values.astype(float), recording["spikes"].values
    rise, fired = activity[steps + 1] - activity[steps], spikes[steps].astype(float)
    quiet = (~spikes[steps] & ~spikes[steps + 1]).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):  # a source that never fires has no effect to average
        after_spike = (quiet * rise).T @ fired / (quiet.T @ fired)  # (target, source)
        otherwise = (quiet * rise).T @ (1 - fired) / (quiet.T @ (1 - fired))
    effects = after_spike - otherwise
    np.fill_diagonal(effects, np.nan)
    return xr.DataArray(
        effects, dims=("target", "source"), coords={"target": names, "source": names}, name="spike_effect"
    )


def estimate_seconds(method, recording):
    """Estimate how long ``method.fit(recording)`` takes on this machine, in seconds.

    A method with an `estimate_seconds` of its own is asked. Any other is timed on noise of the same size, of
    20,000 time steps at most, and its time is taken to grow with their number. Of more than 60 neurons it is timed on
    30 and on 60, and 5,000 steps at most, and its time is taken to go on growing as it did between them.
    """
    if hasattr(method, "estimate_seconds"):
        return method.estimate_seconds(recording)
    n_times, n_neurons = recording["activity"].shape
    if n_neurons <= _MOST_NEURONS:
        timed = min(n_times, _MOST_TIMED)
        return _seconds_on_noise(method, recording.attrs, timed, n_neurons) * n_times / timed
    timed = min(n_times, _MOST_TIMED_OF_MANY)
    few, more = (_seconds_on_noise(method, recording.attrs, timed, n) for n in (_MOST_NEURONS // 2, _MOST_NEURONS))
    power = np.clip(np.log2(more / few), 1, 3)
    return more * (n_neurons / _MOST_NEURONS) ** power * n_times / timed


def _seconds_on_noise(method, attributes, n_times, n_neurons):
    values = np.random.default_rng(0).random((n_times, n_neurons), dtype=np.float32)
    noise = from_array(  # not the data: a neuron may be silent, or a trial too short, in a piece of it
        # models of spikes take counts only
        (values < _SPIKING).astype(np.float32) if attributes["kind"] == "spikes" else values,
        dt_ms=attributes["dt_ms"],
        kind=attributes["kind"],
        more_neurons_than_times=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = perf_counter()
        clone(method).fit(noise)
    return perf_counter() - start

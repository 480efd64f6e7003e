"""Before a method: cut, resample, detrend and bin. Each step takes a recording and returns a new one.

What was done is kept in the recording's attribute `preprocessing`, a list as JSON text that results carry on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr
from scipy import signal

from .recording import as_recording, from_array, trial_slices
from .validation import physical_memory

__all__ = [
    "bin_counts", "bin_spikes", "cut", "decay_free", "detrend", "history", "history_in_words", "resample",
    "without_decay",
]  # fmt: skip

INDICATOR_MS = 1000.0  # in frames of 33 ms, indicators of 400 to 1,200 ms gave the same ranking with it, within .01

DETRENDS = ("constant", "linear", "highpass:SECONDS")
_BLOCK_BYTES = 1 << 25  # of double precision that pass through the filter at a time
_RATIO_ERROR = 1e-6
_HALF_WIDTH = 10  # of the anti-alias filter, in steps of the slower clock: as scipy.signal.resample_poly has it


def history(recording: xr.Dataset) -> list[dict]:
    """Return what was done to a recording, or to the recording of a connectivity: one dict a step, in order."""
    try:
        steps = json.loads(recording.attrs.get("preprocessing", "[]"))
        if isinstance(steps, list) and all(isinstance(done, dict) and "step" in done for done in steps):
            return steps
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "the attribute preprocessing is no list of steps as JSON text, so nobody knows what was done to these numbers: "
        "take it away if they are raw"
    )


def history_in_words(recording: xr.Dataset) -> str:
    """Return what was done to a recording as one line: "resample (from_ms 0.5, to_ms 1), detrend (how linear)"."""

    def told(step: str, **details: Any) -> str:
        return f"{step} ({', '.join(f'{name} {value}' for name, value in details.items())})" if details else step

    return ", ".join(told(**done) for done in history(recording))


def noted(recording: xr.Dataset, step: str, **details: Any) -> xr.Dataset:
    """Add a step to a recording's history."""
    done = [*history(recording), {"step": step, **details}]
    return recording.assign_attrs(preprocessing=json.dumps(done))


def cut(recording: xr.Dataset, intervals: Any) -> xr.Dataset:
    """Keep what lies in some intervals, each of which becomes a trial.

    Parameters
    ----------
    recording : Dataset
    intervals : array, (n_intervals, 2)
        When each starts, and stops before, in ms of the recording's time.

    Raises
    ------
    ValueError
        Intervals that overlap, run backward or hold no time step; a recording that has trials already.
    """
    recording = as_recording(recording)
    if "trial" in recording:
        raise ValueError("the recording has trials already: intervals would cut them; leave the epochs out")
    time, step = recording["time"].values, recording.attrs["dt_ms"]
    rows = [rows_between(time[0], step, len(time), *interval) for interval in checked_intervals(intervals)]
    if not any(b > a for a, b in rows):
        raise ValueError(
            f"no time step lies in the {len(rows)} epochs: the recording spans {time[0]:g} to {time[-1]:g} ms; check "
            "their clock"
        )
    kept = np.concatenate([np.arange(a, b) for a, b in rows])
    trial = np.repeat(np.arange(len(rows)), [b - a for a, b in rows])
    return noted(recording.isel(time=kept).assign(trial=("time", trial)), "cut", intervals=len(rows))


def resample(recording: xr.Dataset, step_ms: float) -> xr.Dataset:
    """Give a recording of continuous activity a longer time step.

    An anti-alias filter comes first: the Kaiser-windowed, linear-phase low-pass filter of
    `scipy.signal.resample_poly`, ten steps of the new clock to either side, the same for all neurons. Beyond its ends
    a trial is taken to stay as it is there. Flags of `spikes` stay in the step in which they fall.

    Filtering and slower sampling change what can be inferred: effects faster than the new step are lost, and what
    comes 10 steps later colours the present (Barnett & Seth 2011, J. Neurosci. Methods 201, 404-419).

    Parameters
    ----------
    recording : Dataset
    step_ms : float
        The new time step in ms, longer than the old one.

    Raises
    ------
    ValueError
        A shorter time step, or a recording of spike counts, which `bin_counts` puts into longer bins.
    """
    recording = as_recording(recording)
    if recording.attrs["kind"] == "spikes":
        raise ValueError(
            "spike counts cannot be resampled, a filter would make fractions of spikes: put them into longer bins "
            "with --bin-ms (bin_counts in Python)"
        )
    old = recording.attrs["dt_ms"]
    up, down = ratio(old, step_ms)
    if up == down:
        return recording
    pieces, time, trials = {"activity": [], "voltage_mv": []}, [], []
    flags = [] if "spikes" in recording else None
    for number, rows in enumerate(trial_slices(recording)):
        part = recording.isel(time=rows)
        for name in pieces:
            if name in part:
                values = part[name].values
                pieces[name].append(resampled(lambda a, b, x=values: x[a:b], len(values), up, down, values.shape[1]))
        n = len(pieces["activity"][-1])
        time.append(part["time"].values[0] + np.arange(n) * step_ms)
        trials.append(np.full(n, part["trial"].values[0] if "trial" in part else number))
        if flags is not None:
            at, neuron = np.nonzero(part["spikes"].values)
            flags.append(np.zeros((n, part.sizes["neuron"]), bool))
            flags[-1][np.minimum(at * up // down, n - 1), neuron] = True
    result = recording.drop_dims("time")
    found = {name: np.concatenate(parts) for name, parts in pieces.items() if parts}
    if flags is not None:
        found["spikes"] = np.concatenate(flags)
    result = result.assign({name: (("time", "neuron"), values) for name, values in found.items()})
    if "trial" in recording:
        result = result.assign(trial=("time", np.concatenate(trials)))
    result = result.assign_coords(time=("time", np.concatenate(time), {"units": "ms"}), neuron=recording["neuron"])
    return noted(result.assign_attrs(dt_ms=float(step_ms)), "resample", from_ms=old, to_ms=float(step_ms))


def detrend(recording: xr.Dataset, how: str) -> xr.Dataset:
    """Take slow changes out of every neuron's activity, in each trial by itself.

    Parameters
    ----------
    recording : Dataset
        Of continuous activity.
    how : {"constant", "linear"} or "highpass:SECONDS"
        The mean, the straight line of least squares, or what changes over more than so many seconds: a Butterworth
        filter of first order with the period of its cutoff. It looks back only, starts from the first value, and is
        the same for all neurons, so that it shows no neuron what follows (Barnett & Seth 2011).

    Raises
    ------
    ValueError
        Another word, a recording of spike counts, a period of less than two time steps.
    """
    recording = as_recording(recording)
    seconds = highpass_seconds(how)
    if recording.attrs["kind"] == "spikes":
        raise ValueError("spike counts cannot be detrended, they would go below zero: leave --detrend out")
    dt_s = recording.attrs["dt_ms"] / 1000
    if seconds is not None and seconds <= 2 * dt_s:
        raise ValueError(
            f"detrend is {how!r}, less than two time steps of {dt_s:g} s: nothing would be left; give a longer period"
        )
    values = recording["activity"].values.astype(float)
    for rows in trial_slices(recording):
        if seconds is None:
            values[rows] = signal.detrend(values[rows], axis=0, type=how)
        else:
            sos = signal.butter(1, 1 / seconds, "highpass", fs=1 / dt_s, output="sos")
            start = signal.sosfilt_zi(sos)[:, :, None] * values[rows][0]
            values[rows] = signal.sosfilt(sos, values[rows], axis=0, zi=start)[0]
    activity = recording["activity"].copy(data=values.astype(np.float32))
    return noted(recording.assign(activity=activity), "detrend", how=how)


def without_decay(recording: xr.Dataset, decay_ms: float = INDICATOR_MS) -> xr.Dataset:
    """Take from each frame of a calcium recording what is left of the frame before: what is new stays.

    An indicator falls over many frames, and neurons that share nothing but slow decay correlate by chance. With an
    exponential decay the rest is what spikes added within the frame, and noise (Vogelstein et al. 2010).

    Parameters
    ----------
    recording : Dataset
        Of calcium, in frames of equal length.
    decay_ms : float
        Time in which the indicator falls by e. It need not be exact: what matters is that it is many frames long.

    Returns
    -------
    Dataset
        Of the same kind, without the first frame of every trial.

    Raises
    ------
    ValueError
        A time that is no number above 0, a recording that was treated so before, a trial of one frame.

    References
    ----------
    Vogelstein et al. (2010), J. Neurophysiology 104, 3691-3704.
    """
    recording = as_recording(recording)
    decay_ms = positive("decay_ms", decay_ms, "the time in which the indicator falls by e, in ms")
    if decay_taken_out(recording):
        raise ValueError("the decay was taken out of this recording before: do it once")
    trials, values = trial_slices(recording), recording["activity"].values.astype(float)
    if min(part.stop - part.start for part in trials) < 2:
        raise ValueError("a trial of one frame has no frame before it: leave it out")
    kept = np.concatenate([np.arange(part.start + 1, part.stop) for part in trials])
    new = values[kept] - np.exp(-recording.attrs["dt_ms"] / decay_ms) * values[kept - 1]
    result = recording.isel(time=kept)
    result["activity"] = result["activity"].copy(data=new.astype(np.float32))
    return noted(result, "without_decay", decay_ms=decay_ms)


def decay_free(recording: xr.Dataset) -> xr.Dataset:
    """A calcium recording without its decay, of 1,000 ms if it still has it; any other recording as it is."""
    has_it = recording.attrs["kind"] == "calcium" and not decay_taken_out(recording)
    return without_decay(recording) if has_it else recording


def decay_taken_out(recording: xr.Dataset) -> bool:
    """Whether `without_decay` is in a recording's history."""
    return any(done["step"] == "without_decay" for done in history(recording))


def highpass_seconds(how: str) -> float | None:
    """Return the period of a high-pass filter, None for another way to detrend; refuse what is neither."""
    if how in DETRENDS[:2]:
        return None
    name, _, seconds = str(how).partition(":")
    try:
        if name == "highpass" and 0 < (period := float(seconds)) < np.inf:
            return period
    except ValueError:
        pass
    raise ValueError(
        f"detrend is {how!r}: it is the trend to take out; use constant, linear, or highpass:SECONDS such as "
        "highpass:10"
    )


def bin_spikes(
    trains: Mapping[str, Any] | Callable,
    bin_ms: float,
    *,
    start_ms: float | None = None,
    stop_ms: float | None = None,
    intervals: Any = None,
) -> xr.Dataset:
    """Count spikes in bins: a recording of kind "spikes".

    Parameters
    ----------
    trains : mapping of str to array (n_spikes,)
        When each neuron fires, in ms.
    bin_ms : float
        Width of a bin.
    start_ms, stop_ms : float, optional
        When the first bin starts, and before when the last one ends. Default: the first and the last spike.
    intervals : array, (n_intervals, 2), optional
        Count in these only, in ms; each is a trial whose first bin starts with it. A last bin that would stick out is
        left out.

    Raises
    ------
    ValueError
        An impossible bin, no neurons or no spikes, times that are not finite, more bins than fit into memory.
    """
    width = positive("bin_ms", bin_ms, "the width of a bin in ms, such as 1")
    trains = {str(name): np.asarray(times, dtype=float) for name, times in trains.items()}
    for name, times in trains.items():
        if not np.isfinite(times).all():
            raise ValueError(
                f"neuron {name!r} has spike times that are not finite: they have no bin; remove these spikes"
            )
    fired = [times for times in trains.values() if len(times)]
    if not fired:
        raise ValueError(f"there is no spike of any of the {len(trains)} neurons: there is nothing to count")
    low = min(times.min() for times in fired) if start_ms is None else start_ms
    # the last spike belongs to a bin that is whole
    high = max(times.max() for times in fired) + width if stop_ms is None else stop_ms
    spans = [(low, high)] if intervals is None else clipped(checked_intervals(intervals), start_ms, stop_ms)
    sizes = [max(0, int(np.floor((b - a) / width + 1e-6))) for a, b in spans]
    if not sum(sizes):
        raise ValueError(
            f"no bin of {width:g} ms fits into {low:g} to {high:g} ms"
            + (f" and its {len(spans)} epochs" if intervals is not None else "")
            + ": use shorter bins or a longer span"
        )
    fits(sum(sizes), len(trains))
    counts = np.zeros((sum(sizes), len(trains)), np.float32)
    first = 0
    for (a, _), size in zip(spans, sizes, strict=True):
        for column, times in enumerate(trains.values()):
            bins = np.floor((times - a) / width + 1e-9)
            bins = bins[(bins >= 0) & (bins < size)].astype(int)
            counts[first : first + size, column] = np.bincount(bins, minlength=size)
        first += size
    time = np.concatenate([a + np.arange(size) * width for (a, _), size in zip(spans, sizes, strict=True)])
    trial = None if intervals is None else np.repeat(np.arange(len(spans)), sizes)
    recording = from_array(
        counts, dt_ms=width, kind="spikes", neurons=list(trains), trial=trial, more_neurons_than_times=True
    )
    del recording.attrs["more_neurons_than_times"]
    recording = recording.assign_coords(time=("time", time, {"units": "ms"}))
    if intervals is not None:
        recording = noted(recording, "cut", intervals=len(spans))
    return noted(recording, "bin", bin_ms=width)


def bin_counts(recording: xr.Dataset, bin_ms: float) -> xr.Dataset:
    """Add up spike counts in longer bins; steps of a trial's end that do not fill a bin are left out.

    Parameters
    ----------
    recording : Dataset
        Of kind "spikes", or with the variable `spikes`, of which it then keeps nothing else.
    bin_ms : float
        A whole number of time steps.

    Raises
    ------
    ValueError
        No spikes to count, or a bin that is no whole number of time steps.
    """
    recording = as_recording(recording)
    if recording.attrs["kind"] != "spikes":
        if "spikes" not in recording:
            raise ValueError(
                f"the recording is of kind {recording.attrs['kind']} and holds no spikes to count: leave --bin-ms out, "
                "or pass --kind spikes if its numbers are spike counts"
            )
        counts = recording["spikes"].astype(np.float32)
        recording = recording.drop_vars(["spikes", "voltage_mv"], errors="ignore").assign(activity=counts)
        recording = recording.assign_attrs(kind="spikes")
    width, old = positive("bin_ms", bin_ms, "the width of a bin in ms, such as 1"), recording.attrs["dt_ms"]
    n = round(width / old)
    if n < 1 or abs(n * old - width) > _RATIO_ERROR * width:
        raise ValueError(
            f"bins of {width:g} ms are no whole number of time steps of {old:g} ms: counts cannot be divided; use a "
            "multiple"
        )
    starts, sums = [], []
    for rows in trial_slices(recording):
        whole = rows.start + np.arange((rows.stop - rows.start) // n) * n
        starts.append(whole)
        values = recording["activity"].values[rows.start : rows.start + len(whole) * n]
        sums.append(values.reshape(len(whole), n, values.shape[1]).sum(axis=1))
    kept = recording.drop_vars("spikes", errors="ignore").isel(time=np.concatenate(starts))
    if not kept.sizes["time"]:
        raise ValueError(f"no trial is as long as a bin of {width:g} ms: use shorter bins")
    kept = kept.assign(activity=(("time", "neuron"), np.concatenate(sums)))
    return noted(kept.assign_attrs(dt_ms=width), "bin", bin_ms=width)


# --- what readers of large files use


def ratio(old_ms: float, new_ms: float) -> tuple[int, int]:
    """Return whole numbers (up, down), up / down = old / new, of which only a longer step is allowed."""
    new_ms = positive("resample_ms", new_ms, "the new time step in ms, such as 1")
    if new_ms < old_ms * (1 - _RATIO_ERROR):
        raise ValueError(
            f"resample_ms is {new_ms:g} and the time step is {old_ms:g} ms: a shorter step would make up values between"
            " those that were recorded; give a longer one"
        )
    for most in (1, 10, 100, 1000, 10_000, 100_000):
        near = Fraction(old_ms / new_ms).limit_denominator(most)
        if near and abs(float(near) * new_ms / old_ms - 1) < _RATIO_ERROR:
            return near.numerator, near.denominator
    raise ValueError(
        f"resample_ms is {new_ms:g} and the time step is {old_ms:g} ms: no fraction of small numbers leads from one to "
        "the other; give a shorter step"
    )


def resampled(read: Callable, n: int, up: int, down: int, n_columns: int, width: int = 0) -> np.ndarray:
    """Filter and thin out rows that `read(start, stop)` gives, block by block, (n_out, n_columns) of float32.

    To give a row, `width` columns pass through memory, or `n_columns` if that is more.

    The same as ``scipy.signal.resample_poly(x, up, down, padtype="edge")`` of all rows at once.
    """
    n_out = -(-n * up // down)
    result = np.empty((n_out, n_columns), np.float32)
    overlap = down * -(-(_HALF_WIDTH * max(up, down) // up + 1) // down)  # rows to either side, of whole output steps
    block = up * max(1, _BLOCK_BYTES // (8 * max(n_columns, width) * down))  # outputs at a time
    for first in range(0, n_out, block):
        last = min(first + block, n_out)
        start = first * down // up - overlap
        stop = -(-last * down // up) + overlap
        rows = np.asarray(read(max(start, 0), min(stop, n)), dtype=float)
        rows = np.pad(rows, ((max(-start, 0), max(stop - n, 0)), (0, 0)), mode="edge")
        done = signal.resample_poly(rows, up, down, axis=0)
        result[first:last] = done[overlap * up // down :][: last - first]
    return result


def rows_between(first_ms: float, dt_ms: float, n: int, start: float | None, stop: float | None) -> tuple[int, int]:
    """Rows with start <= time < stop of an even clock, as (first, one after the last)."""
    a = 0 if start is None else int(np.clip(np.ceil((start - first_ms) / dt_ms - 1e-6), 0, n))
    b = n if stop is None else int(np.clip(np.ceil((stop - first_ms) / dt_ms - 1e-6), 0, n))
    return a, max(a, b)


def checked_intervals(intervals: Any) -> np.ndarray:
    """Intervals in the order of time, (n_intervals, 2); refused where they overlap or are none."""
    spans = np.asarray(intervals, dtype=float)
    if spans.ndim != 2 or spans.shape[1] != 2 or not len(spans):
        raise ValueError(f"epochs have shape {spans.shape}: give when each starts and stops, (n_epochs, 2), in ms")
    if not np.isfinite(spans).all() or (spans[:, 1] <= spans[:, 0]).any():
        bad = spans[~(np.isfinite(spans).all(axis=1) & (spans[:, 1] > spans[:, 0]))][0]
        raise ValueError(f"an epoch goes from {bad[0]:g} to {bad[1]:g} ms: each must stop after it starts; mend it")
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    crossing = np.flatnonzero(spans[1:, 0] < spans[:-1, 1] - 1e-6)
    if len(crossing):
        a, b = spans[crossing[0]], spans[crossing[0] + 1]
        raise ValueError(
            f"epochs overlap, {a[0]:g} to {a[1]:g} ms and {b[0]:g} to {b[1]:g} ms: their steps would count twice; "
            "choose other epochs"
        )
    return spans


def clipped(spans: np.ndarray, start: float | None, stop: float | None) -> np.ndarray:
    """Intervals as far as they lie between start and stop."""
    spans = np.clip(spans, -np.inf if start is None else start, np.inf if stop is None else stop)
    return spans[spans[:, 1] > spans[:, 0]]


def positive(name: str, value: Any, what: str) -> float:
    try:
        if 0 < (number := float(value)) < np.inf:
            return number
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} is {value!r}: it is {what}; give a number above 0")


def fits(n_times: int, n_neurons: int) -> None:
    """Refuse a recording that would take more than half of this machine's memory."""
    needed, memory = 4 * n_times * n_neurons, physical_memory()
    if needed > memory / 2:
        raise ValueError(
            f"{n_times:,} time steps of {n_neurons} neurons would take {needed / 2**30:,.1f} GiB, more than half of "
            f"this machine's {memory / 2**30:,.1f} GiB: use fewer (--neurons), a part (--start, --stop) or a longer "
            "time step (--resample-ms, --bin-ms)"
        )

"""What a neuron's own spikes say about the next: when the last ones were, and how many there have been lately."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]

KNOTS = (1, 2, 3, 5, 8, 12, 20, 35, 60)  # bins since the last spike, where its bumps have their peaks
LONGEST = 100.0  # bins: silences beyond it are all alike, as is the time before the first spike
AVERAGES = (20, 60, 200)  # time constants of running counts, in bins
N_OWN = len(KNOTS) + 3 + len(AVERAGES)


def spike_history(counts: Array, trials: list[slice]) -> Array:
    """What is known of each neuron before each bin, (n_times, n_neurons, 15).

    Bumps over the logarithm of the time since the last spike; the logarithms of the last two intervals between spikes;
    the spikes of the last bin; and running averages of the counts.

    Parameters
    ----------
    counts : array (n_times, n_neurons)
    trials : list of slice
        Nothing is known before the first bin of a trial.
    """
    parts = [_history_of_trial(counts[rows]) for rows in trials]
    own = np.concatenate(parts)
    averages = own[..., -len(AVERAGES) :]
    averages /= np.maximum(averages.std(axis=(0, 1)), 1e-12)
    return own


def _history_of_trial(counts: Array) -> Array:
    since, last, before = _intervals(counts)
    knots = np.log(KNOTS)
    bumps = np.exp(-0.5 * ((np.log(since)[..., None] - knots) / np.diff(knots).mean()) ** 2)
    previous = np.vstack([np.zeros((1, counts.shape[1])), counts[:-1]])
    averages = []
    for steps in AVERAGES:
        decay = np.exp(-1 / steps)
        averages.append(lfilter([1 - decay], [1, -decay], previous, axis=0))
    middle = np.log(LONGEST) / 2
    others = np.stack([np.log(last) - middle, np.log(before) - middle, previous, *averages], axis=-1)
    return np.concatenate([bumps, others], axis=-1)


def _intervals(counts: Array) -> tuple[Array, Array, Array]:
    """Bins since the last spike, the interval before that spike, and the one before that, each (n_times, n_neurons)."""
    n_times, n_neurons = counts.shape
    since, last, before = (np.full((n_times, n_neurons), LONGEST) for _ in range(3))
    for neuron in range(n_neurons):
        spikes = np.flatnonzero(counts[:, neuron])
        if not len(spikes):
            continue
        ordinal = np.searchsorted(spikes, np.arange(n_times)) - 1  # the last spike before each bin, -1 for none
        known = ordinal >= 0
        since[known, neuron] = np.arange(n_times)[known] - spikes[ordinal[known]]
        intervals = np.concatenate([[LONGEST], np.diff(spikes)])  # the one that ends with each spike
        last[known, neuron] = intervals[ordinal[known]]
        earlier = np.concatenate([[LONGEST], intervals[:-1]])
        before[known, neuron] = earlier[ordinal[known]]
    return tuple(np.minimum(values, LONGEST) for values in (since, last, before))

"""Spike trains as sequences of tokens, each a neuron and the interval since the spike before it, and back.

Time is counted in steps of the recording, so that the way there and back is exact. The spikes of one step follow each
other in an order that is drawn once from a fixed seed: it carries neither time nor identity. (In the order of the
neurons, a model could tell from one spike of a step which neurons are still to come in it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from .recording import as_recording, trial_slices

__all__ = ["counts_of", "steps_of", "tokenize"]

TIMES_STEP_MS = 1.0  # of spike times that a recording holds beside its counts


def tokenize(recordings: Any, *, random_state: int = 0) -> xr.Dataset:
    """Write spike trains as tokens (neuron, interval).

    Parameters
    ----------
    recordings : recording, or a sequence of recordings
        Counts of spikes, (n_times, n_neurons), each. A bin that holds two spikes of a neuron makes two tokens. Where a
        recording of one trial also holds ``spike_time_ms`` and ``spike_neuron (spike)``, as those of
        `causalkit.simulate.lif_spikes`, steps are of 1 ms whatever the bins. Several recordings are several sessions:
        each has neurons of its own, whatever their names.
    random_state : int
        Of the order of the spikes in one step, the same in every call.

    Returns
    -------
    xarray.Dataset
        Of each token, ``neuron_id (token)``, the place of its neuron among all neurons of all sessions, and ``interval
        (token)``, steps since the spike before it, or since the beginning of its trial if it is the first; of each
        trial, ``n_tokens``, ``n_steps`` and ``session (trial)``; of each neuron, ``session_of_neuron (neuron)``.
        Several sessions put their number before their neurons' names: "0/n3".

    Raises
    ------
    ValueError
        No recording, activity that is no count, sessions with different time steps.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import recording, spike_tokens
    >>> counts = np.array([[0, 0], [0, 1], [0, 0], [1, 0]])
    >>> tokens = spike_tokens.tokenize(recording.from_array(counts, kind="spikes"))
    >>> tokens.neuron_id.values.tolist(), tokens.interval.values.tolist()
    ([1, 0], [1, 2])
    >>> spike_tokens.counts_of(tokens).tolist() == counts.tolist()
    True
    """
    several = isinstance(recordings, Sequence) and not isinstance(recordings, str)
    sessions = [as_recording(r) for r in (recordings if several else [recordings])]
    if not sessions:
        raise ValueError("there is no recording: give one, or a sequence of them")
    steps_ms = sorted({_step_ms(session) for session in sessions})
    if len(steps_ms) > 1:
        raise ValueError(
            f"the sessions have steps of {steps_ms} ms: intervals are counted in steps, and must mean the same in all; "
            "bin them alike"
        )
    rng = np.random.default_rng(random_state)
    neuron_id, interval, trials, names, owner = [], [], [], [], []
    for number, session in enumerate(sessions):
        for step, neuron, length in _spikes_of(session):
            order = np.lexsort((rng.random(len(step)), step))
            neuron_id.append(neuron[order] + len(names))
            interval.append(np.diff(step[order], prepend=0))
            trials.append((len(step), length, number))
        own = session["neuron"].values.tolist()
        names += [f"{number}/{name}" for name in own] if len(sessions) > 1 else own
        owner += [number] * len(own)
    n_tokens, n_steps, session_of_trial = np.array(trials, dtype=np.int64).T
    return xr.Dataset(
        {
            "neuron_id": ("token", np.concatenate(neuron_id)),
            "interval": ("token", np.concatenate(interval)),
            "n_tokens": ("trial", n_tokens),
            "n_steps": ("trial", n_steps),
            "session": ("trial", session_of_trial),
            "session_of_neuron": ("neuron", np.array(owner, dtype=np.int64)),
        },
        coords={"neuron": names},
        attrs={"dt_ms": steps_ms[0]},
    )


def steps_of(tokens: xr.Dataset) -> np.ndarray:
    """Step of each token within its trial, (n_tokens,): the intervals added up."""
    clock = np.cumsum(tokens["interval"].values)
    first = np.cumsum(tokens["n_tokens"].values) - tokens["n_tokens"].values
    before = np.concatenate([[0], clock])[first]  # what earlier trials add up to
    return clock - np.repeat(before, tokens["n_tokens"].values)


def counts_of(tokens: xr.Dataset, session: int = 0) -> np.ndarray:
    """Counts of spikes of one session's tokens, (n_times, n_neurons): the exact inverse of `tokenize`.

    Parameters
    ----------
    tokens : Dataset
        What `tokenize` returns. The order of tokens of one step does not matter.
    session : int

    Raises
    ------
    ValueError
        If there is no such session.
    """
    mine, own = tokens["session"].values == session, tokens["session_of_neuron"].values == session
    if not mine.any():
        raise ValueError(f"session={session!r}: the tokens have sessions 0 to {tokens['session'].values.max()}")
    lengths = np.where(mine, tokens["n_steps"].values, 0)
    row = steps_of(tokens) + np.repeat(np.cumsum(lengths) - lengths, tokens["n_tokens"].values)
    here = np.repeat(mine, tokens["n_tokens"].values)
    counts = np.zeros((lengths.sum(), own.sum()), dtype=np.int64)
    np.add.at(counts, (row[here], tokens["neuron_id"].values[here] - np.flatnonzero(own)[0]), 1)
    return counts


def _whole_counts(session: xr.Dataset) -> np.ndarray:
    values = session["activity"].values
    if not np.isfinite(values).all() or (values < 0).any() or (values != np.round(values)).any():
        raise ValueError(
            "activity holds values that are no counts of spikes: tokens are spikes; give counts in bins, for example "
            "recording.from_array(rec.spikes, kind='spikes')"
        )
    return values


def _has_times(session: xr.Dataset) -> bool:
    return "spike_time_ms" in session and "trial" not in session


def _step_ms(session: xr.Dataset) -> float:
    return TIMES_STEP_MS if _has_times(session) else float(session.attrs["dt_ms"])


def _spikes_of(session: xr.Dataset) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Step and neuron of each spike, and the number of steps, of each trial."""
    counts = _whole_counts(session)
    if not _has_times(session):
        return [(*_where(counts[rows]), rows.stop - rows.start) for rows in trial_slices(session)]
    neuron = session["spike_neuron"].values.astype(np.int64)
    if (np.bincount(neuron, minlength=counts.shape[1])[: counts.shape[1]] != counts.sum(0)).any():
        raise ValueError(
            "spike_neuron and activity do not hold the same number of spikes of each neuron, perhaps because neurons "
            "or rows were selected: tokens would be of other spikes; drop spike_time_ms and spike_neuron"
        )
    step = np.round((session["spike_time_ms"].values - session["time"].values[0]) / TIMES_STEP_MS).astype(np.int64)
    return [(step, neuron, round(len(counts) * float(session.attrs["dt_ms"]) / TIMES_STEP_MS))]


def _where(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step and neuron of each spike, as often as it was counted."""
    step, neuron = np.nonzero(counts)
    times = counts[step, neuron].astype(np.int64)
    return np.repeat(step, times), np.repeat(neuron, times)

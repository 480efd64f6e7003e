"""What an experiment would see of a simulated recording: spikes in bins, calcium, voltage with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.signal import lfilter

from ..preprocess import without_decay
from ..recording import as_recording, from_array, trial_slices
from .arguments import check_count

__all__ = ["OBSERVATIONS", "observe_calcium", "observe_spikes", "observe_voltage"]


def observe_spikes(recording: Any, bin_ms: float = 1.0) -> xr.Dataset:
    """Count spikes in bins, and forget the voltage.

    Parameters
    ----------
    recording : recording with `spikes`
    bin_ms : float
        Width of a bin, a whole number of time steps. What is left over at a trial's end is dropped.

    Returns
    -------
    xarray.Dataset
        A recording of kind "spikes", with the truth of the first one.

    Raises
    ------
    ValueError
        No spikes, or a width that is no whole number of steps.
    """
    recording, spikes = _spikes_of(recording)
    steps = _steps(bin_ms, recording, "bin_ms")
    blocks, trials = [], []
    for number, rows in enumerate(trial_slices(recording)):
        n_bins = (rows.stop - rows.start) // steps
        counted = spikes[rows][: n_bins * steps].reshape(n_bins, steps, -1)
        blocks.append(counted.sum(axis=1))
        trials.append(np.full(n_bins, number))
    return _like(recording, np.concatenate(blocks), steps, "spikes", np.concatenate(trials))


def observe_calcium(
    recording: Any, frame_ms: float = 33.0, decay_ms: float = 400.0, noise: float = 0.2, random_state: int = 0,
    taken_out_ms: float | None = None,
) -> xr.Dataset:
    """Image calcium: every spike adds one and decays exponentially; frames are read with noise.

    Parameters
    ----------
    recording : recording with `spikes`
    frame_ms : float
        Time between frames, a whole number of steps; 33 ms is 30 Hz.
    decay_ms : float
        Time constant of the indicator.
    noise : float
        Standard deviation of a frame's Gaussian noise, in the rise of one spike.
    random_state : int
        Seed of the noise.
    taken_out_ms : float, optional
        Decay that an analysis would assume, taken out by `preprocess.without_decay`.

    Returns
    -------
    xarray.Dataset
        A recording of kind "calcium", with the truth of the first one.

    Raises
    ------
    ValueError
        No spikes, a frame that is no whole number of steps, a time constant or noise that is not possible.
    """
    recording, spikes = _spikes_of(recording)
    steps = _steps(frame_ms, recording, "frame_ms")
    if not decay_ms > 0:
        raise ValueError(f"decay_ms is {decay_ms!r}: it is the time in which calcium falls by e, more than 0 ms")
    decay = np.exp(-recording.attrs["dt_ms"] / decay_ms)
    blocks, trials = [], []
    for number, rows in enumerate(trial_slices(recording)):
        frames = lfilter([1.0], [1.0, -decay], spikes[rows].astype(float), axis=0)[steps - 1 :: steps]
        blocks.append(frames)
        trials.append(np.full(len(frames), number))
    noisy = _with_noise(np.concatenate(blocks), noise, "noise", random_state)
    seen = _like(recording, noisy, steps, "calcium", np.concatenate(trials))
    return seen if taken_out_ms is None else without_decay(seen, taken_out_ms)


def observe_voltage(recording: Any, noise_mv: float = 1.0, random_state: int = 0) -> xr.Dataset:
    """Add Gaussian noise to the activity of a voltage recording.

    Parameters
    ----------
    recording : recording of kind "voltage"
    noise_mv : float
        Standard deviation, in units of the activity: mV.
    random_state : int

    Returns
    -------
    xarray.Dataset
        A recording of kind "voltage" without `spikes`, with the truth of the first one.

    Raises
    ------
    ValueError
        Another kind, or noise that is not possible.
    """
    recording = as_recording(recording)
    if recording.attrs["kind"] != "voltage":
        raise ValueError(
            f"this is a recording of kind {recording.attrs['kind']!r}: noise in mV is added to voltage; see "
            "observe_calcium for the noise of frames"
        )
    noisy = _with_noise(recording["activity"].values.astype(float), noise_mv, "noise_mv", random_state)
    trial = recording["trial"].values if "trial" in recording else np.zeros(len(noisy), int)
    return _like(recording, noisy, 1, "voltage", trial)


OBSERVATIONS = {"spikes": observe_spikes, "calcium": observe_calcium, "voltage": observe_voltage}


def _spikes_of(recording: Any) -> tuple[xr.Dataset, np.ndarray]:
    recording = as_recording(recording)
    if "spikes" not in recording:
        raise ValueError(
            "the recording has no spikes (time, neuron): they are what is observed; give them with "
            "from_array(..., spikes=voltage >= threshold)"
        )
    return recording, recording["spikes"].transpose("time", "neuron").values


def _steps(width_ms: float, recording: xr.Dataset, name: str) -> int:
    steps = width_ms / recording.attrs["dt_ms"]
    if not steps >= 1 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(
            f"{name} is {width_ms!r} ms and a time step {recording.attrs['dt_ms']:g} ms: give a whole number of steps"
        )
    return round(steps)


def _with_noise(values: np.ndarray, size: float, name: str, random_state: int) -> np.ndarray:
    if not (np.isfinite(size) and size >= 0):
        raise ValueError(f"{name} is {size!r}: it is a standard deviation, 0 or more")
    rng = np.random.default_rng(check_count(random_state, "random_state", minimum=0))
    return values + size * rng.standard_normal(values.shape)


def _like(recording: xr.Dataset, values: np.ndarray, steps: int, kind: str, trial: np.ndarray) -> xr.Dataset:
    truth = recording["connectivity"].transpose("target", "source").values if "connectivity" in recording else None
    return from_array(
        values,
        dt_ms=recording.attrs["dt_ms"] * steps,
        kind=kind,
        neurons=recording["neuron"].values.tolist(),
        connectivity=truth,
        trial=trial if "trial" in recording else None,
        more_neurons_than_times=True,
    )

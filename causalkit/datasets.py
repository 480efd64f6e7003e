"""Real recordings, small ones, that another package brings along: nothing is fetched.

They come with nitime (BSD licence), of the extra `data`: ``pip install 'causalkit[data]'``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from .recording import from_array

REPETITION_MS = 1890.0  # time between two images of the brain
SAMPLE_US = 50  # of the sound; spike times are whole microseconds


def grasshopper(which: int = 1, *, bin_ms: float = 1.0) -> xr.Dataset:
    """A cell of a grasshopper's ear and the sound it heard: ten seconds whose cause is known.

    The spikes of an auditory receptor were recorded within the cell while a tone was played whose loudness followed
    random noise (Rokem et al. 2006). The sound drives the cell, and the cell does not drive the sound. The third column
    is the sound of the other experiment, which the cell did not hear then: it drives nobody, and nobody drives it.

    Parameters
    ----------
    which : {1, 2}
        The experiment: in 1 the loudness changes at up to 200 Hz, in 2 faster.
    bin_ms : float
        Width of the bins, a whole number of the 0.05 ms in which the sound is stored.

    Returns
    -------
    xarray.Dataset
        A recording of kind "other": `sound` and `unheard`, mean level in dB, and `cell`, spikes in a bin; with the
        known `connectivity`.

    Raises
    ------
    ImportError
        nitime is not installed.
    ValueError
        There is no such experiment, or the bin is no whole number of samples.

    References
    ----------
    Rokem et al. (2006), J. Neurophysiol. 95, 2541-2552.
    """
    if which not in (1, 2):
        raise ValueError(f"which is {which!r}: there are two experiments, 1 and 2; give one of them")
    steps = round(bin_ms * 1000 / SAMPLE_US)
    if steps < 1 or abs(steps * SAMPLE_US - bin_ms * 1000) > 1e-6:
        raise ValueError(f"bin_ms is {bin_ms}: the sound is stored every 0.05 ms; give a multiple of that")
    heard, unheard = (_level(name, steps) for name in (which, 3 - which))
    times = np.loadtxt(_folder() / f"grasshopper_spike_times{which}.txt")
    cell = np.histogram(times, bins=np.arange(len(heard) + 1) * steps * SAMPLE_US)[0]
    truth = np.zeros((3, 3))
    truth[2, 0] = 1
    return from_array(
        np.column_stack([heard, unheard, cell]),
        dt_ms=float(bin_ms),
        kind="other",
        neurons=["sound", "unheard", "cell"],
        connectivity=truth,
    )


def resting_fmri() -> xr.Dataset:
    """Twenty-eight regions of a resting human brain: 250 images, one every 1.89 s.

    Blood flow, not neurons: it lags behind them by seconds, differently in each region. A recording to try warnings on.

    Returns
    -------
    xarray.Dataset
        A recording of kind "other", (250, 28).

    Raises
    ------
    ImportError
        nitime is not installed.
    """
    table = pd.read_csv(_folder() / "fmri_timeseries.csv").drop(columns=["WM", "Vent", "Brain"])  # of no region
    return from_array(table, dt_ms=REPETITION_MS, kind="other")


def _level(which: int, steps: int) -> np.ndarray:
    """Loudness of a sound in dB, averaged in bins."""
    amplitude = np.loadtxt(_folder() / f"grasshopper_stimulus{which}.txt", usecols=1)
    level = 20 * np.log10(np.maximum(amplitude, 1e-6))
    n_bins = len(level) // steps
    return level[: n_bins * steps].reshape(n_bins, steps).mean(axis=1)


def _folder() -> Path:
    found = find_spec("nitime")
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            "these recordings come with the package nitime, which is not installed: it belongs to the extra 'data'; "
            "install it with pip install 'causalkit[data]'"
        )
    return Path(found.submodule_search_locations[0]) / "data"

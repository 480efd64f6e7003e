"""Peaks of cross-correlograms: does one neuron fire unusually often, or seldom, just after another?"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from causalkit import connectivity
from causalkit.methods.base import Method, Traits, check_whole
from causalkit.methods.point_process import check_counts
from causalkit.recording import trial_slices

Array = NDArray[np.float64]
MIN_SPIKES = 10  # of a neuron
HOLLOW = 0.4  # of the kernel's value at lag 0 that stays


class CrossCorrelogram(Method):
    """Score each ordered pair by the largest departure of its cross-correlogram from a smoothed one: pair by pair.

    The correlogram counts the spikes of the target so many bins after one of the source. What slow changes of both
    rates would give is the correlogram itself, smoothed by a Gaussian whose middle is taken out for the most part:
    nearly what jittering the spikes within that width would leave on average (Stark and Abeles 2009). The score is the
    largest ``|count - smooth| / sqrt(smooth)`` at lags 1 to `max_lag`. Each pair is looked at alone, so a common source
    gives peaks too.

    Parameters
    ----------
    max_lag : int, default 12
        Bins after a spike of the source in which the target is looked at.
    smoothing : float, default 10
        Standard deviation of the Gaussian, in bins: changes slower than this are no connections.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the largest departure, in standard deviations of a Poisson count; ``sign``, whether it is a peak or a
        trough; ``lag_score (target, source, lag)``, the size at each lag; ``weight``, the spikes that the target has,
        at the lag of the departure, more than it would have, for each spike of the source.
    diagnostics_ : xarray.Dataset
        ``correlogram (target, source, shift)`` and ``smooth``, the same smoothed, for shifts of 1 to `max_lag` bins.

    Raises
    ------
    ValueError
        From ``fit``: impossible parameters, activity that is no count, neurons with fewer than ten spikes, trials
        that are too short.

    References
    ----------
    Stark and Abeles (2009), J. Neuroscience Methods 179, 90-100.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import CrossCorrelogram, recording
    >>> rng = np.random.default_rng(0)
    >>> spikes = rng.random((4000, 2)) < 0.05
    >>> spikes[3:, 1] |= spikes[:-3, 0] & (rng.random(3997) < 0.5)  # n0 makes n1 spike three bins later
    >>> trains = recording.from_array(spikes.astype(float), dt_ms=1, kind="spikes")
    >>> c = CrossCorrelogram().fit(trains).connectivity_
    >>> int(c.lag_score.sel(target="n1", source="n0").values.argmax()) + 1, int(c.sign.sel(target="n1", source="n0"))
    (3, 1)
    """

    name = "cross_correlogram"
    traits = Traits(directed=True, input_kinds=("spikes",), stochastic=False, signed=True, lagged=True, p_values=False)

    def __init__(self, *, max_lag=12, smoothing=10.0):
        self.max_lag = max_lag
        self.smoothing = smoothing

    def _min_times(self) -> int:
        check_whole("max_lag", self.max_lag, 1)
        number = isinstance(self.smoothing, (int, float, np.number)) and not isinstance(self.smoothing, bool)
        if not (number and 0 < self.smoothing < np.inf):
            raise ValueError(
                f"smoothing is {self.smoothing!r}: it is the width, in bins, beyond which a change is slow; give a "
                "number above 0"
            )
        return self._reach() + 2

    def _what(self) -> str:
        return f"CrossCorrelogram with max_lag={self.max_lag} and smoothing={self.smoothing}"

    def _reach(self) -> int:
        return self.max_lag + len(hollow_gaussian(self.smoothing)) // 2

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        counts, neurons = recording.activity.values, recording.neuron.values.tolist()
        check_counts(counts, neurons, MIN_SPIKES, type(self).__name__)
        trials, reach = trial_slices(recording), self._reach()
        if max(rows.stop - rows.start for rows in trials) < reach + 2:
            raise ValueError(
                f"no trial has {reach + 2} bins, which smoothing={self.smoothing} and max_lag={self.max_lag} need: "
                "lower one of them, or record longer trials"
            )
        kernel = hollow_gaussian(self.smoothing)
        forward = np.stack([_pairs(counts, trials, shift) for shift in range(reach + 1)])  # (shift, target, source)
        whole = np.concatenate([forward[:0:-1].transpose(0, 2, 1), forward])  # shifts from -reach to reach
        seen = slice(reach + 1, reach + 1 + self.max_lag)
        half = len(kernel) // 2
        smooth = sum(
            weight * whole[seen.start - half + k : seen.stop - half + k] for k, weight in enumerate(kernel)
        )
        count = whole[seen]
        # where nothing is expected, nothing can be judged: at least one spike is taken as expected
        z = np.moveaxis((count - smooth) / np.sqrt(np.maximum(smooth, 1.0)), 0, -1)  # (target, source, lag)
        at = np.abs(z).argmax(axis=-1)[..., None]
        peak = np.take_along_axis(z, at, axis=-1)[..., 0]
        excess = np.take_along_axis(np.moveaxis(count - smooth, 0, -1), at, axis=-1)[..., 0]
        dims = ("target", "source", "shift")
        self.diagnostics_ = xr.Dataset(
            {"correlogram": (dims, np.moveaxis(count, 0, -1)), "smooth": (dims, np.moveaxis(smooth, 0, -1))},
            coords={"target": neurons, "source": neurons, "shift": np.arange(1, self.max_lag + 1)},
        )
        off = ~np.eye(len(neurons), dtype=bool)
        return connectivity.build(
            np.where(off, np.abs(peak), np.nan), neurons=neurons, method=self.name, parameters=self.get_params(),
            sign=np.sign(peak), lag_score=np.abs(z),
            weight=np.where(off, excess / counts.sum(axis=0, dtype=float), np.nan),
        )  # fmt: skip


def hollow_gaussian(deviation: float) -> Array:
    """Weights that sum to one of a Gaussian over three standard deviations, most of its middle taken out."""
    reach = max(1, int(np.ceil(3 * deviation)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel[reach] *= HOLLOW
    return kernel / kernel.sum()


def _pairs(counts: NDArray, trials: list[slice], shift: int) -> Array:
    """Spikes of each target `shift` bins after one of each source, (target, source)."""
    total = np.zeros((counts.shape[1],) * 2)
    for rows in trials:
        x = counts[rows]
        if len(x) > shift:
            total += x[shift:].T @ x[: len(x) - shift]
    return total

"""Partial correlation of binned activity: who goes up together when all others are held fixed. It has no direction."""

from __future__ import annotations

import numpy as np
import xarray as xr
from sklearn.covariance import ledoit_wolf

from causalkit import connectivity
from causalkit.methods.base import Method, Traits, check_whole
from causalkit.preprocess import decay_free, positive, without_decay
from causalkit.recording import KINDS, trial_slices


class PartialCorrelation(Method):
    """Score each pair by its partial correlation given all other neurons: the baseline without time.

    Activity is added up in bins, standardised, and its covariance shrunk towards equal variances by the amount that
    Ledoit and Wolf (2004) derive; with the inverse P of it, the partial correlation is -P_ij / sqrt(P_ii P_jj). It
    knows no direction, and two neurons that drive a third one correlate once that one is held fixed.

    Parameters
    ----------
    bin_steps : int, default 4
        Steps of the recording in a bin: long enough for a spike to have its effect in the same bin. No bin crosses the
        border of a trial; what is left at its end is left out.
    decay_ms : float, optional
        Decay of a calcium indicator, taken out first by `preprocess.without_decay`. Default: 1,000 ms for calcium, of
        which it was not taken out before; from other recordings nothing is taken.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the size of the partial correlation, the same in both directions; ``weight``, the same with its
        ``sign``.
    diagnostics_ : xarray.Dataset
        ``n_bins``; ``shrinkage``, from 0 to 1; ``correlation (neuron, other)``, the plain one.

    Raises
    ------
    ValueError
        From ``fit``: an impossible bin, or a neuron that is constant once it is binned.

    References
    ----------
    Ledoit and Wolf (2004), J. Multivariate Analysis 88, 365-411.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import PartialCorrelation, recording
    >>> rng = np.random.default_rng(0)
    >>> spikes = rng.random((4000, 3)) < 0.1
    >>> spikes[1:, 1] |= spikes[:-1, 0] & (rng.random(3999) < 0.5)  # n0 makes n1 spike
    >>> trains = recording.from_array(spikes.astype(float), kind="spikes")
    >>> c = PartialCorrelation().fit(trains).connectivity_
    >>> bool(c.score.sel(target="n1", source="n0") > 5 * c.score.sel(target="n2", source="n0"))
    True
    """

    name = "partial_correlation"
    traits = Traits(directed=False, input_kinds=KINDS, stochastic=False, signed=True, lagged=False, p_values=False)

    added_parameters = {"decay_ms": None}

    def __init__(self, *, bin_steps=4, decay_ms=None):
        self.bin_steps, self.decay_ms = bin_steps, decay_ms

    def _min_times(self) -> int:
        check_whole("bin_steps", self.bin_steps, 1)
        if self.decay_ms is not None:
            positive("decay_ms", self.decay_ms, "the time in which the indicator falls by e, in ms")
        return 4 * self.bin_steps

    def _what(self) -> str:
        return f"PartialCorrelation with bin_steps={self.bin_steps}"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        neurons = recording.neuron.values.tolist()
        new = decay_free(recording) if self.decay_ms is None else without_decay(recording, self.decay_ms)
        binned = add_up(new, self.bin_steps)
        if len(binned) < 2:
            raise ValueError(
                f"the trials hold {len(binned)} full bins of {self.bin_steps} steps: a correlation needs two; lower "
                "bin_steps"
            )
        spread = binned.std(axis=0)
        if (spread == 0).any():
            raise ValueError(
                f"neurons {np.asarray(neurons)[spread == 0].tolist()[:5]} are constant in bins of {self.bin_steps} "
                "steps: nothing correlates with them; drop them, or lower bin_steps"
            )
        z = (binned - binned.mean(axis=0)) / spread
        covariance, shrinkage = ledoit_wolf(z, assume_centered=True)
        precision = np.linalg.inv(covariance)
        scale = np.sqrt(np.diag(precision))
        partial = -precision / np.outer(scale, scale)
        partial = (partial + partial.T) / 2
        np.fill_diagonal(partial, np.nan)
        self.diagnostics_ = xr.Dataset(
            {"n_bins": len(z), "shrinkage": shrinkage, "correlation": (("neuron", "other"), z.T @ z / len(z))},
            coords={"neuron": neurons, "other": neurons},
        )
        return connectivity.build(
            np.abs(partial), neurons=neurons, method=self.name, parameters=self.get_params(),
            sign=np.sign(np.nan_to_num(partial)), weight=partial,
        )  # fmt: skip


def add_up(recording: xr.Dataset, bin_steps: int) -> np.ndarray:
    """Activity in bins of so many steps, (n_bins, n_neurons)."""
    activity, parts = recording["activity"].values.astype(float), []
    for rows in trial_slices(recording):
        x = activity[rows]
        n_bins = len(x) // bin_steps
        parts.append(x[: n_bins * bin_steps].reshape(n_bins, bin_steps, x.shape[1]).sum(axis=1))
    return np.concatenate(parts)

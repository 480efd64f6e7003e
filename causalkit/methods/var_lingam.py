"""VAR-LiNGAM: a vector autoregression whose non-Gaussian residuals tell the direction of effects within the step."""

from __future__ import annotations

import numpy as np
import xarray as xr

from causalkit import connectivity
from causalkit.extras import needed
from causalkit.methods import var
from causalkit.methods.base import Method, Traits
from causalkit.methods.lagged_regression import lagged_covariance, min_times


class VARLiNGAM(Method):
    """Linear lagged and instantaneous effects (Hyvärinen et al. 2010), x(t) = B_0 x(t) + sum_k B_k x(t - k) + e(t).

    A vector autoregression x(t) = sum_k M_k x(t - k) + n(t) is fitted by least squares; the package lingam
    (DirectLiNGAM) finds the acyclic B_0 of its residuals, n = B_0 n + e, which must not be Gaussian; then
    B_k = (1 - B_0) M_k. Needs the extra `peers`. Where nothing acts within the step, B_0 should be 0 and the scores are
    the sizes of the autoregression's coefficients.

    Parameters
    ----------
    max_lag : int
        Lags of the autoregression.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        ``lag_score (target, source, lag)``, the sizes of B_k for z-scored neurons; ``score``, the largest over lags;
        ``sign`` of that B_k; ``instantaneous_score (target, source)``, the sizes of B_0.
    diagnostics_ : xarray.Dataset
        ``r2 (neuron)`` of the autoregression; ``causal_order (neuron)``, the place of each neuron within the step.

    Raises
    ------
    ImportError
        From ``fit``: lingam is not installed.
    ValueError
        From ``fit``: `max_lag` that is no count, too few time steps, a trial shorter than the lags, neurons that are
        linear combinations of others.

    References
    ----------
    Hyvärinen, Zhang, Shimizu & Hoyer (2010), J. Mach. Learn. Res. 11, 1709-1731. Shimizu et al. (2011), J. Mach. Learn.
    Res. 12, 1225-1248 (DirectLiNGAM).
    """

    name = "var_lingam"
    traits = Traits(
        directed=True, input_kinds=("voltage", "spikes", "calcium", "other"), stochastic=False, signed=True,
        lagged=True, p_values=False,
    )  # fmt: skip
    algorithm_version = 1

    def __init__(self, *, max_lag=5):
        self.max_lag = max_lag

    def _min_times(self) -> int:
        return min_times(self.max_lag)

    def _what(self) -> str:
        return f"VARLiNGAM with {self.max_lag} lags"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        neurons, p = recording.neuron.values.tolist(), int(self.max_lag)
        data = lagged_covariance(recording, p, self._what())
        lingam = needed("lingam", f"{type(self).__name__} needs", "peers")
        fit = var.regress(*var.factorize(data.sums, neurons), len(neurons), data.n_rows, len(data.trials))
        model = lingam.DirectLiNGAM()
        model.fit(np.concatenate([_residuals(trial[:], fit.coefficients) for trial in data.trials]))
        within = model.adjacency_matrix_  # (target, source)
        b = np.moveaxis((np.eye(len(neurons)) - within) @ fit.coefficients, 0, -1)
        strongest = np.take_along_axis(b, np.abs(b).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        place = np.empty(len(neurons), dtype=int)
        place[model.causal_order_] = np.arange(len(neurons))
        self.diagnostics_ = xr.Dataset(
            {
                "r2": ("neuron", 1 - np.diag(fit.residual_sums) / np.diag(fit.total_sums)),
                "causal_order": ("neuron", place),
            },
            coords={"neuron": neurons},
        )
        return connectivity.build(
            np.abs(strongest), neurons=neurons, method=self.name, parameters=self.get_params(), sign=np.sign(strongest),
            lag_score=np.abs(b), instantaneous_score=np.abs(within),
        )  # fmt: skip


def _residuals(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Of one trial, about their mean, (n_times - order, n_neurons)."""
    order = len(coefficients)
    error = x[order:].copy()
    for lag, matrix in enumerate(coefficients, start=1):
        error -= x[order - lag : len(x) - lag] @ matrix.T
    return error - error.mean(axis=0)

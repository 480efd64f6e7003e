"""State-space route to Granger causality: the exact F of a known vector autoregression (VAR)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_discrete_are

from causalkit.methods.var import Array, spectral_radius


def granger_causality_of_var(coefficients: ArrayLike, noise_covariance: ArrayLike) -> Array:
    """Conditional Granger causality F of a known VAR, by the state-space route.

    Without source j the other neurons follow no finite VAR. Given their past, only the last p values of j are
    unknown, so their innovations covariance needs one discrete algebraic Riccati equation in p dimensions for
    each source (Barnett & Seth 2015, Phys. Rev. E 91, 040101).

    Parameters
    ----------
    coefficients : array (order, n_neurons, n_neurons)
        [lag, target, source]; a single matrix is taken as order 1.
    noise_covariance : array (n_neurons, n_neurons)

    Returns
    -------
    array (target, source)
        F in nats, NaN on the diagonal.

    Raises
    ------
    ValueError
        If shapes do not fit, the VAR is unstable or the noise covariance is not positive definite.
    """
    a, v = _checked_var(coefficients, noise_covariance)
    order, n_neurons, _ = a.shape
    # F does not depend on units, the conditioning of the Riccati equation does
    unit = np.sqrt(np.diag(v))
    a, v = a * unit / unit[:, None], v / np.outer(unit, unit)
    causality = np.full((n_neurons, n_neurons), np.nan)
    for source in range(n_neurons):
        others = np.delete(np.arange(n_neurons), source)
        transition = np.eye(order, k=-1)
        transition[0] = a[:, source, source]
        readout = a[:, others, source].T  # (others, order)
        process, cross = np.zeros((order, order)), np.zeros((order, len(others)))
        process[0, 0], cross[0] = v[source, source], v[source, others]
        noise = v[np.ix_(others, others)]
        error = solve_discrete_are(transition.T, readout.T, process, noise, s=cross)
        extra = np.einsum("ia,ab,ib->i", readout, error, readout)
        causality[others, source] = np.log1p(np.maximum(extra, 0) / np.diag(noise))
    return causality


def _checked_var(coefficients: ArrayLike, noise_covariance: ArrayLike) -> tuple[Array, Array]:
    a = np.asarray(coefficients, dtype=float)
    v = np.asarray(noise_covariance, dtype=float)
    a = a[None] if a.ndim == 2 else a
    if a.ndim != 3 or a.shape[1] != a.shape[2] or v.shape != a.shape[1:]:
        raise ValueError(
            f"coefficients have shape {a.shape} and noise_covariance {v.shape}: a VAR needs "
            "(order, n_neurons, n_neurons) and (n_neurons, n_neurons); put lags first, then target, "
            "then source"
        )
    if not (np.isfinite(a).all() and np.isfinite(v).all()):
        raise ValueError(
            "coefficients or noise_covariance hold NaN or infinite values: F is undefined; remove them"
        )
    if not np.allclose(v, v.T) or np.linalg.eigvalsh(v)[0] <= 0:
        raise ValueError(
            "noise_covariance is not symmetric and positive definite: prediction errors would have no "
            "density; give the covariance matrix of the innovations"
        )
    radius = spectral_radius(a)
    if radius >= 1:
        raise ValueError(
            f"the VAR is unstable (spectral radius {radius:.4f}, must be below 1): it has no stationary "
            "prediction error and so no F; detrend the data or use estimator='regression'"
        )
    return a, v

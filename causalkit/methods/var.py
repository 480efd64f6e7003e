"""Vector autoregression by least squares: the numerics of `MVGC`.

A VAR of order p predicts every neuron from the last p values of all neurons,

    x(t) = c_k + A_1 x(t-1) + ... + A_p x(t-p) + e(t),    cov(e) = noise_covariance,

with an intercept c_k for each trial k.

Everything is computed from the lagged covariance matrix of the data; the design matrix, p times as large as
the recording, is never built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack, solve_triangular

Array = NDArray[np.float64]


def lag_products(trials: list[Array], max_order: int) -> Array:
    """Sums of x(t) x(t-lag)^T over each trial, for lags 0 to `max_order`: the one pass over the data.

    Parameters
    ----------
    trials : list of arrays (n_times, n_neurons)
    max_order : int

    Returns
    -------
    array (max_order + 1, n_neurons, n_neurons)
    """
    return np.stack([sum(x[lag:].T @ x[: len(x) - lag] for x in trials) for lag in range(max_order + 1)])


def lagged_covariance(trials: list[Array], products: Array, order: int) -> tuple[Array, int]:
    """Centered sums of products of [x(t), x(t-1), ..., x(t-order)] over all t with a complete history.

    The sample of order p starts at row p of every trial. Its sums follow exactly from `products` by adding or
    taking away the few rows at the borders, so all orders share one pass. Centering each column over its
    trial's rows is the same as an intercept for each trial in the regression.

    Returns
    -------
    covariance : array ((order + 1) * n_neurons, (order + 1) * n_neurons)
        Not divided by the number of rows; columns lag-major, lag 0 first.
    n_rows : int
    """
    n_neurons, n_lags = products.shape[1], order + 1
    n_rows = np.array([len(x) - order for x in trials])
    # (trial, neuron): the rows that enter and leave a sum when both of its lags grow by one
    entering = [np.stack([x[order - lag] for x in trials]) for lag in range(n_lags)]
    leaving = [np.stack([x[-max(lag, 1)] for x in trials]) for lag in range(n_lags)]

    moments = np.empty((n_lags, n_neurons, n_lags, n_neurons))
    sums = np.empty((n_lags, len(trials), n_neurons))
    sums[0] = [x[order:].sum(axis=0) for x in trials]
    for lag in range(n_lags):
        moments[0, :, lag] = products[lag] - sum(x[lag:order].T @ x[: order - lag] for x in trials)
    for a in range(1, n_lags):
        sums[a] = sums[a - 1] + entering[a] - leaving[a]
        for b in range(a, n_lags):
            moments[a, :, b] = moments[a - 1, :, b - 1]
            moments[a, :, b] += entering[a].T @ entering[b] - leaving[a].T @ leaving[b]
    for a in range(n_lags):
        for b in range(a):
            moments[a, :, b] = moments[b, :, a].T
    covariance = moments.reshape(n_lags * n_neurons, n_lags * n_neurons)
    by_trial = sums.swapaxes(0, 1).reshape(len(trials), -1) / np.sqrt(n_rows)[:, None]
    covariance -= by_trial.T @ by_trial
    return covariance, int(n_rows.sum())


@dataclass(frozen=True)
class Regression:
    """A VAR fitted by ordinary least squares with an intercept for each trial.

    Attributes
    ----------
    coefficients : array (order, n_neurons, n_neurons)
        [lag, target, source].
    residual_sums : array (n_neurons, n_neurons)
        Sums of products of the residuals.
    inverse_gram : array (order, n_neurons, order, n_neurons)
        Inverse of the regressors' Gram matrix, centered trial by trial.
    total_sums : array (n_neurons, n_neurons)
        Sums of products of the targets, centered trial by trial.
    n_rows : int
        Regression rows M.
    n_trials : int
        Intercepts of one equation.
    """

    coefficients: Array
    residual_sums: Array
    inverse_gram: Array
    total_sums: Array
    n_rows: int
    n_trials: int

    @property
    def order(self) -> int:
        return len(self.coefficients)

    @property
    def residual_df(self) -> int:
        """Residual degrees of freedom of one equation: rows - order * n_neurons - n_trials."""
        return self.n_rows - self.order * self.coefficients.shape[1] - self.n_trials

    @property
    def noise_covariance(self) -> Array:
        """Unbiased estimate, (n_neurons, n_neurons)."""
        return self.residual_sums / self.residual_df


def factorize(covariance: Array, neurons: list[str]) -> tuple[Array, Array]:
    """Cholesky factor of the correlation of [x(t-1), ..., x(t-p), x(t)] and the column scales.

    The last block row holds the whole regression; its last block is the factor of the residual covariance.

    Raises
    ------
    ValueError
        If a neuron is constant within trials but for their borders, or if a column is, to rounding, a linear
        combination of the ones before it.
    """
    n_neurons = len(neurons)
    present_last = np.roll(np.arange(len(covariance)), -n_neurons)
    variances = np.diag(covariance)[present_last]
    if variances.min() <= 1e-12 * variances.max():
        neuron = neurons[int(variances.argmin()) % n_neurons]
        raise ValueError(
            f"neuron {neuron!r} is constant but for the first or last steps of its trials: nothing can be "
            f"regressed on it; drop it with recording.drop_sel(neuron=[{neuron!r}])"
        )
    scale = np.sqrt(variances)
    correlation = covariance[np.ix_(present_last, present_last)] / np.outer(scale, scale)
    factor, failed = lapack.dpotrf(correlation, lower=1, clean=1)
    # squared pivots are 1 - R² of a column given the columns before it
    tolerance = 100 * np.finfo(float).eps * len(correlation)
    small = np.flatnonzero(np.diag(factor)[: failed - 1 if failed else None] ** 2 < tolerance)
    if failed or small.size:
        _raise_singular(correlation, int(small[0]) if small.size else failed - 1, neurons)
    return factor, scale


def _raise_singular(correlation: Array, column: int, neurons: list[str]) -> None:
    n_neurons = len(neurons)
    order = len(correlation) // n_neurons - 1
    lag, neuron = column // n_neurons + 1, neurons[column % n_neurons]
    weights = np.linalg.lstsq(correlation[:column, :column], correlation[:column, column], rcond=1e-10)[0]
    involved = np.flatnonzero(np.abs(weights) > 1e-3 * np.abs(weights).max(initial=0))
    partners = sorted({neurons[k % n_neurons] for k in involved} - {neuron}, key=neurons.index)
    if lag == 1:
        what = f"neuron {neuron!r} is a linear combination of neurons {partners}"
        remedy = f"drop it with recording.drop_sel(neuron=[{neuron!r}])"
    else:
        lags = f"the {min(lag - 1, order)} steps before it"
        of = f" of itself and of {partners}" if partners else ""
        what = f"neuron {neuron!r} follows exactly from {lags}{of}"
        remedy = "drop one of these neurons, sample less often, or lower the order" + (
            f" below {lag}" if 2 < lag <= order else ""
        )
    raise ValueError(
        f"{what}: the regression has no unique answer and Granger causality is undefined; {remedy}"
    )


def log_likelihood(factor: Array, scale: Array, n_neurons: int, n_rows: int) -> float:
    """Gaussian log-likelihood without its constant, L = -(M/2) log|Sigma|."""
    standard_deviations = np.diag(factor)[-n_neurons:] * scale[-n_neurons:] / np.sqrt(n_rows)
    return -n_rows * float(np.log(standard_deviations).sum())


def regress(factor: Array, scale: Array, n_neurons: int, n_rows: int, n_trials: int) -> Regression:
    """Coefficients, residuals and inverse Gram matrix from the output of `factorize`."""
    n_regressors = len(factor) - n_neurons
    order = n_regressors // n_neurons
    past, present = scale[:n_regressors], scale[n_regressors:]
    inverse_factor = solve_triangular(factor[:n_regressors, :n_regressors], np.eye(n_regressors), lower=True)
    weights = factor[n_regressors:, :n_regressors] @ inverse_factor  # (target, order * source)
    weights *= present[:, None] / past
    inverse_gram = inverse_factor.T @ inverse_factor / np.outer(past, past)
    present_factor = factor[n_regressors:] * present[:, None]
    residual_factor = present_factor[:, n_regressors:]
    return Regression(
        coefficients=np.moveaxis(weights.reshape(n_neurons, order, n_neurons), 1, 0).copy(),
        residual_sums=residual_factor @ residual_factor.T,
        inverse_gram=inverse_gram.reshape(order, n_neurons, order, n_neurons),
        total_sums=present_factor @ present_factor.T,
        n_rows=n_rows,
        n_trials=n_trials,
    )


def squared_residual_steps(trials: list[Array], coefficients: Array, block: int = 1 << 15) -> Array:
    """Sums over t of (e(t) - e(t-1))^2 within trials, (n_neurons,): what Durbin and Watson divide by sum e^2.

    Works through blocks of rows, so that memory does not grow with the recording.
    """
    order, total = len(coefficients), np.zeros(coefficients.shape[1])
    for trial in trials:
        for start in range(order, len(trial) - 1, block):
            rows = trial[start - order : start + block + 1]
            error = rows[order:].copy()
            for lag, matrix in enumerate(coefficients, start=1):
                error -= rows[order - lag : len(rows) - lag] @ matrix.T
            total += (np.diff(error, axis=0) ** 2).sum(axis=0)
    return total


def residual_growth(fit: Regression) -> tuple[Array, Array]:
    """How much each target's residual sum of squares grows without a source: all pairs from one fit.

    With b the coefficients of source j in target i and J its columns, refitting without j adds
    b^T [(S^-1)_JJ]^-1 b to the residual sum, S being the Gram matrix (the score route to nested regression).

    Returns
    -------
    whole : array (target, source)
        Without the whole history of the source.
    by_lag : array (target, source, lag)
        Without one lag of it, the others kept.
    """
    by_source = np.einsum("ajbj->jab", fit.inverse_gram)  # (source, lag, lag)
    factor = np.linalg.cholesky(by_source)
    b = np.transpose(fit.coefficients, (2, 0, 1))  # (source, lag, target)
    whitened = np.linalg.solve(factor, b)
    whole = np.einsum("jai,jai->ij", whitened, whitened)
    variances = np.einsum("jaa->ja", by_source)
    return whole, np.transpose(b**2 / variances[:, :, None], (2, 0, 1))


def spectral_radius(coefficients: ArrayLike) -> float:
    """Largest modulus of the companion matrix's eigenvalues; the VAR is stable if it is below 1.

    Parameters
    ----------
    coefficients : array (order, n_neurons, n_neurons)
        A single matrix is taken as order 1.
    """
    a = np.asarray(coefficients, dtype=float)
    a = a[None] if a.ndim == 2 else a
    order, n_neurons, _ = a.shape
    companion = np.eye(order * n_neurons, k=-n_neurons)
    companion[:n_neurons] = np.hstack(a)
    return float(np.abs(np.linalg.eigvals(companion)).max())

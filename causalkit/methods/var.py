"""Vector autoregression by least squares: the numerics of `MVGC`.

A VAR of order p predicts every neuron from the last p values of all neurons,

    x(t) = c_k + A_1 x(t-1) + ... + A_p x(t-p) + e(t),    cov(e) = noise_covariance,

with an intercept c_k for each trial k.

Everything is computed from the lagged covariance matrix of the data, which is summed over blocks of time steps; the
design matrix, p times as large as the recording, is never built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs
from threadpoolctl import threadpool_limits

from causalkit.methods.blocks import blocks

Array = NDArray[np.float64]

DENSE_EIGENVALUES = 512  # companion matrices up to this size are solved whole


def lag_products(trials: list, max_order: int, block: int | None = None) -> tuple[Array, Array]:
    """Sums over each trial of x(t) x(t-lag)^T, for lags 0 to `max_order`, and of x(t): one pass over the data.

    Parameters
    ----------
    trials : list of arrays or ZScored (n_times, n_neurons)
    max_order : int
    block : int, optional
        Rows read at a time.

    Returns
    -------
    products : array (max_order + 1, n_neurons, n_neurons)
        Over all trials.
    sums : array (n_trials, n_neurons)
    """
    n_neurons = trials[0][:1].shape[1]
    products, sums = np.zeros((max_order + 1, n_neurons, n_neurons)), np.zeros((len(trials), n_neurons))
    for k, trial in enumerate(trials):
        done = 0
        for rows in blocks(trial, max_order, block):
            known = min(done, max_order)  # rows of the block before
            sums[k] += rows[known:].sum(axis=0)
            for lag in range(max_order + 1):
                first = max(known, lag)
                products[lag] += rows[first:].T @ rows[first - lag : max(len(rows) - lag, 0)]
            done += len(rows) - known
    return products, sums


def lagged_covariance(trials: list, products: Array, sums: Array, order: int) -> tuple[Array, int]:
    """Centered sums of products of [x(t-1), ..., x(t-order), x(t)] over all t with a complete history.

    The sample of order p starts at row p of every trial. Its sums follow exactly from those of `lag_products` by
    adding or taking away the few rows at the borders, so all orders share one pass. Centering each column over
    its trial's rows is the same as an intercept for each trial in the regression.

    Returns
    -------
    covariance : array ((order + 1) * n_neurons, (order + 1) * n_neurons)
        Not divided by the number of rows; columns lag-major.
    n_rows : int
    """
    n_neurons, n_lags = products.shape[1], order + 1
    n_rows = np.array([len(x) - order for x in trials])
    heads, tails = (np.stack(rows) for rows in ([x[:n_lags] for x in trials], [x[-n_lags:] for x in trials]))
    # (trial, neuron): the rows that enter and leave a sum when both of its lags grow by one
    entering = [heads[:, order - lag] for lag in range(n_lags)]
    leaving = [tails[:, -max(lag, 1)] for lag in range(n_lags)]

    moments = np.empty((n_lags, n_neurons, n_lags, n_neurons))  # blocks [lag - 1]: the present, lag 0, comes last
    shifted = np.empty((len(trials), n_lags, n_neurons))  # the same for sums
    shifted[:, -1] = sums - heads[:, :order].sum(axis=1)
    for lag in range(n_lags):
        present, past = (rows.reshape(-1, n_neurons) for rows in (heads[:, lag:order], heads[:, : order - lag]))
        moments[-1, :, lag - 1] = products[lag] - present.T @ past
    for a in range(1, n_lags):
        shifted[:, a - 1] = shifted[:, a - 2] + entering[a] - leaving[a]
        for b in range(a, n_lags):
            moments[a - 1, :, b - 1] = moments[a - 2, :, b - 2]
            moments[a - 1, :, b - 1] += entering[a].T @ entering[b] - leaving[a].T @ leaving[b]
    for a in range(n_lags):
        for b in range(a):
            moments[a - 1, :, b - 1] = moments[b - 1, :, a - 1].T
    shifted /= np.sqrt(n_rows)[:, None, None]
    by_trial = shifted.reshape(len(trials), -1)
    for lag in range(n_lags):  # lag by lag: a second matrix of this size could be a gigabyte
        moments[lag] -= (shifted[:, lag].T @ by_trial).reshape(n_neurons, n_lags, n_neurons)
    return moments.reshape(n_lags * n_neurons, n_lags * n_neurons), int(n_rows.sum())


@dataclass(frozen=True)
class Regression:
    """A VAR fitted by ordinary least squares with an intercept for each trial.

    Attributes
    ----------
    coefficients : array (order, n_neurons, n_neurons)
        [lag, target, source].
    residual_sums : array (n_neurons, n_neurons)
        Sums of products of the residuals.
    inverse_gram : array (n_neurons, order, order)
        Inverse of the regressors' Gram matrix, centered trial by trial: the blocks [source, lag, lag].
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

    The last block row holds the whole regression; its last block is the factor of the residual covariance. Only
    the lower triangle is the factor, and `covariance` is overwritten: these matrices can be large.

    Raises
    ------
    ValueError
        If a neuron is constant within trials but for their borders, or if a column is, to rounding, a linear
        combination of the ones before it.
    """
    n_neurons = len(neurons)
    variances = np.diag(covariance)
    if variances.min() <= 1e-12 * variances.max():
        neuron = neurons[int(variances.argmin()) % n_neurons]
        raise ValueError(
            f"neuron {neuron!r} is constant but for the first or last steps of its trials: nothing can be "
            f"regressed on it; drop it with recording.drop_sel(neuron=[{neuron!r}])"
        )
    scale = np.sqrt(variances)
    covariance /= scale
    covariance /= scale[:, None]
    # the transpose is the same symmetric matrix in LAPACK's memory order, so it is factorized in place
    factor, failed = lapack.dpotrf(covariance.T, lower=1, clean=0, overwrite_a=1)
    # squared pivots are 1 - R² of a column given the columns before it
    tolerance = 100 * np.finfo(float).eps * len(factor)
    small = np.flatnonzero(np.diag(factor)[: failed - 1 if failed else None] ** 2 < tolerance)
    if failed or small.size:
        correlation = np.triu(factor, 1)  # what the factorization left untouched
        correlation += correlation.T + np.eye(len(factor))
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
    by_past, residual = factor[n_regressors:, :n_regressors], np.tril(factor[n_regressors:, n_regressors:])
    inverse_factor = lapack.dtrtri(np.tril(factor[:n_regressors, :n_regressors]).T, lower=0, overwrite_c=1)[0].T
    weights = by_past @ inverse_factor  # (target, order * source)
    weights *= present[:, None] / past
    columns = inverse_factor.reshape(n_regressors, order, n_neurons)
    scale_by_lag = past.reshape(order, n_neurons).T  # (source, lag)
    inverse_gram = np.einsum("kaj,kbj->jab", columns, columns)
    inverse_gram /= scale_by_lag[:, :, None] * scale_by_lag[:, None, :]
    residual *= present[:, None]
    explained = by_past * present[:, None]
    residual_sums = residual @ residual.T
    return Regression(
        coefficients=np.moveaxis(weights.reshape(n_neurons, order, n_neurons), 1, 0).copy(),
        residual_sums=residual_sums,
        inverse_gram=inverse_gram,
        total_sums=residual_sums + explained @ explained.T,
        n_rows=n_rows,
        n_trials=n_trials,
    )


def squared_residual_steps(trials: list, coefficients: Array, block: int | None = None) -> Array:
    """Sums over t of (e(t) - e(t-1))^2 within trials, (n_neurons,): what Durbin and Watson divide by sum e^2."""
    order, total = len(coefficients), np.zeros(coefficients.shape[1])
    for trial in trials:
        # a block needs the residual of the step before it, and that the history of that step
        for rows in blocks(trial, order + 1, block):
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
    factor = np.linalg.cholesky(fit.inverse_gram)  # (source, lag, lag)
    b = np.transpose(fit.coefficients, (2, 0, 1))  # (source, lag, target)
    whitened = np.linalg.solve(factor, b)
    whole = np.einsum("jai,jai->ij", whitened, whitened)
    variances = np.einsum("jaa->ja", fit.inverse_gram)
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
    if order * n_neurons > DENSE_EIGENVALUES:
        return _largest_modulus(a)
    companion = np.eye(order * n_neurons, k=-n_neurons)
    companion[:n_neurons] = np.hstack(a)
    with threadpool_limits(1):  # many small steps: a thread that waits for another makes them fifty times slower
        return float(np.abs(np.linalg.eigvals(companion)).max())


def _largest_modulus(a: Array) -> float:
    # all eigenvalues of a companion matrix of 10,000 columns take hours, the largest few seconds to minutes
    order, n_neurons, _ = a.shape
    size, first_row = order * n_neurons, np.hstack(a)

    def multiply(state: Array) -> Array:
        state = state.ravel()
        return np.concatenate([first_row @ state, state[: size - n_neurons]])

    companion = LinearOperator((size, size), matvec=multiply, dtype=float)
    settings = {"k": 4, "ncv": 100, "v0": np.random.default_rng(0).standard_normal(size), "return_eigenvectors": False}
    try:
        values = eigs(companion, tol=1e-7, maxiter=100, **settings)
    except ArpackNoConvergence:  # many moduli alike; an eigenvalue near 1, which must be exact, stands out
        values = eigs(companion, tol=1e-3, maxiter=100, **settings)
    return float(np.abs(values).max())

"""The fit behind `SingleIndexGranger`: response and index in turns on some blocks of time, tests on the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg

from causalkit.methods.response import Response, evaluate, own_basis, train_response
from causalkit.methods.robust_wald import GroupTests, huber_limit, huber_regression, normal_factor, wald_of_groups

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

ROWS_PER_COMPONENT, MAX_COMPONENTS = 100, 24
MAX_COLUMNS = 1 / 3  # of the rows: a regression with more follows noise


@dataclass
class Nuisance:
    """All that the tests take as given, for each fold from its own training rows.

    Attributes
    ----------
    model : Response
        One network a fold.
    own : tensor (n_rows, n_neurons, n_own)
    sources : array (n_rows, n_neurons, n_lags * n_features)
    residual, gain, index : array (n_folds, n_rows, n_neurons)
        Forecast errors; the forecast's derivative with respect to the index; the index.
    n_lags : int
    """

    model: Response
    own: torch.Tensor
    sources: Array
    residual: Array
    gain: Array
    index: Array
    n_lags: int


def learn(own: Array, goal: Array, sources: Array, train: list[Rows], max_lag: int, n_rounds: int, epochs: int,
          learning_rate: float, random_state: int) -> Nuisance:  # fmt: skip
    """Fit response and index in turns; the first turn, without index, also chooses the number of lags.

    Parameters
    ----------
    own : array (n_rows, n_neurons, n_own)
        Own history of each neuron.
    goal : array (n_rows, n_neurons)
        What follows.
    sources : array (n_rows, n_neurons, max_lag * n_features)
    train : list of arrays
        Training rows of each fold.
    max_lag, n_rounds, epochs, learning_rate, random_state
        As in `SingleIndexGranger`.
    """
    n_rows, n_neurons, n_own = own.shape
    seeds = np.random.SeedSequence(random_state).generate_state(len(train) * (n_rounds + 1)).reshape(n_rounds + 1, -1)
    model = Response(len(train), n_neurons, n_own).initialize(seeds[-1])
    delta = np.stack([huber_limit(_linear_residual(own[rows], goal[rows])) for rows in train])
    own, target_values = _single(own), _single(goal)
    index, n_lags = np.zeros((len(train), n_rows, n_neurons)), max_lag
    for turn in range(n_rounds):
        train_response(
            model, own, target_values, _single(index), _single(delta), train, epochs, learning_rate, seeds[turn]
        )
        forecast, gain = evaluate(model, own, _single(index))
        residual = goal - forecast
        delta = np.stack([huber_limit(residual[fold, rows]) for fold, rows in enumerate(train)])
        if turn == 0:
            gain = np.ones_like(gain)  # the network has not seen an index yet
            n_lags = choose_n_lags(np.clip(residual, -delta[:, None], delta[:, None]), sources, train, max_lag)
            sources = sources[..., : sources.shape[-1] // max_lag * n_lags]
        nuisance = Nuisance(model, own, sources, residual, gain, index, n_lags)
        if turn < n_rounds - 1:
            index = np.stack([_new_index(nuisance, target, train) for target in range(n_neurons)], axis=-1)
    return nuisance


def _new_index(nuisance: Nuisance, target: int, train: list[Rows]) -> Array:
    """Index of a target by one step of weighted regression in each fold, (n_folds, n_rows), of unit spread."""
    others = _others(nuisance.sources, target)
    basis = own_basis(nuisance.model, nuisance.own, target, _n_components(train))
    index = np.empty(nuisance.index.shape[:2])
    for fold, rows in enumerate(train):
        spread = noise_spread(nuisance.residual[fold, rows, target], basis[fold, rows])
        gain = nuisance.gain[fold, rows, target] / spread
        residual = nuisance.residual[fold, rows, target] / spread
        x = np.hstack([_with_constant(basis[fold, rows]) / spread[:, None], gain[:, None] * others[rows]])
        y = residual + gain * nuisance.index[fold, rows, target]
        weights = huber_regression(x, y, float(huber_limit(residual)), start=residual, max_steps=1)
        index[fold] = others @ weights[-others.shape[1] :]
        index[fold] /= max(index[fold].std(), 1e-12)
    return index


def tests_of_target(nuisance: Nuisance, target: int, test: list[Rows]) -> GroupTests:
    """Test all sources of a target on the rows that its nuisance has not seen, all folds in one regression.

    The columns are each fold's own nuisance history, and the gain times the features of each source: what the
    history can explain, of target and of sources, is taken out of both.
    """
    others = _others(nuisance.sources, target)
    basis = own_basis(nuisance.model, nuisance.own, target, _n_components(test))
    width = basis.shape[-1] + 1
    n_nuisance = len(test) * width
    x = np.zeros((sum(map(len, test)), n_nuisance + others.shape[1]))
    y, residuals = np.empty(len(x)), np.empty(len(x))
    end = 0
    for fold, rows in enumerate(test):
        begin, end = end, end + len(rows)
        spread = noise_spread(nuisance.residual[fold, :, target], basis[fold])[rows]
        gain = nuisance.gain[fold, rows, target] / spread
        residuals[begin:end] = nuisance.residual[fold, rows, target] / spread
        y[begin:end] = residuals[begin:end] + gain * nuisance.index[fold, rows, target]
        unit = np.abs(gain).mean() * (np.sign(gain.mean()) or 1)  # the scale of an index is each network's own
        x[begin:end, fold * width : fold * width + width] = _with_constant(basis[fold, rows]) / spread[:, None]
        x[begin:end, n_nuisance:] = (gain / (unit or 1))[:, None] * others[rows]
    return wald_of_groups(x, y, n_nuisance, nuisance.sources.shape[-1], float(huber_limit(residuals)))


def noise_spread(residuals: Array, basis: Array) -> Array:
    """Relative size of the residuals that a neuron's own history foretells, around 1: noise passes the gain as well."""
    x = _with_constant(basis)
    size = np.abs(residuals)
    log_size = np.log(size + 0.05 * size.mean() + 1e-300)
    factor, _ = normal_factor(x, np.ones(len(x)))
    fitted = x @ linalg.cho_solve(factor, x.T @ log_size, check_finite=False)
    return np.exp(np.clip(fitted - log_size.mean(), -3, 3))


def choose_n_lags(residual: Array, sources: Array, train: list[Rows], max_lag: int) -> int:
    """Number of lags, the same for all pairs, by Akaike's criterion (small-sample form) of linear regressions.

    Parameters
    ----------
    residual : array (n_folds, n_rows, n_neurons)
        What is left of the targets without sources, large values clipped.
    sources : array (n_rows, n_neurons, max_lag * n_features)
    train : list of arrays
    max_lag : int
    """
    n_neurons, n_features = sources.shape[1], sources.shape[2] // max_lag
    criterion = np.zeros(max_lag)
    for fold, rows in enumerate(train):
        r, n = residual[fold, rows], len(rows)
        for n_lags in range(1, max_lag + 1):
            x = sources[rows, :, : n_lags * n_features].reshape(n, -1)
            x = _with_constant(x[:, x.any(axis=0)])
            if n_lags > 1 and x.shape[1] > MAX_COLUMNS * n:
                criterion[n_lags - 1 :] = np.inf
                break
            factor, _ = normal_factor(x, np.ones(n))
            explained = np.einsum("ij,ij->j", x.T @ r, linalg.cho_solve(factor, x.T @ r, check_finite=False))
            left = np.maximum((r**2).sum(axis=0) - explained, 1e-300)
            penalty = 2 * x.shape[1] * n / max(n - x.shape[1] - 1, 1)
            criterion[n_lags - 1] += n * np.log(left).sum() + n_neurons * penalty
    return int(np.argmin(criterion)) + 1


def _others(sources: Array, target: int) -> Array:
    return np.delete(sources, target, axis=1).reshape(len(sources), -1)


def _with_constant(x: Array) -> Array:
    return np.hstack([np.ones((len(x), 1)), x])


def _n_components(rows: list[Rows]) -> int:
    return min(MAX_COMPONENTS, min(map(len, rows)) // ROWS_PER_COMPONENT)


def _linear_residual(own: Array, goal: Array) -> Array:
    fitted = [
        x @ np.linalg.lstsq(x, y, rcond=None)[0]
        for x, y in ((_with_constant(own[:, j]), goal[:, j]) for j in range(goal.shape[1]))
    ]
    return goal - np.stack(fitted, axis=-1)


def _single(x: Array) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float32)

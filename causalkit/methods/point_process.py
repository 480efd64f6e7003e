"""Regression of spikes: a Bernoulli model of bins that hold one spike at most, a Poisson model of counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import expit, logit

Array = NDArray[np.float64]

LEAST = 1e-6  # of a mean that a link is taken of
LARGEST = 20.0  # of the linear predictor: e^20 spikes a bin are beyond any recording
HALVINGS = 20


class Bernoulli:
    """A spike or none, with logit link."""

    name = "bernoulli"

    @staticmethod
    def link(mean: Array) -> Array:
        """Linear predictor of a mean, finite where it is 0 or 1."""
        return logit(np.clip(mean, LEAST, 1 - LEAST))

    @staticmethod
    def mean(eta: Array) -> Array:
        return expit(eta)

    @staticmethod
    def variance(mean: Array) -> Array:
        return mean * (1 - mean)

    @staticmethod
    def loss(eta: Array, y: Array) -> float:
        """Negative log-likelihood, up to a constant of `y`."""
        return float(np.logaddexp(0, eta).sum() - y @ eta)

    @staticmethod
    def losses(eta: Array, y: Array) -> Array:
        """The same of each row."""
        # log(1 + exp(eta)): several times faster than logaddexp in single precision
        none = np.maximum(eta, 0) + np.log1p(np.exp(-np.abs(eta)))
        return (none - y * eta).sum(axis=-1, dtype=np.float64)


class Poisson:
    """A count, with logarithmic link."""

    name = "poisson"

    @staticmethod
    def link(mean: Array) -> Array:
        """Linear predictor of a mean, finite where it is 0."""
        return np.log(np.maximum(mean, LEAST))

    @staticmethod
    def mean(eta: Array) -> Array:
        return np.exp(np.minimum(eta, LARGEST))

    @staticmethod
    def variance(mean: Array) -> Array:
        return mean

    @staticmethod
    def loss(eta: Array, y: Array) -> float:
        """Negative log-likelihood, up to a constant of `y`."""
        return float(np.exp(np.minimum(eta, LARGEST)).sum() - y @ eta)

    @staticmethod
    def losses(eta: Array, y: Array) -> Array:
        """The same of each row."""
        return (np.exp(np.minimum(eta, LARGEST)) - y * eta).sum(axis=-1, dtype=np.float64)


Family = type[Bernoulli] | type[Poisson]


def family_of(counts: NDArray) -> Family:
    """Bernoulli where no bin holds more than one spike, Poisson otherwise."""
    return Bernoulli if counts.max() <= 1 else Poisson


def check_counts(counts: NDArray, neurons: list[str], least: int, what: str) -> None:
    """Refuse activity that is no count, and neurons with fewer spikes than `least`."""
    if (counts < 0).any() or (counts != np.round(counts)).any():
        bad = [n for n, column in zip(neurons, counts.T, strict=True) if ((column < 0) | (column % 1 != 0)).any()]
        raise ValueError(
            f"activity of {bad[:5]} is no count of spikes (0, 1, 2 ...): {what} models spikes in bins; bin the spike "
            "times, or choose a method for voltage or calcium"
        )
    few = counts.sum(axis=0) < least
    if few.any():
        bad = np.asarray(neurons)[few].tolist()
        raise ValueError(
            f"neurons {bad[:5]} have fewer than {least} spikes: too few to tell what drives them; leave them out "
            "(recording.sel(neuron=...)), or record longer"
        )


@dataclass(frozen=True)
class Fit:
    """Coefficients with the inverse of their penalized information, and the fitted means."""

    coefficients: Array
    covariance: Array
    mean: Array


def fit(x: Array, y: Array, family: Family, penalty: Array, max_steps: int = 50) -> Fit:
    """Maximize the penalized likelihood of `y` by Newton steps, each halved until it raises it.

    Parameters
    ----------
    x : array (n_rows, n_columns)
    y : array (n_rows,)
        Spikes in each bin.
    family : Bernoulli or Poisson
    penalty : array (n_columns,)
        Precision of a Gaussian prior on each coefficient: keeps those finite that perfect separation would not.
    max_steps : int
    """
    coefficients = np.zeros(x.shape[1])

    def objective(b: Array) -> float:
        return family.loss(x @ b, y) + 0.5 * float(penalty @ b**2)

    now = objective(coefficients)
    for _ in range(max_steps):
        mean, factor = _information(x, family, penalty, coefficients)
        step = linalg.cho_solve(factor, x.T @ (y - mean) - penalty * coefficients, check_finite=False)
        before = now
        for halving in range(HALVINGS):
            trial = coefficients + step / 2**halving
            reached = objective(trial)
            if reached <= before:
                coefficients, now = trial, reached
                break
        if before - now < 1e-8 * (1 + abs(now)):
            break
    mean, factor = _information(x, family, penalty, coefficients)
    return Fit(coefficients, linalg.cho_solve(factor, np.eye(len(penalty)), check_finite=False), mean)


def _information(x, family, penalty, coefficients):
    mean = family.mean(x @ coefficients)
    weighted = x * np.maximum(family.variance(mean), 1e-12)[:, None]
    return mean, linalg.cho_factor(weighted.T @ x + np.diag(penalty), lower=True, check_finite=False)

"""The generalized linear model of hundreds of spike trains: all targets at once, since they share the sources' design.

Newton's method needs each target's own weighted Gram matrix. Here the Gram matrix is factorized once, unweighted, and
scaled by a target's rate: that is nearly its information, since rates vary little, and L-BFGS does the rest. Every
iteration is two matrix products for all targets together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.methods.point_process import Family

Array = NDArray[np.floating]
Rows = NDArray[np.int64]

MEMORY = 6  # steps that L-BFGS remembers
MAX_STEPS = 60
TOLERANCE = 1e-3  # nats that a target's objective is still expected to fall
HALVINGS = 12
CHUNK = 10_000  # rows of squares at once
HELD_OUT = 0.2  # of the rows, at the end, on which a penalty is judged
N_JUDGES = 20  # targets by which a penalty is chosen
PENALTIES = tuple(10.0**k for k in (-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4))


def filtered(counts: Array, rows: Rows, basis: Array) -> NDArray[np.float32]:
    """Past counts weighted by each bump, (n_neurons, n_rows, n_basis): only bins with spikes are touched."""
    n_times, n_neurons = counts.shape
    at = np.full(n_times + len(basis), -1, dtype=np.int64)
    at[rows] = np.arange(len(rows))
    out = np.zeros((n_neurons, len(rows), basis.shape[1]), dtype=np.float32)
    for j in range(n_neurons):
        times = np.flatnonzero(counts[:, j])
        for lag, weights in enumerate(basis, start=1):
            there = at[times + lag]
            seen = there >= 0
            out[j, there[seen]] += (counts[times[seen], j, None] * weights).astype(np.float32)
    return out


@dataclass(frozen=True)
class Design:
    """What all regressions share, in single precision, every column with mean 0.

    Attributes
    ----------
    sources : array (n_rows, n_neurons * n_basis)
    own : array (n_neurons, n_rows, n_history_basis)
        Used by a neuron's own regression only.
    y : array (n_neurons, n_rows)
        Counts.
    n_basis : int
    values, vectors : array (n_columns,), array (n_columns, n_columns)
        Of the Gram matrix of `sources`, per row.
    """

    sources: Array
    own: Array
    y: Array
    n_basis: int
    values: Array
    vectors: Array

    @classmethod
    def of(cls, counts: Array, rows: Rows, basis: Array, history_basis: Array) -> Design:
        coupled = filtered(counts, rows, basis)
        n, n_rows, n_basis = coupled.shape
        sources = np.ascontiguousarray(coupled.transpose(1, 0, 2).reshape(n_rows, n * n_basis))
        del coupled
        sources -= sources.mean(axis=0, dtype=np.float64).astype(np.float32)
        own = filtered(counts, rows, history_basis)
        own -= own.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        gram = (sources.T @ sources).astype(float) / n_rows
        values, vectors = np.linalg.eigh(gram)
        y = np.ascontiguousarray(counts[rows].T, dtype=np.float32)
        return cls(sources, own, y, n_basis, np.maximum(values, 0.0), vectors)

    def part(self, rows: slice) -> Design:
        """The same on some rows: views, with the Gram matrix of all."""
        return Design(self.sources[rows], self.own[:, rows], self.y[:, rows], self.n_basis, self.values, self.vectors)


@dataclass
class Coefficients:
    """Of each target: (n_targets, 1 + n_history_basis + n_columns), constant and own history first."""

    values: Array
    targets: Rows
    n_own: int

    def coupling(self, n_basis: int) -> Array:
        """(n_targets, n_neurons, n_basis)"""
        return self.values[:, 1 + self.n_own :].reshape(len(self.targets), -1, n_basis)


def fit_targets(
    design: Design, targets: Rows, family: Family, penalty: float, own_penalty: float, start: Array | None = None
) -> Coefficients:
    """Maximize the penalized likelihood of every target.

    Parameters
    ----------
    design : Design
    targets : array of int
    family : Bernoulli or Poisson
    penalty, own_penalty : float
        Precisions of Gaussian priors, on the coefficients of sources and on all others.
    start : array (n_targets, n_coefficients), optional
        Where to begin; by default at each target's rate without couplings.
    """
    n_own, n_columns = design.own.shape[-1], design.sources.shape[1]
    first = 1 + n_own
    precision = np.full(first + n_columns, float(own_penalty))
    precision[first:] = penalty
    if start is None:
        start = np.zeros((len(targets), first + n_columns))
        start[:, 0] = family.link(design.y[targets].mean(axis=1, dtype=np.float64))
    metric = _Metric.of(design, targets, family, penalty, own_penalty)
    theta, eta = start.copy(), predictor(design, targets, start)
    objective = _objective(family, eta, design.y[targets], theta, precision)
    gradient = _gradient(design, targets, family, eta, theta, precision)
    past = [_Past() for _ in targets]
    active = np.arange(len(targets))
    for _ in range(MAX_STEPS):
        steps = np.stack([past[k].direction(gradient[k], lambda g, k=k: metric.solve(k, g)) for k in active])
        gain = np.einsum("kp,kp->k", gradient[active], steps)
        going = gain > 2 * TOLERANCE
        active, steps, gain = active[going], steps[going], gain[going]
        if not len(active):
            break
        along = predictor(design, targets[active], steps)
        size, reached = _step_sizes(
            family, eta, along, design.y, targets, theta, steps, precision, objective, gain, active
        )
        moved = size[:, None] * steps
        theta[active] += moved
        eta[active] += size[:, None].astype(np.float32) * along
        objective[active] = reached
        new = _gradient(design, targets[active], family, eta[active], theta[active], precision)
        for row, k in enumerate(active):
            past[k].add(moved[row], gradient[k] - new[row])
        gradient[active] = new
        active = active[size > 0]  # where no step helps, single precision is exhausted
    return Coefficients(theta, targets, n_own)


def choose_penalty(design: Design, family: Family, own_penalty: float) -> tuple[float, Array]:
    """Return the precision under which held-out bins of some targets are most likely, and their mean losses.

    The targets are spread evenly over the neurons; one block of time at the end is held out.

    Returns
    -------
    penalty : float
        One of `PENALTIES`.
    losses : array (n_penalties,)
        Negative log-likelihood of a held-out bin, in nats, up to a constant.
    """
    n, n_rows = design.y.shape
    targets = np.unique(np.linspace(0, n - 1, min(n, N_JUDGES)).round().astype(int))
    border = round((1 - HELD_OUT) * n_rows)
    train, held_out = design.part(slice(0, border)), design.part(slice(border, None))
    losses, start = [], None
    for penalty in PENALTIES[::-1]:  # from strong to weak: each begins where the last one ended
        found = fit_targets(train, targets, family, penalty, own_penalty, start)
        start = found.values
        eta = predictor(held_out, targets, start)
        losses.append(float(family.losses(eta, held_out.y[targets]).mean()) / held_out.y.shape[1])
    losses = np.array(losses[::-1])
    return PENALTIES[int(losses.argmin())], losses


def covariances(design: Design, found: Coefficients, family: Family, penalty: float) -> Array:
    """Inverse penalized information of each source's coefficients, (n_targets, n_neurons, n_basis, n_basis).

    The information weights each bin by the variance of the target's count there. Here its mean stands for it, and each
    coefficient's variance is corrected by how much more, or less, the bins in which its source speaks weigh.
    """
    n_columns = design.sources.shape[1]
    variance = family.variance(family.mean(predictor(design, found.targets, found.values)))
    mean = variance.mean(axis=1, dtype=np.float64)
    felt, plain = np.zeros((len(found.targets), n_columns)), np.zeros(n_columns)
    for first in range(0, len(design.sources), CHUNK):
        squared = design.sources[first : first + CHUNK] ** 2
        felt += variance[:, first : first + CHUNK] @ squared
        plain += squared.sum(axis=0)
    more = (felt / mean[:, None] / plain).reshape(len(found.targets), -1, design.n_basis)
    out = []
    for rate, weight in zip(mean, more, strict=True):
        scaled = design.vectors / np.sqrt(len(design.sources) * rate * design.values + penalty)
        blocks = scaled.reshape(-1, design.n_basis, n_columns)
        out.append(blocks @ blocks.transpose(0, 2, 1) / np.sqrt(weight[:, :, None] * weight[:, None, :]))
    return np.stack(out)


def predictor(design: Design, targets: Rows, theta: Array) -> NDArray[np.float32]:
    """Linear predictor, (n_targets, n_rows)."""
    first = 1 + design.own.shape[-1]
    theta = theta.astype(np.float32)
    eta = theta[:, first:] @ design.sources.T
    for k, j in enumerate(targets):
        eta[k] += design.own[j] @ theta[k, 1:first] + theta[k, 0]
    return eta


def _objective(family, eta, y, theta, precision) -> Array:
    return family.losses(eta, y) + 0.5 * (theta**2 @ precision)


def _gradient(design, targets, family, eta, theta, precision) -> Array:
    """Of minus the objective, (n_targets, n_coefficients); nothing moves a neuron's coupling to itself."""
    left = design.y[targets] - family.mean(eta).astype(np.float32)
    own = np.stack([left[k] @ design.own[j] for k, j in enumerate(targets)])
    total = left.sum(axis=1, dtype=np.float64)[:, None]
    out = np.hstack([total, own, left @ design.sources]) - precision * theta
    out[_themselves(design, targets)] = 0.0
    return out


def _themselves(design, targets):
    """Indices (rows, columns) of the coefficients that would couple a target to itself."""
    column = 1 + design.own.shape[-1] + targets[:, None] * design.n_basis + np.arange(design.n_basis)
    return np.arange(len(targets))[:, None], column


def _information(design, rate, family):
    return len(design.sources) * float(family.variance(np.float64(rate)))


def _step_sizes(family, eta, along, y, targets, theta, steps, precision, objective, gain, active):
    """For each target 1, halved until the objective falls by a share of what its slope promises; 0 if never.

    With the objectives that are reached.
    """
    size, after, open_ = np.zeros(len(active)), objective[active], np.arange(len(active))
    for halving in range(HALVINGS):
        trial = 0.5**halving
        k = active[open_]
        reached = _objective(
            family, eta[k] + np.float32(trial) * along[open_], y[targets[k]], theta[k] + trial * steps[open_], precision
        )
        enough = reached <= objective[k] - 1e-4 * trial * gain[open_]
        size[open_[enough]], after[open_[enough]] = trial, reached[enough]
        open_ = open_[~enough]
        if not len(open_):
            break
    return size, after


@dataclass(frozen=True)
class _Metric:
    """The inverse of nearly the information: of constant, own history, and sources, each by itself."""

    blocks: Array  # (n_targets, 1 + n_own, 1 + n_own)
    scale: Array  # (n_targets, n_columns)
    vectors: Array
    mask: tuple

    @classmethod
    def of(cls, design, targets, family, penalty, own_penalty):
        rates = design.y[targets].mean(axis=1, dtype=np.float64)
        blocks, scale = [], []
        for j, rate in zip(targets, rates, strict=True):
            weight = float(family.variance(rate))
            own = np.zeros((design.own.shape[-1] + 1,) * 2)
            own[0, 0] = len(design.sources)
            own[1:, 1:] = design.own[j].T @ design.own[j]
            blocks.append(np.linalg.inv(weight * own + own_penalty * np.eye(len(own))))
            scale.append(1 / (_information(design, rate, family) * design.values + penalty))
        return cls(np.stack(blocks), np.stack(scale), design.vectors, _themselves(design, targets)[1])

    def solve(self, k: int, gradient: Array) -> Array:
        first = self.blocks.shape[-1]
        sources = self.vectors @ (self.scale[k] * (gradient[first:] @ self.vectors))
        out = np.concatenate([self.blocks[k] @ gradient[:first], sources])
        out[self.mask[k]] = 0.0
        return out


class _Past:
    """The last steps of one target and how the gradient changed: L-BFGS (Nocedal 1980, Math. Comp. 35:773)."""

    def __init__(self):
        self.pairs = []

    def add(self, moved: Array, change: Array) -> None:
        """`change`: by which minus the gradient of the objective fell."""
        curvature = moved @ change
        if curvature > 1e-12 * np.linalg.norm(moved) * np.linalg.norm(change) > 0:
            self.pairs = [*self.pairs, (moved, change, curvature)][-MEMORY:]

    def direction(self, gradient: Array, solve) -> Array:
        q, shares = gradient.copy(), []
        for moved, change, curvature in reversed(self.pairs):
            shares.append(moved @ q / curvature)
            q -= shares[-1] * change
        out = solve(q)
        for (moved, change, curvature), share in zip(self.pairs, reversed(shares), strict=True):
            out += (share - change @ out / curvature) * moved
        return out

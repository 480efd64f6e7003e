"""Robust regressions of many targets on the same sources: what they share is computed once.

Every target has columns of its own, and scales the sources by its own gain, so no two regressions have the same normal
matrix. But a gain hardly follows the sources, so the matrix of the sources without it, inverted once, stands for
all: it preconditions the conjugate gradients that solve the regressions of many targets at once, and it says what of a
source no other source shows, which is what a coefficient is tested by.

With n rows, p columns of sources and m targets, a step costs n p m, and so do the tests, instead of n p² m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from causalkit.methods.robust_wald import GroupTests, bartlett_bandwidth, factor_of_gram, white

Array = NDArray[np.float64]

MAX_ITERATIONS = 40  # of conjugate gradients
TOLERANCE, TOLERANCE_OF_STEP = 0.02, 0.2  # what they leave of a residual's norm
NEGLIGIBLE = 1e-5  # of a target's own columns, scaled to size 1: directions with less are rounding errors
ROWS_AT_ONCE = 1 << 14


class SharedSources:
    """Sources on some rows, and the inverse of their normal matrix.

    Attributes
    ----------
    x : tensor (n_rows, n_neurons * group_size)
    precision : tensor (n_neurons * group_size, n_neurons * group_size)
        The inverse of x'x; zero for columns of zeros.
    alone : tensor (n_rows, n_neurons * group_size)
        What of each column no other one shows, scaled to a product of 1 with it.
    leverage : tensor (n_rows,)
        The last two after `ready_for_tests` only: they are as large as `x`.
    """

    def __init__(self, sources: NDArray):
        self.n_neurons, self.group_size = sources.shape[1:]
        self.x = torch.as_tensor(sources.reshape(len(sources), -1), dtype=torch.float32)
        gram = np.zeros((self.x.shape[1],) * 2)
        for part in self.x.split(ROWS_AT_ONCE):
            gram += (part.T @ part).numpy()
        (factor, _), dead = factor_of_gram(gram)
        self.alive = torch.as_tensor(~dead)
        self.precision = torch.cholesky_inverse(torch.as_tensor(factor)).float() * self.alive

    def ready_for_tests(self) -> SharedSources:
        """Compute what only tests ask for, once, before threads share it."""
        self.alone = self.x @ self.precision
        self.leverage = (self.alone * self.x).sum(dim=1)
        return self

    def groups(self, values: torch.Tensor) -> torch.Tensor:
        """The last axis as (n_neurons, group_size)."""
        return values.unflatten(-1, (self.n_neurons, self.group_size))

    def products(self, a, b, weight=None) -> torch.Tensor:
        """Sums over rows of the products of the columns of each group, (n_neurons, group_size, group_size)."""
        total = 0
        for start in range(0, len(a), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            left = a[rows] if weight is None else a[rows] * weight[rows, None]
            total = total + (self.groups(left).permute(1, 2, 0) @ self.groups(b[rows]).permute(1, 0, 2)).double()
        return total


@dataclass
class OwnColumns:
    """Columns of each target on the rows of one fold, used as combinations of themselves that are orthonormal.

    The combinations are never written out, only the small matrices that make them.

    Attributes
    ----------
    x : tensor (n_targets, n_columns, n_rows)
    keep : tensor (n_rows,), optional
        0 where a row is left out.
    """

    x: torch.Tensor
    keep: torch.Tensor | None = None
    combinations: torch.Tensor | None = None

    def __post_init__(self):
        if self.combinations is None:
            self.combinations = _orthonormal_combinations(self.x)

    @property
    def n_rows(self) -> int:
        return self.x.shape[-1]

    def combined(self, coefficients) -> torch.Tensor:
        """The sum of the orthonormal columns, each times its coefficient, (n_targets, n_rows)."""
        total = ((coefficients[:, None] @ self.combinations) @ self.x)[:, 0]  # a row by a matrix: fast
        return total if self.keep is None else total * self.keep

    def products(self, values) -> torch.Tensor:
        """Of the orthonormal columns with values (n_targets, n_rows) that are 0 in rows left out."""
        return ((values[:, None] @ self.x.transpose(1, 2)) @ self.combinations.transpose(1, 2))[:, 0]

    def take_out(self, k: int, x) -> None:
        """Subtract from `x` (n_rows, n_others) what the columns of a target explain of it."""
        mixed = self.combinations[k].T @ (self.combinations[k] @ (self.x[k] @ x))
        x.addmm_(self.x[k].T, mixed, alpha=-1)

    def leverage(self, k: int) -> torch.Tensor:
        return ((self.combinations[k] @ self.x[k]) ** 2).sum(dim=0)


def _orthonormal_combinations(x) -> torch.Tensor:
    """Rows of weights that make orthonormal columns, (n_targets, n_columns, n_columns); zeros for those left over."""
    gram = (x @ x.transpose(-1, -2)).double()
    size = gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-60).rsqrt()
    sizes, directions = torch.linalg.eigh(gram * size[..., None] * size[..., None, :])
    scale = torch.where(sizes > NEGLIGIBLE, sizes.clamp_min(NEGLIGIBLE).rsqrt(), 0.0)
    return ((directions * scale[..., None, :]).transpose(-1, -2) * size[..., None, :]).float()


class Regressions:
    """Those of some targets: y = own columns + gain * sources + error, by Huber's loss.

    Parameters
    ----------
    sources : SharedSources
    neurons : array (n_targets,)
        Their positions among the sources: no target is a source of its own.
    own : list of OwnColumns
        Of each fold; its rows are those of `sources`, the first fold's first.
    gain, y : tensor (n_targets, n_rows)
    limit : tensor (n_targets,)
        Where the loss turns linear.
    """

    def __init__(self, sources: SharedSources, neurons, own: list[OwnColumns], gain, y, limit):
        self.sources, self.neurons, self.own, self.gain, self.y = sources, neurons, own, gain, y
        self.limit = limit[:, None]
        allowed = sources.groups(sources.alive).repeat(len(neurons), 1, 1)
        allowed[torch.arange(len(neurons)), torch.as_tensor(neurons)] = False
        self._allowed = allowed.flatten(1)
        self._mean_weight = (gain**2).mean(dim=1, keepdim=True).clamp_min(1e-12)

    def only(self, rows: slice) -> Regressions:
        """The same as if only some rows were there: the others are zero."""
        keep = torch.zeros(self.y.shape[1])
        keep[rows] = 1
        own = [replace(part, keep=inside) for part, inside in zip(self.own, self._by_fold(keep), strict=True)]
        return Regressions(self.sources, self.neurons, own, self.gain * keep, self.y * keep, self.limit[:, 0])

    def fit(self, max_steps: int):
        """Coefficients: least squares, then residuals that are cut at the limit are regressed again.

        Returns
        -------
        own : list of tensors (n_targets, n_own)
        w : tensor (n_targets, n_neurons * group_size)
            Of the sources.
        """
        coefficients = self._least_squares(self.y, TOLERANCE)
        for _ in range(max_steps):
            step = self._least_squares(self.psi(coefficients), TOLERANCE_OF_STEP)
            coefficients = [a + b for a, b in zip(coefficients, step, strict=True)]
            if (self._forecast(step).abs().amax(dim=1, keepdim=True) < 0.01 * self.limit).all():
                break
        return coefficients[:-1], coefficients[-1]

    def of_own(self, own):
        """What the own columns explain, (n_targets, n_rows)."""
        return torch.cat([columns.combined(a) for columns, a in zip(self.own, own, strict=True)], dim=1)

    def of_sources(self, w):
        """What the sources explain, (n_targets, n_rows)."""
        return self.gain * (w @ self.sources.x.T)

    def psi(self, coefficients):
        """Residuals, cut at the limit."""
        return (self.y - self._forecast(coefficients)).clamp(-self.limit, self.limit)

    def tests(self) -> list[GroupTests]:
        """Test the sources of each target, given all others, by a sandwich as in `robust_wald.wald_of_groups`.

        Errors that are not white are summed over windows that do not overlap.
        """
        own, w = self.fit(max_steps=10)
        residual = self.y - self._forecast([*own, w])
        return [self._test(k, self.sources.groups(w[k]), residual[k]) for k in range(len(self.neurons))]

    def _test(self, k: int, coefficients, residual) -> GroupTests:
        sources, gain, limit = self.sources, self.gain[k], self.limit[k]
        psi, core = residual.clamp(-limit, limit), (residual.abs() <= limit).float()
        leverage = self._leverage(k, core, core * gain**2)
        width = 1 if white(psi.double().numpy()) else bartlett_bandwidth(psi.double().numpy())
        seen = self._without_own(k, gain[:, None] * sources.alone)
        gone = torch.diag_embed((~sources.groups(sources.alive)).double())  # columns of zeros
        bread = sources.products(seen, sources.x, core * gain) + gone
        influence = _window_sums(seen, psi / (1 - leverage), width)
        half = torch.linalg.solve(bread, sources.products(influence, influence))
        covariance = torch.linalg.solve(bread, half.transpose(1, 2)) + gone
        weight = _window_sums(seen.square_(), torch.ones(len(psi)), width)  # what each window adds to a variance
        windows = weight.sum(dim=0) ** 2 / (weight**2).sum(dim=0)  # Satterthwaite's number of those that decide
        windows = sources.groups(windows.nan_to_num(nan=len(psi))).amin(dim=1).double().numpy()
        n_columns = sum(part.x.shape[1] for part in self.own) + int(sources.alive.sum())
        others = np.arange(sources.n_neurons) != self.neurons[k]
        return GroupTests(
            coefficients=coefficients.double().numpy()[others],
            covariance=covariance.numpy()[others],
            df=sources.groups(sources.alive).sum(dim=1).numpy()[others],
            residual_df=np.clip(windows, 1, max(len(psi) - n_columns, 1) / width)[others],
            bandwidth=width,
        )

    def _without_own(self, k: int, x):
        """What the own columns of a target do not explain of `x` (n_rows, n_columns), which is overwritten."""
        for own, part in zip(self.own, x.split([part.n_rows for part in self.own]), strict=True):
            own.take_out(k, part)
        return x

    def _by_fold(self, values):
        return values.split([part.n_rows for part in self.own], dim=-1)

    def _forecast(self, coefficients):
        return self.of_own(coefficients[:-1]) + self.of_sources(coefficients[-1])

    def _products(self, values):
        """Of all columns with some values (n_targets, n_rows)."""
        own = [columns.products(part) for columns, part in zip(self.own, self._by_fold(values), strict=True)]
        return [*own, ((self.gain * values) @ self.sources.x) * self._allowed]

    def _least_squares(self, y, tolerance):
        """Conjugate gradients on the normal equations, in step for all targets, each with its own step length."""
        residual = self._products(y)
        coefficients = [torch.zeros_like(part) for part in residual]
        direction = step = self._precondition(residual)
        size = first = _dot(residual, step)
        for _ in range(MAX_ITERATIONS):
            image = self._products(self._forecast(direction))
            alpha = size / _dot(direction, image).clamp_min(1e-30)
            coefficients = [c + alpha * d for c, d in zip(coefficients, direction, strict=True)]
            residual = [r - alpha * i for r, i in zip(residual, image, strict=True)]
            step = self._precondition(residual)
            previous, size = size, _dot(residual, step)
            if (size < tolerance**2 * first).all():
                break
            beta = size / previous.clamp_min(1e-30)
            direction = [s + beta * d for s, d in zip(step, direction, strict=True)]
        return coefficients

    def _precondition(self, products):
        """What the coefficients would be if the gain were even, and the own columns told nothing of the sources."""
        return [*products[:-1], (products[-1] @ self.sources.precision) * self._allowed / self._mean_weight]

    def _leverage(self, k: int, core, weight):
        """How far each row pulls its own fit, (n_rows,): by its sources, and by its own columns."""
        of_own = torch.cat([own.leverage(k) for own in self.own])
        return (self.sources.leverage * weight / weight.mean() + of_own * core).clamp(0, 0.5)


def _dot(a, b):
    """Inner products over all coefficients of a target, (n_targets, 1)."""
    return sum((x * y).sum(dim=1, keepdim=True) for x, y in zip(a, b, strict=True))


def _window_sums(x, factor, width: int):
    """Sums of the rows of `x`, times their `factor`, over windows that do not overlap, (n_windows, n_columns)."""
    if width == 1:
        return x * factor[:, None]
    n = len(x) // width * width
    sums = (factor[:n].view(-1, 1, width) @ x[:n].view(-1, width, x.shape[1]))[:, 0]
    if n == len(x):
        return sums
    return torch.cat([sums, factor[None, n:] @ x[n:]])

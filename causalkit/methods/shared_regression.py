"""Robust regressions of many targets on the same sources: what they share is computed once.

Every target has columns of its own, and scales the sources by its own gain, so no two regressions have the same normal
matrix. Own columns are few: made orthonormal, they are eliminated by what they share with the sources. The rest is
solved for many targets at once by conjugate gradients, which need no normal matrix. A gain hardly follows the sources,
so the matrix of the sources without it, inverted once, preconditions them, and it says what of a source no other source
shows, which is what a coefficient is tested by.

With n rows, p columns of sources, q own columns and m targets, a step costs n p m, and elimination and tests cost
n p q m, instead of n p² m.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from causalkit.methods.robust_wald import GroupTests, bartlett_bandwidth, factor_of_gram, white

Array = NDArray[np.float64]

MAX_ITERATIONS = 40  # of conjugate gradients
TOLERANCE, TOLERANCE_OF_STEP = 0.005, 0.1  # what they leave of a residual's norm
NEGLIGIBLE = 1e-5  # of a target's own columns, scaled to size 1: directions with less are rounding errors
ROWS_AT_ONCE = 1 << 14
VALUES_IN_CACHE = 1 << 18  # of the sources that are read several times: what fits into a cache is twice as fast
ROUNDING = 1e-6  # share by which a diagonal is raised: columns that are alike differ by single precision's errors only


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
        self.alive = torch.as_tensor(gram.diagonal() > 0)
        self.precision = _inverse(torch.as_tensor(gram))

    def ready_for_tests(self) -> SharedSources:
        """Compute what only tests ask for, once, before threads share it."""
        self.alone = self.x @ self.precision
        self.leverage = (self.alone * self.x).sum(dim=1)
        return self

    def groups(self, values: torch.Tensor) -> torch.Tensor:
        """The last axis as (n_neurons, group_size)."""
        return values.unflatten(-1, (self.n_neurons, self.group_size))

    def products(self, a, b) -> torch.Tensor:
        """Sums over rows of the products of the columns of each group, (n_neurons, group_size, group_size)."""
        return (self.groups(a).permute(1, 2, 0) @ self.groups(b).permute(1, 0, 2)).double()

    def only(self, rows: slice) -> SharedSources:
        """Some of the rows, with the inverse of all, for fits; tests ask for all rows."""
        part = copy.copy(self)
        part.x = self.x[rows]
        return part


class OwnColumns:
    """Columns of each target on the rows of one fold, used as combinations of themselves that are orthonormal.

    The combinations are never written out, only the small matrices that make them.

    Attributes
    ----------
    x : tensor (n_targets, n_columns, n_rows)
    combinations : tensor (n_targets, n_columns, n_columns)
        Weights of the columns, a row for each orthonormal one.
    """

    def __init__(self, x: torch.Tensor):
        self.x, self.combinations = x, _orthonormal_combinations(x)

    @property
    def n_rows(self) -> int:
        return self.x.shape[-1]

    def combined(self, coefficients) -> torch.Tensor:
        """The sum of the columns, each times its coefficient, (n_targets, n_rows)."""
        return (coefficients[:, None] @ self.x)[:, 0]

    def products(self, values) -> torch.Tensor:
        """Of the orthonormal columns with values (n_targets, n_rows)."""
        return ((values[:, None] @ self.x.transpose(1, 2)) @ self.combinations.transpose(1, 2))[:, 0]

    def products_with(self, gain, sources) -> torch.Tensor:
        """Of the orthonormal columns with each target's gain times the sources, (n_targets, n_columns, n_sources)."""
        products = [(x * weight) @ sources for x, weight in zip(self.x, gain[:, None], strict=True)]
        return self.combinations @ torch.stack(products)

    def coefficients_of(self, orthonormal) -> torch.Tensor:
        """Coefficients of the columns, from those of the orthonormal ones, (n_targets, n_columns)."""
        return (orthonormal[:, None] @ self.combinations)[:, 0]

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
        self._weight = gain**2
        self._mean_weight = self._weight.mean(dim=1, keepdim=True).clamp_min(1e-12)
        self._shared = [
            columns.products_with(weight, x)
            for columns, weight, x in zip(own, self._by_fold(gain), self._by_fold(sources.x, 0), strict=True)
        ]

    def only(self, rows: slice) -> Regressions:
        """The same of some of the rows, from a start to a stop, to be fitted; folds that are outside are left out."""
        own, start = [], 0
        for part in self.own:
            inside = part.x[..., max(rows.start - start, 0) : max(rows.stop - start, 0)]
            own += [OwnColumns(inside)] if inside.shape[-1] else []
            start += part.n_rows
        at = self.gain[:, rows], self.y[:, rows]
        return Regressions(self.sources.only(rows), self.neurons, own, *at, self.limit[:, 0])

    def fit(self, max_steps: int):
        """Coefficients: least squares, then residuals that are cut at the limit are regressed again.

        Returns
        -------
        own : list of tensors (n_targets, n_own)
        w : tensor (n_targets, n_neurons * group_size)
            Of the sources.
        residual : tensor (n_targets, n_rows)
        """
        own, w = self._least_squares(self.y, TOLERANCE)
        residual = self.y - self._forecast(own, w)
        for _ in range(max_steps):
            step, v = self._least_squares(residual.clamp(-self.limit, self.limit), TOLERANCE_OF_STEP)
            own, w, explained = [a + b for a, b in zip(own, step, strict=True)], w + v, self._forecast(step, v)
            residual -= explained
            if (explained.abs().amax(dim=1, keepdim=True) <= 0.01 * self.limit).all():
                break
        return own, w, residual

    def of_own(self, own):
        """What the own columns explain, (n_targets, n_rows)."""
        return torch.cat([columns.combined(a) for columns, a in zip(self.own, own, strict=True)], dim=1)

    def of_sources(self, w):
        """What the sources explain, (n_targets, n_rows)."""
        return self.gain * (w @ self.sources.x.T)

    def tests(self, alone: bool = False) -> list[GroupTests]:
        """Test the sources of each target, given all others, by a sandwich as in `robust_wald.wald_of_groups`.

        Errors that are not white are summed over windows that do not overlap. What a source shows of its own is what
        it shows among the sources that all targets share, or, `alone`, by the normal matrix of each target itself.
        """
        _, w, residual = self.fit(max_steps=10)
        return [self._test(k, self.sources.groups(w[k]), residual[k], alone) for k in range(len(self.neurons))]

    def _test(self, k: int, coefficients, residual, alone: bool) -> GroupTests:
        sources, gain, limit = self.sources, self.gain[k], self.limit[k]
        psi, core = residual.clamp(-limit, limit), (residual.abs() <= limit).float()
        width = 1 if white(psi.double().numpy()) else bartlett_bandwidth(psi.double().numpy())
        leverage, seen_of = self._alone(k, core) if alone else (self._leverage(k, core), self._seen(k))
        bread, meat, weight, squares = 0, 0, 0, 0
        pull, counted = psi / (1 - leverage), core * gain
        step = max(1, VALUES_IN_CACHE // sources.x.shape[1] // width) * width  # whole windows, but for the last
        for start in range(0, len(psi), step):
            rows = slice(start, min(start + step, len(psi)))
            seen = seen_of(rows)
            bread = bread + sources.products(seen * counted[rows, None], sources.x[rows])
            influence = _window_sums(seen, pull[rows], width)
            meat = meat + sources.products(influence, influence)
            of_window = _window_sums(seen.square(), torch.ones(len(seen)), width)  # what it adds to a variance
            weight, squares = weight + of_window.sum(dim=0).double(), squares + of_window.square_().sum(dim=0).double()
        gone = torch.diag_embed((~sources.groups(self._allowed[k])).double())  # columns of zeros, and of the target
        half = torch.linalg.solve(bread + gone, meat)
        covariance = torch.linalg.solve(bread + gone, half.transpose(1, 2)) + gone
        windows = weight**2 / squares  # Satterthwaite's number of those that decide
        windows = sources.groups(windows.nan_to_num(nan=len(psi))).amin(dim=1).numpy()
        n_columns = sum(part.x.shape[1] for part in self.own) + int(sources.alive.sum())
        others = np.arange(sources.n_neurons) != self.neurons[k]
        return GroupTests(
            coefficients=coefficients.double().numpy()[others],
            covariance=covariance.numpy()[others],
            df=sources.groups(sources.alive).sum(dim=1).numpy()[others],
            residual_df=np.clip(windows, 1, max(len(psi) - n_columns, 1) / width)[others],
            bandwidth=width,
        )

    def _alone(self, k: int, core):
        """Leverage and `_seen`, from the normal matrix of a target itself."""
        own = torch.block_diag(*[(part.combinations[k] @ part.x[k]).T for part in self.own])
        n_own = own.shape[1]
        x = torch.cat([own, self.gain[k, :, None] * self.sources.x * self._allowed[k]], dim=1)
        shown = x @ _inverse((x * core[:, None]).T @ x)
        leverage = ((shown * x).sum(dim=1) * core).clamp(0, 0.5)
        return leverage, lambda rows: shown[rows, n_own:]

    def _leverage(self, k: int, core):
        """How far each row pulls its own fit, (n_rows,): by its sources, and by its own columns."""
        weight, of_own = core * self._weight[k], torch.cat([own.leverage(k) for own in self.own])
        return (self.sources.leverage * weight / weight.mean() + of_own * core).clamp(0, 0.5)

    def _seen(self, k: int) -> Callable[[slice], torch.Tensor]:
        """What of the sources of a target no other source and no own column shows, at some rows."""
        explained = [
            columns.combinations[k].T @ (shared[k] @ self.sources.precision)
            for columns, shared in zip(self.own, self._shared, strict=True)
        ]

        def seen(rows: slice) -> torch.Tensor:
            left, first = self.gain[k, rows, None] * self.sources.alone[rows], 0
            for columns, coefficients in zip(self.own, explained, strict=True):
                start, stop = max(rows.start, first), min(rows.stop, first + columns.n_rows)
                if start < stop:
                    own = columns.x[k, :, start - first : stop - first]
                    left[start - rows.start : stop - rows.start].addmm_(own.T, coefficients, alpha=-1)
                first += columns.n_rows
            return left

        return seen

    def _by_fold(self, values, dim=-1):
        return values.split([part.n_rows for part in self.own], dim=dim)

    def _forecast(self, own, w):
        return self.of_own(own) + self.of_sources(w)

    def _products(self, values):
        """Of the sources that each target may have with some values (n_targets, n_rows)."""
        return (values @ self.sources.x) * self._allowed

    def _least_squares(self, y, tolerance):
        """Coefficients of own columns and of sources: conjugate gradients on what own columns leave of the normal
        equations, in step for all targets, each with its own step length."""
        of_own = [columns.products(part) for columns, part in zip(self.own, self._by_fold(y), strict=True)]
        residual = self._products(self.gain * y) - self._of_shared(of_own)
        w = torch.zeros_like(residual)
        direction = step = self._precondition(residual)
        size = first = _dot(residual, step)
        for _ in range(MAX_ITERATIONS):
            image = self._image(direction)
            alpha = size / _dot(direction, image).clamp_min(1e-30)
            w, residual = w + alpha * direction, residual - alpha * image
            step = self._precondition(residual)
            previous, size = size, _dot(residual, step)
            if (size <= tolerance**2 * first).all():
                break
            direction = step + size / previous.clamp_min(1e-30) * direction
        left = zip(self.own, of_own, self._shared, strict=True)
        return [columns.coefficients_of(q - _times(shared, w)) for columns, q, shared in left], w

    def _image(self, w):
        """The normal matrix of the sources, own columns taken out, times coefficients (n_targets, n_columns)."""
        x, total = self.sources.x, 0
        step = max(1, VALUES_IN_CACHE // x.shape[1])
        for part, weight in zip(x.split(step), self._weight.split(step, dim=1), strict=True):
            total = total + (weight * (w @ part.T)) @ part
        return total * self._allowed - self._of_shared([_times(shared, w) for shared in self._shared])

    def _of_shared(self, of_own):
        """Products of the sources with what orthonormal columns explain, (n_targets, n_columns)."""
        return sum(_times(shared.mT, a) for shared, a in zip(self._shared, of_own, strict=True)) * self._allowed

    def _precondition(self, products):
        """What the coefficients would be if the gain were even, and the own columns told nothing of the sources."""
        return (products @ self.sources.precision) * self._allowed / self._mean_weight


def _inverse(gram) -> torch.Tensor:
    """The inverse of a Gram matrix, zero for columns of zeros."""
    gram = gram.double()
    (factor, _), dead = factor_of_gram((gram + ROUNDING * gram.diagonal().diag()).numpy())
    return torch.cholesky_inverse(torch.as_tensor(factor)).float() * torch.as_tensor(~dead)


def _times(matrix, vector):
    """A matrix by a vector, for each target."""
    return (matrix @ vector[..., None])[..., 0]


def _dot(a, b):
    """Inner products over all coefficients of a target, (n_targets, 1)."""
    return (a * b).sum(dim=1, keepdim=True)


def _window_sums(x, factor, width: int):
    """Sums of the rows of `x`, times their `factor`, over windows that do not overlap, (n_windows, n_columns)."""
    if width == 1:
        return x * factor[:, None]
    n = len(x) // width * width
    sums = (factor[:n].view(-1, 1, width) @ x[:n].view(-1, width, x.shape[1]))[:, 0]
    if n == len(x):
        return sums
    return torch.cat([sums, factor[None, n:] @ x[n:]])

"""How many lags of the sources a recording shows: nested regressions, all from one factorization a fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from causalkit.methods.blocks import BLOCK_VALUES
from causalkit.methods.robust_wald import factor_of_gram
from causalkit.methods.source_features import LaggedFeatures
from causalkit.methods.threads import side_by_side

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MAX_COLUMNS = 1 / 3  # of the rows: a regression with more follows noise


class LagChoice:
    """Number of lags, the same for all pairs, by the criterion of linear regressions on 1, 2, ... lags.

    Columns are ordered by lag, so that the leading part of a Cholesky factor is that of the regression with fewer lags.

    Parameters
    ----------
    sources : LaggedFeatures
    train : list of arrays
        Training rows of each fold.
    max_lag : int
    """

    def __init__(self, sources: LaggedFeatures, train: list[Rows], max_lag: int):
        self.sources, self.train, n_features = sources, train, sources.features.shape[1:]
        alive = int(sources.features.any(axis=0).sum())  # columns a lag that are not all zero
        fewest = min(map(len, train))
        self.n_lags = max(1, min(max_lag, int((MAX_COLUMNS * fewest - 1) // max(alive, 1))))
        self.columns = 1 + np.arange(1, self.n_lags + 1) * int(np.prod(n_features))
        self.factors = side_by_side(self._factor, train)

    def __call__(self, residual: list[Array], strict: bool = False) -> int:
        """Choose by Akaike's criterion (small-sample form).

        `strict` is for residuals of a response that is not good yet, in which anything explains a little: then by
        Schwarz's criterion.

        Parameters
        ----------
        residual : list of arrays (n_rows of the fold, n_neurons)
            What is left of the targets without sources, large values clipped.
        strict : bool
        """
        folds = zip(self.train, residual, self.factors, strict=True)
        return int(np.argmin(sum(side_by_side(lambda fold: self._criterion(*fold, strict), folds)))) + 1

    def _factor(self, rows: Rows):
        gram = np.zeros((self.columns[-1],) * 2)
        for _, x in self._blocks(rows):
            gram += x.T @ x
        return factor_of_gram(gram)

    def _criterion(self, rows: Rows, r: Array, factor_and_dead, strict: bool) -> Array:
        """Of 1, 2, ... lags in one fold."""
        (factor, _), dead = factor_and_dead
        n, n_neurons = r.shape
        products = sum(x.T @ r[chosen] for chosen, x in self._blocks(rows))
        explained = linalg.solve_triangular(factor, products, lower=True, check_finite=False) ** 2
        explained = np.cumsum(explained, axis=0)[self.columns - 1]
        n_columns = np.cumsum(~dead)[self.columns - 1]
        left = np.maximum((r**2).sum(axis=0) - explained, 1e-300)
        penalty = n_columns * (np.log(n) if strict else 2 * n / np.maximum(n - n_columns - 1, 1))
        return n * np.log(left).sum(axis=1) + n_neurons * penalty

    def _blocks(self, rows: Rows):
        """The columns on some rows at a time: a constant, all of lag 1, all of lag 2, ..."""
        n_neurons, n_features = self.sources.features.shape[1:]
        step = max(BLOCK_VALUES // self.columns[-1], 1)
        for start in range(0, len(rows), step):
            chosen = slice(start, start + step)
            x = self.sources.at(self.n_lags, rows[chosen]).reshape(-1, n_neurons, self.n_lags, n_features)
            x = x.transpose(0, 2, 1, 3).reshape(len(x), -1)
            yield chosen, np.hstack([np.ones((len(x), 1)), x])

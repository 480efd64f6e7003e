"""Independence of variables that depend on each other along curves: partial correlations of several functions each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermevander
from scipy.special import chdtrc

from .pag import Node
from .time_series import lagged_nodes, lagged_samples

__all__ = ["BasisIndependence", "basis_independence"]

BOUND = 4.0  # standard deviations: beyond, a cube would let few samples decide


class BasisIndependence:
    """Independence of groups of variables that are jointly normal: Wilks' likelihood ratio, given other groups.

    Each node is a group of columns, for example of a variable and its square. Two nodes are taken for independent if
    no combination of the one's columns is correlated with one of the other's, those of the given nodes regressed out.
    With a column a node it is the test of `PartialCorrelation`, but for terms of the order of 1 / n_samples.

    Parameters
    ----------
    covariance : array, (n_columns, n_columns)
        Of all columns, node after node.
    n_columns : int
        Columns of a node.
    n_samples : int
        Samples that the covariance rests on.
    alpha : float
        Level of a single test, not corrected for the number of tests.
    nodes : sequence
        Names, one for each `n_columns` columns.

    Raises
    ------
    ValueError
        A number of nodes that does not fit, an alpha outside (0, 1).

    Notes
    -----
    With q and r columns and k given ones, -(n - 1 - k - (q + r + 1) / 2) log Λ is compared with the chi-squared
    distribution of q r degrees of freedom (Bartlett 1938). What cannot be tested counts as dependent.
    """

    def __init__(
        self, covariance: Any, n_columns: int, n_samples: int, *, alpha: float = 0.01, nodes: Sequence[Node] = ()
    ):
        covariance = np.asarray(covariance, dtype=float)
        self.nodes = list(nodes)
        if covariance.shape != (n_columns * len(self.nodes),) * 2 or len(set(self.nodes)) != len(self.nodes):
            raise ValueError(
                f"covariance has shape {covariance.shape}: with {n_columns} columns for each of {len(set(self.nodes))} "
                f"different nodes it must have {n_columns * len(set(self.nodes))} rows and columns"
            )
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}: it is the level of a test, between 0 and 1, for example .01")
        scale = np.sqrt(np.diag(covariance))
        self.correlation_matrix = covariance / np.outer(scale, scale)
        self.n_columns, self.n_samples, self.alpha = n_columns, n_samples, alpha
        self._first = {node: n_columns * i for i, node in enumerate(self.nodes)}

    def p_value(self, x: Node, y: Node, given: Collection[Node] = ()) -> float:
        """Of the hypothesis that no columns of x and y are correlated given those of other nodes."""
        q, k = self.n_columns, self.n_columns * len(given)
        rows = (np.array([self._first[node] for node in (x, y, *given)])[:, None] + np.arange(q)).ravel()
        part = self.correlation_matrix[np.ix_(rows, rows)]
        freedom = self.n_samples - 1 - k - (2 * q + 1) / 2
        try:
            rest = part[: 2 * q, : 2 * q]
            if k:
                rest = rest - part[: 2 * q, 2 * q :] @ np.linalg.solve(part[2 * q :, 2 * q :], part[2 * q :, : 2 * q])
            signs, logs = np.linalg.slogdet(np.stack([rest[:q, :q], rest[q:, q:]]))
            sign, log = np.linalg.slogdet(rest)
        except np.linalg.LinAlgError:
            return 0.0
        if freedom <= 0 or min(sign, *signs) <= 0:
            return 0.0
        return float(chdtrc(q * q, max(freedom * (logs.sum() - log), 0.0)))

    def __call__(self, x: Node, y: Node, given: Collection[Node] = ()) -> bool:
        return self.p_value(x, y, given) > self.alpha


def basis_independence(recording: Any, n_lags: int, *, degree: int = 3, alpha: float = 0.01) -> BasisIndependence:
    """Test of conditional independence between nodes (neuron, lag) that sees sums of curves.

    Each value stands for its first `degree` Hermite polynomials, after z-scoring and a bound of four standard
    deviations: x, x² - 1, x³ - 3x. So a cause of which a target is an even function is seen, and given values are
    regressed out along curves. An interaction that leaves no trace in any single curve is not seen.

    Parameters
    ----------
    recording : Dataset, DataFrame or array, (n_times, n_neurons)
        Windows do not cross borders of trials.
    n_lags : int
        At least 1.
    degree : int
        At least 1; 1 is `lagged_independence`, but for the bound.
    alpha : float
        Level of one test. Each time step counts as a sample: see `lagged_independence`.

    Returns
    -------
    BasisIndependence
    """
    if degree < 1:
        raise ValueError(f"degree is {degree}: it is that of the largest polynomial, at least 1")
    samples, names = lagged_samples(recording, n_lags)  # (n_windows, n_neurons * (n_lags + 1))
    scored = (samples - samples.mean(axis=0)) / samples.std(axis=0)
    columns = hermevander(np.clip(scored, -BOUND, BOUND), degree)[..., 1:]  # (n_windows, node, degree)
    covariance = np.cov(columns.reshape(len(columns), -1), rowvar=False)
    return BasisIndependence(covariance, degree, len(columns), alpha=alpha, nodes=lagged_nodes(names, n_lags))

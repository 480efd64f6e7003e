"""How right a connectivity is, given the truth. All matrices are [target, source]; nonzero truth = an edge.

Two protocols, by name: "off_diagonal" scores the n (n - 1) possible edges; "published" is that of the
Causalformer paper, which sets the diagonal of the score to zero and counts it as n true negatives. For
positive scores off_diagonal = (published * (n_negative + n) - n) / n_negative, where n_negative is the number
of non-edges off the diagonal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata
from sklearn import metrics as sk

EDGE = ("target", "source")
PROTOCOLS = ("off_diagonal", "published")


def auroc(truth: Any, score: Any, *, protocol: str = "off_diagonal") -> float:
    """Area under the receiver operating characteristic: how often an edge scores higher than a non-edge.

    Parameters
    ----------
    truth : array, DataArray or recording with a known `connectivity`, (n_neurons, n_neurons)
        Signed or binary; nonzero = an edge.
    score : array, DataArray or connectivity, (n_neurons, n_neurons)
        Larger = more evidence. Ties count one half. Matched to the truth by names where both have them.
    protocol : {"off_diagonal", "published"}
        See the module's text.

    Raises
    ------
    ValueError
        No edges or no non-edges in the truth, NaN off the diagonal, other shapes or names, unknown protocol.
    """
    edge, value = _pairs(truth, score, protocol)
    n_positive = edge.sum()
    rank_sum = rankdata(value)[edge].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * (len(edge) - n_positive)))


def auprc(truth: Any, score: Any, *, protocol: str = "off_diagonal") -> float:
    """Area under the precision-recall curve (average precision); chance is the share of edges. As `auroc`."""
    return min(1.0, float(sk.average_precision_score(*_pairs(truth, score, protocol))))  # a sum may round above 1


def roc_curve(truth: Any, score: Any, *, protocol: str = "off_diagonal") -> pd.DataFrame:
    """Return the receiver operating characteristic, columns fpr, tpr and threshold. Arguments as `auroc`."""
    fpr, tpr, threshold = sk.roc_curve(*_pairs(truth, score, protocol))
    return pd.DataFrame({"fpr": fpr, "tpr": tpr, "threshold": threshold})


def r2(true: Any, predicted: Any) -> np.ndarray:
    """Share of each neuron's variance that a prediction explains.

    Parameters
    ----------
    true, predicted : array or DataArray, (n_times, n_neurons)

    Returns
    -------
    ndarray, (n_neurons,)
        1 - residual / total sum of squares; 1 is perfect, 0 is no better than the mean.

    Raises
    ------
    ValueError
        Different shapes, NaN, or a neuron that is constant in `true`.
    """
    true, predicted = np.asarray(true, dtype=float), np.asarray(predicted, dtype=float)
    if true.shape != predicted.shape or true.ndim != 2:
        raise ValueError(
            f"true has shape {true.shape} and predicted {predicted.shape}: they are compared value by "
            "value; both must be (n_times, n_neurons)"
        )
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise ValueError(
            "true or predicted has values that are not finite: R² would be undefined; leave out steps "
            "without a prediction"
        )
    total = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    if (np.ptp(true, axis=0) == 0).any():
        raise ValueError(
            f"neurons in columns {np.flatnonzero(np.ptp(true, axis=0) == 0).tolist()} are constant in "
            "true: there is no variance to explain; leave them out"
        )
    return 1 - ((true - predicted) ** 2).sum(axis=0) / total


def f1(truth: Any, adjacency: Any) -> float:
    """Harmonic mean of precision and recall over off-diagonal edges; 0 if no edge is right.

    Parameters
    ----------
    truth : as in `auroc`
    adjacency : array or DataArray, (n_neurons, n_neurons)
        Nonzero = a claimed edge.
    """
    edge, claimed = _graphs(truth, adjacency)
    return float(2 * (edge & claimed).sum() / max(edge.sum() + claimed.sum(), 1))


def shd(truth: Any, adjacency: Any) -> int:
    """Structural Hamming distance: edges to add, remove or turn round (counted once) to reach the truth.

    Arguments as `f1`.
    """
    true, estimate = _matrices(truth, adjacency)
    off = ~np.eye(len(true), dtype=bool)
    true, estimate = (true != 0) & off, (np.nan_to_num(estimate) != 0) & off
    reversed_ = true & ~true.T & estimate.T & ~estimate
    return int((true != estimate).sum() - reversed_.sum())


def sign_accuracy(truth: Any, sign: Any) -> float:
    """Share of true edges whose sign is right; an estimate of 0 counts as wrong.

    Parameters
    ----------
    truth : as in `auroc`, signed
    sign : array, DataArray or connectivity with `sign`, (n_neurons, n_neurons)
    """
    true, estimate = _matrices(truth, sign, variable="sign")
    edge = (true != 0) & ~np.eye(len(true), dtype=bool)
    if not edge.any():
        raise ValueError("the truth has no edges: there are no signs to compare; use a network with edges")
    return float((np.sign(true) == np.sign(estimate))[edge].mean())


def _pairs(truth: Any, score: Any, protocol: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (is an edge, score), both (n_pairs,), for the pairs that the protocol counts."""
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"protocol is {protocol!r}: scores are comparable within one protocol only; use one of "
            f"{list(PROTOCOLS)}"
        )
    true, value = _matrices(truth, score)
    off = ~np.eye(len(true), dtype=bool)
    if not np.isfinite(value[off]).all():
        raise ValueError(
            f"the score has {(~np.isfinite(value[off])).sum()} values off the diagonal that are not "
            "finite: edges are ranked by it; give every pair a score, 0 for no evidence"
        )
    if protocol == "published":
        edge, ranked = ((true != 0) & off).ravel(), np.where(off, value, 0.0).ravel()
    else:
        edge, ranked = (true != 0)[off], value[off]
    if edge.all() or not edge.any():
        raise ValueError(
            f"the truth has {'no edges' if not edge.any() else 'no non-edges'} off the diagonal: ranking "
            "edges above non-edges needs both; use another network"
        )
    return edge, ranked


def _graphs(truth: Any, adjacency: Any) -> tuple[np.ndarray, np.ndarray]:
    true, estimate = _matrices(truth, adjacency)
    off = ~np.eye(len(true), dtype=bool)
    return (true != 0)[off], (np.nan_to_num(estimate) != 0)[off]


def _matrices(truth: Any, estimate: Any, variable: str = "score") -> tuple[np.ndarray, np.ndarray]:
    """Return both as float matrices (target, source), the estimate in the truth's order of names."""
    truth, estimate = _select(truth, "connectivity", "truth"), _select(estimate, variable, "estimate")
    if isinstance(truth, xr.DataArray) and isinstance(estimate, xr.DataArray):
        estimate = in_order_of(truth, estimate)
    truth, estimate = np.asarray(truth, dtype=float), np.asarray(estimate, dtype=float)
    if truth.ndim != 2 or truth.shape[0] != truth.shape[1] or truth.shape != estimate.shape:
        raise ValueError(
            f"truth has shape {truth.shape} and the estimate {estimate.shape}: both must be the same "
            "square (target, source) matrix of neurons"
        )
    if np.isnan(truth[~np.eye(len(truth), dtype=bool)]).any():
        raise ValueError("the truth has NaN off the diagonal: every pair must be known; use 0 for no edge")
    return truth, estimate


def in_order_of(truth: xr.DataArray, estimate: xr.DataArray) -> xr.DataArray:
    """The estimate with targets and sources in the truth's order, where both name them."""
    for dim in EDGE:
        if dim in truth.coords and dim in estimate.coords:
            names = truth[dim].values
            if set(names.tolist()) != set(estimate[dim].values.tolist()):
                raise ValueError(
                    f"truth and estimate name different {dim} neurons: they are matched by name; "
                    "select the same neurons in both, or pass bare arrays"
                )
            estimate = estimate.sel({dim: names})
    return estimate


def _select(matrix: Any, variable: str, what: str) -> Any:
    if isinstance(matrix, xr.Dataset):
        if variable not in matrix:
            raise ValueError(
                f"the {what} has the variables {list(matrix.data_vars)} but no {variable!r}: there is "
                "nothing to compare; pass the matrix (target, source) itself"
            )
        matrix = matrix[variable]
    if isinstance(matrix, xr.DataArray):
        if set(matrix.dims) != set(EDGE):
            raise ValueError(
                f"the {what} has the dimensions {tuple(map(str, matrix.dims))}: rows and columns must "
                "not be swapped, so name them 'target' and 'source'"
            )
        matrix = matrix.transpose(*EDGE)
    return matrix

"""How far an estimated graph tells who drives whom, and who shares inputs, and what would tell as much by itself.

All matrices are [target, source]. The co-input graph of a matrix C, its diagonal set to zero, is B = C Cᵀ: see
`causalkit.co_input`. A network in which a few hubs reach many neurons makes B easy to guess, so the nulls of this
module belong beside every score: spike-count correlations, firing rates, degrees alone, and shuffled rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from causalkit import metrics
from causalkit.shared_input import co_input

Array = NDArray[np.float64]
KINDS = ("pearson", "spearman")
SWAPS = 10  # tried for each edge of a rewired graph


def influence(connectivity: Any) -> Array:
    """Return a matrix of influences with a diagonal of zeros.

    Parameters
    ----------
    connectivity : Dataset, DataArray or array, (n_neurons, n_neurons)
        Of a method's connectivity the signed ``weight`` is taken where there is one, else ``score``; of a recording,
        its true ``connectivity``.

    Returns
    -------
    ndarray, (n_neurons, n_neurons)

    Raises
    ------
    ValueError
        No such variable, no square matrix, or values off the diagonal that are not finite.
    """
    matrix = connectivity
    if isinstance(matrix, xr.Dataset):
        found = [name for name in ("connectivity", "weight", "score") if name in matrix]
        if not found:
            raise ValueError(
                f"the Dataset has the variables {list(matrix.data_vars)}: an influence is read from 'connectivity' of "
                "a recording, or from 'weight' or 'score'; pass the matrix (target, source) itself"
            )
        matrix = matrix[found[0]]
    if isinstance(matrix, xr.DataArray) and set(matrix.dims) == {"target", "source"}:
        matrix = matrix.transpose("target", "source").values
    matrix = np.array(matrix, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the matrix has shape {matrix.shape}: a graph has one row a target and one column a source")
    np.fill_diagonal(matrix, 0.0)
    if not np.isfinite(matrix).all():
        raise ValueError(
            f"the matrix has {(~np.isfinite(matrix)).sum()} values off the diagonal that are not finite: every pair is "
            "compared; give each a number, 0 for no evidence"
        )
    return matrix


def edge_r2(truth: Any, estimate: Any, *, kind: str = "pearson", signed: bool = False) -> float:
    """Squared correlation of true and estimated influences over all pairs off the diagonal.

    Parameters
    ----------
    truth, estimate : as in `influence`
        In the same order of neurons, or both with names.
    kind : {"pearson", "spearman"}
        Of the values, or of their ranks (ties share their mean rank).
    signed : bool
        Compare signed weights. By default sizes: attention has no sign, so that it is compared with \\|w\\|.

    Returns
    -------
    float
        From -1 to 1: r \\|r\\|, so that a negative correlation does not pass for a success.

    Raises
    ------
    ValueError
        As `influence`; different sizes or names, an unknown kind.
    """
    true, guess = _pair(truth, estimate, signed)
    off = ~np.eye(len(true), dtype=bool)
    return _squared(true[off], guess[off], kind)


def co_input_r2(
    truth: Any, estimate: Any = None, *, shared: Any = None, kind: str = "spearman", signed: bool = False
) -> float:
    """Squared correlation of true and estimated co-input over all pairs of different neurons.

    Parameters
    ----------
    truth : as in `influence`
        The wiring A; its co-input graph is A Aᵀ.
    estimate : as in `influence`, optional
        A matrix C, compared by C Cᵀ.
    shared : array (n_neurons, n_neurons), optional
        Instead of `estimate`, a guess of the co-input graph itself, for example a matrix of correlations; only its
        entries off the diagonal count. Where `signed` is false its sizes are compared.
    kind, signed : as in `edge_r2`

    Returns
    -------
    float
        As `edge_r2`.

    Raises
    ------
    ValueError
        As `edge_r2`; or not exactly one of `estimate` and `shared`.
    """
    if (estimate is None) == (shared is None):
        raise ValueError("give either estimate, whose co-input graph is compared, or shared, such a graph itself")
    true, guess = _pair(truth, estimate if shared is None else shared, signed)
    above = np.triu_indices(len(true), 1)  # both are symmetric
    guess = co_input(guess) if shared is None else (guess + guess.T) / 2
    return _squared(co_input(true)[above], guess[above], kind)


def spectral_divergence(one: Any, other: Any) -> float:
    """Distance between the spectra of two graphs, whatever their size, shift and scale.

    With S = (\\|A\\| + \\|A\\|ᵀ) / 2 and D the diagonal matrix of the row sums of S, the spectrum is that of the
    normalised Laplacian L = D^(-1/2) (D - S) D^(-1/2), a neuron without edges having 0. Its eigenvalues are
    standardised, z = (λ - mean) / standard deviation, and the divergence is the Wasserstein distance of order 1 between
    the two sets of z: the mean difference of their quantiles. The paper (arXiv 2508.16776) gives no formula; this is
    ours. Graphs of different neurons can have the same spectrum, so 0 does not mean that edges agree.

    Parameters
    ----------
    one, other : as in `influence`

    Raises
    ------
    ValueError
        As `influence`; or a graph without edges.
    """
    return float(stats.wasserstein_distance(_standard_spectrum(one), _standard_spectrum(other)))


def scores(truth: Any, estimate: Any, *, signed: bool = False) -> pd.Series:
    """Return all scores of an estimated graph.

    Parameters
    ----------
    truth, estimate : as in `influence`
    signed : bool
        Whether the estimate has signs; then it is compared with signed weights too.

    Returns
    -------
    pandas.Series
        Index ``metric``: ``auroc`` (of \\|estimate\\|, off the diagonal), ``edge_pearson``, ``edge_spearman``,
        ``co_input_pearson``, ``co_input_spearman`` (all r \\|r\\|), ``spectral`` and ``co_input_spectral``
        (divergences, 0 is best); with signs also the four correlations with ``_signed`` appended.
    """
    true, guess = _pair(truth, estimate, signed=True)
    out = {"auroc": metrics.auroc(true, np.abs(guess))}
    for with_signs in (False, True) if signed else (False,):
        for kind in KINDS:
            ending = "_signed" if with_signs else ""
            out[f"edge_{kind}{ending}"] = edge_r2(true, guess, kind=kind, signed=with_signs)
            out[f"co_input_{kind}{ending}"] = co_input_r2(true, guess, kind=kind, signed=with_signs)
    out["spectral"] = spectral_divergence(true, guess)
    out["co_input_spectral"] = spectral_divergence(co_input(np.abs(true)), co_input(np.abs(guess)))
    return pd.Series(out, name="value").rename_axis("metric")


def chance(
    truth: Any, estimate: Any, *, n_rewired: int = 20, random_state: int = 0, signed: bool = False
) -> pd.DataFrame:
    """Return the scores that an estimate reaches on networks which have the truth's degrees but other edges.

    Parameters
    ----------
    truth, estimate, signed : as in `scores`
    n_rewired : int
        Networks made by `rewired`.
    random_state : int

    Returns
    -------
    pandas.DataFrame
        One row for each rewired network, one column for each metric. What a score has beyond these comes from who is
        connected with whom, not from who has many connections.
    """
    true, guess = _pair(truth, estimate, signed=True)
    seeds = np.random.SeedSequence(random_state).spawn(n_rewired)
    return pd.DataFrame([scores(rewired(true, seed), guess, signed=signed) for seed in seeds]).reset_index(drop=True)


def nulls(
    recording: xr.Dataset, estimate: Any = None, *, bin_steps: int = 1, random_state: int = 0
) -> pd.DataFrame:
    """Return co-input scores of what knows nothing of single edges.

    Parameters
    ----------
    recording : Dataset
        With the true ``connectivity``; its `activity` is correlated.
    estimate : as in `influence`, optional
        Whose rows are shuffled, and whose degrees are looked at.
    bin_steps : int
        Steps of the recording that are added up before counts are correlated: neurons that share inputs need not fire
        in the same step.
    random_state : int
        Of the shuffling.

    Returns
    -------
    pandas.DataFrame
        Index ``null``; columns ``co_input_pearson`` and ``co_input_spearman`` with the sizes of the truth's weights.
        "count_correlation": the correlations of the counts themselves, as a guess of B. "rate_product": the product
        of two neurons' rates. "true_degrees": the co-input of `degree_only` of the truth, which no one has who does
        not know the truth. With an estimate: "own_degrees", the same of the estimate, and "row_shuffled", the
        co-input of `row_shuffled`.
    """
    truth = np.abs(influence(recording))
    counts = np.asarray(recording["activity"].values, dtype=float)
    rate, n_bins = counts.mean(axis=0), len(counts) // bin_steps
    binned = counts[: n_bins * bin_steps].reshape(n_bins, bin_steps, -1).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a neuron that is constant correlates with nobody
        correlation = np.nan_to_num(np.corrcoef(binned.T))
    guesses = {
        "count_correlation": {"shared": correlation},
        "rate_product": {"shared": np.outer(rate, rate)},
        "true_degrees": {"estimate": degree_only(truth)},
    }
    if estimate is not None:
        guess = np.abs(_pair(recording["connectivity"], estimate, signed=True)[1])
        guesses["own_degrees"] = {"estimate": degree_only(guess)}
        guesses["row_shuffled"] = {"estimate": row_shuffled(guess, random_state)}
    table = {
        null: {f"co_input_{kind}": co_input_r2(truth, kind=kind, **how) for kind in KINDS}
        for null, how in guesses.items()
    }
    return pd.DataFrame(table).T.rename_axis("null")


def degree_only(matrix: Any) -> Array:
    """Return what the strengths alone make one expect: row sum times column sum over the total, zero diagonal.

    Parameters
    ----------
    matrix : as in `influence`
        Its sizes are taken.
    """
    sizes = np.abs(influence(matrix))
    expected = np.outer(sizes.sum(axis=1), sizes.sum(axis=0)) / max(sizes.sum(), 1e-300)
    np.fill_diagonal(expected, 0.0)
    return expected


def row_shuffled(matrix: Any, random_state: int | np.random.SeedSequence = 0) -> Array:
    """Return the matrix with the influences on each target dealt to other sources at random, zero diagonal.

    Parameters
    ----------
    matrix : as in `influence`
    random_state : int or SeedSequence
    """
    matrix, n = influence(matrix), len(influence(matrix))
    off = ~np.eye(n, dtype=bool)
    out = np.zeros((n, n))
    out[off] = np.random.default_rng(random_state).permuted(matrix[off].reshape(n, n - 1), axis=1).ravel()
    return out


def rewired(matrix: Any, random_state: int | np.random.SeedSequence = 0) -> Array:
    """Return a network with other edges, in which every neuron has as many inputs and outputs as before.

    Pairs of edges a → b, c → d become a → d, c → b where neither is there and no neuron drives itself, tried ten times
    as often as there are edges (Maslov and Sneppen 2002, Science 296:910). A weight goes with its source, so that hubs
    stay strong and signs keep Dale's law.

    Parameters
    ----------
    matrix : as in `influence`
    random_state : int or SeedSequence
    """
    matrix = influence(matrix)
    target, source = (each.tolist() for each in np.nonzero(matrix))
    n_edges = len(target)
    if n_edges < 2:
        return matrix
    weight, there = matrix[target, source], set(zip(target, source, strict=True))
    drawn = np.random.default_rng(random_state).integers(n_edges, size=(SWAPS * n_edges, 2)).tolist()
    for i, j in drawn:
        a, b, c, d = source[i], target[i], source[j], target[j]
        if a == d or c == b or (d, a) in there or (b, c) in there:
            continue
        there -= {(b, a), (d, c)}
        there |= {(d, a), (b, c)}
        target[i], target[j] = d, b
    out = np.zeros_like(matrix)
    out[target, source] = weight
    return out


def _pair(truth: Any, estimate: Any, signed: bool) -> tuple[Array, Array]:
    """Both as matrices in the truth's order of neurons."""
    true, guess = _named(truth), _named(estimate)
    if isinstance(true, xr.DataArray) and isinstance(guess, xr.DataArray):
        guess = metrics.in_order_of(true, guess)
    true, guess = influence(true), influence(guess)
    if true.shape != guess.shape:
        raise ValueError(
            f"the truth has shape {true.shape} and the estimate {guess.shape}: they are compared pair by pair; give "
            "both of the same neurons"
        )
    return (true, guess) if signed else (np.abs(true), np.abs(guess))


def _named(matrix: Any) -> Any:
    if isinstance(matrix, xr.Dataset):
        for name in ("connectivity", "weight", "score"):
            if name in matrix:
                return matrix[name]
    return matrix


def _squared(true: Array, guess: Array, kind: str) -> float:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}: correlations are of values or of ranks; give one of {list(KINDS)}")
    if np.ptp(true) == 0 or np.ptp(guess) == 0:
        raise ValueError(
            "the truth or the estimate is the same for all pairs: a correlation needs values that differ; check that "
            "the network has edges and the method has found something"
        )
    if kind == "spearman":
        true, guess = stats.rankdata(true), stats.rankdata(guess)
    r = np.corrcoef(true, guess)[0, 1]
    return float(r * abs(r))


def _standard_spectrum(matrix: Any) -> Array:
    sizes = np.abs(influence(matrix))
    sizes = (sizes + sizes.T) / 2
    degree = sizes.sum(axis=0)
    if not degree.any():
        raise ValueError("a graph has no edges: its spectrum tells nothing; compare graphs with edges")
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0.0)
    laplacian = np.diag((degree > 0).astype(float)) - scale[:, None] * sizes * scale
    values = np.linalg.eigvalsh(laplacian)
    return (values - values.mean()) / values.std()

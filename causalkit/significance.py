"""How far to trust a score: corrections for many tests, surrogate recordings, agreement between seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import brentq
from scipy.stats import chi2, rankdata

from .recording import as_recording, trial_slices
from .resampling import false_selections as false_selections
from .resampling import scores_of_halves as scores_of_halves
from .resampling import stability_selection as stability_selection

LARGEST_INFLATION = 3.0  # logarithm
CORRECTIONS = ("bh", "by", "holm", "bonferroni", "none")


def fdr(p: Any, method: str = "bh") -> Any:
    """Adjust p-values for the number of edges tested.

    Parameters
    ----------
    p : array or DataArray
        p-values; of a square matrix (target, source) only the off-diagonal entries are tests. NaN are no
        tests and stay NaN.
    method : {"bh", "by", "holm", "bonferroni", "none"}
        "bh" (Benjamini & Hochberg 1995) and "by" (Benjamini & Yekutieli 2001, any dependence) control the
        false discovery rate; "holm" (1979) and "bonferroni" the chance of a single false edge.

    Returns
    -------
    array or DataArray, like `p`
        Adjusted p-values: an edge is reported at level q where its value is ≤ q. The diagonal is NaN.

    Raises
    ------
    ValueError
        Unknown method, or values outside [0, 1].
    """
    if method not in CORRECTIONS:
        raise ValueError(
            f"correction is {method!r}: it decides how many false edges are let through; use one of "
            f"{list(CORRECTIONS)}"
        )
    values = np.array(p, dtype=float)
    tested = ~np.isnan(values)
    if values.ndim == 2 and values.shape[0] == values.shape[1]:
        np.fill_diagonal(tested, False)
    adjusted = np.full(values.shape, np.nan)
    adjusted[tested] = _adjust(values[tested], method)
    return p.copy(data=adjusted) if isinstance(p, xr.DataArray) else adjusted


def _adjust(p: np.ndarray, method: str) -> np.ndarray:
    if ((p < 0) | (p > 1)).any():
        raise ValueError(
            f"p-values reach from {p.min():g} to {p.max():g}: probabilities lie in [0, 1]; pass "
            "p-values, not scores"
        )
    n = len(p)
    if method == "none" or n == 0:
        return p
    if method == "bonferroni":
        return np.minimum(p * n, 1)
    order = np.argsort(p)
    rank = np.arange(1, n + 1)
    if method == "holm":
        stepped = np.maximum.accumulate(p[order] * (n - rank + 1))
    else:
        factor = n * (np.sum(1 / rank) if method == "by" else 1)
        stepped = np.minimum.accumulate((p[order] * factor / rank)[::-1])[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def inflation(p: Any, df: Any = 1, above: float = 0.2, least: int = 400) -> float:
    """Factor by which the statistics behind p-values are too large, as the p-values that no edge reaches say.

    Without an edge p-values are uniform. Edges make small ones, so among those `above` some level nearly all belong to
    pairs without one, however many edges there are. The factor is the one that makes the mean of these what it is for
    uniform values: 1 where the p-values hold, more where they are too small. It is the genomic control of Devlin &
    Roeder (1999), the scale of the empirical null of Efron (2004). A model that errs a little everywhere makes
    statistics too large by a common factor, which shows in long recordings. Edges too weak to be found make the
    factor larger, and so the p-values larger than need be.

    Parameters
    ----------
    p : array or DataArray
        p-values; NaN are left out.
    df : int or array like `p`, default 1
        Degrees of freedom of the chi-squared statistics that they come from.
    above : float, default 0.2
        Level above which p-values count.
    least : int, default 400
        With fewer p-values above, nothing is said: the factor is 1.

    Returns
    -------
    float
        Divide the statistics by it, or multiply their covariances.

    References
    ----------
    Devlin & Roeder (1999), Biometrics 55, 997-1004. Efron (2004), J. Am. Stat. Assoc. 99, 96-104.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import chi2
    >>> statistic = 1.5 * np.random.default_rng(0).chisquare(2, 20_000)
    >>> round(inflation(chi2.sf(statistic, 2), df=2), 1)
    1.5
    """
    values, df = np.broadcast_arrays(np.asarray(p, dtype=float), df)
    tested = ~np.isnan(values)
    df = df[tested]
    statistic = chi2.isf(np.maximum(values[tested], 1e-300), df)

    def excess(log_factor: float) -> float:
        found = chi2.sf(statistic / np.exp(log_factor), df)
        found = found[found > above]
        return found.mean() - (1 + above) / 2 if len(found) else -1.0

    if (values[tested] > above).sum() < least or excess(-LARGEST_INFLATION) > 0 or excess(LARGEST_INFLATION) < 0:
        return 1.0
    return float(np.exp(brentq(excess, -LARGEST_INFLATION, LARGEST_INFLATION, xtol=1e-4)))


def time_shuffle(recording: Any, random_state: int | np.random.Generator) -> xr.Dataset:
    """Permute the time steps of each neuron independently, within trials: a control without any dynamics.

    All variables on (time, neuron) are permuted alike. A known `connectivity` is kept, so that the score of
    the surrogate against it shows what chance gives.

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes
    random_state : int or numpy.random.Generator
    """

    def rows(n_times: int, n_neurons: int, rng: np.random.Generator) -> np.ndarray:
        return rng.permuted(np.tile(np.arange(n_times)[:, None], (1, n_neurons)), axis=0)

    return _reorder(recording, random_state, rows, "time_shuffle")


def circular_shift(recording: Any, random_state: int | np.random.Generator) -> xr.Dataset:
    """Rotate each neuron in time independently, within trials: own dynamics stay, relations go.

    The offsets of any two neurons differ by at least `n_times / (2 n_neurons)` steps (up to rounding), around
    the circle too, so that no pair stays aligned by chance.

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes
    random_state : int or numpy.random.Generator
    """

    def rows(n_times: int, n_neurons: int, rng: np.random.Generator) -> np.ndarray:
        width = n_times / n_neurons
        offset = (rng.permutation(n_neurons) + rng.uniform(0, 0.5, n_neurons)) * width
        return (np.arange(n_times)[:, None] + offset.astype(int)) % n_times

    return _reorder(recording, random_state, rows, "circular_shift")


def _reorder(recording: Any, random_state: Any, rows: Any, name: str) -> xr.Dataset:
    recording = as_recording(recording)
    rng = np.random.default_rng(random_state)
    n_neurons = recording.sizes["neuron"]
    order = np.concatenate(
        [s.start + rows(s.stop - s.start, n_neurons, rng) for s in trial_slices(recording)]
    )  # (n_times, n_neurons): row to take
    for variable in recording.data_vars:
        if set(recording[variable].dims) == {"time", "neuron"}:
            x = recording[variable].transpose("time", "neuron")
            recording[variable] = x.copy(data=np.take_along_axis(x.values, order, axis=0))
    recording.attrs["surrogate"] = name
    return recording


def stability(seed_score: xr.DataArray) -> xr.Dataset:
    """Say how far the seeds of an ensemble agree on each edge.

    Parameters
    ----------
    seed_score : DataArray, (seed, target, source)

    Returns
    -------
    xarray.Dataset
        `rank_mean`, `rank_sd` (target, source): mean and population standard deviation over seeds of an
        edge's rank among the off-diagonal edges, from 0 (weakest) to 1 (strongest); `score_sd` (target,
        source); and `agreement`, the mean Spearman correlation between pairs of seeds. The diagonal is NaN.

    Raises
    ------
    ValueError
        Fewer than two seeds, or other dimensions.
    """
    if not isinstance(seed_score, xr.DataArray) or set(seed_score.dims) != {"seed", "target", "source"}:
        raise ValueError(
            f"seed_score has the dimensions {getattr(seed_score, 'dims', np.shape(seed_score))}: seeds "
            "are compared edge by edge; pass connectivity['seed_score'] (seed, target, source)"
        )
    scores = seed_score.transpose("seed", "target", "source")
    n_seeds, n_neurons, _ = scores.shape
    if n_seeds < 2:
        raise ValueError(
            f"seed_score has {n_seeds} seed: agreement needs at least two; fit with n_seeds=2 or more"
        )
    off = ~np.eye(n_neurons, dtype=bool)
    edges = scores.values[:, off].astype(float)
    ranks = (rankdata(edges, axis=1) - 1) / max(edges.shape[1] - 1, 1)
    centered = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = (centered @ centered.T) / np.outer(length, length)

    def matrix(values: np.ndarray) -> xr.DataArray:
        full = np.full((n_neurons, n_neurons), np.nan)
        full[off] = values
        return scores.isel(seed=0, drop=True).copy(data=full)

    return xr.Dataset(
        {
            "rank_mean": matrix(ranks.mean(axis=0)),
            "rank_sd": matrix(ranks.std(axis=0)),
            "score_sd": matrix(edges.std(axis=0)),
            "agreement": float(spearman[np.triu_indices(n_seeds, 1)].mean()),
        }
    )

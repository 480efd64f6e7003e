"""Stability selection: which edges a method finds again and again, and how many of them may be false.

For methods without p-values. Halves of a recording are scored one by one; an edge is selected if it is among the best
of enough of them. See `causalkit.significance`.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import rankdata
from sklearn.base import clone

from .progress import progress_bar
from .recording import as_recording

EDGE = ("target", "source")
ASSUMPTIONS = ("none", "unimodal")


def scores_of_halves(
    recording: Any,
    method: Any,
    *,
    n_pairs: int = 10,
    n_blocks: int = 20,
    random_state: int = 0,
    progress: bool = True,
) -> xr.DataArray:
    """Score both halves of a recording, for many ways to cut it into two (complementary pairs).

    The recording is cut into blocks of time. For each pair, half of the blocks, drawn at random, make one recording
    and the rest the other; blocks that are no neighbors become trials of their own, so no history reaches across.

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes
    method : Method
        Any method of this package; `recording` and `method` are left as they are.
    n_pairs : int
        The method is fitted twice as often.
    n_blocks : int
        Even. Blocks should be much longer than the activity remembers, and than the method's lags.
    random_state : int
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataArray (half, target, source)
        Halves 0 and 1 are a pair, as are 2 and 3, and so on.

    Raises
    ------
    ValueError
        No pair, an odd number of blocks, or fewer steps than blocks.
    """
    recording = as_recording(recording)
    if not isinstance(n_pairs, numbers.Integral) or n_pairs < 1:
        raise ValueError(f"n_pairs is {n_pairs!r}: selections are counted over pairs of halves; give 1 or more")
    n_times = recording.sizes["time"]
    if not isinstance(n_blocks, numbers.Integral) or n_blocks < 2 or n_blocks % 2 or n_blocks > n_times:
        raise ValueError(
            f"n_blocks is {n_blocks!r} for {n_times} time steps: half of the blocks make a recording; give an even "
            "number, no larger than that of the steps"
        )
    rng = np.random.default_rng(random_state)
    block = np.arange(n_times) * n_blocks // n_times  # of each time step
    scores = []
    with progress_bar(2 * n_pairs, "halves", wanted=progress) as bar:
        for _ in range(n_pairs):
            first = np.isin(block, rng.permutation(n_blocks)[: n_blocks // 2])
            for half in (first, ~first):
                fitted = clone(method).fit(_rows(recording, np.flatnonzero(half)))
                scores.append(fitted.connectivity_["score"].transpose(*EDGE).drop_attrs())
                bar.update()
    return xr.concat(scores, "half")


def stability_selection(
    scores: xr.DataArray,
    *,
    top_k: int,
    threshold: float | None = None,
    expected_false: float | None = None,
    assumption: str = "none",
) -> xr.Dataset:
    """Select the edges that are among the best of many scores, and bound the expected number of false ones.

    Parameters
    ----------
    scores : DataArray (half, target, source) or (seed, target, source)
        As `scores_of_halves` gives them, or ``connectivity["seed_score"]``. Seeds of an ensemble share their data and
        so their mistakes: for them frequencies are given, but no bound holds.
    top_k : int
        q, how many edges each score selects at most: its largest that are above 0. Where the last places are tied,
        none of the tied edges is selected.
    threshold : float, optional
        tau, above .5 and up to 1: an edge is selected if that share of the scores select it.
    expected_false : float, optional
        Instead of `threshold`: take the lowest whose bound is at most this. For halves only.
    assumption : {"none", "unimodal"}
        What the bound takes for granted of how the frequency of a false edge varies from recording to recording.

    Returns
    -------
    xarray.Dataset
        A connectivity whose `score (target, source)` is the selection frequency, NaN on the diagonal. The graph is
        `selected (target, source)`, bool. Attributes: method, `top_k`, `threshold`, `n_scores`, `assumption`, and
        `expected_false`, the bound; NaN for seeds.

    Raises
    ------
    ValueError
        Other dimensions, an odd number of halves, values outside their range, both or neither of `threshold` and
        `expected_false`, or a bound that no threshold keeps.

    Notes
    -----
    False is an edge that a half selects no more often than at random, with probability q / p or less, p being the
    number of possible edges. The bounds are those of `false_selections`. They hold for halves of independent rows.
    Blocks of time are nearly independent if they are long; the fewer and the more alike, the less they promise.

    References
    ----------
    Meinshausen & Bühlmann (2010), J. R. Stat. Soc. B 72, 417-473. Shah & Samworth (2013), J. R. Stat. Soc. B 75,
    55-80 (complementary pairs).
    """
    over = next((name for name in ("half", "seed") if name in getattr(scores, "dims", ())), None)
    if over is None or set(scores.dims) != {over, *EDGE}:
        raise ValueError(
            f"scores has the dimensions {getattr(scores, 'dims', np.shape(scores))}: selections are counted over "
            "halves or seeds; pass what scores_of_halves returns, or connectivity['seed_score'] (seed, target, source)"
        )
    scores = scores.transpose(over, *EDGE)
    n_scores, n_neurons, _ = scores.shape
    n_edges = n_neurons * (n_neurons - 1)
    if over == "half" and n_scores % 2:
        raise ValueError(f"scores has {n_scores} halves: they come in pairs; pass all that scores_of_halves returned")
    if not isinstance(top_k, numbers.Integral) or not 1 <= top_k < n_edges:
        raise ValueError(
            f"top_k is {top_k!r}: {n_neurons} neurons have {n_edges} possible edges, of which each score selects some; "
            "give a whole number from 1, and smaller than that"
        )
    if (threshold is None) == (expected_false is None):
        raise ValueError("give threshold or expected_false, exactly one: each follows from the other")
    if over == "seed" and expected_false is not None:
        raise ValueError("expected_false cannot be kept over seeds, which share their data; give threshold, or halves")

    if threshold is None:
        threshold = _threshold_for(expected_false, top_k, n_edges, n_scores // 2, assumption)
    bound = false_selections(top_k, n_edges, threshold, n_scores // 2, assumption) if over == "half" else math.nan
    off = ~np.eye(n_neurons, dtype=bool)
    edges = scores.values[:, off]  # (n_scores, n_edges)
    best = (rankdata(-edges, method="max", axis=1) <= top_k) & (edges > 0)
    frequency = np.full((n_neurons, n_neurons), np.nan)
    frequency[off] = best.mean(axis=0)
    score = scores.isel({over: 0}, drop=True).copy(data=frequency)
    result = xr.Dataset({"score": score, "selected": score.copy(data=np.nan_to_num(frequency) >= threshold - 1e-12)})
    result.attrs = {
        "method": "stability_selection", "top_k": int(top_k), "threshold": float(threshold),
        "expected_false": float(bound), "assumption": assumption, "n_scores": n_scores,
    }  # fmt: skip
    return result


def false_selections(top_k: int, n_edges: int, threshold: float, n_pairs: int, assumption: str = "none") -> float:
    """Bound the expected number of false edges that stability selection lets through.

    With q edges selected of p in each half, theta = q / p, B pairs, and the threshold tau::

        none       q² / ((2 tau - 1) p)
        unimodal   theta q / (2 (2 tau - 1 - 1 / (2 B)))              tau up to 3/4
                   theta q 4 (1 - tau + 1 / (2 B)) / (1 + 1 / B)      tau above 3/4

    The first is theorem 1 of Meinshausen & Bühlmann (2010), which needs false edges to be exchangeable, and of Shah &
    Samworth (2013), which needs nothing but counts as false what is selected in a half with probability theta or less.
    The second is theorem 2 of Shah & Samworth, for theta up to 1 / sqrt(3), if the frequency of such an edge has a
    unimodal distribution; where it does not apply, the first is given.

    Parameters
    ----------
    top_k, n_edges : int
        q and p.
    threshold : float
        Above .5 and up to 1; frequencies are multiples of 1 / (2 B), so it counts as the next one.
    n_pairs : int
    assumption : {"none", "unimodal"}

    Raises
    ------
    ValueError
        A threshold outside its range, or an unknown assumption.
    """
    if not isinstance(threshold, numbers.Real) or not 0.5 < threshold <= 1:
        raise ValueError(
            f"threshold is {threshold!r}: at half of the scores or less the number of false edges has no bound; give "
            "one above .5 and up to 1"
        )
    if assumption not in ASSUMPTIONS:
        raise ValueError(f"assumption is {assumption!r}: it decides which bound holds; use one of {list(ASSUMPTIONS)}")
    tau = math.ceil(threshold * 2 * n_pairs - 1e-9) / (2 * n_pairs)
    theta = top_k / n_edges
    bound = theta * top_k / (2 * tau - 1)
    lowest = 0.5 + min(theta**2, 1 / (2 * n_pairs) + 0.75 * theta**2)
    applies = tau > lowest and tau >= 0.5 + 1 / n_pairs and theta <= 1 / math.sqrt(3)
    if assumption == "none" or not applies:
        return bound
    if tau <= 0.75:
        constant = 1 / (2 * (2 * tau - 1 - 1 / (2 * n_pairs)))
    else:
        constant = 4 * (1 - tau + 1 / (2 * n_pairs)) / (1 + 1 / n_pairs)
    return min(bound, constant * theta * top_k)


def _threshold_for(expected_false: float, top_k: int, n_edges: int, n_pairs: int, assumption: str) -> float:
    """Lowest possible frequency whose bound is kept."""
    for selected in range(n_pairs + 1, 2 * n_pairs + 1):
        threshold = selected / (2 * n_pairs)
        if false_selections(top_k, n_edges, threshold, n_pairs, assumption) <= expected_false:
            return threshold
    least = false_selections(top_k, n_edges, 1.0, n_pairs, assumption)
    raise ValueError(
        f"expected_false is {expected_false}, but with top_k {top_k} of {n_edges} edges even those that all halves "
        f"select may hold {least:.3g} false ones: lower top_k, or expect more"
    )


def _rows(recording: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """Some time steps of a recording; where others are left out between them, a trial ends."""
    part = recording.isel(time=rows)
    gap = np.diff(rows) != 1
    if "trial" in recording:
        gap |= np.diff(part["trial"].values) != 0
    return part.assign(trial=("time", np.concatenate([[0], np.cumsum(gap)])))

"""How far methods, and halves of a recording, agree about which pairs are connected."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import spearmanr

from .. import connectivity as graphs
from ..connectivity import EDGE
from ..default import by_kind
from ..methods import get

MOST_COMPARED = 100  # neurons for which a second method other than MVGC is fitted


def compare(first, second, fdr):
    """Rank correlation of two connectivities, and how many edges their graphs share.

    Graphs are those at `fdr` where both methods have p-values, else the same number of strongest pairs each: as many as
    the first has at `fdr`, or a tenth of all.

    Returns
    -------
    dict
        rank_correlation; both, only_first, only_second, numbers of edges; jaccard, the share of the edges of either
        graph that are in both; same_sign, the share of these whose signs agree, NaN without signs; rule, in words.
    """
    second = second.sel({dim: first[dim].values for dim in EDGE})
    off = ~np.eye(first.sizes["target"], dtype=bool)
    a, b = (c["score"].transpose(*EDGE).values[off] for c in (first, second))
    if "p_value" in first and "p_value" in second:
        one, two = (graphs.adjacency(c, fdr=fdr).values for c in (first, second))
        rule = f"false discovery rate {fdr:g}"
    else:
        top_k = max(1, round(0.1 * off.sum()))
        if "p_value" in first:
            top_k = max(1, int(graphs.adjacency(first, fdr=fdr).sum()))
        one, two = (graphs.adjacency(c, top_k=top_k).values for c in (first, second))
        rule = f"the {top_k} strongest pairs of each"
    both, either = one & two, one | two
    same = np.nan
    if "sign" in first and "sign" in second and both.any():
        signs = [c["sign"].transpose(*EDGE).values for c in (first, second)]
        same = float((signs[0] == signs[1])[both].mean())
    constant = np.ptp(a) == 0 or np.ptp(b) == 0
    return {
        "rank_correlation": np.nan if constant else float(spearmanr(a, b).statistic),
        "both": int(both.sum()),
        "only_first": int((one & ~two).sum()),
        "only_second": int((two & ~one).sum()),
        "jaccard": float(both.sum() / either.sum()) if either.any() else np.nan,
        "same_sign": same,
        "rule": rule,
    }


def second_opinions(recording, connectivity, fdr):
    """What MVGC, or another method where that was used, says of the recording, and MVGC of its halves.

    Returns
    -------
    list of (str, dict or str)
        What is compared, and the result of `compare`, or why there is none.
    """
    spare, n_neurons = by_kind(recording).method, recording.sizes["neuron"]
    found, method = [], connectivity.attrs.get("method", "this")
    linear = _fit("mvgc", recording)
    if method != "mvgc":
        found.append((f"{method} and mvgc", _compared(connectivity, linear, fdr)))
    elif spare != "mvgc" and n_neurons <= MOST_COMPARED:
        found.append((f"mvgc and {spare}", _compared(connectivity, _fit(spare, recording), fdr)))
    half = recording.sizes["time"] // 2
    halves = [_fit("mvgc", recording.isel(time=rows)) for rows in (slice(0, half), slice(half, None))]
    found.append(("mvgc in the first half and in the second", _compared(*halves, fdr)))
    return found


def _fit(name, recording):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get(name)().fit(recording).connectivity_
    except (ValueError, np.linalg.LinAlgError, FloatingPointError) as error:
        return f"{name}: {error}"


def _compared(first, second, fdr):
    for result in (first, second):
        if isinstance(result, str):
            return result
    return compare(first, second, fdr)

"""ICD on recordings: nodes are (name, lag), what happens later causes nothing earlier, and lags repeat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..recording import as_recording, trial_slices
from .independence import PartialCorrelation
from .iterative import Test, search
from .pag import PAG, Node


def lagged_nodes(names: Sequence[Node], n_lags: int) -> list[tuple[Node, int]]:
    """Nodes (name, lag) of a window, lag 0 first."""
    return [(name, lag) for lag in range(n_lags + 1) for name in names]


def lagged_independence(recording: Any, n_lags: int, *, alpha: float = 0.01) -> PartialCorrelation:
    """Partial correlations of a recording between nodes (neuron, lag), lags 0 to `n_lags`.

    Parameters
    ----------
    recording : Dataset, DataFrame or array, (n_times, n_neurons)
        Windows do not cross borders of trials.
    n_lags : int
        At least 1.
    alpha : float
        Level of one test.

    Notes
    -----
    Each time step counts as a sample. That holds for pairs that are asked given enough of their past. Without it
    the memory of a recording makes samples fewer than steps, and more edges stay than should.
    """
    samples, names = lagged_samples(recording, n_lags)
    nodes = lagged_nodes(names, n_lags)
    return PartialCorrelation(np.cov(samples, rowvar=False), len(samples), alpha=alpha, nodes=nodes)


def lagged_samples(recording: Any, n_lags: int) -> tuple[np.ndarray, list[str]]:
    """Windows of a recording, (n_windows, n_neurons * (n_lags + 1)), lag 0 first, and the neurons' names as text."""
    if n_lags < 1:
        raise ValueError(f"n_lags is {n_lags}: a window needs the present and at least one step of the past")
    recording = as_recording(recording)
    activity = recording["activity"].values.astype(float)  # (n_times, n_neurons)
    windows = []
    for trial in trial_slices(recording):
        part = activity[trial]
        n = len(part) - n_lags
        if n > 0:
            windows.append(np.hstack([part[n_lags - lag : n_lags - lag + n] for lag in range(n_lags + 1)]))
    if not windows:
        raise ValueError(f"no trial is longer than {n_lags} steps: take fewer lags")
    return np.concatenate(windows), [str(name) for name in recording["neuron"].values]


def icd_time_series(
    independence_test: Test,
    names: Sequence[Node] | None = None,
    n_lags: int | None = None,
    *,
    max_conditioning_size: int | None = None,
    trust_arrows: bool = False,
) -> PAG:
    """Find the causal graph of a stationary series, among its present and its last steps.

    As `icd`, with three things known: nothing causes what is earlier; edges and marks repeat from step to step, so
    only pairs with an end in the present are tested; and what holds of them holds of their copies.

    Parameters
    ----------
    independence_test : callable
        `test(x, y, given)` on nodes (name, lag): `lagged_independence`, or an oracle on an unrolled graph.
    names, n_lags : optional
        Names of the series, and the largest lag; by default those of `independence_test.nodes`.
    max_conditioning_size : int, optional
        As of `icd`. A series drags its whole past along: with many lags, small sets keep it fast.
    trust_arrows : bool
        As of `icd`. Not by default: weak dependence on the far past makes wrong arrows in a recording.

    Returns
    -------
    PAG
        Nodes (name, lag), lag 0 the present. An edge `(x, 2) --> (y, 0)`: x acts on y after two steps. An edge
        `(x, 0) o-o (y, 0)` is faster than a step, or hides a cause.

    Raises
    ------
    ValueError
        Unknown nodes, no lag.

    References
    ----------
    The constraints are those of Entner and Hoyer 2010, "On causal discovery from time series data using FCI".
    A search of its own for time series is in Rohekar et al. 2023, "From temporal to contemporaneous iterative
    causal discovery in the presence of latent confounders"; this is not it.
    """
    if names is None or n_lags is None:
        known = getattr(independence_test, "nodes", None)
        if known is None:
            raise ValueError("names and n_lags are missing: this independence test does not say which nodes it knows")
        names = list(dict.fromkeys(name for name, _ in known)) if names is None else names
        n_lags = max(lag for _, lag in known) if n_lags is None else n_lags
    if n_lags < 1:
        raise ValueError(f"n_lags is {n_lags}: a window needs the present and at least one step of the past")
    nodes = lagged_nodes(names, n_lags)

    def twins(u, v):
        shifts = range(-min(u[1], v[1]), n_lags - max(u[1], v[1]) + 1)
        return [((u[0], u[1] + shift), (v[0], v[1] + shift)) for shift in shifts]

    return search(
        independence_test,
        PAG.complete(nodes),
        {node: -node[1] for node in nodes},
        max_conditioning_size,
        trust_arrows,
        pairs=[(u, v) for u, v in combinations(nodes, 2) if min(u[1], v[1]) == 0],
        twins=twins,
    )

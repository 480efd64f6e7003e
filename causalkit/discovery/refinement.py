"""What a graph of lagged scores cannot say by itself: effects within the step, and causes that nobody recorded.

A network that forecasts from the past finds whose past helps, given all the rest of the past. These are the causes
only where nothing acts faster than a step and nothing is hidden. Otherwise some of its edges are not direct: they
pass through a present value, or lead round through a hidden one. Both steps here take such a graph as candidates,
which hold the causes and more, and ask tests of conditional independence, of the candidates alone.

Pairs of past and present that are no candidates are taken for independent given all other values of the past: that is
what it means that a forecast does without.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from ..lagged_graphs import DIMS
from .iterative import Test, _separate, search
from .orientation import orient
from .pag import ARROW, PAG, TAIL, Node
from .time_series import lagged_nodes

__all__ = ["refine_hidden_causes", "refine_within_step"]


def refine_within_step(
    candidates: Any, independence_test: Test, *, max_conditioning_size: int | None = None
) -> xr.Dataset:
    """Find effects within the step, and drop lagged candidates that only pass through them; nothing is hidden.

    Where x drives y within the step, the past causes of x forecast y, and a lagged graph gives them to y. First all
    neurons are joined within the step. Then pairs are tested, given the lagged candidates of their targets and
    more and more present values that are still joined to one of them, and those found independent are parted: within
    the step, and from the past. What separated a pair then tells directions within the step, as far as they can be
    told.

    Parameters
    ----------
    candidates : Dataset with `graph`, or DataArray of bool (target, source, lag)
        Should hold all lagged causes, better too many than too few: `causalkit.lagged_graphs.graph` makes it of scores.
    independence_test : callable
        `test(x, y, given)` on nodes (name, lag), names as text, at least up to the largest lag: `lagged_independence`,
        `basis_independence`, or an oracle.
    max_conditioning_size : int, optional
        Most present values that are given at once; all by default.

    Returns
    -------
    xarray.Dataset
        ``graph (target, source, lag)``, the candidates that are left; ``instantaneous (target, source)``, effects
        within the step whose direction was found; ``undirected (target, source)``, pairs joined within the step whose
        direction is open, the same in both directions. All bool. Attribute ``n_tests``.

    Raises
    ------
    ValueError
        Candidates without lags, or that are not bool; names or lags that the test does not know.

    Notes
    -----
    With an oracle, and candidates that are the dependences on the past, the lagged graph and the pairs within
    the step are the true ones. That the lagged candidates are always given makes tests strong and their number small;
    it is the idea of PCMCI+ (Runge 2020, "Discovering contemporaneous and lagged causal relations in autocorrelated
    nonlinear time series datasets", UAI), which finds its candidates by tests as well. Marks are those of `icd`.
    """
    graph = _candidates(candidates, independence_test)
    names, n_lags = _names(graph), int(graph.lag.max())
    present = [(name, 0) for name in names]
    causes = {node: [] for node in present}  # the candidates, always given
    for target, source, lag in _where(graph):
        causes[target].append((source, lag))
    near = {node: [*causes[node], *(other for other in present if other != node)] for node in present}
    separators, n_tests = {}, 0

    size, largest = 0, len(present) if max_conditioning_size is None else max_conditioning_size
    while size <= largest:
        before = {node: [other for other in near[node] if other[1] == 0] for node in present}  # as the round begins
        if max(map(len, before.values())) < size:
            break
        for y in present:
            for x in list(near[y]):
                within = x[1] == 0
                known = [*causes[y], *(node for node in causes[x] if node not in causes[y])] if within else causes[y]
                for more in combinations([node for node in before[y] if node != x], size):
                    given = [*(node for node in known if node != x), *more]
                    n_tests += 1
                    if independence_test(x, y, given):
                        separators[frozenset((x, y))] = frozenset(given)
                        near[y].remove(x)
                        if within:
                            near[x].remove(y)
                        break
        size += 1

    pag = _within_step_pag(lagged_nodes(names, n_lags), near, separators)
    joined = {(x, y): (pag.mark(y, x), pag.mark(x, y)) for y in present for x in near[y] if x[1] == 0}
    found = _empty(graph, "instantaneous", "undirected")
    for y in present:
        for x in near[y]:
            at = {"target": y[0], "source": x[0]}
            if x[1]:
                found["graph"].loc[at | {"lag": x[1]}] = True
                continue
            of_x, of_y = joined[x, y]  # without hidden causes one arrow tells the direction; two contradict each other
            found["instantaneous"].loc[at] = of_y == ARROW != of_x
            found["undirected"].loc[at] = (of_y == ARROW) == (of_x == ARROW)
    return _named_as(found, graph, n_tests)


def refine_hidden_causes(
    candidates: Any, independence_test: Test, *, max_conditioning_size: int | None = 3
) -> xr.Dataset:
    """Drop lagged candidates that hidden causes explain, as far as independences tell; nothing acts within the step.

    Where a hidden neuron drives a and later b, the past of a forecasts b, and so do the causes of a once a's past
    is known. With all the past known both look like causes of b. The search of `icd` for separating sets, among the
    candidates alone, finds those of the second kind independent of b given less. That they are tells of the first kind
    that a does not cause b: `a <-> b`.

    Parameters
    ----------
    candidates : Dataset with `graph`, or DataArray of bool (target, source, lag)
        Should hold all whose past helps to forecast a target: `causalkit.lagged_graphs.graph` makes it of scores.
    independence_test : callable
        As of `refine_within_step`.
    max_conditioning_size : int, optional
        Largest set that is tried; None tries all.

    Returns
    -------
    xarray.Dataset
        ``graph (target, source, lag)``, candidates that are left and of which no hidden cause is known to be the
        reason; ``sure (target, source, lag)``, those of them that no hidden cause alone explains; ``hidden (target,
        source, lag)``, dependences that only a hidden cause explains; ``undirected (target, source)``, pairs within
        the step that stay dependent, through a hidden cause. All bool. Attribute ``n_tests``.

    Raises
    ------
    ValueError
        As of `refine_within_step`.

    Notes
    -----
    An edge of `graph` is what a partial ancestral graph allows: no set of those tried separates the pair. It may be a
    cause through a hidden neuron. Effects within the step would appear as dependences within the step as well.

    References
    ----------
    Entner and Hoyer 2010, "On causal discovery from time series data using FCI" (the constraints of time); Rohekar et
    al. 2021, as of `icd` (the search).
    """
    graph = _candidates(candidates, independence_test)
    names, n_lags = _names(graph), int(graph.lag.max())
    nodes = lagged_nodes(names, n_lags)
    wanted = set(_where(graph))

    def twins(u: Node, v: Node) -> list[tuple[Node, Node]]:
        shifts = range(-min(u[1], v[1]), n_lags - max(u[1], v[1]) + 1)
        return [((u[0], u[1] + shift), (v[0], v[1] + shift)) for shift in shifts]

    pag, pairs, n_tests = PAG.complete(nodes), [], 0
    for x, y in combinations(nodes, 2):
        if min(x[1], y[1]) > 0:
            continue
        early, late = (x, y) if x[1] > y[1] else (y, x)
        past = [node for node in nodes if node[1] > 0 and node != early]
        if early[1]:
            apart = (late, *early) not in wanted
        else:
            n_tests += 1
            apart = independence_test(x, y, past)
        if apart:
            _separate(pag, x, y, past, twins)
        else:
            pairs.append((x, y))
    times = {node: -node[1] for node in nodes}
    search(independence_test, pag, times, max_conditioning_size, trust_arrows=False, pairs=pairs, twins=twins)

    found = _empty(graph, "undirected", sure=DIMS, hidden=DIMS)
    for x, y in pairs:
        if not pag.has_edge(x, y):
            continue
        early, late = (x, y) if x[1] > y[1] else (y, x)
        if not early[1]:
            for one, other in ((x, y), (y, x)):
                found["undirected"].loc[{"target": one[0], "source": other[0]}] = True
            continue
        at = {"target": late[0], "source": early[0], "lag": early[1]}
        mark = pag.mark(late, early)
        found["graph"].loc[at] = mark != ARROW
        found["sure"].loc[at] = mark == TAIL
        found["hidden"].loc[at] = mark == ARROW
    return _named_as(found, graph, n_tests + sum(pag.n_tests.values()))


def _candidates(candidates: Any, test: Test) -> xr.DataArray:
    """Checked, of bool (target, source, lag)."""
    graph = candidates["graph"] if isinstance(candidates, xr.Dataset) and "graph" in candidates else candidates
    if not isinstance(graph, xr.DataArray) or set(graph.dims) != set(DIMS) or graph.dtype != bool:
        raise ValueError(
            "candidates are no graph of bool (target, source, lag): make one of scores with "
            "causalkit.lagged_graphs.graph"
        )
    graph = graph.transpose(*DIMS)
    known = getattr(test, "nodes", None)
    if known is not None:
        missing = set(lagged_nodes(_names(graph), int(graph.lag.max()))) - set(known)
        if missing:
            raise ValueError(
                f"the independence test knows nothing of {sorted(missing)[:3]} (name, lag) and {len(missing)} nodes in "
                "all: make it for the same neurons, and for as many lags as the candidates have"
            )
    return graph


def _names(graph: xr.DataArray) -> list[str]:
    return [str(name) for name in graph["target"].values]


def _where(graph: xr.DataArray) -> Iterator[tuple[Node, Node, int]]:
    """((target, 0), source, lag) of every candidate."""
    targets, sources = _names(graph), [str(name) for name in graph["source"].values]
    lags = graph["lag"].values.tolist()
    for i, j, k in np.argwhere(graph.values).tolist():
        yield (targets[i], 0), sources[j], lags[k]


def _within_step_pag(nodes: list[Node], near: dict, separators: dict) -> PAG:
    """Marks within the step. Nothing is asked of pairs of the past: they stay joined, so that no rule uses them."""
    pag = PAG.complete(nodes)
    past = [node for node in nodes if node[1] > 0]
    for x, y in combinations(nodes, 2):
        early, late = (x, y) if x[1] > y[1] else (y, x)
        if late[1] == 0 and early not in near[late]:
            pag.remove_edge(x, y)
            pair = frozenset((x, y))
            pag.separators[pair] = separators.get(pair, frozenset(past) - {early})
    return orient(pag, {node: -node[1] for node in nodes}, complete=False)


def _empty(graph: xr.DataArray, *pairs: str, **more: tuple) -> dict[str, xr.DataArray]:
    """Nothing found yet, with names as text."""
    text = graph.assign_coords(target=_names(graph), source=[str(name) for name in graph["source"].values])
    empty = xr.zeros_like(text, dtype=bool).drop_attrs()
    found = {"graph": empty.copy()} | {name: empty.copy() for name in more}
    return found | {name: empty.isel(lag=0, drop=True).copy() for name in pairs}


def _named_as(found: dict[str, xr.DataArray], graph: xr.DataArray, n_tests: int) -> xr.Dataset:
    return xr.Dataset(found, attrs={"n_tests": n_tests}).assign_coords(target=graph.target, source=graph.source)

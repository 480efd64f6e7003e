"""Iterative causal discovery (ICD): independence tests in, partial ancestral graph out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations

from .orientation import Twins, orient
from .pag import ARROW, PAG, TAIL, Node

Test = Callable[[Node, Node, Collection[Node]], bool]


def icd(
    independence_test: Test,
    nodes: Sequence[Node] | None = None,
    *,
    order: Mapping[Node, float] | Sequence[Node] | None = None,
    max_conditioning_size: int | None = None,
    trust_arrows: bool = True,
    at_once: bool = False,
) -> PAG:
    """Find the causal graph, as far as independences tell, where causes may be hidden and data selected.

    It begins with all nodes joined. Round r asks, for each pair that is still joined, whether some r other nodes
    make it independent. Candidates lie near: they hang together with an endpoint by paths of at most r edges on which
    a separating set can lie, and may cause an endpoint. Pairs found independent lose their edge. After each
    round the marks are set anew (`orient`), and tell the next round where to look.

    Parameters
    ----------
    independence_test : callable
        `test(x, y, given)`, True where x and y are independent given others: `oracle_independence`,
        `PartialCorrelation` or your own. It should be symmetric in x and y.
    nodes : sequence, optional
        What to draw the graph of, by default `independence_test.nodes`. With an oracle their order does not matter.
        With data it decides which of two equally near separating sets is found first.
    order : mapping of node to number, or sequence of nodes from early to late, optional
        Known times: no node causes an earlier one. Equal numbers leave it open.
    max_conditioning_size : int, optional
        Stop after this round. What is oriented until then holds, but edges may be left that more would remove.
    trust_arrows : bool
        Whether a neighbor of an endpoint is left out of candidates where arrows say that it causes neither. With an
        oracle it saves a third of the tests. With data an arrow that is wrong may hide the set that would remove an
        edge: False then costs tests, but fewer false edges stay (`benchmarks/linear_gaussian.py`).
    at_once : bool
        Whether an edge that is removed is missing from the paths of the same round already. That saves tests, a
        quarter of them with 50 nodes. But the round may then miss a set that the edge led to, and set marks that are
        wrong. It is rare: the final graphs of `benchmarks/icd.py` are the same. By default a round looks at the graph
        as it found it.

    Returns
    -------
    PAG
        With `separators`, and in `n_tests` the number of tests of each conditioning size.

    Raises
    ------
    ValueError
        Nodes that are named twice or not at all, or that the order lacks.

    Notes
    -----
    Assumes that the data have the independences of the true graph (Markov) and no others (faithfulness). With an
    oracle the result is the partial ancestral graph: all its marks hold, and it has all that can be known
    (complete). With an order all its marks hold. One choice is ours: a node with a tail on a path is no collider there,
    so the path ends at it.

    References
    ----------
    Rohekar, Nisimov, Gurwicz and Novik 2021, "Iterative causal discovery in the possible presence of latent
    confounders and selection bias", NeurIPS (arXiv:2111.04095).
    """
    nodes = _checked_nodes(independence_test, nodes)
    times = _checked_order(order, nodes)
    return search(independence_test, PAG.complete(nodes), times, max_conditioning_size, trust_arrows, at_once)


def search(
    test: Test,
    pag: PAG,
    order: Mapping[Node, float] | None = None,
    max_conditioning_size: int | None = None,
    trust_arrows: bool = True,
    at_once: bool = False,
    pairs: Sequence[tuple[Node, Node]] | None = None,
    twins: Twins | None = None,
) -> PAG:
    """The rounds of ICD on a graph whose edges are still to be tested; see `icd`.

    Parameters
    ----------
    test, order, max_conditioning_size, trust_arrows, at_once
        As of `icd`, order as a mapping.
    pag : PAG
        Changed in place.
    pairs : sequence of pairs, optional
        Those to test, all by default.
    twins : callable, optional
        For a pair, all pairs that lose their edges with it and have the same marks: (u, v), (u', v'), ...

    Returns
    -------
    PAG
        The same object.
    """
    pairs = list(combinations(pag.nodes, 2)) if pairs is None else list(pairs)
    twins = twins or (lambda u, v: [(u, v)])
    n_tests: Counter = Counter()
    orient(pag, order, complete=False, twins=twins)
    largest = len(pag.nodes) - 2 if max_conditioning_size is None else max_conditioning_size
    for size in range(largest + 1):
        scope = _Scope(pag, order, trust_arrows, at_once)
        any_candidate = False
        for u, v in pairs:
            if not pag.has_edge(u, v):
                continue
            for given in scope.candidates(u, v, size):
                any_candidate = True
                n_tests[size] += 1
                if test(u, v, given):
                    _separate(pag, u, v, given, twins)
                    break
        orient(pag, order, complete=False, twins=twins)
        if not any_candidate:  # a larger set holds a smaller one
            break
    pag.n_tests = dict(n_tests)
    return orient(pag, order, twins=twins)


def trees_around(pag: PAG, root: Node, size: int, *, trust_arrows: bool = True) -> list[tuple[Node, ...]]:
    """Sets of so many nodes that may separate the root from the rest, the nearest first; see `icd`."""
    return _Scope(pag, None, trust_arrows, at_once=False).trees(root, root, size)


def _separate(pag: PAG, u: Node, v: Node, given: Collection[Node], twins: Twins) -> None:
    """Remove an edge and its copies, whose separating sets are shifted likewise."""
    for a, b in twins(u, v):
        if pag.has_edge(a, b):
            pag.remove_edge(a, b)
        pag.separators[frozenset((a, b))] = frozenset(_shifted(node, u, a) for node in given)


def _shifted(node: Node, start: Node, end: Node) -> Node:
    """The node as far from `end` as it was from `start`. Nodes that move are (name, lag)."""
    return node if start == end else (node[0], node[1] + end[1] - start[1])


class _Scope:
    """Where a round looks for separating sets: in the graph as it is when the round begins, or now (`at_once`).

    Triangles and possible ancestors are always those of the beginning: an edge that the round removes leaves
    colliders behind that get their marks only when it ends.
    """

    def __init__(self, pag: PAG, order: Mapping[Node, float] | None, trust_arrows: bool, at_once: bool):
        self.pag = pag if at_once else pag.copy()
        self.times = order or dict.fromkeys(pag.nodes, 0)
        self.trust_arrows = trust_arrows
        self.beside = {node: set(pag.graph[node]) for node in pag.nodes}
        self.possible_ancestors = {node: pag.possible_ancestors(node) for node in pag.nodes}
        self.place = {node: i for i, node in enumerate(pag.nodes)}

    def candidates(self, u: Node, v: Node, size: int) -> Iterator[tuple[Node, ...]]:
        """Sets of so many nodes that may separate u and v, the nearest first, each once."""
        if size == 0:
            yield ()
            return
        tried = set()
        for root, other in ((u, v), (v, u)):
            for given in self.trees(root, other, size):
                if (key := frozenset(given)) not in tried:
                    tried.add(key)
                    yield given

    def trees(self, root: Node, other: Node, size: int) -> list[tuple[Node, ...]]:
        """Sets whose every member is on a path from the root through members, by the sum of their distances."""
        possible = self.possible_causes(root, other)
        distance = self.distances(root, possible, size)
        members = sorted(distance, key=lambda node: (distance[node], self.place[node]))
        sets = [
            given for given in combinations(members, size)
            if distance[given[-1]] == 1 or len(self.distances(root, set(given), size)) == size
        ]  # fmt: skip
        return sorted(sets, key=lambda given: sum(distance[node] for node in given))

    def possible_causes(self, root: Node, other: Node) -> set[Node]:
        """Nodes that may cause an endpoint, and the root's neighbors that are not later if arrows are not trusted."""
        possible = self.possible_ancestors[root] | self.possible_ancestors[other]
        if not self.trust_arrows:
            latest = max(self.times[root], self.times[other])
            possible = possible | {node for node in self.pag.graph._adj[root] if self.times[node] <= latest}
        return possible - {root, other}

    def distances(self, root: Node, within: set[Node], depth: int) -> dict[Node, int]:
        """Length of the shortest path from the root to each node through nodes of `within`, up to a depth.

        On such a path each inner node is a collider, or may yet be one because its neighbors are joined.
        """
        adjacent = self.pag.graph._adj
        near = [node for node in adjacent[root] if node in within]
        distance = dict.fromkeys(near, 1)
        steps = {(root, node) for node in near}
        frontier = list(steps)
        for length in range(2, depth + 1):
            farther = []
            for a, b in frontier:
                for c in adjacent[b]:
                    if c in within and c != a and (b, c) not in steps and self.may_collide(a, b, c):
                        steps.add((b, c))
                        farther.append((b, c))
                        distance.setdefault(c, length)
            frontier = farther
        return distance

    def may_collide(self, a: Node, b: Node, c: Node) -> bool:
        """Whether a *-> b <-* c, or may be because a and c were joined when the round began."""
        marks = self.pag.mark(a, b), self.pag.mark(c, b)
        return marks == (ARROW, ARROW) or (TAIL not in marks and c in self.beside[a])


def _checked_nodes(test: Test, nodes: Sequence[Node] | None) -> list[Node]:
    if nodes is None:
        nodes = getattr(test, "nodes", None)
        if nodes is None:
            raise ValueError("nodes is missing: this independence test does not say which it knows; pass nodes=[...]")
    nodes = list(nodes)
    if len(set(nodes)) != len(nodes):
        raise ValueError(f"nodes has names that occur twice: {nodes}; each node needs its own")
    return nodes


def _checked_order(order: Mapping | Sequence | None, nodes: list[Node]) -> dict[Node, float] | None:
    if order is None:
        return None
    times = dict(order) if isinstance(order, Mapping) else {node: i for i, node in enumerate(order)}
    if missing := [node for node in nodes if node not in times]:
        raise ValueError(f"order says nothing of {missing}: give every node its time, equal ones where it is open")
    return times

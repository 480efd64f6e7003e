"""Explanations of one prediction (CLEANN): the smallest sets of tokens without which it would be another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from .iterative import trees_around
from .pag import PAG, Node

Changes = Callable[[tuple[Node, ...]], bool]


class Explanation(NamedTuple):
    """Tokens that together explain a prediction, and what it took to find them.

    Attributes
    ----------
    tokens : tuple of nodes, or None
        Without these the prediction is another one; None where no set that was tried changes it.
    n_asked : int
        How many times a prediction was made with tokens masked.
    """

    tokens: tuple[Node, ...] | None
    n_asked: int


def cleann(
    pag: PAG,
    target: Node,
    changes: Changes,
    *,
    max_size: int | None = None,
    trust_arrows: bool = False,
    otherwise: Sequence[Node] = (),
) -> Explanation:
    """Explain a prediction by the tokens that may cause it, the smallest and nearest sets first.

    Candidates are the sets that `icd` would try to separate the target from the rest by: each of their members is
    joined to the target, or to it by a path through members on which every one may be a collider. They are masked in
    the order of their size, then of the sum of their distances. The first set whose masking changes the
    prediction explains it.

    Parameters
    ----------
    pag : PAG
        Of the sequence's tokens and the prediction, as `abcd` reads it.
    target : node
        The prediction: the masked place of a recommender, the class token of a classifier.
    changes : callable
        `changes(tokens)` masks these tokens, predicts, and says whether the prediction is another one.
    max_size : int, optional
        The largest sets to try; by default all.
    trust_arrows : bool
        Whether neighbors that the graph says do not cause the target are left out. The authors do so; but arrows
        that were read out of attention are hardly better than chance, so the default asks these neighbors too.
    otherwise : sequence of nodes
        A ranking of tokens, the most important first, such as by attention. Where no set of the graph changes the
        prediction, all sets of these are tried (`sets_by_rank`). Not in the paper; none by default. Without it a
        prediction stays unexplained where the graph joins it to too few tokens.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If the target is no node of the graph.

    References
    ----------
    Rohekar, Gurwicz and Nisimov 2023, arXiv:2310.20307, section 5.
    """
    if target not in pag.nodes:
        raise ValueError(f"target {target!r} is no node of the graph: it has {pag.nodes}")
    largest = len(pag.nodes) - 1 if max_size is None else max_size
    found = first_that_changes(_sets_around(pag, target, largest, trust_arrows), changes)
    if found.tokens is not None:
        return found
    beyond = first_that_changes(sets_by_rank(otherwise, largest), changes)
    return Explanation(beyond.tokens, found.n_asked + beyond.n_asked)


def explain_by_rank(ranked: Sequence[Node], changes: Changes) -> Explanation:
    """Explain a prediction by the best ranked tokens: the first, the first two, ... until it changes.

    This is what a ranking of tokens can do, by attention, by gradients or at random: the baseline of `cleann`.

    Parameters
    ----------
    ranked : sequence of nodes
        The most important first.
    changes : callable
        As of `cleann`.
    """
    return first_that_changes((tuple(ranked[:size]) for size in range(1, len(ranked) + 1)), changes)


def sets_by_rank(ranked: Sequence[Node], max_size: int) -> Iterator[tuple[Node, ...]]:
    """All sets of ranked tokens, in the order of their size and then of the sum of ranks."""
    for size in range(1, min(max_size, len(ranked)) + 1):
        places = sorted(combinations(range(len(ranked)), size), key=sum)
        yield from (tuple(ranked[k] for k in given) for given in places)


def first_that_changes(sets: Iterable[tuple[Node, ...]], changes: Changes) -> Explanation:
    """Try sets in turn and return the first whose masking changes the prediction."""
    n_asked = 0
    for tokens in sets:
        n_asked += 1
        if changes(tokens):
            return Explanation(tokens, n_asked)
    return Explanation(None, n_asked)


def _sets_around(pag: PAG, target: Node, largest: int, trust_arrows: bool) -> Iterator[tuple[Node, ...]]:
    for size in range(1, largest + 1):
        sets = trees_around(pag, target, size, trust_arrows=trust_arrows)
        if not sets:  # a larger one holds a smaller one
            return
        yield from sets

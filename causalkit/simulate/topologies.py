"""Wirings of a given shape and density: hubs, small worlds, scale-free and spatial networks."""

import networkx as nx
import numpy as np

from .arguments import check_count, check_number, check_probability, check_range
from .wiring import EXCITATORY, cell_types, random_wiring

TOPOLOGIES = ("hub", "erdos_renyi", "small_world", "scale_free", "spatial")


def topology_wiring(
    topology,
    n_neurons,
    connection_probability,
    random_state,
    weight=5.0,
    *,
    n_hubs=3,
    hub_probability=0.5,
    hub_weight=3.0,
    rewiring=0.1,
    length=0.15,
):
    """Draw a signed wiring of a given shape.

    Every wiring has about ``connection_probability * n_neurons * (n_neurons - 1)`` connections (the hubs' come on
    top), no neuron is connected to itself, and each neuron's outgoing weights have one sign: see `cell_types`.

    Parameters
    ----------
    topology : str
        "hub": each ordered pair is connected independently, and the first `n_hubs` neurons, which are excitatory,
        reach each other neuron with `hub_probability` and weights `hub_weight` times as large. "erdos_renyi": without
        hubs, as `random_wiring`. "small_world": a ring on which some edges are rewired (Watts and Strogatz 1998,
        Nature 393:440). "scale_free": new nodes prefer those with many edges (Barabási and Albert 1999, Science
        286:509). In these two, each undirected edge is given one direction, either with probability one half.
        "spatial": neurons lie anywhere in the unit square, and a connection over the distance d has a probability
        proportional to ``exp(-d / length)``, at most 1.
    n_neurons : int
    connection_probability : float
        From 0 to 1; at most .5 for "small_world" and "scale_free", whose edges have one direction.
    random_state : int or numpy.random.SeedSequence
    weight : float or (float, float)
        Size of all weights, above 0, or the range from which each is drawn uniformly.
    n_hubs : int
        For "hub": at least 1, and no more than there are excitatory neurons.
    hub_probability : float
        For "hub": from 0 to 1.
    hub_weight : float
        For "hub": factor of the hubs' outgoing weights.
    rewiring : float
        For "small_world": share of the edges that are rewired, from 0 to 1.
    length : float
        For "spatial": the distance over which connections become e times rarer, above 0.

    Returns
    -------
    connectivity : numpy.ndarray
        Signed weights, shape (n_neurons, n_neurons): row target, column source.
    cell_type : numpy.ndarray
        Strings "excitatory" or "inhibitory", shape (n_neurons,).

    Raises
    ------
    ValueError
        An unknown topology, or numbers that it cannot have.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(
            f"topology={topology!r} is unknown: it is the shape of the wiring; give one of {list(TOPOLOGIES)}, or your "
            "own weights as connectivity"
        )
    smallest, largest = check_range(weight, "weight", above=0)
    cell_type = cell_types(n_neurons)
    probability = check_probability(connection_probability, "connection_probability")
    if topology == "erdos_renyi":
        return random_wiring(n_neurons, probability, random_state, weight)
    rng = np.random.default_rng(random_state)
    size = rng.uniform(smallest, largest, (n_neurons, n_neurons)) if smallest < largest else smallest
    if topology == "hub":
        hubs = _hubs(n_hubs, cell_type)
        chance = np.full(n_neurons, probability)
        chance[hubs] = check_probability(hub_probability, "hub_probability")
        connected = rng.random((n_neurons, n_neurons)) < chance  # one chance a source: a column
        size = size * np.where(hubs, check_number(hub_weight, "hub_weight", above=0), 1.0)
    elif topology == "spatial":
        connected = _spatial(n_neurons, probability, check_number(length, "length", above=0), rng)
    else:
        connected = _directed(topology, n_neurons, probability, check_probability(rewiring, "rewiring"), rng)
    np.fill_diagonal(connected, False)
    return np.where(connected, np.where(cell_type == EXCITATORY, size, -size), 0.0), cell_type


def _hubs(n_hubs, cell_type):
    n_hubs, n_excitatory = check_count(n_hubs, "n_hubs"), int((cell_type == EXCITATORY).sum())
    if n_hubs > n_excitatory:
        raise ValueError(
            f"n_hubs={n_hubs}: hubs are excitatory, and of {len(cell_type)} neurons {n_excitatory} are; ask for fewer "
            "hubs or more neurons"
        )
    return np.arange(len(cell_type)) < n_hubs


def _directed(topology, n, probability, rewiring, rng):
    """Connected [target, source]: the undirected graph of networkx, each edge with a random direction."""
    degree = 2 * probability * (n - 1)  # of the undirected graph, which has one edge for each connection
    seed = int(rng.integers(2**32))
    neighbors = max(2, 2 * round(degree / 2))
    if probability > 0.5 or n < 4 or neighbors > n - 1:
        raise ValueError(
            f"connection_probability={probability} is too dense for {topology!r} with {n} neurons: each pair has one "
            "direction at most; give at most .5, and at least four neurons"
        )
    if topology == "small_world":
        graph = nx.watts_strogatz_graph(n, neighbors, rewiring, seed=seed)
    else:
        # m edges for each of the n - m nodes that are added to a star of m edges: the m whose total comes nearest
        m = np.arange(1, n // 2 + 1)
        total = m * (n - m)
        graph = nx.barabasi_albert_graph(n, int(m[np.abs(total - degree * n / 2).argmin()]), seed=seed)
        graph = nx.relabel_nodes(graph, dict(enumerate(rng.permutation(n).tolist())))  # old nodes are no cell type
    connected = np.zeros((n, n), dtype=bool)
    pairs = np.array(graph.edges).reshape(-1, 2)
    turned = rng.random(len(pairs)) < 0.5
    target, source = np.where(turned[:, None], pairs[:, ::-1], pairs).T
    connected[target, source] = True
    return connected


def _spatial(n, probability, length, rng):
    """Connected [target, source], closer pairs more often."""
    place = rng.random((n, 2))
    distance = np.linalg.norm(place[:, None] - place, axis=-1)
    near = np.exp(-distance / length)
    np.fill_diagonal(near, 0)
    off = ~np.eye(n, dtype=bool)
    low, high = 0.0, 1.0 / max(near[off].min(initial=1.0), 1e-12)  # at the upper end every pair is connected
    for _ in range(60):  # the factor that gives the density: chances above 1 are cut, so it is found by halving
        factor = 0.5 * (low + high)
        low, high = (factor, high) if np.minimum(factor * near[off], 1).mean() < probability else (low, factor)
    return rng.random((n, n)) < np.minimum(high * near, 1)

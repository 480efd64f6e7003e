"""Random signed wirings: who excites and who inhibits whom; and the networks that a simulator is asked for."""

from dataclasses import dataclass

import numpy as np

from .arguments import check_count, check_probability, check_range, neuron_names, wirings

EXCITATORY, INHIBITORY = "excitatory", "inhibitory"
SYNAPTIC_WEIGHT = 5.0


def cell_types(n_neurons):
    """Cell type of each neuron: four excitatory to one inhibitory, the excitatory ones first.

    Where `n_neurons` is no multiple of five, the number of inhibitory neurons is rounded: one in 3 to 7
    neurons, two in 8 to 12, and none in networks of one or two.

    Parameters
    ----------
    n_neurons : int

    Returns
    -------
    numpy.ndarray
        Strings "excitatory" or "inhibitory", shape (n_neurons,).
    """
    n_neurons = check_count(n_neurons, "n_neurons")
    n_inhibitory = round(n_neurons / 5)
    return np.array([EXCITATORY] * (n_neurons - n_inhibitory) + [INHIBITORY] * n_inhibitory)


def random_wiring(n_neurons, connection_probability, random_state, weight=SYNAPTIC_WEIGHT):
    """Draw a random network: each ordered pair of neurons is connected independently.

    Every connection from an excitatory neuron has weight +5, every one from an inhibitory neuron -5; no
    neuron is connected to itself. These are the networks of the Causalformer paper (arXiv 2311.06928). Another
    `weight` leaves open which pairs are connected: the seed alone decides that.

    Parameters
    ----------
    n_neurons : int
    connection_probability : float
        Between 0 and 1.
    random_state : int or numpy.random.SeedSequence
        The same seed gives the same wiring.
    weight : float or (float, float)
        Size of all weights, above 0, or the range from which each is drawn uniformly.

    Returns
    -------
    connectivity : numpy.ndarray
        Signed weights, shape (n_neurons, n_neurons): row target, column source.
    cell_type : numpy.ndarray
        Strings "excitatory" or "inhibitory", shape (n_neurons,); see `cell_types`.

    Raises
    ------
    ValueError
        If `n_neurons` is below 1, `connection_probability` outside [0, 1], or a weight not above 0.
    """
    smallest, largest = check_range(weight, "weight", above=0)
    cell_type = cell_types(n_neurons)
    n_neurons = len(cell_type)
    probability = check_probability(connection_probability, "connection_probability")
    rng = np.random.default_rng(random_state)
    connected = rng.random((n_neurons, n_neurons)) < probability
    np.fill_diagonal(connected, False)
    size = rng.uniform(smallest, largest, connected.shape) if smallest < largest else smallest
    return np.where(connected, np.where(cell_type == EXCITATORY, size, -size), 0.0), cell_type


def cell_types_of(connectivity):
    """Cell type of each neuron as the signs of its outgoing weights say (a neuron has one sign: Dale's law).

    A neuron without outgoing connections gets the type that `cell_types` gives its place.

    Parameters
    ----------
    connectivity : numpy.ndarray
        Signed weights, shape (n_neurons, n_neurons): row target, column source.

    Returns
    -------
    numpy.ndarray
        Strings "excitatory" or "inhibitory", shape (n_neurons,).

    Raises
    ------
    ValueError
        If a neuron has outgoing weights of both signs.
    """
    excites, inhibits = (connectivity > 0).any(axis=0), (connectivity < 0).any(axis=0)
    if (excites & inhibits).any():
        raise ValueError(
            f"connectivity gives the neurons {np.flatnonzero(excites & inhibits).tolist()} outgoing weights "
            "of both signs: a neuron is excitatory or inhibitory (Dale's law); columns are sources, so check "
            "that the matrix is not transposed, or split such a neuron in two"
        )
    return np.select([excites, inhibits], [EXCITATORY, INHIBITORY], default=cell_types(connectivity.shape[0]))


@dataclass(frozen=True)
class Batch:
    """The networks that a simulator is asked for.

    Attributes
    ----------
    connectivity : numpy.ndarray
        Signed weights, shape (n_networks, n_neurons, n_neurons): row target, column source.
    cell_type : list of numpy.ndarray
        Of each network, as `cell_types_of` says.
    names : list of str or None
        Of the neurons, where the given wiring has them.
    many : bool
        Whether a list of recordings was asked for.
    streams : list of list of numpy.random.SeedSequence
        Four of each network: for the wiring, the neurons' parameters, the input, and the delays. Network k has those
        that ``random_state + k`` gives alone.
    """

    connectivity: np.ndarray
    cell_type: list
    names: list | None
    many: bool
    streams: list


def batch_of(n_neurons, connection_probability, random_state, connectivity, n_networks, weight):
    """Take the given wiring, or draw one for each network; see `izhikevich` for the arguments.

    Raises
    ------
    ValueError
        If an argument is impossible, or contradicts the given wiring.
    """
    random_state = check_count(random_state, "random_state", minimum=0)
    if n_networks is not None:
        n_networks = check_count(n_networks, "n_networks")
    names, many = None, n_networks is not None
    if connectivity is not None:
        for name, given, use in (
            ("connection_probability", connection_probability, "the probability is"),
            ("weight", weight, "the weights are"),
        ):
            if given is not None:
                raise ValueError(
                    f"{name} and connectivity are both given: {use} used to draw a wiring, which is there already; "
                    "leave one out"
                )
        names = neuron_names(connectivity)
        connectivity, many = wirings(connectivity, n_networks)
        n_networks = len(connectivity)
        if n_neurons is not None and n_neurons != connectivity.shape[-1]:
            raise ValueError(
                f"n_neurons={n_neurons} contradicts connectivity, which has {connectivity.shape[-1]} "
                "neurons: leave n_neurons out"
            )
    streams = [np.random.SeedSequence(random_state + k).spawn(4) for k in range(n_networks or 1)]
    if connectivity is None:
        size = 5 if n_neurons is None else n_neurons
        probability = 0.4 if connection_probability is None else connection_probability
        weight = SYNAPTIC_WEIGHT if weight is None else weight
        connectivity = np.stack([random_wiring(size, probability, seeds[0], weight)[0] for seeds in streams])
    return Batch(connectivity, [cell_types_of(weights) for weights in connectivity], names, many, streams)

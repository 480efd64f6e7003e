"""Random signed wirings: who excites and who inhibits whom."""

import numpy as np

from .arguments import check_count, check_probability

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


def random_wiring(n_neurons, connection_probability, random_state):
    """Draw a random network: each ordered pair of neurons is connected independently.

    Every connection from an excitatory neuron has weight +5, every one from an inhibitory neuron -5; no
    neuron is connected to itself. These are the networks of the Causalformer paper (arXiv 2311.06928).

    Parameters
    ----------
    n_neurons : int
    connection_probability : float
        Between 0 and 1.
    random_state : int or numpy.random.SeedSequence
        The same seed gives the same wiring.

    Returns
    -------
    connectivity : numpy.ndarray
        Signed weights, shape (n_neurons, n_neurons): row target, column source.
    cell_type : numpy.ndarray
        Strings "excitatory" or "inhibitory", shape (n_neurons,); see `cell_types`.

    Raises
    ------
    ValueError
        If `n_neurons` is below 1 or `connection_probability` is outside [0, 1].
    """
    cell_type = cell_types(n_neurons)
    n_neurons = len(cell_type)
    probability = check_probability(connection_probability, "connection_probability")
    connected = np.random.default_rng(random_state).random((n_neurons, n_neurons)) < probability
    np.fill_diagonal(connected, False)
    source_weight = np.where(cell_type == EXCITATORY, SYNAPTIC_WEIGHT, -SYNAPTIC_WEIGHT)
    return np.where(connected, source_weight, 0.0), cell_type


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

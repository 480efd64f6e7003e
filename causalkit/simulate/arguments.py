"""What may be handed to a simulator: checks, and one entry for each network of a batch."""

import numbers

import numpy as np


def check_count(value, name, minimum=1):
    """Return `value` as int, or say why it is no count."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name}={value!r} is no count: give a whole number of at least {minimum}")
    return int(value)


def check_probability(value, name):
    """Return `value` as float, or say why it is no probability."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise ValueError(
            f"{name}={value!r} is no probability: it is the chance that one neuron is connected to another; "
            "give a number from 0 to 1"
        )
    return float(value)


def check_number(value, name, above=None, minimum=None):
    """Return `value` as float, or say why it is no number of its range."""
    finite = not isinstance(value, bool) and isinstance(value, numbers.Real) and np.isfinite(value)
    if not finite or (above is not None and value <= above) or (minimum is not None and value < minimum):
        least = f" above {above}" if above is not None else "" if minimum is None else f" of at least {minimum}"
        raise ValueError(f"{name}={value!r} is impossible: give a finite number{least}")
    return float(value)


def check_range(value, name, above=None):
    """Return (smallest, largest) of one number, which is both, or of a pair; or say why it is no range."""
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name}={value!r} is no range: give one number, or the smallest and the largest")
    smallest, largest = (check_number(each, name, above) for each in pair)
    if smallest > largest:
        raise ValueError(f"{name}={value!r} is no range: the first number is the smallest; exchange them")
    return smallest, largest


def neuron_names(connectivity):
    """Names on the target axis of an `xarray.DataArray`, else None."""
    coords = getattr(connectivity, "coords", {})
    return [str(name) for name in coords["target"].values] if "target" in coords else None


def wirings(connectivity, n_networks):
    """Check given wiring.

    Parameters
    ----------
    connectivity : array_like
        Shape (n_neurons, n_neurons), or (n_networks, n_neurons, n_neurons), or a list of square matrices.
    n_networks : int or None

    Returns
    -------
    connectivity : numpy.ndarray
        Shape (n_networks, n_neurons, n_neurons).
    many : bool
        Whether the caller asked for a list of networks.
    """
    if isinstance(connectivity, (list, tuple)) and len({np.shape(w) for w in connectivity}) > 1:
        sizes = [np.shape(w) for w in connectivity]
        raise ValueError(
            f"connectivity has networks of the shapes {sizes}: one batch simulates networks of one size; "
            "simulate the others in a batch of their own"
        )
    connectivity = _finite(connectivity, "connectivity")
    shape = connectivity.shape
    if connectivity.ndim not in (2, 3) or shape[-1] != shape[-2] or shape[-1] == 0:
        raise ValueError(
            f"connectivity has shape {shape}, which is not square: it holds one weight for each pair of "
            "neurons, row target, column source; give (n_neurons, n_neurons), or (n_networks, n_neurons, "
            "n_neurons)"
        )
    self_connected = np.unique(np.argwhere(np.diagonal(connectivity, axis1=-2, axis2=-1))[..., -1])
    if self_connected.size:
        raise ValueError(
            f"connectivity connects the neurons {self_connected.tolist()} to themselves: the model resets a "
            "neuron that fires and has no such synapse; set the diagonal to 0"
        )
    many = connectivity.ndim == 3 or n_networks is not None
    n_networks = n_networks or (len(connectivity) if connectivity.ndim == 3 else 1)
    return for_each_network(connectivity, "connectivity", shape[-2:], n_networks), many


def parameter_array(params):
    """a, b, c, d as the last axis of an array, from an array or from anything with these four entries."""
    if hasattr(params, "keys") or hasattr(params, "columns"):
        missing = [name for name in "abcd" if name not in params]
        if missing:
            raise ValueError(
                f"params has no {missing}: an Izhikevich neuron is described by a, b, c and d; give all "
                "four, or leave params out to draw them"
            )
        return np.stack([np.asarray(params[name], dtype=float) for name in "abcd"], axis=-1)
    return params


def for_each_network(values, name, shape, n_networks):
    """Check `values` of one network, or of all, and return them as an array of shape (n_networks, *shape)."""
    values = _finite(values, name)
    if values.shape not in (shape, (n_networks, *shape)):
        raise ValueError(
            f"{name} has shape {values.shape}, but {n_networks} network(s) of this size and duration need "
            f"{shape}, or {(n_networks, *shape)} for each network its own: transpose or cut it, or leave out "
            "the arguments that it contradicts"
        )
    return np.broadcast_to(values, (n_networks, *shape))


def _finite(values, name):
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as an array of numbers ({error}): give a numeric array"
        ) from error
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite values: the simulation would spread them to every neuron; "
            "replace them (0 means no connection, no input)"
        )
    return values

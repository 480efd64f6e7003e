"""Networks of leaky integrate-and-fire neurons: the simplest neurons that spike."""

import numpy as np

from ..recording import from_array
from .arguments import check_count, check_number
from .synapses import STEP_MS, Synapses, drawn_delays, told
from .wiring import batch_of

DRIVES = ("gaussian", "poisson")


def lif(
    n_neurons=None,
    connection_probability=None,
    n_steps=5000,
    random_state=0,
    connectivity=None,
    n_networks=None,
    *,
    weight=None,
    delay_steps=1,
    drive="gaussian",
    drive_mv=15.0,
    noise_mv=1.0,
    tau_ms=20.0,
    refractory_ms=2,
    rest_mv=-65.0,
    threshold_mv=-50.0,
):
    """Simulate networks of leaky integrate-and-fire neurons, one or many at once.

    Below threshold, tau dv/dt = rest - v + drive + noise, solved exactly for each step of 1 ms, in which the drive is
    constant. A neuron that reaches the threshold has fired: it is set to `rest_mv`, stays there for the refractory
    time, whatever arrives then, and its spike moves its targets by the weights of their connections, in mV, after
    their delays. Network k of a batch is the one that ``random_state + k`` gives alone.

    Parameters
    ----------
    n_neurons : int, optional
        5, or as many as `connectivity` has.
    connection_probability : float, optional
        Of the random wiring, .4 by default; cannot be combined with `connectivity`.
    n_steps : int
        Rows of the recording, of 1 ms.
    random_state : int
    connectivity : array_like, optional
        Signed weights in mV, as in `izhikevich`.
    n_networks : int, optional
        Simulate this many in one batch and return a list.
    weight : float or (float, float), optional
        Size of the weights of the random wiring in mV, 5 by default, or the range from which each is drawn uniformly.
    delay_steps : int, (int, int) or array_like of int
        As in `izhikevich`: steps of 1 ms, at least 1; a pair is a range to draw from.
    drive : {"gaussian", "poisson"}
        Noise of each step: Gaussian, or events of one size at random times whose mean and variance are the same.
    drive_mv : float
        How far above `rest_mv` the drive would hold the mean voltage of a neuron that never fires.
    noise_mv : float
        Standard deviation of what the drive adds in one step; at least 0, above 0 for "poisson".
    tau_ms : float
        Time constant of the membrane.
    refractory_ms : int
        Steps for which a neuron that has fired stays at rest.
    rest_mv, threshold_mv : float

    Returns
    -------
    xarray.Dataset or list of xarray.Dataset
        A recording: `activity` (voltage clipped at the threshold), `voltage_mv` (as computed: a row is taken before the
        reset, so spikes overshoot), `spikes`, `connectivity`, `cell_type`, and `delay_steps` where one is not 1.

    Raises
    ------
    ValueError
        If an argument is impossible or contradicts another one.
    """
    networks = batch_of(n_neurons, connection_probability, random_state, connectivity, n_networks, weight)
    n_networks, _, n_neurons = networks.connectivity.shape
    n_steps = check_count(n_steps, "n_steps", minimum=2)
    refractory_steps = check_count(refractory_ms, "refractory_ms", minimum=0)
    rest_mv, threshold_mv = check_number(rest_mv, "rest_mv"), check_number(threshold_mv, "threshold_mv")
    if threshold_mv <= rest_mv:
        raise ValueError(
            f"threshold_mv={threshold_mv} is not above rest_mv={rest_mv}: a neuron at rest would fire in every step; "
            "raise the threshold"
        )
    decay = np.exp(-STEP_MS / check_number(tau_ms, "tau_ms", above=0))
    mean = (1 - decay) * check_number(drive_mv, "drive_mv")
    arriving = np.stack(
        [_drive(drive, mean, noise_mv, (n_steps - 1, n_neurons), seeds[2]) for seeds in networks.streams]
    )
    # the membrane starts anywhere below the threshold: neurons that start alike would fire alike
    start = np.stack([np.random.default_rng(seeds[1]).random(n_neurons) for seeds in networks.streams])
    delay_steps = drawn_delays(delay_steps, n_neurons, [seeds[3] for seeds in networks.streams])
    synapses = Synapses(networks.connectivity, n_steps, delay_steps)

    voltage_mv = np.empty((n_networks, n_steps, n_neurons))
    voltage_mv[:, 0] = rest_mv + start * (threshold_mv - rest_mv)
    waits = np.zeros((n_networks, n_neurons), dtype=int)  # steps for which a neuron stays at rest
    for t in range(n_steps - 1):
        v = voltage_mv[:, t]
        fired = v >= threshold_mv
        waits = np.where(fired, refractory_steps, waits)
        v = np.where(fired, rest_mv, v)
        moved = rest_mv + decay * (v - rest_mv) + arriving[:, t] + synapses.transmit(t, fired)
        voltage_mv[:, t + 1] = np.where(waits > 0, rest_mv, moved)
        waits = np.maximum(waits - 1, 0)

    recordings = []
    for k in range(n_networks):
        variables, attributes = told(synapses, k)
        recording = from_array(
            np.minimum(voltage_mv[k], threshold_mv),
            dt_ms=STEP_MS,
            kind="voltage",
            neurons=networks.names,
            spikes=voltage_mv[k] >= threshold_mv,
            voltage_mv=voltage_mv[k],
            connectivity=networks.connectivity[k],
            cell_type=networks.cell_type[k],
            variables=variables,
            more_neurons_than_times=n_steps < n_neurons,
        )
        recording.attrs |= {"simulator": "lif", "random_state": int(random_state) + k, **attributes}
        recordings.append(recording)
    return recordings if networks.many else recordings[0]


def _drive(drive, mean, noise_mv, shape, seed):
    """What arrives from outside in each step, in mV: of the given mean and standard deviation."""
    if drive not in DRIVES:
        raise ValueError(f"drive={drive!r} is unknown: it is the noise of each step; give one of {list(DRIVES)}")
    rng = np.random.default_rng(seed)
    if drive == "gaussian":
        return mean + check_number(noise_mv, "noise_mv", minimum=0) * rng.standard_normal(shape)
    if mean <= 0:
        raise ValueError("drive_mv must be above 0 for drive='poisson': its events all have the sign of the drive")
    event_mv = check_number(noise_mv, "noise_mv", above=0) ** 2 / mean
    return event_mv * rng.poisson(mean / event_mv, shape)

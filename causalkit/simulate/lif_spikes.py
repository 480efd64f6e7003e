"""Large networks of leaky integrate-and-fire neurons, of which only the spikes are kept."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from ..recording import from_array
from .arguments import check_count, check_number
from .lif import _drive
from .synapses import STEP_MS, drawn_delays
from .topologies import topology_wiring
from .wiring import batch_of

SYNAPSES = ("current", "conductance")
CHUNK = 1000  # steps whose input is drawn at once


def lif_spikes(
    n_neurons=None,
    connection_probability=None,
    n_steps=60_000,
    random_state=0,
    connectivity=None,
    n_networks=None,
    *,
    topology="hub",
    wiring=None,
    weight=None,
    delay_steps=(1, 5),
    synapses="current",
    tau_syn_ms=5.0,
    reversal_mv=(0.0, -80.0),
    drive="gaussian",
    drive_mv=10.0,
    noise_mv=1.0,
    common_drive_mv=None,
    common_tau_ms=10.0,
    tau_ms=20.0,
    refractory_ms=2,
    rest_mv=-65.0,
    threshold_mv=-50.0,
    bin_ms=5,
):
    """Simulate large networks of leaky integrate-and-fire neurons with synapses that decay, and count their spikes.

    Below threshold, ``tau dv/dt = rest - v + drive + noise + synapses``. A neuron that reaches the threshold has fired:
    it is set to `rest_mv` and stays there for the refractory time, whatever arrives. A spike is felt after the delay of
    its connection, by a current or a conductance that jumps and decays with `tau_syn_ms`. Steps are of 1 ms. Currents
    are integrated exactly. Conductances enter each step by their exact mean over it, an error of second order.

    Only the neurons that fire touch their targets, so ten minutes of 300 neurons take well under a minute. A network
    is simulated after the other; network k of a batch is the one that ``random_state + k`` gives alone.

    Parameters
    ----------
    n_neurons : int, optional
        300, or as many as `connectivity` has.
    connection_probability : float, optional
        Of the wiring that is drawn, .05 by default; cannot be combined with `connectivity`.
    n_steps : int
        Steps of 1 ms that are simulated; 600,000 are ten minutes.
    random_state : int
    connectivity : array_like, optional
        Signed weights in mV, [target, source], without self-connections, as in `izhikevich`: for example a measured
        connectome's. A weight is the height of the potential that one spike causes in a neuron at rest.
    n_networks : int, optional
        Simulate this many and return a list.
    topology : str
        Shape of the wiring that is drawn; see `topology_wiring`. The paper's networks are "hub".
    wiring : dict, optional
        More arguments of `topology_wiring`, such as ``{"n_hubs": 5, "hub_weight": 2}``.
    weight : float or (float, float), optional
        Size of the weights that are drawn in mV, or the range from which each is drawn; (.2, .6) by default.
    delay_steps : int, (int, int) or array_like of int
        As in `izhikevich`: steps of 1 ms, at least 1; a pair is a range to draw from. An input begins to move the
        voltage in the step after its delay.
    synapses : {"current", "conductance"}
        Of a conductance, the effect shrinks with the distance to its reversal potential.
    tau_syn_ms : float
        Time constant of the synapses.
    reversal_mv : (float, float)
        Reversal potentials of excitatory and inhibitory conductances, above and below `rest_mv`.
    drive : {"gaussian", "poisson"}
        Background noise of each step: Gaussian, or events of one size at random times whose mean and variance are the
        same.
    drive_mv : float
        How far above `rest_mv` the background would hold the mean voltage of a neuron that never fires.
    noise_mv : float
        Standard deviation of what the background adds in one step; at least 0, above 0 for "poisson".
    common_drive_mv : array_like, optional
        How strongly hidden signals drive each neuron, shape (n_neurons,) for one signal or (n_neurons, n_signals): the
        standard deviation, in mV, of the drive that a signal adds. Signals are Ornstein-Uhlenbeck processes.
    common_tau_ms : float
        Time constant of these signals.
    tau_ms : float
        Time constant of the membrane.
    refractory_ms : int
        Steps for which a neuron that has fired stays at rest.
    rest_mv, threshold_mv : float
    bin_ms : int
        Width of the bins in which spikes are counted. The last bin is left out where it is not full.

    Returns
    -------
    xarray.Dataset or list of xarray.Dataset
        A recording of kind "spikes": `activity`, counts in bins; `spike_time_ms (spike)` and `spike_neuron (spike)`,
        the number of the neuron, in the order of time; `connectivity`, `cell_type`, and `delay_steps` where one is not
        1; `common_drive_mv (neuron, signal)` where there is one. Spikes of the bin that was left out are left out too.
        Spike times are those of the whole simulation: selecting neurons or steps of the recording leaves them as they
        are.

    Raises
    ------
    ValueError
        If an argument is impossible or contradicts another one.

    Examples
    --------
    >>> from causalkit import simulate
    >>> recording = simulate.lif_spikes(60, n_steps=10_000, random_state=3)
    >>> recording.activity.shape, recording.attrs["kind"], recording.attrs["dt_ms"]
    ((2000, 60), 'spikes', 5.0)
    """
    random_state = check_count(random_state, "random_state", minimum=0)
    if connectivity is None:
        connectivity = _drawn_wirings(
            n_neurons, connection_probability, random_state, n_networks, topology, weight, wiring
        )
        connection_probability = weight = None
    elif wiring is not None:
        raise ValueError(
            "wiring and connectivity are both given: wiring says how to draw what is there already; leave one out"
        )
    networks = batch_of(n_neurons, connection_probability, random_state, connectivity, n_networks, weight)
    n_steps, bin_ms = check_count(n_steps, "n_steps", minimum=2), check_count(bin_ms, "bin_ms")
    n_bins, n = n_steps // bin_ms, networks.connectivity.shape[-1]
    if n_bins < 2:
        raise ValueError(
            f"n_steps={n_steps} make {n_bins} full bins of {bin_ms} ms: a recording needs two; simulate longer "
            "or lower bin_ms"
        )
    membrane = Membrane.of(
        synapses, tau_ms, tau_syn_ms, refractory_ms, threshold_mv, rest_mv, reversal_mv, drive_mv
    )
    common = _common_drive(common_drive_mv, n)
    common_tau_ms = check_number(common_tau_ms, "common_tau_ms", above=0)
    delays = drawn_delays(delay_steps, n, [seeds[3] for seeds in networks.streams])
    recordings = []
    for k, weights in enumerate(networks.connectivity):
        seeds = networks.streams[k]
        targets = Targets(weights, delays if np.ndim(delays) < 3 else delays[k], n_steps)
        background = _background(drive, noise_mv, common, common_tau_ms, membrane, n, seeds[2])
        start = np.random.default_rng(seeds[1]).random(n) * membrane.threshold
        time, neuron = run(membrane, targets, background, start, n_bins * bin_ms)
        counts = np.zeros((n_bins, n), dtype=np.float32)
        np.add.at(counts, (time // bin_ms, neuron), 1)
        variables = {"spike_time_ms": ("spike", time * STEP_MS), "spike_neuron": ("spike", neuron.astype(np.int32))}
        if (targets.delays != 1).any():
            variables["delay_steps"] = ("target", "source"), targets.delays
        if common.shape[1]:
            variables["common_drive_mv"] = ("neuron", "signal"), common
        recording = from_array(
            counts,
            dt_ms=bin_ms * STEP_MS,
            kind="spikes",
            neurons=networks.names,
            connectivity=weights,
            cell_type=networks.cell_type[k],
            variables=variables,
            more_neurons_than_times=n_bins < n,
        )
        recording.attrs |= {"simulator": "lif_spikes", "random_state": random_state + k, "synapses": synapses}
        recordings.append(recording)
    return recordings if networks.many else recordings[0]


def _drawn_wirings(n_neurons, connection_probability, random_state, n_networks, topology, weight, wiring):
    """(n_neurons, n_neurons), or with n_networks one more dimension; each from the first stream of its seed."""
    seeds = range(random_state, random_state + (1 if n_networks is None else check_count(n_networks, "n_networks")))
    drawn = [
        topology_wiring(
            topology,
            300 if n_neurons is None else check_count(n_neurons, "n_neurons"),
            0.05 if connection_probability is None else connection_probability,
            np.random.SeedSequence(seed).spawn(4)[0],
            (0.2, 0.6) if weight is None else weight,
            **(wiring or {}),
        )[0]
        for seed in seeds
    ]
    return drawn[0] if n_networks is None else np.stack(drawn)


@dataclass(frozen=True)
class Membrane:
    """Numbers of the neurons, voltages measured from rest.

    Attributes
    ----------
    decay, syn_decay : float
        Of a voltage and of a synapse, over one step.
    passed : float
        What a synaptic current of 1 mV adds to the voltage over the step that follows; for conductances, the mean
        over the step of one that begins at 1.
    jump : array (n_kinds, 2)
        What a spike adds to each kind of synapse for 1 mV of positive and of negative weight.
    reversal : array (n_kinds,)
        Of conductances, in mV from rest; empty for currents.
    drive : float
        Voltage at which the mean of the background would hold a neuron.
    leak : float
        Step over time constant of the membrane.
    threshold : float
    refractory : int
    """

    decay: float
    syn_decay: float
    passed: float
    jump: np.ndarray
    reversal: np.ndarray
    drive: float
    leak: float
    threshold: float
    refractory: int

    @classmethod
    def of(cls, synapses, tau_ms, tau_syn_ms, refractory_ms, threshold_mv, rest_mv, reversal_mv, drive_mv):
        if synapses not in SYNAPSES:
            raise ValueError(f"synapses={synapses!r} is unknown: it says how inputs act; give one of {list(SYNAPSES)}")
        tau, tau_syn = check_number(tau_ms, "tau_ms", above=0), check_number(tau_syn_ms, "tau_syn_ms", above=0)
        rest = check_number(rest_mv, "rest_mv")
        threshold = check_number(threshold_mv, "threshold_mv") - rest
        if threshold <= 0:
            raise ValueError(
                f"threshold_mv={threshold_mv} is not above rest_mv={rest_mv}: a neuron at rest would fire in every "
                "step; raise the threshold"
            )
        excitatory, inhibitory = (check_number(each, "reversal_mv") - rest for each in reversal_mv)
        if not inhibitory < 0 < excitatory:
            raise ValueError(
                f"reversal_mv={reversal_mv!r} does not enclose rest_mv={rest_mv}: excitation pulls the voltage up from "
                "rest and inhibition down; give the excitatory one above, then the inhibitory one below"
            )
        height = response(peak_time(tau, tau_syn), tau, tau_syn)
        syn_decay = np.exp(-STEP_MS / tau_syn)
        if synapses == "current":
            passed, reversal = response(STEP_MS, tau, tau_syn), np.empty(0)
            jump = np.full((1, 2), 1 / height)
        else:
            passed, reversal = tau_syn / STEP_MS * (1 - syn_decay), np.array([excitatory, inhibitory])
            jump = np.diag(1 / (height * reversal))
        return cls(
            np.exp(-STEP_MS / tau), syn_decay, passed, jump, reversal,
            check_number(drive_mv, "drive_mv"), STEP_MS / tau, threshold,
            check_count(refractory_ms, "refractory_ms", minimum=0),
        )  # fmt: skip


def response(time_ms, tau_ms, tau_syn_ms):
    """Voltage, so long after the arrival of a spike at time 0, that a current which begins at 1 mV has caused."""
    if np.isclose(tau_ms, tau_syn_ms, rtol=1e-6):
        return time_ms / tau_ms * np.exp(-time_ms / tau_ms)
    return tau_syn_ms / (tau_ms - tau_syn_ms) * (np.exp(-time_ms / tau_ms) - np.exp(-time_ms / tau_syn_ms))


def peak_time(tau_ms, tau_syn_ms):
    """When that voltage is highest."""
    if np.isclose(tau_ms, tau_syn_ms, rtol=1e-6):
        return tau_ms
    return tau_ms * tau_syn_ms / (tau_ms - tau_syn_ms) * np.log(tau_ms / tau_syn_ms)


class Targets:
    """For each source, whom it reaches, how strongly, and when: all that is touched when it fires.

    Parameters
    ----------
    weights : array (n_neurons, n_neurons)
        [target, source], in mV.
    delays : int or array (n_neurons, n_neurons)
    n_steps : int
    """

    def __init__(self, weights, delays, n_steps):
        delays = np.broadcast_to(np.asarray(delays), weights.shape)
        connected = weights != 0
        bad = connected & ((delays < 1) | (delays != np.round(delays)) | (delays >= n_steps))
        if bad.any():
            raise ValueError(
                f"delay_steps holds {np.unique(delays[bad]).tolist()[:5]} for {int(bad.sum())} connection(s): a spike "
                f"arrives a whole number of steps later, at least 1, and before the {n_steps} steps end; give such "
                "numbers"
            )
        self.delays = np.where(connected, delays, 1).astype(int)
        self.n_neurons = len(weights)
        self.longest = int(self.delays.max())
        source, target = np.nonzero(connected.T)
        self.bounds = np.searchsorted(source, np.arange(self.n_neurons + 1)).tolist()
        self.target, self.weight = target, weights[target, source]
        self.delay = self.delays[target, source]


def run(membrane, targets, background, start, n_steps, voltage=None):
    """Return steps and neurons of all spikes.

    Parameters
    ----------
    membrane : Membrane
    targets : Targets
    background : callable
        Of a number of steps: what arrives from outside in them beyond the mean, in mV, (n_steps, n_neurons).
    start : array (n_neurons,)
        First voltages, from rest. A neuron fires in a step if its voltage has reached the threshold there; row 0 is
        the start.
    n_steps : int
    voltage : array (n_steps, n_neurons), optional
        Filled with the voltages, each row before the reset.
    """
    n, kinds = targets.n_neurons, len(membrane.jump)
    # what is under way to the synapses: a ring of steps, each with one row a kind of synapse
    ring = np.zeros((targets.longest + 1, kinds, n))
    flat, size = ring.ravel(), ring.size
    negative = (targets.weight < 0).astype(int)
    kind = negative if kinds == 2 else np.zeros_like(negative)
    offset = (targets.delay * kinds + kind) * n + targets.target
    amount = targets.weight * membrane.jump[kind, negative]
    bounds, refractory, threshold = targets.bounds, membrane.refractory, membrane.threshold
    v, synaptic, recent = start.copy(), np.zeros((kinds, n)), [np.empty(0, dtype=int)] * refractory
    times, fired_neurons = [], []
    for first in range(0, n_steps, CHUNK):
        arriving = background(min(CHUNK, n_steps - first))
        for t in range(first, first + len(arriving)):
            slot = t % len(ring)
            if voltage is not None:
                voltage[t] = v
            fired = (v >= threshold).nonzero()[0]
            if len(fired):
                times.append(t)
                fired_neurons.append(fired)
                v[fired] = 0.0
                for j in fired.tolist():
                    at = offset[bounds[j] : bounds[j + 1]] + slot * kinds * n
                    at[at >= size] -= size
                    flat[at] += amount[bounds[j] : bounds[j + 1]]
            synaptic += ring[slot]
            ring[slot] = 0.0
            v = _moved(membrane, v, synaptic, arriving[t - first])
            synaptic *= membrane.syn_decay
            if refractory:
                recent[t % refractory] = fired
                for held in recent:
                    if len(held):
                        v[held] = 0.0
    lengths = [len(fired) for fired in fired_neurons]
    return np.repeat(np.array(times, dtype=int), lengths), np.concatenate([*fired_neurons, np.empty(0, dtype=int)])


def _moved(membrane, v, synaptic, arriving):
    """Voltages one step later, of neurons that may move."""
    if not len(membrane.reversal):
        return membrane.drive + membrane.decay * (v - membrane.drive) + membrane.passed * synaptic[0] + arriving
    conductance = membrane.passed * synaptic  # the mean over the step, in units of the leak
    total = 1 + conductance[0] + conductance[1]
    towards = (membrane.drive + membrane.reversal @ conductance) / total
    return towards + (v - towards) * np.exp(-membrane.leak * total) + arriving


def _common_drive(common_drive_mv, n_neurons):
    if common_drive_mv is None:
        return np.empty((n_neurons, 0))
    common = np.asarray(common_drive_mv, dtype=float)
    common = common[:, None] if common.ndim == 1 else common
    if common.ndim != 2 or len(common) != n_neurons or not np.isfinite(common).all():
        raise ValueError(
            f"common_drive_mv has shape {np.shape(common_drive_mv)} for {n_neurons} neurons: it says how strongly each "
            "neuron hears each hidden signal; give finite numbers of shape (n_neurons,) or (n_neurons, n_signals)"
        )
    return common


def _background(drive, noise_mv, common, common_tau_ms, membrane, n_neurons, seed):
    """Function that draws what arrives in the next steps beyond the mean, from where it stopped the last time."""
    mean = (1 - membrane.decay) * membrane.drive
    alone, together = (np.random.default_rng(each) for each in seed.spawn(2))
    n_signals, stays = common.shape[1], np.exp(-STEP_MS / common_tau_ms)
    state = stays * together.standard_normal((1, n_signals))

    def draw(n_steps):
        nonlocal state
        arriving = _drive(drive, mean, noise_mv, (n_steps, n_neurons), alone) - mean
        if n_signals:
            fresh = np.sqrt(1 - stays**2) * together.standard_normal((n_steps, n_signals))
            signal, state = lfilter([1.0], [1.0, -stays], fresh, axis=0, zi=state)
            arriving = arriving + (1 - membrane.decay) * signal @ common.T
        return arriving

    return draw

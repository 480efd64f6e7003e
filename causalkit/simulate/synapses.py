"""What connections do beyond adding a fixed weight in the next step: delay, plasticity, modulation over time."""

import json
import numbers
from collections import deque
from dataclasses import asdict, dataclass

import numpy as np

from .arguments import check_count, for_each_network

STEP_MS = 1.0


@dataclass(frozen=True)
class STDP:
    """Spike-timing dependent plasticity of excitatory connections.

    Each pair of a spike that reaches a synapse and a spike of the target, `lag` ms later, changes the strength s
    of the connection, which is its weight relative to the initial one, by ::

        +rate_plus  * (largest - s)  * exp(-lag / tau_plus_ms)     if lag > 0
        -rate_minus * (s - smallest) * exp(lag / tau_minus_ms)     if lag < 0

    Pairs in the same time step change nothing. All pairs count, summed by exponential traces. Rates and time
    constants are those of Song, Miller & Abbott (2000, Nature Neuroscience 3:919); the bounds are soft (the
    multiplicative rule of van Rossum, Bi & Turrigiano 2000, J Neurosci 20:8812, and of Rubin, Lee & Sompolinsky
    2001, Phys Rev Lett 86:364), so weights gather around a middle instead of at two extremes. `smallest` is above
    0: a connection never vanishes, and the wiring stays the truth. Inhibitory connections keep their weights.

    Parameters
    ----------
    rate_plus, rate_minus : float
        From 0 to 1: the part of the way to the bound that one pair at lag 0 would go.
    tau_plus_ms, tau_minus_ms : float
        Time constants of the two traces, in ms.
    smallest, largest : float
        Bounds of the strength; 1 lies between them.

    Raises
    ------
    ValueError
        If a rate is outside [0, 1], a time constant is not above 0, or not 0 < smallest <= 1 <= largest.
    """

    rate_plus: float = 0.005
    rate_minus: float = 0.00525
    tau_plus_ms: float = 20.0
    tau_minus_ms: float = 20.0
    smallest: float = 0.1
    largest: float = 2.0

    def __post_init__(self):
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not np.isfinite(value):
                raise ValueError(f"STDP: {name}={value!r} is no number: it scales weights or time; give a finite one")
            object.__setattr__(self, name, float(value))
        for name in ("rate_plus", "rate_minus"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"STDP: {name}={getattr(self, name)} is outside [0, 1]: it is the part of the way to the bound "
                    "that one pair of spikes goes, and more would jump beyond it; give a rate such as 0.005"
                )
        for name in ("tau_plus_ms", "tau_minus_ms"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"STDP: {name}={getattr(self, name)} is no time constant: the memory of a spike decays with it; "
                    "give one above 0 ms, such as 20"
                )
        if not 0 < self.smallest <= 1 <= self.largest:
            raise ValueError(
                f"STDP: smallest={self.smallest} and largest={self.largest} do not enclose the initial strength 1 "
                "above 0: a strength of 0 would remove a connection from the truth; give 0 < smallest <= 1 <= largest"
            )


def sinusoidal_modulation(n_steps, period_ms, depth, phase=0.0):
    """Make a strength of synapses that waxes and wanes: ``1 + depth * sin(2 pi t / period_ms + phase)``.

    Parameters
    ----------
    n_steps : int
    period_ms : float
        Above 0.
    depth : float
        From 0 (constant) to 1 (down to nothing once a period).
    phase : float
        In radians.

    Returns
    -------
    numpy.ndarray
        Shape (n_steps,): for the argument `modulation` of `izhikevich`.

    Raises
    ------
    ValueError
        If `n_steps` is no count, `period_ms` not above 0, or `depth` outside [0, 1].
    """
    n_steps = check_count(n_steps, "n_steps")
    for name, value in (("period_ms", period_ms), ("depth", depth), ("phase", phase)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not np.isfinite(value):
            raise ValueError(f"{name}={value!r} is no number: it describes a rhythm; give a finite one")
    if period_ms <= 0:
        raise ValueError(f"period_ms={period_ms} is no duration: a rhythm repeats after it; give one above 0")
    if not 0 <= depth <= 1:
        raise ValueError(
            f"depth={depth} is outside [0, 1]: beyond 1, excitatory synapses would inhibit for a part of each "
            "period; give 0 for no modulation, up to 1"
        )
    return 1 + depth * np.sin(2 * np.pi * np.arange(n_steps) * STEP_MS / period_ms + phase)


class Synapses:
    """The connections of a batch of networks, from the spikes of one time step to the current in the next.

    Parameters
    ----------
    connectivity : numpy.ndarray
        Initial signed weights, shape (n_networks, n_neurons, n_neurons).
    n_steps : int
    delay_steps, plasticity, modulation
        As given to `izhikevich`.

    Raises
    ------
    ValueError
        If one of them is impossible.
    """

    def __init__(self, connectivity, n_steps, delay_steps=1, plasticity=None, modulation=None):
        if not (plasticity is None or isinstance(plasticity, STDP)):
            raise ValueError(
                f"plasticity={plasticity!r} is no rule: give simulate.STDP(), with parameters of your choice, or None"
            )
        self.delays = _delays(delay_steps, connectivity, n_steps)
        self.modulation = None if modulation is None else _modulation(modulation, len(connectivity), n_steps)
        self.plasticity = plasticity
        self._weights = connectivity
        # One part for each delay that occurs: (delay, where it is, its weights there)
        used = np.unique(self.delays[connectivity != 0]).tolist() or [1]
        at = [self.delays == delay for delay in used]
        self._parts = [
            (delay, where, connectivity if len(used) == 1 else connectivity * where)
            for delay, where in zip(used, at, strict=True)
        ]
        silence = np.zeros(connectivity.shape[:2], dtype=bool)
        self._recent = deque([silence] * used[-1], maxlen=used[-1])  # the latest spikes first
        if plasticity is not None:
            self._plastic = connectivity > 0
            self._strength = np.ones(connectivity.shape)
            self._source_trace = np.zeros(connectivity.shape)  # at the synapse: each may have its delay
            self._target_trace = np.zeros(connectivity.shape[:2])

    def transmit(self, step, fired):
        """Return the current into each neuron in the step after row `step`, where the neurons `fired` have fired.

        To be called for one row after the other. A spike passes with the strength that it finds, and changes it
        after that. Shapes (n_networks, n_neurons).
        """
        self._recent.appendleft(fired)
        current = 0.0
        for delay, _, weights in self._parts:
            if self.plasticity is not None:
                weights = weights * self._strength
            current = current + np.matmul(weights, self._recent[delay - 1][..., None])[..., 0]
        if self.plasticity is not None:
            self._learn(fired)
        return current if self.modulation is None else current * self.modulation[:, step, None]

    def final_weights(self):
        """Weights as learned so far, without modulation, shape (n_networks, n_neurons, n_neurons)."""
        return self._weights * self._strength

    def _learn(self, fired):
        rule, strength = self.plasticity, self._strength
        arrived = np.zeros(strength.shape)
        for delay, where, _ in self._parts:
            arrived += where & self._recent[delay - 1][:, None, :]
        self._source_trace *= np.exp(-STEP_MS / rule.tau_plus_ms)
        self._target_trace *= np.exp(-STEP_MS / rule.tau_minus_ms)
        # Many recent spikes together go to the bound at most, not beyond.
        rise = np.minimum(rule.rate_plus * self._source_trace, 1) * fired[:, :, None]
        fall = np.minimum(rule.rate_minus * self._target_trace, 1)[:, :, None] * arrived
        change = rise * (rule.largest - strength) - fall * (strength - rule.smallest)
        self._strength = np.where(self._plastic, strength + change, strength)
        self._source_trace += arrived
        self._target_trace += fired


def told(synapses, network):
    """Variables and attributes that say, in a recording, what the synapses of one network did beyond the plain."""
    variables, attributes = {}, {}
    if (synapses.delays[network] != 1).any():
        variables["delay_steps"] = ("target", "source"), synapses.delays[network]
    if synapses.modulation is not None:
        variables["modulation"] = "time", synapses.modulation[network]
    if synapses.plasticity is not None:
        variables["connectivity_final"] = ("target", "source"), synapses.final_weights()[network]
        attributes["plasticity"] = json.dumps(asdict(synapses.plasticity))
    return variables, attributes


def drawn_delays(delay_steps, n_neurons, seeds):
    """Delays as given, or, for a pair (smallest, largest), drawn for every connection of every network."""
    if not (isinstance(delay_steps, (list, tuple)) and np.shape(delay_steps) == (2,)):
        return delay_steps
    smallest, largest = (check_count(steps, "delay_steps") for steps in delay_steps)
    if smallest > largest:
        raise ValueError(f"delay_steps={delay_steps!r} is no range: the first number is the smallest; exchange them")
    shape = (n_neurons, n_neurons)
    return np.stack([np.random.default_rng(seed).integers(smallest, largest + 1, shape) for seed in seeds])


def _delays(delay_steps, connectivity, n_steps):
    n_networks, *pairs = connectivity.shape
    if np.ndim(delay_steps) == 0:
        delay_steps = np.full(pairs, check_count(delay_steps, "delay_steps"))
    delays = for_each_network(delay_steps, "delay_steps", tuple(pairs), n_networks)
    connected = connectivity != 0
    bad = connected & ((delays < 1) | (delays != np.round(delays)) | (delays >= n_steps))
    if bad.any():
        raise ValueError(
            f"delay_steps holds {np.unique(delays[bad]).tolist()[:5]} for {int(bad.sum())} connection(s): a spike "
            f"arrives a whole number of steps later, at least 1, and before the recording of {n_steps} steps ends; "
            "give such numbers"
        )
    return np.where(connected, delays, 1).astype(int)  # where nothing connects, there is nothing to wait for


def _modulation(modulation, n_networks, n_steps):
    modulation = for_each_network(modulation, "modulation", (n_steps,), n_networks)
    if (modulation < 0).any():
        raise ValueError(
            f"modulation has {int((modulation < 0).sum())} negative values: excitatory synapses would inhibit, and "
            "the signs of the wiring would be no truth; give factors of at least 0, 1 for the weight as it is"
        )
    if not modulation.any(axis=1).all():
        raise ValueError(
            "modulation is 0 at all times: no connection would ever act, and the wiring would be no truth; "
            "simulate connectivity of zeros if that is what you want"
        )
    return modulation

"""Stimuli: input that several neurons share, the unobserved common cause of their activity.

Each function returns an array for the argument `stimulus` of `izhikevich`, which is added to the noise that every
neuron receives on its own. For a batch of networks, stack one array for each, from seeds of their own. With
`lag_steps`, one drive reaches some neurons later than others: the early ones then help to forecast the late ones
without any connection between them.
"""

import numbers

import numpy as np
from scipy.signal import lfilter

from .arguments import check_count
from .synapses import STEP_MS


def pulse_train(
    n_steps, n_neurons, driven, *, rate_hz=5.0, amplitude=5.0, width_steps=5, lag_steps=0, random_state=0
):
    """Make pulses at random times (a Poisson process), the same ones for all driven neurons.

    Parameters
    ----------
    n_steps, n_neurons : int
        Of the recording.
    driven : sequence of int
        Places of the neurons that receive the pulses, from 0.
    rate_hz : float
        Mean number of pulses that begin in a second; at most one in a step of 1 ms.
    amplitude : float
        Input current while a pulse lasts, in the unit of `input_current`, where the noise has mean 5 and standard
        deviation 2.2. Pulses that overlap make one longer pulse.
    width_steps : int
        Steps that a pulse lasts.
    lag_steps : int or sequence of int
        Steps by which each driven neuron receives the drive later; one number, or one for each in `driven`.
    random_state : int

    Returns
    -------
    numpy.ndarray
        Shape (n_steps, n_neurons), 0 for the other neurons.

    Raises
    ------
    ValueError
        If a count, rate or amplitude is impossible, or `driven` or `lag_steps` does not fit the neurons.
    """
    n_steps, n_neurons, driven, lags = _places(n_steps, n_neurons, driven, lag_steps)
    width_steps = check_count(width_steps, "width_steps")
    rate_hz, amplitude = _number(rate_hz, "rate_hz", 0), _number(amplitude, "amplitude")
    chance = rate_hz * STEP_MS / 1000
    if chance > 1:
        raise ValueError(
            f"rate_hz={rate_hz} is more than one pulse a step of {STEP_MS:g} ms: pulses begin at steps; give at most "
            f"{1000 / STEP_MS:g}"
        )
    begins = np.random.default_rng(random_state).random(n_steps + max(lags)) < chance
    on = np.convolve(begins, np.ones(width_steps))[: len(begins)] > 0.5
    return _spread(amplitude * on, n_steps, n_neurons, driven, lags)


def ornstein_uhlenbeck(n_steps, n_neurons, driven, *, sd=2.0, tau_ms=20.0, lag_steps=0, random_state=0):
    """Make slow Gaussian noise (an Ornstein-Uhlenbeck process of mean 0), the same for all driven neurons.

    Sampled exactly and stationary from the start: the autocorrelation is exp(-lag / tau_ms) (Uhlenbeck & Ornstein
    1930, Phys Rev 36:823).

    Parameters
    ----------
    n_steps, n_neurons : int
        Of the recording.
    driven : sequence of int
        Places of the neurons that receive the drive, from 0.
    sd : float
        Standard deviation, in the unit of `input_current`, where the noise has 2.2.
    tau_ms : float
        Correlation time.
    lag_steps : int or sequence of int
        Steps by which each driven neuron receives the drive later; one number, or one for each in `driven`.
    random_state : int

    Returns
    -------
    numpy.ndarray
        Shape (n_steps, n_neurons), 0 for the other neurons.

    Raises
    ------
    ValueError
        If a count, `sd` or `tau_ms` is impossible, or `driven` or `lag_steps` does not fit the neurons.
    """
    n_steps, n_neurons, driven, lags = _places(n_steps, n_neurons, driven, lag_steps)
    sd, tau_ms = _number(sd, "sd", 0), _number(tau_ms, "tau_ms", 0)
    kept = np.exp(-STEP_MS / tau_ms) if tau_ms else 0.0  # a time constant of 0 is white noise
    noise = np.random.default_rng(random_state).standard_normal(n_steps + max(lags))
    noise[1:] *= np.sqrt(1 - kept**2)
    return _spread(sd * lfilter([1], [1, -kept], noise), n_steps, n_neurons, driven, lags)


def _places(n_steps, n_neurons, driven, lag_steps):
    """Check which neurons are driven, and how late; return sizes, their places and the lag of each."""
    n_steps, n_neurons = check_count(n_steps, "n_steps"), check_count(n_neurons, "n_neurons")
    driven = [check_count(place, "driven", minimum=0) for place in np.atleast_1d(driven).tolist()]
    if not driven or len(set(driven)) < len(driven) or max(driven) >= n_neurons:
        raise ValueError(
            f"driven={driven} is empty, repeats a neuron, or names one beyond the {n_neurons} there are: the drive "
            "goes to each once; give places from 0"
        )
    lags = [check_count(lag, "lag_steps", minimum=0) for lag in np.atleast_1d(lag_steps).tolist()]
    if len(lags) not in (1, len(driven)):
        raise ValueError(
            f"lag_steps has {len(lags)} entries for {len(driven)} driven neurons: give one number, or one for each"
        )
    return n_steps, n_neurons, driven, lags if len(lags) > 1 else lags * len(driven)


def _spread(drive, n_steps, n_neurons, driven, lags):
    """Put one drive, which begins `max(lags)` steps before the recording, into the columns of the driven neurons."""
    stimulus = np.zeros((n_steps, n_neurons))
    for place, lag in zip(driven, lags, strict=True):
        stimulus[:, place] = drive[max(lags) - lag :][:n_steps]
    return stimulus


def _number(value, name, minimum=-np.inf):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not minimum <= value < np.inf:
        least = "" if minimum == -np.inf else f" of at least {minimum}"
        raise ValueError(f"{name}={value!r} is impossible: it describes the drive; give a finite number{least}")
    return float(value)

"""Random VARs whose answer is known, and their regressions by hand."""

import numpy as np

from causalkit.methods.var import spectral_radius
from causalkit.recording import from_array


def random_vars(n_networks, n_neurons, order, rng, density=0.3):
    """Stable sparse VARs with correlated noise: (network, lag, target, source), (network, neuron, neuron)."""
    shape = (n_networks, 1, n_neurons, n_neurons)
    edges = (rng.random(shape) < density) | np.eye(n_neurons, dtype=bool)
    a = rng.uniform(0.2, 0.6, (n_networks, order, n_neurons, n_neurons))
    a *= rng.choice([-1, 1], a.shape) * edges / order
    for k in range(n_networks):
        while spectral_radius(a[k]) > 0.9:
            a[k] *= 0.9
    mixing = np.eye(n_neurons) + 0.3 * rng.standard_normal((n_networks, n_neurons, n_neurons))
    return a, mixing @ np.swapaxes(mixing, 1, 2)


def simulate(a, noise_covariance, n_times, rng, burn_in=200):
    """Run VARs side by side: (network, time, neuron)."""
    n_networks, order, n_neurons, _ = a.shape
    factor = np.linalg.cholesky(noise_covariance)
    noise = rng.standard_normal((burn_in + n_times, n_networks, n_neurons, 1))
    x = np.zeros((burn_in + n_times, n_networks, n_neurons))
    for t in range(order, len(x)):
        past = x[t - order : t][::-1]  # (lag, network, neuron)
        x[t] = np.einsum("klij,lkj->ki", a, past) + (factor @ noise[t])[..., 0]
    return np.swapaxes(x[burn_in:], 0, 1)


def design(recording, order, without=()):
    """Targets and regressors by hand, trial by trial; columns lag-major with a leading constant."""
    x = recording.activity.values.astype(float)
    trial = recording.trial.values if "trial" in recording else np.zeros(len(x), int)
    targets, rows = [], []
    for t in range(order, len(x)):
        if (trial[t - order : t + 1] == trial[t]).all():
            targets.append(x[t])
            rows.append(np.concatenate([[1.0], x[t - order : t][::-1].ravel()]))
    return np.array(targets), np.delete(np.array(rows), without, axis=1)


def three_trials():
    """A recording of four neurons driven by a VAR of order 2, in trials of 250, 30 and 320 steps."""
    rng = np.random.default_rng(1)
    a, v = random_vars(1, 4, 2, rng)
    return from_array(50 + 3 * simulate(a, v, 600, rng)[0], trial=np.repeat([0, 1, 2], [250, 30, 320]))

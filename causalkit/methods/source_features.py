"""What a source shows to its targets: a few functions of its value that follow from the data's own distribution."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.signal import lfilter

from causalkit.methods.robust_wald import factor_of_gram
from causalkit.methods.threads import side_by_side

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

N_FEATURES = 2
TOP_SHARE = 0.02  # of a neuron's range, below its maximum
MIN_TOP = 20  # rows that a feature of the top must hold: fewer would each decide a coefficient
SQUARE_LIMIT = 3.0  # standard deviations: a square beyond them would follow single rows
TRACE_STEPS = (10, 40)  # time constants of the averages that stand for a neuron's older past
NEW_SHARE = 0.02  # of its variance that a feature must add to the value, or it is left out


def source_features(x: Array) -> Array:
    """Return the features of every neuron, each of mean 0 and standard deviation 1.

    The first is the value. The second marks the top of the neuron's range, where clipped voltage, spikes and
    counts pile up; where nothing does, as in smooth activity, it is the square of the value. It is 0 where it says no
    more than the value, as for spikes of 0 and 1.

    Parameters
    ----------
    x : array (n_times, n_neurons)
        z-scored activity.

    Returns
    -------
    array (n_times, n_neurons, 2)
    """
    low, high = x.min(axis=0), x.max(axis=0)
    top = (x >= high - TOP_SHARE * (high - low)).astype(float)
    enough = (top.sum(axis=0) >= MIN_TOP) & ((1 - top).sum(axis=0) >= MIN_TOP)
    square = np.clip(x, -SQUARE_LIMIT, SQUARE_LIMIT) ** 2
    second = np.where(enough, top, square)
    second -= second.mean(axis=0)
    deviation = second.std(axis=0)
    second /= np.where(deviation > 0, deviation, 1)
    new = 1 - (x * second).mean(axis=0) ** 2
    second[:, (new < NEW_SHARE) | (deviation == 0)] = 0
    return np.stack([x, second], axis=-1)


def activation_contrast(x: Array, features: Array, share: float = 0.05) -> Array:
    """Mean features of a neuron where its value is in the upper `share` minus those elsewhere, (n_neurons, n_features).

    It says what "more active" means in terms of the features, and so gives an effect its sign.
    """
    high = x >= np.quantile(x, 1 - share, axis=0)
    high &= x > x.min(axis=0)  # with rare spikes the quantile itself is rest
    counts = high.sum(axis=0)[:, None]
    upper = (features * high[..., None]).sum(axis=0) / counts
    return upper - (features * ~high[..., None]).sum(axis=0) / (len(x) - counts)


class LaggedFeatures:
    """Features 1 to `n_lags` steps before `rows`; copied only where they are read.

    Parameters
    ----------
    features : array (n_times, n_neurons, n_features)
    rows : array (n_rows,)
    """

    def __init__(self, features: Array, rows: Rows):
        self.features, self.rows = features, rows

    def at(self, n_lags: int, chosen: Rows | slice = slice(None), dtype=float) -> NDArray:
        """Those before the chosen rows, (n_rows, n_neurons, n_lags * n_features), lag 1 first."""
        rows, (n_neurons, n_features) = self.rows[chosen], self.features.shape[1:]
        values = np.empty((len(rows), n_neurons, n_lags * n_features), dtype)
        for lag in range(n_lags):
            values[..., lag * n_features : (lag + 1) * n_features] = self.features[rows - lag - 1]
        return values


def choose_n_own(x: Array, rows: Rows, choices: tuple[int, ...]) -> int:
    """Own values that a linear forecast needs, the same for all neurons, by Akaike's criterion (small-sample form)."""
    longest = choices[-1]

    def criteria(values: Array) -> list[float]:
        past = np.column_stack([np.ones(len(rows)), *(values[rows - lag] for lag in range(1, longest + 1))])
        goal, found = values[rows], []
        gram, products = past.T @ past, past.T @ goal
        for n_own in choices:
            columns = n_own + 1
            factor, _ = factor_of_gram(gram[:columns, :columns].copy())
            left = goal @ goal - products[:columns] @ cho_solve(factor, products[:columns])
            penalty = 2 * columns * len(rows) / max(len(rows) - columns - 1, 1)
            found.append(len(rows) * np.log(max(left / len(rows), 1e-300)) + penalty)
        return found

    return choices[int(np.argmin(np.sum(side_by_side(criteria, x.T), axis=0)))]


class OwnHistory:
    """What a forecast of `rows` knows of each neuron's own past: n_own + 4 numbers, copied only where they are read.

    The last `n_own` values, latest first, and running averages of both features over all that came before in the
    trial: slow variables that no one sees, such as adaptation, outlast any short window.

    Parameters
    ----------
    x : array (n_times, n_neurons)
    features : array (n_times, n_neurons, n_features)
    rows : array (n_rows,)
    n_own : int
    trials : list of slice
    """

    def __init__(self, x: Array, features: Array, rows: Rows, n_own: int, trials: list[slice]):
        self.x, self.rows, self.n_own = x, rows, n_own
        self.averages = np.empty((*x.shape, features.shape[-1] * len(TRACE_STEPS)))
        for trial in trials:
            for k, steps in enumerate(TRACE_STEPS):
                decay = np.exp(-1 / steps)
                self.averages[trial, :, 2 * k : 2 * k + 2] = lfilter([1 - decay], [1, -decay], features[trial], axis=0)
        self.averages /= np.maximum(self.averages.std(axis=0), 1e-12)
        # in single precision, for networks: windows are views of the reversed recording
        self._reversed = torch.as_tensor(x, dtype=torch.float32).flip(0)
        self._windows = self._reversed.unfold(0, n_own, 1)
        self._averages = torch.as_tensor(self.averages, dtype=torch.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_rows, n_neurons, n_own + 4)."""
        return len(self.rows), self.x.shape[1], self.n_own + self.averages.shape[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen) -> torch.Tensor:
        """Single precision, (*the shape of `chosen`, n_neurons, n_own + 4)."""
        rows = torch.as_tensor(self.rows)[chosen]
        return torch.cat([self._windows[len(self.x) - rows], self._averages[rows - 1]], dim=-1)

    def of_neuron(self, neuron: int, chosen: Rows | slice = slice(None)) -> torch.Tensor:
        """Single precision, (n_chosen, n_own + 4)."""
        rows = torch.as_tensor(self.rows[chosen])
        windows = self._reversed[:, neuron].contiguous().unfold(0, self.n_own, 1)  # of one neuron, close together
        return torch.cat([windows[len(self.x) - rows], self._averages[:, neuron][rows - 1]], dim=-1)

    def values(self, neuron: int, chosen: Rows) -> Array:
        """Double precision, (n_chosen, n_own + 4)."""
        rows = self.rows[chosen]
        latest = np.stack([self.x[rows - lag, neuron] for lag in range(1, self.n_own + 1)], axis=-1)
        return np.concatenate([latest, self.averages[rows - 1, neuron]], axis=-1)

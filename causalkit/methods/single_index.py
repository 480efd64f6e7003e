"""Granger causality through one index a target: what all sources do to a neuron, read through its own state."""

from __future__ import annotations

import numbers

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from causalkit import connectivity
from causalkit.methods.base import Method, Traits
from causalkit.methods.robust_wald import GroupTests
from causalkit.methods.single_index_fit import Nuisance, learn, tests_of_target
from causalkit.methods.source_features import (
    N_FEATURES,
    TRACE_STEPS,
    activation_contrast,
    lagged,
    own_history,
    source_features,
)
from causalkit.metrics import r2
from causalkit.recording import normalize, trial_slices, window_starts

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

ROWS_PER_FOLD = 45  # fewest rows on which a response can be learned at all
MAX_DECORRELATION = 100  # steps


class SingleIndexGranger(Method):
    """Estimate connections with sign, lag and p-value from a single-index model of every neuron.

    A neuron's next value is forecast as ``F(own history, identity, s) + noise``: F is one small network that all
    neurons share, and the index ``s = sum W phi(x_source)`` sums up all sources. The gain dF/ds says when a neuron
    listens: the same input moves a neuron near its threshold far more than one at rest. A source is scored by the
    robust Wald statistic of its features, scaled by that gain, in a regression with all other sources.

    Parameters
    ----------
    n_own : int, default 10
        Own last values that a forecast sees, besides running averages over 10 and 40 steps.
    max_lag : int, default 5
        Largest lag of a source; Akaike's criterion chooses how many of them are used, the same for all pairs.
    n_folds : int, default 2
        Blocks of time. Each is tested with what was learned on the others (cross-fitting).
    n_rounds : int, default 5
        How often response and index are learned in turns.
    epochs : int, default 15
        Passes over the training rows in each round.
    learning_rate : float, default 0.003
    random_state : int, default 0
        Seed of the initial weights and of the batches.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the Wald statistic over its degrees of freedom; ``p_value`` by the F distribution, not corrected
        for the number of pairs; ``sign`` of what a more active source does to its target, at the lag of largest
        score; ``lag_score (target, source, lag)``, the Wald statistic of one lag given all other lags and sources.
    diagnostics_ : xarray.Dataset
        ``n_lags`` in use; ``gap``, the time steps between the rows that teach a fold and its test rows; ``n_rows``
        tested; ``r2 (neuron)`` of the forecasts in their test blocks; ``durbin_watson (neuron)``, near 2 where their
        errors are white; ``bandwidth (neuron)``, the window over the errors' autocorrelation that the covariance
        takes in, 1 where they are white.

    Raises
    ------
    ValueError
        From ``fit``: impossible parameters, or too few time steps for the number of neurons.

    Notes
    -----
    Sources are described by two features that follow from the data, `causalkit.methods.source_features`. Neither the
    simulator's threshold nor its delay is known to the method. The p-values hold for large recordings in which the
    forecast from own history and index leaves no error that other neurons could foretell; neurons that are not recorded
    and drive several others break that, as for every Granger method. The covariance is a sandwich (White 1982; Huber
    1981), with Bartlett weights where errors are autocorrelated (Newey & West 1987).

    All features of all lags are held in memory, 16 n_times n_neurons max_lag bytes, as is the design of one target at a
    time.

    References
    ----------
    Ichimura (1993), J. Econometrics 58, 71-120 (single-index models). Chernozhukov et al. (2018), Econometrics J. 21,
    C1-C68 (cross-fitting). Newey & West (1987), Econometrica 55, 703-708. Ljung & Box (1978), Biometrika 65, 297-303.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import SingleIndexGranger
    >>> x = np.random.default_rng(0).standard_normal((600, 2))
    >>> x[1:, 1] += x[:-1, 0]  # n0 drives n1 one step later
    >>> c = SingleIndexGranger(epochs=5, n_rounds=2).fit(x).connectivity_
    >>> bool(c.p_value.sel(target="n1", source="n0") < 1e-6), int(c.sign.sel(target="n1", source="n0"))
    (True, 1)
    """

    name = "single_index"
    traits = Traits(
        directed=True,
        input_kinds=("voltage", "spikes", "calcium", "other"),
        stochastic=True,
        signed=True,
        lagged=True,
        p_values=True,
    )
    algorithm_version = 1

    def __init__(
        self, *, n_own=10, max_lag=5, n_folds=2, n_rounds=5, epochs=15, learning_rate=3e-3, random_state=0
    ):
        self.n_own = n_own
        self.max_lag = max_lag
        self.n_folds = n_folds
        self.n_rounds = n_rounds
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.random_state = random_state

    def _min_times(self) -> int:
        for parameter, least in (
            ("n_own", 1), ("max_lag", 1), ("n_folds", 2), ("n_rounds", 1), ("epochs", 1), ("random_state", 0),
        ):  # fmt: skip
            _check_whole(parameter, getattr(self, parameter), least)
        rate = self.learning_rate
        if not isinstance(rate, numbers.Real) or not 0 < rate < 1:
            raise ValueError(f"learning_rate is {rate!r}: it is the size of a training step, a number between 0 and 1")
        return self._context() + ROWS_PER_FOLD * self.n_folds

    def _what(self) -> str:
        return "SingleIndexGranger (single_index)"

    def _context(self) -> int:
        return max(self.n_own, self.max_lag)

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        x, trials = normalize(recording.activity), trial_slices(recording)
        context = self._context()
        rows = window_starts(recording, context) + context
        gap = context + decorrelation_time(x, trials)
        folds = blocks_of_time(rows, self.n_folds, gap)
        self._check_length(len(rows), min(len(train) for train, _ in folds), gap, x.shape[1])

        features = source_features(x)
        nuisance = learn(
            own_history(x, features, rows, self.n_own, trials), x[rows], lagged(features, rows, self.max_lag),
            [train for train, _ in folds], self.max_lag, self.n_rounds, self.epochs, self.learning_rate,
            self.random_state,
        )  # fmt: skip
        test = [test for _, test in folds]
        tests = [tests_of_target(nuisance, target, test) for target in range(x.shape[1])]

        neurons = recording.neuron.values.tolist()
        self.diagnostics_ = _diagnose(nuisance, x[rows], test, gap).assign(
            bandwidth=("neuron", [t.bandwidth for t in tests])
        ).assign_coords(neuron=neurons)
        return connectivity.build(
            neurons=neurons,
            method=self.name,
            parameters=self.get_params(),
            **_matrices(tests, activation_contrast(x, features), nuisance.n_lags),
        )

    def _check_length(self, n_rows: int, n_train: int, gap: int, n_neurons: int) -> None:
        least = 2 * (self.n_folds * (self.n_own + 2 * len(TRACE_STEPS) + 2) + (n_neurons - 1) * N_FEATURES)
        if n_rows < least:
            raise ValueError(
                f"activity has {n_rows} time steps with a full history but SingleIndexGranger needs at least {least} "
                f"for {n_neurons} neurons: with fewer the regression fits anything; record longer or keep fewer neurons"
            )
        if n_train < 20:
            raise ValueError(
                f"{n_rows} time steps in {self.n_folds} blocks, {gap} steps apart, leave {max(n_train, 0)} to learn "
                "from: too few to forecast anything; record longer, or lower n_own or max_lag"
            )


def decorrelation_time(x: Array, trials: list[slice], limit: float = 0.1) -> int:
    """Lags after which the neurons' mean squared autocorrelation is below `limit` squared, at most 100."""
    longest = min(MAX_DECORRELATION, len(x) // 50)
    for lag in range(1, longest):
        products = sum((x[rows][lag:] * x[rows][:-lag]).sum(axis=0) for rows in trials) / len(x)
        if np.mean(products**2) < limit**2:
            return lag
    return longest


def blocks_of_time(rows: Rows, n_folds: int, gap: int) -> list[tuple[Rows, Rows]]:
    """Training and test rows of each fold, as positions in `rows`: tests are one block, training stays `gap` away."""
    borders = np.linspace(0, len(rows), n_folds + 1).astype(int)
    if len(rows) < n_folds:
        return [(np.empty(0, int), np.empty(0, int))] * n_folds
    return [
        (np.flatnonzero((rows < rows[a] - gap) | (rows > rows[b - 1] + gap)), np.arange(a, b))
        for a, b in zip(borders[:-1], borders[1:], strict=True)
    ]


def _matrices(tests: list[GroupTests], contrast: Array, n_lags: int) -> dict[str, Array]:
    """What `connectivity.build` takes, from the tests of each target."""
    n, k = contrast.shape
    score, p_value, sign = np.full((n, n), np.nan), np.full((n, n), np.nan), np.zeros((n, n))
    lag_score = np.full((n, n, n_lags), np.nan)
    for target, test in enumerate(tests):
        others = np.arange(n) != target
        score[target, others] = test.wald() / np.maximum(test.df, 1)
        p_value[target, others] = test.p_values()
        by_lag = np.stack([test.wald(slice(lag * k, (lag + 1) * k)) for lag in range(n_lags)], axis=-1)
        lag_score[target, others] = by_lag
        strongest = test.coefficients.reshape(n - 1, n_lags, k)[np.arange(n - 1), by_lag.argmax(axis=-1)]
        sign[target, others] = np.sign((strongest * contrast[others]).sum(axis=-1))
    return {"score": score, "p_value": p_value, "sign": sign, "lag_score": lag_score}


def _diagnose(nuisance: Nuisance, goal: Array, test: list[Rows], gap: int) -> xr.Dataset:
    error = np.concatenate([nuisance.residual[fold, rows] for fold, rows in enumerate(test)])
    tested = goal[np.concatenate(test)]
    return xr.Dataset(
        {
            "n_lags": nuisance.n_lags,
            "gap": gap,
            "n_rows": len(error),
            "r2": ("neuron", r2(tested, tested - error)),
            "durbin_watson": ("neuron", (np.diff(error, axis=0) ** 2).sum(axis=0) / (error**2).sum(axis=0)),
        }
    )


def _check_whole(parameter: str, value: object, least: int) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{parameter} is {value!r}: it is a whole number, {least} or more")

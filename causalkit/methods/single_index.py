"""Granger causality through one index a target: what all sources do to a neuron, read through its own state."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from causalkit import connectivity, significance
from causalkit.methods.base import Method, Traits, check_rate, check_whole
from causalkit.methods.folds import blocks_of_time
from causalkit.methods.response import ENCODERS
from causalkit.methods.robust_wald import GroupTests
from causalkit.methods.single_index_fit import Nuisance, learn, tests_of_targets
from causalkit.methods.source_features import (
    N_FEATURES,
    TRACE_STEPS,
    LaggedFeatures,
    OwnHistory,
    activation_contrast,
    choose_n_own,
    source_features,
)
from causalkit.methods.threads import one_thread_a_part
from causalkit.metrics import r2
from causalkit.recording import normalize, trial_slices, window_starts

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

OWN_CHOICES = (10, 20, 40)  # steps of own history
ROWS_PER_FOLD = 45  # fewest rows on which a response can be learned at all
MAX_DECORRELATION = 100  # steps
SOLVERS = "auto", "exact", "shared"
MOST_ALONE = 60  # neurons; with more, targets are regressed together


class SingleIndexGranger(Method):
    """Estimate connections with sign, lag and p-value from a single-index model of every neuron.

    A neuron's next value is forecast as ``F(own history, identity, s) + noise``: F is one small network that all
    neurons share, and the index ``s = sum W phi(x_source)`` sums up all sources. The gain dF/ds says when a neuron
    listens: the same input moves a neuron near its threshold far more than one at rest. A source is scored by the
    robust Wald statistic of its features, scaled by that gain, in a regression with all other sources.

    Parameters
    ----------
    n_own : int or "auto", default "auto"
        Own last values that a forecast sees, besides running averages over 10 and 40 steps. "auto" takes 10, 20 or 40
        by Akaike's criterion of linear forecasts; the longer ones need a hundred times as many steps.
    max_lag : int, default 5
        Largest lag of a source; Akaike's criterion chooses how many of them are used, the same for all pairs.
    n_folds : int, default 2
        Blocks of time. Each is tested with the response and the index learned on the others (cross-fitting); scaling,
        features, `n_own` and the number of lags follow from the whole recording.
    n_rounds : int, default 5
        How often response and index are learned in turns.
    n_steps : int, default 600
        Training steps of the first round; half as many in each other.
    learning_rate : float, default 0.01
        Largest of each round.
    n_windows : int, default 1
        Parts of equal numbers of steps that are also tested one by one, for connections that come and go. The response
        is learned on the whole recording.
    solver : {"auto", "exact", "shared"}, default "auto"
        "exact" regresses every target by itself, at a cost of n_times n_neurons² a target. "shared" regresses many at
        once with one factorization of the sources, n_times n_neurons a target: the same coefficients, and p-values that
        are approximations. "auto" shares from 61 neurons on.
    encoder : {"mlp", "transformer"}, default "mlp"
        How a neuron's own history enters the response: as it is, or read by the Causalformer's local encoder, which
        attends within that neuron alone. The index enters after it in both. The transformer took five to eleven times
        as long and ranked no worse in the few recordings that both were tried on; "mlp" is the one whose p-values
        were looked at in many networks.
    random_state : int, default 0
        Seed of the initial weights and of the batches.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the Wald statistic over its degrees of freedom; ``p_value`` by the F distribution, not corrected
        for the number of pairs; ``adjusted_p_value``, corrected as Benjamini & Hochberg (1995) do; ``sign`` of what a
        more active source does to its target, at the lag of largest score; ``lag_score (target, source, lag)``, the
        Wald statistic of one lag given all other lags and sources. With several windows also ``window_score`` and
        ``window_p_value (window, target, source)``, and when each starts and ends, ``window_start`` and
        ``window_stop``, in ms.
    diagnostics_ : xarray.Dataset
        ``n_lags`` and ``n_own`` in use; ``gap``, the time steps between the rows that teach a fold and its test rows;
        ``n_rows`` tested; ``r2 (neuron)`` of the forecasts in their test blocks; ``durbin_watson (neuron)``, near 2
        where their errors are white; ``bandwidth (neuron)``, the window over the errors' autocorrelation that the
        covariance takes in, 1 where they are white.

    Raises
    ------
    ValueError
        From ``fit``: impossible parameters, recordings of spikes or calcium, too few time steps for the number of
        neurons, or for the lags in use in each window.

    Notes
    -----
    Sources are described by two features that follow from the data, `causalkit.methods.source_features`. Neither the
    simulator's threshold nor its delay is known to the method. The p-values hold for large recordings in which the
    forecast from own history and index leaves no error that other neurons could foretell; neurons that are not recorded
    and drive several others break that, as for every Granger method. On the Causalformer paper's networks of 5 to 40
    neurons, 6.2 % of non-edges were below .05 and 1.5 % below .01 (means over 79 networks, 99.9 % intervals 4.2 to
    8.1 % and 0.6 to 2.4 %); in networks without any edge 5.3 % and 1.5 % (200 networks of five neurons, 4.0 to 6.5 %
    and 0.9 to 2.2 %). With few rows for the number of columns they are too large; ten times as many rows are
    enough. P-values of a window can be too small where a connection was there in other windows only: one response
    serves the whole recording, and expects it. The covariance is a sandwich (White 1982; Huber 1981), with Bartlett
    weights where errors are autocorrelated (Newey & West 1987).

    Made for voltages and other smooth activity. Spikes are for `SpikeIndexGranger`; calcium is refused, since cause and
    effect share a frame.

    Where targets are regressed together (`causalkit.methods.shared_regression`), a source is tested by what no other
    source shows of it in the rows without the target's gain. What that leaves out of the variances is measured on three
    targets that are regressed alone. Then all variances are multiplied by one factor, with which the p-values of pairs
    that show no edge are uniform (`causalkit.significance.inflation`): in long recordings the model's own errors would
    make them too small. With up to 60 neurons nothing of the kind is done.

    Features of the lags in use are held in memory, 16 n_times n_neurons n_lags bytes, or half of it where targets share
    their regressions, besides about 150 n_times n_neurons bytes of histories, forecasts and gains.

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
    >>> c = SingleIndexGranger(n_steps=100, n_rounds=2).fit(x).connectivity_
    >>> bool(c.p_value.sel(target="n1", source="n0") < 1e-6), int(c.sign.sel(target="n1", source="n0"))
    (True, 1)
    """

    name = "single_index"
    traits = Traits(
        directed=True,
        input_kinds=("voltage", "other"),
        stochastic=True,
        signed=True,
        lagged=True,
        p_values=True,
    )
    algorithm_version = 3
    # With these values results are those of versions that did not know them.
    added_parameters = {"solver": "auto", "encoder": "mlp"}

    def __init__(
        self, *, n_own="auto", max_lag=5, n_folds=2, n_rounds=5, n_steps=600, learning_rate=1e-2, n_windows=1,
        solver="auto", encoder="mlp", random_state=0,
    ):
        self.n_own = n_own
        self.max_lag = max_lag
        self.n_folds = n_folds
        self.n_rounds = n_rounds
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.n_windows = n_windows
        self.solver = solver
        self.encoder = encoder
        self.random_state = random_state

    def _min_times(self) -> int:
        if self.n_own != "auto":
            check_whole("n_own", self.n_own, 1, '"auto" or a whole number')
        for parameter, least in (
            ("max_lag", 1), ("n_folds", 2), ("n_rounds", 1), ("n_steps", 2), ("n_windows", 1),
            ("random_state", 0),
        ):  # fmt: skip
            check_whole(parameter, getattr(self, parameter), least)
        check_rate("learning_rate", self.learning_rate)
        for parameter, what, known in (
            ("solver", "how targets are regressed", SOLVERS),
            ("encoder", "how a neuron's own history is read", ENCODERS),
        ):
            if (value := getattr(self, parameter)) not in known:
                raise ValueError(f"{parameter} is {value!r}: it is {what}; choose one of {list(known)}")
        return self._context(self._own_choices()[0]) + ROWS_PER_FOLD * self.n_folds

    def _shared(self, n_neurons: int) -> bool:
        return n_neurons > MOST_ALONE if self.solver == "auto" else self.solver == "shared"

    def _context(self, n_own: int) -> int:
        return max(n_own, self.max_lag)

    def _own_choices(self, n_times: int = 0) -> list[int]:
        """Lengths of own history to choose from: the longer ones need a recording of a hundred times their length."""
        if self.n_own != "auto":
            return [self.n_own]
        return [n for n in OWN_CHOICES if n == OWN_CHOICES[0] or 100 * n <= n_times]

    def _n_own(self, x: Array, recording: xr.Dataset) -> int:
        choices = self._own_choices(len(x))
        while len(choices) > 1:
            context = self._context(choices[-1])
            rows = window_starts(recording, context) + context
            if 2 * len(rows) >= len(x):
                return choose_n_own(x, rows, choices)
            choices.pop()  # trials are too short for it
        return choices[0]

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        with one_thread_a_part():
            return self._estimate(recording)

    def _estimate(self, recording: xr.Dataset) -> xr.Dataset:
        x, trials = normalize(recording.activity), trial_slices(recording)
        n_own = self._n_own(x, recording)
        context = self._context(n_own)
        rows = window_starts(recording, context) + context
        gap = context + decorrelation_time(x, trials)
        folds = blocks_of_time(rows, self.n_folds, gap)
        self._check_length(len(rows), min(len(train) for train, _ in folds), gap, x.shape[1], n_own)

        features = source_features(x)
        train, test = map(list, zip(*folds, strict=True))
        nuisance = learn(
            OwnHistory(x, features, rows, n_own, trials), x[rows], LaggedFeatures(features, rows), train, test,
            self.max_lag, self.n_rounds, self.n_steps, self.learning_rate, self.random_state,
            self._shared(x.shape[1]), self.encoder,
        )  # fmt: skip
        self._check_windows(len(rows), x.shape[1], nuisance)
        tests = tests_of_targets(nuisance, test)

        neurons = recording.neuron.values.tolist()
        self.diagnostics_ = _diagnose(nuisance, x[rows], test, gap).assign(
            n_own=n_own, bandwidth=("neuron", [t.bandwidth for t in tests])
        ).assign_coords(neuron=neurons)
        return connectivity.build(
            neurons=neurons,
            method=self.name,
            parameters=self.get_params(),
            **_matrices(tests, activation_contrast(x, features), nuisance.n_lags),
            **(self._windows(nuisance, test, recording.time.values[rows]) if self.n_windows > 1 else {}),
        )

    def _windows(self, nuisance: Nuisance, test: list[Rows], time: Array) -> dict[str, xr.DataArray]:
        """Scores and p-values of each window, as variables of the connectivity."""
        borders = np.linspace(0, len(time), self.n_windows + 1).astype(int)
        scores, p_values = [], []
        for start, stop in itertools.pairwise(borders):
            inside = [rows[(rows >= start) & (rows < stop)] for rows in test]
            score, p_value = _score_and_p_value(tests_of_targets(nuisance, inside))
            scores.append(score)
            p_values.append(p_value)
        dims = ("window", *connectivity.EDGE)
        return {
            "window_score": xr.DataArray(np.stack(scores), dims=dims),
            "window_p_value": xr.DataArray(np.stack(p_values), dims=dims),
            "window_start": xr.DataArray(time[borders[:-1]], dims="window", attrs={"units": "ms"}),
            "window_stop": xr.DataArray(time[borders[1:] - 1], dims="window", attrs={"units": "ms"}),
        }

    def _check_windows(self, n_rows: int, n_neurons: int, nuisance: Nuisance) -> None:
        """With the lags in use, every window must hold twice as many rows as its regression has columns."""
        columns = self.n_folds * nuisance.n_own_columns + (n_neurons - 1) * nuisance.sources.shape[-1]
        if self.n_windows > 1 and n_rows // self.n_windows < 2 * columns:
            raise ValueError(
                f"windows hold {n_rows // self.n_windows} of {n_rows} time steps, and their tests need {2 * columns} "
                f"for {n_neurons} neurons and {nuisance.n_lags} lags: lower n_windows or max_lag, or record longer"
            )

    def _check_length(self, n_rows: int, n_train: int, gap: int, n_neurons: int, n_own: int) -> None:
        columns = self.n_folds * (n_own + 2 * len(TRACE_STEPS) + 2) + (n_neurons - 1) * N_FEATURES
        least = 2 * columns * self.n_windows
        if n_rows < least:
            each = f" in {self.n_windows} windows" if self.n_windows > 1 else ""
            raise ValueError(
                f"activity has {n_rows} time steps with a full history but SingleIndexGranger needs at least {least} "
                f"for {n_neurons} neurons{each}: with fewer the regression fits anything; record longer or keep fewer "
                f"neurons{' or windows' if each else ''}, or lower n_own ({n_own}) or n_folds; a trial gives no "
                "steps before its history is full"
            )
        if n_train < 20:
            raise ValueError(
                f"{n_rows} time steps in {self.n_folds} blocks, {gap} steps apart, leave {max(n_train, 0)} to learn "
                "from: too few to forecast anything; record longer, or lower n_own or max_lag"
            )


def decorrelation_time(x: Array, trials: list[slice], limit: float = 0.1) -> int:
    """Lags after which the neurons' mean squared autocorrelation is below `limit` squared.

    At most 100, and a fiftieth of the recording: activity that is correlated for longer than that cannot be cut into
    independent blocks.
    """
    longest = min(MAX_DECORRELATION, len(x) // 50)
    for lag in range(1, longest):
        products = sum((x[rows][lag:] * x[rows][:-lag]).sum(axis=0) for rows in trials) / len(x)
        if np.mean(products**2) < limit**2:
            return lag
    return longest


def _score_and_p_value(tests: list[GroupTests]) -> tuple[Array, Array]:
    """Wald statistic over its degrees of freedom, and p-value, (n_neurons, n_neurons); NaN on the diagonal."""
    n = len(tests)
    score, p_value = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for target, test in enumerate(tests):
        others = np.arange(n) != target
        score[target, others] = test.wald() / np.maximum(test.df, 1)
        p_value[target, others] = test.p_values()
    return score, p_value


def _matrices(tests: list[GroupTests], contrast: Array, n_lags: int) -> dict[str, Array]:
    """What `connectivity.build` takes, from the tests of each target."""
    n, k = contrast.shape
    score, p_value = _score_and_p_value(tests)
    sign, lag_score = np.zeros((n, n)), np.full((n, n, n_lags), np.nan)
    for target, test in enumerate(tests):
        others = np.arange(n) != target
        by_lag = np.stack([test.wald(slice(lag * k, (lag + 1) * k)) for lag in range(n_lags)], axis=-1)
        lag_score[target, others] = by_lag
        strongest = test.coefficients.reshape(n - 1, n_lags, k)[np.arange(n - 1), by_lag.argmax(axis=-1)]
        sign[target, others] = np.sign((strongest * contrast[others]).sum(axis=-1))
    adjusted = significance.fdr(p_value)
    return {
        "score": score, "p_value": p_value, "adjusted_p_value": adjusted, "sign": sign, "lag_score": lag_score
    }  # fmt: skip


def _diagnose(nuisance: Nuisance, goal: Array, test: list[Rows], gap: int) -> xr.Dataset:
    error = np.concatenate([nuisance.residual[fold][nuisance.at(fold, rows)] for fold, rows in enumerate(test)])
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

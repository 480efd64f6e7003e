"""Neural Granger causality: networks whose first layer is penalized source by source, on a path of penalties."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from causalkit import connectivity
from causalkit.methods import gista, neural_granger_network, sparse_penalties
from causalkit.methods.base import Method, Traits, check_whole
from causalkit.methods.neural_granger_network import ACTIVATIONS, Perceptron, Recurrent, forecast, in_unit_ball
from causalkit.progress import progress_bar
from causalkit.recording import normalize, window_starts

Array = NDArray[np.float64]

KINDS = "mlp", "lstm"
CHOICES = "best", "one_standard_error"
PILOT_PENALTIES = 6  # of the first, coarse path, on which the weights of the second are chosen
FEWEST_ROWS = 20
_FITS = 2  # each target is fitted to all rows, and to the earlier ones, whose forecasts of the later choose the penalty
ADAPTIVE_POWER = 2  # of the pilot's weights
_FLOOR = 1e-3  # of the largest, for sources that the pilot did not use


class NeuralGranger(Method):
    """Neural Granger causality (Tank et al. 2021): which sources does a sparse network need to forecast a neuron?

    One network a target forecasts its next value from the past of all. The weights of its first layer are penalized
    source by source, so that whole sources are exactly zero. The penalty λ falls from the value at which all are zero,
    each solution being the start of the next, and **the score of a source is the λ at which it enters**. All targets
    are fitted in one stacked program by proximal steps with line search (GISTA).

    Parameters
    ----------
    kind : {"mlp", "lstm"}, default "mlp"
        A perceptron with one hidden layer that sees `max_lag` steps, or a long short-term memory that reads them.
    max_lag : int, default 2
        Steps of the past that a forecast sees.
    n_hidden : int, default 10
        Hidden units a target.
    penalty : {"group", "sparse_group", "hierarchical"}, default "group"
        On all weights of a source; on those and on each lag (of the LSTM: each gate); or nested over lags, so that late
        lags are used only where earlier ones are (not for the LSTM).
    activation : {"tanh", "relu", "linear"}, default "tanh"
        Of the perceptron. With "linear" it is the group lasso.
    own_linear : bool, default True
        A neuron's own past also enters by a linear term that costs nothing: what it explains is nobody else's.
    adaptive : bool, default True
        Divide the penalty of each source by the squared norm of its weights in a pilot, the solution of a coarse path
        that forecasts best (the adaptive lasso, Zou 2006). Without it λ falls alike for all.
    n_penalties : int, default 20
        Steps of the path.
    smallest_penalty : float, default 0.002
        Where the path ends, as a share of its start.
    n_seeds : int, default 1
        Networks a target, from different initial weights; scores are means.
    validation : float, default 0.25
        Share of the recording, its end, on which forecasts of networks fitted to the rest choose λ.
    choice : {"best", "one_standard_error"}, default "best"
        Which λ makes the graph: the one whose forecasts are best over all targets; or of each target the largest whose
        error is at most a standard error above its best. The second drops false edges and some true ones: on two
        Lorenz-96 of our own (500 rows, seeds 2000 and 2001) .47 and .28 of the non-edges stayed instead of .85 and
        .50, and .90 of the edges of both instead of all. On three autoregressions of our own (six neurons, 300 rows) it
        lost most edges: F1 of .00, .36 and .71 instead of .89, 1.00 and .90. Scores are the same.
    max_steps : int, default 100
        Proximal steps at each λ, at most.
    tolerance : float, default 1e-4
        A network is done when a step changes its weights by less than this share.
    random_state : int, default 0
        Seed of the initial weights.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the λ at which the source enters, over the largest at which any does. Where it enters between two
        values of the path, the gradient tells the place. ``graph`` of bool, the sources at the λ that forecasts best:
        no truth is used. ``lag_score (target, source, lag)``, norms of the weights at that λ; not for the LSTM, whose
        weights know no lags.
    diagnostics_ : xarray.Dataset
        ``held_out_error (penalty)``, mean squared error of z-scored activity in the last part; ``n_edges (penalty)``;
        ``penalty``, the λ of the path; ``chosen_penalty (neuron)``, of each target; ``test_r2
        (seed, neuron)`` at it, in that part.

    Raises
    ------
    ValueError
        From ``fit``: impossible parameters, or too few time steps.

    Notes
    -----
    Each forecast is ``own past · a + b + w · h``. The paper's loss has a ridge on all layers but the first; here the
    output weights w stay in the unit ball instead, so that hidden units of unit slope, whatever w is, give the same
    largest λ: that of the group lasso, the norm of the products of a source's past with what own past leaves. It
    follows from the gradient at zero, before any training.

    The objective is not convex. A path that starts at zero finds a source that acts only through products with others
    after those others; the pilot of `adaptive` repairs that.

    References
    ----------
    Tank, Covert, Foti, Shojaie & Fox (2021), IEEE Trans. Pattern Analysis and Machine Intelligence 44, 4267-4279. Zou
    (2006), J. American Statistical Association 101, 1418-1429. Gong et al. (2013), ICML, 37-45.
    """

    name = "neural_granger"
    traits = Traits(
        directed=True, input_kinds=("voltage", "spikes", "calcium", "other"), stochastic=True, signed=False,
        lagged=True, p_values=False,
    )  # fmt: skip

    added_parameters = {"choice": "best"}  # with this value results are those of versions that did not know it

    def __init__(
        self, *, kind="mlp", max_lag=2, n_hidden=10, penalty="group", activation="tanh", own_linear=True,
        adaptive=True, n_penalties=20, smallest_penalty=2e-3, n_seeds=1, validation=0.25, choice="best",
        max_steps=100, tolerance=1e-4, random_state=0,
    ):  # fmt: skip
        self.kind = kind
        self.max_lag = max_lag
        self.n_hidden = n_hidden
        self.penalty = penalty
        self.activation = activation
        self.own_linear = own_linear
        self.adaptive = adaptive
        self.n_penalties = n_penalties
        self.smallest_penalty = smallest_penalty
        self.n_seeds = n_seeds
        self.validation = validation
        self.choice = choice
        self.max_steps = max_steps
        self.tolerance = tolerance
        self.random_state = random_state

    def _min_times(self) -> int:
        for parameter, least in (
            ("max_lag", 1), ("n_hidden", 1), ("n_penalties", 2), ("n_seeds", 1), ("max_steps", 1), ("random_state", 0),
        ):  # fmt: skip
            check_whole(parameter, getattr(self, parameter), least)
        for parameter, known in (
            ("kind", KINDS), ("penalty", sparse_penalties.PENALTIES), ("activation", tuple(ACTIVATIONS)),
            ("choice", CHOICES),
        ):  # fmt: skip
            if (value := getattr(self, parameter)) not in known:
                raise ValueError(f"{parameter} is {value!r}: choose one of {list(known)}")
        for parameter in ("smallest_penalty", "validation", "tolerance"):
            value = getattr(self, parameter)
            if not isinstance(value, numbers.Real) or not 0 < value < 1:
                raise ValueError(f"{parameter} is {value!r}: it is a share, a number between 0 and 1")
        if self.kind == "lstm" and self.penalty == "hierarchical":
            raise ValueError(
                "penalty is 'hierarchical', which is nested over lags, and the weights of an LSTM know no lags: take "
                "'group' or 'sparse_group', or kind='mlp'"
            )
        return self.max_lag + FEWEST_ROWS + self.max_lag + 2

    def _what(self) -> str:
        return f"NeuralGranger with {self.max_lag} lags"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        x = normalize(recording.activity)
        last = window_starts(recording, int(self.max_lag)) + int(self.max_lag)
        self._check_length(last)
        seeds = [self.random_state + k for k in range(self.n_seeds)]
        stack = Stack(
            x, last, int(self.max_lag), kind=self.kind, n_hidden=int(self.n_hidden), penalty=self.penalty,
            activation=self.activation, own_linear=self.own_linear, validation=self.validation, seeds=seeds,
        )  # fmt: skip
        how = {"max_steps": int(self.max_steps), "tolerance": float(self.tolerance)}
        n_steps = int(self.n_penalties) + (PILOT_PENALTIES if self.adaptive else 0)
        with progress_bar(n_steps, "penalties") as bar:
            if self.adaptive:
                pilot = descend(stack, PILOT_PENALTIES, self.smallest_penalty, bar=bar, **how)
                stack.cost = adaptive_cost(pilot.weights)
            path = descend(stack, int(self.n_penalties), self.smallest_penalty, choice=self.choice, bar=bar, **how)

        neurons = recording.neuron.values.tolist()
        size = path.weights.norm(dim=3)  # (model, source, part)
        size = stack.unstack(size)[0].mean(0)
        self.diagnostics_ = xr.Dataset(
            {
                "held_out_error": ("penalty", path.error),
                "n_edges": ("penalty", path.n_edges),
                "chosen_penalty": ("neuron", path.penalties[path.chosen]),
                "test_r2": (("seed", "neuron"), path.r2),
            },
            coords={"penalty": path.penalties, "seed": seeds, "neuron": neurons},
        )
        entered = stack.unstack(path.entered)[0].mean(0).numpy()
        return connectivity.build(
            entered / max(path.penalties[0], np.finfo(float).tiny),
            neurons=neurons,
            method=self.name,
            parameters=self.get_params(),
            lag_score=size.numpy() if self.kind == "mlp" else None,
            graph=xr.DataArray((size.sum(-1) > 0).numpy() & ~np.eye(len(neurons), dtype=bool), dims=connectivity.EDGE),
        )

    def _check_length(self, last: Array) -> None:
        later = int(self.validation * len(last))
        if min(len(last) - later - self.max_lag, later) < 2 or len(last) < FEWEST_ROWS:
            raise ValueError(
                f"activity has {len(last)} time steps with a full history, and validation={self.validation} leaves "
                f"{later} to test forecasts on: NeuralGranger needs at least {FEWEST_ROWS}, some in each part; record "
                "longer, or lower max_lag; a trial gives no steps before its history is full"
            )


class Stack:
    """All networks of a fit side by side: for each of two sets of rows, each seed and each target.

    Attributes
    ----------
    cost : (model, source)
        What the penalty of a source is multiplied with.
    """

    def __init__(self, x, last, max_lag, *, kind, n_hidden, penalty, activation, own_linear, validation, seeds,
                 targets=None):  # fmt: skip
        targets = list(range(x.shape[1])) if targets is None else targets
        self.shape = _FITS, len(seeds), len(targets)
        self.penalty = penalty
        windows = torch.tensor(np.stack([x[last - lag] for lag in range(1, max_lag + 1)], axis=-1))
        self.network = Perceptron(windows, n_hidden, activation) if kind == "mlp" else Recurrent(windows, n_hidden)
        n_rows, n_later = len(last), int(validation * len(last))
        self.later = torch.arange(n_rows - n_later, n_rows)
        rows = torch.ones(_FITS, n_rows, dtype=torch.float64)
        rows[1, n_rows - n_later - max_lag :] = 0  # what the tests' first windows hold is not learned from
        rows /= rows.sum(1, keepdim=True)
        which = torch.cartesian_prod(*(torch.arange(n) for n in self.shape)).reshape(-1, 3)
        self.weights = rows[which[:, 0]]
        of_target = torch.tensor(x[last].T)[torch.tensor(targets)]
        self.targets = of_target[which[:, 2]]
        constant = torch.ones(len(targets), n_rows, 1, dtype=torch.float64)
        own = torch.cat([windows[:, targets].transpose(0, 1), constant], dim=2) if own_linear else constant
        self.own = own[which[:, 2]]
        self.seeds = [seeds[s] * 1_000_003 + targets[i] for _, s, i in which.tolist()]  # of each target its own
        self.cost = torch.ones(len(which), x.shape[1], dtype=torch.float64)

    def start(self) -> gista.State:
        """No input weights, the own linear term alone."""
        parameters = neural_granger_network.start(self.network, self.targets, self.own, self.weights, self.seeds)
        return gista.State.at(self.problem(0.0), parameters)

    def problem(self, level: float) -> gista.Problem:
        """Half the mean squared error and the penalty at λ = `level`."""
        return gista.Problem(
            self._loss,
            lambda p, models: level * (self.cost[models] * sparse_penalties.value(p["input"], self.penalty)).sum(1),
            lambda p, sizes, models: p | {
                "input": sparse_penalties.prox(
                    p["input"], level * sizes[:, None] * self.cost[models], self.penalty
                ),
                "output": in_unit_ball(p["output"]),
            },
        )  # fmt: skip

    def entry(self, state: gista.State) -> torch.Tensor:
        """The λ below which each source that is zero does not stay so, (model, source)."""
        return sparse_penalties.entry(state.gradient["input"], self.penalty) / self.cost

    def errors(self, state: gista.State) -> torch.Tensor:
        """Squared errors of forecasts of the later rows, by networks fitted to the earlier, (seed, target, row)."""
        with torch.no_grad():
            found = forecast(self.network, state.parameters, self.own, self.later)
        return self.unstack((self.targets[:, self.later] - found) ** 2)[1]

    def unstack(self, values: torch.Tensor) -> torch.Tensor:
        """(model, ...) -> (fit, seed, target, ...)."""
        return values.unflatten(0, self.shape)

    def _loss(self, parameters, models):
        left = self.targets[models] - forecast(self.network, parameters, self.own[models])
        return (self.weights[models] * left**2).sum(1) / 2


@dataclass
class Path:
    """Solutions at falling λ: `entered (model, source)`, errors, edges, and what forecasts best.

    `chosen (target,)` are places in the path, `weights` those of the first layers there.
    """

    penalties: Array
    entered: torch.Tensor
    error: Array
    n_edges: NDArray[np.int64]
    chosen: NDArray[np.int64]
    weights: torch.Tensor
    r2: Array


def descend(
    stack: Stack, n_penalties: int, smallest: float, *, max_steps: int, tolerance: float, choice: str = "best", bar=None
) -> Path:
    """Solve at falling λ, each solution the start of the next."""
    state = stack.start()
    wants = stack.entry(state)
    largest = float(wants.max())
    penalties = largest * smallest ** np.linspace(0, 1, n_penalties)
    entered = torch.zeros_like(wants)
    variance = stack.unstack(stack.targets[:, stack.later].var(1, correction=0))[1]
    errors, n_edges, weights = [], [], []
    for number, level in enumerate(penalties):
        if number:  # at the first all is zero: it is where the path begins
            state, _ = gista.minimize(stack.problem(level), state, max_steps=max_steps, tolerance=tolerance)
        nonzero = state.parameters["input"].flatten(2).abs().amax(2) > 0
        new = nonzero & (entered == 0)
        # it entered between this λ and the last, where its gradient then was
        entered = torch.where(new, wants.clamp(level, penalties[max(number - 1, 0)]), entered)
        wants = stack.entry(state)
        errors.append(stack.errors(state))
        n_edges.append(int(stack.unstack(nonzero)[0].any(0).sum()))
        weights.append(state.parameters["input"])
        if bar is not None:
            bar.update()
    never = entered == 0
    entered = torch.where(never, wants.clamp_max(penalties[-1]), entered)
    errors = torch.stack(errors)  # (penalty, seed, target, row)
    chosen = places_of(errors.mean(1).numpy(), choice)
    of_model = np.broadcast_to(chosen, stack.shape).reshape(-1)
    picked = torch.stack([weights[place][model] for model, place in enumerate(of_model)])
    mean = errors.mean(-1)  # (penalty, seed, target)
    at_it = mean[torch.tensor(chosen), :, torch.arange(len(chosen))].T
    r2 = 1 - at_it / variance.clamp_min(1e-300)
    return Path(penalties, entered, mean.mean((1, 2)).numpy(), np.array(n_edges), chosen, picked, r2.numpy())


def places_of(squares: Array, choice: str) -> NDArray[np.int64]:
    """Places in the path from squared errors, (penalty, target, row): one for all targets, or of each its own.

    Standard errors of means over rows are those of Newey & West (1987), with lags up to the cube root of the rows.
    """
    n_targets = squares.shape[1]
    if choice == "best":
        mean = squares.mean(axis=(1, 2))
        return np.full(n_targets, len(mean) - 1 - mean[::-1].argmin())  # of equal ones the smallest penalty
    places = []
    for of_target in squares.transpose(1, 0, 2):
        mean = of_target.mean(axis=1)
        best = mean.argmin()
        places.append(np.flatnonzero(mean <= mean[best] + standard_error(of_target[best]))[0])
    return np.array(places)


def standard_error(values: Array) -> float:
    """Of the mean of values that follow each other."""
    n, left = len(values), values - values.mean()
    width = int(n ** (1 / 3))
    variance = left @ left / n
    variance += 2 * sum((1 - lag / (width + 1)) * (left[lag:] @ left[:-lag]) / n for lag in range(1, width + 1))
    return float(np.sqrt(max(variance, 0.0) / n))


def adaptive_cost(weights: torch.Tensor) -> torch.Tensor:
    """Costs that are high for sources of small weights in a pilot, (model, source)."""
    size = weights.flatten(2).norm(dim=2) ** ADAPTIVE_POWER
    size = size / size.mean().clamp_min(1e-300)
    return 1 / size.clamp_min(_FLOOR * float(size.max()) if size.max() > 0 else 1.0)

"""The fit behind `SingleIndexGranger`: response and index in turns on some blocks of time, tests on the others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg

from causalkit.methods.lag_choice import LagChoice
from causalkit.methods.response import Response, evaluate, member, own_basis, train_response
from causalkit.methods.robust_wald import GroupTests, huber_limit, huber_regression, least_squares, wald_of_groups
from causalkit.methods.shared_regression import OwnColumns, Regressions, SharedSources
from causalkit.methods.source_features import LaggedFeatures, OwnHistory
from causalkit.methods.threads import side_by_side
from causalkit.significance import inflation

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

ROWS_PER_COMPONENT, MAX_COMPONENTS = 100, 24
EVIDENCE = 2.0  # standard errors
MOST_ROWS = 5000  # that teach the response and say how large errors are, in large networks
ROWS_PER_COLUMN = 40  # of the sources, in the regressions of the first turns in large networks
REGRESSED_ALONE = 3  # targets, where the others share their regressions
VALUES_AT_ONCE = 1 << 26  # of the targets' own columns and their products, where many targets are regressed at once
PARTS_AT_ONCE = 4  # the number of parts of targets is a multiple of it, for threads to share


@dataclass
class Nuisance:
    """All that the tests take as given, for each fold from its own training rows.

    Attributes
    ----------
    model : Response
        One network a fold.
    own : OwnHistory, (n_rows, n_neurons, n_own)
    sources : array (n_rows, n_neurons, n_lags * n_features)
    seen : list of arrays
        Of each fold, the rows at which the next two are known, in order.
    residual, gain : list of arrays (n_seen, n_neurons)
        Of each fold: forecast errors; the forecast's derivative with respect to the index.
    index : array (n_folds, n_rows, n_neurons)
    n_lags : int
    first : bool
        The response knows no index yet.
    shared : bool
        Targets are regressed together, as in `shared_regression`.
    """

    model: Response
    own: OwnHistory
    sources: Array
    seen: list[Rows]
    residual: list[Array]
    gain: list[Array]
    index: Array
    n_lags: int
    first: bool
    shared: bool

    @property
    def n_own_columns(self) -> int:
        """Columns of a fold's own history in the tests, at most."""
        return self.own.shape[-1] + 2 + MAX_COMPONENTS

    def at(self, fold: int, rows: Rows) -> Rows:
        """Where some rows are among those seen."""
        return np.searchsorted(self.seen[fold], rows)

    def bases(self, target: int, folds: dict[int, Rows]) -> list[Array]:
        """What each fold's network computes of a target's own history at some rows, (n_rows, n_columns)."""
        n_components = _n_components(list(folds.values()))
        if not self.shared:
            basis = own_basis(self.model, self.own.of_neuron(target), target, n_components)
            return [basis[fold, rows] for fold, rows in folds.items()]
        return [
            own_basis(self.members[fold], self.own.of_neuron(target, rows), target, n_components, torch.float32)[0]
            for fold, rows in folds.items()
        ]

    @cached_property
    def members(self) -> list[Response]:
        """The network of each fold by itself."""
        return [member(self.model, fold) for fold in range(self.model.n_models)]


def learn(own: OwnHistory, goal: Array, sources: LaggedFeatures, train: list[Rows], test: list[Rows], max_lag: int,
          n_rounds: int, n_steps: int, learning_rate: float, random_state: int, shared: bool,
          encoder: str) -> Nuisance:  # fmt: skip
    """Fit response and index in turns; each turn chooses the number of lags anew, the last one by a weaker criterion.

    The earlier ones, whose responses are not good yet, would see effects at all lags.

    Parameters
    ----------
    own : OwnHistory, (n_rows, n_neurons, n_own)
    goal : array (n_rows, n_neurons)
        What follows.
    sources : LaggedFeatures
    train, test : list of arrays
        Rows of each fold: those that teach it, and those whose errors its tests will ask for.
    max_lag, n_rounds, n_steps, learning_rate, random_state, encoder
        As in `SingleIndexGranger`.
    shared : bool
        As in `Nuisance`.
    """
    n_rows, n_neurons, n_own = own.shape
    seeds = np.random.SeedSequence(random_state).generate_state(len(train) * (n_rounds + 1)).reshape(n_rounds + 1, -1)
    model = Response(len(train), n_neurons, n_own, encoder).initialize(seeds[-1])
    rows_of = _Rows(n_rows, train, test, ROWS_PER_COLUMN * sources.features[0].size, n_rounds, shared)
    delta = np.stack([huber_limit(_linear_residual(own, goal, rows)) for rows in rows_of.taught])
    choose_n_lags = LagChoice(sources, rows_of.few, max_lag)
    target_values, index = _single(goal), np.zeros((len(train), n_rows, n_neurons))
    for turn in range(n_rounds):
        steps = n_steps if turn == 0 else n_steps // 2
        train_response(
            model, own, target_values, _single(index), _single(delta), rows_of.taught, steps, learning_rate,
            seeds[turn], apart=shared,
        )  # fmt: skip
        seen = rows_of.seen(turn)
        forecast, gain = _evaluate(model, own, index, seen, shared)
        if turn == 0:
            gain = [np.ones_like(part) for part in gain]  # the network has not seen an index yet
        residual = [goal[rows] - part for rows, part in zip(seen, forecast, strict=True)]
        delta = np.stack([
            huber_limit(error[np.searchsorted(where, rows)])
            for error, where, rows in zip(residual, seen, rows_of.taught, strict=True)
        ])  # fmt: skip
        inputs_seen = [
            np.clip(residual[k][np.searchsorted(seen[k], rows)], -delta[k], delta[k]) + gain[k].mean(0) * index[k, rows]
            for k, rows in enumerate(rows_of.few)
        ]
        n_lags = choose_n_lags(inputs_seen, strict=turn < n_rounds - 1)
        used = sources.at(n_lags, dtype=np.float32 if shared else float)
        nuisance = Nuisance(model, own, used, seen, residual, gain, index, n_lags, turn == 0, shared)
        if turn < n_rounds - 1:
            index = _new_indices(nuisance, rows_of.regressed(turn))
    return nuisance


class _Rows:
    """Which rows each step of `learn` looks at: all of a small network; of a large one, where a fold's own rows are
    many for its columns, only some until the last index is sought, and no more of each fold than is asked for."""

    def __init__(self, n_rows: int, train: list[Rows], test: list[Rows], n_enough: int, n_rounds: int, shared: bool):
        self.n_rows, self.train, self.test, self.shared, self.last = n_rows, train, test, shared, n_rounds - 1
        self.few = [_evenly(rows, max(MOST_ROWS, n_enough)) for rows in train] if shared else train
        self.taught = [_evenly(rows, MOST_ROWS) for rows in self.few] if shared else train

    def regressed(self, turn: int) -> list[Rows]:
        return self.train if turn == self.last - 1 else self.few

    def seen(self, turn: int) -> list[Rows]:
        if not self.shared:
            return [np.arange(self.n_rows)] * len(self.train)
        if turn < self.last:
            return self.regressed(turn)
        return [np.union1d(few, test) for few, test in zip(self.few, self.test, strict=True)]


def _evenly(rows: Rows, most: int) -> Rows:
    """About `most` of the rows at even distances, or all where there are no more."""
    return rows[:: -(-len(rows) // most)]


def _evaluate(model: Response, own: OwnHistory, index: Array, seen: list[Rows], shared: bool):
    """Forecasts and gains of each fold at the rows that are seen of it, two lists of arrays (n_seen, n_neurons)."""
    if not shared:  # the same rows of all folds
        return [list(part) for part in evaluate(model, own, _single(index))]
    parts = side_by_side(
        lambda k: evaluate(member(model, k), own, _single(index[k, seen[k]])[None], seen[k]), range(len(seen))
    )
    return [[part[0] for part in kind] for kind in zip(*parts, strict=True)]


def even_gain(gain: Array) -> Array:
    """Gain over its mean, drawn toward 1 as far as it varies: a gain that is nothing but noise becomes constant.

    Where there are no inputs, what the response learned of an index is noise, large in few places.
    """
    mean = gain.mean()
    trust = max(0.0, 1 - gain.var() / max(mean**2, 1e-300))
    return 1 + trust * (gain / mean - 1) if trust else np.ones_like(gain)


def linearized(nuisance: Nuisance, fold: int, target: int, rows: Rows, basis: Array):
    """A target's response as a regression that is linear in its sources: columns of its own past, the gain that sources
    are multiplied by, what they explain, and the forecast errors, each over the size of the noise.

    Around the index that was found, F(history, s) is its forecast plus gain times what s differs by.
    """
    own, error = _with_constant(basis), nuisance.residual[fold][nuisance.at(fold, rows), target]
    spread = noise_spread(error, own, len(own))
    own /= spread[:, None]
    return own, *_gain_and_goal(nuisance, fold, target, rows, spread)


def _gain_and_goal(nuisance: Nuisance, fold: int, target: int, rows: Rows, spread: Array):
    at = nuisance.at(fold, rows)
    gain, error = (part[fold][at, target] / spread for part in (nuisance.gain, nuisance.residual))
    return even_gain(gain), error + gain * nuisance.index[fold, rows, target], error


def _new_indices(nuisance: Nuisance, train: list[Rows]) -> Array:
    """Index of every target by regression in each fold, (n_folds, n_rows, n_neurons), of unit spread; 0 without input.

    An index that follows noise bends the response, and its bend in many sources looks like an effect of each. Whether
    there is any input is decided as long as the response knows no index, since a bent one would vouch for itself.
    """
    if nuisance.shared:
        return _shared_indices(nuisance, train)
    targets = range(nuisance.sources.shape[1])
    return np.stack(side_by_side(lambda target: _new_index(nuisance, target, train), targets), axis=-1)


def _new_index(nuisance: Nuisance, target: int, train: list[Rows]) -> Array:
    """Index of one target, (n_folds, n_rows)."""
    others = _others(nuisance.sources, target)
    bases = nuisance.bases(target, dict(enumerate(train)))
    index = np.zeros(nuisance.index.shape[:2])
    for fold, rows in enumerate(train):
        known = nuisance.index[fold, :, target].any()
        if not (known or nuisance.first):
            continue
        own, gain, y, error = linearized(nuisance, fold, target, rows, bases[fold])
        inputs, limit = gain[:, None] * others[rows], float(huber_limit(error))
        if known or has_input(own, inputs, y, limit):
            coefficients = huber_regression(np.hstack([own, inputs]), y, limit, max_steps=3)
            index[fold] = others @ coefficients[own.shape[1] :]
            index[fold] /= index[fold].std() or 1
    return index


def _shared_indices(nuisance: Nuisance, train: list[Rows]) -> Array:
    """Indices of many targets at once, (n_folds, n_rows, n_neurons)."""
    index, known = np.zeros(nuisance.index.shape), nuisance.index.any(axis=1)
    wanted = np.flatnonzero(nuisance.first | known.any(axis=0))
    sources = [SharedSources(nuisance.sources[rows]) for rows in train]
    everywhere = torch.as_tensor(nuisance.sources).flatten(1)

    def find(targets: Rows) -> None:
        parts = _parts(nuisance, targets, dict(enumerate(train)))
        for fold in range(len(train)):
            together = _together(sources[fold], targets, [parts[fold]])
            _, w, _ = together.fit(max_steps=3)
            found = (everywhere @ w.T).double().numpy()
            found /= np.where(found.std(axis=0) > 0, found.std(axis=0), 1)
            index[fold][:, targets] = found * (have_input(together) if nuisance.first else known[fold, targets])

    side_by_side(find, _some_at_once(wanted, nuisance))
    return index


def _parts(nuisance: Nuisance, targets: Rows, folds: dict[int, Rows]) -> list[list[torch.Tensor]]:
    """What `linearized` returns of the rows of each fold, all targets in one tensor (n_targets, ..., n_rows)."""
    parts = [None] * len(folds)
    for k, target in enumerate(targets.tolist()):
        bases = nuisance.bases(target, folds)
        for place, ((fold, rows), basis) in enumerate(zip(folds.items(), bases, strict=True)):
            if k == 0:  # filled in place: a list of many arrays would leave holes in memory
                shapes = (1 + basis.shape[1], len(rows)), *[(len(rows),)] * 3
                parts[place] = [torch.empty(len(targets), *shape) for shape in shapes]
            own, *others = parts[place]
            error = nuisance.residual[fold][nuisance.at(fold, rows), target]
            spread = noise_spread(error, _with_constant(basis), MOST_ROWS)
            own[k, 0] = scale = torch.as_tensor(1 / spread, dtype=torch.float32)
            own[k, 1:] = torch.as_tensor(basis).T
            own[k, 1:] *= scale
            for tensor, value in zip(others, _gain_and_goal(nuisance, fold, target, rows, spread), strict=True):
                tensor[k] = torch.as_tensor(value)
    return parts


def _together(sources: SharedSources, targets: Rows, parts: list[list[torch.Tensor]]) -> Regressions:
    """One regression a target, on the rows of all its parts."""
    own, gain, y, error = zip(*parts, strict=True)
    limit = huber_limit(torch.cat(error, dim=1).T.double().numpy())
    own = [OwnColumns(columns) for columns in own]
    return Regressions(sources, targets, own, torch.cat(gain, dim=1), torch.cat(y, dim=1), _single(limit))


def _some_at_once(targets: Rows, nuisance: Nuisance) -> list[Rows]:
    """Targets in parts whose own columns fit into memory, as many parts as threads share evenly.

    The same parts for any number of threads, since the slowest target of a part says how exact the others are.
    """
    products = len(nuisance.seen) * nuisance.sources[0].size
    size = max(1, VALUES_AT_ONCE // ((sum(map(len, nuisance.seen)) + products) * nuisance.n_own_columns))
    n_parts = PARTS_AT_ONCE * -(-len(targets) // (size * PARTS_AT_ONCE))
    return [part for part in np.array_split(targets, n_parts) if len(part)] if len(targets) else []


def has_input(own: Array, inputs: Array, y: Array, limit: float) -> bool:
    """Whether what the sources explain in one half of the rows, they explain in the other."""
    x, seen = np.hstack([own, inputs]), []
    for half in np.array_split(np.arange(len(y)), 2):
        coefficients = huber_regression(np.delete(x, half, axis=0), np.delete(y, half), limit, max_steps=3)
        left = y[half] - own[half] @ coefficients[: own.shape[1]]
        seen.append(np.clip(left, -limit, limit) * (inputs[half] @ coefficients[own.shape[1] :]))
    seen = np.concatenate(seen)
    return seen.sum() > EVIDENCE * np.sqrt((seen**2).sum())


def have_input(together: Regressions) -> NDArray[np.bool_]:
    """As `has_input`, for many targets, (n_targets,)."""
    n_rows, seen = together.y.shape[1], []
    middle = n_rows - n_rows // 2
    first, second = slice(0, middle), slice(middle, n_rows)
    for half, rest in ((first, second), (second, first)):
        own, w, _ = together.only(rest).fit(max_steps=3)
        left = (together.y - together.of_own(own)).clamp(-together.limit, together.limit)
        seen.append((left * together.of_sources(w))[:, half])
    seen = torch.cat(seen, dim=1).double()
    return (seen.sum(dim=1) > EVIDENCE * (seen**2).sum(dim=1).sqrt()).numpy()


def tests_of_targets(nuisance: Nuisance, test: list[Rows]) -> list[GroupTests]:
    """Test all sources of every target on the rows that its nuisance has not seen, all folds in one regression.

    The columns are each fold's own nuisance history, and the gain times the features of each source: what the
    history can explain, of target and of sources, is taken out of both. Folds without rows are left out.

    Where targets are regressed together, their variances leave out that sources correlate by chance in the rows that
    count most: by how much is seen from a few targets that are regressed alone. What is then left, and what the model
    itself errs by, is seen from the pairs that show no edge (`significance.inflation`). Both are made good for all.
    """
    test = {fold: rows for fold, rows in enumerate(test) if len(rows)}
    neurons = np.arange(nuisance.sources.shape[1])
    if not nuisance.shared:
        return side_by_side(lambda target: _tests_of_target(nuisance, target, test), neurons)
    sources = SharedSources(nuisance.sources[np.concatenate(list(test.values()))]).ready_for_tests()

    def tests(targets: Rows, alone: bool) -> list[GroupTests]:
        return _together(sources, targets, _parts(nuisance, targets, test)).tests(alone)

    few = neurons[:: -(-len(neurons) // REGRESSED_ALONE)]
    tasks = [partial(tests, np.array([target]), alone=True) for target in few]  # the longest first
    tasks += [partial(tests, targets, alone=False) for targets in _some_at_once(neurons, nuisance)]
    results = side_by_side(lambda task: task(), tasks)
    found = list(itertools.chain.from_iterable(results[len(few) :]))
    ratios = [_variance_ratios(*alone, found[target]) for alone, target in zip(results[: len(few)], few, strict=True)]
    found = _with_variances_times(float(np.median(np.concatenate(ratios))), found)
    df = np.stack([test.df for test in found])
    p_values = np.where(df > 0, [test.p_values() for test in found], np.nan)
    return _with_variances_times(inflation(p_values, np.maximum(df, 1)), found)


def _with_variances_times(factor: float, tests: list[GroupTests]) -> list[GroupTests]:
    return [replace(test, covariance=test.covariance * factor) for test in tests]


def _variance_ratios(alone: GroupTests, shared: GroupTests) -> Array:
    """Of every column that is not all zero: one that is has no coefficient."""
    ratios = np.einsum("gii->gi", alone.covariance) / np.einsum("gii->gi", shared.covariance)
    return ratios[shared.coefficients != 0]


def _tests_of_target(nuisance: Nuisance, target: int, test: dict[int, Rows]) -> GroupTests:
    others = _others(nuisance.sources, target)
    bases = zip(test.items(), nuisance.bases(target, test), strict=True)
    folds = [linearized(nuisance, fold, target, rows, basis) for (fold, rows), basis in bases]
    own, gain, y, error = zip(*folds, strict=True)
    inputs = np.concatenate(gain)[:, None] * others[np.concatenate(list(test.values()))]
    x = np.hstack([linalg.block_diag(*own), inputs])
    limit = float(huber_limit(np.concatenate(error)))
    return wald_of_groups(x, np.concatenate(y), x.shape[1] - others.shape[1], nuisance.sources.shape[-1], limit)


def noise_spread(residuals: Array, own: Array, most_rows: int) -> Array:
    """Relative size of the residuals that a neuron's own history foretells, around 1: noise passes the gain as well.

    Learned on about `most_rows` of the rows.
    """
    few, size = _evenly(np.arange(len(own)), most_rows), np.abs(residuals)
    log_size = np.log(size + 0.05 * size.mean() + 1e-300)
    coefficients = least_squares(own[few].astype(float), log_size[few])
    return np.exp(np.clip(own @ coefficients.astype(own.dtype) - log_size.mean(), -3, 3))


def _others(sources: Array, target: int) -> Array:
    return np.delete(sources, target, axis=1).reshape(len(sources), -1)


def _with_constant(x: Array) -> Array:
    return np.hstack([np.ones((len(x), 1), x.dtype), x])


def _n_components(rows: list[Rows]) -> int:
    return min(MAX_COMPONENTS, min(map(len, rows)) // ROWS_PER_COMPONENT)


def _linear_residual(own: OwnHistory, goal: Array, rows: Rows) -> Array:
    """What linear forecasts from own history leave of some rows, (n_rows, n_neurons)."""

    def left(neuron: int) -> Array:
        x, y = _with_constant(own.values(neuron, rows)), goal[rows, neuron]
        return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]

    return np.stack(side_by_side(left, range(goal.shape[1])), axis=-1)


def _single(x: Array) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float32)

"""NeuralGranger against what is known without it: minimizers, the lasso, the largest penalty, wiring."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Lasso

from causalkit import NeuralGranger, metrics, simulate
from causalkit.methods import gista, sparse_penalties
from causalkit.methods.neural_granger import Stack, descend, places_of, standard_error
from causalkit.recording import normalize

HOW = {"max_steps": 2000, "tolerance": 1e-10}


def var_world(n_steps=400, seed=2000, n_neurons=4):
    """n0 drives n1 at lag 1 and n2 at lag 2; n3 is alone."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_steps, n_neurons))
    for t in range(2, n_steps):
        x[t] += 0.4 * x[t - 1]
        x[t, 1] += 0.8 * x[t - 1, 0]
        x[t, 2] -= 0.8 * x[t - 2, 0]
    return x


def stack_of(x, max_lag=1, **changes):
    given = {
        "kind": "mlp", "n_hidden": 1, "penalty": "group", "activation": "linear", "own_linear": False,
        "validation": 0.25, "seeds": [0],
    }  # fmt: skip
    return Stack(normalize(x), np.arange(max_lag, len(x)), max_lag, **given | changes)


# ---- penalties


def penalty_by_hand(v, penalty):
    """Of one source, (part, unit), from the formulas."""
    if penalty == "group":
        return np.sqrt((v**2).sum())
    if penalty == "sparse_group":
        return 0.5 * np.sqrt((v**2).sum()) + 0.5 * sum(np.sqrt((part**2).sum()) for part in v)
    return sum(np.sqrt((v[first:] ** 2).sum()) for first in range(len(v)))


@pytest.mark.parametrize("penalty", sparse_penalties.PENALTIES)
def test_proximal_step_is_the_minimum(penalty):
    rng = np.random.default_rng(0)
    for threshold in (0.1, 0.5, 1.0):
        weights = rng.standard_normal((1, 2, 3, 2))
        found = sparse_penalties.prox(torch.tensor(weights), torch.tensor([threshold]), penalty).numpy()
        for source in range(2):
            w = weights[0, source]

            def objective(v, w=w, t=threshold):
                return 0.5 * ((v.reshape(w.shape) - w) ** 2).sum() + t * penalty_by_hand(v.reshape(w.shape), penalty)

            here = objective(found[0, source].ravel())
            tried = [minimize(objective, start.ravel(), method="Powell", options={"xtol": 1e-9, "ftol": 1e-12}).fun
                     for start in (w, 0.3 * w, found[0, source])]  # fmt: skip
            assert here <= min(tried) + 1e-7
            assert here == pytest.approx(min(tried), abs=1e-4)
        expected = [penalty_by_hand(w, penalty) for w in weights[0]]
        np.testing.assert_allclose(sparse_penalties.value(torch.tensor(weights), penalty)[0], expected)


@pytest.mark.parametrize("penalty", sparse_penalties.PENALTIES)
def test_entry_is_where_the_proximal_step_leaves_zero(penalty):
    gradient = torch.tensor(np.random.default_rng(1).standard_normal((3, 4, 3, 2)))
    level = sparse_penalties.entry(gradient, penalty)
    assert (sparse_penalties.prox(gradient, level * 1.0001, penalty) == 0).all()
    below = sparse_penalties.prox(gradient, level * 0.9999, penalty)
    assert (below.flatten(2).norm(dim=2) > 0).all()


def test_hierarchy_uses_late_lags_only_after_early_ones():
    weights = torch.tensor(np.random.default_rng(2).standard_normal((50, 6, 4, 2)))
    size = sparse_penalties.prox(weights, torch.full((50,), 0.8), "hierarchical").norm(dim=3)
    used = size > 0
    assert (used[..., :-1] | ~used[..., 1:]).all()  # a used lag has its earlier one used
    assert 0.05 < used.double().mean() < 0.95


# ---- the optimizer and the linear case


def test_linear_units_give_the_lasso():
    """With one lag a group is one coefficient, so that a linear unit with output weights in the ball is the lasso."""
    x = var_world()
    stack = stack_of(x)
    state, scaled = stack.start(), normalize(x)
    for level in (0.3, 0.1, 0.03):
        state, _ = gista.minimize(stack.problem(level), state, **HOW)
        weights = state.parameters
        ours = (weights["input"][:, :, 0, 0] * weights["output"]).numpy()
        for target in range(4):
            theirs = Lasso(alpha=level, tol=1e-12, max_iter=100000).fit(scaled[:-1], scaled[1:, target])
            np.testing.assert_allclose(ours[target], theirs.coef_, atol=2e-6)
            if not np.allclose(theirs.coef_, 0):
                assert abs(weights["output"][target].item()) == pytest.approx(1, abs=1e-6)


def test_many_linear_units_meet_the_conditions_of_the_group_lasso():
    """At an optimum ‖x_jᵀr‖ = λ for sources in use, in the direction of their coefficients, and ≤ λ for the others."""
    x, max_lag, level = normalize(var_world()), 3, 0.1
    stack = stack_of(x, max_lag, n_hidden=3)
    state, _ = gista.minimize(stack.problem(level), stack.start(), **HOW)
    used = 0
    for target in range(4):
        rows = np.arange(max_lag, len(x))
        past = np.stack([x[rows - lag] for lag in range(1, max_lag + 1)], axis=-1)  # (row, source, lag)
        p = {name: value[target].numpy() for name, value in state.parameters.items()}
        coefficients = p["input"] @ p["output"]
        left = x[rows, target] - (past * coefficients).sum((1, 2))
        product = np.einsum("tjl,t->jl", past, left - left.mean()) / len(rows)
        for source in range(4):
            size = np.linalg.norm(coefficients[source])
            if size > 1e-6:
                used += 1
                np.testing.assert_allclose(product[source], level * coefficients[source] / size, atol=1e-4)
            else:
                assert np.linalg.norm(product[source]) <= level * (1 + 1e-4)
    assert 4 <= used <= 10


@pytest.mark.parametrize("penalty", sparse_penalties.PENALTIES)
@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_all_is_zero_from_the_largest_penalty_on_and_not_below(activation, penalty):
    stack = stack_of(var_world(), 2, n_hidden=4, activation=activation, penalty=penalty, own_linear=True)
    start = stack.start()
    largest = float(stack.entry(start).max())
    above, _ = gista.minimize(stack.problem(1.001 * largest), start, **HOW)
    assert (above.parameters["input"] == 0).all()
    below, _ = gista.minimize(stack.problem(0.97 * largest), start, max_steps=50, tolerance=1e-10)
    assert (below.parameters["input"] != 0).any()


def test_largest_penalty_follows_from_the_data_alone():
    """Linear units: the norm of the products of a source's past with what own past leaves of the target."""
    x, max_lag = normalize(var_world()), 2
    stack = stack_of(x, max_lag, n_hidden=5, own_linear=True)
    found = stack.unstack(stack.entry(stack.start()))[0, 0].numpy()
    rows = np.arange(max_lag, len(x))
    past = np.stack([x[rows - lag] for lag in range(1, max_lag + 1)], axis=-1)
    for target in range(4):
        own = np.column_stack([past[:, target], np.ones(len(rows))])
        left = x[rows, target] - own @ np.linalg.lstsq(own, x[rows, target], rcond=None)[0]
        expected = np.linalg.norm(np.einsum("tjl,t->jl", past, left), axis=1) / len(rows)
        np.testing.assert_allclose(found[target], expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_stacked_is_one_by_one(kind):
    x = var_world(200)
    how = {"max_steps": 25, "tolerance": 1e-6}
    given = {"kind": kind, "n_hidden": 3, "activation": "tanh", "own_linear": True}
    together = stack_of(x, 2, **given)
    penalties = 0.05
    all_, _ = gista.minimize(together.problem(penalties), together.start(), **how)
    for target in range(4):
        alone = stack_of(x, 2, **given, targets=[target])
        one, _ = gista.minimize(alone.problem(penalties), alone.start(), **how)
        np.testing.assert_allclose(
            together.unstack(all_.parameters["input"])[:, :, target],
            alone.unstack(one.parameters["input"])[:, :, 0], atol=1e-6,
        )  # fmt: skip


def test_no_step_raises_the_objective_beyond_the_last_few():
    stack = stack_of(var_world(300), 2, n_hidden=4, activation="tanh", penalty="sparse_group")
    problem, state = stack.problem(0.03), stack.start()
    everyone = torch.arange(len(state.loss))
    objectives = [state.loss + problem.penalty(state.parameters, everyone)]
    for _ in range(5):
        state, _ = gista.minimize(problem, state, max_steps=gista.MEMORY, tolerance=1e-12)
        objectives.append(state.loss + problem.penalty(state.parameters, everyone))
    assert (torch.stack(objectives).diff(dim=0) <= 1e-12).all()
    assert (objectives[-1] < objectives[0] - 0.01).any()


def test_path_grows_and_its_first_edges_are_the_true_ones():
    stack = stack_of(var_world(400), 2, n_hidden=3, activation="tanh", own_linear=True)
    path = descend(stack, 6, 0.01, max_steps=30, tolerance=1e-4)
    assert path.n_edges[0] == 0 and path.n_edges[-1] >= 8
    assert (np.diff(path.n_edges) >= -1).all()
    entered = stack.unstack(path.entered)[0, 0].numpy()
    np.fill_diagonal(entered, 0)
    strongest = {tuple(divmod(k, 4)) for k in np.argsort(entered.ravel())[-2:]}
    assert strongest == {(1, 0), (2, 0)}
    assert path.error[path.chosen[0]] == path.error.min() < 0.9 * path.error[0]


# ---- the method


def test_recovers_a_wiring_its_lags_and_a_graph():
    c = NeuralGranger(max_lag=3, n_hidden=3, n_penalties=6, max_steps=25, penalty="hierarchical").fit(var_world(400))
    graph, lags = c.connectivity_.graph, c.connectivity_.lag_score
    assert bool(graph.sel(target="n1", source="n0")) and bool(graph.sel(target="n2", source="n0"))
    assert not graph.sel(target="n0", source="n2") and not np.diag(graph).any()
    assert int(lags.sel(target="n1", source="n0").values.argmax()) == 0  # lag 1
    assert float(lags.sel(target="n2", source="n0", lag=2)) > 0
    recording = simulate.var(5, 0.3, 500, random_state=2000)
    found = NeuralGranger(n_hidden=3, n_penalties=6, max_steps=25).fit(recording)
    assert metrics.auroc(recording, found.connectivity_) > 0.98
    assert found.connectivity_.score.max() <= 1


def test_lstm_finds_the_driver():
    c = NeuralGranger(kind="lstm", max_lag=2, n_hidden=3, n_penalties=5, max_steps=15).fit(var_world(300)).connectivity_
    assert "lag_score" not in c
    assert float(c.score.sel(target="n1", source="n0")) == float(c.score.max())
    assert float(c.score.sel(target="n1", source="n0")) > 3 * float(c.score.sel(target="n0", source="n1"))


def test_another_truth_cannot_change_the_result():
    recording = simulate.var(4, 0.3, 300, random_state=2001)
    method = NeuralGranger(n_hidden=2, n_penalties=4, max_steps=10)
    one = method.fit(recording).connectivity_
    other = method.fit(recording.assign(connectivity=1 - recording.connectivity)).connectivity_
    assert one.score.identical(other.score) and one.graph.identical(other.graph)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "cnn"}, "kind is 'cnn': choose one of"),
        ({"penalty": "ridge"}, "penalty is 'ridge'"),
        ({"activation": "sine"}, "activation is 'sine'"),
        ({"kind": "lstm", "penalty": "hierarchical"}, "weights of an LSTM know no lags"),
        ({"validation": 1.0}, "validation is 1.0: it is a share"),
        ({"n_hidden": 0}, "n_hidden is 0"),
    ],
)
def test_impossible_hyperparameters_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        NeuralGranger(**given).fit(var_world(100))


# ---- which penalty makes the graph


def test_standard_errors_are_those_of_values_that_follow_each_other():
    rng, n, memory = np.random.default_rng(0), 40_000, 0.3
    noise, x = rng.standard_normal(n), np.zeros(n)
    for t in range(1, n):
        x[t] = memory * x[t - 1] + noise[t]
    assert standard_error(noise) == pytest.approx(n**-0.5, rel=0.1)
    assert standard_error(x) == pytest.approx(n**-0.5 / (1 - memory), rel=0.1)


def test_one_standard_error_takes_the_largest_penalty_within_it():
    rng = np.random.default_rng(1)
    noise = np.abs(rng.standard_normal(400))
    se = standard_error(noise)
    steps = np.array([3.0, 0.9, 0.5, 0.0, 0.2])[:, None] * se + noise  # errors of five penalties, falling
    squares = np.stack([steps, steps[::-1]], axis=1)  # of a second target in the other order
    assert places_of(squares, "one_standard_error").tolist() == [1, 0]
    assert places_of(squares[:, :1], "best").tolist() == [3]
    assert len(set(places_of(squares, "best"))) == 1


def test_the_choice_of_the_penalty_changes_the_graph_and_not_the_scores():
    x = var_world(300)
    given = {"n_hidden": 3, "n_penalties": 8, "max_steps": 25}
    best, sparse = (
        NeuralGranger(choice=choice, **given).fit(x) for choice in ("best", "one_standard_error")
    )
    np.testing.assert_array_equal(best.connectivity_.score, sparse.connectivity_.score)
    graph = sparse.connectivity_.graph.values
    assert graph[1, 0] and graph[2, 0] and graph.sum() <= best.connectivity_.graph.values.sum()
    assert (sparse.diagnostics_.chosen_penalty >= best.diagnostics_.chosen_penalty).all()
    with pytest.raises(ValueError, match="choice is 'worst'"):
        NeuralGranger(choice="worst").fit(x)

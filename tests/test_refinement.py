"""Refining lagged candidates: against an oracle on the unrolled truth, statsmodels, and simulated interventions."""

import networkx as nx
import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from statsmodels.multivariate.manova import MANOVA

from causalkit import discovery, lagged_metrics, simulate
from causalkit.discovery.time_series import lagged_nodes

NAMES = list("abcd")


def graph_of(edges, names=NAMES, n_lags=2):
    """DataArray of bool (target, source, lag) from (source, target, lag)."""
    graph = xr.DataArray(
        np.zeros((len(names), len(names), n_lags), bool), dims=("target", "source", "lag"),
        coords={"target": names, "source": names, "lag": np.arange(1, n_lags + 1)}, name="graph",
    )  # fmt: skip
    for source, target, lag in edges:
        graph.loc[target, source, lag] = True
    return graph


def unrolled(edges, names, within=(), n_steps=12):
    """The graph over (name, lag), lags 0 to n_steps - 1, that repeats its edges at every step."""
    digraph = nx.DiGraph()
    digraph.add_nodes_from((name, lag) for name in names for lag in range(n_steps))
    for source, target, lag in [*edges, *((s, t, 0) for s, t in within)]:
        digraph.add_edges_from(((source, k + lag), (target, k)) for k in range(n_steps - lag))
    return digraph


def oracle(edges, names=NAMES, within=(), hidden=(), n_lags=2):
    """Independence in the truth, and the candidates: what of the past helps, given all the rest of a long past."""
    digraph = unrolled(edges, [*names, *hidden], within)
    seen = [node for node in digraph if node[0] in names]
    test = discovery.oracle_independence(digraph, observed=seen)
    test.nodes = lagged_nodes(names, n_lags)
    past = [node for node in test.nodes if node[1] > 0]
    helpful = [
        (x[0], y, x[1]) for y in names for x in past if not test(x, (y, 0), [node for node in past if node != x])
    ]
    return test, graph_of(helpful, names, n_lags), digraph


def random_world(seed, n_hidden=0, n_within=3):
    rng = np.random.default_rng(seed)
    edges = [(name, name, 1) for name in NAMES if rng.random() < 0.7]
    edges += [
        (s, t, int(rng.integers(1, 3))) for s in NAMES for t in NAMES if s != t and rng.random() < 0.25
    ]  # fmt: skip
    order = rng.permutation(NAMES).tolist()
    pairs = [(order[i], order[j]) for i in range(4) for j in range(i + 1, 4)]
    within = [pairs[k] for k in rng.permutation(6)[:n_within]]
    hidden = [f"h{k}" for k in range(n_hidden)]
    for name in hidden:
        edges += [(name, child, int(rng.integers(1, 3))) for child in rng.permutation(NAMES)[:2].tolist()]
    return edges, within, hidden


def test_a_past_that_acts_through_the_present_is_no_direct_cause():
    """u(t-1) -> x(t) -> y(t): u helps to forecast y, and is a cause of x alone."""
    test, candidates, _ = oracle([("a", "b", 1)], within=[("b", "c")])
    assert bool(candidates.sel(target="c", source="a", lag=1))
    found = discovery.refine_within_step(candidates, test)
    assert found.graph.equals(graph_of([("a", "b", 1)]))
    assert np.argwhere(found.instantaneous.values).tolist() == [[2, 1]]  # target c, source b
    assert not found.undirected.any()


@pytest.mark.parametrize("seed", range(12))
def test_with_an_oracle_lagged_causes_and_pairs_within_the_step_are_the_true_ones(seed):
    edges, within, _ = random_world(seed)
    test, candidates, _ = oracle(edges, within=within)
    found = discovery.refine_within_step(candidates, test)
    assert found.graph.equals(graph_of(edges))
    true = xr.zeros_like(found.instantaneous)
    for source, target in within:
        true.loc[target, source] = True
    assert not (found.instantaneous & ~true).any()  # no direction is wrong
    joined = found.instantaneous | found.undirected
    np.testing.assert_array_equal(joined.values | joined.values.T, true.values | true.values.T)
    np.testing.assert_array_equal(found.undirected.values, found.undirected.values.T)
    assert not (found.undirected & found.instantaneous).any()


def test_a_lagged_cause_of_one_of_two_tells_which_acts_on_which():
    """x and y alone are symmetric; with a past cause of x that y does not have, x -> y is told from y -> x."""
    for within, wanted in (([("b", "c")], (2, 1)), ([("c", "b")], (1, 2))):
        test, candidates, _ = oracle([("a", "b", 1)], within=within)
        found = discovery.refine_within_step(candidates, test)
        assert np.argwhere(found.instantaneous.values).tolist() == [list(wanted)]
    test, candidates, _ = oracle([("a", "a", 1)], within=[("b", "c")])
    found = discovery.refine_within_step(candidates, test)
    assert not found.instantaneous.any() and found.undirected.sum() == 2


def test_a_hidden_cause_of_two_neurons_at_two_lags_is_found_out():
    """h -> b at lag 1, h -> c at lag 2, a -> b. b's past helps c, and then a's past as well; neither causes c."""
    test, candidates, _ = oracle([("a", "b", 1), ("h", "b", 1), ("h", "c", 2)], hidden=["h"])
    assert bool(candidates.sel(target="c", source="b", lag=1)) and bool(candidates.sel(target="c", source="a", lag=2))
    found = discovery.refine_hidden_causes(candidates, test)
    assert found.graph.equals(graph_of([("a", "b", 1)]))
    assert found.hidden.equals(graph_of([("b", "c", 1)]).rename("hidden"))
    assert not found.undirected.any()


@pytest.mark.parametrize("seed", range(10))
def test_with_an_oracle_what_is_called_sure_is_a_cause_and_what_is_called_hidden_is_none(seed):
    edges, _, hidden = random_world(seed, n_hidden=2, n_within=0)
    test, candidates, digraph = oracle(edges, hidden=hidden)
    found = discovery.refine_hidden_causes(candidates, test, max_conditioning_size=None)
    for name, causes in (("sure", True), ("hidden", False)):
        for i, j, k in np.argwhere(found[name].values).tolist():
            assert nx.has_path(digraph, (NAMES[j], k + 1), (NAMES[i], 0)) == causes
    direct = graph_of([edge for edge in edges if edge[0] in NAMES])
    assert not (direct & ~found.graph).any()
    assert (found.sure & ~found.graph).sum() == 0 == (found.hidden & found.graph).sum()


def test_without_hidden_causes_all_candidates_stay():
    edges, _, _ = random_world(3, n_within=0)
    test, candidates, _ = oracle(edges)
    assert candidates.equals(graph_of(edges))
    found = discovery.refine_hidden_causes(candidates, test)
    assert found.graph.equals(candidates) and not found.hidden.any() and not found.undirected.any()


def test_both_follow_the_neurons_when_they_are_permuted():
    edges, within, _ = random_world(5)
    turned = [2, 0, 3, 1]
    for refine, kind in ((discovery.refine_within_step, within), (discovery.refine_hidden_causes, [])):
        test, candidates, _ = oracle(edges, within=kind)
        straight = refine(candidates, test)
        other = refine(candidates.isel(target=turned, source=turned), test)
        xr.testing.assert_equal(other, straight.isel(target=turned, source=turned))


def test_a_recording_with_effects_within_the_step_comes_out_better_than_its_candidates():
    recording = simulate.timeseries(5, 8000, 2011, n_lags=2, n_parents=1.5, n_instantaneous=1.0, strength=(0.4, 0.7))
    test = discovery.lagged_independence(recording, 2, alpha=1e-3)
    truth = recording.lagged_connectivity
    past = [node for node in test.nodes if node[1] > 0]
    helps = [[[not test((s, k), (t, 0), [n for n in past if n != (s, k)]) for k in (1, 2)]
              for s in map(str, recording.neuron.values)] for t in map(str, recording.neuron.values)]  # fmt: skip
    candidates = (truth != 0).copy(data=np.array(helps))
    found = discovery.refine_within_step(candidates, test)
    assert lagged_metrics.f1(truth, found.graph) > lagged_metrics.f1(truth, candidates) + 0.1
    true = recording.instantaneous.values != 0
    joined = (found.instantaneous | found.undirected).values
    assert ((joined | joined.T) == (true | true.T)).all()
    assert not (found.instantaneous.values & true.T).any()


def test_candidates_that_are_none_are_refused():
    test, candidates, _ = oracle([("a", "b", 1)])
    for refine in (discovery.refine_within_step, discovery.refine_hidden_causes):
        with pytest.raises(ValueError, match="no graph of bool"):
            refine(candidates.astype(float), test)
        with pytest.raises(ValueError, match="knows nothing of"):
            refine(graph_of([("a", "b", 1)], n_lags=3), test)


# ---- independence of curves


def test_one_column_a_node_is_the_partial_correlation():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4000, 6)) @ rng.standard_normal((6, 6))
    line = discovery.samples_independence(values)
    curve = discovery.BasisIndependence(np.cov(values, rowvar=False), 1, 4000, nodes=range(6))
    for given in ((), (2,), (2, 3, 4)):
        assert curve.p_value(0, 1, given) == pytest.approx(line.p_value(0, 1, given), rel=0.05)


def test_two_columns_a_node_are_the_test_of_wilks_in_statsmodels():
    rng = np.random.default_rng(1)
    given, x = rng.standard_normal((2, 500, 2))
    y = 0.3 * given + 0.08 * x[:, ::-1] + rng.standard_normal((500, 2))
    columns = np.column_stack([x, y, given])
    test = discovery.BasisIndependence(np.cov(columns, rowvar=False), 2, 500, nodes=["x", "y", "z"])
    model = MANOVA(y, sm.add_constant(np.column_stack([x, given])))
    wilks = model.mv_test([("x", np.eye(5)[1:3])]).results["x"]["stat"].loc["Wilks' lambda"]
    assert test.p_value("x", "y", ["z"]) == pytest.approx(float(wilks["Pr > F"]), rel=0.02)
    assert test.p_value("x", "y", ["z"]) == pytest.approx(test.p_value("y", "x", ["z"]))


def test_an_even_cause_is_seen_by_curves_and_not_by_lines():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6000, 2))
    y = np.zeros(6000)
    y[1:] = x[:-1, 0] ** 2 + rng.standard_normal(5999)
    recording = np.column_stack([x, y])
    line = discovery.lagged_independence(recording, 1)
    curve = discovery.basis_independence(recording, 1)
    cause, other, target = (curve.nodes[3], curve.nodes[4], curve.nodes[2])
    assert line.p_value(cause, target) > 1e-4 and curve.p_value(cause, target) < 1e-100
    assert curve(other, target, [cause])


def test_p_values_of_independent_variables_are_uniform():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(400):
        values = np.tanh(rng.standard_normal((300, 3)))[:, :, None] ** [1, 2]
        test = discovery.BasisIndependence(np.cov(values.reshape(300, 6), rowvar=False), 2, 300, nodes="xyz")
        p.append(test.p_value("x", "y", "z"))
    below = np.array([(np.array(p) < level).mean() for level in (0.05, 0.5)])
    assert abs(below[0] - 0.05) < 0.04 and abs(below[1] - 0.5) < 0.09  # 3.5 standard errors


def test_covariances_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have 4 rows"):
        discovery.BasisIndependence(np.eye(3), 2, 100, nodes="xy")
    with pytest.raises(ValueError, match="level of a test"):
        discovery.BasisIndependence(np.eye(2), 1, 100, alpha=0, nodes="xy")
    with pytest.raises(ValueError, match="degree is 0"):
        discovery.basis_independence(np.zeros((10, 2)), 1, degree=0)

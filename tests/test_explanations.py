"""CLEANN: which sets are tried, in which order, and what comes out where the causes of a prediction are known."""

from itertools import combinations
from pathlib import Path

import abcd_neurons
import cleann as benchmark
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import violations
import xarray as xr

from causalkit import PAG, abcd
from causalkit.discovery import cleann, explain_by_rank

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
ROUND = PAG(["a", "b", "c", "d", "t"], [("a", "o->", "t"), ("b", "o->", "t"), ("c", "o->", "a"), ("d", "o-o", "c")])


def asked_of(pag, target, changes=lambda tokens: False, **options):
    asked = []
    cleann(pag, target, lambda tokens: asked.append(tokens) or changes(tokens), **options)
    return asked


def test_the_nearest_and_smallest_sets_come_first_and_far_ones_never():
    # c may not collide at a: the way from t to c leads through a non-collider, so c cannot be told apart behind a
    assert asked_of(ROUND, "t") == [("a",), ("b",), ("a", "b")]


def test_a_collider_opens_the_way_to_what_lies_behind_it():
    pag = PAG("abct", [("c", "o->", "a"), ("a", "<->", "t"), ("c", "o->", "b"), ("b", "o->", "t")])
    assert asked_of(pag, "t") == [("a",), ("b",), ("a", "b"), ("a", "c"), ("a", "b", "c")]  # c only together with a


def test_the_first_set_that_changes_the_prediction_explains_it():
    found = cleann(ROUND, "t", lambda tokens: {"a", "b"} <= set(tokens))
    assert found.tokens == ("a", "b") and found.n_asked == 3
    assert cleann(ROUND, "t", lambda tokens: "b" in tokens).tokens == ("b",)
    assert cleann(ROUND, "t", lambda tokens: False) == (None, 3)
    assert cleann(ROUND, "t", lambda tokens: "b" in tokens and "a" in tokens, max_size=1) == (None, 2)


def test_where_the_graph_explains_nothing_all_sets_of_a_ranking_follow():
    asked = asked_of(ROUND, "t", otherwise=["c", "d", "a"], max_size=2)
    assert asked == [("a",), ("b",), ("a", "b"), ("c",), ("d",), ("a",), ("c", "d"), ("c", "a"), ("d", "a")]
    far = cleann(ROUND, "t", lambda tokens: "d" in tokens, otherwise=["c", "d"])
    assert far.tokens == ("d",) and far.n_asked == 5
    near = cleann(ROUND, "t", lambda tokens: "b" in tokens, otherwise=["c", "d"])
    assert near == cleann(ROUND, "t", lambda tokens: "b" in tokens)


def test_neighbors_that_are_said_to_be_no_causes_are_left_out_only_if_arrows_are_trusted():
    pag = PAG("abt", [("a", "<->", "t"), ("b", "o->", "t")])
    assert asked_of(pag, "t", trust_arrows=True) == [("b",)]
    assert asked_of(pag, "t") == [("a",), ("b",), ("a", "b")]


def test_a_prediction_of_two_causes_is_explained_by_them_from_exact_attention():
    dag = nx.DiGraph([(0, 4), (1, 4), (2, 3)])  # 4 is the prediction; 2 and 3 have nothing to do with it
    total = np.linalg.inv(np.eye(5) - 0.7 * nx.to_numpy_array(dag, nodelist=range(5)).T)
    attention = total / total.sum(axis=1, keepdims=True)
    for order in (range(5), [3, 0, 4, 2, 1]):  # the order of tokens does not matter
        order = list(order)
        pag = abcd(attention[np.ix_(order, order)], 10_000, nodes=order)
        found = cleann(pag, 4, lambda tokens: {0, 1} <= set(tokens))
        assert set(found.tokens) == {0, 1} and found.n_asked == 3
    ranked = explain_by_rank([2, 0, 3, 1], lambda tokens: {0, 1} <= set(tokens))
    assert ranked.tokens == (2, 0, 3, 1) and ranked.n_asked == 4


def test_in_a_complete_graph_all_sets_are_tried():
    pag = PAG.complete(range(5))
    expected = {frozenset(given) for size in range(1, 5) for given in combinations(range(1, 5), size)}
    sets = asked_of(pag, 0)
    assert {frozenset(given) for given in sets} == expected and len(sets) == len(expected)


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="target 'x' is no node"):
        cleann(ROUND, "x", lambda tokens: True)


def test_the_tasks_of_the_benchmark_know_their_causes():
    rng = np.random.default_rng(0)
    recommendation, sentiment = benchmark.TASKS["recommendation"], benchmark.TASKS["sentiment"]
    symbols, following = recommendation.draw(50, rng)
    assert (symbols[:, -1] == recommendation.n_symbols).all() and symbols[:, :-1].max() < recommendation.n_symbols
    for session, item in zip(symbols, following, strict=True):
        causes = recommendation.causes(session, item)
        assert all(session[k] // benchmark.N_PARTS == item // benchmark.N_PARTS for k in causes)
        if causes:  # a series goes on where it was left
            assert item == session[causes[-1]] + 1
    words, good = sentiment.draw(200, rng)
    assert len(words) == 200 and (words[:, 0] == sentiment.n_symbols).all() and 0.3 < good.mean() < 0.7
    sentence = np.array([40, 16, 0, 20, 8, 17, 21, 1, 22, 23, 16])  # not good ..., bad, not ..., good ..., not
    assert sentiment.causes(sentence, 0) == [2, 4, 7, 1]


def test_attention_that_is_the_wiring_tells_direction_and_its_product_does_not():
    rng = np.random.default_rng(1)
    wiring = np.triu(rng.random((12, 12)) < 0.2, 1)[rng.permutation(12)] * 5.0
    np.fill_diagonal(wiring, 0)
    score = np.abs(wiring)
    np.fill_diagonal(score, np.nan)
    dims = ("target", "source")
    row = abcd_neurons.row_of(xr.Dataset({"score": (dims, score), "truth": (dims, wiring)}), rng)
    assert row["directed"] == row["joined_sum"] == row["direction"] == 1
    assert row["co_input_r"] > 0.999 and row["co_input_null"] < 0.5
    assert row["joined_product"] < 1 and row["abcd_f1"] > row["abcd_chance"] + 0.2
    assert row["timed_f1"] == row["timed_arrows"] == 1 and row["timed_chance"] < 0.5
    turned = abcd_neurons.row_of(xr.Dataset({"score": (dims, score.T), "truth": (dims, wiring)}), rng)
    assert turned["joined_sum"] == 1 and turned["direction"] == turned["timed_arrows"] == turned["timed_f1"] == 0


def test_attention_of_lags_is_added_up_without_own_history():
    rng, dims = np.random.default_rng(2), ("target", "source")
    of_lags = rng.random((6, 6, 3))
    result = {"score": (dims, rng.random((6, 6))), "attention_lag_score": ((*dims, "lag"), of_lags)}
    attention = abcd_neurons.attention_of(xr.Dataset(result).transpose("lag", "source", "target"))
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(attention[off], of_lags.sum(-1)[off] / of_lags.sum(-1)[off].max())
    assert (attention.diagonal() == 0).all()


def test_provenance_is_written_again_from_the_table_when_the_stores_are_gone(tmp_path, monkeypatch):
    table = pd.read_csv(RESULTS / "abcd_neurons.csv")
    out = tmp_path / "abcd_neurons.csv"
    out.write_bytes((RESULTS / "abcd_neurons.csv").read_bytes())
    monkeypatch.setattr("sys.argv", ["abcd_neurons.py", "--add", "--stores", str(tmp_path), "--out", str(out)])
    abcd_neurons.main()
    assert out.read_bytes() == (RESULTS / "abcd_neurons.csv").read_bytes()
    assert out.with_suffix(".json").read_text() == (RESULTS / "abcd_neurons.json").read_text()
    new = [table.iloc[0].to_dict() | {"directed": 0.25}]
    added = abcd_neurons.table_of(new, out, add=True)
    assert len(added) == len(table) and added.iloc[-1].directed == 0.25
    pd.testing.assert_frame_equal(added.iloc[:-1], table.iloc[1:].reset_index(drop=True), check_dtype=False)
    assert abcd_neurons.table_of(new, out, add=False).directed.tolist() == [0.25]
    out.unlink()
    monkeypatch.setattr("sys.argv", ["abcd_neurons.py", "--stores", str(tmp_path), "--out", str(out)])
    with pytest.raises(SystemExit, match="no finished model"):
        abcd_neurons.main()
    assert not out.exists()


def test_worlds_break_the_assumption_they_are_named_for():
    seed, n = 2200, 20_000
    dag, noise = violations.world("linear", seed)
    drawn = {name: violations.world(name, seed) for name in violations.WORLDS}
    values = {name: violations.sample(name, *drawn[name], n, seed) for name in violations.WORLDS}
    roots = [node for node in dag if dag.in_degree(node) == 0]
    cause, effect = next((a, c) for a in roots for c in dag[a] if dag.in_degree(c) == 1)

    def correlation(name, a, b):
        return abs(np.corrcoef(values[name][:, a], values[name][:, b])[0, 1])

    weight = abs(dag[cause][effect]["weight"])
    assert correlation("linear", cause, effect) == pytest.approx(weight / np.sqrt(1 + weight**2), abs=0.02)
    assert correlation("even", cause, effect) < 0.03
    assert np.corrcoef(values["even"][:, cause] ** 2, values["even"][:, effect])[0, 1] ** 2 > 0.05
    two_steps = {(a, c) for a in roots for b in dag[a] for c in dag[b] if not dag.has_edge(a, c)}
    before, after = (np.mean([correlation(name, *pair) for pair in two_steps]) for name in ("linear", "cancelling"))
    assert all(drawn["cancelling"][0].has_edge(*pair) for pair in two_steps) and after < before / 2
    copies = [node for node, spread in drawn["colliding"][1].items() if spread < 1]
    assert len(copies) == violations.N_PAIRS
    for copy in copies:
        (of,) = drawn["colliding"][0].predecessors(copy)
        assert correlation("colliding", copy, of) > 0.99
    assert all(nx.is_directed_acyclic_graph(graph) for graph, _ in drawn.values())

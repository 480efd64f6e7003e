"""The tables of methods against worlds, and of refined candidates: at a tiny size, and as they are stored."""

import json
import sys
from pathlib import Path

import lagged_worlds
import numpy as np
import pandas as pd
import pytest
import refinement
import xarray as xr
import yaml
from sklearn.metrics import f1_score, roc_auc_score

from causalkit import MVGC, lagged_graphs, metrics, simulate, sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
QUICK = {"context": 2, "embedding_dim": 8, "feedforward_dim": 8, "n_heads": 2, "max_epochs": 1, "n_seeds": 1}


def run(module, grid, folder, monkeypatch):
    """The table and the provenance that a script writes for a grid."""
    path, out = folder / "grid.yaml", folder / "table.csv"
    path.write_text(yaml.safe_dump(grid))
    sweep.run(sweep.read_grid(path), folder / "store", progress=False)
    monkeypatch.setattr(sys, "argv", ["x", "--grid", str(path), "--store", str(folder / "store"), "--out", str(out)])
    module.main()
    return pd.read_csv(out), json.loads(out.with_suffix(".json").read_text())


def test_every_method_is_scored_on_the_pairs_that_all_of_them_judge(tmp_path, monkeypatch):
    world = {"model": "timeseries", "n_neurons": 4, "n_lags": 2, "n_steps": 800, "random_state": 2000}
    methods = [{"method": "mvgc", "parameters": {"order": 2}}, {"method": "dynotears", "parameters": {"max_lag": 1}},
               {"method": "random", "parameters": {"max_lag": 2}},
               {"method": "partial_correlation"}]  # fmt: skip
    others = [{"simulate": {"model": "var", "n_neurons": 4, "n_steps": 800, "random_state": 2000}},
              {"simulate": {"model": "lorenz96", "n_neurons": 6, "n_steps": 800, "random_state": 2000}},
              {"simulate": {"n_neurons": 4, "n_steps": 800, "random_state": 2000}}]  # fmt: skip
    table, provenance = run(
        lagged_worlds, {"networks": [{"simulate": world}, *others], "methods": methods}, tmp_path, monkeypatch
    )
    assert list(table.world.unique()) == ["linear, 4 neurons, 2 lags", "VAR", "Lorenz-96", "Izhikevich"]
    assert provenance["units"] == {"done": 16, "planned": 16}
    with_lags = (table.world != "Izhikevich") & (table.method != "partial_correlation")
    assert (table.auroc.notna() == with_lags).all() and table.summary_auroc.notna().all()
    assert (table.n_steps == 800).all()
    spiking = simulate.izhikevich(n_neurons=4, n_steps=800, random_state=2000)
    expected = metrics.auroc(spiking, MVGC(order=2).fit(spiking).connectivity_)
    assert table[(table.world == "Izhikevich") & (table.method == "mvgc")].summary_auroc.item() == round(expected, 4)

    recording = simulate.timeseries(**{k: v for k, v in world.items() if k != "model"})
    truth, row = recording.lagged_connectivity.values != 0, table.iloc[0]
    off = ~np.eye(4, dtype=bool)
    score = MVGC(order=2).fit(recording).connectivity_
    lagged, k = score.lag_score.values[off].ravel(), int(truth[off].sum())
    largest = np.isin(np.arange(lagged.size), np.argsort(-lagged)[:k])
    assert row.n_edges == k and row.f1_top_k == pytest.approx(f1_score(truth[off].ravel(), largest), abs=1e-4)
    assert row.auroc == pytest.approx(roc_auc_score(truth[off].ravel(), lagged), abs=1e-4)
    edge = truth[off].any(axis=-1)
    assert row.summary_auroc == pytest.approx(roc_auc_score(edge, score.score.values[off]), abs=1e-4)
    assert row.summary_n_edges == edge.sum()
    assert np.isnan(row.f1_own_rule) and not np.isnan(table.iloc[1].f1_own_rule)  # DYNOTEARS has a graph of its own


def test_a_perfect_score_is_worth_one_and_its_reverse_nothing():
    rng = np.random.default_rng(0)
    truth = simulate.timeseries(5, 50, 2000, n_lags=3).lagged_connectivity
    noise = truth.copy(data=rng.uniform(0, 0.1, truth.shape))
    for score, f1, area in (((truth != 0) + noise, 1, 1), ((truth == 0) + noise, 0, 0)):
        found = xr.Dataset({"lag_score": score, "score": lagged_graphs.summary(score)})
        row = lagged_worlds.scores_of(truth, found)
        assert row["f1_top_k"] == row["f1_top_k_with_own_past"] == f1 and row["auroc"] == area
        assert not area or row["summary_auroc"] == row["summary_f1_top_k"] == 1
    assert row["f1_gap"] < 1


def test_what_refining_is_worth_is_told_beside_a_shorter_list(tmp_path, monkeypatch):
    shared = {"model": "timeseries", "n_neurons": 4, "n_lags": 2, "n_steps": 800, "random_state": 2000}
    worlds = [{"simulate": shared | {"n_latent": 1}}, {"simulate": shared | {"n_instantaneous": 1.0}}]
    for world in worlds:
        world["simulate"]["mechanism"] = "linear"
    grid = {"networks": worlds, "methods": [{"method": "decoder_only", "parameters": QUICK}]}
    table, _ = run(refinement, grid, tmp_path, monkeypatch)
    assert list(table.world.unique()) == ["linear, 1 hidden", "linear, effects within the step"]
    assert len(table) == 2 * 3 * 2 and (table.n_refined <= table.n_candidates).all()
    assert (table[table.candidates == "twice k"].n_candidates == 2 * table.n_edges[0]).all()
    assert table.f1_within.notna().sum() == table.n_sure.notna().sum() == 6
    assert (table.n_directed_right.dropna() <= table.n_directed.dropna()).all()


@pytest.mark.parametrize("model", ["timeseries", "var", "lorenz96", "izhikevich"])
def test_the_truth_of_a_world_is_that_of_its_recording(model):
    world = {"n_neurons": 5, "n_steps": 300, "random_state": 2001}
    world |= {"n_lags": 3} if model in ("timeseries", "var") else {}
    truth, recording = lagged_worlds.truth_of(world | {"model": model}), simulate.MODELS[model](**world)
    for name in ["connectivity"] if model == "izhikevich" else ["lagged_connectivity"]:
        xr.testing.assert_equal(truth[name], recording[name])


@pytest.mark.parametrize("name", ["lagged_worlds", "refinement"])
def test_the_stored_table_is_of_seeds_on_which_nothing_was_chosen(name):
    table = pd.read_csv(RESULTS / f"{name}.csv")
    assert (table.seed >= 3200).all() and not table.duplicated().any()
    scores = table.filter(regex="f1|auroc")
    assert ((scores >= 0) & (scores <= 1) | scores.isna()).all(axis=None)
    provenance = json.loads((RESULTS / f"{name}.json").read_text())
    assert 0 < provenance["units"]["done"] <= provenance["units"]["planned"]
    grids = lagged_worlds.GRIDS if name == "lagged_worlds" else [ROOT / "benchmarks" / f"{name}.yaml"]
    networks = {str(network) for grid in grids for network in sweep.read_grid(grid).networks}
    assert set(table.network) <= networks


def test_random_scores_are_worth_little_in_the_stored_table():
    table = pd.read_csv(RESULTS / "lagged_worlds.csv")
    assert table[table.method == "random"].f1_top_k.mean() < 0.2

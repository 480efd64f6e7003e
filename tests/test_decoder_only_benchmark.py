"""The benchmark of the decoder-only transformer at a tiny size; and what its stored table holds."""

import json
import sys
from collections import Counter
from pathlib import Path

import decoder_only
import decoder_only_izhikevich
import numpy as np
import pandas as pd
import pytest
import yaml

from causalkit import DecoderOnlyTransformer, lagged_graphs, lagged_metrics, metrics, simulate, sweep

ROOT = Path(__file__).resolve().parents[1]
QUICK = {"context": 2, "embedding_dim": 8, "feedforward_dim": 8, "n_heads": 2, "max_epochs": 2, "n_seeds": 1}
WORLD = {"model": "timeseries", "n_neurons": 4, "n_lags": 2, "n_steps": 600, "random_state": 2000}


def test_the_grids_hold_the_worlds_that_the_book_names():
    for name, kinds in (("decoder_only", 7), ("decoder_only_depth", 2)):
        grid = sweep.read_grid(ROOT / "benchmarks" / f"{name}.yaml")
        worlds = Counter(decoder_only.world_of(decoder_only.DEFAULTS | n.simulated) for n in grid.networks)
        assert len(worlds) == kinds and set(worlds.values()) == {3}
        assert all(network.simulated["random_state"] >= 3200 for network in grid.networks)
    for name in (*decoder_only.TABLES["decoder_only_limits"], "decoder_only_deep", "decoder_only_izhikevich"):
        grid = sweep.read_grid(ROOT / "benchmarks" / f"{name}.yaml")
        assert all(network.simulated["random_state"] >= 3200 for network in grid.networks)
    other = decoder_only.DEFAULTS | {"mechanism": "joint_mlp", "n_neurons": 25, "n_domains": 2, "linear_part": 0.0}
    assert decoder_only.world_of(other) == "joint mlp, 25 neurons, 2 domains, without straight part"


def test_its_table_holds_what_each_readout_is_worth(tmp_path, monkeypatch, capsys):
    grid = {
        "networks": [{"simulate": WORLD | {"mechanism": ["linear", "joint_mlp"]}}],
        "methods": [{"method": "decoder_only", "label": "small", "parameters": QUICK | {
            "more_readouts": [["attn_lrp", "attention"]]}}],
    }  # fmt: skip
    path, out = tmp_path / "grid.yaml", tmp_path / "table.csv"
    path.write_text(yaml.safe_dump(grid))
    sweep.run(sweep.read_grid(path), tmp_path / "store", progress=False)
    monkeypatch.setattr(sys, "argv", ["x", "--grids", str(path), "--store", str(tmp_path / "store"), "--out", str(out)])
    decoder_only.main()
    table = pd.read_csv(out)
    assert list(table.readout) == ["gradient_energy", "attn_lrp", "attention"] * 2
    assert json.loads(out.with_suffix(".json").read_text())["units"] == {"grid": {"done": 2, "planned": 2}}
    assert "joint mlp" in capsys.readouterr().out

    recording = simulate.timeseries(**{k: v for k, v in WORLD.items() if k != "model"}, mechanism="joint_mlp")
    result = DecoderOnlyTransformer(**QUICK, device="cpu").fit(recording).connectivity_
    row, k = table.iloc[3], int((recording.lagged_connectivity != 0).sum())
    assert row.n_edges == row.n_found_top_k == k
    graph = lagged_graphs.graph(result, widest_gap=True)
    assert row.f1_gap == pytest.approx(lagged_metrics.f1(recording, graph), abs=1e-4)
    assert row.auroc == pytest.approx(lagged_metrics.auroc(recording, result), abs=1e-4)
    known = lagged_graphs.graph(result, top_k=k)
    assert row.shd_top_k == lagged_metrics.shd(recording, known)


def test_regimes_lengths_and_lags_are_told_apart_in_one_table(tmp_path, monkeypatch, capsys):
    worlds = [WORLD | {"n_domains": 2}, WORLD | {"n_steps": 300}, WORLD | {"n_lags": 3}]
    grid = {
        "networks": [{"simulate": world | {"mechanism": "linear"}} for world in worlds],
        "methods": [{"method": "decoder_only", "label": label, "parameters": QUICK | {"n_domains": n}}
                    for label, n in (("told", 2), ("not told", 1))],
    }  # fmt: skip
    path, out = tmp_path / "grid.yaml", tmp_path / "table.csv"
    path.write_text(yaml.safe_dump(grid))
    done = sweep.run(sweep.read_grid(path), tmp_path / "store", progress=False)
    assert len(done.failed) == 2  # only a recording with regimes can tell of them
    monkeypatch.setattr(sys, "argv", ["x", "--table", "decoder_only_limits", "--grids", str(path), "--out", str(out),
                                      "--store", str(tmp_path / "store")])  # fmt: skip
    decoder_only.main()
    table = pd.read_csv(out)
    assert list(zip(table.world, table.n_steps, table.model, table.n_domains_told, strict=True)) == [
        ("linear, 4 neurons, 2 lags, 2 domains", 600, "told", 2),
        ("linear, 4 neurons, 2 lags, 2 domains", 600, "not told", 1),
        ("linear, 4 neurons, 2 lags", 300, "not told", 1), ("linear, 4 neurons, 3 lags", 600, "not told", 1),
    ]  # fmt: skip
    provenance = json.loads(out.with_suffix(".json").read_text())
    assert provenance["units"] == {"grid": {"done": 4, "planned": 6}} and "seed 2000" in provenance["networks"]


def test_readouts_of_izhikevich_networks_are_scored_off_the_diagonal(tmp_path, monkeypatch):
    grid = {
        "networks": [{"simulate": {"n_neurons": 5, "n_steps": 300, "random_state": 2000}}],
        "methods": [{"method": "decoder_only", "parameters": QUICK | {"more_readouts": [["attention"]]}},
                    {"method": "mvgc"}],
    }  # fmt: skip
    path, out = tmp_path / "grid.yaml", tmp_path / "table.csv"
    path.write_text(yaml.safe_dump(grid))
    sweep.run(sweep.read_grid(path), tmp_path / "store", progress=False)
    monkeypatch.setattr(sys, "argv", ["x", "--grid", str(path), "--store", str(tmp_path / "store"), "--out", str(out)])
    decoder_only_izhikevich.main()
    table = pd.read_csv(out)
    assert list(table.readout.fillna("")) == ["gradient_energy", "attention", ""]
    recording = simulate.izhikevich(5, 0.4, 300, 2000)
    found = DecoderOnlyTransformer(**QUICK, more_readouts=["attention"], device="cpu").fit(recording).connectivity_
    for row, score in zip(table.auroc, (found.lag_score, found.attention_lag_score), strict=False):
        assert row == pytest.approx(metrics.auroc(recording, score.sum("lag").values), abs=1e-4)


def test_the_stored_table_is_of_whole_worlds():
    table = pd.read_csv(ROOT / "book" / "results" / "decoder_only.csv")
    assert set(table.mechanism) == {"linear", "monotone", "piecewise", "additive_mlp", "joint_mlp"}
    assert (table.n_steps == 50_000).all() and (table.seed >= 3200).all()
    np.testing.assert_array_equal(table.n_found_top_k, table.n_edges)
    per_training = table.groupby(["network", "model"]).readout.nunique()
    assert set(per_training) <= {6, 7}


def test_the_stored_limits_are_of_the_grids_and_reach_what_the_book_says():
    table = pd.read_csv(ROOT / "book" / "results" / "decoder_only_limits.csv")
    assert (table.seed >= 3200).all() and not table.duplicated(["network", "model", "readout"]).any()
    paths = [ROOT / "benchmarks" / f"{name}.yaml" for name in decoder_only.TABLES["decoder_only_limits"]]
    assert set(table.network) <= {str(network) for path in paths for network in sweep.read_grid(path).networks}
    told = table[table.model == "told the regime"].groupby("world").f1_top_k.mean()
    for n, published in ((2, 0.785), (5, 0.74), (10, 0.615)):
        assert told[f"linear, {n} domains"] > published

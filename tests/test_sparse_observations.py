"""The grids and the stored table behind chapter 9."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import sparse_observations
import yaml
from scipy import stats

import causalkit.sweep as sweep
from causalkit import methods, simulate

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "book" / "results" / "sparse_observations.csv"
AIMS = {0.2: 0.95, 0.4: 0.85, 0.6: 0.75, 0.8: 0.65}  # forty neurons, 5,000 bins of 1 ms


@pytest.mark.parametrize("path", sorted(sparse_observations.GRIDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_method_takes_what_its_grid_observes(path):
    grid = sweep.read_grid(path)
    kinds = {network.observed.get("as", "voltage") for network in grid.networks}
    for setting in grid.settings:
        assert kinds <= set(methods.get(setting.method).traits.input_kinds)
    assert all(network.simulated["random_state"] >= 3100 for network in grid.networks)


def test_the_benchmark_tells_what_its_results_say(tmp_path, monkeypatch, capsys):
    grid = {
        "networks": [
            {"simulate": {"n_neurons": 4, "connection_probability": 0.5, "n_steps": 800, "random_state": 3},
             "observed": {"as": "spikes", "bin_ms": 2}, "hidden": ["n3"]},
        ],
        "methods": [{"method": "mvgc", "label": "MVGC", "parameters": {"order": 2}}],
    }  # fmt: skip
    (tmp_path / "1_tiny.yaml").write_text(yaml.safe_dump(grid))
    (tmp_path / "2_not_run.yaml").write_text(yaml.safe_dump(grid | {"methods": [{"method": "spike_glm"}]}))
    sweep.run(sweep.read_grid(tmp_path / "1_tiny.yaml"), tmp_path / "store", progress=False)
    monkeypatch.setattr(sparse_observations, "GRIDS", tmp_path)
    out = tmp_path / "table.csv"
    monkeypatch.setattr(sys, "argv", ["sparse", "--store", str(tmp_path / "store"), "--out", str(out)])
    sparse_observations.main()
    row = pd.read_csv(out).squeeze()
    assert (row.observed, row.hidden, row.n_neurons, row.n_steps) == ("spikes bin_ms=2", 1, 3, 800)
    assert row.n_edges + row.n_non_edges == 6
    spikes = simulate.izhikevich(4, 0.5, 800, random_state=3).spikes.isel(neuron=slice(3))
    assert (row.input_mean, row.rate_hz) == (5, pytest.approx(float(spikes.mean()) * 1000))
    assert json.loads(out.with_suffix(".json").read_text())["units"] == {
        "1_tiny": {"done": 1, "planned": 1},
        "2_not_run": {"done": 0, "planned": 1},
    }
    assert "MVGC" in capsys.readouterr().out


def test_stored_table_is_whole_and_reaches_the_aims():
    table = pd.read_csv(STORED)
    units = json.loads(STORED.with_suffix(".json").read_text())["units"]
    assert table.grid.value_counts().to_dict() == {name: unit["done"] for name, unit in units.items() if unit["done"]}
    dense = table[table.grid == "1_spikes"].set_index(["method", "connection_probability"]).sort_index()
    ours, glm, linear = (dense.loc[name] for name in ("SpikeIndexGranger", "SpikeGLM", "MVGC"))
    for p, aim in AIMS.items():
        assert len(ours.loc[[p]]) == 2 and ours.auroc[p].mean() >= aim
        assert ours.auroc[p].min() > glm.auroc[p].max() > linear.auroc[p].max()
        assert ours.auroc[p].min() > dense.loc["Causalformer"].auroc[p].max() > 0.5
    assert ours.sign_accuracy.min() > 0.95
    assert (ours["rejected_0.05"] < 0.06).all() and (ours.false_discoveries == 0).all()


def test_stored_rates_are_those_that_chapter_9_names():
    table = pd.read_csv(STORED)
    slow = table[table.grid == "7_rates"]
    assert (slow.groupby(["method", "connection_probability", "input_mean"]).size() == 2).all()
    rate = slow.groupby("input_mean").rate_hz
    assert rate.min()[1.5] > 2 and rate.max()[2.0] < 10 and 30 < rate.min()[5.0] <= rate.max()[5.0] < 40
    auroc = slow.pivot_table("auroc", ["method", "connection_probability"], "input_mean")
    of_attention = auroc.xs("Causalformer")
    rest = auroc.drop("Causalformer")
    assert (rest.diff(axis=1).iloc[:, 1:] > 0).all(axis=None)  # more spikes, better read
    assert (of_attention[5.0] > of_attention[1.5] + 0.1).all()
    assert (rest.groupby(level=1).min() > of_attention).all(axis=None)
    power = slow[slow.input_mean <= 2].groupby("method").power
    assert power.max()["SpikeIndexGranger"] < 0.15 and power.min()["SpikeGLM"] > 0.05  # p-values that are too large
    assert table.rate_hz.isna().eq(~table.observed.str.contains("spikes")).all()


def test_stored_p_values_of_spikes_are_not_too_small_without_edges():
    table = pd.read_csv(STORED)
    without = table[table.grid == "8_no_edges"]
    assert len(without) > 1 and without.network.is_unique and not without.n_edges.any()
    for level in (0.05, 0.01):
        rejected = without[f"rejected_{level:g}"]
        assert rejected.mean() - stats.t.ppf(0.9995, len(without) - 1) * rejected.sem() <= level

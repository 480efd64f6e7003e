"""The table of chapter 6: one row a network and setting, and what its script measures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import what_makes_causal as script

import causalkit.sweep as sweep
from causalkit import from_array

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results"


@pytest.fixture(scope="module")
def table():
    return pd.read_parquet(RESULTS / "what_makes_causal.parquet")


def test_table_has_one_row_a_setting_and_each_has_its_base(table):
    assert not table.duplicated(["method", "setting", "value", "network"]).any()
    assert table.auroc.between(0, 1).all()
    attention = table[table.method == "Causalformer"]
    bases = set(attention[attention.setting == "base"].network)
    assert len(bases) >= 3
    compared = attention[~attention.setting.isin(["base", "connection_probability", "max_epochs"])]
    assert set(compared.network) <= bases  # differences are taken on the same network
    changed = table[~table.setting.isin(["base", "n_seeds"])]
    assert (changed.value != changed.default).all()


def test_provenance_counts_the_networks_of_the_table(table):
    stored = json.loads((RESULTS / "what_makes_causal.json").read_text())
    counts = table.groupby(["method", "setting", "value"]).network.nunique()
    said = {(e["method"], e["setting"], e["value"]): e["networks"] for e in stored["networks"]}
    assert said == counts.to_dict()


def test_ensembles_of_one_and_all_members_are_the_ends_of_their_curve(table):
    attention = table[table.method == "Causalformer"]
    sizes = attention[attention.setting == "n_seeds"].pivot(index="network", columns="value", values="auroc")
    base = attention[attention.setting == "base"].set_index("network")
    # means over five and over ten members of the same network: apart by the spread of ten members at most
    assert (sizes["1"] - base.auroc_single.reindex(sizes.index)).abs().max() < 0.1
    assert (sizes["10"] > sizes["1"]).all()


def test_labels_and_recordings_say_what_was_changed():
    world = {"n_neurons": 3, "random_state": 400, "connection_probability": 0.4}
    grid = sweep.read_grid({
        "networks": [
            {"simulate": world},
            {"simulate": world | {"n_steps": 6000}, "n_steps": [1000, None]},
            {"simulate": world | {"delay_steps": 5}},
            {"simulate": world | {"plasticity": {"smallest": 0.1}}},
            {"simulate": world | {"connection_probability": 0.6}},
        ],
        "methods": [
            {"method": "mvgc", "label": "MVGC-AIC"},
            {"method": "mvgc", "label": "order={order}", "parameters": {"order": 2}},
        ],
    })  # fmt: skip
    units = sweep.units(grid, progress=False)
    changed = [script.changed(unit) for unit in units if unit.label == "MVGC-AIC"]
    assert changed == [
        ("base", ""), ("n_steps", "1000"), ("n_steps", "6000"), ("biology", "delay 5 ms"), ("biology", "plasticity"),
        ("connection_probability", "0.6"),
    ]  # fmt: skip
    assert script.changed(units[1]) == ("order", "2")
    assert script.default_of("context") == "10" and script.default_of("norm") == "batch"


def test_linear_r2_is_that_of_the_process():
    rng = np.random.default_rng(0)
    x = np.zeros((40_000, 2))
    for t in range(1, len(x)):  # two AR(1) processes explain the square of their coefficient
        x[t] = (0.9, 0.5) * x[t - 1] + rng.standard_normal(2)
    found = script.linear_test_r2(from_array(x + 3), {"order": 1})
    assert found == pytest.approx((0.9**2 + 0.5**2) / 2, abs=0.02)


def test_agreement_beyond_the_truth_is_zero_for_members_that_share_only_the_truth():
    rng = np.random.default_rng(1)
    edge = rng.random(2000) < 0.4
    alone = edge + rng.standard_normal((4, 2000))
    common = rng.standard_normal(2000)
    assert abs(script.agreement_beyond_truth(edge, alone)) < 4 / np.sqrt(2000)
    assert script.rank_correlation(alone[0], alone[1]) > 0.1
    assert script.agreement_beyond_truth(edge, alone + 3 * common) > 0.8

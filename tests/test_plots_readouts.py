"""Figures of readouts: every network is drawn, and the baseline is the one asked for."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from causalkit import connectivity, plots


@pytest.fixture(autouse=True)
def figures_are_closed():
    yield
    plt.close("all")


def test_readout_scores_draw_networks_means_and_the_baseline():
    rows = [
        {"network": f"{n}-{k}", "n_neurons": n, "readout": readout, "auroc": high - k / 10, "auroc_single": low}
        for n in (10, 5) for k in range(2)
        for readout, high, low in (("attention", 0.9, 0.7), ("gradient_energy", 1.0, 0.8))
    ]  # fmt: skip
    axes = plots.readout_scores(pd.DataFrame(rows))
    assert [ax.get_title() for ax in axes] == ["N = 5 (2 networks)", "N = 10 (2 networks)"]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["attention", "gradient energy"]
    for ax in axes:
        baseline, *points = ax.lines
        np.testing.assert_allclose(baseline.get_xdata(), 0.85)
        drawn = [line.get_xdata() for line in points]
        expected = [[0.7, 0.7], [0.7], [0.9, 0.8], [0.85], [0.8, 0.8], [0.8], [1.0, 0.9], [0.95]]
        for found, values in zip(drawn, expected, strict=True):
            np.testing.assert_allclose(found, values)
        assert ax.yaxis_inverted()
    with pytest.raises(ValueError, match="baseline='nothing' has no rows"):
        plots.readout_scores(pd.DataFrame(rows), baseline="nothing")
    with pytest.raises(ValueError, match="no columns"):
        plots.readout_scores(pd.DataFrame(rows).drop(columns="auroc"))


def test_readout_maps_rank_pairs_and_frame_the_edges():
    truth, score = np.zeros((3, 3)), np.array([[9.0, 1, 2], [6, 9, 3], [4, 5, 9]])
    truth[1, 0], truth[2, 1], truth[0, 0] = 5, -5, 5  # the diagonal is no pair
    results = {name: connectivity.build(score, neurons=list("abc"), method="m") for name in ("one", "two")}
    axes = plots.readout_maps(results, truth, columns=2)
    for ax in axes:
        shown = ax.images[0].get_array()
        np.testing.assert_allclose(shown[~np.eye(3, dtype=bool)], [0, 0.2, 1, 0.4, 0.6, 0.8])
        assert np.ma.getmaskarray(shown).diagonal().all()
        frames = [(patch.get_y() + 0.44, patch.get_x() + 0.44) for patch in ax.patches]  # target, source
        np.testing.assert_allclose(frames, [(1, 0), (2, 1)])
    assert axes[1].get_title() == "two\nAUROC 1.00"


def test_lag_profiles_part_edges_from_other_pairs():
    truth = np.zeros((3, 3))
    truth[1, 0] = -5
    lags = np.ones((3, 3, 4))
    lags[1, 0] = [8, 4, 2, 0]
    lags[np.eye(3, dtype=bool)] = 1000  # a neuron's own history is no pair
    result = connectivity.build(lags.sum(-1), neurons=list("abc"), method="m", lag_score=lags)
    (ax,) = plots.lag_profiles({"one": result}, xr.DataArray(truth, dims=("target", "source")))
    edge, none = ax.lines
    np.testing.assert_allclose(edge.get_ydata(), [1, 0.5, 0.25, 0])
    np.testing.assert_allclose(none.get_ydata(), [1 / 8] * 4)
    np.testing.assert_allclose(edge.get_xdata(), [1, 2, 3, 4])
    without = connectivity.build(lags.sum(-1), neurons=list("abc"), method="m")
    with pytest.raises(ValueError, match="do not tell lags apart"):
        plots.lag_profiles({"blind": without}, truth)

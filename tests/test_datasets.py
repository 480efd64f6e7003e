"""Real recordings: read as their package stores them, and the cause that was played is the one that is found."""

import importlib.util

import numpy as np
import pytest

from causalkit import MVGC, datasets, metrics

installed = pytest.mark.skipif(importlib.util.find_spec("nitime") is None, reason="nitime is not installed")


@installed
@pytest.mark.parametrize("which", [1, 2])
def test_the_sound_drives_the_cell_and_nothing_else_in_forty_milliseconds(which):
    recording = datasets.grasshopper(which, bin_ms=2)
    found = MVGC(max_order=20).fit(recording).connectivity_
    edges = found.adjusted_p_value.values <= 0.05
    np.testing.assert_array_equal(edges, recording.connectivity.values != 0)
    assert metrics.auroc(recording.connectivity, found.score) == 1
    assert found.sign.sel(target="cell", source="sound") == 1


@installed
def test_bins_hold_all_spikes_and_the_mean_level():
    fine, coarse = datasets.grasshopper(1, bin_ms=0.5), datasets.grasshopper(1, bin_ms=2)
    assert fine.activity.sel(neuron="cell").sum() == coarse.activity.sel(neuron="cell").sum() > 900
    blocks = fine.activity.sel(neuron="sound").values.reshape(-1, 4).mean(axis=1)
    np.testing.assert_allclose(coarse.activity.sel(neuron="sound"), blocks, rtol=1e-4)
    assert coarse.sizes["time"] == 5000 and coarse.attrs["dt_ms"] == 2
    other = datasets.grasshopper(2, bin_ms=2)
    np.testing.assert_array_equal(other.activity.sel(neuron="sound"), coarse.activity.sel(neuron="unheard"))


@installed
def test_the_brain_has_no_tissue_columns():
    brain = datasets.resting_fmri()
    assert brain.activity.shape == (250, 28) and not {"WM", "Vent", "Brain"} & set(brain.neuron.values)


def test_what_is_wrong_is_told(monkeypatch):
    with pytest.raises(ValueError, match="two experiments"):
        datasets.grasshopper(3)
    with pytest.raises(ValueError, match="multiple"):
        datasets.grasshopper(1, bin_ms=0.07)
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="extra 'data'"):
        datasets.grasshopper(1)

"""What spikes do, against the weights that the simulator was given."""

import time

import numpy as np
import pytest

from causalkit import MVGC, SpikeGLM, simulate, summary
from causalkit.recording import from_array


def slow_effects(recording, target, source):
    """The definition, one step at a time."""
    activity, spikes = recording["activity"].values.astype(float), recording["spikes"].values
    rises = {True: [], False: []}
    for t in range(len(activity) - 1):
        if not spikes[t, target] and not spikes[t + 1, target]:
            rises[bool(spikes[t, source])].append(activity[t + 1, target] - activity[t, target])
    return np.mean(rises[True]) - np.mean(rises[False])


def test_spike_effects_follow_their_definition_and_orientation():
    recording = simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=800, random_state=4)
    effects = summary.spike_effects(recording)
    assert effects.dims == ("target", "source") and np.isnan(np.diag(effects)).all()
    for target, source in [(0, 1), (1, 0), (3, 4), (4, 2)]:
        expected = slow_effects(recording, target, source)
        np.testing.assert_allclose(effects.values[target, source], expected, rtol=1e-9)


def test_spike_effects_are_the_weights_in_millivolts():
    """Twenty networks: a weight of 5 moves the voltage by some 5 mV within the step, at its sign."""
    networks = simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=5000, random_state=0, n_networks=20)
    weights = np.concatenate([one["connectivity"].values.ravel() for one in networks])
    effects = np.concatenate([summary.spike_effects(one).values.ravel() for one in networks])
    known = np.isfinite(effects)
    for weight in (-5, 0, 5):
        assert abs(np.median(effects[known & (weights == weight)]) - weight) < 1.5


def test_spike_effects_do_not_cross_trials():
    recording = simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=600, random_state=4)
    halves = [recording.isel(time=slice(0, 300)), recording.isel(time=slice(300, 600))]
    in_trials = recording.assign(trial=("time", np.repeat([0, 1], 300)))
    swapped = recording.isel(time=np.r_[300:600, 0:300]).assign(trial=("time", np.repeat([1, 0], 300)))
    np.testing.assert_allclose(summary.spike_effects(in_trials), summary.spike_effects(swapped), rtol=1e-9)
    assert all(np.isfinite(summary.spike_effects(half).values).any() for half in halves)


def test_spike_effects_need_spikes():
    recording = simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=300, random_state=4)
    with pytest.raises(ValueError, match="the recording has no spikes"):
        summary.spike_effects(recording.drop_vars("spikes"))


def test_the_estimate_does_not_depend_on_what_a_piece_of_the_data_holds():
    """A neuron silent at first, and a trial that would be cut to a few steps, are no matter for the time."""
    x = np.random.default_rng(0).normal(size=(20_010, 2)).astype(np.float32)
    x[:20_000, 1] = 0
    late = from_array(x, trial=np.arange(20_010) >= 19_995)
    assert 0 < summary.estimate_seconds(MVGC(order=2), late) < 60


def test_methods_for_spikes_are_timed_on_spikes():
    spikes = from_array(np.zeros((1500, 2), dtype=np.float32), kind="spikes")
    assert 0 < summary.estimate_seconds(SpikeGLM(), spikes) < 60


def test_many_neurons_are_not_timed_all_at_once():
    sizes = []

    class Cubic(MVGC):
        def fit(self, recording):
            sizes.append(recording.activity.shape)
            time.sleep(0.1 * (sizes[-1][1] / 60) ** 3)

    many = from_array(np.zeros((9000, 600), dtype=np.float32), kind="voltage", dt_ms=1)
    seconds = summary.estimate_seconds(Cubic(), many)
    assert sizes == [(5000, 30), (5000, 60)]
    assert 0.1 * 1000 * 9 / 5 / 3 < seconds < 0.1 * 1000 * 9 / 5 * 3  # ten times the neurons, less than twice the steps


def test_small_whole_numbers_look_like_spikes():
    assert summary.looks_like_spikes(from_array([[0, 1], [1, 3], [0, 0]]))
    for other in ([[0, 1], [1, 0.5]], [[0, 1], [-1, 0]], [[0, 100], [1, 0]], [[0, np.nan], [1, 0]]):
        assert not summary.looks_like_spikes(from_array(other))

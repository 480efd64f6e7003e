"""What an experiment sees of a simulation: counted, filtered and blurred exactly."""

import numpy as np
import pytest

from causalkit import from_array, simulate, sweep


@pytest.fixture(scope="module")
def network():
    return simulate.izhikevich(4, 0.5, 1000, random_state=3)


def two_trials(spikes):
    n = len(spikes)
    trial = np.repeat([0, 1], [n - n // 2, n // 2])
    return from_array(np.arange(2.0 * n).reshape(n, 2), spikes=spikes, trial=trial, connectivity=[[0, 1], [0, 0]])


def test_bins_hold_all_spikes(network):
    for bin_ms in (1, 5):
        seen = simulate.observe_spikes(network, bin_ms)
        assert seen.attrs["kind"] == "spikes" and seen.attrs["dt_ms"] == bin_ms and seen.sizes["time"] == 1000 // bin_ms
        np.testing.assert_array_equal(seen.activity.sum("time"), network.spikes.sum("time"))
        np.testing.assert_array_equal(seen.connectivity, network.connectivity)
        assert "voltage_mv" not in seen
    np.testing.assert_array_equal(simulate.observe_spikes(network).activity, network.spikes)


def test_no_bin_crosses_a_trial():
    spikes = np.zeros((15, 2), bool)
    spikes[7], spikes[8] = True, True  # the last row of one trial and the first of the next
    seen = simulate.observe_spikes(two_trials(spikes), 4)
    np.testing.assert_array_equal(seen.activity.values[:, 0], [0, 1, 1])  # the three rows left over are dropped
    np.testing.assert_array_equal(seen.trial, [0, 0, 1])


def test_calcium_of_one_spike_decays():
    spikes = np.zeros((200, 2), bool)
    spikes[10] = True
    recording = from_array(np.random.default_rng(0).normal(size=(200, 2)), spikes=spikes)
    seen = simulate.observe_calcium(recording, frame_ms=10, decay_ms=50, noise=0)
    times = np.arange(9, 200, 10)  # a frame is read at its end
    expected = np.where(times >= 10, np.exp(-(times - 10) / 50), 0)
    np.testing.assert_allclose(seen.activity.values[:, 0], expected, rtol=1e-6)
    assert seen.attrs["kind"] == "calcium" and seen.attrs["dt_ms"] == 10


def test_noise_has_the_given_size(network):
    clean = simulate.observe_voltage(network, 0.0)
    np.testing.assert_array_equal(clean.activity, network.activity)
    assert "spikes" not in clean
    noise = (simulate.observe_voltage(network, 3.0, random_state=1).activity - network.activity).values
    assert abs(noise.std() - 3) < 0.15  # 4,000 numbers: four standard errors
    again = simulate.observe_voltage(network, 3.0, random_state=1)
    assert again.identical(simulate.observe_voltage(network, 3.0, random_state=1))
    assert not again.identical(simulate.observe_voltage(network, 3.0, random_state=2))


def test_what_cannot_be_observed(network):
    with pytest.raises(ValueError, match="no spikes"):
        simulate.observe_spikes(network.drop_vars("spikes"))
    with pytest.raises(ValueError, match=r"bin_ms is 1\.5 ms"):
        simulate.observe_spikes(network, 1.5)
    with pytest.raises(ValueError, match="decay_ms is 0"):
        simulate.observe_calcium(network, decay_ms=0)
    with pytest.raises(ValueError, match="noise is -1"):
        simulate.observe_calcium(network, noise=-1)
    with pytest.raises(ValueError, match="kind 'spikes'"):
        simulate.observe_voltage(simulate.observe_spikes(network))


def test_grids_say_what_is_observed():
    entry = {"simulate": {"n_neurons": 4, "n_steps": 600, "random_state": 3}}
    methods = [{"method": "mvgc"}]
    seen = [None, {"as": "spikes", "bin_ms": 2}, "spikes"]
    grid = sweep.read_grid({"networks": [{**entry, "observed": seen}], "methods": methods})
    assert [str(n).partition("seed3_T600")[2] for n in grid.networks] == ["", ", as spikes, bin_ms 2", ", as spikes"]
    plain, coarse, fine = (network.recording() for network in grid.networks)
    assert (plain.attrs["kind"], coarse.attrs["kind"]) == ("voltage", "spikes")
    assert (coarse.sizes["time"], fine.sizes["time"]) == (300, 600)
    for bad, message in [({"as": "smell"}, "smell"), ({"as": "spikes", "width": 2}, "width"), ({"bin_ms": 2}, "None")]:
        with pytest.raises(ValueError, match=message):
            sweep.read_grid({"networks": [{**entry, "observed": bad}], "methods": methods})

"""Stimuli: the statistics and lags asked for, added to the input, shared by the neurons they drive."""

import numpy as np
import pytest

from causalkit import simulate


def test_stimulus_is_added_to_the_input():
    stimulus = simulate.ornstein_uhlenbeck(200, 5, [1, 2])
    current = np.full((200, 5), 5.0)
    wiring, _ = simulate.random_wiring(5, 0.4, 0)
    added = simulate.izhikevich(connectivity=wiring, input_current=current, stimulus=stimulus)
    instead = simulate.izhikevich(connectivity=wiring, input_current=current + stimulus)
    np.testing.assert_array_equal(added.voltage_mv, instead.voltage_mv)
    np.testing.assert_array_equal(added.stimulus, stimulus)
    with_noise = simulate.izhikevich(connectivity=wiring, stimulus=stimulus)
    plain = simulate.izhikevich(connectivity=wiring, n_steps=200)
    assert with_noise.sizes["time"] == 200 and not np.array_equal(with_noise.voltage_mv, plain.voltage_mv)


def test_pulses_have_the_rate_width_height_and_lags_asked_for():
    stimulus = simulate.pulse_train(
        200_000, 4, [2, 0], rate_hz=8, amplitude=-3, width_steps=1, lag_steps=[7, 0], random_state=1
    )
    assert stimulus.shape == (200_000, 4) and set(np.unique(stimulus)) == {-3, 0} and not stimulus[:, [1, 3]].any()
    np.testing.assert_array_equal(stimulus[7:, 2], stimulus[:-7, 0])
    count = (stimulus[:, 0] != 0).sum()
    assert abs(count - 1600) < 4 * 1600**0.5
    wide = simulate.pulse_train(200_000, 4, 0, rate_hz=8, amplitude=1, width_steps=6, random_state=1)[:, 0]
    on = np.diff(np.flatnonzero(np.diff(np.r_[0, wide, 0])))[::2]  # lengths of the pulses
    assert on[:-1].min() == 6 and abs(wide.mean() - (1 - (1 - 0.008) ** 6)) < 0.005
    assert not simulate.pulse_train(100, 2, [0], rate_hz=0).any()


def test_ornstein_uhlenbeck_has_its_spread_and_correlation_time_from_the_start():
    stimulus = simulate.ornstein_uhlenbeck(400_000, 3, [0, 2], sd=3, tau_ms=10, lag_steps=[0, 4], random_state=2)
    drive = stimulus[:, 0]
    np.testing.assert_array_equal(stimulus[4:, 2], drive[:-4])
    assert not stimulus[:, 1].any()
    independent = len(drive) / 20  # the integral of the autocorrelation over both sides is 2 tau
    assert abs(drive.mean()) < 4 * 3 / independent**0.5
    assert drive.std() == pytest.approx(3, rel=4 / independent**0.5)
    for lag in (1, 10, 30):
        assert np.corrcoef(drive[:-lag], drive[lag:])[0, 1] == pytest.approx(np.exp(-lag / 10), abs=0.03)
    begins = [simulate.ornstein_uhlenbeck(1, 1, [0], sd=3, random_state=seed)[0, 0] for seed in range(400)]
    assert np.std(begins) == pytest.approx(3, rel=4 / 800**0.5)


@pytest.mark.parametrize("make", [simulate.pulse_train, simulate.ornstein_uhlenbeck])
def test_stimuli_repeat_with_their_seed_and_begin_alike(make):
    first = make(500, 5, [0, 1], lag_steps=[0, 3], random_state=4)
    np.testing.assert_array_equal(first, make(500, 5, [0, 1], lag_steps=[0, 3], random_state=4))
    np.testing.assert_array_equal(first[:200], make(200, 5, [0, 1], lag_steps=[0, 3], random_state=4))
    assert not np.array_equal(first, make(500, 5, [0, 1], lag_steps=[0, 3], random_state=5))


def test_shared_stimulus_makes_unconnected_neurons_fire_together():
    wiring = np.zeros((4, 4))
    stimulus = simulate.pulse_train(5000, 4, [0, 1], rate_hz=10, amplitude=10)
    spikes = simulate.izhikevich(connectivity=wiring, stimulus=stimulus).spikes.values
    binned = spikes.reshape(-1, 20, 4).sum(axis=1)
    correlation = np.corrcoef(binned.T)
    assert correlation[0, 1] > 0.4 and abs(correlation[2, 3]) < 4 / len(binned) ** 0.5


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (simulate.pulse_train, {"driven": [0, 5]}, "names one beyond the 5"),
        (simulate.pulse_train, {"driven": [1, 1]}, "repeats a neuron"),
        (simulate.pulse_train, {"driven": []}, "is empty"),
        (simulate.pulse_train, {"driven": [-1]}, "driven=-1 is no count"),
        (simulate.pulse_train, {"driven": [True, False, True, True, False]}, "driven=True is no count"),
        (simulate.pulse_train, {"lag_steps": [0, 1, 2]}, "lag_steps has 3 entries for 2 driven"),
        (simulate.pulse_train, {"lag_steps": -1}, "lag_steps=-1 is no count"),
        (simulate.pulse_train, {"rate_hz": 2000}, "rate_hz=2000.0 is more than one pulse a step"),
        (simulate.pulse_train, {"rate_hz": -1}, "rate_hz=-1 is impossible.*at least 0"),
        (simulate.pulse_train, {"amplitude": float("inf")}, "amplitude=inf is impossible"),
        (simulate.pulse_train, {"width_steps": 0}, "width_steps=0 is no count"),
        (simulate.ornstein_uhlenbeck, {"sd": -1}, "sd=-1 is impossible"),
        (simulate.ornstein_uhlenbeck, {"tau_ms": None}, "tau_ms=None is impossible"),
        (simulate.ornstein_uhlenbeck, {"n_steps": 0}, "n_steps=0 is no count"),
    ],
)
def test_impossible_stimuli_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make(**({"n_steps": 50, "n_neurons": 5, "driven": [0, 1]} | arguments))

"""Cutting, resampling, detrending and binning: against SciPy, analytic answers, and all at once against in blocks."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from causalkit import preprocess
from causalkit.recording import from_array


def sines(n, dt_ms, *hertz):
    t = np.arange(n) * dt_ms / 1000
    return np.stack([np.sin(2 * np.pi * f * t + i) for i, f in enumerate(hertz)], axis=1)


# --- resampling


@pytest.mark.parametrize("old, new", [(0.1, 1), (1, 1.5), (1, 2), (1000 / 30000, 0.8), (33.3667, 50)])
def test_blocks_give_what_scipy_gives_of_all_rows(monkeypatch, rng, old, new):
    x = rng.normal(size=(5003, 3)).cumsum(axis=0)
    up, down = preprocess.ratio(old, new)
    expected = signal.resample_poly(x, up, down, axis=0, padtype="edge")
    for block in (1 << 8, 1 << 14, 1 << 25):
        monkeypatch.setattr(preprocess, "_BLOCK_BYTES", block)
        found = preprocess.resampled(lambda a, b: x[a:b], len(x), up, down, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_slow_waves_stay_and_fast_ones_do_not_come_back_as_slow_ones():
    x = sines(40_000, 0.1, 20, 930)  # 930 Hz would appear as 70 Hz at 1,000 per second
    found = preprocess.resample(from_array(x, dt_ms=0.1, kind="other"), 1)
    assert found.attrs["dt_ms"] == 1 and found.sizes["time"] == 4000 and found["time"].values[-1] == 3999
    inner = found["activity"].values[50:-50]
    np.testing.assert_allclose(inner[:, 0], x[::10][50:-50, 0], atol=2e-3)
    assert np.abs(inner[:, 1]).max() < 0.01 and np.abs(x[::10][:, 1]).max() > 0.9
    assert preprocess.history(found) == [{"step": "resample", "from_ms": 0.1, "to_ms": 1.0}]


def test_trials_are_resampled_one_by_one_with_their_spikes_and_voltages(rng):
    x = rng.normal(size=(90, 2))
    spikes = np.zeros((90, 2), bool)
    spikes[[3, 59], [0, 1]] = True
    recording = from_array(x, kind="voltage", trial=np.repeat([4, 7], [40, 50]), spikes=spikes, voltage_mv=x)
    recording = recording.assign_coords(time=np.r_[np.arange(40), np.arange(50)] * 1.0)
    found = preprocess.resample(recording, 5)
    assert found["trial"].values.tolist() == [4] * 8 + [7] * 10
    assert found["time"].values.tolist() == [*range(0, 40, 5), *range(0, 50, 5)]
    for name in ("activity", "voltage_mv"):
        parts = [signal.resample_poly(x[rows], 1, 5, axis=0, padtype="edge") for rows in (slice(40), slice(40, 90))]
        np.testing.assert_allclose(found[name], np.concatenate(parts), atol=1e-6)
    assert np.argwhere(found["spikes"].values).tolist() == [[0, 0], [8 + 3, 1]]
    assert recording.sizes["time"] == 90 and "preprocessing" not in recording.attrs
    xr.testing.assert_identical(preprocess.resample(recording, 1), recording)


def test_a_constant_stays_one_to_its_ends():
    found = preprocess.resample(from_array(np.full((1000, 2), 7.0)), 9.5)
    np.testing.assert_allclose(found["activity"], 7, rtol=1e-5)


@pytest.mark.parametrize(
    "step, message", [(0.5, "would make up values"), (0, "above 0"), ("x", "above 0"), (1e9, "no fraction")]
)
def test_impossible_steps_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        preprocess.resample(from_array(np.eye(4)), step)


def test_spike_counts_are_neither_filtered_nor_detrended():
    counts = from_array(np.eye(4), kind="spikes")
    with pytest.raises(ValueError, match="--bin-ms"):
        preprocess.resample(counts, 2)
    with pytest.raises(ValueError, match="below zero"):
        preprocess.detrend(counts, "constant")


# --- detrending


@pytest.mark.parametrize("how", ["constant", "linear"])
def test_trends_are_taken_out_of_each_trial_as_scipy_does(rng, how):
    x = rng.normal(size=(100, 3)) + np.linspace(0, 50, 100)[:, None]
    recording = from_array(x, trial=np.repeat([0, 1], [30, 70]))
    found = preprocess.detrend(recording, how)
    for rows in (slice(0, 30), slice(30, 100)):
        np.testing.assert_allclose(found["activity"][rows], signal.detrend(x[rows], axis=0, type=how), atol=1e-4)
    assert json.loads(found.attrs["preprocessing"]) == [{"step": "detrend", "how": how}]


def test_highpass_has_the_gain_of_a_first_order_filter_and_looks_back_only():
    dt, period = 10, 2.0
    x = sines(20_000, dt, 0.05, 0.5, 5)
    found = preprocess.detrend(from_array(x, dt_ms=dt), f"highpass:{period}")["activity"].values
    size = np.abs(found[10_000:]).max(axis=0)
    ratio = np.array([0.05, 0.5, 5]) * period
    np.testing.assert_allclose(size, ratio / np.sqrt(1 + ratio**2), rtol=0.02)
    later = x.copy()
    later[500:] += 100
    changed = preprocess.detrend(from_array(later, dt_ms=dt), f"highpass:{period}")["activity"].values
    np.testing.assert_array_equal(changed[:500], found[:500])


def test_highpass_starts_without_a_jump():
    found = preprocess.detrend(from_array(np.full((50, 2), 1000.0)), "highpass:1")
    np.testing.assert_allclose(found["activity"], 0, atol=1e-3)


@pytest.mark.parametrize("how", ["cubic", "highpass", "highpass:", "highpass:-1", "highpass:nan", "highpass:x", None])
def test_other_words_are_refused(how):
    with pytest.raises(ValueError, match="use constant, linear, or highpass:SECONDS"):
        preprocess.detrend(from_array(np.eye(4)), how)


def test_highpass_needs_more_than_two_steps():
    with pytest.raises(ValueError, match="less than two time steps"):
        preprocess.detrend(from_array(np.eye(4), dt_ms=1000), "highpass:1.5")


# --- spikes


def test_spikes_are_counted_as_numpy_counts_them(rng):
    trains = {name: np.sort(rng.uniform(0, 1000, 200)) for name in "ab"}
    found = preprocess.bin_spikes(trains, 10, start_ms=0, stop_ms=1000)
    for name, times in trains.items():
        expected, _ = np.histogram(times, np.arange(0, 1001, 10))
        np.testing.assert_array_equal(found["activity"].sel(neuron=name), expected)
    assert found.attrs["kind"] == "spikes" and found.attrs["dt_ms"] == 10
    assert found["time"].values.tolist() == list(range(0, 1000, 10))


def test_no_spike_is_lost_and_borders_belong_to_the_later_bin():
    found = preprocess.bin_spikes({"a": [3.0, 4.0, 4.999, 9.0], "b": []}, 1)
    assert found["activity"].sel(neuron="a").values.tolist() == [1, 2, 0, 0, 0, 0, 1]
    assert found["activity"].values.sum() == 4 and found["time"].values[0] == 3
    tenths = preprocess.bin_spikes({"a": np.arange(30) * 0.1}, 0.1, start_ms=0, stop_ms=3)
    assert tenths["activity"].values.ravel().tolist() == [1] * 30  # though 0.3 / 0.1 is below 3


def test_epochs_are_trials_whose_bins_start_with_them():
    found = preprocess.bin_spikes({"a": [0.5, 10.2, 11, 12.4, 19]}, 1, intervals=[[10.2, 12.9], [0, 2]])
    assert found["trial"].values.tolist() == [0, 0, 1, 1]
    assert found["time"].values.tolist() == pytest.approx([0, 1, 10.2, 11.2])
    assert found["activity"].values.ravel().tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    "trains, options, message",
    [
        ({}, {}, "no spike of any of the 0"),
        ({"a": []}, {}, "no spike of any of the 1"),
        ({"a": [np.nan]}, {}, "not finite"),
        ({"a": [1.0]}, {"bin_ms": 0}, "bin_ms is 0"),
        ({"a": [1.0]}, {"start_ms": 5, "stop_ms": 2}, "no bin of 1 ms fits"),
        ({"a": [0.0, 1e15]}, {}, "would take .* GiB, more than half"),
        ({"a": [1.0]}, {"intervals": [[0, 5], [4, 9]]}, "epochs overlap"),
        ({"a": [1.0]}, {"intervals": [[5, 0]]}, "must stop after it starts"),
        ({"a": [1.0]}, {"intervals": [1, 2]}, "give when each starts and stops"),
    ],
)
def test_what_cannot_be_counted_is_refused(trains, options, message):
    with pytest.raises(ValueError, match=message):
        preprocess.bin_spikes(trains, options.pop("bin_ms", 1), **options)


def test_counts_are_added_up_within_trials(rng):
    counts = rng.poisson(1, size=(23, 2))
    recording = from_array(counts, kind="spikes", trial=np.repeat([0, 1], [11, 12]))
    found = preprocess.bin_counts(recording, 5)
    expected = [counts[a : a + 5].sum(axis=0).tolist() for a in (0, 5, 11, 16)]
    assert found["activity"].values.tolist() == expected and found["trial"].values.tolist() == [0, 0, 1, 1]
    assert found["time"].values.tolist() == [0, 5, 11, 16] and found.attrs["dt_ms"] == 5
    with pytest.raises(ValueError, match="no whole number of time steps"):
        preprocess.bin_counts(recording, 2.5)
    with pytest.raises(ValueError, match="no trial is as long"):
        preprocess.bin_counts(recording, 100)
    with pytest.raises(ValueError, match="holds no spikes to count"):
        preprocess.bin_counts(from_array(np.eye(3)), 2)


def test_flags_of_a_voltage_recording_become_counts():
    flags = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool)
    found = preprocess.bin_counts(from_array(np.zeros((4, 2)), spikes=flags, voltage_mv=np.zeros((4, 2))), 2)
    assert found["activity"].values.tolist() == [[2, 0], [0, 1]] and found.attrs["kind"] == "spikes"
    assert set(found.data_vars) == {"activity"}


# --- cutting


def test_intervals_become_trials():
    recording = from_array(np.arange(20.0).reshape(10, 2), dt_ms=2)
    found = preprocess.cut(recording, [[12, 100], [2, 6]])
    assert found["time"].values.tolist() == [2, 4, 12, 14, 16, 18]
    assert found["trial"].values.tolist() == [0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(found["activity"], recording["activity"].sel(time=found["time"]))
    with pytest.raises(ValueError, match="no time step lies in the 1 epochs"):
        preprocess.cut(recording, [[50, 60]])
    with pytest.raises(ValueError, match="has trials already"):
        preprocess.cut(found, [[0, 5]])


# --- the decay of an indicator


def test_what_is_new_in_a_frame_is_what_spikes_added(rng):
    new = rng.poisson(1.0, (80, 3)).astype(float)
    trial = np.repeat([0, 1], 40)
    calcium = np.concatenate([signal.lfilter([1], [1, -np.exp(-33 / 400)], new[trial == k], axis=0) for k in (0, 1)])
    found = preprocess.without_decay(from_array(calcium, kind="calcium", dt_ms=33, trial=trial), 400)
    kept = np.r_[1:40, 41:80]
    np.testing.assert_allclose(found["activity"], new[kept], atol=1e-5)
    np.testing.assert_array_equal(found["trial"], trial[kept])
    assert found["time"].values[0] == 33 and found.attrs["kind"] == "calcium"
    assert preprocess.history(found) == [{"step": "without_decay", "decay_ms": 400.0}]
    with pytest.raises(ValueError, match="before"):
        preprocess.without_decay(found)


def test_an_impossible_decay_or_a_lonely_frame_is_refused(rng):
    x = rng.standard_normal((6, 2))
    for decay_ms in (0, -1.0, np.nan, "slow"):
        with pytest.raises(ValueError, match="decay_ms"):
            preprocess.without_decay(from_array(x, kind="calcium"), decay_ms)
    with pytest.raises(ValueError, match="one frame"):
        preprocess.without_decay(from_array(x, kind="calcium", trial=[0, 0, 0, 0, 0, 1]), 100)

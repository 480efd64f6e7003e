"""Recordings: made of anything, checked in plain words, cut into windows that stay inside their trial."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from causalkit import connectivity, recording
from causalkit.recording import as_recording, from_array, normalize, split, trial_slices, validate, window_starts

finite = st.floats(-1e4, 1e4, width=32)
activities = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=finite)
trial_lengths = st.lists(st.integers(1, 15), min_size=1, max_size=6)


class TsdFrame:
    """The three attributes by which pynapple's class is known."""

    def __init__(self, values, t, columns):
        self.values, self.t, self.columns = values, t, columns


# ---- what goes in


def test_array_becomes_named_float32_activity(rng):
    r = from_array(rng.normal(size=(20, 3)), dt_ms=0.5, kind="calcium")
    assert r.activity.dims == ("time", "neuron") and r.activity.dtype == np.float32
    assert r.neuron.values.tolist() == ["n0", "n1", "n2"]
    assert r.time.values[:3].tolist() == [0, 0.5, 1]
    assert (r.attrs["kind"], r.attrs["dt_ms"]) == ("calcium", 0.5)


def test_everything_known_of_a_simulation_is_kept(rng):
    x = rng.normal(size=(20, 2))
    r = from_array(
        x, spikes=(x > 1).astype(int), voltage_mv=x * 10, connectivity=[[0, -5], [5, 0]],
        cell_type=["excitatory", "inhibitory"], trial=[0] * 12 + [1] * 8,
    )  # fmt: skip
    assert r.spikes.dtype == bool and r.spikes.dims == ("time", "neuron")
    assert r.connectivity.sel(target="n0", source="n1") == -5
    assert r.cell_type.sel(neuron="n1") == "inhibitory"
    assert trial_slices(r) == [slice(0, 12), slice(12, 20)]


@given(activities)
def test_array_round_trip(x):
    r = as_recording(x)
    np.testing.assert_array_equal(r.activity.values, x)
    assert as_recording(r).identical(r)


@given(activities, st.floats(0.1, 100))
def test_netcdf_round_trip(tmp_path_factory, x, dt_ms):
    names = [f"cell {i} µ" for i in range(x.shape[1])]
    r = from_array(x, dt_ms=dt_ms, neurons=names, spikes=x > 0, trial=np.arange(len(x)) // 3,
                   connectivity=np.zeros((x.shape[1],) * 2), more_neurons_than_times=True)  # fmt: skip
    path = connectivity.to_netcdf(r, tmp_path_factory.mktemp("r") / "r.nc")
    assert as_recording(xr.load_dataset(path)).identical(r)


@given(activities)
def test_table_round_trip(x):
    table = pd.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[1])])
    r = as_recording(table)
    again = r.activity.to_pandas().reset_index(drop=True)
    pd.testing.assert_frame_equal(again, table, check_names=False, check_column_type=False)


def test_table_without_column_names_gets_default_names(rng):
    assert as_recording(pd.DataFrame(rng.normal(size=(9, 2)))).neuron.values.tolist() == ["n0", "n1"]


def test_dataarray_is_read_by_dimension_names_not_by_order(rng):
    x = rng.normal(size=(9, 2)).astype(np.float32)
    turned = xr.DataArray(x.T, dims=("neuron", "time"), coords={"neuron": ["a", "b"]})
    assert as_recording(turned).activity.sel(neuron="b").values == pytest.approx(x[:, 1])


def test_tsdframe_gives_time_step_and_names(rng):
    r = as_recording(TsdFrame(rng.normal(size=(50, 2)), np.arange(50) * 0.02, ["a", 7]))
    assert r.attrs["dt_ms"] == pytest.approx(20) and r.neuron.values.tolist() == ["a", "7"]


def test_tsdframe_with_gap_is_refused_unless_trials_mark_it(rng):
    t = np.r_[np.arange(20), np.arange(50, 70)] * 0.001
    frame = TsdFrame(rng.normal(size=(40, 2)), t, ["a", "b"])
    with pytest.raises(ValueError, match=r"1 to 31 ms apart: lags need a constant step.*trial="):
        from_array(frame)
    assert from_array(frame, trial=np.repeat([0, 1], 20)).attrs["dt_ms"] == pytest.approx(1)


def test_dataset_passes_through_as_a_copy(rng):
    r = from_array(rng.normal(size=(9, 2)))
    copy = as_recording(r)
    copy.attrs["kind"] = "other"
    copy["more"] = "time", np.arange(9)
    assert r.attrs["kind"] == "voltage" and "more" not in r


def test_dataset_with_turned_double_activity_is_put_in_order(rng):
    r = from_array(rng.normal(size=(9, 2))).transpose("neuron", "time")
    r["activity"] = r.activity.astype(float)
    fixed = as_recording(r)
    assert fixed.activity.dims == ("time", "neuron") and fixed.activity.dtype == np.float32
    assert r.activity.dims == ("neuron", "time")


def test_dropping_neurons_cuts_the_known_wiring_too(rng):
    r = from_array(rng.normal(size=(9, 3)), connectivity=np.arange(9).reshape(3, 3))
    left = as_recording(r.drop_sel(neuron=["n1"]))
    assert left.connectivity.values.tolist() == [[0, 2], [6, 8]]
    assert left.target.values.tolist() == ["n0", "n2"]


def test_input_is_not_changed(rng):
    x = rng.normal(size=(9, 2))
    before = x.copy()
    normalize(as_recording(x).activity)
    np.testing.assert_array_equal(x, before)


# ---- refusals of what is no recording


X = np.random.default_rng(1).normal(size=(12, 3))


@pytest.mark.parametrize(
    ("data", "arguments", "error", "message"),
    [
        (X.astype(str), {}, TypeError, r"activity holds text .*real numbers.*dtype=float"),
        (X.astype(object), {}, TypeError, r"activity holds objects"),
        (X + 1j, {}, TypeError, r"activity holds complex numbers"),
        ("recording.csv", {}, TypeError, r"activity holds text"),
        (pd.DataFrame({"a": [1, 2], "day": ["x", "y"]}), {}, TypeError, r"columns \['day'\] .*not numbers.*drop"),
        ([[1, 2], [3]], {}, ValueError, r"ragged"),
        (X[:, 0], {}, ValueError, r"1 dimensions \(12,\).*\(n_times, n_neurons\)"),
        (X[None], {}, ValueError, r"3 dimensions \(1, 12, 3\).*trial="),
        (X[:0], {}, ValueError, r"empty, shape \(0, 3\)"),
        (X, {"kind": "lfp"}, ValueError, r"kind is 'lfp'.*\['voltage', 'spikes', 'calcium', 'other'\]"),
        (X, {"dt_ms": 0}, ValueError, r"dt_ms is 0.*positive"),
        (X, {"dt_ms": -1.0}, ValueError, r"dt_ms is -1.0.*positive"),
        (X, {"dt_ms": np.nan}, ValueError, r"dt_ms is nan.*finite"),
        (X, {"dt_ms": "fast"}, TypeError, r"dt_ms is 'fast'.*number of milliseconds"),
        (X, {"neurons": ["a", "b"]}, ValueError, r"2 neuron names for 3 columns.*transpose"),
        (X, {"neurons": ["a", "b", "a"]}, ValueError, r"neuron names \['a'\] occur more than once"),
        (X, {"trial": [0, 1]}, ValueError, r"trial has shape \(2,\) instead of \(12,\).*per time step"),
        (X, {"trial": np.linspace(0, 1, 12)}, TypeError, r"trial holds float64.*whole numbers"),
        (X, {"connectivity": X}, ValueError, r"connectivity has shape \(12, 3\) instead of \(3, 3\).*square"),
        (X, {"connectivity": np.eye(4)}, ValueError, r"connectivity has shape \(4, 4\) instead of \(3, 3\)"),
        (X, {"spikes": X[1:]}, ValueError, r"spikes has shape \(11, 3\) instead of \(12, 3\)"),
        (X, {"cell_type": ["excitatory"]}, ValueError, r"cell_type has shape \(1,\) instead of \(3,\)"),
        (X, {"cell_type": ["exc", "exc", "inh"]}, ValueError, r"cell_type holds \['exc', 'inh'\]"),
        (xr.DataArray(X, dims=("t", "cell")), {}, ValueError, r"dimensions \('t', 'cell'\) instead of"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused(data, arguments, error, message):
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        from_array(data, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.rename(activity="v"), r"variables \['v'.*no 'activity'.*rename"),
        (lambda r: r.rename(time="t"), r"dimensions \('t', 'neuron'\) instead of \('time', 'neuron'\).*rename"),
        (lambda r: r.assign_attrs(kind="mV"), r"kind is 'mV'.*recording.attrs\['kind'\]"),
        (lambda r: r.drop_attrs(deep=False).assign_attrs(kind="voltage"), r"no time step.*recording.attrs\['dt_ms'\]"),
        (lambda r: r.assign_attrs(dt_ms=-2), r"dt_ms is -2"),
        (lambda r: r.assign_coords(neuron=["a", "a", "b"]), r"\['a'\] occur more than once"),
        (lambda r: r.assign(trial=("neuron", [0, 0, 1])), r"trial has the dimensions \('neuron',\)"),
        (lambda r: r.assign(connectivity=(("row", "column"), np.eye(3))), r"truth is square, \(target, source\)"),
    ],
)
def test_dataset_of_another_structure_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        as_recording(change(from_array(X)))


def test_dataset_of_text_is_refused():
    with pytest.raises(TypeError, match="activity holds text"):
        as_recording(xr.Dataset({"activity": (("time", "neuron"), X.astype(str))}))


# ---- refusals of recordings from which nothing can be learned


def spoiled(rows, columns, value):
    x = X.copy()
    x[rows, columns] = value
    return from_array(x)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spoiled([1, 2], [0, 2], np.nan), r"2 NaN values in neurons \['n0', 'n2'\].*interpolate.*drop_sel"),
        (spoiled(3, 1, -np.inf), r"1 infinite values in neurons \['n1'\].*clip"),
        (spoiled(slice(None), 1, 4.0), r"constant in neurons \['n1'\].*no information.*drop_sel\(neuron=\['n1'\]"),
        (spoiled(slice(None), 2, X[:, 0]), r"\['n0', 'n2'\] have identical activity.*drop_sel\(neuron=\['n2'\]"),
        (from_array(X[:, :1]), r"one neuron \(n0\): connectivity needs at least two"),
        (from_array(X.T), r"3 time steps and 12 neurons: it looks transposed.*data.T.*more_neurons_than_times=True"),
    ],
)
def test_hopeless_recordings_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        validate(bad)


def test_too_few_time_steps_are_refused_naming_the_method():
    with pytest.raises(ValueError, match="12 time steps but MVGC of order 10 needs at least 13.*record longer"):
        validate(from_array(X), min_times=13, what="MVGC of order 10")
    validate(from_array(X), min_times=12)


def test_more_neurons_than_times_can_be_meant_so():
    validate(from_array(X.T, more_neurons_than_times=True))


def test_the_advice_of_the_message_helps():
    validate(as_recording(spoiled([1, 2], [0, 0], np.nan).drop_sel(neuron=["n0"])))


def test_long_lists_of_neurons_are_cut():
    x = np.random.default_rng(0).normal(size=(50, 40))
    x[0] = np.nan
    with pytest.raises(ValueError, match=r"40 NaN values .*'n9', \.\.\. 30 more\]"):
        validate(from_array(x))


# ---- scaling, windows, splits


@given(arrays(np.float64, (12, 3), elements=st.floats(-1e6, 1e6), unique=True), st.integers(4, 12))
def test_normalized_reference_rows_have_mean_0_and_sd_1(x, n):
    z = normalize(x, reference=slice(0, n))
    np.testing.assert_allclose(z[:n].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z[:n].std(axis=0), 1, atol=1e-6)


def test_normalize_refuses_what_has_no_spread():
    x = X.copy()
    x[:5, 1] = 2
    with pytest.raises(ValueError, match=r"columns \[1\] are constant in the reference rows"):
        normalize(x, reference=slice(0, 5))
    with pytest.raises(ValueError, match="reference rows .* are empty"):
        normalize(x, reference=slice(50, 60))


@given(trial_lengths, st.integers(1, 6), st.integers(0, 4))
def test_windows_never_cross_trials_and_none_is_missing(lengths, context, horizon):
    trial = np.repeat(np.arange(len(lengths)), lengths)
    starts = window_starts(trial, context, horizon)
    assert len(starts) == sum(max(n - context - horizon + 1, 0) for n in lengths)
    assert (np.diff(starts) > 0).all()
    for s in starts:
        assert s + context + horizon <= len(trial)
        assert len(set(trial[s : s + context + horizon])) == 1


@given(trial_lengths, st.integers(1, 6))
def test_windows_of_a_recording_are_those_of_its_trials(lengths, context):
    trial = np.repeat(np.arange(len(lengths)), lengths)
    r = from_array(np.arange(2 * len(trial)).reshape(-1, 2), trial=trial)
    np.testing.assert_array_equal(window_starts(r, context), window_starts(trial, context))


@given(trial_lengths)
def test_trial_slices_tile_the_recording(lengths):
    slices = trial_slices(np.repeat(np.arange(len(lengths)), lengths))
    assert [s.stop - s.start for s in slices] == lengths
    assert np.concatenate([np.arange(s.start, s.stop) for s in slices]).tolist() == list(range(sum(lengths)))


def test_windows_of_the_paper():
    r = from_array(np.arange(10_000).reshape(5000, 2))
    starts = window_starts(r, 10)
    assert len(starts) == 4990 and starts[[0, -1]].tolist() == [0, 4989]
    assert [p.stop - p.start for p in split(4990)] == [2994, 998, 998]


def test_window_needs_context():
    with pytest.raises(ValueError, match="context is 0.*at least one row"):
        window_starts(np.zeros(5, int), 0)


@given(st.integers(10, 10_000))
def test_split_is_contiguous_and_complete(n):
    train, validation, test = split(n)
    assert (train.start, train.stop, validation.stop, test.stop) == (0, validation.start, test.start, n)
    assert abs(train.stop - 0.6 * n) <= 0.5 and test.stop > test.start


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 0.9, 0.2), "may not exceed 1"),
        ((100, 0, 0.2), "training needs more than 0"),
        ((2,), "one would be empty.*record longer"),
    ],
)
def test_impossible_splits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split(*arguments)


def test_split_without_test_part():
    assert split(10, 0.8, 0.2) == (slice(0, 8), slice(8, 10), slice(10, 10))


def test_public_names():
    assert {"from_array", "as_recording", "validate", "normalize", "window_starts", "split"} <= set(recording.__all__)


# ---- the clock


def test_time_stamps_that_jump_are_refused_unless_trials_say_so(rng):
    whole = recording.from_array(rng.standard_normal((300, 3)))
    pieces = whole.isel(time=np.r_[0:100, 200:300])
    with pytest.raises(ValueError, match="time stamps are 1 to 101 ms apart but dt_ms is 1: .* mark the pieces"):
        recording.as_recording(pieces)
    recording.as_recording(pieces.assign(trial=("time", np.repeat([0, 1], 100))))
    with pytest.raises(ValueError, match="or set dt_ms to the true step"):
        recording.as_recording(whole.isel(time=slice(None, None, 2)))


def test_dates_as_time_stamps_are_refused(rng):
    whole = recording.from_array(rng.standard_normal((30, 3)))
    dates = whole.assign_coords(time=np.datetime64("2026-01-01", "ms") + np.arange(30))
    with pytest.raises(TypeError, match="time holds datetime64.* convert it to milliseconds"):
        recording.as_recording(dates)


def test_rounded_time_stamps_are_even_enough(rng):
    times = np.round(np.arange(60) / 30, 3)
    frame = TsdFrame(rng.normal(size=(60, 2)), times, ["a", "b"])
    assert from_array(frame).attrs["dt_ms"] == pytest.approx(1000 / 30, rel=1e-3)
    r = from_array(rng.normal(size=(60, 2)), dt_ms=1000 / 30).assign_coords(time=times * 1000)
    assert as_recording(r).attrs["dt_ms"] == 1000 / 30


def test_spikes_of_a_dataset_are_put_in_order(rng):
    r = from_array(rng.normal(size=(6, 2)))
    flags = np.arange(12).reshape(6, 2) % 3 == 0
    turned = as_recording(r.assign(spikes=(("neuron", "time"), flags.T.astype(int))))
    assert turned.spikes.dtype == bool and turned.spikes.dims == ("time", "neuron")
    np.testing.assert_array_equal(turned.spikes, flags)
    with pytest.raises(ValueError, match="spikes has the dimensions .'spike', 'neuron'. instead of"):
        as_recording(r.assign(spikes=(("spike", "neuron"), flags[:3])))


def test_changes_that_float32_would_round_away_are_refused(rng):
    x = rng.normal(size=(50, 3)) + [0, 1e6, 0]
    with pytest.raises(ValueError, match=r"neurons \['n1'\] changes little .*subtract each neuron's mean first"):
        from_array(x)
    r = from_array(x - x.mean(axis=0))
    with pytest.raises(ValueError, match=r"neurons \['n1'\] changes little"):
        as_recording(r.assign(activity=(("time", "neuron"), x)))
    assert from_array(rng.normal(size=(50, 3)) + 1000).sizes["neuron"] == 3
    assert from_array(np.full((5, 2), 0.1 + 1e6)).sizes["neuron"] == 2  # constant: told by validate


def test_negative_values_are_no_spikes(rng):
    with pytest.raises(ValueError, match="kind is 'spikes' but activity goes down to -1: .* counted from 0"):
        from_array([[0, 1], [-1, 0]], kind="spikes")
    with pytest.raises(ValueError, match="kind is 'spikes' but"):
        as_recording(from_array(rng.normal(size=(9, 2))).assign_attrs(kind="spikes"))


def test_identical_neurons_are_found_whatever_the_sign_of_zero(rng):
    x = rng.normal(size=(30, 4)).astype(np.float32)
    x[::2] = 0
    x[:, 3] = np.where(x[:, 1] == 0, -0.0, x[:, 1])
    with pytest.raises(ValueError, match=r"neurons \['n1', 'n3'\] have identical activity.*neuron=\['n3'\]"):
        validate(from_array(x))

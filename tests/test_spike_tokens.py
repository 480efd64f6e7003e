"""Spikes to tokens and back, exactly; and what a window of tokens holds."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from causalkit import simulate, spike_tokens
from causalkit.methods.spike_windows import TokenWindows
from causalkit.recording import from_array

counts = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 3))


def recording_of(values, trial=None):
    return from_array(values, kind="spikes", trial=trial, more_neurons_than_times=True)


@given(counts, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_counts_come_back_whatever_the_order_in_a_step(values, seed):
    tokens = spike_tokens.tokenize(recording_of(values), random_state=seed)
    assert tokens.sizes["token"] == values.sum()
    np.testing.assert_array_equal(spike_tokens.counts_of(tokens), values)


@given(counts, st.data())
@settings(max_examples=25, deadline=None)
def test_trials_come_back_and_each_starts_its_own_clock(values, data):
    cut = data.draw(st.integers(0, len(values)))
    trial = np.repeat([7, 3], [cut, len(values) - cut])
    tokens = spike_tokens.tokenize(recording_of(values, trial))
    np.testing.assert_array_equal(spike_tokens.counts_of(tokens), values)
    step = np.split(spike_tokens.steps_of(tokens), np.cumsum(tokens["n_tokens"].values)[:-1])
    parts = [part for part in (values[:cut], values[cut:]) if len(part)]
    for steps, part in zip(step, parts, strict=True):
        np.testing.assert_array_equal(steps, np.repeat(np.arange(len(part)), part.sum(1)))


@given(st.lists(counts, min_size=2, max_size=3))
@settings(max_examples=20, deadline=None)
def test_sessions_come_back_one_by_one(several):
    tokens = spike_tokens.tokenize([recording_of(values) for values in several])
    assert tokens.sizes["neuron"] == sum(values.shape[1] for values in several)
    for number, values in enumerate(several):
        np.testing.assert_array_equal(spike_tokens.counts_of(tokens, number), values)


def test_tokens_of_a_sequence_written_by_hand():
    values = np.zeros((8, 3), dtype=int)
    values[[1, 4, 6], [2, 0, 2]] = 1
    tokens = spike_tokens.tokenize(recording_of(values))
    assert tokens.neuron_id.values.tolist() == [2, 0, 2]
    assert tokens.interval.values.tolist() == [1, 3, 2]
    assert tokens.n_steps.values.tolist() == [8]
    assert tokens.neuron.values.tolist() == ["n0", "n1", "n2"]
    both = spike_tokens.tokenize([recording_of(values), recording_of(values)])
    assert both.neuron_id.values.tolist() == [2, 0, 2, 5, 3, 5]
    assert both.neuron.values.tolist() == ["0/n0", "0/n1", "0/n2", "1/n0", "1/n1", "1/n2"]
    assert both.session_of_neuron.values.tolist() == [0, 0, 0, 1, 1, 1]


def test_order_in_a_step_is_drawn_once_and_tells_no_identity():
    values = np.ones((4000, 2), dtype=int)
    one, again = (spike_tokens.tokenize(recording_of(values)) for _ in range(2))
    assert one.identical(again)
    first = one.neuron_id.values[::2]
    assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    other = spike_tokens.tokenize(recording_of(values), random_state=1)
    assert not other.identical(one)


def test_spike_times_are_taken_where_bins_are_wider():
    recording = simulate.lif_spikes(20, n_steps=2000, random_state=3, connection_probability=0.1)
    tokens = spike_tokens.tokenize(recording)
    assert (tokens.attrs["dt_ms"], recording.attrs["dt_ms"]) == (1.0, 5.0)
    back = spike_tokens.counts_of(tokens)
    np.testing.assert_array_equal(back.reshape(-1, 5, 20).sum(1), recording.activity)
    time, neuron = np.nonzero(back)
    theirs = sorted(zip(recording.spike_time_ms.values, recording.spike_neuron.values, strict=True))
    assert sorted(zip(time, neuron, strict=True)) == theirs
    with pytest.raises(ValueError, match="do not hold the same number of spikes"):
        spike_tokens.tokenize(recording.isel(neuron=slice(None, None, -1)))


def test_what_is_no_spike_train_is_refused():
    with pytest.raises(ValueError, match="no counts of spikes"):
        spike_tokens.tokenize(from_array(np.full((5, 2), 0.5), kind="spikes"))
    with pytest.raises(ValueError, match="no recording"):
        spike_tokens.tokenize([])
    fine, coarse = (from_array(np.eye(4), kind="spikes", dt_ms=dt) for dt in (1, 2))
    with pytest.raises(ValueError, match=r"steps of \[1.0, 2.0\] ms"):
        spike_tokens.tokenize([fine, coarse])
    with pytest.raises(ValueError, match="sessions 0 to 0"):
        spike_tokens.counts_of(spike_tokens.tokenize(fine), 3)


# ---- windows


@given(arrays(np.int64, (40, 3), elements=st.integers(0, 2)), st.integers(1, 6), st.integers(1, 6), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_every_spike_is_in_one_present_and_sees_its_past(values, past, present, cut):
    trial = np.repeat([0, 1], [cut, 40 - cut])
    tokens = spike_tokens.tokenize(recording_of(values, trial))
    lengths = tokens["n_steps"].values
    covered = np.repeat(lengths // present * present, tokens["n_tokens"].values)  # the rest fills no window
    expected = int((spike_tokens.steps_of(tokens) < covered).sum())
    if not expected:
        with pytest.raises(ValueError, match="record longer"):
            TokenWindows.cut(tokens, past, present)
        return
    data = TokenWindows.cut(tokens, past, present, fewest=1)
    batch = data.batch(torch.arange(len(data))[None])
    assert int(batch.present.sum()) == expected
    age, valid, now = (getattr(batch, name)[0].numpy() for name in ("age", "valid", "present"))
    assert ((age >= 0) & (age < past + present))[valid].all()
    np.testing.assert_array_equal(now, valid & (age >= past))


def test_windows_end_at_trial_borders():
    values, trial = np.ones((40, 1), dtype=int), np.repeat([0, 1], 20)
    data = TokenWindows.cut(spike_tokens.tokenize(recording_of(values, trial)), 5, 2, fewest=1)
    batch = data.batch(torch.arange(len(data))[None])
    lengths = batch.valid[0].sum(1).tolist()
    assert lengths == 2 * [2, 4, 6, 7, 7, 7, 7, 7, 7, 7]
    assert isinstance(spike_tokens.tokenize(recording_of(values)), xr.Dataset)

"""Stability selection: frequencies by hand, the papers' bounds, a null in which they hold, edges that are there."""

import numpy as np
import pytest
import xarray as xr

from causalkit import MVGC, connectivity, significance, simulate
from causalkit.recording import from_array
from causalkit.significance import false_selections, scores_of_halves, stability_selection


def scores(values, over="half"):
    """Scores of three neurons: six edges, target by target."""
    matrices = np.full((len(values), 3, 3), np.nan)
    matrices[:, ~np.eye(3, dtype=bool)] = values
    names = ["a", "b", "c"]
    return xr.DataArray(matrices, dims=(over, "target", "source"), coords={"target": names, "source": names})


def test_frequencies_are_shares_of_scores_that_select_an_edge():
    given = scores([[9, 8, 1, 0, 0, 0], [9, 1, 8, 0, 0, 0], [5, 6, 7, 0, 0, 0], [9, 0, 0, 0, 0, 0]])
    result = stability_selection(given, top_k=2, threshold=0.75)
    off = ~np.eye(3, dtype=bool)
    assert result.score.values[off].tolist() == [0.75, 0.5, 0.5, 0, 0, 0]  # a score of 0 is never selected
    assert result.selected.values[off].tolist() == [True] + 5 * [False] and not np.diag(result.selected).any()
    assert bool(result.selected.sel(target="a", source="b")) and np.isnan(np.diag(result.score)).all()
    assert (result.attrs["top_k"], result.attrs["n_scores"]) == (2, 4)
    assert connectivity.to_frame(result).iloc[0].to_dict() == {"source": "b", "target": "a", "score": 0.75}
    graph = connectivity.adjacency(result, threshold=0.7)
    np.testing.assert_array_equal(graph, result.selected)


def test_tied_last_places_are_left_out():
    given = scores([[9, 5, 5, 0, 0, 0]] * 2)
    assert stability_selection(given, top_k=2, threshold=1).score.values[0].tolist()[1:] == [1, 0]
    assert np.nansum(stability_selection(given, top_k=3, threshold=1).score) == 3


def test_bounds_are_those_of_the_papers():
    p = 5000
    # Meinshausen & Buehlmann (2010), below theorem 1: with tau = .9, q = sqrt(.8 p) keeps one false selection
    assert false_selections(np.sqrt(0.8 * p), p, 0.9, 50) == pytest.approx(1)
    # Shah & Samworth (2013), theorems 1 and 2, by hand for p = 200, q = 10, B = 50
    assert false_selections(10, 200, 0.7, 50) == pytest.approx(0.5 / 0.4)
    assert false_selections(10, 200, 0.7, 50, "unimodal") == pytest.approx(0.5 / (2 * (0.4 - 0.01)))
    assert false_selections(10, 200, 0.9, 50, "unimodal") == pytest.approx(0.5 * 4 * 0.11 / 1.02)
    # frequencies are multiples of 1 / (2 B): any threshold in between counts as the next one
    assert false_selections(10, 200, 0.69, 5) == false_selections(10, 200, 0.7, 5) == pytest.approx(1.25)
    # where the second theorem does not apply: theta above 1 / sqrt(3), or one pair more than half
    assert false_selections(60, 100, 0.9, 50, "unimodal") == false_selections(60, 100, 0.9, 50)
    assert false_selections(10, 200, 0.51, 50, "unimodal") == false_selections(10, 200, 0.51, 50)


@pytest.mark.parametrize("assumption", ["none", "unimodal"])
def test_the_threshold_follows_from_the_false_edges_that_are_allowed(assumption):
    given = scores(np.random.default_rng(0).random((40, 6)))
    result = stability_selection(given, top_k=2, expected_false=0.9, assumption=assumption)
    tau = result.attrs["threshold"]
    assert result.attrs["expected_false"] == false_selections(2, 6, tau, 20, assumption) <= 0.9
    assert false_selections(2, 6, tau - 1 / 40, 20, assumption) > 0.9


def test_halves_are_complementary_and_no_history_reaches_across_a_gap(monkeypatch):
    seen = []

    class Spy(MVGC):
        def _fit(self, recording):
            seen.append(recording)
            return super()._fit(recording)

    x = np.random.default_rng(0).standard_normal((400, 3))
    recording = from_array(x, trial=np.repeat([0, 1], 200))
    found = scores_of_halves(recording, Spy(order=2), n_pairs=3, n_blocks=8, random_state=1, progress=False)
    assert dict(found.sizes) == {"half": 6, "target": 3, "source": 3}
    chosen = []
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        times = np.concatenate([first.time.values, second.time.values])
        assert sorted(times) == list(range(400)) and first.sizes["time"] == 200
        for half in (first, second):
            time, trial = half.time.values, half.trial.values
            gaps = (np.diff(time) != 1) | (time[1:] == 200)  # the border of the two trials as well
            np.testing.assert_array_equal(np.diff(trial) != 0, gaps)
            np.testing.assert_array_equal(half.activity, x[time.astype(int)].astype(np.float32))
        chosen.append(tuple(first.time.values))
    assert len(set(chosen)) == 3
    again = scores_of_halves(recording, Spy(order=2), n_pairs=3, n_blocks=8, random_state=1, progress=False)
    xr.testing.assert_identical(found, again)


def test_edges_that_are_there_are_selected_and_point_the_right_way():
    recording = simulate.var(6, 0.2, 2000, random_state=2010, strength=0.4)
    truth = recording.connectivity.values != 0
    halves = scores_of_halves(recording, MVGC(order=1), n_pairs=10, progress=False)
    result = stability_selection(halves, top_k=6, expected_false=2)
    assert truth.sum() == 4 and not (truth & truth.T).all()
    assert result.selected.values[truth].all() and (result.selected.values & ~truth).sum() <= 2
    assert (result.score.values[truth] > 0.9).all() and result.attrs["expected_false"] <= 2


def test_false_selections_stay_below_the_bound_without_edges():
    """Shuffled in time, nothing is left to find: the mean over recordings keeps the bound, and is not just zero."""
    counts = {}
    for seed in range(15):
        recording = significance.time_shuffle(simulate.izhikevich(6, 0.4, 400, random_state=2020 + seed), seed)
        halves = scores_of_halves(recording, MVGC(order=1), n_pairs=6, n_blocks=10, progress=False)
        for threshold in (0.75, 1.0):
            found = stability_selection(halves, top_k=6, threshold=threshold)
            counts.setdefault(threshold, []).append(int(found.selected.sum()))
    for threshold, found in counts.items():
        assert np.mean(found) <= false_selections(6, 30, threshold, 6, "unimodal")
        assert np.mean(found) <= false_selections(6, 30, threshold, 6, "none")
    assert 0.1 < np.mean(counts[0.75]) > np.mean(counts[1.0])


def test_seeds_have_frequencies_but_no_bound():
    result = stability_selection(scores(np.random.default_rng(0).random((5, 6)), "seed"), top_k=2, threshold=0.6)
    assert np.isnan(result.attrs["expected_false"]) and np.nansum(result.score) == pytest.approx(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0, "threshold": 0.6}, "top_k is 0: 3 neurons have 6 possible edges"),
        ({"top_k": 6, "threshold": 0.6}, "top_k is 6: .*smaller than that"),
        ({"top_k": 2}, "exactly one"),
        ({"top_k": 2, "threshold": 0.6, "expected_false": 1}, "exactly one"),
        ({"top_k": 2, "threshold": 0.5}, "threshold is 0.5: .*above .5"),
        ({"top_k": 2, "threshold": 0.6, "assumption": "normal"}, "assumption is 'normal'"),
        ({"top_k": 5, "expected_false": 1}, "may hold 4.17 false ones: lower top_k"),
    ],
)
def test_impossible_selections_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stability_selection(scores(np.ones((4, 6))), **arguments)


def test_scores_that_are_no_halves_or_seeds_are_refused():
    given = scores(np.ones((3, 6)))
    with pytest.raises(ValueError, match="3 halves: they come in pairs"):
        stability_selection(given, top_k=2, threshold=0.6)
    with pytest.raises(ValueError, match="scores has the dimensions .*scores_of_halves"):
        stability_selection(given[0], top_k=2, threshold=0.6)
    with pytest.raises(ValueError, match="expected_false cannot be kept over seeds"):
        stability_selection(given.rename(half="seed"), top_k=2, expected_false=1)
    x = np.random.default_rng(0).standard_normal((50, 3))
    for options, message in (({"n_blocks": 7}, "n_blocks is 7 for 50 time steps"), ({"n_pairs": 0}, "n_pairs is 0")):
        with pytest.raises(ValueError, match=message):
            scores_of_halves(x, MVGC(), **options)

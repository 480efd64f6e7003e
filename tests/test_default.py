"""The rule that chooses a method, on worlds of which it is known what can be seen (seeds of their own)."""

import numpy as np
import pytest

from causalkit import PartialCorrelation, from_array, metrics, simulate
from causalkit.default import Choice, choose, coupled_shares
from causalkit.methods import METHODS


def fast(seed, n_steps=4000, n_neurons=8):
    """A linear world whose effects take one step, of which every twentieth step is seen: cause and effect at once."""
    rng = np.random.default_rng(seed)
    weights = (rng.random((n_neurons, n_neurons)) < 0.15) * 0.5 * ~np.eye(n_neurons, dtype=bool)
    weights = np.tril(weights)
    x, state = np.empty((n_steps * 20, n_neurons)), np.zeros(n_neurons)
    for t, noise in enumerate(rng.standard_normal((n_steps * 20, n_neurons))):
        state = x[t] = 0.5 * state + weights @ state + noise
    return from_array(x[::20], dt_ms=20, kind="other", connectivity=weights)


def test_what_falls_into_one_step_is_left_to_partial_correlation():
    for seed in (4000, 4001):
        recording = fast(seed, 600)
        choice = choose(recording)
        assert (choice.method, choice.parameters) == ("partial_correlation", {"bin_steps": 1})
        assert "too long to see a direction" in choice.why
        found = PartialCorrelation(**choice.parameters).fit(recording).connectivity_
        assert metrics.auroc(recording.connectivity, found.score) > 0.8
        faster = from_array(recording.activity.values, kind="voltage", dt_ms=1.0)
        assert choose(faster).method == "gaussian_process"


@pytest.mark.parametrize(
    "world, method",
    [
        (lambda s: simulate.var(8, 0.3, 600, s), "gaussian_process"),
        (lambda s: simulate.lorenz96(8, 500, s, dt=0.05), "gaussian_process"),
        (lambda s: simulate.lorenz96(8, 500, s, dt=0.05, forcing=40.0), "gaussian_process"),
        (lambda s: simulate.var(8, 0.3, 3000, s), "single_index"),
        (lambda s: simulate.var(35, 0.05, 600, s), "single_index"),
        (lambda s: simulate.izhikevich(6, 0.3, 2000, random_state=s), "single_index"),
        (lambda s: simulate.observe_spikes(simulate.izhikevich(4, 0.3, 500, random_state=s)), "spike_index"),
        (lambda s: simulate.observe_calcium(simulate.izhikevich(4, 0.3, 2000, random_state=s)), "mvgc"),
    ],
)
def test_the_choice_follows_kind_and_length(world, method):
    for seed in (4000, 4001, 4002):
        choice = choose(world(seed))
        assert choice.method == method and choice.why and choice.method in METHODS


@pytest.mark.parametrize("frame_ms, method", [(33.0, "partial_correlation"), (5.0, "mvgc")])
def test_calcium_has_a_direction_in_short_frames_only(frame_ms, method):
    """And the chosen one of the two ranks better, on each of three networks."""
    both = [Choice("partial_correlation", {"bin_steps": 1}), Choice("mvgc")]
    for seed in (4000, 4001, 4002):
        neurons = simulate.izhikevich(10, 0.3, 60_000, random_state=seed)
        seen = simulate.observe_calcium(neurons, frame_ms=frame_ms)
        choice = choose(seen)
        assert choice.method == method and choice.fit(seen).chosen_because == choice.why
        auroc = {c.method: metrics.auroc(neurons.connectivity, c.fit(seen).score) for c in both}
        assert max(auroc, key=auroc.get) == method


def test_shares_are_those_of_chance_where_nothing_is_coupled(rng):
    shares = np.array([coupled_shares(from_array(rng.standard_normal((300, 12)))) for _ in range(40)])
    assert (np.abs(shares.mean(axis=0) - 0.01) < 0.006).all()


def test_the_choice_depends_on_neither_units_nor_order(rng):
    recording = fast(4002, 400)
    x = recording.activity.values.astype(float)
    order = rng.permutation(x.shape[1])
    np.testing.assert_allclose(
        coupled_shares(from_array(7 - 3.5 * x[:, order], kind="other")), coupled_shares(recording), atol=1e-9
    )


def test_any_recording_gets_a_choice(rng):
    silent = np.column_stack([np.zeros(50), np.eye(50, 3)])
    for x in (rng.standard_normal((40, 2)), rng.standard_normal((30, 25)), silent):
        assert choose(from_array(x)).method in METHODS
    assert choose(from_array((rng.random((100, 3)) < 0.2).astype(float), kind="spikes")).method in METHODS

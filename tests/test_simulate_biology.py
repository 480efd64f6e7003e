"""The simulator's options: delay, plasticity and modulation do what they say, and nothing when neutral."""

import json

import numpy as np
import pytest
import xarray as xr

from causalkit import io, simulate
from causalkit.simulate.synapses import Synapses

SILENCING = -20.0  # an input under which no neuron fires by itself


@pytest.fixture(scope="module")
def world():
    """Everything at once, for two networks, from arguments that can be permuted."""
    rng = np.random.default_rng(0)
    wirings = np.stack([simulate.random_wiring(6, 0.5, seed)[0] for seed in (1, 2)])
    return {
        "connectivity": wirings,
        "params": np.stack(
            [simulate.izhikevich_parameters(simulate.cell_types(6), seed) for seed in (1, 2)]
        ),
        "input_current": 5 + 5**0.5 * rng.standard_normal((2, 300, 6)),
        "delay_steps": rng.integers(1, 8, (2, 6, 6)),
        "modulation": simulate.sinusoidal_modulation(300, period_ms=100, depth=0.5),
        "stimulus": simulate.pulse_train(300, 6, [0, 3, 5], rate_hz=30, lag_steps=[0, 2, 4], random_state=3),
    }


def plain_stdp(connectivity, delay_steps, spikes, rule):
    """Weights after all rows by plain loops over synapses and pairs of spikes: an independent reference."""
    final = connectivity.copy()
    for target, source in np.argwhere(connectivity > 0):
        arrivals = np.flatnonzero(spikes[:, source]) + delay_steps[target, source] - 1
        own = np.flatnonzero(spikes[:, target])
        strength = 1.0
        for t in range(len(spikes)):
            rise = sum(np.exp(-(t - s) / rule.tau_plus_ms) for s in arrivals if s < t) if t in own else 0
            fall = sum(np.exp(-(t - s) / rule.tau_minus_ms) for s in own if s < t) if t in arrivals else 0
            strength += rule.rate_plus * rise * (rule.largest - strength) - rule.rate_minus * fall * (
                strength - rule.smallest
            )
        final[target, source] *= strength
    return final


# --- neutral options change nothing


@pytest.mark.parametrize(
    "neutral",
    [
        {"delay_steps": 1},
        {"delay_steps": np.ones((6, 6))},
        {"modulation": np.ones(400)},
        {"modulation": simulate.sinusoidal_modulation(400, 100, 0.0)},
        {"stimulus": np.zeros((400, 6))},
        {"plasticity": simulate.STDP(rate_plus=0, rate_minus=0)},
    ],
)
def test_neutral_options_are_the_plain_run_bit_for_bit(neutral):
    weights = np.random.default_rng(0).uniform(0, 7, (3, 6, 6)) * ~np.eye(6, dtype=bool)
    weights[:, :, 5] *= -1
    plain = simulate.izhikevich(connectivity=weights, n_steps=400, random_state=2)
    runs = simulate.izhikevich(connectivity=weights, n_steps=400, random_state=2, **neutral)
    for before, after in zip(plain, runs, strict=True):
        xr.testing.assert_equal(before, after[list(before.data_vars)])
    if "plasticity" in neutral:
        np.testing.assert_array_equal(runs[0].connectivity_final, weights[0])


def test_plain_recording_holds_nothing_new():
    run = simulate.izhikevich(n_steps=20)
    assert set(run.data_vars) == {"activity", "spikes", "voltage_mv", "connectivity", "cell_type", *"abcd"}
    assert set(run.attrs) == {"kind", "dt_ms", "simulator", "random_state"}


# --- delay


@pytest.mark.parametrize("delay", [1, 2, 5, 13])
def test_spike_acts_on_its_target_exactly_so_many_rows_later(delay):
    run = {"params": simulate.izhikevich_parameters(["excitatory"] * 2, 0), "n_steps": 3000, "random_state": 1}
    apart = simulate.izhikevich(connectivity=np.zeros((2, 2)), **run)
    wired = simulate.izhikevich(connectivity=[[0, 0], [5, 0]], delay_steps=delay, **run)
    spikes = np.flatnonzero(apart.spikes.values[:, 0])
    difference = (wired.voltage_mv - apart.voltage_mv).values
    assert not difference[: spikes[0] + delay].any() and not difference[:, 0].any()
    assert difference[spikes[0] + delay, 1] > 2

    rise, quiet = np.diff(wired.voltage_mv.values[:, 1]), ~wired.spikes.values[:-1, 1] & ~wired.spikes.values[1:, 1]
    rows = np.flatnonzero(quiet)
    mean, error = np.zeros(20), np.zeros(20)
    for lag in range(20):  # the rise into row s + lag after a spike in row s
        into = spikes[:, None] + lag - 1
        after = rise[np.intersect1d(into, rows)]
        mean[lag] = after.mean() - rise[rows].mean()
        error[lag] = after.std() / len(after) ** 0.5
    assert mean.argmax() == delay and mean[delay] > 3.5
    assert (np.abs(mean[:delay]) < 4 * error[:delay]).all()


def test_each_connection_has_its_own_delay():
    """n0 fires alone; n1, n2, n3 hear of it after 1, 4 and 9 steps."""
    connectivity, delays = np.zeros((4, 4)), np.zeros((4, 4), dtype=int)
    connectivity[1:, 0], delays[1:, 0] = 5, [1, 4, 9]
    current = np.full((60, 4), SILENCING)
    current[:, 0] = 8
    run = simulate.izhikevich(connectivity=connectivity, delay_steps=delays, input_current=current)
    apart = simulate.izhikevich(connectivity=0 * connectivity, params=run, input_current=current)
    spike = np.flatnonzero(run.spikes.values[:, 0])[0]
    first = (run.voltage_mv != apart.voltage_mv).values[:, 1:].argmax(axis=0)
    assert (first - spike).tolist() == [1, 4, 9]
    assert run.delay_steps.values[:, 0].tolist() == [1, 1, 4, 9]
    np.testing.assert_array_equal(run.connectivity, connectivity)


# --- plasticity


def weight_after_a_pair(source_row, target_row, rule, delay=1):
    """The weight of n0 -> n1, initially 4, after one spike of each."""
    synapses = Synapses(np.array([[[0.0, 0.0], [4.0, 0.0]]]), 100, delay, rule)
    for row in range(100):
        synapses.transmit(row, np.array([[row == source_row, row == target_row]]))
    return synapses.final_weights()[0, 1, 0]


@pytest.mark.parametrize("lag", [-30, -7, -1, 0, 1, 7, 30])
@pytest.mark.parametrize("delay", [1, 6])
def test_one_pair_of_spikes_changes_the_weight_as_written(lag, delay):
    rule = simulate.STDP(0.05, 0.04, 15, 25, smallest=0.25, largest=3)
    if lag > 0:
        change = 0.05 * (3 - 1) * np.exp(-lag / 15)
    else:
        change = -0.04 * (1 - 0.25) * np.exp(lag / 25) if lag else 0
    weight = weight_after_a_pair(40, 40 + delay - 1 + lag, rule, delay)
    assert weight == pytest.approx(4 * (1 + change), rel=1e-12)


@pytest.mark.parametrize("delayed", [False, True])
def test_plasticity_equals_plain_loops_over_the_pairs(world, delayed):
    rule = simulate.STDP(0.09, 0.06, 10, 30, 0.2, 3)
    given = {name: world[name] for name in ("connectivity", "params", "input_current")}
    delays = world["delay_steps"] if delayed else np.full((2, 6, 6), 3)
    for k, run in enumerate(simulate.izhikevich(**given, delay_steps=delays, plasticity=rule)):
        expected = plain_stdp(world["connectivity"][k], delays[k], run.spikes.values, rule)
        change = expected - world["connectivity"][k]
        assert change.max() > 0.5 and change.min() < -0.1
        np.testing.assert_allclose(run.connectivity_final, expected, rtol=1e-10)
        np.testing.assert_array_equal(run.connectivity, world["connectivity"][k])


def test_spikes_pass_with_the_weight_that_was_learned():
    rule = simulate.STDP(rate_plus=0.5, rate_minus=0)
    synapses = Synapses(np.array([[[0.0, 0.0], [4.0, 0.0]]]), 100, plasticity=rule)
    current = [synapses.transmit(row, np.array([spikes]))[0, 1] for row, spikes in enumerate([[1, 0], [0, 1], [1, 0]])]
    assert current[:2] == [4, 0] and current[2] == pytest.approx(4 * (1 + 0.5 * np.exp(-1 / 20)))


def test_violent_plasticity_keeps_bounds_signs_and_inhibition():
    rule = simulate.STDP(1, 1, 200, 200, smallest=0.5, largest=1.5)
    for run in simulate.izhikevich(10, 0.6, n_steps=1000, n_networks=3, plasticity=rule):
        before, after = run.connectivity.values, run.connectivity_final.values
        np.testing.assert_array_equal(np.sign(after), np.sign(before))
        np.testing.assert_array_equal(after[before <= 0], before[before <= 0])
        ratio = after[before > 0] / 5
        assert ratio.min() >= 0.5 - 1e-12 and ratio.max() <= 1.5 + 1e-12 and ratio.std() > 0.1


# --- modulation


def test_modulation_scales_the_effect_of_a_spike_at_its_time():
    """A spike in row s arrives at factor modulation[s + delay - 1]: half the factor, half the current."""
    synapses = Synapses(np.array([[[0.0, 0.0], [5.0, 0.0]]]), 8, 3, modulation=np.arange(8) / 4)
    current = [synapses.transmit(t, np.array([[t in (1, 2), False]]))[0, 1] for t in range(8)]
    assert current == [0, 0, 0, 5 * 3 / 4, 5 * 4 / 4, 0, 0, 0]


def test_switched_off_synapses_leave_neurons_apart_until_they_return():
    factor = np.r_[np.zeros(200), np.ones(200)]
    given = {"random_state": 5, "params": simulate.izhikevich(10, n_steps=2, random_state=5)}
    wiring = given["params"].connectivity.values
    on_later = simulate.izhikevich(connectivity=wiring, modulation=factor, **given)
    apart = simulate.izhikevich(connectivity=0 * wiring, n_steps=400, **given)
    same = (on_later.voltage_mv == apart.voltage_mv).values.all(axis=1)
    assert on_later.sizes["time"] == 400 and same[:201].all() and not same[230:].any()


def test_sinusoidal_modulation_is_a_sine():
    factor = simulate.sinusoidal_modulation(1000, period_ms=250, depth=0.8, phase=np.pi / 2)
    assert factor.mean() == pytest.approx(1) and factor[0] == pytest.approx(1.8)
    np.testing.assert_allclose(factor[:750], factor[250:], atol=1e-12)
    assert factor.min() == pytest.approx(0.2) and simulate.sinusoidal_modulation(999, 37, 1).min() >= 0


# --- all of them


def test_network_of_a_batch_equals_the_same_network_alone():
    rng = np.random.default_rng(1)
    each = {
        "delay_steps": rng.integers(1, 6, (3, 8, 8)),
        "modulation": rng.uniform(0, 2, (3, 300)),
        "stimulus": rng.standard_normal((3, 300, 8)),
    }
    each["delay_steps"][1] = 1
    options = {"n_steps": 300, "plasticity": simulate.STDP(0.1, 0.1)}
    batch = simulate.izhikevich(8, 0.5, n_networks=3, random_state=7, **each, **options)
    for k, run in enumerate(batch):
        alone = {name: values[k] for name, values in each.items()}
        xr.testing.assert_identical(run, simulate.izhikevich(8, 0.5, random_state=7 + k, **alone, **options))


def test_permuted_neurons_permute_the_recording(world):
    order = np.random.default_rng(2).permutation(6)
    pairs = np.ix_(range(2), order, order)
    permuted = world | {name: world[name][pairs] for name in ("connectivity", "delay_steps")}
    permuted |= {"params": world["params"][:, order], "input_current": world["input_current"][..., order]}
    permuted["stimulus"] = world["stimulus"][:, order]
    for plasticity, rows in ((None, 300), (simulate.STDP(0.1, 0.1), 100)):
        runs = simulate.izhikevich(**world, plasticity=plasticity)
        others = simulate.izhikevich(**permuted, plasticity=plasticity)
        for run, other in zip(runs, others, strict=True):  # sums in another order are rounded otherwise, so not longer
            assert run.spikes[:rows].values.any()
            np.testing.assert_allclose(run.voltage_mv.values[:rows, order], other.voltage_mv[:rows], atol=1e-5)
            np.testing.assert_array_equal(run.delay_steps.values[np.ix_(order, order)], other.delay_steps)


def test_recording_on_disk_repeats_itself_from_what_it_holds(world, tmp_path):
    options = {name: world[name] for name in ("modulation", "stimulus")}
    options |= {"delay_steps": world["delay_steps"][0], "plasticity": simulate.STDP(0.02, 0.01)}
    run = simulate.izhikevich(6, 0.5, random_state=9, **options)
    io.write_recording(run, tmp_path / "run.nc")
    stored = io.read(tmp_path / "run.nc")
    again = simulate.izhikevich(
        random_state=stored.attrs["random_state"],
        params=stored,
        plasticity=simulate.STDP(**json.loads(stored.attrs["plasticity"])),
        **{name: stored[name] for name in ("connectivity", "delay_steps", "modulation", "stimulus")},
    )
    xr.testing.assert_identical(again, run)
    xr.testing.assert_identical(again, stored)
    assert io.read(tmp_path / "run.nc", neurons=["n2", "n0"]).connectivity_final.shape == (2, 2)


def test_arguments_are_not_changed(world):
    before = {name: values.copy() for name, values in world.items()}
    simulate.izhikevich(**world, plasticity=simulate.STDP())
    for name, values in world.items():
        np.testing.assert_array_equal(values, before[name])


square = np.array([[0.0, 5.0, 0.0], [0.0, 0.0, -5.0], [5.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delay_steps": 0}, "delay_steps=0 is no count.*at least 1"),
        ({"delay_steps": -2}, "delay_steps=-2 is no count"),
        ({"delay_steps": 1.5}, "delay_steps=1.5 is no count"),
        ({"delay_steps": [1, 2, 3]}, r"delay_steps has shape \(3,\).*need \(3, 3\)"),
        ({"delay_steps": np.eye(3)}, r"delay_steps holds \[0.0\] for 3 connection"),
        ({"delay_steps": np.full((3, 3), 2.5)}, r"holds \[2.5\] for 3 connection.*whole number of steps"),
        ({"delay_steps": np.full((3, 3), np.nan)}, "delay_steps has 9 NaN"),
        ({"delay_steps": 50, "n_steps": 50}, r"holds \[50.0\].*before the recording of 50 steps ends"),
        ({"plasticity": True}, r"plasticity=True is no rule: give simulate.STDP\(\)"),
        ({"plasticity": {"rate_plus": 0.1}}, "is no rule"),
        ({"modulation": np.ones((50, 3))}, r"modulation has shape \(50, 3\)"),
        ({"modulation": np.ones(50), "n_steps": 60}, r"modulation has shape \(50,\).*need \(60,\)"),
        ({"modulation": 1.0}, r"modulation has shape \(\)"),
        ({"modulation": np.linspace(-1, 1, 50)}, "modulation has 25 negative values"),
        ({"modulation": np.zeros(50)}, "modulation is 0 at all times"),
        ({"modulation": np.full(50, np.nan)}, "modulation has 50 NaN"),
        ({"stimulus": np.ones((3, 50))}, r"stimulus has shape \(3, 50\).*need \(3, 3\)"),
        ({"stimulus": np.ones((50, 3)), "n_steps": 60}, r"stimulus has shape \(50, 3\).*need \(60, 3\)"),
        ({"stimulus": np.ones(50)}, r"stimulus has shape \(50,\)"),
        ({"stimulus": np.full((50, 3), np.inf)}, "stimulus has 150 NaN or infinite"),
        ({"stimulus": np.ones((50, 3)), "input_current": np.ones((60, 3))}, r"stimulus has shape \(50, 3\)"),
    ],
)
def test_impossible_options_are_refused_with_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        simulate.izhikevich(connectivity=square, **arguments)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rate_plus": -0.1}, r"rate_plus=-0.1 is outside \[0, 1\]"),
        ({"rate_minus": 1.5}, r"rate_minus=1.5 is outside \[0, 1\]"),
        ({"tau_plus_ms": 0}, "tau_plus_ms=0.0 is no time constant"),
        ({"tau_minus_ms": float("nan")}, "tau_minus_ms=nan is no number"),
        ({"largest": "big"}, "largest='big' is no number"),
        ({"smallest": 0}, "smallest=0.0 and largest=2.0 do not enclose.*remove a connection"),
        ({"largest": 0.9}, "smallest=0.1 and largest=0.9 do not enclose"),
    ],
)
def test_impossible_plasticity_is_refused(parameters, message):
    with pytest.raises(ValueError, match=f"(?s)STDP: {message}"):
        simulate.STDP(**parameters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 1.2}, r"depth=1.2 is outside \[0, 1\].*would inhibit"),
        ({"period_ms": 0}, "period_ms=0 is no duration"),
        ({"phase": "late"}, "phase='late' is no number"),
    ],
)
def test_impossible_rhythms_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        simulate.sinusoidal_modulation(**({"n_steps": 50, "period_ms": 20, "depth": 0.5} | arguments))

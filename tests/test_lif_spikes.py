"""Large integrate-and-fire networks: against formulas, SciPy's integrator and networkx."""

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.integrate import solve_ivp

from causalkit import from_array, simulate
from causalkit.simulate.lif_spikes import Membrane, Targets, peak_time, response, run

QUIET = {"noise_mv": 0.0, "bin_ms": 1}


def membrane(synapses="current", tau=20.0, tau_syn=5.0, refractory=2, threshold=-50.0, drive=10.0):
    return Membrane.of(synapses, tau, tau_syn, refractory, threshold, -65.0, (0.0, -80.0), drive)


def silence(n_neurons):
    return lambda n_steps: np.zeros((n_steps, n_neurons))


def spikes_of(recording, neuron):
    return recording.spike_time_ms.values[recording.spike_neuron.values == neuron].astype(int)


# ---- one neuron


@pytest.mark.parametrize("drive,refractory", [(16.0, 2), (20.0, 0), (40.0, 7)])
def test_intervals_are_those_of_the_formula(drive, refractory):
    """Without noise a neuron rises from rest to the threshold in tau log(drive / (drive - threshold))."""
    r = simulate.lif_spikes(
        connectivity=np.zeros((3, 3)), n_steps=2000, drive_mv=drive, refractory_ms=refractory, **QUIET
    )
    expected = refractory + int(np.ceil(20 * np.log(drive / (drive - 15))))
    for neuron in range(3):
        assert set(np.diff(spikes_of(r, neuron)).tolist()) == {expected}


def test_below_threshold_nobody_fires():
    r = simulate.lif_spikes(connectivity=np.zeros((3, 3)), n_steps=500, drive_mv=14.9, **QUIET)
    assert r.sizes["spike"] == 0 and r.activity.values.sum() == 0


def test_refractory_neurons_ignore_what_arrives():
    weights = np.zeros((2, 2))
    weights[1, 0] = 500.0  # each spike of the first lifts the second far above the threshold
    r = simulate.lif_spikes(
        connectivity=weights, n_steps=3000, delay_steps=1, refractory_ms=15, drive_mv=14.0, noise_mv=1.5,
        bin_ms=1, random_state=1,
    )  # fmt: skip
    assert np.diff(spikes_of(r, 1)).min() == 16 and len(spikes_of(r, 1)) > 100


# ---- synapses


@pytest.mark.parametrize("tau,tau_syn", [(20.0, 5.0), (10.0, 30.0), (20.0, 20.0)])
def test_a_weight_is_the_height_of_the_potential(tau, tau_syn):
    times = np.linspace(0, 200, 20001)
    course = response(times, tau, tau_syn)
    assert times[course.argmax()] == pytest.approx(peak_time(tau, tau_syn), abs=0.01)
    exact = solve_ivp(lambda t, v: (-v + np.exp(-t / tau_syn)) / tau, (0, 50), [0.0], rtol=1e-10, atol=1e-12).y[0, -1]
    assert response(50.0, tau, tau_syn) == pytest.approx(exact, rel=1e-6)
    for size, fires in ((4.9, False), (5.1, True)):
        weights = np.zeros((2, 2))
        weights[1, 0] = size
        cell = membrane(tau=tau, tau_syn=tau_syn)
        start = np.array([15.0, 10.0])  # the first fires at once, and the second is 5 mV below its threshold
        _, neurons = run(cell, Targets(weights, 1, 100), silence(2), start, 100)
        assert (1 in neurons) == fires


@pytest.mark.parametrize("synapses", ["current", "conductance"])
@pytest.mark.parametrize("slower", [1, 10])
def test_voltage_is_that_of_scipy(synapses, slower):
    """Two sources with delays, one of them inhibitory, a target that does not fire. Ten times slower neurons have ten
    times finer steps: the error of conductances, of second order, must fall a hundredfold."""
    weights = np.zeros((3, 3))
    weights[2, :2] = 3.0, -2.0
    delays, n_steps = np.array([[1, 1, 1], [1, 1, 1], [4, 9, 1]]) * slower, 60 * slower
    cell = membrane(synapses, 20.0 * slower, 5.0 * slower, drive=8.0)
    pushes = np.zeros((n_steps, 3))
    pushes[7 * slower - 1, 1] = 100  # the first fires in step 0, the second in step 7
    given = iter([pushes])
    voltage = np.empty((n_steps, 3))
    targets = Targets(weights, delays, n_steps)
    times, neurons = run(cell, targets, lambda n: next(given), np.array([15.0, 0.0, 4.0]), n_steps, voltage)
    assert times[neurons == 0][0] == 0 and times[neurons == 1][0] == 7 * slower and 2 not in neurons

    tau, tau_syn, height = 20.0 * slower, 5.0 * slower, response(peak_time(20.0, 5.0), 20.0, 5.0)
    arrivals = [(t + delays[2, j], j) for j in (0, 1) for t in times[neurons == j]]
    assert len(arrivals) == 2

    def slope(t, v):
        total = (8.0 - v) / tau
        for arrival, j in arrivals:
            open_ = np.exp(-(t - arrival) / tau_syn) / height * (t >= arrival)
            reversal = (65.0, -15.0)[j]
            pull = (reversal - v) / reversal if synapses == "conductance" else 1.0
            total = total + weights[2, j] * open_ * pull / tau
        return total

    value, exact = np.array([4.0]), [4.0]
    for t in range(n_steps - 1):  # from step to step, so that the jumps fall on the ends
        value = solve_ivp(slope, (t, t + 1), value, rtol=1e-9, atol=1e-11).y[:, -1]
        exact.append(value[0])
    error = np.abs(voltage[:, 2] - exact).max()
    assert error < (1e-7 if synapses == "current" else 1e-2 / slower**2)
    assert max(exact) > 8.5 and exact[-1] < max(exact) - 0.3


def test_delays_and_orientation():
    """Column = source: the first drives the second after 3 steps and the third after 8, and nobody drives the first."""
    weights, delays = np.zeros((3, 3)), np.ones((3, 3), dtype=int)
    weights[1:, 0], delays[1:, 0] = 300.0, (3, 8)
    r = simulate.lif_spikes(connectivity=weights, delay_steps=delays, n_steps=4000, drive_mv=15.5, **QUIET)
    first = spikes_of(r, 0)
    assert len(first) > 30 and set(np.diff(first)) == {2 + int(np.ceil(20 * np.log(15.5 / 0.5)))}
    for target, delay in ((1, 3), (2, 8)):
        later = spikes_of(r, target)
        expected = first + delay + 1  # felt in the step after the delay
        assert np.isin(expected[expected < 4000], later).all()
    np.testing.assert_array_equal(r.delay_steps.values[1:, 0], [3, 8])


def test_inhibition_lowers_the_rate_and_excitation_raises_it():
    weights = np.zeros((40, 40))
    weights[10:20, :5], weights[20:30, 35:] = 2.0, -2.0
    for synapses in ("current", "conductance"):
        r = simulate.lif_spikes(connectivity=weights, n_steps=20_000, random_state=3, synapses=synapses)
        rate = r.activity.values.mean(axis=0)
        alone, excited, inhibited = (rate[k : k + 10].mean() for k in (0, 10, 20))
        assert inhibited < 0.8 * alone and excited > 1.2 * alone


# ---- networks


def test_rates_of_the_usual_network_and_its_books():
    r = simulate.lif_spikes(n_steps=20_000, random_state=2001)
    assert r.attrs["kind"] == "spikes" and r.activity.shape == (4000, 300) and r.attrs["dt_ms"] == 5
    rate_hz = r.activity.values.sum(axis=0) / 20
    assert 1 < rate_hz.min() and rate_hz.max() < 20
    # counts and spike times tell the same
    assert r.sizes["spike"] == r.activity.values.sum()
    again = np.zeros(r.activity.shape)
    np.add.at(again, ((r.spike_time_ms.values // 5).astype(int), r.spike_neuron.values), 1)
    np.testing.assert_array_equal(again, r.activity.values)
    assert (np.diff(r.spike_time_ms.values) >= 0).all()


def test_the_same_seed_alone_and_in_a_batch():
    one = simulate.lif_spikes(30, n_steps=1000, random_state=6)
    batch = simulate.lif_spikes(30, n_steps=1000, random_state=5, n_networks=2)
    xr.testing.assert_identical(one, batch[1])
    assert not np.array_equal(batch[0].activity, batch[1].activity)
    weights = one.connectivity.copy(deep=True)
    given = simulate.lif_spikes(connectivity=weights, n_steps=1000, random_state=6)
    np.testing.assert_array_equal(given.activity, one.activity)  # the wiring takes no numbers from the other streams
    xr.testing.assert_identical(weights, one.connectivity)


def test_a_longer_recording_begins_with_the_shorter_one():
    short, long = (simulate.lif_spikes(30, n_steps=n, random_state=7) for n in (1500, 2600))
    np.testing.assert_array_equal(long.activity.values[:300], short.activity.values)


def test_an_unfinished_bin_is_left_out():
    whole, cut = (simulate.lif_spikes(10, n_steps=n, random_state=8, wiring={"n_hubs": 1}) for n in (1000, 1004))
    xr.testing.assert_identical(whole, cut)


def test_poisson_and_gaussian_background_fire_alike():
    rates = [
        simulate.lif_spikes(connectivity=np.zeros((200, 200)), n_steps=20_000, drive=drive, noise_mv=0.5, drive_mv=13)
        .activity.values.sum(axis=0).mean() / 20
        for drive in ("gaussian", "poisson")
    ]  # fmt: skip
    assert rates[0] == pytest.approx(rates[1], rel=0.1)


def test_common_drive_correlates_those_who_hear_it():
    strength = np.zeros((40, 2))
    strength[:10, 0] = strength[10:20, 1] = 3.0
    r = simulate.lif_spikes(connectivity=np.zeros((40, 40)), n_steps=60_000, common_drive_mv=strength)
    c = np.corrcoef(r.activity.values.reshape(-1, 4, 40).sum(axis=1).T)
    within = [c[k : k + 10, k : k + 10][~np.eye(10, dtype=bool)].mean() for k in (0, 10)]
    assert min(within) > 0.05 and abs(c[:10, 10:20].mean()) < 0.01 and abs(c[20:, :20].mean()) < 0.01
    assert r.common_drive_mv.dims == ("neuron", "signal")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"synapses": "delta"}, "synapses='delta' is unknown"),
        ({"topology": "ring"}, "topology='ring' is unknown"),
        ({"delay_steps": 0}, "delay_steps"),
        ({"delay_steps": 1000}, "delay_steps holds"),
        ({"threshold_mv": -70.0}, "not above rest_mv"),
        ({"reversal_mv": (-80.0, 0.0)}, "does not enclose"),
        ({"common_drive_mv": np.ones(3)}, "common_drive_mv has shape"),
        ({"bin_ms": 600}, "a recording needs two"),
        ({"drive": "none"}, "drive='none' is unknown"),
        ({"wiring": {"n_hubs": 11}}, "n_hubs=11"),
        ({"n_neurons": None, "connectivity": np.zeros((10, 10)), "wiring": {}}, "wiring and connectivity"),
        ({"n_neurons": None, "connectivity": np.eye(10)}, "to themselves"),
        ({"n_neurons": None, "connectivity": np.zeros((10, 10)), "weight": 2.0}, "weight and connectivity"),
        ({"topology": "small_world", "connection_probability": 0.9}, "too dense"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate.lif_spikes(**{"n_neurons": 10, "n_steps": 1000, "wiring": None} | arguments)


# ---- wirings


@pytest.mark.parametrize("topology", simulate.TOPOLOGIES)
def test_wirings_have_their_density_and_obey_dale(topology):
    densities = []
    for seed in range(5):
        w, cell_type = simulate.topology_wiring(topology, 200, 0.05, seed, (1, 2), hub_weight=1.0)
        assert (np.diag(w) == 0).all() and w.shape == (200, 200)
        assert (w[:, cell_type == "excitatory"] >= 0).all() and (w[:, cell_type == "inhibitory"] <= 0).all()
        sizes = np.abs(w[w != 0])
        assert 1 <= sizes.min() < 1.05 and 1.95 < sizes.max() <= 2
        densities.append((w[:, 3:] != 0).sum() / (199 * 197))
        np.testing.assert_array_equal(w, simulate.topology_wiring(topology, 200, 0.05, seed, (1, 2), hub_weight=1.0)[0])
    assert np.mean(densities) == pytest.approx(0.05, rel=0.06)


def test_hubs_reach_many_and_strongly():
    w, _ = simulate.topology_wiring("hub", 300, 0.05, 1, 0.5, n_hubs=3, hub_probability=0.4, hub_weight=4.0)
    out_degree = (w != 0).sum(axis=0)  # columns are sources
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 299, 0.4)
    assert ((low <= out_degree[:3]) & (out_degree[:3] <= high)).all()
    assert out_degree[3:].max() < out_degree[:3].min() / 2
    assert set(np.abs(w[:, :3]).ravel()) == {0, 2.0} and set(np.abs(w[:, 3:]).ravel()) == {0, 0.5}
    assert (w != 0).sum(axis=1).std() < 2 * np.sqrt(300 * 0.05)  # nobody listens to far more than others


def test_shapes_are_what_they_are_called():
    graphs = {
        name: nx.from_numpy_array((simulate.topology_wiring(name, 300, 0.02, 4)[0] != 0).T, create_using=nx.DiGraph)
        for name in simulate.TOPOLOGIES
    }
    clustering = {name: nx.transitivity(g.to_undirected()) for name, g in graphs.items()}
    assert clustering["erdos_renyi"] == pytest.approx(0.04, abs=0.01)  # the density of the undirected graph
    # a ring of 12 neighbours has 3 (k - 2) / 4 (k - 1) of its triangles; rewiring a tenth leaves (1 - .1)^3 of them
    assert clustering["small_world"] == pytest.approx(0.9**3 * 3 * 10 / (4 * 11), rel=0.15)
    assert clustering["spatial"] > 2 * clustering["erdos_renyi"]
    degrees = {name: np.array([d for _, d in g.degree]) for name, g in graphs.items()}
    assert degrees["scale_free"].max() > 1.8 * degrees["erdos_renyi"].max()
    for name in ("small_world", "scale_free"):  # one direction an edge, either as often
        w = simulate.topology_wiring(name, 300, 0.02, 4)[0] != 0
        assert not (w & w.T).any()
        assert stats.binomtest(int(np.triu(w).sum()), int(w.sum())).pvalue > 1e-3


def test_a_measured_connectome_keeps_its_names():
    weights = xr.DataArray(
        [[0, 1.0, 0], [2.0, 0, -1.0], [0, 0.5, 0]], dims=("target", "source"),
        coords={"target": ["AVAL", "AVAR", "DD1"], "source": ["AVAL", "AVAR", "DD1"]},
    )  # fmt: skip
    r = simulate.lif_spikes(connectivity=weights, n_steps=500)
    assert r.neuron.values.tolist() == ["AVAL", "AVAR", "DD1"]
    np.testing.assert_array_equal(r.connectivity, weights)
    assert r.cell_type.values.tolist() == ["excitatory", "excitatory", "inhibitory"]
    assert from_array(r.activity.values, kind="spikes").sizes["neuron"] == 3

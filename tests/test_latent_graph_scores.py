"""Scores of edges and co-input: against SciPy, networkx, formulas, and what must not change them."""

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.metrics import roc_auc_score

from causalkit import from_array, simulate
from causalkit import latent_graph_scores as lgs
from causalkit.shared_input import co_input

OFF = ~np.eye(30, dtype=bool)
ABOVE = np.triu_indices(30, 1)


@pytest.fixture
def wiring():
    return simulate.topology_wiring("hub", 30, 0.15, 2000, (0.5, 1.5))[0]


@pytest.fixture
def guess(wiring, rng):
    return wiring + 0.5 * rng.standard_normal(wiring.shape)


@pytest.mark.parametrize("kind,theirs", [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
@pytest.mark.parametrize("signed", [False, True])
def test_correlations_are_those_of_scipy(wiring, guess, kind, theirs, signed):
    true, estimate = (wiring, guess) if signed else (np.abs(wiring), np.abs(guess))
    assert lgs.edge_r2(wiring, guess, kind=kind, signed=signed) == pytest.approx(
        theirs(true[OFF], estimate[OFF]).statistic ** 2
    )
    estimate = estimate * OFF
    expected = theirs((true @ true.T)[ABOVE], (estimate @ estimate.T)[ABOVE]).statistic ** 2
    assert lgs.co_input_r2(wiring, guess, kind=kind, signed=signed) == pytest.approx(expected)


def test_a_negative_correlation_is_no_success(wiring):
    assert lgs.edge_r2(wiring, -wiring, signed=True) == pytest.approx(-1)
    assert lgs.edge_r2(wiring, -wiring) == pytest.approx(1)
    assert lgs.edge_r2(np.abs(wiring), 9 - np.abs(wiring)) == pytest.approx(-1)


def test_orientation_matters(wiring):
    assert lgs.edge_r2(wiring, wiring) == pytest.approx(1) and lgs.edge_r2(wiring, wiring.T) < 0.2
    # co-input is of targets: two that listen to one source share it
    two = np.zeros((4, 4))
    two[[1, 2], 0] = 1.0
    expected = np.zeros((4, 4))
    expected[1, 2] = expected[2, 1] = 1.0
    assert lgs.co_input_r2(two, shared=expected, kind="pearson") == pytest.approx(1)
    assert lgs.co_input_r2(two.T + two, two.T + two) == pytest.approx(1)


def test_what_changes_no_score(wiring, guess, rng):
    before = lgs.scores(wiring, guess, signed=True)
    order = rng.permutation(30)
    permuted = lgs.scores(wiring[order][:, order], guess[order][:, order], signed=True)
    np.testing.assert_allclose(permuted, before, rtol=1e-8)
    np.testing.assert_allclose(lgs.scores(3 * wiring, 7 * guess, signed=True), before, rtol=1e-8)
    selfish = guess + np.diag(rng.random(30))
    np.testing.assert_allclose(lgs.scores(wiring, selfish, signed=True), before)
    assert before["auroc"] == pytest.approx(roc_auc_score(wiring[OFF] != 0, np.abs(guess[OFF])))


def test_names_are_matched(wiring, guess):
    names = [f"c{k}" for k in range(30)]
    recording = from_array(np.zeros((40, 30)) + np.arange(40)[:, None], neurons=names, connectivity=wiring)
    found = xr.Dataset({"score": (("target", "source"), np.abs(guess))}, coords={"target": names, "source": names})
    np.fill_diagonal(found.score.values, np.nan)
    turned = found.isel(target=slice(None, None, -1), source=np.roll(np.arange(30), 3))
    assert lgs.edge_r2(recording, turned) == pytest.approx(lgs.edge_r2(wiring, guess))
    both = found.assign(weight=(("target", "source"), guess))
    assert lgs.edge_r2(recording, both, signed=True) == pytest.approx(lgs.edge_r2(wiring, guess, signed=True))


# ---- spectra


def test_spectrum_is_that_of_networkx(wiring):
    graph = nx.from_numpy_array((np.abs(wiring) + np.abs(wiring).T) / 2)
    theirs = nx.normalized_laplacian_spectrum(graph)
    ours = lgs._standard_spectrum(wiring)
    np.testing.assert_allclose(np.sort(ours), np.sort((theirs - theirs.mean()) / theirs.std()), atol=1e-8)


def test_divergence_of_graphs_whose_spectra_are_known():
    """A complete graph has 0 and n / (n - 1); a star 0, 1 and 2: the distance is between sorted values."""
    n = 8
    complete, star = nx.to_numpy_array(nx.complete_graph(n)), nx.to_numpy_array(nx.star_graph(n - 1))
    of_complete, of_star = np.array([0] + [n / (n - 1)] * (n - 1)), np.array([0] + [1] * (n - 2) + [2])
    z = [(values - values.mean()) / values.std() for values in (of_complete, of_star)]
    assert lgs.spectral_divergence(complete, star) == pytest.approx(np.abs(np.sort(z[0]) - np.sort(z[1])).mean())
    assert lgs.spectral_divergence(star, 5 * star[::-1, ::-1]) == pytest.approx(0, abs=1e-12)
    isolated = np.zeros((n + 2, n + 2))
    isolated[:n, :n] = star  # isolated neurons have eigenvalue 0, as in networkx
    spectrum = np.sort(nx.normalized_laplacian_spectrum(nx.from_numpy_array(isolated)))
    expected = (spectrum - spectrum.mean()) / spectrum.std()
    np.testing.assert_allclose(np.sort(lgs._standard_spectrum(isolated)), expected, atol=1e-8)


# ---- chance and nulls


def test_rewiring_keeps_degrees_and_signs(wiring):
    other = lgs.rewired(wiring, 5)
    for axis in (0, 1):
        np.testing.assert_array_equal((other != 0).sum(axis=axis), (wiring != 0).sum(axis=axis))
    for source in range(30):  # a source's weights stay its own
        np.testing.assert_array_equal(np.sort(other[:, source]), np.sort(wiring[:, source]))
    assert (np.diag(other) == 0).all() and ((other != 0) & (wiring != 0)).sum() < 0.7 * (wiring != 0).sum()
    np.testing.assert_array_equal(other, lgs.rewired(wiring, 5))
    graph = nx.from_numpy_array(other.T, create_using=nx.DiGraph)
    assert nx.is_graphical([d for _, d in graph.to_undirected().degree])


def test_a_rewired_small_world_has_lost_its_triangles():
    ring = simulate.topology_wiring("small_world", 100, 0.05, 1)[0]
    undirected = [((w != 0) | (w != 0).T).astype(int) for w in (ring, lgs.rewired(ring))]
    triangles = [nx.transitivity(nx.from_numpy_array(w)) for w in undirected]
    assert triangles[0] > 0.4 and triangles[1] < 0.2


def test_chance_is_below_a_good_guess_and_is_not_zero_where_degrees_differ(wiring, guess):
    found, by_chance = lgs.scores(wiring, guess), lgs.chance(wiring, guess, n_rewired=5)
    assert by_chance.shape == (5, len(found)) and list(by_chance.columns) == list(found.index)
    assert found["edge_pearson"] > 2 * by_chance["edge_pearson"].max()
    assert by_chance["edge_pearson"].min() > 0.05  # the hubs are where they were


def test_row_shuffling_keeps_rows(guess):
    shuffled = lgs.row_shuffled(guess, 1)
    np.testing.assert_allclose(
        np.sort(shuffled[OFF].reshape(30, 29), axis=1), np.sort(guess[OFF].reshape(30, 29), axis=1)
    )
    assert np.corrcoef(shuffled[OFF], guess[OFF])[0, 1] < 0.3 and (np.diag(shuffled) == 0).all()


def test_degrees_alone():
    matrix = np.array([[0, 1, 2], [3, 0, 1], [0, -3, 0.0]])
    np.testing.assert_allclose(lgs.degree_only(matrix), np.array([[0, 12, 9], [12, 0, 12], [9, 12, 0]]) / 10)


def test_nulls_of_a_recording(guess):
    r = simulate.lif_spikes(30, n_steps=5000, random_state=2000, topology="hub")
    table = lgs.nulls(r, guess)
    assert table.index.tolist() == ["count_correlation", "rate_product", "true_degrees", "own_degrees", "row_shuffled"]
    truth, counts = np.abs(r.connectivity.values), r.activity.values.astype(float)
    b = (truth @ truth.T)[ABOVE]
    rate = counts.mean(axis=0)
    assert table.loc["rate_product", "co_input_spearman"] == pytest.approx(
        (lambda s: s * abs(s))(stats.spearmanr(b, np.outer(rate, rate)[ABOVE]).statistic)
    )
    assert table.loc["count_correlation", "co_input_pearson"] == pytest.approx(
        (lambda s: s * abs(s))(stats.pearsonr(b, np.abs(np.corrcoef(counts.T))[ABOVE]).statistic)
    )
    wide = counts.reshape(-1, 4, 30).sum(axis=1)
    assert lgs.nulls(r, bin_steps=4).loc["count_correlation", "co_input_pearson"] == pytest.approx(
        (lambda s: s * abs(s))(stats.pearsonr(b, np.abs(np.corrcoef(wide.T))[ABOVE]).statistic)
    )
    silent = r.assign(activity=r.activity.where(r.neuron != "n5", 0.0))
    assert np.isfinite(lgs.nulls(silent).values).all()
    assert table.loc["true_degrees", "co_input_pearson"] == pytest.approx(
        lgs.co_input_r2(r, shared=co_input(lgs.degree_only(truth)), kind="pearson")
    )


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((np.eye(3), np.ones((3, 3))), "same for all pairs"),
        ((np.ones((3, 2)), np.ones((3, 2))), "one row a target"),
        ((np.ones((3, 3)), np.ones((4, 4))), "compared pair by pair"),
        ((np.arange(9.0).reshape(3, 3), np.where(np.eye(3)[::-1] > 0, np.nan, 1)), "not finite"),
        ((xr.Dataset({"x": 1}), np.ones((3, 3))), "no variable|has the variables"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        lgs.edge_r2(*arguments)


def test_more_that_is_refused(wiring):
    with pytest.raises(ValueError, match="kind is 'kendall'"):
        lgs.edge_r2(wiring, wiring, kind="kendall")
    with pytest.raises(ValueError, match="either estimate"):
        lgs.co_input_r2(wiring)
    with pytest.raises(ValueError, match="no edges"):
        lgs.spectral_divergence(np.zeros((3, 3)), np.ones((3, 3)))

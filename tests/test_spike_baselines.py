"""PartialCorrelation and CrossCorrelogram: against scikit-learn, slow counting, formulas and known wiring."""

import numpy as np
import pytest
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LinearRegression

from causalkit import MVGC, CrossCorrelogram, PartialCorrelation, from_array, metrics, preprocess, simulate
from causalkit.methods.cross_correlogram import hollow_gaussian
from causalkit.methods.partial_correlation import add_up

OFF = ~np.eye(12, dtype=bool)


@pytest.fixture(scope="module")
def network():
    return simulate.lif_spikes(12, 0.2, n_steps=120_000, random_state=2010, weight=2.0, wiring={"n_hubs": 1}, bin_ms=2)


# ---- partial correlation


def test_partial_correlation_is_that_of_residuals(rng):
    """Without shrinkage to speak of, it is the correlation of what two regressions on all others leave."""
    x = rng.standard_normal((200_000, 5))
    x[:, 1] += 0.8 * x[:, 0]
    x[:, 2] -= 0.6 * x[:, 1]
    found = PartialCorrelation(bin_steps=1).fit(from_array(x, kind="other"))
    rest = x[:, 2:]
    left = [x[:, k] - LinearRegression().fit(rest, x[:, k]).predict(rest) for k in (0, 1)]
    assert found.diagnostics_.shrinkage < 1e-3
    assert found.connectivity_.weight.values[1, 0] == pytest.approx(np.corrcoef(*left)[0, 1], abs=2e-3)
    assert found.connectivity_.score.values[2, 0] < 0.01 < abs(found.diagnostics_.correlation.values[2, 0])
    assert found.connectivity_.sign.values[2, 1] == -1


def test_shrinkage_is_that_of_scikit_learn(network):
    found = PartialCorrelation(bin_steps=10).fit(network)
    counts = network.activity.values.astype(float).reshape(-1, 10, 12).sum(axis=1)
    z = (counts - counts.mean(axis=0)) / counts.std(axis=0)
    theirs = LedoitWolf(assume_centered=True).fit(z)
    precision = theirs.precision_
    expected = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    assert float(found.diagnostics_.shrinkage) == pytest.approx(theirs.shrinkage_)
    np.testing.assert_allclose(found.connectivity_.weight.values[OFF], expected[OFF], rtol=1e-6, atol=1e-9)


def test_bins_do_not_cross_trials():
    x = np.arange(22.0).reshape(11, 2)
    both = add_up(from_array(x, kind="other", trial=[0] * 5 + [1] * 6), 2)
    np.testing.assert_array_equal(both, [x[0] + x[1], x[2] + x[3], x[5] + x[6], x[7] + x[8], x[9] + x[10]])


def test_two_causes_of_one_neuron_correlate_once_it_is_held_fixed(rng):
    x = rng.standard_normal((20_000, 3))
    x[:, 2] += x[:, 0] + x[:, 1]
    weight = PartialCorrelation(bin_steps=1).fit(from_array(x, kind="other")).connectivity_.weight.values
    assert weight[0, 1] == pytest.approx(-0.5, abs=0.02)  # the inverse covariance of this graph gives -1 / 2


def test_the_decay_of_calcium_is_taken_out_once(rng):
    seen = from_array(np.cumsum(rng.standard_normal((300, 3)), axis=0), kind="calcium", dt_ms=33)
    by_default = PartialCorrelation(bin_steps=1).fit(seen).connectivity_.score
    before = PartialCorrelation(bin_steps=1).fit(preprocess.without_decay(seen, 1000)).connectivity_.score
    np.testing.assert_array_equal(by_default, before)
    left_in = PartialCorrelation(bin_steps=1).fit(seen.assign_attrs(kind="other")).connectivity_.score
    asked = PartialCorrelation(bin_steps=1, decay_ms=1000).fit(seen.assign_attrs(kind="other")).connectivity_.score
    np.testing.assert_array_equal(by_default, asked)
    assert float(abs(by_default - left_in).max()) > 0.05


def test_the_wiring_of_a_sparse_network_is_seen_in_its_calcium():
    """Undirected, where the linear forecast of the next frame ranks by chance."""
    found = {"lagged": [], "within": []}
    for seed in (2905, 2906):
        seen = simulate.observe_calcium(simulate.izhikevich(10, 0.2, n_steps=60_000, random_state=seed))
        truth = seen["connectivity"].values != 0
        for name, method in (("lagged", MVGC(order=1)), ("within", PartialCorrelation(bin_steps=1))):
            score = method.fit(seen).connectivity_.score
            found[name].append(metrics.auroc(truth | truth.T, np.maximum(score, score.T)))
    assert np.mean(found["within"]) > 0.85 > np.mean(found["lagged"]) + 0.1


@pytest.mark.parametrize("decay_ms", [0, -1.0, np.nan, "slow"])
def test_a_decay_that_is_no_time_is_refused(decay_ms):
    with pytest.raises(ValueError, match="decay_ms"):
        PartialCorrelation(decay_ms=decay_ms).fit(from_array(np.eye(20)[:, :3], kind="calcium"))


# ---- cross-correlograms


def test_counts_against_a_slow_account(rng):
    x = rng.poisson(0.3, (160, 3)).astype(float)
    trial = [0] * 70 + [1] * 90
    found = CrossCorrelogram(max_lag=4, smoothing=2).fit(from_array(x, kind="spikes", trial=trial))
    kernel = hollow_gaussian(2)

    def slow(target, source, shift):
        pairs = ((t, t - shift) for t in range(160) if 0 <= t - shift < 160 and trial[t] == trial[t - shift])
        return sum(x[a, target] * x[b, source] for a, b in pairs)

    for target, source in ((0, 1), (1, 0), (2, 1)):
        whole = {shift: slow(target, source, shift) for shift in range(-5, 11)}
        for lag in range(1, 5):
            smooth = sum(w * whole[lag + k] for k, w in zip(range(-6, 7), kernel, strict=True))
            at = {"target": target, "source": source}
            assert float(found.diagnostics_.correlogram.isel(at).sel(shift=lag)) == whole[lag]
            assert float(found.diagnostics_.smooth.isel(at).sel(shift=lag)) == pytest.approx(smooth)
            expected = abs(whole[lag] - smooth) / np.sqrt(max(smooth, 1))
            assert float(found.connectivity_.lag_score.isel(at).sel(lag=lag)) == pytest.approx(expected)


def test_kernel_is_hollow_and_sums_to_one():
    kernel = hollow_gaussian(3.0)
    full = stats.norm.pdf(np.arange(-9, 10), scale=3.0)
    outer = np.arange(19) != 9
    np.testing.assert_allclose(kernel[outer] / kernel[0], full[outer] / full[0])
    assert kernel[9] / kernel[8] == pytest.approx(0.4 * full[9] / full[8]) and kernel.sum() == pytest.approx(1)


def test_slow_changes_of_rate_are_no_peaks(rng):
    """Two neurons whose rates wax and wane together over 500 bins: correlated, and without a fast peak."""
    rate = 0.1 * (1 + 0.9 * np.sin(2 * np.pi * np.arange(60_000) / 500))
    x = (rng.random((60_000, 4)) < rate[:, None]).astype(float)
    found = CrossCorrelogram(max_lag=6).fit(from_array(x, kind="spikes"))
    off = ~np.eye(4, dtype=bool)
    assert np.corrcoef(x[:-3, 0], x[3:, 1])[0, 1] > 0.03
    assert np.nanmax(found.connectivity_.score.values[off]) < 4  # 72 normal deviates
    z = found.connectivity_.lag_score.values[off].ravel()
    assert (z**2).mean() == pytest.approx(1, abs=0.5)


def test_weight_is_what_a_spike_adds(rng):
    x = (rng.random((200_000, 2)) < 0.02).astype(float)
    x[4:, 1] += (rng.random(199_996) < 0.25) * x[:-4, 0]
    c = CrossCorrelogram(max_lag=8).fit(from_array(x, kind="spikes")).connectivity_
    assert float(c.weight[1, 0]) == pytest.approx(0.25, abs=0.03)
    assert int(c.lag_score[1, 0].values.argmax()) + 1 == 4 and c.score[0, 1] < 5


def test_both_on_a_network(network):
    truth = network.connectivity.values
    found = CrossCorrelogram(max_lag=8).fit(network).connectivity_
    assert metrics.auroc(network, found) > 0.85 > 0.6 > metrics.auroc(truth.T, found.score.values) - 0.15
    strong = (truth != 0) & (found.score.values > 6)
    assert strong.sum() > 10 and (np.sign(truth) == found.sign.values)[strong].mean() > 0.9
    undirected = PartialCorrelation(bin_steps=10).fit(network).connectivity_.score.values
    assert metrics.auroc(truth + truth.T, undirected) > 0.7
    np.testing.assert_array_equal(undirected[OFF], undirected.T[OFF])


@pytest.mark.parametrize(
    "method,message",
    [
        (PartialCorrelation(bin_steps=0), "bin_steps"),
        (PartialCorrelation(bin_steps=3000), "at least 12000"),
        (CrossCorrelogram(max_lag=0), "max_lag"),
        (CrossCorrelogram(smoothing=-1.0), "smoothing"),
        (CrossCorrelogram(smoothing=2000.0), "at least"),
    ],
)
def test_what_is_refused(method, message, rng):
    with pytest.raises(ValueError, match=message):
        method.fit(from_array((rng.random((900, 3)) < 0.1).astype(float), kind="spikes"))


def test_trials_that_are_too_short(rng):
    x = from_array((rng.random((900, 3)) < 0.2).astype(float), kind="spikes", trial=np.repeat(np.arange(90), 10))
    with pytest.raises(ValueError, match="no trial has 44 bins"):
        CrossCorrelogram().fit(x)
    with pytest.raises(ValueError, match="hold 0 full bins"):
        PartialCorrelation(bin_steps=11).fit(x)

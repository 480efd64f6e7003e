"""SpikeGLM and SpikeIndexGranger: against an independent package, against known couplings, and where nothing is."""

import numpy as np
import pytest
import torch
from scipy import stats

from causalkit import SpikeGLM, SpikeIndexGranger, from_array, metrics
from causalkit.methods import point_process
from causalkit.methods.point_process import Bernoulli, Poisson
from causalkit.methods.spike_glm import raised_cosines
from causalkit.methods.spike_history import AVERAGES, KNOTS, LONGEST, N_OWN, spike_history
from causalkit.methods.spike_response import SpikeResponse, evaluate, train_spike_response

FAST = {"max_lag": 6, "n_folds": 2, "n_steps": 200}
COURSE = np.array([0.0, 0.5, 1.0, 0.5])  # effect of a spike at lags 1 to 4
WIRING = np.array([[0, 0, 0, 0], [1.8, 0, 0, 0], [0, -2.2, 0, 0], [1.8, 0, 0, 0]])  # target, source


def trains(wiring, n_times, seed, rate=0.08):
    """Bernoulli spikes whose logit is raised by each source's last spikes, weighted by `COURSE`."""
    rng = np.random.default_rng(seed)
    n = len(wiring)
    drawn, spikes = rng.random((n_times, n)), np.zeros((n_times, n))
    base = np.log(rate / (1 - rate))
    for t in range(n_times):
        recent = sum((c * spikes[t - lag] for lag, c in enumerate(COURSE, start=1) if t >= lag), np.zeros(n))
        spikes[t] = drawn[t] < 1 / (1 + np.exp(-(base + wiring @ recent)))
    return from_array(spikes, dt_ms=1, kind="spikes", connectivity=wiring)


@pytest.fixture(scope="module")
def wired():
    return trains(WIRING, 6000, 0)


@pytest.fixture(scope="module", params=["index", "glm"])
def fitted(request, wired):
    return (SpikeIndexGranger(**FAST) if request.param == "index" else SpikeGLM(max_lag=6, n_basis=6)).fit(wired)


# ---- the regression behind both


@pytest.mark.parametrize("family", [Bernoulli, Poisson])
def test_regression_is_that_of_statsmodels(family, rng):
    statsmodels = pytest.importorskip("statsmodels.api")
    x = np.column_stack([np.ones(500), rng.standard_normal((500, 3))])
    mean = family.mean(x @ [-1, 0.5, -0.8, 0])
    y = (rng.binomial(1, mean) if family is Bernoulli else rng.poisson(mean)).astype(float)
    theirs = statsmodels.GLM(
        y, x, family=statsmodels.families.Binomial() if family is Bernoulli else statsmodels.families.Poisson()
    ).fit(tol=1e-12)
    ours = point_process.fit(x, y, family, np.full(4, 1e-9))
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours.covariance, theirs.cov_params(), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(ours.mean, theirs.fittedvalues, rtol=1e-5)


def test_perfect_separation_stays_finite():
    x = np.column_stack([np.ones(60), np.repeat([0.0, 1.0], 30)])
    found = point_process.fit(x, x[:, 1], Bernoulli, np.full(2, 0.1))
    assert np.isfinite(found.coefficients).all() and found.coefficients[1] > 3
    score = x.T @ (x[:, 1] - found.mean) - 0.1 * found.coefficients  # the penalized likelihood is flat there
    np.testing.assert_allclose(score, 0, atol=1e-3)


def test_raised_cosines_sum_to_one_and_cover_all_lags():
    for n_lags, n_basis in [(12, 3), (60, 8), (4, 4), (5, 1)]:
        basis = raised_cosines(n_lags, n_basis)
        assert basis.shape == (n_lags, n_basis) and (basis.max(axis=0) > 0.5).all()
        np.testing.assert_allclose(basis.sum(axis=1), 1)


# ---- own history


def test_history_against_a_slow_account(rng):
    counts = (rng.random((300, 2)) < 0.1).astype(float)
    own = spike_history(counts, [slice(0, 120), slice(120, 300)])
    assert own.shape == (300, 2, N_OWN)
    logs = np.log(KNOTS)
    for t in (0, 1, 60, 119, 120, 121, 200, 299):
        first = 0 if t < 120 else 120
        for neuron in range(2):
            spikes = [u for u in range(first, t) if counts[u, neuron]]
            since = min(t - spikes[-1], LONGEST) if spikes else LONGEST
            intervals = [spikes[-k] - spikes[-k - 1] if len(spikes) > k else LONGEST for k in (1, 2)]
            bumps = np.exp(-0.5 * ((np.log(since) - logs) / np.diff(logs).mean()) ** 2)
            np.testing.assert_allclose(own[t, neuron, : len(KNOTS)], bumps)
            np.testing.assert_allclose(
                own[t, neuron, len(KNOTS) : len(KNOTS) + 2],
                np.log(np.minimum(intervals, LONGEST)) - np.log(LONGEST) / 2,
            )
            assert own[t, neuron, len(KNOTS) + 2] == (counts[t - 1, neuron] if t > first else 0)
    assert (own[[0, 120], :, -len(AVERAGES) :] == 0).all()  # nothing is known at the start of a trial


def test_history_knows_nothing_of_the_present(rng):
    counts = (rng.random((80, 3)) < 0.2).astype(float)
    own = spike_history(counts, [slice(0, 80)])
    changed = counts.copy()
    changed[50:] = 1 - changed[50:]
    averages = slice(0, N_OWN - len(AVERAGES))  # these are scaled by their spread over the recording
    np.testing.assert_array_equal(spike_history(changed, [slice(0, 80)])[:51, :, averages], own[:51, :, averages])


# ---- the response


def response(seeds=(1, 2)):
    model = SpikeResponse(2, 3, 4).start(seeds, -2.0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    return model


def test_gains_are_derivatives(rng):
    counts = torch.as_tensor((rng.random((40, 3)) < 0.3).astype(np.float32))
    own = torch.as_tensor(rng.standard_normal((40, 3, N_OWN)).astype(np.float32))
    model, rows, lags = response().double(), np.arange(5, 40), torch.arange(1, 5)
    counts, own = counts.double(), own.double()
    eta, gain, alone = evaluate(model, 1, counts, own, rows, 4)
    index = model.index(counts[torch.as_tensor(rows)[:, None] - lags].expand(2, -1, -1, -1)).detach()
    mine = own[torch.as_tensor(rows)].expand(2, -1, -1, -1)
    for lag in range(4):
        step = torch.zeros_like(index)
        step[..., lag] = 1e-5
        difference = (model(mine, index + step) - model(mine, index - step))[1].detach().numpy() / 2e-5
        np.testing.assert_allclose(gain[..., lag], difference, rtol=1e-5, atol=1e-8)
    assert not np.allclose(eta, alone)


def test_folds_do_not_know_of_each_other(rng):
    counts = torch.as_tensor((rng.random((300, 3)) < 0.2).astype(np.float32))
    own = torch.as_tensor(spike_history(counts.numpy(), [slice(0, 300)]).astype(np.float32))
    weights = []
    for second in (np.arange(150, 290), np.arange(152, 292)):
        model = SpikeResponse(2, 3, 4).start([1, 2], -2.0)
        train_spike_response(model, counts, own, [np.arange(5, 145), second], 4, Bernoulli, 60, 5e-3, [3, 4])
        weights.append([p.detach().clone() for p in model.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one[0], other[0], rtol=1e-5, atol=1e-7)
    assert any(not torch.allclose(one[1], other[1]) for one, other in zip(*weights, strict=True))


def test_a_neuron_is_no_source_of_itself():
    model = response()
    recent = torch.zeros(2, 1, 4, 3)
    recent[..., 1] = 1  # only the second neuron has fired
    index = model.index(recent)
    assert (index[:, :, 1] == 0).all() and (index[:, :, [0, 2]] != 0).all()


# ---- both methods on known wiring


def test_edges_signs_and_lags(fitted, wired):
    c, edge = fitted.connectivity_, WIRING != 0
    assert metrics.auroc(wired, c) == 1
    np.testing.assert_array_equal(c.sign.values[edge], np.sign(WIRING[edge]))
    assert (c.adjusted_p_value.values[edge] < 1e-4).all()
    assert (c.p_value.values[~edge & ~np.eye(4, dtype=bool)] > 1e-3).all()
    assert (c.lag_score.values[edge].argmax(axis=-1) + 1 == 3).all()  # where the course has its peak


def test_glm_finds_the_filters(wired):
    c = SpikeGLM(max_lag=6, n_basis=6).fit(wired).connectivity_
    course = np.concatenate([COURSE, [0, 0]])
    found = c.coupling.sel(target="n1", source="n0").values
    deviation = np.abs(found) / np.sqrt(c.lag_score.sel(target="n1", source="n0").values)
    assert (np.abs(found - 1.8 * course) < 4 * deviation).all()


def test_index_learns_the_common_course(wired):
    method = SpikeIndexGranger(**FAST).fit(wired)
    gain = method.diagnostics_.mean_gain.values
    assert np.corrcoef(gain, np.concatenate([COURSE, [0, 0]]))[0, 1] > 0.9
    assert method.diagnostics_.attrs["family"] == "bernoulli"
    assert method.diagnostics_.gain.sel(neuron="n0") < 0.1 < method.diagnostics_.gain.sel(neuron="n1")


@pytest.mark.parametrize("method", [SpikeIndexGranger(**FAST), SpikeGLM(max_lag=6)], ids=["index", "glm"])
def test_nothing_is_found_where_nothing_is(method):
    """Share of p-values below the level, the network as the unit: the mean lies within 99.9 % of what chance allows."""
    shares = []
    for seed in range(16):
        p = method.fit(trains(np.zeros((4, 4)), 1500, 100 + seed)).connectivity_.p_value.values
        shares.append((p[~np.eye(4, dtype=bool)] < 0.05).mean())
    low, high = stats.ttest_1samp(shares, 0.05).confidence_interval(0.999)
    assert low < 0.05 and np.mean(shares) < 0.1, (low, high)


def test_counts_are_poisson(rng):
    counts = rng.poisson(0.5, (1200, 3)).astype(float)
    counts[2:, 1] += rng.poisson(0.6 * counts[:-2, 0])
    recording = from_array(counts, dt_ms=5, kind="spikes")
    for method in (SpikeIndexGranger(max_lag=3, n_folds=2, n_steps=150), SpikeGLM(max_lag=3, history=10)):
        c = method.fit(recording).connectivity_
        assert method.diagnostics_.attrs["family"] == "poisson"
        assert c.p_value.sel(target="n1", source="n0") < 1e-8 < c.p_value.sel(target="n0", source="n1")
        assert c.lag_score.sel(target="n1", source="n0").argmax("lag") == 1


# ---- what is refused


@pytest.mark.parametrize("method", [SpikeIndexGranger, SpikeGLM])
def test_bad_activity(method, rng):
    fine = (rng.random((900, 3)) < 0.1).astype(float)
    with pytest.raises(ValueError, match=r"n1.*is no count"):
        method().fit(from_array(fine + [0, 0.5, 0], kind="spikes"))
    silent = fine.copy()
    silent[20:, 2] = 0
    silent[0, 2] = 1
    with pytest.raises(ValueError, match=r"\['n2'\] have fewer than 10 spikes"):
        method().fit(from_array(silent, kind="spikes"))


def test_too_short_for_many_neurons(rng):
    with pytest.raises(ValueError, match=r"SpikeGLM fits \d+ numbers to each neuron"):
        SpikeGLM().fit(from_array((rng.random((200, 60)) < 0.3).astype(float), kind="spikes"))
    trials = np.repeat(np.arange(60), 11)
    with pytest.raises(ValueError, match=r"leave \d+ bins to learn from"):
        SpikeIndexGranger(max_lag=10).fit(from_array((rng.random((660, 3)) < 0.3) * 1.0, kind="spikes", trial=trials))


@pytest.mark.parametrize(
    "parameters", [{"max_lag": 0}, {"n_folds": 1}, {"n_steps": True}, {"learning_rate": 2}, {"random_state": -1}]
)
def test_bad_parameters_of_the_index(parameters, wired):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        SpikeIndexGranger(**parameters).fit(wired)


@pytest.mark.parametrize("parameters", [{"max_lag": 2.5}, {"n_basis": 13}, {"history": 4}, {"n_history_basis": 0}])
def test_bad_parameters_of_the_glm(parameters, wired):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        SpikeGLM(**parameters).fit(wired)

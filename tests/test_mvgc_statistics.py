"""MVGC's numbers against statsmodels, brute-force regressions, closed forms and uniform p-values."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats
from statsmodels.stats.stattools import durbin_watson
from var_worlds import design, random_vars, simulate, three_trials

from causalkit import significance
from causalkit.methods.mvgc import MVGC
from causalkit.methods.statespace import granger_causality_of_var
from causalkit.recording import from_array


@pytest.fixture(scope="module")
def recording():
    return three_trials()


def design_by_trial(recording, order):
    """The regression by hand with an intercept for each trial: dummies of all trials but the first come last."""
    y, x = design(recording, order)
    trial = recording.trial.values if "trial" in recording else np.zeros(recording.sizes["time"])
    names, lengths = np.unique(trial, return_counts=True)
    return y, np.hstack([x, np.repeat(np.eye(len(names))[:, 1:], lengths - order, axis=0)])


def drifting(recording):
    """The recording with trial means some standard deviations apart."""
    if "trial" not in recording:
        return recording
    means = np.random.default_rng(9).normal(0, 10, (3, recording.sizes["neuron"]))
    return recording.assign(activity=recording.activity + means[recording.trial.values].astype("float32"))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("several_trials", [False, True])
def test_f_and_p_equal_those_of_nested_statsmodels_regressions(recording, order, several_trials):
    recording = drifting(recording if several_trials else recording.drop_vars("trial"))
    c = MVGC(order=order).fit(recording).connectivity_
    y, x = design_by_trial(recording, order)
    for i in range(4):
        full = sm.OLS(y[:, i], x).fit()
        for j in range(4):
            gone = 1 + j + 4 * np.arange(order)
            reduced = sm.OLS(y[:, i], np.delete(x, gone, axis=1)).fit()
            ratio = np.log(reduced.ssr / full.ssr)
            if i == j:
                np.testing.assert_allclose(c.self_score[i], ratio, rtol=1e-8)
                continue
            f, p, df = full.compare_f_test(reduced)
            assert df == order
            np.testing.assert_allclose(c.f_statistic[i, j], f, rtol=1e-8)
            np.testing.assert_allclose(c.p_value[i, j], p, rtol=1e-8, atol=1e-300)
            np.testing.assert_allclose(c.score[i, j], ratio, rtol=1e-8, atol=1e-12)
            assert c.sign[i, j] == np.sign(full.params[gone].sum())
            one_lag = [np.log(sm.OLS(y[:, i], np.delete(x, g, axis=1)).fit().ssr / full.ssr) for g in gone]
            np.testing.assert_allclose(c.lag_score[i, j], one_lag, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("several_trials", [False, True])
def test_diagnostics_equal_those_of_the_explicit_regression(recording, several_trials):
    recording = drifting(recording if several_trials else recording.drop_vars("trial"))
    d = MVGC(order=2).fit(recording).diagnostics_
    y, x = design_by_trial(recording, 2)
    n_trials = 3 if several_trials else 1
    fit = sm.OLS(y, x).fit()
    residuals = y - x @ fit.params
    about_means = np.hstack([x[:, :1], x[:, 9:]])
    centered = y - about_means @ np.linalg.lstsq(about_means, y, rcond=None)[0]
    total = (centered**2).sum(axis=0)
    np.testing.assert_allclose(d.r2, 1 - (residuals**2).sum(axis=0) / total, rtol=1e-9)
    a = fit.params[1:9].reshape(2, 4, 4).transpose(2, 1, 0)  # (target, source, lag)
    np.testing.assert_allclose(d.coefficients, a, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(d.noise_covariance, residuals.T @ residuals / (len(y) - 8 - n_trials), rtol=1e-6)
    assert (int(d.n_rows), int(d.residual_df)) == (len(y), len(y) - 8 - n_trials)

    scale = recording.activity.values.std(axis=0, dtype=float)
    real, model = np.cov(centered.T / scale[:, None]), np.cov((centered - residuals).T / scale[:, None])
    expected = 1 - np.linalg.norm(real - model, 2) / np.linalg.norm(real, 2)
    np.testing.assert_allclose(d.consistency, expected, rtol=1e-6)
    if not several_trials:
        np.testing.assert_allclose(d.durbin_watson, durbin_watson(residuals), rtol=1e-9)
    else:
        inner = np.split(residuals, [248, 276])
        steps = sum((np.diff(part, axis=0) ** 2).sum(axis=0) for part in inner)
        np.testing.assert_allclose(d.durbin_watson, steps / (residuals**2).sum(axis=0), rtol=1e-9)


def test_criteria_of_every_order_equal_their_formulas(recording):
    d = MVGC(order="bic", max_order=5).fit(recording).diagnostics_
    scale = recording.activity.values.std(axis=0, dtype=float)
    for order in range(1, 6):
        y, x = design_by_trial(recording, order)
        residuals = (y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) / scale
        deviance = len(y) * np.linalg.slogdet(residuals.T @ residuals / len(y))[1]
        k, m = order * 16, 600
        row = d.sel(candidate_order=order)
        np.testing.assert_allclose(row.aic, deviance + 2 * k, rtol=1e-7)
        np.testing.assert_allclose(row.aicc, deviance + 2 * k * m / (m - k - 1), rtol=1e-7)
        np.testing.assert_allclose(row.bic, deviance + k * np.log(m), rtol=1e-7)
    assert int(d.order) == 1 + int(d.bic.values.argmin()) == 2
    assert not d.at_max_order


def test_aicc_skips_orders_with_too_many_coefficients():
    x = np.random.default_rng(0).standard_normal((300, 10))
    d = MVGC(order="aicc", max_order=4).fit(x).diagnostics_
    # k = 100 p against m - 1 = 299
    assert np.isfinite(d.aicc[:2]).all() and np.isnan(d.aicc[2:]).all() and np.isfinite(d.aic).all()
    with pytest.raises(
        ValueError, match="AICc is undefined.*100 coefficients for 60 time steps.*order='bic'"
    ):
        MVGC(order="aicc", max_order=3).fit(x[:60])


@pytest.mark.filterwarnings("ignore:the fitted VAR is")
def test_orders_without_enough_rows_are_left_out():
    x = np.random.default_rng(0).standard_normal((50, 10))
    with pytest.warns(UserWarning, match="aic chose order 3, the largest.*50 time steps.*too few.*record longer"):
        d = MVGC(order="aic", max_order=8).fit(x).diagnostics_
    # order 3 needs 3 + 40 + 1 steps, order 4 needs 4 + 50 + 1
    assert np.isfinite(d.aic[:3]).all() and np.isnan(d.aic[3:]).all()
    assert int(d.order) == 3 and d.at_max_order


@pytest.mark.parametrize("order, at_max_order", [("aicc", True), (1, False)])
def test_at_max_order_without_a_shortage_of_data_is_no_warning(order, at_max_order):
    x = np.random.default_rng(0).standard_normal((400, 3))
    for t in range(3, 400):
        x[t] += 0.5 * x[t - 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d = MVGC(order=order, max_order=3).fit(x).diagnostics_
    assert bool(d.at_max_order) is at_max_order


@pytest.mark.filterwarnings("ignore:the fitted VAR is")
def test_every_trial_needs_a_step_for_its_intercept():
    x = np.random.default_rng(0).standard_normal((40, 3))
    trial = np.repeat(np.arange(8), 5)
    # order 1 needs 8 + 3 + 8 + 3 steps, order 2 needs 16 + 6 + 8 + 3, order 3 needs 24 + 9 + 8 + 3
    with pytest.warns(UserWarning, match="aic chose order 2"):
        d = MVGC(order="aic", max_order=4).fit(from_array(x, trial=trial)).diagnostics_
    assert np.isfinite(d.aic[:2]).all() and np.isnan(d.aic[2:]).all()
    assert int(d.residual_df) == 40 - 16 - 6 - 8


@pytest.mark.parametrize("b, c", [(0.3, 0.4), (-0.8, 1.0), (0.95, 3.0), (0.5, 0.0)])
def test_state_space_gives_the_closed_form_of_a_bivariate_var(b, c):
    # x(t) = .5 x(t-1) + c y(t-1) + e, y(t) = b y(t-1) + f: without y, x is an ARMA(2, 1)
    causality = granger_causality_of_var([[0.5, c], [0.0, b]], np.eye(2))
    total = 1 + b**2 + c**2
    expected = np.log((total + np.sqrt(total**2 - 4 * b**2)) / 2)
    np.testing.assert_allclose(causality[0, 1], expected, atol=1e-12)
    np.testing.assert_allclose(causality[1, 0], 0, atol=1e-12)
    assert np.isnan(np.diag(causality)).all()


@pytest.mark.parametrize("seed, order", [(0, 1), (1, 2), (2, 3)])
def test_state_space_equals_projection_on_a_long_past(seed, order):
    (a,), (v,) = random_vars(1, 4, order, np.random.default_rng(seed), density=0.6)
    n_lags, n = 150, 4
    companion = np.eye(order * n, k=-n)
    companion[:n] = np.hstack(a)
    noise = np.zeros_like(companion)
    noise[:n, :n] = v
    stationary = noise
    for _ in range(12):  # doubling: sums companion^k noise companion'^k over 2^12 terms
        stationary, companion = stationary + companion @ stationary @ companion.T, companion @ companion
    companion = np.eye(order * n, k=-n)
    companion[:n] = np.hstack(a)
    autocovariance, power = [], np.eye(order * n)
    for _ in range(n_lags + 1):
        autocovariance.append((power @ stationary)[:n, :n])
        power = companion @ power
    expected = np.full((n, n), np.nan)
    for source in range(n):
        rest = [i for i in range(n) if i != source]
        g = [matrix[np.ix_(rest, rest)] for matrix in autocovariance]
        past = np.block([[g[s - r] if s >= r else g[r - s].T for s in range(n_lags)] for r in range(n_lags)])
        cross = np.hstack(g[1:])
        error = g[0] - cross @ np.linalg.solve(past, cross.T)
        expected[rest, source] = np.log(np.diag(error) / np.diag(v)[rest])
    np.testing.assert_allclose(granger_causality_of_var(a, v), expected, atol=1e-9)


def test_both_estimators_approach_the_analytic_value():
    rng = np.random.default_rng(5)
    a, v = random_vars(1, 4, 2, rng, density=0.5)
    analytic = granger_causality_of_var(a[0], v[0])
    x = simulate(a, v, 100_000, rng)[0]
    # a standard error of F is about 2 sqrt(F / M) < .004; at order 2 the reduced regression is too short
    for estimator, order in (("state_space", 2), ("regression", 20)):
        score = MVGC(order=order, estimator=estimator).fit(x).connectivity_.score
        np.testing.assert_allclose(score, analytic, atol=8e-3, err_msg=estimator)
    short = MVGC(order=2).fit(x).connectivity_.score.values
    assert np.nanmax(short - analytic) > 0.02


def test_state_space_keeps_the_regression_p_values(recording):
    one, other = (
        MVGC(order=2, estimator=e).fit(recording).connectivity_ for e in ("regression", "state_space")
    )
    xr.testing.assert_equal(one.p_value, other.p_value)
    xr.testing.assert_equal(one.self_score, other.self_score)
    assert (one.score != other.score).any()


def test_state_space_does_not_depend_on_units():
    (a,), (v,) = random_vars(1, 4, 2, np.random.default_rng(3))
    unit = np.array([1e-5, 1.0, 1e5, 30.0])
    scaled = granger_causality_of_var(a * unit[:, None] / unit, v * np.outer(unit, unit))
    np.testing.assert_allclose(scaled, granger_causality_of_var(a, v), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "a, v, message",
    [
        (np.eye(2), np.eye(2), r"unstable \(spectral radius 1.0000, must be below 1\).*no stationary"),
        (np.zeros((2, 3)), np.eye(2), r"shape \(1, 2, 3\) and noise_covariance \(2, 2\).*lags first"),
        (np.zeros((2, 2)), -np.eye(2), "not symmetric and positive definite.*covariance matrix of the innov"),
        (np.full((2, 2), np.nan), np.eye(2), "NaN or infinite"),
    ],
)
def test_impossible_vars_are_refused(a, v, message):
    with pytest.raises(ValueError, match=message):
        granger_causality_of_var(a, v)


@pytest.mark.parametrize("n_trials", [1, 4])
def test_p_values_of_non_edges_are_uniform(n_trials):
    """One non-edge a network, networks independent: exact bounds of KS and of binomial rejection counts."""
    rng = np.random.default_rng(7 + n_trials)
    n_networks, n_times = 400, 1200
    a, v = random_vars(n_networks, 5, 2, rng)
    x = simulate(a, v, n_times, rng)
    trial = np.repeat(np.arange(n_trials), n_times // n_trials)
    null, true = [], []
    for k in range(n_networks):
        c = MVGC(order=2).fit(from_array(x[k], trial=trial)).connectivity_
        edge = (a[k] != 0).any(axis=0)
        null.append(rng.choice(c.p_value.values[~edge]))
        true.append(np.median(c.p_value.values[edge & ~np.eye(5, dtype=bool)]) if edge.sum() > 5 else 0)
    assert stats.ks_1samp(null, stats.uniform.cdf).statistic < stats.kstwo.isf(0.01, n_networks)
    for level in (0.01, 0.05, 0.5):
        low, high = stats.binom(n_networks, level).interval(0.99)
        assert low <= np.sum(np.array(null) <= level) <= high
    assert np.median(true) < 1e-3


def test_p_values_are_uniform_where_trial_means_differ():
    """Independent white noise, means .7 apart: one pair a recording, recordings independent, exact bounds."""
    rng = np.random.default_rng(11)
    n_recordings, n_trials, n_times = 400, 10, 200
    null, off_diagonal = [], ~np.eye(4, dtype=bool)
    for _ in range(n_recordings):
        x = rng.standard_normal((n_trials, n_times, 4)) + 0.7 * rng.standard_normal((n_trials, 1, 4))
        trials = from_array(x.reshape(-1, 4), trial=np.repeat(np.arange(n_trials), n_times))
        null.append(rng.choice(MVGC(order=2).fit(trials).connectivity_.p_value.values[off_diagonal]))
    assert stats.ks_1samp(null, stats.uniform.cdf).statistic < stats.kstwo.isf(0.01, n_recordings)
    for level in (0.01, 0.05, 0.5):
        low, high = stats.binom(n_recordings, level).interval(0.99)
        assert low <= np.sum(np.array(null) <= level) <= high


@pytest.mark.parametrize("correction", ["bh", "by", "holm", "bonferroni", "none"])
def test_correction_is_kept_beside_the_raw_p_values(recording, correction):
    c = MVGC(order=2, correction=correction, alpha=0.01).fit(recording).connectivity_
    expected = significance.fdr(c.p_value.values, method=correction)
    np.testing.assert_array_equal(c.adjusted_p_value, expected)
    np.testing.assert_array_equal(c.significant, expected <= 0.01)
    assert np.isnan(np.diag(c.adjusted_p_value)).all() and not np.diag(c.significant).any()

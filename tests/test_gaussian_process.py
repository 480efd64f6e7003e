"""GaussianProcessGranger against scikit-learn's evidence, exact distributions, differences, and known wirings."""

from pathlib import Path

import gaussian_process
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from causalkit import MVGC, GaussianProcessGranger, from_array, metrics, simulate
from causalkit.methods.gaussian_process import (
    JITTER,
    Process,
    component_p_value,
    quadratic_form_sf,
    thinned,
)
from causalkit.reporting.page import CAUTIONS


@pytest.fixture
def process(rng):
    past = rng.standard_normal((60, 3, 2))
    y = past[:, 0, 0] * past[:, 1, 1] + 0.5 * past[:, 2, 0] + 0.3 * rng.standard_normal(60)
    return Process(past, y)


VALUES = np.array([0.3, 0.7, 0.05]), np.array([0.4, 0.02, 0.9]), 1.3, 0.2


def test_evidence_is_that_of_scikit_learn(process):
    """scikit-learn has one scale for its dot product: equal linear relevances."""
    w, (_, r, s, v) = 0.3, VALUES
    kernel = (
        ConstantKernel(w) * DotProduct(sigma_0=np.sqrt(1 / w))
        + ConstantKernel(s) * RBF(1 / np.sqrt(np.repeat(r, 2))) + WhiteKernel(v)
    )  # fmt: skip
    theirs = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(process.columns, process.y)
    _, _, cost = process.solve(process.covariance(np.full(3, w), r, s, v)[0])
    ours = -cost - 0.5 * len(process.y) * np.log(2 * np.pi)
    assert ours == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-9)


def test_gradient_of_the_evidence_is_its_difference_quotient(process):
    w, r, s, v = VALUES
    at = np.r_[w, r, s, v]
    _, gradient = process.cost(at)
    quotient = approx_fprime(at, lambda value: process.cost(value)[0], 1e-7)
    np.testing.assert_allclose(gradient, quotient, rtol=1e-4, atol=1e-4)


def test_slopes_are_difference_quotients_of_the_forecast(process):
    w, r, s, v = VALUES
    covariance, _ = process.covariance(w, r, s, v)
    _, errors, _ = process.solve(covariance)

    def forecast(columns):  # from what was seen
        straight = (columns * np.repeat(w, 2)) @ process.columns.T
        difference = columns[:, None] - process.columns[None]
        return (1 + straight + s * np.exp(-0.5 * (difference**2 * np.repeat(r, 2)).sum(-1))) @ errors

    mean, size = process.slopes(w, r, s, v)
    for k in range(6):
        step = 1e-5 * np.eye(6)[k]
        slope = (forecast(process.columns + step) - forecast(process.columns - step)) / 2e-5
        assert mean.ravel()[k] == pytest.approx(slope.mean(), abs=1e-6)
        assert size.ravel()[k] == pytest.approx(np.sqrt((slope**2).mean()), rel=1e-5)


def test_distribution_of_quadratic_forms(rng):
    # equal weights: an exact chi-square
    moments = np.array([5 * 0.7**k for k in range(1, 5)])
    for x in (1.0, 4.0, 15.0):
        assert quadratic_form_sf(x, moments) == pytest.approx(stats.chi2.sf(x / 0.7, 5), rel=1e-6)
    # falling weights: drawn
    weights = 0.7 ** np.arange(30)
    drawn = (weights * rng.standard_normal((200_000, 30)) ** 2).sum(axis=1)
    moments = np.array([(weights**k).sum() for k in range(1, 5)])
    for level in (0.5, 0.05, 0.01):
        assert quadratic_form_sf(np.quantile(drawn, 1 - level), moments) == pytest.approx(level, rel=0.08)


def test_p_values_of_a_component_are_uniform_where_it_is_not_there(rng):
    x = rng.standard_normal((40, 3))
    covariance = 1 + x @ x.T + np.eye(40)
    extra = rng.standard_normal((40, 2))
    component = (1 + np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(-1))) * (extra @ extra.T)
    factor = np.linalg.cholesky(covariance)
    p = []
    for _ in range(800):
        y = factor @ rng.standard_normal(40)
        p.append(component_p_value(np.asfortranarray(factor), np.linalg.solve(covariance, y), component))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    y = factor @ rng.standard_normal(40) + 3 * extra[:, 0]
    assert component_p_value(np.asfortranarray(factor), np.linalg.solve(covariance, y), component) < 1e-3


def test_where_sources_multiply_linear_causality_sees_little_and_this_all():
    method = GaussianProcessGranger(max_lag=2)
    for seed in (2000, 2001):
        recording = simulate.lorenz96(6, 250, seed, forcing=10.0, dt=0.05)
        found = metrics.auroc(recording.connectivity, method.fit(recording).connectivity_.score)
        linear = metrics.auroc(recording.connectivity, MVGC().fit(recording).connectivity_.score)
        assert found > 0.98 and found > linear


def test_linear_worlds_have_their_signs_and_lags():
    recording = simulate.var(5, 0.4, 400, 2004, n_lags=3, strength=(0.3, 0.5))
    c = GaussianProcessGranger(max_lag=4).fit(recording).connectivity_
    truth = recording.connectivity.values
    edge = truth != 0
    assert metrics.auroc(recording.connectivity, c.score) > 0.97
    assert (c.sign.values == np.sign(truth))[edge].mean() > 0.9
    lag = c.lag.values[c.lag_score.values.argmax(axis=-1)]
    assert (lag == recording.delay_steps.values)[edge].mean() > 0.9


@pytest.mark.slow
def test_p_values_without_any_edge():
    """180 pairs that nothing connects: 30 recordings of three neurons."""
    p = []
    for seed in range(2100, 2130):
        recording = simulate.var(4, 0.0, 250, seed)
        c = GaussianProcessGranger(max_lag=3).fit(recording.isel(neuron=slice(3), target=slice(3), source=slice(3)))
        p += c.connectivity_.p_value.values[~np.eye(3, dtype=bool)].tolist()
    low, high = stats.binom.interval(0.999, len(p), 0.05)
    assert low <= (np.array(p) < 0.05).sum() <= high


def test_time_is_estimated_from_the_rows_that_are_fitted(monkeypatch):
    short, long = (simulate.var(3, 0.2, n, 2005) for n in (150, 20_000))
    method, seen = GaussianProcessGranger(max_lag=2, max_rows=100), []
    cost = Process.cost
    monkeypatch.setattr(Process, "cost", lambda self, value: seen.append(self.n_rows) or cost(self, value))
    for recording in (short, long):
        assert 0 < method.estimate_seconds(recording) < 60
    assert len(seen) == 2 and all(98 <= n_rows <= 100 for n_rows in seen)


def test_what_is_said_of_p_values_is_what_was_counted():
    """On the page of `report`, in the docstring and in the book, against the stored table."""
    root = Path(__file__).parents[1] / "book"
    table = pd.read_csv(root / "results" / "gaussian_process.csv")
    assert table.groupby("world").size().to_dict() == {"autoregression": 40, "Izhikevich": 40}
    voltages = table[table.world == "Izhikevich"]
    caution, book = CAUTIONS["gaussian_process"], " ".join((root / "benchmark.md").read_text().split())
    assert f"{100 * voltages.below_05.mean():.0f} % of the pairs of voltages" in caution
    assert f"{(voltages.edges > 0).sum()} networks got an edge" in caution
    doc = " ".join(GaussianProcessGranger.__doc__.split())
    for row in gaussian_process.summary(table).to_dict("records"):
        assert row["p < 0.05"].replace("0.", ".") in book and row["p < 0.01"].replace("0.", ".") in book
        mean, half = (float(number) for number in row["p < 0.05"].split(" ± "))
        assert f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})".replace("0.", ".") in doc.replace(
            "99.9 % interval ", ""
        )


def test_thinning_is_even_and_does_not_see_the_order_of_trials():
    rows = np.r_[3:100, 103:150]
    kept = thinned(rows, [slice(0, 100), slice(100, 150)], 60)
    assert 58 <= kept.sum() <= 60 and np.diff(np.flatnonzero(kept[:97])).max() <= 3
    turned = thinned(np.r_[3:50, 53:150], [slice(0, 50), slice(50, 150)], 60)
    np.testing.assert_array_equal(np.r_[turned[47:], turned[:47]], kept)
    assert thinned(rows, [slice(0, 150)], 1000).all()


def test_impossible_parameters_and_trials_are_refused(rng):
    x = rng.standard_normal((100, 3))
    for given, message in (({"max_lag": 0}, "max_lag is 0"), ({"max_rows": 5}, "max_rows is 5"),
                           ({"max_iterations": 1.5}, "max_iterations is 1.5")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            GaussianProcessGranger(**given).fit(x)
    with pytest.raises(ValueError, match="a trial gives no steps before its history is full"):
        GaussianProcessGranger().fit(from_array(x[:96], trial=np.repeat(range(16), 6)))

"""MVGC as a method: the published results, invariances, what it finds, what it refuses, what it costs."""

import json
import time
import tracemalloc
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from var_worlds import random_vars, simulate, three_trials

from causalkit import connectivity, metrics
from causalkit.methods import blocks, var
from causalkit.methods.mvgc import MVGC
from causalkit.recording import as_recording, from_array, normalize, trial_slices


@pytest.fixture(scope="module")
def recording():
    return three_trials()


@pytest.fixture(scope="module")
def reference_fits(reference_data):
    published = json.loads((reference_data / "paper" / "published.json").read_text())
    table = []
    for path in sorted((reference_data / "paper" / "networks").glob("N*.npz")):
        with np.load(path, allow_pickle=False) as data:
            voltage, truth = np.minimum(data["v"][:5000], 30.0), data["connectivity"]
            theirs = {"aicc": data["mvgc_aic_max10"], "bic": data["mvgc_bic_max10"]}
        for order, name in (("aicc", "mvgc_aic"), ("bic", "mvgc_bic")):
            score = MVGC(order=order, max_order=10).fit(voltage).connectivity_.score.values
            off = ~np.eye(len(truth), dtype=bool)
            table.append(
                {
                    "criterion": order,
                    "ours": metrics.auroc(truth, score, protocol="published"),
                    "published": published[path.stem]["auroc_paper_protocol"][name],
                    "rank_correlation": stats.spearmanr(score[off], theirs[order][off]).statistic,
                }
            )
    return table


@pytest.mark.parametrize("criterion", ["aicc", "bic"])
def test_published_auroc_of_all_reference_networks(reference_fits, criterion):
    rows = [row for row in reference_fits if row["criterion"] == criterion]
    assert len(rows) == 80
    assert np.mean([abs(r["ours"] - r["published"]) for r in rows]) <= 0.02


@pytest.mark.parametrize("criterion", ["aicc", "bic"])
def test_published_matrices_rank_the_edges_alike(reference_fits, criterion):
    # the toolbox estimates by LWR instead of least squares: the values differ a little, the ranking hardly
    rows = [row for row in reference_fits if row["criterion"] == criterion]
    assert min(row["rank_correlation"] for row in rows) > 0.98


def test_permuting_neurons_permutes_everything(recording):
    shuffled = recording.isel(neuron=[2, 0, 3, 1])
    one, other = MVGC().fit(recording), MVGC().fit(shuffled)
    aligned = other.connectivity_.sel(target=one.connectivity_.target, source=one.connectivity_.source)
    xr.testing.assert_allclose(aligned, one.connectivity_, rtol=1e-9, atol=1e-13)
    xr.testing.assert_allclose(
        other.diagnostics_[["bic", "durbin_watson", "spectral_radius"]].sel(neuron=recording.neuron),
        one.diagnostics_[["bic", "durbin_watson", "spectral_radius"]],
    )


@pytest.mark.parametrize("estimator", ["regression", "state_space"])
def test_units_and_offsets_do_not_matter(estimator):
    rng = np.random.default_rng(2)
    a, v = random_vars(1, 4, 2, rng)
    x = np.round(simulate(a, v, 500, rng)[0] * 64)  # whole numbers: the changes below are exact in float32
    one, scaled, shifted, z_scored = (
        MVGC(estimator=estimator).fit(y).connectivity_
        for y in (
            x,
            x * [2.0**-20, 1, 2.0**9, -(2.0**20)],
            x + [0, 1000, -5000, 30000],
            (x - x.mean(0)) / x.std(0),
        )
    )
    for other, tolerance in ((scaled, 1e-9), (shifted, 1e-9), (z_scored, 1e-4)):
        np.testing.assert_allclose(other.score, one.score, rtol=tolerance, atol=1e-9)
        np.testing.assert_allclose(other.p_value, one.p_value, rtol=tolerance, atol=1e-6)
    flip = np.array([1, 1, 1, -1])
    np.testing.assert_array_equal(scaled.sign, one.sign * np.outer(flip, flip))


def test_order_of_trials_does_not_matter_but_their_borders_do(recording):
    parts = [recording.isel(time=recording.trial.values == k) for k in (2, 0, 1)]
    turned = xr.concat(parts, "time", data_vars="minimal")
    kept, swapped = MVGC(order=2).fit(recording), MVGC(order=2).fit(turned)
    np.testing.assert_allclose(kept.connectivity_.score, swapped.connectivity_.score, rtol=1e-9)
    glued = MVGC(order=2).fit(recording.drop_vars("trial"))
    assert int(glued.diagnostics_.n_rows) == int(kept.diagnostics_.n_rows) + 4
    assert not np.allclose(glued.connectivity_.score, kept.connectivity_.score, rtol=1e-6, equal_nan=True)


def test_lag_and_sign_of_an_edge_are_found():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 3))
    for t in range(3, 2000):
        x[t, 1] += 0.6 * x[t - 3, 0]
        x[t, 2] -= 0.6 * x[t - 1, 1]
    fit = MVGC(order="bic").fit(x)
    table = connectivity.to_frame(fit.connectivity_).set_index(["source", "target"])
    assert int(fit.diagnostics_.order) == 3
    assert table.loc[("n0", "n1"), ["sign", "lag"]].tolist() == [1, 3]
    assert table.loc[("n1", "n2"), ["sign", "lag"]].tolist() == [-1, 1]
    expected = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    np.testing.assert_array_equal(fit.connectivity_.significant, expected)


def test_result_survives_netcdf(recording, tmp_path):
    c = MVGC(order=2).fit(recording).connectivity_
    connectivity.to_netcdf(c, tmp_path / "c.nc")
    xr.testing.assert_equal(connectivity.from_netcdf(tmp_path / "c.nc"), c)


def test_linear_combinations_are_named():
    x = np.random.default_rng(0).standard_normal((500, 4))
    x[:, 2] = x[:, 0] - 2 * x[:, 1]
    with pytest.raises(ValueError, match=r"'n2' is a linear combination of neurons \['n0', 'n1'\].*drop it"):
        MVGC().fit(x)


def test_delayed_copies_are_named():
    x = np.random.default_rng(0).standard_normal((500, 3))
    x[1:, 2] = x[:-1, 0]
    with pytest.raises(
        ValueError, match=r"'n2' follows exactly from the 1 steps before it of .*'n0'.*undefined"
    ):
        MVGC(order=1).fit(x)


def test_noiseless_oscillations_are_refused():
    t = np.arange(1000.0)
    x = np.stack([np.sin(0.1 * t), np.sin(0.23 * t + 1)], axis=1)
    with pytest.raises(ValueError, match="follows exactly from"):
        MVGC().fit(x)


def test_a_neuron_that_is_active_at_the_border_only_is_refused():
    x = np.random.default_rng(0).standard_normal((200, 3))
    x[:, 1] = 0
    x[0, 1] = 1
    with pytest.raises(ValueError, match="'n1' is constant but for the first or last steps"):
        MVGC(order=2).fit(x)


def test_means_of_trials_do_not_matter(recording):
    means = np.random.default_rng(3).integers(-40, 40, (3, 4))
    moved = recording.assign(activity=recording.activity + means[recording.trial.values])
    one, other = MVGC(order=2).fit(recording), MVGC(order=2).fit(moved)
    np.testing.assert_allclose(other.connectivity_.score, one.connectivity_.score, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other.diagnostics_.r2, one.diagnostics_.r2, rtol=1e-4)


def test_a_neuron_that_changes_between_trials_only_is_refused():
    x = np.random.default_rng(0).standard_normal((200, 3))
    x[:, 1] = np.repeat([0.3, 1.7], 100)
    with pytest.raises(ValueError, match="'n1' is constant but for the first or last steps of its trials"):
        MVGC(order=2).fit(from_array(x, trial=np.repeat([0, 1], 100)))


def test_random_walks_are_told_to_be_differenced():
    x = np.random.default_rng(0).standard_normal((1000, 3)).cumsum(axis=0)
    with pytest.warns(UserWarning, match="nearly unstable.*p-values are too small.*differencing or detrending"):
        fit = MVGC(order=1).fit(x)
    assert 0.99 < fit.diagnostics_.spectral_radius < 1 and fit.diagnostics_.stable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MVGC(order=1).fit(np.diff(x, axis=0))


def test_unstable_fits_warn_and_have_no_state_space_value():
    rng = np.random.default_rng(0)
    x = np.empty((400, 2))
    x[0] = 1
    for t in range(1, 400):
        x[t] = 1.01 * x[t - 1] + 0.1 * rng.standard_normal(2)
    with pytest.warns(UserWarning, match="unstable.*drifts.*detrend"):
        fit = MVGC(order=1).fit(x)
    assert not fit.diagnostics_.stable and fit.diagnostics_.spectral_radius >= 1
    with pytest.raises(ValueError, match="unstable.*estimator='regression'"):
        MVGC(order=1, estimator="state_space").fit(x)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"order": "bicc"}, "order is 'bicc'.*did you mean 'bic'"),
        ({"order": 0}, "order is 0: .*1 or more"),
        ({"order": 2.5}, "order is 2.5: .*whole number"),
        ({"order": True}, "order is True"),
        ({"max_order": "ten"}, "max_order is 'ten': .*whole number"),
        ({"estimator": "statespace"}, "estimator is 'statespace'.*did you mean 'state_space'"),
        ({"correction": "fdr"}, "correction is 'fdr'.*'bh'"),
        ({"alpha": 5}, "alpha is 5: .*between 0 and 1"),
        ({"alpha": None}, "alpha is None: .*significant, a number between 0 and 1; give 0.05"),
        ({"alpha": "0.05"}, "alpha is '0.05': .*between 0 and 1"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        MVGC(**parameters).fit(np.random.default_rng(0).standard_normal((300, 3)))


def test_too_few_steps_are_refused():
    x = np.random.default_rng(0).standard_normal((30, 4))
    with pytest.raises(ValueError, match="MVGC of order 10 needs at least 33"):
        MVGC(order=10).fit(x)
    with pytest.raises(
        ValueError, match="order 6 with 4 neurons in 1 trials needs at least 35: .*fewer lags"
    ):
        MVGC(order=6).fit(x)
    with pytest.raises(ValueError, match="trial number 1, counted from 0, has 5 time steps.*at least 11"):
        MVGC().fit(from_array(x, trial=[0] * 25 + [1] * 5))


def test_forty_neurons_at_order_ten_take_less_than_two_seconds():
    x = np.random.default_rng(0).standard_normal((5000, 40))
    start = time.perf_counter()
    fit = MVGC(order=10).fit(x)
    assert time.perf_counter() - start < 2
    assert int(fit.diagnostics_.order) == 10


def test_memory_stays_far_below_the_design_matrix():
    recording = as_recording(np.random.default_rng(0).standard_normal((40_000, 20)))
    fit = MVGC(order=10)
    tracemalloc.start()
    try:
        fit.fit(recording)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * 40_000 * 200 * 8  # the design matrix alone: (n_times, order * n_neurons) doubles


@pytest.mark.parametrize("block", [4, 11, 250, 10_000])
def test_sums_over_blocks_are_sums_over_the_recording(recording, block):
    rows = trial_slices(recording)
    trials, _ = blocks.z_scored(recording.activity.values, rows)
    whole = [normalize(recording.activity)[trial] for trial in rows]
    products, sums = var.lag_products(trials, 3, block)
    for lag in range(4):
        by_hand = sum(x[lag:].T @ x[: len(x) - lag] for x in whole)
        np.testing.assert_allclose(products[lag], by_hand, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(sums, [x.sum(axis=0) for x in whole], atol=1e-10)
    coefficients = np.random.default_rng(0).normal(size=(3, 4, 4))
    errors = [x[3:] - sum(x[3 - k : len(x) - k] @ coefficients[k - 1].T for k in (1, 2, 3)) for x in whole]
    by_hand = sum((np.diff(e, axis=0) ** 2).sum(axis=0) for e in errors)
    np.testing.assert_allclose(var.squared_residual_steps(trials, coefficients, block), by_hand, rtol=1e-10)


def test_blocks_do_not_matter(recording, monkeypatch):
    whole = MVGC(order="bic").fit(recording)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 4)
    pieces = MVGC(order="bic").fit(recording)
    xr.testing.assert_allclose(pieces.connectivity_, whole.connectivity_, rtol=1e-10, atol=1e-14)
    xr.testing.assert_allclose(pieces.diagnostics_, whole.diagnostics_, rtol=1e-10, atol=1e-14)


def test_memory_holds_no_second_copy_of_a_long_recording(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 1 << 16)
    recording = as_recording(np.random.default_rng(0).standard_normal((40_000, 50), dtype=np.float32))
    fit = MVGC(order=2)
    tracemalloc.start()
    try:
        fit.fit(recording)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000 * 50 * 8  # one copy in doubles


def test_spectral_radius_of_large_networks_needs_no_full_spectrum(monkeypatch):
    rng = np.random.default_rng(0)
    bulk = rng.standard_normal((2, 80, 80)) / 20
    isolated = np.stack([bulk[0] / 4 + 0.9 * np.ones((80, 80)) / 80, bulk[1] / 4])
    for a in (bulk, isolated):
        expected = var.spectral_radius(a)
        with monkeypatch.context() as patch:
            patch.setattr(var, "DENSE_EIGENVALUES", 100)
            assert var.spectral_radius(a) == pytest.approx(expected, rel=1e-6)


def test_aicc_with_too_many_neurons_is_refused_before_the_work():
    x = np.random.default_rng(0).standard_normal((300, 20))
    with pytest.raises(ValueError, match="order 1 already has 400 coefficients for 300 time steps; use order='bic'"):
        MVGC().fit(x)

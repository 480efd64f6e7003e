"""Corrections against scipy and statsmodels; surrogates destroy what they should and nothing else; seeds agree."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.stats import false_discovery_control, spearmanr
from statsmodels.stats.multitest import multipletests

from causalkit import recording, significance
from causalkit.significance import circular_shift, fdr, stability, time_shuffle

p_values = arrays(float, st.integers(1, 30), elements=st.floats(0, 1))
trial_lengths = st.lists(st.integers(3, 20), min_size=1, max_size=4)
surrogates = pytest.mark.parametrize("surrogate", [time_shuffle, circular_shift])


@pytest.mark.parametrize("method", ["bh", "by"])
@given(p=p_values)
def test_false_discovery_rate_is_that_of_scipy(method, p):
    np.testing.assert_allclose(fdr(p, method), false_discovery_control(p, method=method), atol=1e-14)


@pytest.mark.parametrize(
    ("method", "theirs"), [("bh", "fdr_bh"), ("by", "fdr_by"), ("holm", "holm"), ("bonferroni", "bonferroni")]
)
@given(p=p_values)
def test_corrections_are_those_of_statsmodels(method, theirs, p):
    np.testing.assert_allclose(fdr(p, method), multipletests(p, method=theirs)[1], atol=1e-14)


@pytest.mark.parametrize("method", significance.CORRECTIONS)
def test_only_off_diagonal_entries_of_a_matrix_are_tests(method, rng):
    p = rng.uniform(size=(4, 4))
    off = ~np.eye(4, dtype=bool)
    adjusted = fdr(p, method)
    np.testing.assert_array_equal(adjusted[off], fdr(p[off], method))
    assert np.isnan(np.diag(adjusted)).all()


def test_nan_is_no_test():
    np.testing.assert_allclose(fdr([0.01, np.nan, 0.02], "bonferroni"), [0.02, np.nan, 0.04])


def test_dataarray_keeps_its_names(rng):
    p = xr.DataArray(rng.uniform(size=(3, 3)), dims=("target", "source"), coords={"target": ["a", "b", "c"]})
    before = p.copy(deep=True)
    assert fdr(p).target.identical(p.target) and p.identical(before)


@pytest.mark.parametrize(("arguments", "message"), [
    (([0.1], "fdr"), "correction is 'fdr'.*use one of"),
    (([0.1, 1.5],), "reach from 0.1 to 1.5.*not scores"),
])  # fmt: skip
def test_what_is_no_p_value_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fdr(*arguments)


# ---- surrogates


def numbered(lengths, n_neurons=3):
    """A recording whose values tell where they came from."""
    x = np.arange(sum(lengths) * n_neurons).reshape(-1, n_neurons)
    return recording.from_array(x, trial=np.repeat(np.arange(len(lengths)), lengths), spikes=x % 2,
                                connectivity=np.eye(n_neurons), more_neurons_than_times=True)  # fmt: skip


@surrogates
@given(lengths=trial_lengths, seed=st.integers(0, 100))
def test_surrogate_keeps_each_neurons_values_within_each_trial(surrogate, lengths, seed):
    r = numbered(lengths)
    s = surrogate(r, seed)
    for rows in recording.trial_slices(r):
        np.testing.assert_array_equal(np.sort(s.activity[rows], axis=0), r.activity[rows])
    np.testing.assert_array_equal(s.spikes, s.activity.values % 2 == 1)  # variables stay together
    assert s.connectivity.identical(r.connectivity) and s.trial.identical(r.trial)


@surrogates
def test_surrogate_is_repeatable_and_leaves_its_input(surrogate, rng):
    r = numbered([200])
    before = r.copy(deep=True)
    assert surrogate(r, 3).identical(surrogate(r, 3))
    assert not surrogate(r, 3).activity.identical(surrogate(r, 4).activity)
    assert r.identical(before)
    assert surrogate(r, 3).attrs["surrogate"] == surrogate.__name__
    assert surrogate(rng.normal(size=(20, 2)), 0).sizes == {"time": 20, "neuron": 2}


@given(n_times=st.integers(20, 200), n_neurons=st.integers(2, 8), seed=st.integers(0, 100))
def test_shifted_neurons_keep_their_order_and_come_apart(n_times, n_neurons, seed):
    r = recording.from_array(np.arange(n_times * n_neurons).reshape(n_times, n_neurons))
    origin = circular_shift(r, seed).activity.values.astype(int) // n_neurons  # (n_times, n_neurons)
    assert ((origin[1:] - origin[:-1]) % n_times == 1).all()
    offset = np.sort(origin[0])
    gaps = np.diff([*offset, offset[0] + n_times])
    assert gaps.min() >= n_times / (2 * n_neurons) - 1


def test_shuffling_removes_dynamics_and_shifting_keeps_them(rng):
    x = np.cumsum(rng.normal(size=(2000, 2)), axis=0)
    x[1:, 1] += x[:-1, 0]

    def own(r):
        a = r.activity.values[:, 0]
        return np.corrcoef(a[1:], a[:-1])[0, 1]

    assert own(recording.from_array(x)) > 0.99
    assert own(circular_shift(x, 0)) > 0.99
    assert abs(own(time_shuffle(x, 0))) < 0.1


# ---- agreement of seeds


def seeds(scores):
    return xr.DataArray(scores, dims=("seed", "target", "source"))


def test_equal_seeds_agree_fully(rng):
    s = stability(seeds(np.repeat(rng.uniform(size=(1, 4, 4)), 3, axis=0)))
    off = ~np.eye(4, dtype=bool)
    assert s.agreement == pytest.approx(1)
    np.testing.assert_allclose(s.rank_sd.values[off], 0, atol=1e-12)
    assert np.isnan(np.diag(s.rank_sd)).all()
    assert sorted(s.rank_mean.values[off]) == pytest.approx(np.linspace(0, 1, 12))


def test_agreement_is_the_mean_spearman_correlation(rng):
    scores = rng.uniform(size=(3, 5, 5))
    off = ~np.eye(5, dtype=bool)
    rho = spearmanr(scores[:, off], axis=1).statistic
    s = stability(seeds(scores))
    assert s.agreement == pytest.approx(rho[np.triu_indices(3, 1)].mean())
    np.testing.assert_allclose(s.score_sd.values[off], scores.std(axis=0)[off])


def test_agreement_ignores_monotone_changes(rng):
    scores = rng.uniform(size=(3, 5, 5))
    a, b = stability(seeds(scores)), stability(seeds(np.exp(3 * scores)))
    xr.testing.assert_allclose(a.drop_vars("score_sd"), b.drop_vars("score_sd"))


def test_one_seed_is_not_enough(rng):
    with pytest.raises(ValueError, match="1 seed: agreement needs at least two"):
        stability(seeds(rng.uniform(size=(1, 4, 4))))
    with pytest.raises(ValueError, match="seed_score has the dimensions .*pass connectivity"):
        stability(rng.uniform(size=(2, 4, 4)))


@pytest.mark.parametrize("df", [1, 2, 6])
@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("edges", [0.0, 0.2, 0.8])
def test_inflation_is_the_factor_of_the_statistics_whatever_the_number_of_edges(df, factor, edges, rng):
    statistic = factor * rng.chisquare(df, 100_000)
    n_edges = int(edges * len(statistic))
    statistic[:n_edges] += 1000
    p = stats.chi2.sf(statistic, df)
    found = significance.inflation(p, df)
    # the standard error of its logarithm, by simulation, is 5.7 / sqrt(n df) for one degree of freedom, less for more
    assert abs(np.log(found / factor)) < 4 * 5.7 / np.sqrt((len(statistic) - n_edges) * df)
    assert significance.inflation(rng.permutation(p), df) == pytest.approx(found, abs=1e-3)


def test_inflation_says_nothing_of_few_values_and_ignores_nan(rng):
    p = rng.uniform(size=(30, 30)) ** 2  # too small
    np.fill_diagonal(p, np.nan)
    assert significance.inflation(p) > 1.5
    assert significance.inflation(p[:10]) == 1
    assert significance.inflation(np.zeros(10_000)) == 1
    assert significance.inflation(np.full(10_000, np.nan)) == 1


def test_weak_edges_make_the_inflation_larger_never_smaller(rng):
    statistic = rng.chisquare(1, 20_000)
    statistic[:4000] = rng.noncentral_chisquare(1, 2, 4000)
    assert significance.inflation(stats.chi2.sf(statistic, 1)) > 1.02

"""The robust Wald test where it is hardest: many columns for the rows, and errors that are autocorrelated."""

import numpy as np
import pytest
from scipy import signal, stats

from causalkit.methods.robust_wald import wald_of_groups

LEAST_SQUARES = 1e6  # a limit beyond all residuals


def rejected(p, level=0.05):
    """Chance of so many p-values below the level, or more, if they hold; and their share."""
    below = int(np.sum(np.array(p) < level))
    return stats.binomtest(below, len(p), level, "greater").pvalue, below / len(p)


def test_covariance_is_statsmodels_hc3():
    """Uneven noise, and leverages from .05 to .45: only HC3's squared correction gives these numbers."""
    statsmodels = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    x = np.hstack([np.ones((80, 1)), rng.standard_normal((80, 12))])
    x[:8, 1:] *= 2
    y = rng.standard_normal(80) * (1 + np.abs(x[:, 1]))
    leverage = np.einsum("ij,ji->i", x, np.linalg.pinv(x))
    assert 0.4 < leverage.max() < 0.5  # from there on the correction is held
    test = wald_of_groups(x, y, 1, 3, LEAST_SQUARES)
    theirs = statsmodels.OLS(y, x).fit(cov_type="HC3").cov_params()
    assert test.bandwidth == 1
    for group, ours in enumerate(test.covariance):
        own = slice(1 + 3 * group, 4 + 3 * group)
        np.testing.assert_allclose(ours, theirs[own, own], rtol=1e-4)


def test_few_rows_and_many_columns_find_nothing_where_nothing_is():
    """40 columns of nuisance for 100 rows: the residuals are a fifth too small, and only their leverage tells."""
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = np.hstack([np.ones((100, 1)), rng.standard_normal((100, 40))])
        p.append(wald_of_groups(x, rng.standard_normal(100), 40, 1, LEAST_SQUARES).p_values()[0])
    chance, share = rejected(p)
    assert chance > 0.001, share


def test_autocorrelated_errors_do_not_pass_for_effects():
    """Regressions of one slow process on others: their covariance rests on few independent stretches of time."""
    p, bandwidth = [], []
    for seed in range(200):
        noise = np.random.default_rng(seed).standard_normal((1100, 13))
        slow = signal.lfilter([1], [1, -0.9], noise, axis=0)[200:]
        x = np.hstack([np.ones((900, 1)), slow[:, 1:]])
        test = wald_of_groups(x, slow[:, 0] / slow[:, 0].std(), 1, 4, 1.345)
        p.append(test.p_values()[0])
        bandwidth.append(test.bandwidth)
    assert min(bandwidth) > 1
    for level in (0.05, 0.01):
        chance, share = rejected(p, level)
        assert chance > 0.001, share

"""Regressions of many targets at once, beside the same regressions one by one."""

import numpy as np
import pytest
import torch

from causalkit import SingleIndexGranger, metrics, simulate
from causalkit.methods import shared_regression
from causalkit.methods.lag_choice import LagChoice
from causalkit.methods.robust_wald import huber_regression, wald_of_groups
from causalkit.methods.shared_regression import OwnColumns, Regressions, SharedSources, _window_sums
from causalkit.methods.source_features import LaggedFeatures, OwnHistory, source_features

N_ROWS, N_NEURONS, GROUP, N_OWN = 4000, 12, 2, 5


@pytest.fixture(scope="module")
def problem():
    """Correlated sources, two folds of own columns that two sources follow, gains that vary, heavy tails."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((N_ROWS, 1))
    sources = rng.standard_normal((N_ROWS, N_NEURONS, GROUP)) + 0.5 * common[..., None]
    sources[:, 3, 1] = 0  # a feature that says nothing new
    own = [rng.standard_normal((N_NEURONS, N_ROWS // 2, N_OWN)) for _ in range(2)]
    for fold, part in enumerate(own):
        part[..., 0] = 1
        part[..., 1] += sources[fold * N_ROWS // 2 : (fold + 1) * N_ROWS // 2, 5, 0]
    gain = np.exp(0.4 * rng.standard_normal((N_NEURONS, N_ROWS)))
    w = rng.standard_normal((N_NEURONS, N_NEURONS, GROUP)) * (rng.random((N_NEURONS, N_NEURONS, 1)) < 0.4)
    w[np.arange(N_NEURONS), np.arange(N_NEURONS)] = 0
    y = gain * np.einsum("tnk,jnk->jt", sources, 0.3 * w)
    y += np.concatenate([part.sum(axis=-1) for part in own], axis=1) + rng.standard_t(3, y.shape)
    return sources, own, gain, y


def one_by_one(problem, target):
    """Columns of a target's regression, its own first, and what they explain."""
    sources, own, gain, y = problem
    both = np.zeros((N_ROWS, 2 * N_OWN))
    both[: N_ROWS // 2, :N_OWN], both[N_ROWS // 2 :, N_OWN:] = own[0][target], own[1][target]
    inputs = gain[target][:, None] * np.delete(sources, target, axis=1).reshape(N_ROWS, -1)
    return np.hstack([both, inputs]), y[target]


def together(problem, targets=None, limit=1.5):
    sources, own, gain, y = problem
    targets = np.arange(N_NEURONS) if targets is None else targets
    own = [part.transpose(0, 2, 1) for part in own]
    single = [torch.as_tensor(part[targets], dtype=torch.float32) for part in (*own, gain, y)]
    return Regressions(
        SharedSources(sources).ready_for_tests(), targets, [OwnColumns(part) for part in single[:2]], *single[2:],
        torch.full((len(targets),), limit),
    )  # fmt: skip


def test_coefficients_are_those_of_regressions_one_by_one(problem):
    _, w, _ = together(problem).fit(max_steps=10)
    w = w.view(N_NEURONS, N_NEURONS, GROUP).numpy()
    assert (w[np.arange(N_NEURONS), np.arange(N_NEURONS)] == 0).all()
    assert (w[:, 3, 1] == 0).all()
    for target in range(N_NEURONS):
        x, y = one_by_one(problem, target)
        expected = huber_regression(x, y, 1.5)[2 * N_OWN :].reshape(-1, GROUP)
        np.testing.assert_allclose(np.delete(w[target], target, axis=0), expected, atol=0.002)


def test_tests_are_those_of_regressions_one_by_one(problem):
    tests = together(problem).tests()
    for target, test in enumerate(tests):
        x, y = one_by_one(problem, target)
        expected = wald_of_groups(x, y, 2 * N_OWN, GROUP, 1.5)
        np.testing.assert_array_equal(test.df, expected.df)
        followed = np.delete(np.arange(N_NEURONS), target) == 5  # by own columns, which hold half of its variance
        ratio = np.sqrt(test.wald() / expected.wald())
        assert np.abs(ratio[~followed] - 1).max() < 0.07 and abs(np.median(ratio) - 1) < 0.02
        assert np.abs(test.p_values() - expected.p_values())[~followed].max() < 0.04
        assert (ratio[followed] > 0.8).all() and (ratio[followed] < 1.07).all()


def test_tests_by_the_matrix_of_each_target_are_the_exact_ones(problem):
    tests = together(problem).tests(alone=True)
    white = [target for target, test in enumerate(tests) if test.bandwidth == 1]  # other windows are cut otherwise
    assert len(white) > 8
    for target, test in ((target, tests[target]) for target in white):
        x, y = one_by_one(problem, target)
        expected = wald_of_groups(x, y, 2 * N_OWN, GROUP, 1.5)
        assert expected.bandwidth == 1
        np.testing.assert_array_equal(test.df, expected.df)
        np.testing.assert_allclose(test.covariance, expected.covariance, rtol=0.02, atol=2e-7)
        np.testing.assert_allclose(test.residual_df, expected.residual_df, rtol=0.01)
        np.testing.assert_allclose(test.p_values(), expected.p_values(), atol=0.01)


@pytest.mark.parametrize("alone", [False, True])
def test_rows_can_be_gone_through_in_parts_of_any_length(problem, monkeypatch, alone):
    sources, own, gain, y = problem
    smooth = y.copy()
    smooth[:6, 1:] += y[:6, :-1]  # errors of some targets are not white: windows go across parts and folds
    own = [np.concatenate([own[0], own[1][:, :300]], axis=1), own[1][:, 300:]]  # folds of unequal length
    whole = together((sources, own, gain, smooth)).tests(alone)
    assert {test.bandwidth for test in whole} > {1}
    monkeypatch.setattr(shared_regression, "VALUES_IN_CACHE", N_NEURONS * GROUP * 77)
    for expected, test in zip(whole, together((sources, own, gain, smooth)).tests(alone), strict=True):
        assert test.bandwidth == expected.bandwidth
        np.testing.assert_allclose(test.covariance, expected.covariance, rtol=1e-3, atol=1e-8)
        np.testing.assert_allclose(test.residual_df, expected.residual_df, rtol=1e-3)
        np.testing.assert_allclose(test.coefficients, expected.coefficients, atol=1e-4)


def test_some_rows_are_as_if_there_were_no_others(problem):
    sources, own, gain, y = problem
    inside = [own[0][:, 1000:], own[1][:, :1000]]
    expected = together((sources[1000:3000], inside, gain[:, 1000:3000], y[:, 1000:3000])).fit(max_steps=10)
    found = together(problem).only(slice(1000, 3000)).fit(max_steps=10)  # across the border of the folds
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)
    of_all = together(problem).fit(max_steps=10)
    assert len(found[0]) == 2 and (found[1] - of_all[1]).abs().max() > 0.01


def test_a_source_that_own_columns_explain_stops_nothing(problem):
    sources, own, gain, y = problem
    copied = [part.copy() for part in own]
    for fold, part in enumerate(copied):
        rows = slice(fold * N_ROWS // 2, (fold + 1) * N_ROWS // 2)
        part[..., 2] = gain[:, rows] * sources[rows, 7, 0]
    for alone in (False, True):
        tests = together((sources, copied, gain, y)).tests(alone)
        others = np.arange(N_NEURONS - 1) != 6  # 7 among the sources of target 0
        assert np.isfinite(tests[0].p_values()[others]).all()


def test_targets_can_be_taken_in_parts(problem):
    chosen = np.array([7, 2])
    _, w, _ = together(problem).fit(max_steps=10)
    _, part, _ = together(problem, chosen).fit(max_steps=10)
    np.testing.assert_allclose(part, w[chosen], atol=2e-3)


def test_rows_that_are_left_out_do_not_matter(problem):
    sources, own, gain, y = problem
    changed = y.copy()
    changed[:, 1000:] += 100
    a, w, _ = together((sources, own, gain, changed)).only(slice(0, 1000)).fit(max_steps=3)
    b, v, _ = together(problem).only(slice(0, 1000)).fit(max_steps=3)
    assert torch.equal(w, v) and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_windows_add_up_their_rows():
    x, factor = torch.arange(14.0).view(7, 2), torch.tensor([1.0, 0, 2, 1, 1, 1, 3])
    sums = _window_sums(x, factor, 3)
    rows = (x * factor[:, None]).numpy()
    np.testing.assert_array_equal(sums, [rows[:3].sum(axis=0), rows[3:6].sum(axis=0), rows[6]])


def test_orthonormal_columns_span_the_same_and_drop_what_is_left_over():
    x = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x[..., :1] + x[..., 1:2]], dim=-1)
    own = OwnColumns(x.transpose(1, 2))
    every = torch.eye(4).expand(2, -1, -1)
    q = torch.stack([own.combined(own.coefficients_of(every[:, k])) for k in range(4)], dim=-1)
    gram = (q.transpose(1, 2) @ q).numpy()
    np.testing.assert_allclose(gram, np.stack([np.diag([0, 1, 1, 1])] * 2), atol=1e-4)
    np.testing.assert_allclose(q @ (q.transpose(1, 2) @ x), x, atol=1e-4)
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(own.products(values), (values[:, None] @ q)[:, 0], atol=1e-4)
    np.testing.assert_allclose(own.leverage(1), (q[1] ** 2).sum(dim=1), atol=1e-5)
    gain, sources = values.abs(), torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    expected = q[1].T @ (gain[1][:, None] * sources)
    np.testing.assert_allclose(own.products_with(gain, sources)[1], expected, atol=1e-4)


@pytest.mark.parametrize("solver", ["exact", "shared"])
def test_results_do_not_depend_on_the_number_of_threads(solver):
    recording = simulate.izhikevich(8, 0.4, 2000, random_state=2101)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append(SingleIndexGranger(solver=solver, n_rounds=2, n_steps=50).fit(recording).connectivity_)
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert found[0].drop_attrs().identical(found[1].drop_attrs())  # attributes hold the seconds
    assert found[0].drop_attrs().identical(found[2].drop_attrs())


def test_shared_and_exact_fits_agree_on_a_network():
    recording = simulate.izhikevich(12, 0.3, 3000, random_state=2100)
    exact, shared = (SingleIndexGranger(solver=s, n_rounds=3).fit(recording).connectivity_ for s in ("exact", "shared"))
    off = ~np.eye(12, dtype=bool)
    assert metrics.auroc(recording, shared) > 0.99
    sizes = [np.log1p(fit.score.values[off]) for fit in (exact, shared)]  # a score near 0 has no logarithm to speak of
    assert np.corrcoef(*sizes)[0, 1] > 0.999
    edges = recording.connectivity.values != 0
    assert (shared.sign.values[edges] == np.sign(recording.connectivity.values[edges])).mean() > 0.98
    ratio = shared.score.values[off] / exact.score.values[off]
    assert 0.9 < np.median(ratio) < 1.1


def test_two_valued_activity_whose_second_feature_says_nothing_is_tested():
    rng = np.random.default_rng(4)
    x = np.sign(rng.standard_normal((1500, 5)))
    x[1:, 1] = np.where(rng.random(1499) < 0.7, x[:-1, 0], x[1:, 1])
    assert not source_features((x - x.mean(axis=0)) / x.std(axis=0))[..., 1].any()
    p = SingleIndexGranger(solver="shared", n_rounds=2, n_steps=60).fit(x).connectivity_.p_value
    assert p.values[1, 0] < 1e-6 and np.isfinite(p.values[~np.eye(5, dtype=bool)]).all()


def test_an_unknown_solver_is_refused():
    with pytest.raises(ValueError, match=r"solver is .quick.: it is how targets are regressed.*exact"):
        SingleIndexGranger(solver="quick").fit(np.random.default_rng(0).standard_normal((500, 3)))


def test_histories_are_read_where_they_are_wanted():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 3))
    rows = np.arange(6, 60)
    own = OwnHistory(x, source_features(x), rows, 5, [slice(0, 60)])
    values = own[torch.tensor([[0, 3], [7, 53]])]
    assert values.shape == (2, 2, 3, 9)
    np.testing.assert_allclose(values[1, 0, 2, :5], x[rows[7] - np.arange(1, 6), 2], rtol=1e-6)
    assert torch.equal(own.of_neuron(1), own[:][:, 1])
    np.testing.assert_allclose(own.values(1, np.array([2, 9])), own[torch.tensor([2, 9])][:, 1], rtol=1e-6)


def test_lags_are_chosen_as_by_regressions_one_by_one():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((800, 4))
    features = source_features(x)
    rows = np.arange(5, 800)
    sources = LaggedFeatures(features, rows)
    y = np.stack([x[rows - 1, 1] + 0.6 * x[rows - 3, 2], np.zeros(len(rows))], axis=-1) + rng.standard_normal((795, 2))
    train = [np.arange(400), np.arange(395, 795)]
    choice = LagChoice(sources, train, 5)
    assert choice([y[rows] for rows in train]) == 3
    criterion = np.zeros(5)
    for rows_of_fold in train:
        n, r = len(rows_of_fold), y[rows_of_fold]
        for n_lags in range(1, 6):
            used = sources.at(n_lags, rows_of_fold).reshape(n, -1)
            used = np.hstack([np.ones((n, 1)), used[:, used.any(axis=0)]])
            left = ((r - used @ np.linalg.lstsq(used, r, rcond=None)[0]) ** 2).sum(axis=0)
            criterion[n_lags - 1] += n * np.log(left).sum() + 2 * 2 * n * used.shape[1] / (n - used.shape[1] - 1)
    assert choice([y[rows] for rows in train]) == criterion.argmin() + 1

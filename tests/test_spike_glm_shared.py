"""SpikeGLM on many neurons: the same maximum as Newton's, penalties on held-out bins, planted filters found again."""

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import PoissonRegressor

from causalkit import SpikeGLM, from_array, metrics, simulate
from causalkit.methods import spike_glm_shared as shared
from causalkit.methods.point_process import Bernoulli, Poisson
from causalkit.methods.spike_glm import _filtered, raised_cosines
from causalkit.recording import window_starts

SHORT = {"max_lag": 5, "n_basis": 3, "history": 10, "n_history_basis": 4}
OFF = ~np.eye(15, dtype=bool)


@pytest.fixture(scope="module")
def network():
    return simulate.lif_spikes(15, 0.2, n_steps=40_000, random_state=2020, weight=1.5, wiring={"n_hubs": 1})


@pytest.fixture(scope="module")
def both(network):
    return [SpikeGLM(**SHORT, solver=solver).fit(network) for solver in ("newton", "shared")]


@pytest.mark.parametrize("trial", [None, np.repeat([0, 1], [70, 130])])
def test_filtering_spikes_alone_is_filtering_all_bins(rng, trial):
    x = rng.poisson(0.2, (200, 4)).astype(float)
    rows = window_starts(from_array(x, kind="spikes", trial=trial), 7) + 7
    basis = raised_cosines(7, 3)
    np.testing.assert_allclose(
        shared.filtered(x, rows, basis).transpose(1, 0, 2), _filtered(x, rows, basis), rtol=1e-6, atol=1e-7
    )


def test_the_same_maximum_and_nearly_the_same_variances(both):
    newton, all_at_once = (method.connectivity_ for method in both)
    deviation = (np.abs(newton.coupling) / np.sqrt(newton.lag_score)).values[OFF]
    assert (np.abs(all_at_once.coupling - newton.coupling).values[OFF] < 0.05 * deviation).all()
    np.testing.assert_array_equal(all_at_once.sign.values[np.abs(newton.weight.values) > 0.01],
                                  newton.sign.values[np.abs(newton.weight.values) > 0.01])  # fmt: skip
    ratio = all_at_once.score.values[OFF] / newton.score.values[OFF]
    # a target's bins weigh differently where hubs of 4.5 mV make it fire: the mean weight is not exact there
    assert 0.9 < np.percentile(ratio, 5) and np.percentile(ratio, 95) < 1.25 and abs(np.median(ratio) - 1) < 0.05
    assert np.corrcoef(all_at_once.score.values[OFF], newton.score.values[OFF])[0, 1] > 0.99
    assert [method.diagnostics_.attrs["solver"] for method in both] == ["newton", "shared"]


def test_counts_are_fitted_as_scikit_learn_does(rng):
    """Poisson counts, one penalty for all coefficients: scikit-learn's regression, which divides by rows."""
    x = rng.poisson(0.4, (3000, 3)).astype(float)
    x[2:, 1] += rng.poisson(0.5 * x[:-2, 0])
    method = SpikeGLM(max_lag=3, n_basis=3, history=3, n_history_basis=3, solver="shared").fit(
        from_array(x, dt_ms=5, kind="spikes")
    )
    basis, rows = raised_cosines(3, 3), np.arange(3, 3000)
    for target in range(3):
        design = _filtered(x, rows, basis)[:, [target, *np.delete(np.arange(3), target)]].reshape(len(rows), -1)
        theirs = PoissonRegressor(alpha=0.1 / len(rows), tol=1e-8, max_iter=1000).fit(design, x[rows, target])
        filters = theirs.coef_.reshape(3, 3)[1:] @ basis.T
        ours = method.connectivity_.coupling.values[target, np.delete(np.arange(3), target)]
        np.testing.assert_allclose(ours, filters, atol=3e-3)
    assert method.diagnostics_.attrs["family"] == "poisson"
    assert method.connectivity_.weight.values[1, 0] > 0.2


def test_planted_filters_are_found(rng):
    """Log rates raised or lowered by known filters in the span of the basis."""
    n, basis = 6, raised_cosines(5, 3)
    planted = np.zeros((n, n, 3))
    planted[1, 0], planted[3, 2], planted[5, 4] = [0.9, 0.3, 0.0], [0.0, 0.8, 0.0], [-1.5, -1.0, -0.5]
    filters, x = planted @ basis.T, np.zeros((40_000, n))
    drawn = rng.random(x.shape)
    for t in range(5, len(x)):
        eta = -2 + np.einsum("ijl,lj->i", filters, x[t - 5 : t][::-1])
        x[t] = drawn[t] < 1 / (1 + np.exp(-eta))
    c = SpikeGLM(**SHORT, solver="shared").fit(from_array(x, kind="spikes")).connectivity_
    deviation = np.abs(c.coupling.values) / np.sqrt(c.lag_score.values)
    off = ~np.eye(n, dtype=bool)
    z = (c.coupling.values - filters)[off] / deviation[off]
    assert np.abs(z).max() < 4.5 and (z**2).mean() == pytest.approx(1, abs=0.35)
    assert metrics.auroc((planted != 0).any(axis=-1), c) == 1
    peak = np.take_along_axis(filters, np.abs(filters).argmax(axis=-1)[..., None], axis=-1)[..., 0]
    edge = (planted != 0).any(axis=-1)
    np.testing.assert_allclose(c.weight.values[edge], peak[edge], atol=0.15)
    np.testing.assert_array_equal(c.sign.values[edge], np.sign(peak[edge]))


def test_p_values_of_neurons_that_nobody_drives():
    shares = []
    for seed in range(6):
        r = simulate.lif_spikes(connectivity=np.zeros((10, 10)), n_steps=50_000, random_state=2100 + seed, drive_mv=12)
        p = SpikeGLM(**SHORT, solver="shared").fit(r).connectivity_.p_value.values[~np.eye(10, dtype=bool)]
        shares.append((p < 0.05).mean())
    assert 0.02 < np.mean(shares) < 0.08


@pytest.mark.parametrize("solver", ["newton", "shared"])
def test_a_penalty_is_chosen_on_held_out_bins(network, solver):
    method = SpikeGLM(**SHORT, penalty="auto", solver=solver).fit(network)
    losses = method.diagnostics_.held_out_loss
    assert float(method.diagnostics_.penalty) == float(losses.penalty_tried[int(losses.values.argmin())])
    assert 0.1 < float(method.diagnostics_.penalty) < 1e4  # neither end of the grid
    by_hand = SpikeGLM(**SHORT, penalty=float(method.diagnostics_.penalty), solver=solver).fit(network)
    xr.testing.assert_allclose(by_hand.connectivity_.coupling, method.connectivity_.coupling)
    small = SpikeGLM(**SHORT, solver=solver).fit(network).connectivity_.weight.values
    assert np.nanmean(np.abs(method.connectivity_.weight.values)) < np.nanmean(np.abs(small))  # it shrinks


def test_held_out_losses_are_what_they_are_called(network):
    """The loss on the last fifth, of regressions that have not seen it."""
    x = network.activity.values.astype(float)
    rows = np.arange(10, len(x))
    design = shared.Design.of(x, rows, raised_cosines(5, 3), raised_cosines(10, 4))
    family = Poisson if x.max() > 1 else Bernoulli
    best, losses = shared.choose_penalty(design, family, 0.1)
    border = round(0.8 * len(rows))
    other = x.copy()
    other[rows[border:]] = np.roll(other[rows[border:]], 7, axis=0)  # another future
    again, changed = shared.choose_penalty(
        shared.Design.of(other, rows, raised_cosines(5, 3), raised_cosines(10, 4)), family, 0.1
    )
    assert (losses != changed).all() and best in shared.PENALTIES and again in shared.PENALTIES
    # under the strongest penalty hardly any coupling is left: own history and rate alone
    found = shared.fit_targets(design.part(slice(0, border)), np.arange(15), family, 1e9, 0.1)
    assert np.abs(found.coupling(3)).max() < 1e-4
    held_out = design.part(slice(border, None))
    eta = shared.predictor(held_out, found.targets, found.values)
    alone = family.losses(eta, held_out.y).mean() / len(rows[border:])
    assert losses.min() < alone and abs(losses[-1] - alone) < 0.5 * (losses.max() - losses.min())


def test_two_trials_and_a_permutation(network):
    trial = np.repeat([0, 1], [3000, 5000])
    cut = network.assign(trial=("time", trial))
    order = np.random.default_rng(1).permutation(15)
    one = SpikeGLM(**SHORT, solver="shared").fit(cut)
    other = SpikeGLM(**SHORT, solver="shared").fit(cut.isel(neuron=order, target=order, source=order))
    assert int(one.diagnostics_.n_rows) == 8000 - 2 * 10
    names = one.connectivity_.target.values
    back = other.connectivity_.sel(target=names, source=names)
    np.testing.assert_allclose(back.weight.values[OFF], one.connectivity_.weight.values[OFF], atol=3e-3)


@pytest.mark.parametrize("changes", [{"solver": "exact"}, {"penalty": "cv"}, {"penalty": 0}, {"penalty": True}])
def test_bad_parameters(changes, network):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SpikeGLM(**changes).fit(network)


def test_earlier_results_keep_their_keys():
    default = SpikeGLM().get_params()
    assert {key: default[key] for key in SpikeGLM.added_parameters} == SpikeGLM.added_parameters

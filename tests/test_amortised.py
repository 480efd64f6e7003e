"""Amortised causal discovery: what its network computes, what training learns, and what the shipped weights know."""

import json
from pathlib import Path

import amortised as benchmark
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from causalkit import AmortisedDiscovery, connectivity, metrics, simulate
from causalkit.methods import amortised_network, amortised_training
from causalkit.methods.amortised import SHIPPED
from causalkit.recording import from_array

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"


def draws(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture(scope="module")
def recording():
    return simulate.izhikevich(7, 0.3, 1200, 2950)


@pytest.fixture(scope="module")
def vars_():
    """60 small linear networks: worlds that train in a second."""
    return simulate.var(5, 0.3, 500, 2700, n_networks=60, strength=(0.3, 0.5))


def chance_of(recording, found):
    """Probability that as many of the true edges are among as many strongest pairs drawn at random (hypergeometric)."""
    off = ~np.eye(recording.sizes["target"], dtype=bool)
    edge = recording.connectivity.values[off] != 0
    top = np.argsort(-found.score.values[off])[: edge.sum()]
    return stats.hypergeom.sf(edge[top].sum() - 1, len(edge), edge.sum(), edge.sum())


# ---- the network


def test_moments_are_correlations_and_ridge_coefficients_in_standard_errors():
    errors, sources = draws(1, 400, 3, 2), draws(1, 400, 3, 2, seed=1)
    errors[0, :, 2, 0] += 2 * sources[0, :, 1, 1]  # neuron 1 drives neuron 2
    moments = amortised_network.cross_moments(errors, sources).numpy()[0]
    assert np.unravel_index(moments[..., :8].max(-1).argmax(), (3, 3)) == (2, 1)  # target, source

    e = stats.zscore(errors[0].numpy()[:, 2, 0])
    s = stats.zscore(sources[0].numpy().reshape(400, 6))
    index = 1 * 2 + 1  # of source neuron 1, feature 1
    assert np.sinh(moments[2, 1, 2]) == pytest.approx(20 * stats.pearsonr(e, s[:, index])[0], rel=1e-5)
    coefficient = Ridge(alpha=amortised_network._RIDGE * 400, fit_intercept=False).fit(s, e).coef_[index]
    inverse = np.linalg.inv(s.T @ s / 400 + amortised_network._RIDGE * np.eye(6))
    assert np.sinh(moments[2, 1, 3]) == pytest.approx(20 * coefficient / inverse[index, index] ** 0.5, rel=1e-5)
    assert moments[1, 2, 8:16] == pytest.approx(moments[2, 1, :8])  # and the other way round
    assert moments[..., 16] == pytest.approx(np.full((3, 3), np.log(400) / 7))


def test_decoder_adds_what_sources_send_and_nothing_of_the_own():
    network = amortised_network.AmortisedNetwork(context=4, n_hidden=8).double()
    views = network.look(draws(1, 9, 3, 4))
    types = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    types[..., 0] = 1
    assert torch.equal(network.decode(views, types), views.mean)
    types[0, 2, 0] = torch.tensor([0, 0, 1.0])  # neuron 0 inhibits neuron 2
    types[0, 1, 1] = torch.tensor([0, 1.0, 0])  # a neuron does not drive itself
    expected = views.mean.clone()
    expected[0, :, 2] -= views.gain[0, :, 2] * views.message[0, :, 0]
    torch.testing.assert_close(network.decode(views, types), expected)


def test_naming_the_signs_changes_no_forecast():
    torch.manual_seed(0)
    network = amortised_network.AmortisedNetwork(context=3, n_hidden=8).double()
    past, following = draws(2, 50, 4, 3), draws(2, 50, 4, seed=1)

    def seen():
        with torch.no_grad():
            evidence = network(past, following)
            sends = evidence.views.message
            grows = ((sends - sends.mean(1, keepdim=True)) * past[..., -1]).mean()
            return evidence.logits, network.decode(evidence.views, evidence.logits.softmax(-1)), float(grows)

    for layer in (network.read, network.linear):
        layer.weight.data[3] = -layer.weight.data[3].abs()  # messages that fall with activity
    logits, forecast, grows = seen()
    assert grows < 0
    network.orient_signs(past)
    turned, same, grows = seen()
    assert grows > 0
    torch.testing.assert_close(same, forecast)
    torch.testing.assert_close(turned, logits[..., [0, 2, 1]])


# ---- invariances


@pytest.mark.parametrize("weights", SHIPPED)
def test_neurons_have_no_order_no_scale_and_no_origin(recording, weights):
    method = AmortisedDiscovery(weights=weights)
    found = method.fit(recording).connectivity_
    order = [3, 0, 6, 2, 5, 1, 4]
    other = method.fit(recording.isel(neuron=order, target=order, source=order)).connectivity_
    assert other.target.values.tolist() == [f"n{i}" for i in order]
    np.testing.assert_allclose(other.sel(found.score.coords).score, found.score, rtol=1e-9)
    assert (other.sel(found.score.coords).sign == found.sign).all()

    x = np.round(recording.activity.values.astype(float) * 64) / 64  # so that float32 holds what follows exactly
    scaled = (x + np.array([-100, 0, 50, 3, 1, -7, 20])) * 2.0 ** np.arange(-12, 9, 3)
    np.testing.assert_allclose(
        method.fit(scaled).connectivity_.score, method.fit(x).connectivity_.score, rtol=1e-9
    )


def test_any_number_of_neurons_and_steps_will_do(recording):
    for neurons, steps in ((2, 30), (7, 200), (3, 1200)):
        part = recording.activity.values[-steps:, :neurons]
        assert AmortisedDiscovery().fit(part).connectivity_.score.shape == (neurons, neurons)


def test_no_window_crosses_a_trial_border(recording):
    x, trial = recording.activity.values[:900].astype(float), np.repeat([0, 1, 2], 300)
    one = AmortisedDiscovery().fit(from_array(x, trial=trial)).connectivity_.score
    other = np.concatenate([x[600:], x[:300], x[300:600]])
    again = AmortisedDiscovery().fit(from_array(other, trial=trial)).connectivity_.score
    np.testing.assert_allclose(again, one, rtol=1e-9)


# ---- what the shipped weights know


@pytest.mark.parametrize("weights", SHIPPED)
def test_planted_drives_are_found_with_their_direction_and_sign(weights):
    planted = np.zeros((6, 6))  # target, source
    planted[1, 0] = planted[2, 1] = 5  # a chain
    planted[4, 3] = planted[5, 3] = -5  # an inhibitor of two
    run = simulate.izhikevich(connectivity=planted, n_steps=4000, random_state=6990)
    method = AmortisedDiscovery(weights=weights).fit(run)
    table = connectivity.to_frame(method.connectivity_)
    found = set(zip(table.source[:4], table.target[:4], table.sign[:4], strict=True))
    assert found == {("n0", "n1", 1), ("n1", "n2", 1), ("n3", "n4", -1), ("n3", "n5", -1)}
    assert ((method.connectivity_.graph.values != 0) == (planted != 0)).all()
    gain = method.diagnostics_.forecast_gain
    assert (gain[[1, 2, 4, 5]] > 0.005).all() and (abs(gain[[0, 3]]) < 0.005).all()


@pytest.mark.parametrize("weights", SHIPPED)
@pytest.mark.parametrize(("n", "p"), [(10, 0.2), (10, 0.6), (25, 0.2)])
def test_unseen_networks_are_read_beyond_chance(weights, n, p):
    run = simulate.izhikevich(n, p, 3000, 6980)
    found = AmortisedDiscovery(weights=weights).fit(run).connectivity_
    assert chance_of(run, found) < 1e-6
    assert metrics.auroc(run, found) > 0.95
    assert metrics.auroc(run, found.score.values.T) < 0.8  # and not the other way round
    assert found.attrs["trained_on"].startswith("600 Izhikevich networks")


# ---- training


@pytest.mark.parametrize("supervised", [False, True])
def test_training_learns_to_read_unseen_networks(vars_, tmp_path, supervised):
    method = AmortisedDiscovery.pretrain(
        vars_[:50], tmp_path / "own.safetensors", supervised=supervised, context=2, n_hidden=16, n_steps=100,
        n_networks=8, n_rows=300, learning_rate=1e-2,
    )  # fmt: skip
    chances = [chance_of(run, method.fit(run).connectivity_) for run in vars_[50:]]
    assert stats.combine_pvalues(chances).pvalue < 1e-6  # Fisher: conservative for discrete ones
    signs = [metrics.sign_accuracy(run, method.fit(run).connectivity_.sign) for run in vars_[50:]]
    assert np.nanmean(signs) > 0.9


def test_learning_from_forecasts_looks_at_no_truth(vars_, tmp_path):
    quick = {"context": 2, "n_hidden": 8, "n_steps": 12, "n_networks": 3, "n_rows": 100}
    hidden = [run.drop_vars("connectivity") for run in vars_[:6]]
    for name, runs in (("with", vars_[:6]), ("without", hidden)):
        AmortisedDiscovery.pretrain(runs, tmp_path / name, **quick)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()
    with pytest.raises(ValueError, match="recording 0 has no 'connectivity'"):
        AmortisedDiscovery.pretrain(hidden, tmp_path / "labels", supervised=True, **quick)


def test_training_refuses_what_it_cannot_learn_from(vars_, tmp_path):
    file = tmp_path / "none"
    with pytest.raises(ValueError, match="no recordings to train on"):
        AmortisedDiscovery.pretrain([], file)
    with pytest.raises(ValueError, match="recording 1 has 44 windows of 6 . 1 steps"):
        AmortisedDiscovery.pretrain([vars_[0], vars_[1].isel(time=slice(50))], file)
    for wrong in ({"context": 0}, {"n_steps": 1}, {"learning_rate": 2}, {"edge_prior": 1}, {"n_hidden": 0.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AmortisedDiscovery.pretrain(vars_[:2], file, **wrong)
    assert not file.exists()


# ---- weights on disk


def test_weights_survive_their_file(recording, tmp_path):
    torch.manual_seed(3)
    network = amortised_network.AmortisedNetwork(context=5, n_hidden=8)
    about = {"description": "drawn", "kinds": ["voltage"]}
    file = amortised_training.save(network, tmp_path / "new" / "w.safetensors", about)
    again, told = amortised_training.load(file)
    assert again.settings == network.settings and about.items() <= told.items()
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    one = clone(AmortisedDiscovery(weights=file)).fit(recording)
    score = one.connectivity_.score.copy()
    assert json.loads(one.connectivity_.attrs["parameters"]) == {"weights": str(file)}
    network.types.bias.data[0] -= 1
    amortised_training.save(network, file, about)
    changed = one.fit(recording).connectivity_  # the file is read again when it was written again
    assert (changed.score > score).where(score.notnull(), True).all()


def test_untrained_missing_and_foreign_weights_are_refused(recording, tmp_path):
    with pytest.raises(NotFittedError, match="no trained weights.*pretrain"):
        AmortisedDiscovery(weights=None).fit(recording)
    with pytest.raises(ValueError, match=r"'nowhere': it is one of \['forecasts', 'labels'\]"):
        AmortisedDiscovery(weights="nowhere").fit(recording)
    (tmp_path / "text").write_text("no weights")
    save_file({"a": torch.zeros(2)}, tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match="holds no weights of AmortisedDiscovery"):
            AmortisedDiscovery(weights=tmp_path / name).fit(recording)


def test_a_recording_of_another_kind_is_warned_of(recording):
    with pytest.warns(UserWarning, match=r"trained on recordings of kind \['voltage'\], this one is 'calcium'"):
        AmortisedDiscovery().fit(recording.assign_attrs(kind="calcium"))


def test_too_short_trials_are_refused(recording):
    x = recording.activity.values[:120]
    with pytest.raises(ValueError, match="activity has 0 windows of 6 . 1 steps"):
        AmortisedDiscovery().fit(from_array(x, trial=np.repeat(np.arange(30), 4)))


# ---- the benchmark, and what the book shows of it


def test_the_benchmark_goes_on_where_it_was_and_again_where_weights_are_others(tmp_path, monkeypatch):
    calls = []

    def told(world, network, recording, name, method):
        calls.append(name)
        return real(world, network, recording, name, method)

    real = benchmark.row_of
    runs = [simulate.izhikevich(5, 0.3, 400, 2960 + k) for k in range(2)]
    monkeypatch.setattr(benchmark, "row_of", told)
    monkeypatch.setattr(benchmark, "worlds", lambda: {"a": runs})
    monkeypatch.setattr(benchmark, "read_before", lambda: [])
    quick = {name: method for name, method in benchmark.methods().items() if name != "SingleIndexGranger"}
    monkeypatch.setattr(benchmark, "methods", lambda: quick)
    first = benchmark.measure(tmp_path / "t.csv")
    assert len(first) == len(calls) == 2 * 3
    again = benchmark.measure(tmp_path / "t.csv")
    assert len(calls) == 6  # nothing anew
    pd.testing.assert_frame_equal(first, again, check_dtype=False)
    monkeypatch.setattr(benchmark, "digest", lambda which: "other" if which == "labels" else "")
    assert set(benchmark.measure(tmp_path / "t.csv").weights) == {"", "other"}
    assert calls[6:] == ["forecasts", "labels"] * 2
    row = first.set_index(["method", "network"]).loc["labels", "seed 2961"]
    found = AmortisedDiscovery(weights="labels").fit(runs[1])
    edges = runs[1].connectivity.values != 0
    assert row.found == pytest.approx(found.connectivity_.graph.values[edges].mean())
    assert row.auroc == pytest.approx(metrics.auroc(runs[1], found.connectivity_))


def test_the_books_tables_follow_from_the_stored_rows():
    table = pd.read_csv(RESULTS / "amortised.csv")
    for name, made in (("table", benchmark.shown(table)), ("graphs", benchmark.read_out(table))):
        pd.testing.assert_frame_equal(made.astype(str), pd.read_csv(RESULTS / f"amortised_{name}.csv", dtype=str))
    assert table.groupby("world").method.value_counts().groupby("world").nunique().eq(1).all()  # all methods on all
    told = json.loads((RESULTS / "amortised.json").read_text())
    used = table[table.method.isin(SHIPPED)].groupby("method").weights.unique()
    for name in SHIPPED:
        assert used[name].tolist() == [benchmark.digest(name)] == [told["weights"][name]]  # those of the package


def test_rows_of_other_benchmarks_are_those_of_the_same_networks():
    table = pd.read_csv(RESULTS / "amortised.csv")
    for grid, world in (("generality", "LIF, weights 1"), ("accuracy", "the paper's, 40 neurons")):
        stored = pd.read_csv(RESULTS / f"{grid}.csv").set_index(["network", "method"])
        stored = stored[stored["grid"] == grid] if "grid" in stored else stored[stored["pairs"] == "all"]
        part = table[table.world == world]
        for row in part[part.method.isin(benchmark.OTHERS)].itertuples():
            assert stored.loc[(row.network, row.method), "auroc"] == row.auroc
        for name in SHIPPED:  # as many edges in what was read here
            ours = part[part.method == name].set_index("network").n_edges
            assert (ours == stored.xs("MVGC", level="method").n_edges[ours.index]).all() and len(ours) >= 5


def test_networks_that_are_measured_were_not_trained_on():
    n_training = len(benchmark.SIZES) * len(benchmark.PROBABILITIES) * len(benchmark.STRENGTHS) * benchmark.A_CELL
    assert n_training == 600 and benchmark.FIRST_TRAINING_SEED + n_training <= 2900
    table = pd.read_csv(RESULTS / "amortised.csv")
    seeds = table.network[table.network.str.startswith("seed ")].str[5:].astype(int)
    assert seeds.min() >= benchmark.FIRST_SEED > 2920 and seeds.nunique() == 20
    others = table[table.network.str.contains("_seed")]  # low seeds, and another size or simulator
    assert not (others.n_neurons.isin(benchmark.SIZES) & others.world.str.startswith("Izhikevich")).any()

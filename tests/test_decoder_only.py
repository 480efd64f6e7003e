"""The decoder-only transformer: what reaches what, its gradients where the answer is known, what it refuses."""

import numpy as np
import pytest
import torch
from test_readouts_known import known, model_of, newest_first

from causalkit import Causalformer, DecoderOnlyTransformer, lagged_graphs, lagged_metrics, readouts, simulate
from causalkit.methods.decoder_only import log_density
from causalkit.methods.decoder_only_network import DecoderOnlyNetwork
from causalkit.nn import LayerNorm, Linear
from causalkit.recording import from_array
from causalkit.relevance import AttnLRPRules, RelevanceRules
from causalkit.windows import Windows

N, L, WINDOWS = 4, 3, 12
TINY = {
    "context": 2, "embedding_dim": 8, "feedforward_dim": 8, "n_heads": 2, "max_epochs": 1, "n_seeds": 1,
    "device": "cpu",
}  # fmt: skip
KINDS = {
    "two layers": {}, "one layer": {"n_layers": 1}, "three layers": {"n_layers": 3}, "no norm": {"norm": "none"},
    "domains": {"n_domains": 3},
}  # fmt: skip


def network_of(kind="two layers", seed=0, neurons=N):
    """A small network with weights that nothing trained."""
    sizes = {"context": L, "embedding_dim": 8, "feedforward_dim": 12, "n_heads": 2}
    network = DecoderOnlyNetwork(2, neurons, **sizes, **KINDS[kind]).initialize([seed, seed + 1])
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, LayerNorm):
            for value in module.parameters():
                value.data += 0.3 * torch.rand(value.shape, generator=generator)
    network.readout.bias.data += torch.rand(network.readout.bias.shape, generator=generator)
    return network.double().eval()


@pytest.fixture
def history():
    return torch.tensor(np.random.default_rng(1).standard_normal((2, WINDOWS, N, L)))


def domains():
    return torch.arange(WINDOWS).expand(2, -1) % 3


def run(network, history, **options):
    return network(history, domains() if network.domain is not None else None, **options)


# ---- what reaches what


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_and_lag_reaches_every_target_in_mean_and_variance(kind, history):
    network, history = network_of(kind), history.clone().requires_grad_()
    for output in run(network, history):
        for target in range(N):
            (slope,) = torch.autograd.grad(output[..., target].sum(), history, retain_graph=True)
            assert (slope.abs() > 1e-9).all(), target


@pytest.mark.parametrize("kind", KINDS)
def test_windows_members_and_targets_do_not_act_on_each_other(kind, history):
    network = network_of(kind)
    before = run(network, history)
    changed = history.clone()
    changed[0, 3] += 1  # another history of one window of one member
    for one, other in zip(before, run(network, changed), strict=True):
        same = torch.isclose(one, other, rtol=0, atol=1e-9 if kind != "no norm" else 1e-12).all(-1)
        assert not same[0, 3] and same.sum() == same.numel() - 1
    network.target.weight.data[:, 2] += 1  # another question for one target
    for one, other in zip(before, run(network, history), strict=True):
        np.testing.assert_array_equal((one == other).all(1).all(0).numpy(), [True, True, False, True])


def test_every_target_has_a_question_of_its_own_in_each_regime(history):
    network = network_of("domains")
    before = run(network, history)
    network.domain.weight.data[:, 1 * N + 2] += 1  # neuron 2 in regime 1
    for one, other in zip(before, run(network, history), strict=True):
        moved = (one != other).any(0)  # (window, target)
        np.testing.assert_array_equal(moved, (domains()[0] == 1)[:, None] & (torch.arange(N) == 2))


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_neurons_permute_the_forecast(kind, history):
    order = [2, 0, 3, 1]
    network, permuted = network_of(kind), network_of(kind)
    for part in (permuted.tokens.value, permuted.tokens.neuron, permuted.target):
        part.weight.data = part.weight.data[:, order]
    if network.domain is not None:  # regime-major
        by_target = permuted.domain.weight.data.unflatten(1, (-1, N))
        permuted.domain.weight.data = by_target[:, :, order].flatten(1, 2)
    for part in ("weight", "bias"):
        getattr(permuted.readout, part).data = getattr(permuted.readout, part).data[:, order]
    for one, other in zip(run(network, history), run(permuted, history[:, :, order]), strict=True):
        torch.testing.assert_close(other, one[..., order])


def test_a_forecast_knows_its_past_and_nothing_else():
    x = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    model = DecoderOnlyTransformer(**TINY).fit(x)
    before = model.predict(x)
    assert before.time.values[0] == 2 and before.prediction.shape == before.sd.shape == (198, 3)
    for row in (50, 51):  # two rows reach a forecast, and only those
        changed = x.copy()
        changed[row] += 1
        after = model.predict(changed)
        for name in ("prediction", "sd"):
            moved = (after[name] != before[name]).any("neuron")
            assert before.time.values[moved].tolist() == [row + 1, row + 2]


def test_attention_is_that_of_the_fused_kernel(history):
    network, layers = network_of("three layers"), []
    plain, explicit = network(history), network(history, layers=layers)
    for one, other in zip(plain, explicit, strict=True):
        torch.testing.assert_close(one, other)
    assert [(layer.queries, layer.keys) for layer in layers] == [
        ("target", "history"), ("history", "history")] * 2 + [("target", "history")]  # fmt: skip
    for layer in layers:
        assert layer.weights.shape[-1] == N * L
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(layer.weights.shape[:-1]).double())
    assert layers[0].values.shape == (2, WINDOWS, 2, N * L, 4)


# ---- readouts whose answer is known


def gaussian(mean, log_variance, history, targets):
    """A model of one member that forecasts a normal distribution."""

    def density(inputs, windows):
        inputs = inputs.flatten(0, 1)
        return log_density(mean(inputs), log_variance(inputs), targets[windows]).unflatten(0, (1, -1))

    return known(mean, history, targets, log_density=density)


def test_energies_of_a_linear_model_are_those_on_paper():
    rng = np.random.default_rng(2)
    weights, variance = rng.standard_normal((3, 3, 2)), np.array([0.5, 1.0, 4.0])
    history = torch.tensor(rng.standard_normal((20_000, 3, 2)))

    def mean(x):
        return torch.einsum("ijl,bjl->bi", torch.tensor(weights), x)

    targets = mean(history) + torch.tensor(rng.standard_normal((20_000, 3)) * np.sqrt(variance))
    logs = torch.tensor(np.log(variance))
    model = gaussian(mean, lambda x: logs.expand(len(x), -1), history, targets)
    G = readouts.read(model, None, "gradient_energy").lag_score
    np.testing.assert_allclose(G, newest_first(weights) ** 2, rtol=1e-6)
    H = readouts.read(model, None, "score_energy").lag_score
    np.testing.assert_allclose(H, newest_first(weights) ** 2 / variance[:, None, None], rtol=0.05)


def test_only_the_score_energy_sees_what_moves_the_variance():
    rng, w = np.random.default_rng(3), 0.7
    history = torch.tensor(rng.standard_normal((50_000, 2, 1)))

    def log_variance(x):  # of neuron 0 by neuron 1
        return torch.stack([w * x[:, 1, 0], torch.zeros_like(x[:, 0, 0])], dim=-1)

    def mean(x):
        return torch.zeros_like(x[..., 0])

    targets = torch.tensor(rng.standard_normal((50_000, 2))) * (log_variance(history) / 2).exp()
    model = gaussian(mean, log_variance, history, targets)
    assert (readouts.read(model, None, "gradient_energy").seed_score == 0).all()
    H = readouts.read(model, None, "score_energy").seed_score.values[0]
    # d log p / dx = w (e² - 1) / 2 with normal e, whose square is w² / 2 on average
    np.testing.assert_allclose(H, [[0, w**2 / 2], [0, 0]], rtol=0.05)


def test_a_trained_network_is_read_as_the_coefficients_of_its_world():
    recording = simulate.var(4, 0.5, 12_000, 2001, n_lags=2, strength=(0.2, 0.5))
    model = DecoderOnlyTransformer(context=2, n_seeds=1, max_epochs=8, device="cpu")
    result = model.fit(recording).connectivity_
    sd = recording.activity.values[:7200].std(0)
    truth = np.abs(recording.coefficients.values) * (sd / sd[:, None])[..., None]
    np.testing.assert_allclose(np.sqrt(result.lag_score), truth, atol=0.08)
    assert np.corrcoef(np.sqrt(result.lag_score.values).ravel(), truth.ravel())[0, 1] > 0.98
    assert result.lag.values.tolist() == [1, 2]
    # a perfect forecast's density is that of the noise
    best = -0.5 * np.log(2 * np.pi * np.e) + np.log(sd)
    np.testing.assert_allclose(model.diagnostics_.test_log_density[0], best, atol=0.05)
    np.testing.assert_allclose(model.predict(recording).sd.mean("time"), 1, atol=0.05)


def leaves(network):
    """Everything that a forecast is a sum of, beside the history."""
    yield from (network.tokens.neuron.weight, network.tokens.lag.weight, network.target.weight, network.readout.bias)
    if network.domain is not None:
        yield network.domain.weight
    for module in network.modules():
        if isinstance(module, (Linear, LayerNorm)):
            yield module.bias


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("rules", [RelevanceRules, AttnLRPRules])
@pytest.mark.parametrize("kind", KINDS)
def test_relevance_adds_up_to_the_forecast(kind, rules, explicit, history):
    network, history = network_of(kind), history.clone().requires_grad_()
    for parameter in network.parameters():
        parameter.requires_grad_()
    with rules() as active:
        mean, _ = run(network, history, layers=[] if explicit else None)
    torch.testing.assert_close(mean.detach(), run(network, history)[0].detach(), rtol=1e-6, atol=1e-6)
    parts = [history, *leaves(network)]
    softmaxes = getattr(active, "softmaxes", [])
    assert len(softmaxes) == (2 * len(network.layers) - 1) * (rules is AttnLRPRules)
    for member, window, target in [(0, 0, 0), (1, 7, 2), (0, 11, 3)]:
        whole = mean[member, window, target]
        slopes = torch.autograd.grad(whole, [*parts, *(w for _, w in softmaxes)], retain_graph=True, allow_unused=True,
                                     materialize_grads=True)  # fmt: skip
        total = sum((slope * part).sum() for slope, part in zip(slopes, parts, strict=False))
        for slope, (scores, weights) in zip(slopes[len(parts) :], softmaxes, strict=True):
            tangent = weights * (scores - (weights * scores).sum(-1, keepdim=True))
            total = total + (slope * (weights - tangent)).sum()  # the constant of the softmax's tangent
        torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-6)
        assert (slopes[0] * history).abs().sum() > 1e-3


def test_gradients_of_the_network_are_finite_differences(history):
    network, step = network_of("no norm"), 1e-5
    probe = {"neurons": list("abcd"), "seeds": [0, 1], "n_windows": WINDOWS, "windows_at_once": 5,
             "history": lambda w: history[0, w], "targets": lambda w: history[1, w, :, 0],
             "forecast": lambda x, w: network(x)[0],
             "log_density": lambda x, w: log_density(*network(x), history[1, w, :, 0])}  # fmt: skip
    inputs, windows = history[:1].expand(2, -1, -1, -1), torch.arange(WINDOWS)
    for name, output in (("gradient_energy", probe["forecast"]), ("score_energy", probe["log_density"])):
        found = readouts.read(model_of(probe), None, name).seed_lag_score.values
        for source, lag in [(0, 1), (2, 3), (3, 2)]:
            moved = torch.zeros_like(inputs)
            moved[..., source, L - lag] = step
            with torch.no_grad():
                slope = (output(inputs + moved, windows) - output(inputs - moved, windows)) / (2 * step)
            np.testing.assert_allclose(found[:, :, source, lag - 1], slope.square().mean(1), rtol=1e-5, atol=1e-9)


# ---- ranks


def test_ranks_of_a_linear_model(history):
    weights = torch.tensor([[[1.0, 2.0], [3.0, -4.0]], [[0.0, 0.0], [0.0, 5.0]]]).double()  # the oldest step first
    x = torch.tensor(np.random.default_rng(4).standard_normal((30, 2, 2)))
    model = known(lambda x: torch.einsum("ijl,bjl->bi", weights, x), x)
    ranks = readouts.ranks(model, None)
    np.testing.assert_array_equal(ranks.rank_mean, [[[3, 4], [1, 2]], [[3, 3], [1, 3]]])
    np.testing.assert_allclose(ranks.rank_sd, 0, atol=1e-6)
    times = readouts.ranks(model, None, "gradient_x_input")
    size = np.abs(weights.numpy() * x.numpy()[:, None])[:, 0].reshape(30, 4)
    by_hand = 1 + (size[:, None] > size[..., None]).sum(-1)
    np.testing.assert_allclose(times.rank_mean[0], newest_first(by_hand.mean(0).reshape(2, 2)))
    np.testing.assert_allclose(times.rank_sd[0], newest_first(by_hand.std(0).reshape(2, 2)), atol=1e-6)
    with pytest.raises(ValueError, match="'ablation' has no sizes of single windows.*gradient_energy"):
        readouts.ranks(model, None, "ablation")


# ---- domains


REGIMES = TINY | {"context": 1, "embedding_dim": 16, "max_epochs": 8, "learning_rate": 1e-2}


def two_regimes(n_steps=4000, each=20):
    """Neuron 0 drives neuron 1 with a sign that changes after `each` steps."""
    rng = np.random.default_rng(5)
    domain, x = np.arange(n_steps) // each % 2, rng.standard_normal((n_steps, 3))
    for t in range(1, n_steps):
        x[t, 1] += (1 - 2 * domain[t]) * x[t - 1, 0]
    return from_array(x, kind="other", variables={"domain": ("time", domain)})


def test_a_network_that_is_told_the_domain_forecasts_both():
    recording = two_regimes()
    blind, told = (DecoderOnlyTransformer(n_domains=n, **REGIMES).fit(recording) for n in (1, 2))
    assert told.diagnostics_.ensemble_test_r2[1] > 0.4 > 0.1 > blind.diagnostics_.ensemble_test_r2[1]
    score = told.connectivity_.score
    assert score[1, 0] > 10 * np.nanmax(score.where(score != score[1, 0]))
    swapped = recording.assign(domain=1 - recording.domain)
    one, other = (told.predict(each).prediction[:, 1].values for each in (recording, swapped))
    assert np.corrcoef(one, other)[0, 1] < -0.9


def test_every_domain_is_learned_and_tested_where_they_follow_each_other():
    # with 60, 20 and 20 % of the whole, half of what is learned and all that is tested would be of the second domain
    recording = two_regimes(each=2000)
    told = DecoderOnlyTransformer(n_domains=2, **REGIMES).fit(recording)
    assert told.diagnostics_.ensemble_test_r2[1] > 0.4
    assert abs(DecoderOnlyTransformer(**REGIMES).fit(recording).diagnostics_.ensemble_test_r2[1]) < 0.1


def test_windows_are_split_within_each_domain():
    domain = np.repeat([7, 3, 7], [40, 13, 27])  # 65, of which two begin in another domain, and 13 windows
    x = np.random.default_rng(10).standard_normal((80, 2))
    x[domain == 3] += 5
    recording = from_array(x, kind="other", variables={"domain": ("time", domain)})
    data = Windows.cut(recording, 2, "train", "cpu", domain=domain)
    parts = [data.train, data.validation, data.test]
    assert sorted(torch.cat(parts).tolist()) == list(range(78))
    for label, sizes in ((7, [39, 13, 13]), (3, [8, 3, 2])):
        of_it = [part[domain[data.starts[part] + 2] == label] for part in parts]
        assert [len(part) for part in of_it] == sizes
        assert of_it[0].max() < of_it[1].min() and of_it[1].max() < of_it[2].min()  # in the order of time
    rows = np.unique(data.starts[data.train].numpy()[:, None] + np.arange(3))  # what training sees scales it
    np.testing.assert_allclose(data.scaling.mean, x[rows].mean(0))
    # the same windows of a regime that has another name, and of the recording when it is forecast
    for again in (Windows.cut(recording, 2, "train", "cpu", domain=9 - domain),
                  Windows.cut(recording, 2, "train", "cpu", data.scaling, domain)):  # fmt: skip
        assert all(torch.equal(*pair) for pair in zip(parts, (again.train, again.validation, again.test), strict=True))


def test_one_domain_is_split_as_none():
    x = np.random.default_rng(11).standard_normal((205, 3))
    one = from_array(x, kind="other", variables={"domain": ("time", np.zeros(205, dtype=int))})
    scores = [DecoderOnlyTransformer(**TINY).fit(recording).connectivity_.lag_score for recording in (x, one)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_domains_too_short_to_be_tested_on_are_refused():
    recording = two_regimes(100).assign(domain=("time", np.arange(100) // 4))
    with pytest.raises(ValueError, match="no regime has the five windows.*leave out the variable domain"):
        DecoderOnlyTransformer(**TINY).fit(recording)
    assert DecoderOnlyTransformer(**TINY).fit(recording.drop_vars("domain")).connectivity_.sizes["lag"] == 2


def test_domains_that_are_missing_or_unknown_are_refused():
    recording = two_regimes(200)
    with pytest.raises(ValueError, match=r"no variable domain \(time\): add it, or leave n_domains at 1"):
        DecoderOnlyTransformer(n_domains=2, **TINY).fit(recording.drop_vars("domain"))
    for wrong in (recording.domain * 2, recording.domain - 1, recording.domain + 0.5):
        with pytest.raises(ValueError, match="with n_domains=2 they are whole numbers from 0 to 1"):
            DecoderOnlyTransformer(n_domains=2, **TINY).fit(recording.assign(domain=wrong))


# ---- the method


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embedding_dim": 10, "n_heads": 4}, "embedding_dim=10 is no multiple of n_heads=4"),
        ({"n_layers": 0}, "n_layers is 0"), ({"context": 2.5}, "context is 2.5"), ({"n_seeds": 0}, "n_seeds is 0"),
        ({"norm": "batch"}, "norm='batch' is unknown: choose one of layer, none"),
        ({"readout": "attention"}, "readout='attention' is unknown: choose one of gradient_energy"),
        ({"more_readouts": ["ablation"]}, r"more_readouts=\['ablation'\] must be a list of gradient_energy"),
        ({"dropout": 1.0}, "dropout=1.0 must be a number from 0 on and below 1"),
        ({"weight_decay": -1}, "weight_decay=-1 must be a number from 0 on"),
        ({"learning_rate": 0}, "learning_rate is 0"), ({"random_state": -1}, "random_state is -1"),
    ],
)  # fmt: skip
def test_impossible_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DecoderOnlyTransformer(**TINY | wrong).fit(np.random.default_rng(0).standard_normal((100, 3)))


def test_a_stored_model_forecasts_and_is_read_alike(tmp_path):
    recording = two_regimes(400)
    model = DecoderOnlyTransformer(n_domains=2, **TINY | {"n_seeds": 2}).fit(recording)
    loaded = DecoderOnlyTransformer.load(model.save(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(recording).prediction, model.predict(recording).prediction)
    for name in (*readouts.READOUTS, *readouts.MORE_READOUTS):
        one, other = (readouts.read(each, recording, name, n_windows=20) for each in (model, loaded))
        np.testing.assert_array_equal(one.seed_score, other.seed_score)
        assert one.sizes["seed"] == 2 and ("lag_score" in one) == (name != "ablation")


def test_more_readouts_are_those_that_read_gives():
    recording = two_regimes(400)
    names = ["attn_lrp", "attention"]
    model = DecoderOnlyTransformer(more_readouts=names, n_windows=1000, **TINY).fit(recording)
    for name in names:
        stored, read = model.connectivity_[f"{name}_lag_score"], readouts.read(model, recording, name).lag_score
        np.testing.assert_array_equal(stored, read)
        assert stored.dims == ("target", "source", "lag")


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path):
    x = np.random.default_rng(6).standard_normal((300, 3))
    options = TINY | {"learning_rate_decay": "constant"}
    DecoderOnlyTransformer(**options | {"max_epochs": 1}, checkpoint=tmp_path).fit(x)
    resumed = DecoderOnlyTransformer(**options | {"max_epochs": 3}, checkpoint=tmp_path).fit(x)
    whole = DecoderOnlyTransformer(**options | {"max_epochs": 3}).fit(x)
    np.testing.assert_array_equal(resumed.connectivity_.lag_score, whole.connectivity_.lag_score)
    with pytest.raises(ValueError, match="belongs to a run with other data"):
        DecoderOnlyTransformer(**options, checkpoint=tmp_path).fit(x + 1)


def test_members_of_an_ensemble_are_trained_apart():
    x = np.random.default_rng(7).standard_normal((300, 3))
    both = DecoderOnlyTransformer(**TINY | {"n_seeds": 2}).fit(x).connectivity_.seed_score.sel(seed=1)
    alone = DecoderOnlyTransformer(**TINY, random_state=1).fit(x).connectivity_.seed_score.sel(seed=1)
    np.testing.assert_allclose(both, alone, rtol=1e-2)


def test_a_forecaster_of_numbers_has_no_score_energy():
    x = np.random.default_rng(8).standard_normal((200, 3))
    model = Causalformer(preset="small", n_seeds=1, max_epochs=1, device="cpu").fit(x)
    with pytest.raises(ValueError, match="causalformer forecasts a number and no distribution.*'gradient_energy'"):
        readouts.read(model, x, "score_energy")
    assert (readouts.read(model, x, "attn_lrp", n_windows=5).seed_score > 0).all()


def test_seconds_are_estimated_before_the_fit():
    x = np.random.default_rng(9).standard_normal((2000, 3))
    model = DecoderOnlyTransformer(**TINY | {"max_epochs": 4})
    estimate = model.estimate_seconds(x)
    actual = model.fit(x).connectivity_.attrs["seconds"]
    assert 0.1 < estimate / actual < 10


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["linear", "joint_mlp"])
def test_lagged_graphs_are_found_without_their_number_of_edges(mechanism):
    recording = simulate.timeseries(6, 20_000, 2010, mechanism=mechanism, n_lags=3)
    found = DecoderOnlyTransformer(context=3, max_epochs=8, device="cpu").fit(recording).connectivity_
    graph = lagged_graphs.graph(found, widest_gap=True)
    assert lagged_metrics.f1(recording, graph) >= 0.9
    k = int((recording.lagged_connectivity != 0).sum())
    assert lagged_metrics.f1(recording, lagged_graphs.graph(found, top_k=k)) >= 0.95
    # a permutation null: the same scores on the wrong neurons
    order = np.roll(np.arange(6), 1)
    wrong = recording.lagged_connectivity.values[order][:, order]
    assert lagged_metrics.f1(wrong, lagged_graphs.graph(found, top_k=k).values) < 0.6

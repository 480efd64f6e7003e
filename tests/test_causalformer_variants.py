"""Variants of the Causalformer with history tokens: each keeps the conditions of the causal reading, and learns."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from causalkit import Causalformer, nn, recording, simulate
from causalkit.methods import causalformer_attention as attentions
from causalkit.methods.causalformer_compact import CompactNetwork, standardize
from causalkit.methods.causalformer_presets import VARIANTS
from causalkit.sweep import work

TINY = {
    "n_seeds": 2, "context": 4, "embedding_dim": 12, "feedforward_dim": 16, "head_dim": 4, "n_heads": 2,
    "batch_size": 32, "learning_rate": 5e-3, "max_epochs": 1, "device": "cpu", "decoder_attention": "softmax",
}  # fmt: skip
SIZES = {name: TINY[name] for name in ("context", "embedding_dim", "feedforward_dim", "head_dim", "n_heads")}
OPTIONS = {
    "default": {},
    "static": {"decoder_attention": "static"},
    "linear": {"decoder_attention": "linear"},
    "layer": {"norm": "layer"},
    "unnormalized": {"norm": "none"},
    "stationarized": {"stationarize": True},
    "somebody": {"nobody": 0},
    "itself": {"self_attention": True},
    "named": {"identity_in_values": True},
    "linear, layer, somebody": {"decoder_attention": "linear", "norm": "layer", "nobody": 0},
    "static, stationarized, itself": {"decoder_attention": "static", "stationarize": True, "self_attention": True},
    "unreadable": {"nobody": 0, "self_attention": True, "identity_in_values": True, "norm": "layer"},
}
every_variant = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
N = 5


@pytest.fixture(scope="module")
def spikers():
    return simulate.izhikevich(n_neurons=N, connection_probability=0.4, n_steps=300, random_state=3)


def inputs(n_windows=6, n_neurons=N, seed=0):
    """Histories that wander, so that windows differ in mean and spread, and their times."""
    generator = torch.Generator().manual_seed(seed)
    history = torch.randn(2, n_windows, n_neurons, 4, generator=generator).cumsum(-1)
    time = torch.arange(4.0).expand(2, n_windows, 4) / 1000
    return history, time, time[..., -1:] + 0.001


def network(n_neurons=N, **options):
    return CompactNetwork(2, n_neurons, **SIZES, **options).initialize([3, 4]).eval()


def perturbed(history, neuron):
    changed = history.clone()
    changed[:, :, neuron] = 2.5 * changed[:, :, neuron] ** 2 - 1.5
    return changed


# ---- what is there already stays as it was


def test_neutral_values_are_the_defaults_and_change_nothing(spikers):
    assert VARIANTS.items() <= Causalformer.added_parameters.items()
    assert VARIANTS.items() <= (Causalformer().get_params() | {"decoder_attention": "softmax"}).items()
    plain, spelled = Causalformer(**TINY).fit(spikers), Causalformer(**TINY | VARIANTS).fit(spikers)
    np.testing.assert_array_equal(plain.connectivity_["seed_score"], spelled.connectivity_["seed_score"])
    np.testing.assert_array_equal(plain.predict(spikers)["prediction"], spelled.predict(spikers)["prediction"])
    assert Causalformer(preset="paper", **VARIANTS)._hyperparameters()["tokens"] == "step"


def test_earlier_results_keep_their_keys_and_checkpoints_and_variants_get_their_own(spikers):
    def key(**options):
        given = {"decoder_attention": "softmax"} | options
        return work.key_of("data", "causalformer", work.resolve("causalformer", given, N), 1)

    earlier = {k: v for k, v in work.resolve("causalformer", {}, N).items() if k not in VARIANTS}
    assert key() == key(**VARIANTS) == work.key_of("data", "causalformer", earlier, 1)

    def fingerprint(**options):
        model = Causalformer(**TINY | options)
        return model._fingerprint(spikers, model._hyperparameters())

    assert len({key(**options) for options in OPTIONS.values()}) == len(OPTIONS)
    assert len({fingerprint(**options) for options in OPTIONS.values()}) == len(OPTIONS)


@pytest.mark.parametrize("name", ["layer", "somebody", "itself", "named", "stationarized", "linear"])
def test_what_a_variant_shares_with_the_default_starts_from_the_same_weights(name):
    plain, variant = network().state_dict(), network(**OPTIONS[name]).state_dict()
    shared = [key for key in plain if key in variant]
    assert len(shared) >= len(plain) - 9 and all(torch.equal(plain[key], variant[key]) for key in shared)


# ---- the two conditions for a causal reading


@pytest.mark.parametrize("mixing", ["local", "global"])
@every_variant
def test_encoder_keeps_neurons_apart_unless_asked_to_mix(options, mixing):
    net = network(**options, encoder_attention=mixing)
    history, time, _ = inputs()
    with torch.no_grad():
        moved = (net.encode(history, time) - net.encode(perturbed(history, 2), time)).abs().amax((0, 1, 3, 4))
    assert moved[2] > 1e-3
    others = moved[[0, 1, 3, 4]]
    assert (others == 0).all() if mixing == "local" else (others > 1e-6).all()


@every_variant
def test_all_that_one_neuron_learns_of_another_passes_the_attention(options):
    """With all attention on nobody, or none to be had but on oneself, no history moves another's forecast."""
    if not options.get("nobody", 1.0):
        pytest.skip("a target that must attend to somebody cannot be cut off")
    history, *times = inputs()
    net = network(**options)

    @torch.no_grad()
    def moved():
        return (net(history, *times)[0] - net(perturbed(history, 2), *times)[0]).abs().amax((0, 1))

    assert (moved() > 0).all()
    net.nobody_weight = 1e30
    assert moved()[2] > 1e-3 and (moved()[[0, 1, 3, 4]] == 0).all()


@every_variant
def test_a_source_moves_its_own_score_alone(options):
    """Attention's ratio between two sources does not depend on a third, nor on what z-scoring took from it."""
    history, *times = inputs()
    net = network(**options)
    with torch.no_grad():
        before, after = (net(x, *times)[1].double() for x in (history, perturbed(history, 2)))
    static = options.get("decoder_attention") == "static"
    for target, one, other in [(0, 1, 3), (0, 3, 4), (1, 0, 4), (3, 4, 1)]:
        ratios = [a[..., target, one] / a[..., target, other] for a in (before, after)]
        torch.testing.assert_close(*ratios, rtol=1e-4, atol=0)
        moved = (before - after)[..., target, 2].abs().max()
        assert moved == 0 if static else moved > 1e-7


@pytest.mark.parametrize("leak", [False, True])
@every_variant
def test_forecasts_do_not_see_the_future_unless_asked_to(spikers, options, leak):
    model = Causalformer(**TINY | options, leak_future=leak, encoder_attention="global" if leak else "local")
    model.fit(spikers)
    row, changed = 200, spikers.copy(deep=True)
    changed["activity"][row:] = changed["activity"][row:] * 0.5 - 20.0
    before, after = model.predict(spikers)["prediction"], model.predict(changed)["prediction"]
    moved = np.abs(before - after)
    assert (moved[before["time"] < spikers["time"][row]] == 0).all()
    now = moved.sel(time=spikers["time"][row]).max()  # made from rows before `row` alone
    assert now > 1e-3 if leak else now == 0
    assert moved.sel(time=spikers["time"][row + 1]).max() > 1e-3


# ---- attention


@every_variant
def test_attention_adds_up_to_one_or_less_and_says_what_the_forecast_is_made_from(options):
    net, (history, *times) = network(**options), inputs()
    with torch.no_grad():
        forecast, attention = net(history, *times)
        quick, nothing = net(history, *times, need_attention=False)
    assert attention.shape == (2, 6, 2, N, N) and nothing is None
    torch.testing.assert_close(forecast, quick, atol=1e-5, rtol=1e-5)
    rows, diagonal = attention.sum(-1), attention.diagonal(dim1=-2, dim2=-1)
    assert (attention >= 0).all()
    if options.get("nobody", 1.0):
        assert (rows < 1).all() and (rows > 0).all()
    else:
        torch.testing.assert_close(rows, torch.ones_like(rows))
    assert (diagonal > 0).all() if options.get("self_attention") else (diagonal == 0).all()


@pytest.mark.parametrize("attention", ["softmax", "static"])
@pytest.mark.parametrize(("nobody", "share"), [(0, 1), (1, 4 / 5), (5.0, 4 / 9), (12, 1 / 4)])
def test_without_a_preference_nobody_weighs_as_many_neurons_as_asked(attention, nobody, share):
    net, (history, *times) = network(decoder_attention=attention, nobody=nobody), inputs()
    for parameter in net.query.parameters():
        parameter.data.zero_()
    rows = net(history, *times)[1].sum(-1)
    torch.testing.assert_close(rows, torch.full_like(rows, share))


@every_variant
def test_permuted_neurons_with_their_embeddings_permute_the_forward_pass(options):
    net, (history, *times) = network(**options), inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        forecast, attention = net(history, *times)
        net.neuron.weight.data = net.neuron.weight[:, order]
        permuted, permuted_attention = net(history[:, :, order], *times)
    torch.testing.assert_close(permuted, forecast[:, :, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(permuted_attention, attention[..., order, :][..., order], atol=1e-6, rtol=1e-4)


def test_static_attention_does_not_depend_on_activity():
    net = network(decoder_attention="static")
    attention = [net(*inputs(seed=seed))[1] for seed in (0, 1)]
    assert torch.equal(*attention) and torch.equal(attention[0][:, 0], attention[0][:, 5])
    net.neuron.weight.data[:, 1] += 1.0
    assert not torch.allclose(net(*inputs())[1], attention[0], rtol=1e-2)
    assert not torch.equal(*[network()(*inputs(seed=seed))[1] for seed in (0, 1)])


@pytest.mark.parametrize("self_attention", [False, True])
@pytest.mark.parametrize("nobody", [0, 1])
def test_linear_attention_is_its_explicit_form(self_attention, nobody):
    """Written out pair by pair in float64, and without a matrix of targets and sources in training."""
    generator = torch.Generator().manual_seed(0)
    n, dim = 7, 3
    query, key, value = (torch.randn(2, 1, rows, dim, generator=generator) for rows in (n, n + nobody, n + nobody))
    offset = torch.randn(2, 1, 1, n + nobody, generator=generator)

    def features(x):
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    q, k, v, o = (x.double().numpy() for x in (query, key, value, offset))
    expected = np.zeros((2, n, n + nobody))
    for g in range(2):
        for i in range(n):
            for j in range(n + nobody):
                if self_attention or i != j:
                    expected[g, i, j] = features(q[g, 0, i]) @ features(k[g, 0, j]) * math.exp(o[g, 0, 0, j])
    expected /= expected.sum(-1, keepdims=True)
    quick, nothing = attentions.linear_attention(query, key, value, offset, self_attention, False)
    heard, attention = attentions.linear_attention(query, key, value, offset, self_attention, True)
    assert nothing is None
    np.testing.assert_allclose(attention[:, 0], expected, atol=1e-6)
    for result in (quick, heard):
        np.testing.assert_allclose(result[:, 0], expected @ v[:, 0], atol=1e-5)


def test_linear_attention_of_many_neurons_needs_no_matrix_of_pairs():
    n = 20_000  # the matrix would take 1.6 GB
    query, key, value = (torch.ones(1, 1, n, 2, requires_grad=True) for _ in range(3))
    heard, _ = attentions.linear_attention(query, key, value, torch.zeros(1, n), False, False)
    largest, pending = 0, {heard.grad_fn}
    while pending:  # all that is kept for the gradient
        node = pending.pop()
        pending |= {parent for parent, _ in node.next_functions if parent is not None}
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        largest = max([largest] + [x.numel() for x in saved if isinstance(x, torch.Tensor)])
    assert n <= largest <= 2 * n
    torch.testing.assert_close(heard, torch.ones_like(heard), rtol=1e-4, atol=0)


# ---- normalization, and windows by themselves


def test_layer_normalization_is_that_of_torch():
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    ours, theirs = nn.LayerNorm(2, 6), torch.nn.LayerNorm(6)
    ours.weight.data[1], ours.bias.data[1] = (theirs.weight.data.uniform_(), theirs.bias.data.normal_())
    torch.testing.assert_close(ours(x)[1], theirs(x[1]))
    assert nn.normalization("none", 2, 6)(x) is x


def test_windows_are_scored_by_themselves():
    history, *_ = inputs()
    scored, mean, sd = standardize(history)
    np.testing.assert_allclose(scored, zscore(history.double().numpy(), axis=-1), atol=1e-3)
    torch.testing.assert_close(scored * sd + mean, history)


def test_a_forecast_from_scored_windows_scales_and_shifts_with_the_recording():
    """Where no score holds the removed statistics (static attention), nothing else may know them."""
    net, (history, *times) = network(decoder_attention="static", stationarize=True), inputs()
    with torch.no_grad():
        forecast = net(history, *times)[0]
        torch.testing.assert_close(net(30 * history + 7, *times)[0], 30 * forecast + 7, rtol=1e-3, atol=1e-2)


def test_removed_statistics_return_to_the_scores():
    net, (history, *times) = network(stationarize=True), inputs()
    with torch.no_grad():
        spread = [net(scale * history, *times)[1] for scale in (1, 2)]
        shifted = net(history + torch.tensor([3.0, 0, 0, 0, 0])[:, None], *times)[1]
        tau_query, tau_key, delta = net.removed(history, *standardize(history)[1:])
    assert (tau_query > 0).all() and (tau_key > 0).all() and delta.shape == (2, 6 * N, 1)
    assert (spread[0] - spread[1]).abs().max() > 1e-4 and (spread[0] - shifted).abs().max() > 1e-4


@pytest.mark.parametrize("attention", ["softmax", "static", "linear"])
def test_a_window_without_variance_is_forecast_near_its_value(attention):
    net, (history, *times) = network(stationarize=True, decoder_attention=attention), inputs()
    history[:, :, 1] = 0.7
    target = torch.full((2, 6, N, 1), 5.0)
    forecast = net(history, *times)[0]
    assert (forecast[:, :, 1] - 0.7).abs().max() < 0.05
    forecast.sum().backward()
    leaking = network(stationarize=True, decoder_attention=attention, leak_future=True)
    leaking(history, *times, target)[0].sum().backward()
    for module in (net, leaking):
        gradients = [p.grad for p in module.parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)


# ---- trained


@pytest.fixture(scope="module")
def followers():
    """Neuron 1 copies neuron 0 one step later; neuron 2 is alone."""
    rng = np.random.default_rng(0)
    driver = rng.standard_normal(600)
    follower = np.r_[0, driver[:-1]] + 0.1 * rng.standard_normal(600)
    return recording.from_array(np.c_[driver, follower, rng.standard_normal(600)])


@every_variant
def test_each_points_from_the_follower_to_the_driver(followers, options):
    model = Causalformer(**TINY | {"max_epochs": 12, "learning_rate": 2e-2} | options).fit(followers)
    score, r2 = model.connectivity_["score"].values, model.diagnostics_["ensemble_test_r2"].values
    # Without nobody to attend to, the driver, which needs neither, attends to one of the two all the same.
    assert score[1, 0] > 1.5 * score[1, 2]
    assert score[1, 0] > (1.5 if options.get("nobody", 1.0) else 1.0) * score[0, 1]
    assert r2[1] > 0.5 and r2[0] < 0.2


@pytest.mark.parametrize("name", ["static", "linear", "linear, layer, somebody", "unreadable"])
def test_saved_and_loaded_gives_the_same(spikers, name, tmp_path):
    model = Causalformer(**TINY | OPTIONS[name]).fit(spikers)
    loaded = Causalformer.load(model.save(tmp_path / "model"), device="cpu")
    assert OPTIONS[name].items() <= loaded.get_params().items()
    np.testing.assert_array_equal(loaded.predict(spikers)["prediction"], model.predict(spikers)["prediction"])
    np.testing.assert_array_equal(loaded.attention(spikers, [0, 7]), model.attention(spikers, [0, 7]))


@pytest.mark.parametrize("name", ["static", "linear", "stationarized", "layer"])
def test_mixed_precision_trains(spikers, name):
    losses = [
        Causalformer(**TINY | OPTIONS[name], precision=precision).fit(spikers).training_["train_loss"].values
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(*losses, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decoder_attention": "performer"}, ValueError, "choose one of softmax, static, linear"),
        ({"norm": None}, ValueError, "norm=None is unknown: choose one of batch, layer, none"),
        ({"stationarize": 1}, TypeError, "stationarize=1 must be True or False"),
        ({"nobody": "no"}, TypeError, "nobody='no' must be a number"),
        ({"nobody": False}, TypeError, "nobody=False must be a number"),
        ({"nobody": -1}, ValueError, "nobody=-1 must be zero or more"),
        ({"preset": "paper", "norm": "layer"}, ValueError, "norm='layer': made for history tokens, and preset='paper'"),
        (
            {"tokens": "step", "nobody": 0, "stationarize": True},
            ValueError,
            "stationarize=True, nobody=0: ",
        ),
    ],
)
def test_bad_options_are_refused(spikers, options, error, message):
    with pytest.raises(error, match=message):
        Causalformer(**TINY | options).fit(spikers)

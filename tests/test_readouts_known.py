"""Readouts of models whose answer is known: derivatives on paper, sums that must add up, paths that do not exist."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from causalkit import readouts
from causalkit.methods.causalformer_compact import CompactNetwork
from causalkit.methods.causalformer_network import CausalformerNetwork
from causalkit.nn import (
    AttentionLayer,
    BatchNorm,
    Embedding,
    LayerNorm,
    Linear,
    PeriodicEmbedding,
    Time2Vec,
    inside_groups,
)
from causalkit.relevance import RelevanceRules

N, L, WINDOWS = 4, 3, 40
GRADIENTS = ("gradient_energy", "gradient_x_input", "relevance")
FAST = {"decoder_attention": "static"}
KINDS = {
    "fast": FAST,
    "softmax": {},
    "layer norm": FAST | {"norm": "layer"},
    "no norm, no nobody": FAST | {"norm": "none", "nobody": 0.0},
    "stationarized": {"stationarize": True},
    "stationarized static": FAST | {"stationarize": True},
    "names in values, to itself": {"identity_in_values": True, "self_attention": True},
    "mixing encoder": {"encoder_attention": "global"},
    "step": None,
    "step, mixing encoder": {"encoder_attention": "global"},
}


def model_of(probe, **changed):
    """What `readouts.read` takes: an object with a probe."""
    return SimpleNamespace(probe=lambda recording: readouts.Probe(**(probe | changed)))


def known(forecast, history, targets=None, **more):
    """A model of one member, (B, N, L) -> (B, N), on given histories."""
    names = [f"n{i}" for i in range(history.shape[1])]
    return model_of({
        "neurons": names, "seeds": [0], "n_windows": len(history), "windows_at_once": 16,
        "history": lambda windows: history[windows],
        "targets": lambda windows: (forecast(history) if targets is None else targets)[windows],
        "forecast": lambda inputs, windows: forecast(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]), **more,
    })  # fmt: skip


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


# ---- models on paper


@pytest.fixture
def history():
    return torch.tensor(np.random.default_rng(1).standard_normal((WINDOWS, N, L)))


@pytest.fixture
def weights():
    return torch.tensor(np.random.default_rng(2).standard_normal((N, N, L)))


def newest_first(array):
    return np.asarray(array)[..., ::-1]


def test_a_linear_model_is_read_as_its_weights(history, weights):
    model = known(lambda x: torch.einsum("ijl,bjl->bi", weights, x) + 7.0, history)
    energy = readouts.read(model, None, "gradient_energy")
    np.testing.assert_allclose(energy.lag_score, newest_first(weights) ** 2, rtol=1e-6)
    np.testing.assert_allclose(energy.self_score, (weights**2).sum(-1).diagonal(), rtol=1e-6)
    size = np.abs(history.numpy()).mean(0)  # (N, L)
    for name in ("gradient_x_input", "relevance"):  # one and the same where everything is linear
        found = readouts.read(model, None, name)
        np.testing.assert_allclose(found.lag_score, newest_first(np.abs(weights.numpy()) * size), rtol=1e-6)
        np.testing.assert_allclose(found.seed_score[0], (np.abs(weights.numpy()) * size).sum(-1), rtol=1e-6)
    assert energy.lag.values.tolist() == [1, 2, 3] and energy.score.dims == ("target", "source")


def test_gradients_of_a_nonlinear_model_are_those_on_paper(history):
    def forecast(x):  # neuron 0 by the newest value of neuron 1, neuron 2 by a product, the others constant
        zero = torch.zeros_like(x[:, 0, 0])
        return torch.stack([torch.sin(2 * x[:, 1, -1]), zero, x[:, 0, -1] * x[:, 3, -2], zero], dim=-1)

    x = history.numpy()
    energy = readouts.read(known(forecast, history), None, "gradient_energy").lag_score.values
    expected = np.zeros((N, N, L))
    expected[0, 1, 0] = np.mean(4 * np.cos(2 * x[:, 1, -1]) ** 2)
    expected[2, 0, 0], expected[2, 3, 1] = np.mean(x[:, 3, -2] ** 2), np.mean(x[:, 0, -1] ** 2)
    np.testing.assert_allclose(energy, expected, rtol=1e-6)
    inputs = readouts.read(known(forecast, history), None, "gradient_x_input").lag_score.values
    np.testing.assert_allclose(inputs[0, 1, 0], np.mean(np.abs(2 * np.cos(2 * x[:, 1, -1]) * x[:, 1, -1])), rtol=1e-6)


def test_ablation_of_a_linear_model_is_twice_the_variance_it_explains(weights):
    history = torch.tensor(np.random.default_rng(3).standard_normal((20_000, N, L)))

    def forecast(x):
        return torch.einsum("ijl,bjl->bi", weights, x)

    found = readouts.read(known(forecast, history, windows_at_once=5000), None, "ablation")
    # an exact forecast misses by w·(x' - x) when x' of another window takes the place of x, independent of it
    np.testing.assert_allclose(found.seed_score[0], 2 * (weights**2).sum(-1), rtol=0.05, atol=0.02)
    again = readouts.read(known(forecast, history), None, "ablation")
    np.testing.assert_allclose(again.seed_score, found.seed_score, rtol=1e-9)
    other = readouts.read(known(forecast, history), None, "ablation", random_state=1)
    assert not np.allclose(other.seed_score, found.seed_score, rtol=1e-6)


def test_ablation_clips_what_chance_put_below_zero_but_shows_it_in_the_members(weights, history):
    targets = torch.tensor(np.random.default_rng(4).standard_normal((WINDOWS, N)))  # which the model knows nothing of
    found = readouts.read(known(lambda x: torch.einsum("ijl,bjl->bi", weights, x), history, targets), None, "ablation")
    assert (found.seed_score < 0).any() and (off_diagonal(found.score.values) >= 0).all()
    expected = np.maximum(found.seed_score[0], 0)
    np.testing.assert_array_equal(off_diagonal(found.score.values), off_diagonal(expected.values))


def test_windows_may_be_fewer_and_their_batches_change_nothing(weights, history):
    def forecast(x):
        return torch.einsum("ijl,bjl->bi", weights, x**2)

    whole = readouts.read(known(forecast, history, windows_at_once=1000), None, "gradient_energy")
    for at_once in (1, 7):
        part = readouts.read(known(forecast, history, windows_at_once=at_once), None, "gradient_energy")
        np.testing.assert_allclose(part.lag_score, whole.lag_score, rtol=1e-12)
    few = readouts.read(known(forecast, history), None, "gradient_energy", n_windows=3)
    chosen = history[[0, 20, 39]]  # of forty, evenly spaced
    np.testing.assert_allclose(
        few.lag_score, newest_first((2 * weights * chosen[:, None]).square().mean(0)), rtol=1e-6
    )
    assert few.attrs["windows"] == 3 and whole.attrs["windows"] == WINDOWS


def test_without_test_windows_there_is_nothing_to_read(weights, history):
    with pytest.raises(ValueError, match="no test windows.*longer recording"):
        readouts.read(known(lambda x: x[..., -1], history, n_windows=0), None, "ablation")


# ---- attention


def stochastic(rng, *shape):
    return torch.softmax(torch.tensor(rng.standard_normal(shape)), dim=-1)


def test_rollout_is_the_product_of_halved_layers_and_its_rows_add_up_to_one(rng):
    a, b, c = stochastic(rng, 2, 5, 3, 6, 6), stochastic(rng, 2, 5, 3, 6, 6), stochastic(rng, 2, 5, 3, 4, 6)
    copy = torch.eye(4, 6).double().expand(2, 5, 1, 4, 6)
    layers = [AttentionLayer("history", "history", a), AttentionLayer("history", "history", b)]
    layers += [AttentionLayer("target", "history", copy, residual=False), AttentionLayer("target", "history", c)]
    flow = readouts.rollout(layers)
    eye = torch.eye(6)
    history = (b.mean(2) + eye) / 2 @ ((a.mean(2) + eye) / 2)
    torch.testing.assert_close(flow["history"], history)
    torch.testing.assert_close(flow["target"], (copy[:, :, 0] @ history + c.mean(2) @ history) / 2)
    for stream in flow.values():
        torch.testing.assert_close(stream.sum(-1), torch.ones_like(stream[..., 0]))


def test_groups_become_blocks(rng):
    attention = torch.tensor(rng.standard_normal((2, 3 * 4, 5, 1, 2)))  # two models, three windows of four groups
    whole = inside_groups(attention, 3)
    assert whole.shape == (2, 3, 1, 4, 8)
    for group in range(4):
        mean = attention[1, 2 * 4 + group].mean(0)
        torch.testing.assert_close(whole[1, 2, 0, group, 2 * group : 2 * group + 2], mean[0])
    assert (whole != 0).sum() == 2 * 3 * 4 * 2


def test_norms_are_those_of_the_projected_values(rng):
    values, out = torch.tensor(rng.standard_normal((2, 3, 4, 5, 6))), torch.tensor(rng.standard_normal((2, 24, 7)))
    norms = readouts.attention_norms(AttentionLayer("target", "history", torch.zeros(1), values, out))
    for model, window, head, key in [(0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)]:
        added = values[model, window, head, key] @ out[model, 6 * head : 6 * head + 6]
        torch.testing.assert_close(norms[model, window, head, key], added.norm())


def attending(layers, n_windows, **more):
    def attention(windows):
        return [AttentionLayer("target", "history", a[:, windows], v[:, windows], out) for a, v, out in layers]

    probe = {"neurons": list("abcd"), "seeds": [3, 4], "n_windows": n_windows, "windows_at_once": 4, "history": None,
             "targets": None, "forecast": None, "attention": attention}  # fmt: skip
    return model_of(probe, **more)


def test_norm_weighted_attention_is_attention_where_all_norms_are_equal(rng):
    heads, dim = 3, 2
    weights, values = stochastic(rng, 2, 9, heads, 4, 4), torch.tensor(rng.standard_normal((2, 9, heads, 4, dim)))
    unit, out = values / values.norm(dim=-1, keepdim=True), torch.eye(heads * dim).double().expand(2, -1, -1)
    even = attending([(weights, 5 * unit, out)], 9)
    both = [readouts.read(even, None, name).seed_score for name in ("norm_weighted", "attention")]
    np.testing.assert_allclose(*both, rtol=1e-9)
    loud = values.clone()
    loud[..., 2, :] *= 100  # everybody hears neuron c
    result = readouts.read(attending([(weights, loud, out)], 9), None, "norm_weighted").seed_score
    assert (result.sel(source="c") > 0.8).all() and result.seed.values.tolist() == [3, 4]
    np.testing.assert_allclose(result.sum("source"), 1, rtol=1e-9)


# ---- networks


def network_of(kind, seed=0, neurons=N):
    """A small double-precision network with weights that nothing trained, but no special values either."""
    sizes = {"context": L, "embedding_dim": 8, "feedforward_dim": 12, "head_dim": 4, "n_heads": 2}
    make = CausalformerNetwork if kind.startswith("step") else CompactNetwork
    network = make(2, neurons, **sizes, **(KINDS[kind] or {})).initialize([seed, seed + 1])
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (BatchNorm, LayerNorm)):
            for value in (*module.parameters(), *module.buffers()):
                value.data += 0.3 * torch.rand(value.shape, generator=generator)
    return network.double().eval()


def read_network(network, history, readout, targets=None, **options):
    windows, neurons, length = history.shape
    time_s = torch.linspace(0, 1, windows).double()[:, None] + torch.arange(length + 1) / 1000  # (B, L + 1)
    targets = torch.zeros(windows, neurons).double() if targets is None else targets

    def forward(inputs, windows, **more):
        clock = time_s[windows].expand(2, -1, -1)
        return network(inputs, clock[..., :-1], clock[..., -1:], **more)

    def attention(windows):
        layers = []
        forward(history[windows].expand(2, -1, -1, -1), windows, layers=layers)
        return layers

    by_step = isinstance(network, CausalformerNetwork)
    probe = {"neurons": [f"n{i}" for i in range(neurons)], "seeds": [0, 1], "n_windows": windows, "windows_at_once": 11,
             "history": lambda windows: history[windows], "targets": lambda windows: targets[windows],
             "forecast": lambda inputs, windows: forward(inputs, windows, need_attention=False)[0],
             "attention": attention, "attention_has_lags": by_step, "scale_rows": by_step}  # fmt: skip
    return readouts.read(model_of(probe), None, readout, **options), probe


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_networks_are_finite_differences(kind, history):
    network = network_of(kind)
    found, probe = read_network(network, history, "gradient_energy")
    # two layers compute in single precision, whatever they are given
    step, rtol = (3e-3, 2e-2) if kind in ("layer norm", "stationarized") else (1e-5, 1e-5)
    windows = torch.arange(WINDOWS)
    slopes = np.zeros((2, WINDOWS, N, N, L))  # member, window, target, source, step
    inputs = history.expand(2, -1, -1, -1)
    with torch.no_grad():
        for source in range(N):
            for lag in range(L):
                moved = torch.zeros_like(inputs)
                moved[..., source, lag] = step
                rise = probe["forecast"](inputs + moved, windows) - probe["forecast"](inputs - moved, windows)
                slopes[..., source, lag] = rise.numpy() / (2 * step)
    np.testing.assert_allclose(found.seed_lag_score, newest_first((slopes**2).mean(1)), rtol=rtol, atol=rtol**2)
    times = np.abs(slopes * history.numpy()[:, None]).mean(1)
    inputs, _ = read_network(network, history, "gradient_x_input")
    np.testing.assert_allclose(inputs.seed_lag_score, newest_first(times), rtol=rtol, atol=rtol**2)


def leaves(network):
    """Everything that a forecast is a sum of, beside the history: biases, shifts, names, times."""
    for module in network.modules():
        if isinstance(module, (Linear, LayerNorm, PeriodicEmbedding)):
            yield module.bias
        elif isinstance(module, BatchNorm):
            yield from (module.bias, module.running_mean)
        elif isinstance(module, Time2Vec):
            yield from (module.bias, module.weight)
        elif isinstance(module, Embedding):
            yield module.weight


@pytest.mark.parametrize("kind", KINDS)
def test_relevance_adds_up_to_the_forecast(kind, history):
    network = network_of(kind)
    time_s = torch.rand(2, WINDOWS, L + 1).double().requires_grad_()
    inputs = history.expand(2, -1, -1, -1).clone().requires_grad_()
    arguments = inputs, time_s[..., :-1], time_s[..., -1:]
    for buffer in network.buffers():
        buffer.requires_grad_()
    with RelevanceRules():
        forecast, _ = network(*arguments, need_attention=False)
        explicit, _ = network(*arguments, need_attention=True)
    with torch.no_grad():
        plain, _ = network(*arguments)
    torch.testing.assert_close(forecast.detach(), plain, rtol=1e-6, atol=1e-6)
    parts = [inputs, *leaves(network)]
    if not kind.startswith("step"):  # there the time comes in by Time2Vec's weights
        parts.append(time_s)
    for value in (forecast, explicit):
        for member, window, target in [(0, 0, 0), (1, 7, 2), (0, 39, 3)]:
            whole = value[member, window, target]
            slopes = torch.autograd.grad(whole, parts, retain_graph=True, allow_unused=True, materialize_grads=True)
            total = sum((slope * part).sum() for slope, part in zip(slopes, parts, strict=True))
            torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-6)
            assert (slopes[0] * inputs).abs().sum() > 1e-3  # and the history has its share in it


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "mixing" not in kind])
def test_without_a_path_between_neurons_scores_are_exactly_zero(kind, history):
    network = network_of(kind)
    crossing = network.decoder.global_out if kind.startswith("step") else network.out
    crossing.weight.data.zero_()
    for name in (*GRADIENTS, "ablation", "norm_weighted"):
        found, _ = read_network(network, history, name)
        assert (off_diagonal(found.score.values) == 0).all(), name
        if name in GRADIENTS:
            assert (found.self_score > 0).all(), name  # the own history still counts


@pytest.mark.parametrize("kind", ["fast", "softmax", "step", "step, mixing encoder"])
@pytest.mark.parametrize("name", readouts.READOUTS)
def test_permuted_neurons_permute_every_readout(kind, name, history):
    order = np.array([2, 0, 3, 1])
    network, permuted = network_of(kind), network_of(kind)
    embedding = permuted.embedding.neuron if kind.startswith("step") else permuted.neuron
    embedding.weight.data = embedding.weight.data[:, order]
    targets = torch.tensor(np.random.default_rng(5).standard_normal((WINDOWS, N)))
    before, _ = read_network(network, history, name, targets)
    after, _ = read_network(permuted, history[:, order], name, targets[:, order])
    np.testing.assert_allclose(after.seed_score, before.seed_score.values[:, order][:, :, order], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "stationarized" not in kind])
def test_rollout_of_networks(kind, history):
    network = network_of(kind)
    raw, probe = read_network(network, history, "attention")
    windows = torch.arange(WINDOWS)
    with torch.no_grad():
        layers = probe["attention"](windows)
    flow = readouts.rollout(layers)["target"]
    nobody = 1 - layers[-1].weights.sum(-1).mean(2)  # (S, B, N)
    # a query of step tokens is a quarter itself, without any activity: half of half
    itself = 0.25 if kind.startswith("step") else 0.0
    torch.testing.assert_close(flow.sum(-1), 1 - itself - nobody / 2)
    attention = layers[-1].weights.mean(2)
    shares = [x.unflatten(-1, (N, -1)).sum(-1).mean(1).numpy() for x in (flow, attention)]  # (S, N, N)
    other = ~np.eye(N, dtype=bool)
    if "mixing" in kind:
        assert not np.allclose(shares[0][:, other], shares[1][:, other] / 2, rtol=1e-3)
    else:  # an encoder that keeps neurons apart adds nothing to what is read
        np.testing.assert_allclose(shares[0][:, other], shares[1][:, other] / 2, rtol=1e-9)
    assert raw.score.shape == (N, N)


def test_linear_attention_has_no_relevance(history):
    KINDS["linear"] = {"decoder_attention": "linear"}
    try:
        network = network_of("linear")
    finally:
        del KINDS["linear"]
    with pytest.raises(NotImplementedError, match="no rule of relevance.*gradient_x_input"):
        read_network(network, history, "relevance")


@pytest.mark.parametrize("function", [torch.nn.functional.gelu, torch.sin, torch.relu])
def test_relevance_passes_functions_of_one_number(function):
    x = torch.tensor([-2.0, -1e-9, 0.0, 1e-9, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    with RelevanceRules():
        y = function(x)
    torch.testing.assert_close(y.detach(), function(x).detach(), atol=1e-6, rtol=1e-6)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope * x.detach(), y.detach())

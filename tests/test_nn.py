"""Stacked layers against torch's own, one model at a time."""

import numpy as np
import pytest
import torch

from causalkit import nn

MODELS, ROWS, CHANNELS = 3, 24, 6


@pytest.fixture
def x():
    return torch.randn(MODELS, ROWS, CHANNELS, generator=torch.Generator().manual_seed(0))


def test_linear_is_torch_linear_for_each_model(x):
    layer = nn.Linear(MODELS, CHANNELS, 4)
    for member, generator in enumerate(nn.generators(range(MODELS))):
        layer.reset_member(member, generator)
    for member in range(MODELS):
        plain = torch.nn.functional.linear(x[member], layer.weight[member].T, layer.bias[member, 0])
        torch.testing.assert_close(layer(x)[member], plain)
    assert layer.weight.abs().max() <= CHANNELS**-0.5  # the bound of torch.nn.Linear's default


def test_batch_norm_is_torch_batch_norm_for_each_model(x):
    stacked = nn.BatchNorm(MODELS, CHANNELS)
    plain = [torch.nn.BatchNorm1d(CHANNELS) for _ in range(MODELS)]
    for _ in range(3):  # running statistics accumulate
        outputs = stacked(x)
        for member, layer in enumerate(plain):
            torch.testing.assert_close(outputs[member], layer(x[member]), atol=1e-5, rtol=1e-5)
    stacked.eval()
    for member, layer in enumerate(plain):
        layer.eval()
        torch.testing.assert_close(stacked.running_var[member], layer.running_var)
        torch.testing.assert_close(stacked(x)[member], layer(x[member]), atol=1e-5, rtol=1e-5)


def test_attention_is_torchs_fused_attention(x):
    heads, groups = 2, 4
    query, key, value = x, x.flip(1), x.roll(1, dims=1)
    output, attention = nn.cross_attention(query, key, value, groups, heads)
    split = [a.view(MODELS * groups, ROWS // groups, heads, -1).transpose(1, 2) for a in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(nn.local_attention(query, key, value, groups, heads), expected)
    assert attention.shape == (MODELS, groups, heads, ROWS // groups, ROWS // groups)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


def test_local_attention_stays_inside_its_group(x):
    changed = x.clone()
    changed[:, ROWS // 2 :] += 1.0
    before, after = (nn.local_attention(v, v, v, 2, 2) for v in (x, changed))
    torch.testing.assert_close(before[:, : ROWS // 2], after[:, : ROWS // 2], rtol=0, atol=0)
    assert (before[:, ROWS // 2 :] - after[:, ROWS // 2 :]).abs().max() > 0.1


def test_time2vec_follows_its_formula():
    for periodic in (False, True):
        layer = nn.Time2Vec(2, 5, periodic=periodic)
        for member, generator in enumerate(nn.generators([3, 4])):
            layer.reset_member(member, generator)
        time = torch.tensor([[0.0, 0.5, 2.0], [1.0, 1.5, 3.0]])
        phase = np.einsum("sr,sc->src", time, layer.weight.detach()) + layer.bias.detach().numpy()[:, None]
        np.testing.assert_allclose(layer(time).detach(), np.sin(phase) if periodic else phase, rtol=1e-5, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = nn.Dropout(0.1)
    layer.generators = nn.generators([1, 2])
    x = torch.ones(2, 1000, 200)
    dropped = (layer(x) == 0).double().mean((1, 2))
    # 200,000 independent entries a model: five standard errors of a share of .1 are .0034.
    assert ((dropped - 0.1).abs() < 0.0034).all()
    kept = layer(x)
    torch.testing.assert_close(kept[kept > 0].unique(), torch.tensor([1 / 0.9]))
    assert layer.eval()(x) is x


def test_dropout_masks_are_independent_across_models_and_repeatable():
    layer = nn.Dropout(0.5)
    x = torch.ones(2, 100, 100)

    def masks(seeds):
        layer.generators = nn.generators(seeds)
        return layer(x) > 0

    first = masks([1, 2])
    assert torch.equal(first, masks([1, 2]))
    assert torch.equal(first[1:], masks([7, 2])[1:])
    agree = (first[0] == first[1]).double().mean()
    assert abs(agree - 0.5) < 5 * 0.5 / 100  # five standard errors over 10,000 entries


def test_initial_weights_of_a_member_do_not_depend_on_the_ensemble():
    class Tiny(nn.EnsembleModule):
        def __init__(self, n_models):
            super().__init__()
            self.linear, self.items = nn.Linear(n_models, 3, 2), nn.Embedding(n_models, 4, 3)

    three, one = Tiny(3).initialize([5, 6, 7]), Tiny(1).initialize([6])
    assert torch.equal(three.linear.weight[1], one.linear.weight[0])
    assert torch.equal(three.items.weight[1], one.items.weight[0])
    assert not torch.equal(three.items.weight[0], three.items.weight[1])


def test_keep_models_reduces_parameters_buffers_and_moments():
    layer = torch.nn.Sequential(nn.Linear(3, 2, 2), nn.BatchNorm(3, 2))
    torch.nn.init.normal_(layer[0].weight)
    torch.nn.init.zeros_(layer[0].bias)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    layer(torch.randn(3, 8, 2)).square().sum().backward()
    optimizer.step()
    weight, moment = layer[0].weight.detach().clone(), optimizer.state[layer[0].weight]["exp_avg"].clone()
    mean = layer[1].running_mean.clone()
    nn.keep_models(layer, [0, 2], optimizer)
    assert torch.equal(layer[0].weight, weight[[0, 2]])
    assert torch.equal(layer[1].running_mean, mean[[0, 2]])
    assert torch.equal(optimizer.state[layer[0].weight]["exp_avg"], moment[[0, 2]])

"""The response of SingleIndexGranger, with either reading of own history, and what short trainings share."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from causalkit.methods.causalformer_network import Encoder
from causalkit.methods.response import ENCODERS, Response, evaluate, own_basis, train_response
from causalkit.methods.short_training import BestWeights, OneCycleAdamW, batch_size, batches, held_out, is_check

N_OWN = 6


@pytest.fixture(params=ENCODERS)
def model(request):
    model = Response(2, 3, N_OWN, request.param).initialize([0, 1])
    torch.nn.init.normal_(model.embedding, generator=torch.Generator().manual_seed(0))
    return model.eval()


def histories(n_rows=20, seed=0):
    return torch.randn(n_rows, 3, N_OWN, generator=torch.Generator().manual_seed(seed))


def indices(n_rows=20, seed=1):
    return torch.randn(2, n_rows, 3, generator=torch.Generator().manual_seed(seed))


def test_the_transformer_reads_with_the_causalformers_encoder():
    counts = [sum(isinstance(m, Encoder) for m in Response(1, 2, N_OWN, name).modules()) for name in ENCODERS]
    assert dict(zip(ENCODERS, counts, strict=True)) == {"mlp": 0, "transformer": 1}


def test_a_forecast_follows_from_own_history_and_index_alone(model):
    own, index = histories(), indices()
    forecast, gain = evaluate(model, own, index)
    other_own, other_index = own.clone(), index.clone()
    other_own[:, 1], other_index[..., 1] = histories(seed=5)[:, 1], indices(seed=6)[..., 1]
    forecast_1, gain_1 = evaluate(model, other_own, other_index)
    np.testing.assert_allclose(forecast_1[..., [0, 2]], forecast[..., [0, 2]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gain_1[..., [0, 2]], gain[..., [0, 2]], rtol=1e-5, atol=1e-6)
    assert (np.abs(forecast_1 - forecast)[..., 1] > 1e-6).all()


def test_every_number_of_the_history_is_read(model):
    own, index = histories(), indices()
    forecast, _ = evaluate(model, own, index)
    for place in range(N_OWN):
        other = own.clone()
        other[..., place] += 1
        assert np.abs(evaluate(model, other, index)[0] - forecast).max() > 1e-4
    swapped = own[..., [1, 0, *range(2, N_OWN)]]
    assert np.abs(evaluate(model, swapped, index)[0] - forecast).max() > 1e-4  # its place matters, too


def test_the_gain_is_the_forecasts_derivative_with_respect_to_the_index(model):
    model, own, index = model.double(), histories().double(), indices().double()
    _, gain = evaluate(model, own, index)
    step = 1e-5
    (up, _), (down, _) = (evaluate(model, own, index + sign * step) for sign in (1, -1))
    np.testing.assert_allclose(gain, (up - down) / (2 * step), rtol=1e-5, atol=1e-8)
    assert np.abs(gain).max() > 1e-3


def test_own_columns_hold_history_forecast_and_uncorrelated_components(model):
    own = histories(400)
    columns = own_basis(model, own[:, 1], 1, 4)
    alone, _ = evaluate(model, own, torch.zeros(2, 400, 3))
    np.testing.assert_allclose(columns[..., :N_OWN], own[:, 1].expand(2, -1, -1), rtol=1e-6)
    np.testing.assert_allclose(columns[..., N_OWN], alone[..., 1], rtol=1e-4, atol=1e-5)
    for components in columns[..., N_OWN + 1 :]:
        np.testing.assert_allclose(components.T @ components / 400, np.eye(4), atol=1e-3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_training_learns_a_response_to_history_and_index(encoder):
    own, index = histories(1000), indices(1000)
    goal = torch.tanh(own[..., 3]) * (1 + index[0])
    model = Response(2, 3, N_OWN, encoder).initialize([0, 1])
    delta = torch.full((2, 3), 1.0)
    rows = [np.arange(800), np.arange(200, 1000)]
    train_response(model, own, goal, index[:1].expand(2, -1, -1), delta, rows, 120, 0.01, [0, 1])
    forecast, _ = evaluate(model, own, index[:1].expand(2, -1, -1))
    for fold, unseen in enumerate((slice(800, 1000), slice(0, 200))):
        error = forecast[fold, unseen] - goal[unseen].numpy()
        assert (error**2).mean() < 0.2 * goal[unseen].var().item()
    assert not model.training


def test_batches_go_through_all_rows_before_they_come_back():
    taught, checked = held_out([np.arange(100), np.arange(50, 170)])
    assert taught[0].tolist() == list(range(90)) and taught[1].tolist() == list(range(50, 158))
    assert checked.shape == (2, 10) and checked[1].tolist() == list(range(160, 170))
    size = batch_size(taught, n_neurons=2, n_samples=60)
    assert size == 30
    drawn = torch.stack(list(batches(taught, size, 6, [0, 1])))  # (steps, models, size)
    for epoch in (drawn[:3], drawn[3:]):
        assert sorted(epoch[:, 0].flatten().tolist()) == list(range(90))
        assert len(set(epoch[:, 1].flatten().tolist())) == 90  # as many as of the model that has fewest
    assert drawn[0, 0].tolist() != drawn[3, 0].tolist()
    alone = torch.stack(list(batches(taught[:1], size, 6, [0])))
    assert torch.equal(alone, drawn[:, :1])
    assert [step for step in range(50) if is_check(step, 50)][-2:] == [47, 49]


def test_each_model_gets_back_its_own_best_weights_and_statistics():
    model = Response(2, 3, N_OWN, "transformer").initialize([0, 1])
    best = BestWeights(model)
    statistics = model.encoder.encoder.norm_attention.running_mean
    for value, losses in ((1.0, [3.0, 5.0]), (2.0, [4.0, 2.0]), (3.0, [9.0, 9.0])):
        with torch.no_grad():
            model.last.bias.fill_(value)
            statistics.fill_(value)
        best.offer(torch.tensor(losses))
    best.restore()
    assert model.last.bias.flatten().tolist() == [1.0, 2.0]
    assert statistics[:, 0].tolist() == [1.0, 2.0]


def test_gains_at_some_rows_are_those_of_all(model):
    own, index, rows = histories(), indices(), np.array([1, 4, 5, 17])
    forecast, gain = evaluate(model, own, index)
    some = evaluate(model, own, index[:, rows], rows)
    np.testing.assert_allclose(some[0], forecast[:, rows], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some[1], gain[:, rows], rtol=1e-5, atol=1e-6)
    assert np.abs(gain).min() > 0


@pytest.mark.parametrize(("rate", "n_steps"), [(0.003, 301), (0.1, 600), (0.3, 7), (0.02, 2)])
def test_rates_and_momenta_are_those_of_torchs_one_cycle(rate, n_steps):
    ours = OneCycleAdamW([torch.zeros(1)], rate, n_steps, weight_decay=0)
    reference = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, max_lr=rate, total_steps=n_steps)
    for _ in range(n_steps - 1):
        group = reference.param_groups[0]
        assert ours._rate_and_momentum() == (group["lr"], group["betas"][0])
        ours.step()
        reference.step()
        schedule.step()


@pytest.mark.parametrize("n_steps", [3, 4, 30])
def test_the_optimizer_is_torchs_adamw_with_one_cycle(n_steps):
    ours, theirs = ([torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)] for _ in range(2))
    optimizer = OneCycleAdamW(ours, 0.1, n_steps, weight_decay=0.01)
    reference = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, max_lr=0.1, total_steps=n_steps)
    for step in range(n_steps - 1):
        for parameters, each in ((ours, optimizer), (theirs, reference)):
            each.zero_grad()
            used = parameters[: 1 + step % 2]  # the second has a gradient every other time
            sum((p.cumsum(0) - 2).square().sum() for p in used).backward()
            each.step()
        schedule.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], torch.ones(3))


def test_a_fit_does_not_import_the_compiler():
    code = (
        "import sys; from causalkit import SingleIndexGranger, simulate; "
        "SingleIndexGranger(n_rounds=1, n_steps=2).fit(simulate.izhikevich(3, 0.4, 600)); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The transformer over spike tokens: what reaches what, incidence by hand, readouts where the answer is known."""

import numpy as np
import pytest
import torch
import xarray as xr

from causalkit import Neuroformer, co_input, spike_readouts, spike_tokens
from causalkit.methods.neuroformer import _cross_entropies, _digest
from causalkit.methods.neuroformer_network import INTERVAL_EDGES, NeuroformerNetwork, interval_class
from causalkit.methods.spike_graph import batch_connectivity, correlation_graph, total_variation
from causalkit.methods.spike_windows import Batch, TokenWindows
from causalkit.recording import from_array

N, PAST = 4, 5
TINY = {
    "past_ms": PAST, "present_ms": 10, "embedding_dim": 8, "feedforward_dim": 8, "n_heads": 2, "max_epochs": 1,
    "device": "cpu",
}  # fmt: skip


def trains(seed=0, n_times=400, rate=0.15, n=N):
    return from_array((np.random.default_rng(seed).random((n_times, n)) < rate).astype(float), kind="spikes")


def network_of(seed=0, n_models=2, n_layers=2):
    """A small network with weights that nothing trained."""
    sizes = {"past": PAST, "embedding_dim": 8, "feedforward_dim": 12, "n_heads": 2, "n_layers": n_layers,
             "lag_slopes": True, "tied": True}  # fmt: skip
    network = NeuroformerNetwork(n_models, N, **sizes).initialize(range(seed, seed + n_models))
    network.next.weight.data *= 50
    network.next.gain.data += 0.5
    return network.double().eval()


def windows_of(recording=None, past=PAST, present=10):
    return TokenWindows.cut(spike_tokens.tokenize(trains() if recording is None else recording), past, present)


def batch_of(n_windows=6, n_models=2):
    return windows_of().batch(torch.arange(n_windows).expand(n_models, -1))


def changed(batch, place, **values):
    """The batch with one token of window 2 of all members altered."""
    parts = {name: getattr(batch, name).clone() for name in ("neuron", "interval", "age", "valid", "present")}
    for name, value in values.items():
        parts[name][:, 2, place] = value
    return Batch(**parts)


# ---- the network


@pytest.mark.parametrize("what", ["neuron", "interval"])
def test_no_later_token_changes_a_forecast(what):
    network, batch, place = network_of(), batch_of(), 6
    other = {"neuron": (int(batch.neuron[0, 2, place]) + 1) % N, "interval": 40}[what]
    before, after = network(batch), network(changed(batch, place, **{what: other}))
    for one, other in zip(before, after, strict=True):
        same = (one == other).all(-1)
        assert same[:, :2].all() and same[:, 3:].all()  # other windows
        assert same[:, 2, : place + 1].all()  # forecasts of this token and of those before it
        assert not same[:, 2, place + 1].any()  # the next one is forecast from it


def test_gradients_of_a_forecast_end_at_the_token_before_it():
    network, batch = network_of(), batch_of()
    embedded = network.embedding(batch).detach().requires_grad_()
    logits, _ = network(batch, embedded=embedded)
    place = 6
    (slope,) = torch.autograd.grad(logits[0, 2, place].square().sum(), embedded)
    moved = (slope[0, 2].abs() > 0).any(-1)
    assert not moved[place + 1 :].any() and moved[place]
    assert not (slope[1] != 0).any() and not (slope[0, :2] != 0).any()


def test_attention_sums_to_one_over_the_opening_token_and_the_near_past():
    network, batch, layers = network_of(), batch_of(), []
    network(batch, layers)
    assert len(layers) == 2
    age, valid = batch.age[0, 2], batch.valid[0, 2]
    for layer in layers:
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones_like(layer.weights.sum(-1)))
        weights = layer.weights[0, 2, 0]
        for q in range(len(age)):
            for k in range(len(age)):
                may = k < q and bool(valid[k]) and int(age[q] - age[k]) <= PAST
                assert (weights[q + 1, k + 1] > 0) == may


def test_both_ways_to_attend_agree():
    network, batch = network_of(), batch_of()
    for one, other in zip(network(batch), network(batch, []), strict=True):
        torch.testing.assert_close(one, other)


def test_permuted_neurons_permute_the_forecast():
    network, batch = network_of(), batch_of()
    order = torch.tensor([2, 0, 3, 1])  # place i of the new order is neuron order[i] of the old
    place = torch.argsort(order)
    renamed = Batch(place[batch.neuron], batch.interval, batch.age, batch.valid, batch.present)
    before = network(batch)
    network.embedding.neuron.weight.data = network.embedding.neuron.weight[:, order]
    columns = torch.cat([order, torch.arange(N, N + len(INTERVAL_EDGES))])
    for values in (network.next.weight, network.next.bias):
        values.data = values[..., columns]
    after = network(renamed)
    torch.testing.assert_close(after[0], before[0][..., order])
    torch.testing.assert_close(after[1], before[1])


def test_intervals_fall_into_the_classes_of_their_edges():
    steps = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 127, 128, 10**6])
    assert interval_class(steps).tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 12, 13, 13]


def test_slopes_make_near_tokens_weigh_more_and_their_size_is_e_to_the_lag():
    network, batch = network_of(n_models=1, n_layers=1), batch_of(n_models=1)
    block, layers = network.blocks[0], []
    block.query_key_value.weight.data[..., :16] = 0  # queries and keys of nothing: only time decides
    block.query_key_value.bias.data[..., :16] = 0
    network(batch, layers)
    torch.testing.assert_close(-1 / block.slopes[0], torch.tensor([2.0, PAST]).double())
    weights, age, allowed = layers[0].weights[0, 2, :, 1:, 1:], batch.age[0, 2], network.allowed(batch)[0, 2, 1:, 1:]
    lag = age[:, None] - age[None]
    for head, steps in enumerate((2.0, PAST)):
        expected = torch.exp(-lag / steps).double() * allowed
        expected = expected / (1 + expected.sum(-1, keepdim=True))  # the opening token weighs one
        torch.testing.assert_close(weights[head], expected)


# ---- incidence


def by_hand(neuron, step, past, rows="query"):
    """Pairs counted one by one: (target, source) -> number."""
    counts = np.zeros((3, 3), dtype=int)
    for q in range(len(neuron)):
        for k in range(q):
            if step[q] - step[k] > past:
                continue
            if rows == "query":
                counts[neuron[q], neuron[k]] += 1
            elif q + 1 < len(neuron):
                counts[neuron[q + 1], neuron[k]] += 1
    return counts


SEQUENCE = ([0, 1, 0, 2, 1], [0, 1, 3, 4, 9])


def one_window(neuron, step):
    row = [torch.tensor(x)[None, None] for x in (neuron, np.diff(step, prepend=0), step)]
    yes = torch.ones_like(row[0], dtype=torch.bool)
    return Batch(*row, yes, yes)


def test_incidence_of_a_sequence_counted_on_fingers():
    mask, targets = spike_readouts.pair_mask(one_window(*SEQUENCE), 3)
    counts = spike_readouts.incidence(mask, targets, targets, 3)
    # neuron 1 after 0; the second 0 after 0 and 1; 2 after 1 and 0 (the first 0 is too long ago); the last 1 after none
    np.testing.assert_array_equal(counts, [[1, 1, 0], [1, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize("past", [2, 3, 5, 20])
@pytest.mark.parametrize("rows", ["query", "next"])
def test_incidence_is_that_of_pairs_counted_one_by_one(past, rows):
    rng = np.random.default_rng(past)
    neuron, step = rng.integers(0, 3, 30).tolist(), np.sort(rng.integers(0, 40, 30)).tolist()
    batch = one_window(neuron, step)
    mask, targets = spike_readouts.pair_mask(batch, past, rows)
    counted = spike_readouts.incidence(mask, targets, batch.neuron[0].numpy(), 3)
    np.testing.assert_array_equal(counted, by_hand(neuron, step, past, rows))
    weights = rng.random(mask.shape)
    e_q, e_k = (np.eye(3)[x[0]] for x in (targets, batch.neuron[0].numpy()))  # incidence matrices (token, neuron)
    np.testing.assert_allclose(
        spike_readouts.incidence(mask, targets, batch.neuron[0].numpy(), 3, weights), e_q.T @ (mask * weights)[0] @ e_k
    )


def test_spikes_of_one_step_make_pairs_only_if_asked_for():
    batch = one_window([0, 1, 2], [0, 2, 2])
    for same, expected in ((True, {(1, 0), (2, 0), (2, 1)}), (False, {(1, 0), (2, 0)})):
        mask, targets = spike_readouts.pair_mask(batch, 5, "query", same)
        counts = spike_readouts.incidence(mask, targets, targets, 3)
        assert set(zip(*np.nonzero(counts), strict=True)) == expected


def test_each_spike_is_a_row_once_and_every_near_pair_counts_once():
    recording = trains()
    data = windows_of(recording)
    sums = spike_readouts.read(network_of(n_models=1).float(), data, torch.arange(len(data)))
    counts = recording.activity.values
    expected = sum(counts[lag:].T @ counts[: len(counts) - lag] for lag in range(1, PAST + 1))
    with_step = counts.T @ counts - np.diag(counts.sum(0))  # both orders; tokens come in one of them
    early = np.zeros((N, N))
    np.testing.assert_array_equal(sums.counts + sums.counts.T - early, expected + expected.T + with_step)


def test_attention_to_all_alike_adds_up_to_shares_known_by_counting():
    network, data = network_of(n_models=1).float(), windows_of()
    for block in network.blocks:
        block.slopes.data[:] = 0  # near or far
        block.query_key_value.weight.data[..., :8] = 0  # queries of nothing: every key weighs the same
        block.query_key_value.bias.data[..., :8] = 0
    batch = data.batch(torch.arange(len(data))[None])
    sums = spike_readouts.read(network, data, torch.arange(len(data)))
    mask, _ = spike_readouts.pair_mask(batch, PAST)
    length = batch.age.shape[-1]
    near = (batch.age[0][:, :, None] - batch.age[0][:, None] <= PAST) & torch.ones(length, length).tril(-1).bool()
    share = 1 / (1 + (near & batch.valid[0][:, None]).sum(-1, keepdim=True).numpy())  # 1: the opening token
    neuron = batch.neuron[0].numpy()
    expected = spike_readouts.incidence(mask, neuron, neuron, N, np.broadcast_to(share, mask.shape))
    assert sums.weights.shape == (1, 2, 2, N, N)
    np.testing.assert_allclose(sums.weights, np.broadcast_to(expected, sums.weights.shape), rtol=1e-5)


def test_a_pair_that_never_met_stays_missing():
    counts = np.zeros((400, 3))
    counts[::7, 0] = counts[3:200:7, 1] = counts[380:, 2] = 1
    counts[190:, :2] = 0
    counts[370::7, 0] = 0
    model = Neuroformer(**TINY | {"past_ms": 2}).fit(from_array(counts, kind="spikes"))
    c = model.connectivity_
    assert c.co_occurrence.sel(target="n2", source="n1") == 0
    assert np.isnan(c.normalized.sel(target="n2", source="n1"))
    assert c.score.sel(target="n2", source="n1") == 0


# ---- planted worlds


def follows(seed=0, n_times=6000):
    """Neuron 1 fires two steps after neuron 0, and neuron 2 when it likes."""
    rng = np.random.default_rng(seed)
    counts = (rng.random((n_times, 3)) < [0.08, 0.01, 0.09]).astype(float)
    counts[2:, 1] = np.maximum(counts[2:, 1], counts[:-2, 0] * (rng.random(n_times - 2) < 0.9))
    return from_array(counts, kind="spikes", neurons=["driver", "driven", "other"])


@pytest.fixture(scope="module")
def planted():
    recording = follows()
    model = Neuroformer(past_ms=4, present_ms=20, n_layers=1, max_epochs=12, device="cpu").fit(recording)
    return recording, model


def test_the_forecast_beats_rates_and_chance(planted):
    d = planted[1].diagnostics_
    assert float(d.test_cross_entropy[0]) < float(d.rate_cross_entropy) - 0.1 < float(d.chance_cross_entropy)
    assert float(d.test_interval_cross_entropy[0]) < float(d.interval_frequency_cross_entropy)


def next_by_chance(chances, n_spikes, n_neurons, seed=0):
    """Single spikes every second step, each neuron drawn with the `chances` (n_neurons,) of the list of all before."""
    rng, fired = np.random.default_rng(seed), [0]
    while len(fired) < n_spikes:
        fired.append(min(int(np.searchsorted(chances(fired).cumsum(), rng.random())), n_neurons - 1))
    steps = 2 * np.arange(n_spikes)
    counts = np.zeros((steps[-1] + 1, n_neurons))
    counts[steps, fired] = 1
    return from_array(counts, kind="spikes")


@pytest.mark.parametrize(("process", "share"), [("who follows whom", 0.85), ("who has just fired rests", 0.55)])
def test_held_out_spikes_are_forecast_better_than_by_rates_and_no_better_than_by_their_process(process, share):
    n, resting, follows = 12, 6, 0.6
    if process == "who follows whom":  # a Markov chain: its entropy is that of one row
        chain = np.full((n, n), (1 - follows) / n) + follows * np.roll(np.eye(n), 1, axis=1)
        recording = next_by_chance(lambda fired: chain[fired[-1]], 5000, n)
        entropy = -(chain[0] * np.log(chain[0])).sum()
    else:  # any of those that are not among the last six, all alike
        def others(fired):
            chance = np.ones(n)
            chance[fired[-resting:]] = 0
            return chance / chance.sum()

        recording, entropy = next_by_chance(others, 5000, n), np.log(n - resting)
    model = Neuroformer(past_ms=10, present_ms=40, n_layers=1, batch_size=8, max_epochs=8, learning_rate=1e-2,
                        lag_slopes=True, tied=True, n_windows=10, device="cpu").fit(recording)  # fmt: skip
    d = model.diagnostics_
    gain, known = float(d.rate_cross_entropy - d.test_cross_entropy[0]), float(d.rate_cross_entropy - entropy)
    assert known > 0.6
    assert gain > share * known
    error = 1.5 / np.sqrt(float(d.n_test_spikes))  # of the mean of log p; 1.5 is above its spread in both
    assert gain < known + 4 * error  # nobody forecasts better than the process


@pytest.mark.parametrize("readout", ["norm_weighted_next", "ablation"])
def test_the_driver_is_the_source_and_the_driven_the_target(planted, readout):
    recording, model = planted
    score = model.read(recording, readout).score
    right = float(score.sel(target="driven", source="driver"))
    assert right > 1.1 * float(score.sel(target="driver", source="driven"))
    assert right > 1.1 * float(score.sel(target="driven", source="other"))


def test_every_readout_gives_a_connectivity_by_layer_and_head_where_it_has_them(planted):
    recording, model = planted
    for readout in spike_readouts.READOUTS:
        c = model.read(recording, readout, n_windows=10)
        off = ~np.eye(3, dtype=bool)
        assert np.isfinite(c.score.values[off]).all() and c.attrs["windows"] == 10
        if readout.startswith(("attention", "norm_weighted")):
            np.testing.assert_allclose(c.head_score.mean(("layer", "head")), c.seed_score.mean("seed"))
            np.testing.assert_allclose(c.layer_score.mean("layer"), c.head_score.mean(("layer", "head")))
    c = model.connectivity_
    shared = co_input(c.score.fillna(0))
    np.testing.assert_allclose(shared, shared.T)


@pytest.mark.parametrize("options", [{}, {"lag_slopes": True, "tied": True}])
def test_relevance_of_tokens_and_biases_adds_up_to_the_logit(options):
    network = NeuroformerNetwork(2, N, past=PAST, embedding_dim=8, feedforward_dim=16, **options).initialize([0, 1])
    generator = torch.Generator().manual_seed(3)
    parameters = dict(network.named_parameters())
    biases = [parameters[name] for name in parameters if name.endswith("bias") and "embedding" not in name]
    with torch.no_grad():
        for values in biases:  # they start at zero, where nothing would be missed without them
            values += 0.3 * torch.randn(values.shape, generator=generator)
        if network.next.gain is not None:
            network.next.gain += 0.5
    network.eval()
    batch = batch_of()
    embedded = network.embedding(batch).detach().requires_grad_()
    logits = spike_readouts._logit(network, batch, embedded=embedded)
    expected = network(batch)[0].gather(-1, batch.neuron[..., None])[..., 0]
    torch.testing.assert_close(logits, expected)  # the rules change derivatives only
    for place in [(0, 1, 4), (1, 3, 7), (1, 0, 2)]:
        slopes = torch.autograd.grad(logits[place], [embedded, *biases], retain_graph=True, allow_unused=True)
        parts = zip(slopes, [embedded, *biases], strict=True)
        total = sum((slope * values).sum() for slope, values in parts if slope is not None)
        assert total.item() == pytest.approx(logits[place].item(), abs=1e-4)
        shares = spike_readouts._relevance(network, batch)[place[0], 0, 0, place[1], place[2] - 1]
        mine = (slopes[0] * embedded)[place[0], place[1]].sum(-1)[1:]
        torch.testing.assert_close(shares, mine.detach().abs())
        assert not shares[place[2] :].any()  # of nothing that comes later


def test_ablation_is_the_rise_of_the_cross_entropy_computed_again(planted):
    recording, model = planted
    data = model._windows(recording)
    windows = torch.arange(20)
    sums = spike_readouts.read(model.network_, data, windows, "ablation")
    batch, network, source = data.batch(windows[None]), model.network_, 0
    table = network.embedding.neuron.weight
    with torch.no_grad():
        before, _, present, _ = _cross_entropies(network, data, windows[None])
        kept = table.detach().clone()
        table[:, source] = kept.mean(1)
        after = _cross_entropies(network, data, windows[None])[0]
        table[:] = kept
    for target in range(3):
        mine = present & (batch.neuron == target)
        expected = float((after - before)[mine].mean())
        assert sums.normalized[0, 0, 0, target, source] == pytest.approx(expected, abs=1e-5)


# ---- what comes before the training, and beside it


def test_other_sessions_train_everything_but_the_neurons():
    others = [trains(seed, n=3) for seed in (5, 6)]
    alone, helped = (Neuroformer(**TINY, sessions=s).fit(trains()) for s in ((), others))
    assert not torch.equal(alone.network_.blocks[0].out.weight, helped.network_.blocks[0].out.weight)
    kept = Neuroformer(**TINY | {"max_epochs": 0}, sessions=others).fit(trains())
    fresh = Neuroformer(**TINY | {"max_epochs": 0}).fit(trains())
    torch.testing.assert_close(kept.network_.embedding.neuron.weight, fresh.network_.embedding.neuron.weight)
    assert kept.network_.next.n_neurons == N
    assert _digest(others[0]) in helped.connectivity_.attrs["parameters"]
    wider = from_array(others[0].activity.values, kind="spikes", dt_ms=2)
    with pytest.raises(ValueError, match="sessions have steps of 2.0 ms and the recording of 1.0 ms"):
        Neuroformer(**TINY, sessions=[wider]).fit(trains())


def test_total_variation_is_its_formula_and_zero_for_equal_rows():
    network, batch, layers = network_of(n_models=1), batch_of(n_models=1), []
    network(batch, layers)
    laplacian = correlation_graph(trains(), 2).double()
    c = batch_connectivity(layers, batch, PAST, N)[0].detach().numpy()
    mask, targets = spike_readouts.pair_mask(batch, PAST)
    mean = torch.stack([layer.weights.mean(2) for layer in layers]).mean(0)[0, :, 1:, 1:].detach().numpy()
    counts = spike_readouts.incidence(mask, targets, batch.neuron[0].numpy(), N)
    added = spike_readouts.incidence(mask, targets, batch.neuron[0].numpy(), N, mean)
    np.testing.assert_allclose(c, np.where(counts > 0, added / np.maximum(counts, 1), 0))
    expected = np.trace(c.T @ laplacian.numpy() @ c) / np.trace(c.T @ c)
    assert float(total_variation(layers, batch, PAST, laplacian)[0].detach()) == pytest.approx(expected)
    values = np.linalg.eigvalsh(laplacian.numpy())
    assert values.min() == pytest.approx(0, abs=1e-6) and values.max() <= 2 + 1e-6


def test_the_penalty_lowers_the_total_variation():
    recording = trains(n_times=2000)
    graph = correlation_graph(recording, 1)
    found = []
    for weight in (0.0, 5.0):
        model = Neuroformer(**TINY | {"max_epochs": 6}, graph_penalty=weight, graph_neighbors=1).fit(recording)
        data, layers = model._windows(recording), []
        batch = data.batch(torch.arange(len(data))[None])
        with torch.no_grad():
            model.network_(batch, layers)
            found.append(float(total_variation(layers, batch, data.past, graph)[0]))
    assert found[1] < found[0]


# ---- what it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_dim": 9}, "no multiple of n_heads"),
        ({"readout": "saliency"}, "choose one of attention, attention_next"),
        ({"more_readouts": "attention"}, "must be a list of"),
        ({"past_ms": 0}, "past_ms=0 must be a number above 0"),
        ({"dropout": 1}, "from 0 and below 1"),
        ({"graph_penalty": -1}, "graph_penalty=-1"),
        ({"n_windows": 0}, "n_windows is 0"),
        ({"tied": 1}, "tied=1 must be True or False"),
    ],
)
def test_impossible_hyperparameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Neuroformer(**TINY | options).fit(trains())


def test_reading_refuses_what_was_not_fitted(planted):
    recording, model = planted
    with pytest.raises(ValueError, match="is unknown"):
        model.read(recording, "gradient")
    with pytest.raises(ValueError, match="not those the network was"):
        model.read(recording.isel(neuron=[1, 0, 2]))
    with pytest.raises(Exception, match="not fitted yet"):
        Neuroformer().read(recording)
    assert isinstance(model.training_, xr.Dataset)

"""Readouts of fitted Causalformers: what they hold, what they refuse, and that they find a wiring."""

import json

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from causalkit import MVGC, Causalformer, metrics, readouts, simulate

TINY = {"n_seeds": 2, "max_epochs": 1, "device": "cpu"}
SMALL = {"context": 4, "embedding_dim": 12, "feedforward_dim": 16, "head_dim": 4, "n_heads": 2, "batch_size": 32}
OF_ATTENTION = {"attention", "norm_weighted", "rollout"}


@pytest.fixture(scope="module")
def spikers():
    return simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=300, random_state=3)


@pytest.fixture(scope="module", params=["fast", "small", "paper", "leak", "linear"])
def fitted(request, spikers):
    changed = {"leak": {"preset": "fast", "leak_future": True}, "linear": {"decoder_attention": "linear"}}
    options = changed.get(request.param, {"preset": request.param})
    return Causalformer(**TINY, **SMALL, random_state=7, **options).fit(spikers)


def test_every_readout_is_a_connectivity(fitted, spikers):
    weights = {name: value.clone() for name, value in fitted.network_.state_dict().items()}
    before = fitted.connectivity_.copy(deep=True)
    names = [name for name in readouts.READOUTS if name != "relevance" or fitted.decoder_attention != "linear"]
    results = readouts.read_all(fitted, spikers, names)
    by_step = fitted.preset != "fast"
    for name, result in results.items():
        assert result.score.dims == ("target", "source") and result.score.shape == (5, 5)
        assert np.isnan(result.score.values.diagonal()).all() and result.self_score.shape == (5,)
        np.testing.assert_array_equal(result.seed, [7, 8])
        assert result.target.values.tolist() == spikers.neuron.values.tolist()
        assert result.attrs["readout"] == name and result.attrs["method"] == "causalformer"
        assert result.attrs["windows"] == 59 and result.attrs["seconds"] > 0
        assert json.loads(result.attrs["parameters"])["context"] == 4
        has_lags = name not in OF_ATTENTION | {"ablation"} or (by_step and name in OF_ATTENTION)
        assert ("lag_score" in result) == has_lags, name
        if has_lags:
            off = ~np.eye(5, dtype=bool)
            np.testing.assert_allclose(result.lag_score.sum("lag").values[off], result.score.values[off], rtol=1e-6)
            assert result.seed_lag_score.dims == ("seed", "target", "source", "lag") and result.sizes["lag"] == 4
        mean = np.maximum(result.seed_score.mean("seed"), 0).values
        np.fill_diagonal(mean, np.nan)
        np.testing.assert_allclose(result.score, mean, rtol=1e-6)
        again = readouts.read(fitted, spikers, name)
        np.testing.assert_array_equal(again.seed_score, result.seed_score)
    # the model's own attention is the first of the readouts, and reading changed nothing in it
    np.testing.assert_allclose(results["attention"].seed_score, before.seed_score, rtol=1e-4, atol=1e-7)
    assert before.identical(fitted.connectivity_)
    assert all(torch.equal(value, weights[name]) for name, value in fitted.network_.state_dict().items())
    assert not any(parameter.grad is not None for parameter in fitted.network_.parameters())


def test_a_stored_model_is_read_alike(tmp_path, spikers):
    model = Causalformer(preset="fast", **TINY, **SMALL).fit(spikers)
    loaded = Causalformer.load(model.save(tmp_path / "model"), device="cpu")
    for name in ("relevance", "ablation"):
        ours, theirs = (readouts.read(each, spikers, name).seed_score for each in (model, loaded))
        np.testing.assert_array_equal(ours, theirs)


def test_members_are_read_apart(spikers):
    model = Causalformer(preset="fast", **TINY, **SMALL).fit(spikers)
    alone = Causalformer(preset="fast", **TINY | {"n_seeds": 1}, **SMALL, random_state=1).fit(spikers)
    for name in readouts.READOUTS:
        both, one = (readouts.read(each, spikers, name).seed_score.sel(seed=1) for each in (model, alone))
        np.testing.assert_allclose(both, one, rtol=2e-2, atol=1e-5)


def test_the_table_names_auroc_and_seconds(spikers):
    model = Causalformer(preset="fast", **TINY, **SMALL).fit(spikers)
    results = readouts.read_all(model, spikers, n_windows=10)
    table = readouts.table(results, spikers.connectivity)
    assert table.index.tolist() == list(readouts.READOUTS) and (table.seconds > 0).all()
    for name, result in results.items():
        single = [metrics.auroc(spikers, member) for member in result.seed_score]
        assert table.auroc[name] == metrics.auroc(spikers, result)
        assert table.auroc_single[name] == pytest.approx(np.mean(single))


# ---- what is refused


def test_refusals_say_what_to_do(spikers):
    model = Causalformer(preset="fast", **TINY, **SMALL)
    with pytest.raises(NotFittedError, match="not fitted yet: call fit"):
        readouts.read(model, spikers)
    model.fit(spikers)
    with pytest.raises(ValueError, match="'gradient' is unknown: choose one of attention, .*did you mean 'gradient_"):
        readouts.read(model, spikers, "gradient")
    for wrong in (0, 1000, 2.5, True):
        with pytest.raises(ValueError, match="59 test windows; give a whole number from 1 to 59"):
            readouts.read(model, spikers, n_windows=wrong)
    others = spikers.assign_coords(neuron=list("abcde"))
    with pytest.raises(ValueError, match="are not those the network was trained on"):
        readouts.read(model, others)
    with pytest.raises(ValueError, match="windows cannot be cut into parts.*record longer"):
        readouts.read(model, spikers.isel(time=slice(5)))
    with pytest.raises(TypeError, match="MVGC cannot be read: .*probe"):
        readouts.read(MVGC().fit(spikers), spikers)
    linear = Causalformer(decoder_attention="linear", **TINY, **SMALL).fit(spikers)
    with pytest.raises(NotImplementedError, match="no rule of relevance"):
        readouts.read(linear, spikers, "relevance")


def test_a_model_without_attention_has_the_other_readouts(rng):
    class Persistence:
        """Tomorrow is as today."""

        def probe(self, recording):
            history = torch.tensor(rng.standard_normal((20, 3, 2)))
            return readouts.Probe(
                neurons=list("abc"), seeds=[0], n_windows=20, windows_at_once=20, history=lambda w: history[w],
                targets=lambda w: history[w][..., -1], forecast=lambda x, w: x[..., -1], method="persistence",
            )  # fmt: skip

    for name in OF_ATTENTION:
        with pytest.raises(ValueError, match="persistence has no attention, so it has no readout"):
            readouts.read(Persistence(), None, name)
    for name in set(readouts.READOUTS) - OF_ATTENTION:
        result = readouts.read(Persistence(), None, name)
        assert (result.score.fillna(0) == 0).all() and (result.self_score > 0).all()


# ---- it works


@pytest.mark.slow
def test_one_sided_pairs_are_read_the_right_way_round():
    weights = np.zeros((5, 5))
    weights[1, 0], weights[2, 3] = 10, 10  # [target, source]; strong, and between neurons of one type
    recording = simulate.izhikevich(5, connectivity=weights, n_steps=5000, random_state=2100)
    model = Causalformer(preset="fast", n_seeds=3, max_epochs=8, device="cpu").fit(recording)
    for name in set(readouts.READOUTS) - OF_ATTENTION:
        score = readouts.read(model, recording, name).score.values
        assert score[1, 0] > 3 * score[0, 1] and score[2, 3] > 3 * score[3, 2], name


@pytest.mark.slow
def test_every_readout_of_a_trained_network_finds_edges():
    recording = simulate.izhikevich(8, 0.3, 4000, random_state=2101)
    model = Causalformer(preset="fast", n_seeds=3, max_epochs=6, device="cpu").fit(recording)
    truth, off = recording.connectivity.values, ~np.eye(8, dtype=bool)
    rng = np.random.default_rng(0)
    for name, result in readouts.read_all(model, recording).items():
        null = []
        for _ in range(200):  # wirings with as many edges elsewhere
            shuffled = np.zeros((8, 8))
            shuffled[off] = rng.permutation(truth[off])
            null.append(metrics.auroc(shuffled, result.score.values))
        assert metrics.auroc(truth, result.score.values) > max(0.75, np.quantile(null, 0.99)), name

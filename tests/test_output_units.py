"""Causalformer on spikes: the likelihood is scipy's, forecasts are expected counts, and wiring is found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from causalkit import Causalformer, from_array, metrics, readouts
from causalkit.methods.output_units import meaning_of_output

QUICK = {"n_seeds": 2, "max_epochs": 15, "context": 4, "n_heads": 2, "learning_rate": 5e-3, "batch_size": 64}


@pytest.mark.parametrize("family", ["bernoulli", "poisson"])
def test_likelihood_is_scipys(family, rng):
    counts = rng.integers(0, 2 if family == "bernoulli" else 4, (50, 3)).astype(float)
    scaling = SimpleNamespace(mean=counts.mean(0), sd=counts.std(0))
    model = meaning_of_output(family, scaling, "cpu")
    output = rng.standard_normal((50, 3))
    target = torch.tensor((counts - scaling.mean) / scaling.sd, dtype=torch.float32)
    loss = model.loss(torch.tensor(output, dtype=torch.float32), target).numpy()
    forecast = model.forecast(torch.tensor(output, dtype=torch.float32)).numpy() * scaling.sd + scaling.mean
    if family == "bernoulli":
        odds = np.exp(output) * scaling.mean / (1 - scaling.mean)
        expected = -stats.bernoulli.logpmf(counts, odds / (1 + odds))
        np.testing.assert_allclose(forecast, odds / (1 + odds), rtol=1e-4)
    else:
        mean = scaling.mean * np.exp(output)
        expected = -stats.poisson.logpmf(counts, mean)
        expected -= np.array([[np.sum(np.log(np.arange(1, k + 1))) for k in row] for row in counts])  # log k!
        np.testing.assert_allclose(forecast, mean, rtol=1e-4)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_an_output_of_zero_is_the_mean_count():
    model = meaning_of_output("poisson", SimpleNamespace(mean=np.array([0.2, 0.0]), sd=np.array([1.0, 1.0])), "cpu")
    np.testing.assert_allclose(model.forecast(torch.zeros(1, 2)).numpy(), 0, atol=2e-6)


def driven(n_times=2500, seed=0):
    """Spikes: n0 makes n1 fire in the next bin; n2 is alone."""
    rng = np.random.default_rng(seed)
    spikes = (rng.random((n_times, 3)) < 0.15).astype(float)
    spikes[1:, 1] = np.maximum(spikes[1:, 1], spikes[:-1, 0] * (rng.random(n_times - 1) < 0.8))
    return from_array(spikes, dt_ms=1, kind="spikes", connectivity=[[0, 0, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("loss", ["bernoulli", "poisson"])
def test_forecasts_are_expected_counts_and_the_edge_is_found(loss, tmp_path):
    recording = driven()
    method = Causalformer(loss=loss, random_state=1, **QUICK).fit(recording)
    assert metrics.auroc(recording, method.connectivity_) == 1
    prediction = method.predict(recording).prediction
    assert prediction.min() >= 0 and (loss == "poisson" or prediction.max() <= 1)
    after = recording.activity.values[:, 0][3:-1] == 1  # bins that follow a spike of n0; the first four are history
    spikes = recording.activity.values[4:, 1]
    found, exact, rate = (
        stats.bernoulli.logpmf(spikes, p).mean()
        for p in (prediction.sel(neuron="n1").clip(1e-6, 1 - 1e-6), np.where(after, 0.83, 0.15), spikes.mean())
    )
    assert found - rate > 0.9 * (exact - rate)  # nearly all that can be known
    again = Causalformer.load(method.save(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(again.predict(recording).prediction, prediction)
    for name, read in readouts.read_all(method, recording).items():
        assert metrics.auroc(recording, read) == 1, name


def test_squared_error_is_still_the_default():
    recording = driven(600)
    plain = Causalformer(**QUICK | {"max_epochs": 1}).fit(recording).connectivity_
    named = Causalformer(loss="mse", **QUICK | {"max_epochs": 1}).fit(recording).connectivity_
    np.testing.assert_array_equal(plain.score, named.score)


def test_other_activity_is_refused(rng):
    voltage = from_array(rng.standard_normal((200, 3)))
    with pytest.raises(ValueError, match="loss='poisson' is for counts"):
        Causalformer(loss="poisson", **QUICK).fit(voltage)
    counts = from_array(rng.poisson(1.0, (200, 3)).astype(float), kind="spikes")
    with pytest.raises(ValueError, match="bins of [3-9]: use shorter bins, or loss='poisson'"):
        Causalformer(loss="bernoulli", **QUICK).fit(counts)
    with pytest.raises(ValueError, match="loss='hinge' is unknown"):
        Causalformer(loss="hinge", **QUICK).fit(counts)

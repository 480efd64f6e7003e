"""The default Causalformer: history tokens, a learning rate that falls to zero, stored results beside the paper's."""

import numpy as np
import pytest
import torch
from scipy import stats

from causalkit import Causalformer, connectivity, readouts, rerun, simulate, training
from causalkit.training import Schedule

TINY = {"n_seeds": 2, "context": 4, "embedding_dim": 12, "feedforward_dim": 16, "head_dim": 4, "n_heads": 2,
        "batch_size": 32, "max_epochs": 3, "device": "cpu"}  # fmt: skip


@pytest.fixture(scope="module")
def spikers():
    return simulate.izhikevich(n_neurons=5, connection_probability=0.4, n_steps=300, random_state=3)


@pytest.fixture(scope="module")
def fitted(spikers):
    return Causalformer(**TINY).fit(spikers)


def test_fast_is_the_default_and_has_fewer_parameters_than_the_papers(spikers):
    assert Causalformer().preset == "fast"
    parameters = [
        sum(p.numel() for p in Causalformer(preset=preset, n_seeds=1, max_epochs=0).fit(spikers).network_.parameters())
        for preset in ("fast", "paper")
    ]
    assert parameters[0] < parameters[1] / 3


def test_heads_follow_the_number_of_neurons():
    def heads(n_neurons):
        model = Causalformer(n_seeds=1)
        return model._network(model._hyperparameters(n_neurons), n_neurons).n_heads

    assert [heads(n) for n in (2, 5, 10, 20, 40, 1000)] == [4, 4, 4, 8, 16, 16]


def test_learning_rate_warms_up_and_falls_to_zero():
    schedule = Schedule(batch_size=8, learning_rate=2.0, weight_decay=0.0, max_epochs=10, patience=10,
                        learning_rate_decay="linear")  # fmt: skip
    assert schedule.rate(0.0) == schedule.rate(1.0) == 0.0
    assert schedule.rate(0.025) == pytest.approx(0.5 * 2.0 * 0.975)  # half warm
    np.testing.assert_allclose([schedule.rate(t) for t in (0.05, 0.5, 0.75)], [1.9, 1.0, 0.5])


def test_interrupted_training_continues_to_the_identical_result(spikers, fitted, tmp_path, monkeypatch):
    validate, calls = training._validate, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(*arguments)

    monkeypatch.setattr(training, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Causalformer(**TINY, checkpoint=tmp_path).fit(spikers)
    monkeypatch.undo()
    resumed = Causalformer(**TINY, checkpoint=tmp_path).fit(spikers)
    np.testing.assert_array_equal(resumed.connectivity_["seed_score"], fitted.connectivity_["seed_score"])
    with pytest.raises(ValueError, match="other data or hyperparameters"):  # the rate depends on the last epoch
        Causalformer(**TINY | {"max_epochs": 5}, checkpoint=tmp_path).fit(spikers)


def test_scores_are_the_attention_of_the_test_windows(spikers, fitted):
    windows = fitted._data(spikers).test
    attention = fitted.attention(spikers, windows)
    assert attention.dims == ("seed", "window", "head", "target", "source")
    total = attention.sum("source")
    assert float(total.min()) > 0 and float(total.max()) < 1  # the rest went to nobody
    assert (attention.values[..., np.arange(5), np.arange(5)] == 0).all()
    by_hand = attention.sum("head").mean("window")
    by_hand = 5 * by_hand / by_hand.sum(("target", "source"))  # of each member: its mean row adds up to 1
    score = np.where(np.eye(5, dtype=bool), 0, fitted.connectivity_["score"])
    np.testing.assert_allclose(score, by_hand.mean("seed"), rtol=1e-5)
    assert "lag_score" not in fitted.connectivity_


def test_scaling_a_member_as_a_whole_keeps_which_target_needs_others():
    attention = np.array([[[0.0, 0.1], [0.3, 0.0]]])[..., None]
    scores = readouts.aggregate_attention(attention, ["a", "b"], scale_rows=False)["score"].values
    np.testing.assert_allclose(scores, [[0, 0.5], [1.5, 0]])


def test_saved_and_loaded_gives_the_same(spikers, fitted, tmp_path):
    loaded = Causalformer.load(fitted.save(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(spikers)["prediction"], fitted.predict(spikers)["prediction"])


def test_bfloat16_runs_and_forecasts_about_the_same(spikers, fitted):
    mixed = Causalformer(**TINY, precision="bfloat16").fit(spikers)
    difference = mixed.training_["validation_loss"] - fitted.training_["validation_loss"]
    assert 0 < float(np.abs(difference).max()) < 0.1


def test_without_attention_wanted_the_forecast_is_the_same(spikers, fitted):
    inputs = fitted._data(spikers).inputs(torch.arange(20).expand(2, -1))
    with torch.no_grad():
        prediction, attention = fitted.network_(*inputs)
        quick, nothing = fitted.network_(*inputs, need_attention=False)
    assert nothing is None and attention.shape == (2, 20, 2, 5, 5)
    torch.testing.assert_close(quick, prediction, atol=1e-5, rtol=1e-5)


def test_graph_and_table_work_without_lags(fitted):
    assert connectivity.to_frame(fitted.connectivity_).shape[0] == 20
    assert int(connectivity.adjacency(fitted.connectivity_, top_k=4).sum()) == 4


def test_stored_ensembles_reach_the_published_ones():
    """Figure 2's table: the mean AUROC of each network size is at most .02 below the published one."""
    table = rerun.stored("figure2.parquet")
    table = table[table.control == "none"]
    members = table[(table.method == "Causalformer single") & (table.source == "reference")]
    assert (members[members.protocol == "published"].groupby("network").seed.nunique() == 10).all()
    scores = table[(table.method == "Causalformer ensemble") & (table.protocol == "off_diagonal")]
    cell = ["n_neurons", "connection_probability", "network"]
    scores = scores.pivot_table(index=cell, columns="source", values=["auroc", "r2"]).dropna()
    assert len(scores.groupby(cell[:2])) == 16
    difference = scores["auroc", "reference"] - scores["auroc", "published"]
    assert (difference.groupby("n_neurons").mean() >= -0.02).all()
    assert (scores["r2", "reference"] - scores["r2", "published"]).mean() > 0  # they forecast better


def test_fast_loses_nothing_against_the_papers_preset():
    """Paired differences on own networks that neither was chosen on: the interval's lower end is above -.01."""
    table = rerun.stored("fast_vs_paper.csv")
    assert len(table) >= 16 and table["network"].is_unique
    assert table["network"].str.contains("seed30[0-9]$").all()  # tried out on: seeds 200 to 212
    np.testing.assert_allclose(table["difference"], table["auroc_fast"] - table["auroc_paper"], atol=2e-4)
    result = stats.ttest_1samp(table["difference"], 0)
    assert result.confidence_interval(0.95).low > -0.01
    assert (table["r2_fast"] - table["r2_paper"]).mean() > 0

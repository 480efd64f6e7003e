"""The training loop: early stopping, best weights, members that do not depend on each other, resuming."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from causalkit import nn, training
from causalkit.training import Schedule, bfloat16_kills, choose_device, train

SCHEDULE = Schedule(batch_size=8, learning_rate=0.05, weight_decay=0.0, max_epochs=30, patience=3)


class Line(nn.EnsembleModule):
    def __init__(self, n_models):
        super().__init__()
        self.map, self.dropout = nn.Linear(n_models, 2, 1), nn.Dropout(0.2)

    def forward(self, x):
        return self.map(self.dropout(x))


def problem(n=60):
    """Inputs (n, 2) and noisy linear targets; the last 20 are for validation."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator)
    y = x @ torch.tensor([[1.0], [-2.0]]) + 0.5 * torch.randn(n, 1, generator=generator)
    return x, y


def fit(seeds, schedule=SCHEDULE, noise=0.0, **options):
    x, y = problem()
    model = Line(len(seeds)).initialize(seeds)

    def loss(model, windows):
        return (model(x[windows]) - y[windows]).square().mean((1, 2)) + noise

    history = train(model, loss, n_train=40, n_validation=20, seeds=seeds, schedule=schedule, **options)
    return model, history, loss


def test_finds_the_least_squares_line():
    schedule = Schedule(batch_size=40, learning_rate=0.05, weight_decay=0.0, max_epochs=400, patience=400)
    x, y = problem()
    plain = Line(1).initialize([0])
    plain.dropout.p = 0.0

    def loss(model, windows):
        return (model(x[windows]) - y[windows]).square().mean((1, 2))

    # Validate on the training rows, so that the best weights are the least-squares ones.
    train(plain, lambda m, w: loss(m, w % 40), n_train=40, n_validation=40, seeds=[0], schedule=schedule)
    design = np.c_[x[:40], np.ones(40)]
    exact = np.linalg.lstsq(design, y[:40].numpy(), rcond=None)[0].ravel()
    found = np.r_[plain.map.weight.detach().numpy().ravel(), plain.map.bias.item()]
    np.testing.assert_allclose(found, exact, atol=2e-3)


def test_best_weights_are_restored_and_training_stops():
    model, history, loss = fit([0, 1, 2])
    validation = loss(model, torch.arange(40, 60).expand(3, -1)).detach().numpy()
    np.testing.assert_allclose(validation, np.nanmin(history.validation_loss, axis=1), rtol=1e-6)
    for member in range(3):
        ran = np.isfinite(history.validation_loss[member]).sum()
        assert history.best_epoch[member] == 1 + np.nanargmin(history.validation_loss[member])
        assert ran == min(history.best_epoch[member] + SCHEDULE.patience, SCHEDULE.max_epochs)
    assert len({np.isfinite(row).sum() for row in history.validation_loss}) > 1  # members stop on their own
    assert not model.training


def test_a_member_is_the_same_alone_and_in_an_ensemble():
    _, together, _ = fit([0, 1, 2])
    for seed in range(3):
        _, alone, _ = fit([seed])
        width = alone.validation_loss.shape[1]
        np.testing.assert_allclose(alone.validation_loss[0], together.validation_loss[seed, :width], rtol=1e-5)


def test_no_epochs_leaves_the_model_as_initialized():
    model, history, _ = fit([4], replace(SCHEDULE, max_epochs=0))
    assert torch.equal(model.map.weight, Line(1).initialize([4]).map.weight)
    assert history.train_loss.shape == (1, 0)


def test_a_run_cut_off_and_resumed_is_identical(tmp_path):
    whole, history, _ = fit([0, 1, 2])
    fit([0, 1, 2], replace(SCHEDULE, max_epochs=7), checkpoint=tmp_path)
    resumed, again, _ = fit([0, 1, 2], checkpoint=tmp_path)
    assert torch.equal(whole.map.weight, resumed.map.weight)
    np.testing.assert_array_equal(history.validation_loss, again.validation_loss)
    finished, third, _ = fit([0, 1, 2], checkpoint=tmp_path)  # nothing is left to do
    assert torch.equal(whole.map.weight, finished.map.weight)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 and not list(tmp_path.glob("*.part"))


SLOW_RUN = """
import sys, time
sys.path.insert(0, {tests!r})
import test_training as t
import causalkit.training as training
finish = training._Run.finish_epoch
def slow(self, *losses):
    finish(self, *losses)
    time.sleep(0.15)
training._Run.finish_epoch = slow
t.fit([0, 1, 2], checkpoint={folder!r})
"""


def test_a_killed_run_goes_on_to_the_identical_result(tmp_path):
    code = SLOW_RUN.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.time() + 60
    while not list(tmp_path.glob("epoch-000[3-9]*")) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "checkpoint.json").exists()
    resumed, again, _ = fit([0, 1, 2], checkpoint=tmp_path)
    whole, history, _ = fit([0, 1, 2])
    assert torch.equal(whole.map.weight, resumed.map.weight)
    np.testing.assert_array_equal(history.train_loss, again.train_loss)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit([0], checkpoint=tmp_path, fingerprint="one")
    with pytest.raises(ValueError, match="belongs to a run with other data or hyperparameters"):
        fit([0], checkpoint=tmp_path, fingerprint="two")
    for seeds, schedule in (([1], SCHEDULE), ([0], replace(SCHEDULE, learning_rate=0.01))):
        with pytest.raises(ValueError, match="belongs to a run with other data or hyperparameters"):
            fit(seeds, schedule, checkpoint=tmp_path, fingerprint="one")


def test_a_checkpoint_further_on_than_asked_for_is_refused(tmp_path):
    fit([0], replace(SCHEDULE, max_epochs=5), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is 5 epochs on, and max_epochs=2 asks for fewer"):
        fit([0], replace(SCHEDULE, max_epochs=2), checkpoint=tmp_path)


def test_a_truncated_checkpoint_is_noticed(tmp_path):
    fit([0], checkpoint=tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read .* delete the folder to train anew"):
        fit([0], checkpoint=tmp_path)


def test_a_diverging_loss_names_the_seed():
    with pytest.raises(FloatingPointError, match=r"training loss is not finite in epoch 1 for seeds \[3\]"):
        fit([3], noise=float("nan"))


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device='warp' cannot be used here .* take 'auto', 'cpu' or 'cuda'"):
        choose_device("warp")


def test_bfloat16_is_refused_where_it_would_end_the_process(monkeypatch):
    mixed = replace(SCHEDULE, precision="bfloat16", max_epochs=1)
    fit([0], mixed)  # with the instructions that conftest.py leaves it runs
    monkeypatch.setattr(training, "bfloat16_kills", lambda: True)
    with pytest.raises(ValueError, match="ONEDNN_MAX_CPU_ISA"):
        fit([0], mixed)
    fit([0], SCHEDULE)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_processor_that_kills_is_found_out(monkeypatch, tmp_path):
    dies = tmp_path / "python"
    for ending, found in (("kill -ILL $$", True), ("exit 1", False), ("exit 0", False)):
        dies.write_text(f"#!/bin/sh\n{ending}\n")
        dies.chmod(0o755)
        bfloat16_kills.cache_clear()
        monkeypatch.setattr(training.sys, "executable", str(dies))
        assert bfloat16_kills() is found
    bfloat16_kills.cache_clear()

"""Decoder-only transformer (arXiv 2601.05647): forecast a distribution from the flattened past, read its gradients."""

import hashlib
import json
import numbers
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from causalkit import readouts
from causalkit.methods.base import Method, Traits, check_rate, check_whole
from causalkit.methods.decoder_only_network import DecoderOnlyNetwork
from causalkit.methods.forecasts import (
    at_their_steps,
    digest_recording,
    refuse_other_neurons,
    score_forecasts,
    training_table,
    warn_of_silence,
)
from causalkit.methods.stored import StoredNetwork
from causalkit.recording import as_recording
from causalkit.training import Schedule, choose_device, train
from causalkit.windows import MIN_WINDOWS, Windows

__all__ = ["DecoderOnlyTransformer"]

READOUTS = ("gradient_energy", "score_energy", "gradient_x_input", "relevance", "attn_lrp")
OF_ATTENTION = ("attention", "norm_weighted", "rollout")
NORMS = ("layer", "none")
_SIZES = ("context", "embedding_dim", "feedforward_dim", "n_heads", "n_layers", "norm", "dropout", "n_domains")


class DecoderOnlyTransformer(StoredNetwork, Method):
    """Lagged causes from the gradients of a decoder-only transformer (arXiv 2601.05647).

    A transformer reads the last `context` values of all neurons, one token each, and forecasts the next value of every
    neuron as a normal distribution. It is trained by the likelihood alone. Under causal sufficiency, no instantaneous
    effects, lags within `context` and faithfulness, the gradient energy ``G = E[(d mu_i(t) / d x_j(t - l))²]`` of the
    true mean is positive exactly for the (source, lag) that the mean of the target depends on; the score-gradient
    energy ``H = E[(d log p(x_i(t) | past) / d x_j(t - l))²]`` also for those that only its variance depends on. A
    trained network's are never exactly zero: `causalkit.lagged_graphs` makes graphs of them. No code of the paper is
    public; the network (`causalkit.methods.decoder_only_network`), its sizes and its training are this package's.

    Parameters
    ----------
    context : int
        Lags L that a forecast sees.
    embedding_dim, feedforward_dim, n_heads, n_layers : int
        Channels of a token and of the hidden feed-forward layer; attention heads, which divide `embedding_dim`; layers.
    norm : {"layer", "none"}
        Normalization of a token's channels before attention and feed-forward.
    dropout : float
        Probability, of what a layer adds.
    n_domains : int
        Regimes that the network is told of, by the recording's variable ``domain (time)``, whole numbers below it. 1
        tells it nothing, whether the recording has domains or not. Of a recording that has, the windows of every domain
        are split into training, validation and test for themselves.
    readout : {"gradient_energy", "score_energy", "gradient_x_input", "relevance", "attn_lrp"}
        What ``connectivity_`` holds; `causalkit.readouts.read` reads the others without training again.
    more_readouts : sequence of str
        Others, or "attention", "norm_weighted" and "rollout", that ``connectivity_`` holds beside it.
    n_windows : int
        Test windows, evenly spaced, that it is read on, or all if there are fewer.
    n_seeds : int
        Members of the ensemble; member k is seeded with ``random_state + k``.
    random_state : int
    batch_size, learning_rate, learning_rate_decay, weight_decay, max_epochs, patience
        Training, see `causalkit.training.Schedule`. ``max_epochs=0`` leaves the networks as they were initialized.
    normalization : {"train", "paper"}
        Rows whose mean and standard deviation scale the activity: the training rows, or all.
    device : str
        "auto" takes a GPU where there is one; else a torch device.
    precision : {"float32", "bfloat16"}
    checkpoint : path, optional
        Folder for the training state after each epoch; an interrupted `fit` continues from there.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        ``lag_score (target, source, lag)``, own history on the diagonal, of z-scored activity; ``score`` is its sum
        over lags, off the diagonal; ``seed_score`` and ``seed_lag_score`` of the members; ``NAME_lag_score`` of each of
        `more_readouts`.
    diagnostics_ : xarray.Dataset
        ``test_r2 (seed, neuron)``, ``ensemble_test_r2 (neuron)``, and ``test_log_density (seed, neuron)``, the mean
        logarithmic density of the z-scored test values, in nats.
    training_ : xarray.Dataset
        ``train_loss`` and ``validation_loss (seed, epoch)``, ``best_epoch (seed)``.
    network_ : DecoderOnlyNetwork
        The trained ensemble, in evaluation mode.

    Raises
    ------
    ValueError
        For hyperparameters that make no network, a recording without the domains that it is to be told of, and one too
        short for the windows.
    """

    name = "decoder_only"
    traits = Traits(
        directed=True, input_kinds=("voltage", "spikes", "calcium", "other"), stochastic=True,
        signed=False, lagged=True, p_values=False,
    )  # fmt: skip
    algorithm_version = 1

    def __init__(
        self, *, context=5, embedding_dim=32, feedforward_dim=64, n_heads=8, n_layers=1, norm="none", dropout=0.0,
        n_domains=1, readout="gradient_energy", more_readouts=(), n_windows=1000, n_seeds=2, random_state=0,
        batch_size=64, learning_rate=3e-3, learning_rate_decay="linear", weight_decay=1e-2, max_epochs=12, patience=12,
        normalization="train", device="auto", precision="float32", checkpoint=None,
    ):  # fmt: skip
        self.context = context
        self.embedding_dim = embedding_dim
        self.feedforward_dim = feedforward_dim
        self.n_heads = n_heads
        self.n_layers = n_layers
        self.norm = norm
        self.dropout = dropout
        self.n_domains = n_domains
        self.readout = readout
        self.more_readouts = more_readouts
        self.n_windows = n_windows
        self.n_seeds = n_seeds
        self.random_state = random_state
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.patience = patience
        self.normalization = normalization
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint

    # ---- fitting

    def _fit(self, recording):
        neurons = recording["neuron"].values
        values = self._hyperparameters(len(neurons))
        self.device_ = choose_device(self.device)
        data = self._windows(recording, self.device_)
        domain = self._domains(recording, data)
        warn_of_silence(recording, data)
        seeds = [int(self.random_state) + member for member in range(values["n_seeds"])]
        self.network_ = self._network(values, len(neurons)).initialize(seeds).to(self.device_).eval()
        self.scaling_ = data.scaling
        learned_from = torch.cat([data.train, data.validation])

        def mean_loss(network, windows):
            windows = learned_from[windows]
            return -log_density(*_forward(network, data, domain, windows), data.targets(windows)).mean((1, 2))

        history = train(
            self.network_, mean_loss, n_train=len(data.train), n_validation=len(data.validation), seeds=seeds,
            schedule=self._schedule(values), checkpoint=self.checkpoint,
            fingerprint=self._fingerprint(recording, values),
            description=f"decoder-only transformer, {len(neurons)} neurons",
        )  # fmt: skip
        self.training_ = training_table(history, seeds)
        forecasts, log_densities = self._evaluate(data, domain, data.test)
        self.diagnostics_ = score_forecasts(data, forecasts, seeds, neurons)
        self.diagnostics_["test_log_density"] = ("seed", "neuron"), log_densities
        probed = _Probed(self._probe(data, domain, neurons, seeds))
        windows = min(values["n_windows"], len(data.test))
        result = readouts.read(probed, recording, self.readout, n_windows=windows)
        for name in values["more_readouts"]:
            result[f"{name}_lag_score"] = readouts.read(probed, recording, name, n_windows=windows)["lag_score"]
        return result

    def _hyperparameters(self, n_neurons=None) -> dict:
        """All hyperparameters that decide a result, checked."""
        for name in ("context", "embedding_dim", "feedforward_dim", "n_heads", "n_layers", "n_domains", "n_windows",
                     "n_seeds", "batch_size", "patience"):  # fmt: skip
            check_whole(name, getattr(self, name), 1)
        for name in ("random_state", "max_epochs"):
            check_whole(name, getattr(self, name), 0)
        check_rate("learning_rate", self.learning_rate)
        for name, choices in (("norm", NORMS), ("readout", READOUTS), ("normalization", ("train", "paper")),
                              ("learning_rate_decay", ("constant", "linear")),
                              ("precision", ("float32", "bfloat16"))):  # fmt: skip
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: choose one of {', '.join(choices)}")
        if isinstance(self.more_readouts, str) or not set(self.more_readouts) <= {*READOUTS, *OF_ATTENTION}:
            raise ValueError(
                f"more_readouts={self.more_readouts!r} must be a list of {', '.join((*READOUTS, *OF_ATTENTION))}"
            )
        for name, below in (("dropout", 1), ("weight_decay", np.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < below:
                limit = " and below 1" if below == 1 else ", and finite"
                raise ValueError(f"{name}={value!r} must be a number from 0 on{limit}")
        if self.embedding_dim % self.n_heads:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} is no multiple of n_heads={self.n_heads}: every head takes an "
                "equal share of the channels; change one of the two"
            )
        return self.get_params() | {"more_readouts": list(self.more_readouts), "checkpoint": None, "device": None}

    def _min_times(self):
        return self._hyperparameters()["context"] + MIN_WINDOWS

    def _what(self):
        return f"DecoderOnlyTransformer with context={self.context}"

    def _network(self, values, n_neurons):
        return DecoderOnlyNetwork(values["n_seeds"], n_neurons, **{name: values[name] for name in _SIZES})

    def _schedule(self, values):
        names = ("batch_size", "learning_rate", "learning_rate_decay", "weight_decay", "max_epochs", "patience",
                 "precision")  # fmt: skip
        return Schedule(**{name: values[name] for name in names})

    def _fingerprint(self, recording, values):
        # how far it trains, and how it is read, do not make it another training
        parts = values | {"max_epochs": None, "version": self.algorithm_version}
        parts |= {"readout": None, "more_readouts": None, "n_windows": None}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
        digest_recording(digest, recording, ("activity", "time", "neuron", "trial", "domain"))
        return digest.hexdigest()

    def _domains(self, recording, data):
        """The regime of the step that each window forecasts, (n_windows,), or None where nothing is told."""
        if self.n_domains == 1:
            return None
        if "domain" not in recording or recording["domain"].dims != ("time",):
            raise ValueError(
                f"n_domains={self.n_domains} tells the network which regime a step is of, and the recording has no "
                "variable domain (time): add it, or leave n_domains at 1"
            )
        domain = recording["domain"].values
        if (domain != np.round(domain)).any() or domain.min() < 0 or domain.max() >= self.n_domains:
            raise ValueError(
                f"domain has values from {domain.min()} to {domain.max()}: with n_domains={self.n_domains} they are "
                f"whole numbers from 0 to {self.n_domains - 1}"
            )
        return torch.tensor(domain.astype(int), device=data.starts.device)[data.starts + data.context]

    # ---- reading out

    @torch.no_grad()
    def _evaluate(self, data, domain, windows):
        """Means (seed, window, neuron) of the forecasts, and the mean log density (seed, neuron) of what came."""
        models, means, total = self.network_.n_models, [], 0.0
        for batch in windows.split(_evaluation_batch(self.network_)):
            batch = batch.expand(models, -1)
            mean, log_variance = _forward(self.network_, data, domain, batch)
            means.append(mean.cpu())
            total = total + log_density(mean, log_variance, data.targets(batch)).sum(1).cpu().double()
        return torch.cat(means, dim=1).numpy(), (total / len(windows)).numpy()

    def predict(self, recording):
        """Forecast each step one step ahead with the ensemble's mean.

        Parameters
        ----------
        recording : recording with the same neurons

        Returns
        -------
        xarray.Dataset
            ``activity``, ``prediction`` and ``sd (time, neuron)`` in the recording's unit, for every step that has a
            full history; ``sd`` is that of the mixture of the members' normal distributions.
        """
        recording = as_recording(recording)
        data, domain = self._data(recording)
        means, variances = [], []
        with torch.no_grad():
            for batch in torch.arange(len(data.starts), device=self.device_).split(_evaluation_batch(self.network_)):
                batch = batch.expand(self.network_.n_models, -1)
                mean, log_variance = _forward(self.network_, data, domain, batch)
                means.append(mean.mean(0).cpu())
                variances.append((log_variance.exp().mean(0) + mean.var(0, correction=0)).cpu())
        scale = self.scaling_.sd
        return at_their_steps(
            recording, data, prediction=torch.cat(means).numpy() * scale + self.scaling_.mean,
            sd=torch.cat(variances).sqrt().numpy() * scale,
        )  # fmt: skip

    def probe(self, recording) -> readouts.Probe:
        """Return what `causalkit.readouts.read` needs to know of this ensemble.

        Parameters
        ----------
        recording : recording with the same neurons

        Returns
        -------
        causalkit.readouts.Probe
        """
        recording = as_recording(recording)
        data, domain = self._data(recording)
        return self._probe(data, domain, self.connectivity_["target"].values, self.connectivity_["seed"].values)

    def _probe(self, data, domain, neurons, seeds):
        network, test, models = self.network_, data.test, self.network_.n_models

        def forward(history, windows, **options):
            regime = None if domain is None else domain[test[windows]].expand(models, -1)
            return network(history, regime, **options)

        def attention(windows):
            layers = []
            forward(data.inputs(test[windows].expand(models, -1))[0], windows, layers=layers)
            return layers

        return readouts.Probe(
            neurons=neurons, seeds=seeds, n_windows=len(test), windows_at_once=max(1, _evaluation_batch(network) // 2),
            history=lambda windows: data.inputs(test[windows][None])[0][0],
            targets=lambda windows: data.targets(test[windows]),
            forecast=lambda history, windows: forward(history, windows)[0],
            log_density=lambda history, windows: log_density(
                *forward(history, windows), data.targets(test[windows])
            ),
            attention=attention, attention_has_lags=True, device=self.device_, method=self.name,
            parameters=self.get_params(),
        )  # fmt: skip

    def _restore(self, values):
        """Nothing is kept beside the network and the scaling."""

    def _data(self, recording):
        self._require_fit()
        refuse_other_neurons(recording, self.connectivity_["target"].values)
        data = self._windows(recording, self.device_, self.scaling_)
        return data, self._domains(recording, data)

    def _windows(self, recording, device, scaling=None):
        """Windows of the recording, those of each of its regimes split for themselves."""
        given = "domain" in recording and recording["domain"].dims == ("time",)
        domain = recording["domain"].values if given else None
        return Windows.cut(recording, self.context, self.normalization, device, scaling, domain)

    def estimate_seconds(self, recording) -> float:
        """Seconds that `fit` will take: a few training steps timed here, times `max_epochs`."""
        recording = as_recording(recording)
        values = self._hyperparameters(recording.sizes["neuron"])
        data = self._windows(recording, choose_device(self.device))
        domain, seeds = self._domains(recording, data), range(values["n_seeds"])
        network = self._network(values, recording.sizes["neuron"]).initialize(seeds).to(data.activity.device)
        windows = min(4 * values["batch_size"], len(data.train))

        def mean_loss(network, windows):
            return -log_density(*_forward(network, data, domain, windows), data.targets(windows)).mean((1, 2))

        times = []
        for _ in range(2):  # the first run warms up
            start = perf_counter()
            train(network, mean_loss, n_train=windows, n_validation=1, seeds=seeds,
                  schedule=replace(self._schedule(values), max_epochs=1), progress=False)  # fmt: skip
            times.append(perf_counter() - start)
        return min(times) * len(data.train) / windows * values["max_epochs"] * 1.15  # validation: a seventh of the work


def log_density(mean, log_variance, target):
    """Logarithm of the density of a normal distribution, in nats."""
    return -0.5 * (log_variance + (target - mean).square() * (-log_variance).exp() + np.log(2 * np.pi))


class _Probed:
    """What `readouts.read` takes, before the model is fitted to the end."""

    def __init__(self, probe):
        self.probe = lambda recording: probe


def _forward(network, data, domain, windows):
    """Mean and log variance of `windows` (S, B)."""
    return network(data.inputs(windows)[0], None if domain is None else domain[windows])


def _evaluation_batch(network) -> int:
    """Windows at once so that the largest tensor of a batch stays near 64 MiB, or one if a single one is larger."""
    return int(np.clip(2**26 // (4 * network.n_models * network.numbers_per_window), 1, 256))

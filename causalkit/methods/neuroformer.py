"""Neuroformer-style model of spike trains (arXiv 2508.16776): forecast the next spike, read the attention."""

import hashlib
import json
import numbers

import numpy as np
import torch
import xarray as xr
from sklearn.exceptions import NotFittedError
from torch.nn.functional import cross_entropy

from causalkit import connectivity, spike_readouts
from causalkit.methods.base import Method, Traits, check_rate, check_whole
from causalkit.methods.forecasts import digest_recording, refuse_other_neurons, training_table
from causalkit.methods.neuroformer_network import INTERVAL_EDGES, NeuroformerNetwork, interval_class
from causalkit.methods.spike_graph import correlation_graph, total_variation
from causalkit.methods.spike_windows import TokenWindows
from causalkit.recording import as_recording
from causalkit.spike_tokens import tokenize
from causalkit.training import Schedule, choose_device, train

__all__ = ["Neuroformer"]

NEURON_SHARE = 3 / 5  # of the loss; the rest is the interval's
_SIZES = ("embedding_dim", "feedforward_dim", "n_heads", "n_layers", "n_frequencies", "dropout", "lag_slopes", "tied")
_EVALUATED_AT_ONCE = 64  # windows


class Neuroformer(Method):
    """Who attends to whom in a transformer that forecasts the next spike (arXiv 2508.16776).

    Spike trains become tokens (neuron, interval), see `causalkit.spike_tokens`. A causal transformer
    (`causalkit.methods.neuroformer_network`) forecasts the neuron and the interval of each next token. Its attention,
    added up by the tokens' neurons over all layers, heads and windows, is divided by how often the two neurons' spikes
    stood in one window: ``C = N_a / N_z``, see `causalkit.spike_readouts`. No code of that paper is public. The loss
    and the split into past and present follow the released Neuroformer (arXiv 2311.00136). Its sizes (width 256, 8
    heads, windows of 150 and 50 ms, dropout .2) ask for a GPU. Width 32, 2 heads and
    windows of 25 and 50 ms train on a CPU in minutes.

    On two minutes of spikes the default makes a few hundred steps of training, too few to beat the rates: look at
    ``diagnostics_`` before reading anything. Batches of 8, width 64, `dropout`, `lag_slopes` and `tied` learned more.

    Parameters
    ----------
    past_ms, present_ms : float
        What attention reaches back; and the spikes of one window that are forecast together, each from those before it.
    embedding_dim, feedforward_dim, n_heads, n_layers, n_frequencies : int
        Channels of a token and of the hidden layer; attention heads, which divide `embedding_dim`; blocks; frequencies
        of the Fourier features of time.
    dropout : float
    lag_slopes : bool
        Whether each head of attention leans on the time between two spikes, by a slope that is learned (ALiBi, arXiv
        2108.12409).
    tied : bool
        Whether a neuron's vector also names it as the next one, times a factor that is learned. A model then says that
        who has just fired will not fire now without learning it for every neuron apart.
    readout : str
        What ``connectivity_`` holds, one of `causalkit.spike_readouts.READOUTS`. "attention" is the published one: the
        row of ``C`` is the neuron whose spike attends. `read` reads the others without training again.
    more_readouts : sequence of str
        Others that ``connectivity_`` holds beside it.
    same_step : bool
        Whether pairs of spikes in one step count in ``C``. Their order is drawn at random.
    n_windows : int, optional
        Windows, evenly spaced, that ``connectivity_`` is read on; all by default. `more_readouts` take a fifth of them.
    sessions : sequence of recordings
        Other networks, on whose spikes the transformer is trained first. Each has neurons of its own. Then all but
        the neurons' vectors and logits goes on with the recording of the fit.
    graph_penalty : float
        Weight of a penalty on the attention, ``tr(Cᵀ L C) / tr(Cᵀ C)`` of each batch's C, mean over layers and heads.
        ``L = I - D^-1/2 W D^-1/2`` is the normalized Laplacian of the graph W of the neurons whose counts in
        10 ms correlate most: the total variation of the attention over it. Correlated neurons are to attend alike.
    graph_neighbors : int
        Neighbours a neuron has in W, at least.
    n_seeds : int
        Members of the ensemble; member k is seeded with ``random_state + k``.
    random_state : int
    batch_size, learning_rate, learning_rate_decay, weight_decay, max_epochs, patience
        Training, see `causalkit.training.Schedule`.
    device : str
        "auto" takes a GPU where there is one; else a torch device.
    checkpoint : path, optional
        Folder for the training state after each epoch; an interrupted `fit` continues from there.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        ``score (target, source)`` is C off the diagonal, 0 where no pair of spikes was seen; ``normalized (target,
        source)`` is C as it is, with its diagonal, and NaN for 0 / 0; ``co_occurrence (target, source)`` is N_z;
        ``layer_score (layer, target, source)`` and ``head_score (layer, head, target, source)`` of readouts that tell
        them apart; ``seed_score`` of the members. The diagonals of the last three are NaN.
    diagnostics_ : xarray.Dataset
        In nats, on the last 20 % of the windows: ``test_cross_entropy (seed)`` of the next neuron;
        ``rate_cross_entropy`` of a forecast that knows only the rates of the training windows;
        ``chance_cross_entropy``, the logarithm of the number of neurons; ``test_interval_cross_entropy (seed)``
        of the interval's class, and ``interval_frequency_cross_entropy`` of one that knows the classes' frequencies.
    training_ : xarray.Dataset
        ``train_loss`` and ``validation_loss (seed, epoch)``, ``best_epoch (seed)``.
    network_ : NeuroformerNetwork
        The trained ensemble, in evaluation mode.

    Raises
    ------
    ValueError
        For hyperparameters that make no network, activity that is no count of spikes, and too few windows.
    """

    name = "neuroformer"
    traits = Traits(directed=True, input_kinds=("spikes",), stochastic=True, signed=False, lagged=False, p_values=False)
    algorithm_version = 1
    # With these values results are those of versions that did not know them.
    added_parameters = {"lag_slopes": False, "tied": False}

    def __init__(
        self, *, past_ms=25.0, present_ms=50.0, embedding_dim=32, feedforward_dim=64, n_heads=2, n_layers=2,
        n_frequencies=8, dropout=0.0, lag_slopes=False, tied=False, readout="attention", more_readouts=(),
        same_step=True, n_windows=None, sessions=(), graph_penalty=0.0, graph_neighbors=5, n_seeds=1, random_state=0,
        batch_size=32, learning_rate=3e-3, learning_rate_decay="linear", weight_decay=0.1, max_epochs=6, patience=6,
        device="auto", checkpoint=None,
    ):  # fmt: skip
        self.past_ms = past_ms
        self.present_ms = present_ms
        self.embedding_dim = embedding_dim
        self.feedforward_dim = feedforward_dim
        self.n_heads = n_heads
        self.n_layers = n_layers
        self.n_frequencies = n_frequencies
        self.dropout = dropout
        self.lag_slopes = lag_slopes
        self.tied = tied
        self.readout = readout
        self.more_readouts = more_readouts
        self.same_step = same_step
        self.n_windows = n_windows
        self.sessions = sessions
        self.graph_penalty = graph_penalty
        self.graph_neighbors = graph_neighbors
        self.n_seeds = n_seeds
        self.random_state = random_state
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.patience = patience
        self.device = device
        self.checkpoint = checkpoint

    # ---- fitting

    def _fit(self, recording):
        values = self._hyperparameters()
        self.device_ = choose_device(self.device)
        seeds = [int(self.random_state) + member for member in range(self.n_seeds)]
        data = self._windows(recording)
        first = self._pretrained(values, seeds, data.step_ms)
        self.network_ = self._network(values, recording.sizes["neuron"], data.past, seeds)
        if first is not None:
            _take_body(self.network_, first)
        graph = correlation_graph(recording, self.graph_neighbors) if self.graph_penalty else None
        history = self._train(self.network_, data, seeds, self._fingerprint(recording, values), graph=graph)
        self.training_ = training_table(history, seeds)
        self.diagnostics_ = _diagnostics(self.network_, data, seeds)
        neurons = recording["neuron"].values
        result = self._connectivity(data, neurons, seeds, self.readout, self.n_windows)
        fewer = max(1, (self.n_windows or len(data)) // 5)
        for name in self.more_readouts:
            result[f"{name}_score"] = self._connectivity(data, neurons, seeds, name, fewer)["score"]
        return result

    def _hyperparameters(self, n_neurons=None) -> dict:
        """All hyperparameters that decide a result, checked."""
        for name in ("embedding_dim", "feedforward_dim", "n_heads", "n_layers", "n_frequencies", "graph_neighbors",
                     "n_seeds", "batch_size", "patience"):  # fmt: skip
            check_whole(name, getattr(self, name), 1)
        for name in ("random_state", "max_epochs"):
            check_whole(name, getattr(self, name), 0)
        if self.n_windows is not None:
            check_whole("n_windows", self.n_windows, 1)
        check_rate("learning_rate", self.learning_rate)
        for name, choices in (("readout", tuple(spike_readouts.READOUTS)),
                              ("learning_rate_decay", ("constant", "linear"))):  # fmt: skip
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: choose one of {', '.join(choices)}")
        if isinstance(self.more_readouts, str) or not set(self.more_readouts) <= set(spike_readouts.READOUTS):
            raise ValueError(
                f"more_readouts={self.more_readouts!r} must be a list of {', '.join(spike_readouts.READOUTS)}"
            )
        for name, least, below in (("past_ms", 1e-9, np.inf), ("present_ms", 1e-9, np.inf), ("dropout", 0, 1),
                                   ("weight_decay", 0, np.inf), ("graph_penalty", 0, np.inf)):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not least <= value < below:
                limit = " and below 1" if below == 1 else ", and finite"
                raise ValueError(f"{name}={value!r} must be a number {'above' if least else 'from'} 0{limit}")
        for name in ("lag_slopes", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} must be True or False")
        if self.embedding_dim % self.n_heads:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} is no multiple of n_heads={self.n_heads}: every head takes an "
                "equal share of the channels; change one of the two"
            )
        return self.get_params() | {
            "sessions": [_digest(as_recording(session)) for session in self.sessions],
            "more_readouts": list(self.more_readouts), "checkpoint": None, "device": None,
        }  # fmt: skip

    def _min_times(self):
        self._hyperparameters()
        return 10

    def _what(self):
        return f"Neuroformer with present_ms={self.present_ms}"

    def _windows(self, recordings, step_ms=None, fewest=None):
        """Windows of the spikes of one recording or of several."""
        tokens = tokenize(recordings)
        steps = [max(1, round(length / tokens.attrs["dt_ms"])) for length in (self.past_ms, self.present_ms)]
        if step_ms is not None and tokens.attrs["dt_ms"] != step_ms:
            raise ValueError(
                f"the sessions have steps of {tokens.attrs['dt_ms']} ms and the recording of {step_ms} ms: intervals "
                "are counted in steps, and must mean the same in both; bin them alike"
            )
        return TokenWindows.cut(tokens, *steps, self.device_, *([] if fewest is None else [fewest]))

    def _network(self, values, n_neurons, past, seeds):
        sizes = {name: values[name] for name in _SIZES}
        network = NeuroformerNetwork(len(seeds), n_neurons, past=past, **sizes)
        return network.initialize(seeds).to(self.device_).eval()

    def _pretrained(self, values, seeds, step_ms):
        """A network trained on the other sessions, or None where there are none."""
        if not len(self.sessions):
            return None
        sessions = [as_recording(session) for session in self.sessions]
        data = self._windows(sessions, step_ms)
        owner = np.repeat(np.arange(len(sessions)), [session.sizes["neuron"] for session in sessions])
        owner = torch.tensor(owner, device=self.device_)
        # sessions follow each other in time: mix them, or the last ones would only be tested on
        order = torch.tensor(np.random.default_rng(0).permutation(len(data)), device=self.device_)
        for name in ("begin", "first", "now", "end", "session"):
            setattr(data, name, getattr(data, name)[order])
        network = self._network(values, len(owner), data.past, seeds)
        self._train(network, data, seeds, owner=owner, description="other sessions")
        return network

    def _train(self, network, data, seeds, fingerprint="", graph=None, owner=None, description="spikes"):
        _start_at_rates(network, data)

        def mean_loss(network, windows):
            layers = None if graph is None else []
            neuron, interval, present, batch = _cross_entropies(network, data, windows, owner, layers)
            loss = NEURON_SHARE * neuron + (1 - NEURON_SHARE) * interval
            loss = (loss * present).sum((1, 2)) / present.sum((1, 2))
            if graph is None:
                return loss
            return loss + self.graph_penalty * total_variation(layers, batch, network.past, graph.to(loss.device))

        names = ("batch_size", "learning_rate", "learning_rate_decay", "weight_decay", "max_epochs", "patience")
        return train(
            network, mean_loss, n_train=len(data.train), n_validation=len(data.validation), seeds=seeds,
            schedule=Schedule(**{name: getattr(self, name) for name in names}),
            checkpoint=self.checkpoint if owner is None else None, fingerprint=fingerprint,
            description=f"Neuroformer, {network.next.n_neurons} neurons, {description}",
        )  # fmt: skip

    def _fingerprint(self, recording, values):
        # how it is read does not make it another training
        parts = values | {"readout": None, "more_readouts": None, "same_step": None, "n_windows": None,
                          "version": self.algorithm_version}  # fmt: skip
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
        digest_recording(digest, recording)
        return digest.hexdigest()

    # ---- reading out

    def read(self, recording, readout="attention", *, n_windows=None):
        """Read the fitted model in another way, or on another recording of the same neurons. Nothing is trained.

        Parameters
        ----------
        recording : recording with the same neurons
        readout : str
            One of `causalkit.spike_readouts.READOUTS`.
        n_windows : int, optional
            Windows, evenly spaced; all by default. The cost of "ablation" grows with the neurons, that of the gradients
            with the spikes in a window.

        Returns
        -------
        xarray.Dataset
            As ``connectivity_``.
        """
        if not hasattr(self, "connectivity_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(recording) first")
        recording = as_recording(recording)
        refuse_other_neurons(recording, self.connectivity_["target"].values)
        if readout not in spike_readouts.READOUTS:
            raise ValueError(f"readout={readout!r} is unknown: choose one of {', '.join(spike_readouts.READOUTS)}")
        seeds = self.connectivity_["seed"].values
        return self._connectivity(
            self._windows(recording, fewest=1), recording["neuron"].values, seeds, readout, n_windows
        )

    def _connectivity(self, data, neurons, seeds, readout, n_windows):
        windows = torch.linspace(0, len(data) - 1, min(n_windows or len(data), len(data)), device=self.device_)
        sums = spike_readouts.read(self.network_, data, windows.round().long(), readout, same_step=self.same_step)
        apart = np.array(sums.normalized)  # (S, layers, heads, N, N), NaN for 0 / 0
        whole = apart.mean((0, 1, 2))
        own = np.eye(len(neurons), dtype=bool)
        known = np.where(own, np.nan, np.nan_to_num(apart))
        variables = {
            "normalized": xr.DataArray(whole, dims=("target", "source")),
            "co_occurrence": xr.DataArray(sums.counts, dims=("target", "source")),
        }
        if apart.shape[1:3] != (1, 1):
            variables["layer_score"] = xr.DataArray(known.mean((0, 2)), dims=("layer", "target", "source"),
                                                    coords={"layer": 1 + np.arange(apart.shape[1])})  # fmt: skip
            variables["head_score"] = xr.DataArray(known.mean(0), dims=("layer", "head", "target", "source"))
        members = known.mean((1, 2))
        result = connectivity.build(
            np.maximum(np.nan_to_num(whole), 0), neurons=neurons, method=self.name,
            parameters=self._hyperparameters(), readout=readout,
            seed_score=xr.DataArray(members, dims=("seed", "target", "source"), coords={"seed": list(seeds)}),
            **{name: v.assign_coords(target=neurons, source=neurons) for name, v in variables.items()},
        )  # fmt: skip
        return result.assign_attrs(windows=len(windows))


def _cross_entropies(network, data, windows, owner=None, layers=None):
    """Cross-entropies of neuron and interval (S, B, T), which tokens count (S, B, T), and the batch."""
    batch = data.batch(windows)
    neuron, interval = network(batch, layers)
    if owner is not None:  # a session's spikes are forecast among its own neurons
        foreign = owner != data.session[windows][..., None]  # (S, B, N)
        neuron = neuron.masked_fill(foreign[:, :, None], -torch.inf)

    def entropy(logits, truth):
        return cross_entropy(logits.flatten(0, 2), truth.flatten(), reduction="none").view_as(truth)

    if owner is not None:  # padding is token 0 of session 0: it may be foreign, and does not count
        truth = torch.where(batch.present, batch.neuron, neuron.argmax(-1))
    else:
        truth = batch.neuron
    return entropy(neuron, truth), entropy(interval, interval_class(batch.interval)), batch.present, batch


def _frequencies(values, n):
    """Logarithms of the shares of `n` classes, each seen once more than it was."""
    return torch.log((1 + torch.bincount(values, minlength=n)) / (n + len(values)))


def _training_tokens(data, part):
    """Indices of the tokens in the presents of some windows."""
    marks = torch.zeros(len(data.neuron) + 1, device=data.neuron.device)
    marks.index_add_(0, data.now[part], torch.ones(len(part), device=marks.device))
    marks.index_add_(0, data.end[part], -torch.ones(len(part), device=marks.device))
    return marks[:-1].cumsum(0).round().bool()


def _marginals(network, data):
    """Logarithms of the shares of neurons and of classes of intervals among the training spikes."""
    inside = _training_tokens(data, data.train)
    classes = interval_class(data.interval[inside])
    return _frequencies(data.neuron[inside], network.next.n_neurons), _frequencies(classes, len(INTERVAL_EDGES))


@torch.no_grad()
def _start_at_rates(network, data):
    network.next.bias[:, 0] = torch.cat(_marginals(network, data))


def _take_body(network, other):
    """Everything of `other` but what belongs to its neurons."""
    n_mine, n_theirs = network.next.n_neurons, other.next.n_neurons
    state = {name: value for name, value in other.state_dict().items()
             if not name.startswith("next.") and name != "embedding.neuron.weight"}  # fmt: skip
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        network.next.weight[..., n_mine:] = other.next.weight[..., n_theirs:]


@torch.no_grad()
def _diagnostics(network, data, seeds):
    total, n_tokens = 0.0, 0
    for some in data.test.split(_EVALUATED_AT_ONCE):
        neuron, interval, present, _ = _cross_entropies(network, data, some.expand(len(seeds), -1))
        sums = [(values * present).sum((1, 2)).double().cpu().numpy() for values in (neuron, interval)]
        total, n_tokens = total + np.stack(sums), n_tokens + int(present[0].sum())
    tested = _training_tokens(data, data.test)
    rates, classes = _marginals(network, data)
    return xr.Dataset(
        {
            "test_cross_entropy": ("seed", total[0] / n_tokens),
            "test_interval_cross_entropy": ("seed", total[1] / n_tokens),
            "rate_cross_entropy": -rates[data.neuron[tested]].mean().item(),
            "interval_frequency_cross_entropy": -classes[interval_class(data.interval[tested])].mean().item(),
            "chance_cross_entropy": np.log(network.next.n_neurons),
            "n_test_spikes": n_tokens,
        },
        coords={"seed": seeds},
    )


def _digest(recording):
    digest = hashlib.sha256()
    digest_recording(digest, recording)
    return digest.hexdigest()[:12]

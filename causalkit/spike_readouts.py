"""What a trained transformer over spike tokens says of pairs of tokens, added up to neuron x neuron.

Every readout gives each pair of tokens, one that forecasts and an earlier one, a weight. Incidence matrices add them up
by the tokens' neurons: with `E_q` (token, target) and `E_k` (token, source) of zeros and ones, ``N_a = E_qᵀ A E_k``
holds the weights and ``N_z = E_qᵀ M E_k`` counts the pairs that may attend (`M` is 1 there), over all windows. Their
elementwise quotient ``C = N_a / N_z`` (arXiv 2508.16776) is the mean weight of a pair of spikes of (target, source). A
pair of neurons whose spikes never stood together in a window has 0 / 0: nothing is known of it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from causalkit.progress import progress_bar
from causalkit.readouts import attention_norms, rollout
from causalkit.relevance import RelevanceRules

__all__ = ["READOUTS", "PairSums", "incidence", "pair_mask", "read"]


def incidence(mask, targets, sources, n_neurons, weights=None):
    """Add up pairs of tokens by their neurons: ``E_qᵀ A E_k``.

    Parameters
    ----------
    mask : (..., Q, K) bool array
        The pairs that count.
    targets, sources : (..., Q), (..., K) integer arrays
        The neuron of each row and of each column.
    n_neurons : int
    weights : (..., Q, K) array, optional
        What to add up; without, pairs are counted.

    Returns
    -------
    (n_neurons, n_neurons), [target, source]
    """
    pair = (targets[..., :, None] * n_neurons + sources[..., None, :])[mask]
    total = np.bincount(pair, None if weights is None else weights[mask], minlength=n_neurons**2)
    return total.reshape(n_neurons, n_neurons)


def pair_mask(batch, past, rows="query", same_step=True):
    """Pairs (B, T, T) of one member's tokens that count, and the neuron of each row (B, T), as arrays.

    With `rows` "query", row k is the spike k itself, as published. With "next", it is the spike after it, which is what
    token k forecasts; the last token's row is empty. A spike is a row if it lies in the present, so that each is one
    once. Columns are earlier spikes within `past` steps; without `same_step`, those in a step before the row's spike.
    """
    neuron, age, valid, present = (getattr(batch, name)[0].cpu().numpy() for name in
                                   ("neuron", "age", "valid", "present"))  # fmt: skip
    near = age[:, :, None] - age[:, None, :] <= past
    if rows == "next":
        def shift(x):
            return np.pad(x[:, 1:], ((0, 0), (0, 1)))

        neuron_of_row, age_of_row, present = shift(neuron), shift(age), shift(present)
    else:
        neuron_of_row, age_of_row = neuron, age
    mask = np.tril(near, -1) & present[:, :, None] & valid[:, None, :]
    if not same_step:
        mask &= age[:, None, :] < age_of_row[:, :, None]
    return mask, neuron_of_row


@dataclass
class PairSums:
    """``N_a`` of each member, layer and head, (S, layers, heads, N, N), and ``N_z``, (N, N); rows are targets."""

    weights: np.ndarray
    counts: np.ndarray

    @property
    def normalized(self):
        """``C = N_a / N_z`` (S, layers, heads, N, N); NaN where no pair was seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.counts > 0, self.weights / self.counts, np.nan)


@torch.no_grad()
def read(network, data, windows, readout="attention", *, same_step=True, windows_at_once=16):
    """Add up a readout over windows.

    Parameters
    ----------
    network : NeuroformerNetwork
        In evaluation mode.
    data : causalkit.methods.spike_windows.TokenWindows
    windows : (n,) integer tensor
    readout : str
        One of `READOUTS`. "attention", by layer and head; "norm_weighted", attention times the norm of what it adds to
        the stream (Kobayashi et al. 2020), likewise; "rollout" through the layers (Abnar & Zuidema 2020), of all tokens
        alike: in these, the row is the spike that attends. "attention_next", "norm_weighted_next" and "rollout_next"
        give it to the spike after it, which it forecasts. Of the forecast that came true: "gradient_x_input",
        ``|z_j · d log p / d z_j|`` of token j as embedded; "gradient_energy", ``|d log p / d z_j|²``; "relevance", the
        size of the share that token j has of the logit, by the rules of `causalkit.relevance`; and "ablation", how much
        ``log p`` falls, mean over the target's spikes, when all spikes of the source are known as somebody's, with the
        mean vector of all neurons.
    same_step : bool
        Whether spikes in one step make pairs.
    windows_at_once : int

    Returns
    -------
    PairSums
    """
    n_neurons = network.next.n_neurons
    (of_batch, rows), total, counts = READOUTS[readout], 0.0, 0
    with progress_bar(len(windows), f"readout {readout}", unit="window") as bar:
        for some in windows.split(windows_at_once):
            batch = data.batch(some.expand(network.n_models, -1))
            mask, targets = pair_mask(batch, network.past, rows, same_step)
            sources = batch.neuron[0].cpu().numpy()
            values = of_batch(network, batch)
            if readout == "ablation":
                total = total + values
                spikes = np.bincount(sources[batch.present[0].cpu().numpy()], minlength=n_neurons)
                counts = counts + np.repeat(spikes[:, None], n_neurons, 1)
            else:
                leading, values = values.shape[:3], values.cpu().numpy()
                added = np.empty((*leading, n_neurons, n_neurons))
                for which in np.ndindex(*leading):
                    added[which] = incidence(mask, targets, sources, n_neurons, values[which])
                total, counts = total + added, counts + incidence(mask, targets, sources, n_neurons)
            bar.update(len(some))
    return PairSums(total, counts)


# ---- attention: each returns (S, layers, heads, B, T, T), row k of the token k


def _layers(network, batch):
    layers = []
    network(batch, layers)
    return layers


def _stacked(of_layers):
    """[(S, B, H, P, P)] of layers -> (S, layers, H, B, T, T), without the opening token."""
    return torch.stack(of_layers, 1).transpose(2, 3)[..., 1:, 1:]


def _attention(network, batch):
    return _stacked([layer.weights for layer in _layers(network, batch)])


def _norm_weighted(network, batch):
    return _stacked([layer.weights * attention_norms(layer)[..., None, :] for layer in _layers(network, batch)])


def _rollout(network, batch):
    return _stacked([rollout(_layers(network, batch))["history"][:, :, None]])


# ---- the forecast that came true


def _log_density(network, batch, **options):
    """Logarithm of the probability of the neuron of each token, (S, B, T)."""
    logits, _ = network(batch, **options)
    return logits.log_softmax(-1).gather(-1, batch.neuron[..., None])[..., 0]


def _logit(network, batch, **options):
    """Logit of the neuron of each token, (S, B, T), with derivatives that make derivative times input its relevance."""
    with RelevanceRules():
        logits, _ = network(batch, **options)
        return logits.gather(-1, batch.neuron[..., None])[..., 0]


@torch.enable_grad()
def _derivatives(network, batch, size, forecast=_log_density):
    """`size` of each (derivative, embedded token), (S, 1, 1, B, T, T): row k forecasts token k + 1."""
    embedded = network.embedding(batch).detach().requires_grad_()
    forecasts = forecast(network, batch, embedded=embedded)
    length = batch.neuron.shape[-1]
    result = torch.zeros(*batch.neuron.shape, length)
    for k in range(length - 1):
        (slope,) = torch.autograd.grad(forecasts[..., k + 1].sum(), embedded, retain_graph=k < length - 2)
        result[:, :, k] = size(slope, embedded.detach())[:, :, 1:].cpu()
    return result[:, None, None]


def _times_input(slope, token):
    return (slope * token).sum(-1).abs()


def _gradient_x_input(network, batch):
    return _derivatives(network, batch, _times_input)


def _relevance(network, batch):
    return _derivatives(network, batch, _times_input, forecast=_logit)


def _gradient_energy(network, batch):
    return _derivatives(network, batch, lambda slope, token: slope.square().sum(-1))


def _ablation(network, batch):
    """Fall of log p of each target's spikes without each source's name, added up: (S, 1, 1, N, N)."""
    embedded, table = network.embedding(batch), network.embedding.neuron.weight
    whole = _log_density(network, batch, embedded=embedded)
    members, n_neurons, _ = table.shape
    fall = torch.zeros(members, n_neurons, n_neurons, dtype=torch.float64)
    weight, target = batch.present.double(), batch.neuron.flatten(1)
    for source in range(n_neurons):
        change = (table.mean(1) - table[:, source])[:, None, None]  # (S, 1, 1, C)
        here = _with_opening(batch.valid & (batch.neuron == source))
        without = _log_density(network, batch, embedded=embedded + here[..., None] * change)
        fall[:, :, source] = torch.zeros(members, n_neurons, dtype=torch.float64).scatter_add_(
            1, target.cpu(), ((whole - without) * weight).flatten(1).cpu()
        )
    return fall[:, None, None].numpy()


def _with_opening(tokens):
    """Put the opening token, which is nobody's, before each window's tokens."""
    return torch.nn.functional.pad(tokens, (1, 0), value=False)


READOUTS = {  # what it makes of a batch, and whose spike a row is
    "attention": (_attention, "query"), "attention_next": (_attention, "next"),
    "norm_weighted": (_norm_weighted, "query"), "norm_weighted_next": (_norm_weighted, "next"),
    "rollout": (_rollout, "query"), "rollout_next": (_rollout, "next"),
    "gradient_x_input": (_gradient_x_input, "next"), "gradient_energy": (_gradient_energy, "next"),
    "relevance": (_relevance, "next"), "ablation": (_ablation, "next"),
}  # fmt: skip

"""The graph network of amortised causal discovery: an encoder from recordings to edges, a decoder that forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

__all__ = ["EDGE_TYPES", "AmortisedNetwork", "Evidence", "WindowViews"]

EDGE_TYPES = 0, 1, -1  # none, excitatory, inhibitory: what a source's message is multiplied with
_RIDGE = 0.01  # of the unit variance of source features, so that few rows or twins leave a solution
_EPS = 1e-6


@dataclass
class WindowViews:
    """What is read in each window, for each neuron by itself; B recordings, R windows, N neurons.

    Attributes
    ----------
    mean, log_sd : (B, R, N)
        Of the next value, forecast from the neuron's own past.
    gain : (B, R, N)
        Positive: by how much the neuron moves if a unit message arrives.
    message : (B, R, N)
        What the neuron sends to those it drives.
    sources, gates : (B, R, N, channels)
        What the encoder correlates: features of the past, and weights on the errors of the forecast.
    summary : (B, N, n_hidden)
        Of the neuron over the whole recording.
    """

    mean: torch.Tensor
    log_sd: torch.Tensor
    gain: torch.Tensor
    message: torch.Tensor
    sources: torch.Tensor
    gates: torch.Tensor
    summary: torch.Tensor


@dataclass
class Evidence:
    """Log-odds of edge types and how well they forecast.

    Attributes
    ----------
    logits : (B, N, N, 3)
        [target, source, edge type], see `EDGE_TYPES`; the diagonal means nothing.
    """

    logits: torch.Tensor
    views: WindowViews


class AmortisedNetwork(nn.Module):
    """Encoder and decoder with shared weights for all neurons and pairs, so that neurons have no order.

    Each neuron's window is read by one small network. The encoder correlates what sources did with the errors that
    the targets' own forecasts leave, pair by pair and partialled on all other sources, and passes messages from edges
    to neurons and back. The decoder adds to a neuron's own forecast what its sources send.

    Parameters
    ----------
    context : int
        Steps of the past in a window, L.
    n_hidden : int
        Channels of neurons and edges.
    n_sources, n_targets : int
        Features of a source, and of a target's error, that are correlated.
    """

    def __init__(self, context: int = 6, n_hidden: int = 32, n_sources: int = 3, n_targets: int = 2):
        super().__init__()
        self.settings = {"context": context, "n_hidden": n_hidden, "n_sources": n_sources, "n_targets": n_targets}
        self.n_read = 4, n_sources, n_targets
        self.past = nn.Linear(context, n_hidden)
        self.of_recording = nn.Linear(n_hidden, n_hidden)
        self.inner = nn.Linear(n_hidden, n_hidden)
        self.read = nn.Linear(n_hidden, sum(self.n_read))
        self.linear = nn.Linear(context, sum(self.n_read), bias=False)
        n_evidence = 4 * n_sources * n_targets + 1
        self.edge = _perceptron(n_evidence, n_hidden)
        self.node = _perceptron(3 * n_hidden, n_hidden)
        self.edge_again = _perceptron(3 * n_hidden, n_hidden)
        self.types = nn.Linear(2 * n_hidden, len(EDGE_TYPES))

    def look(self, past: torch.Tensor) -> WindowViews:
        """Read windows (B, R, N, L), each neuron by itself."""
        first = functional.silu(self.past(past))
        summary = first.mean(1)
        second = functional.silu(self.inner(first) + self.of_recording(summary)[:, None])
        scalars, sources, gates = (self.read(second) + self.linear(past)).split(self.n_read, dim=-1)
        mean, log_sd, gain, message = scalars.unbind(-1)
        log_sd, gain = 4 * torch.tanh(log_sd / 4), functional.softplus(gain)
        return WindowViews(mean, log_sd, gain, message, sources, gates, summary)

    def encode(self, views: WindowViews, following: torch.Tensor) -> torch.Tensor:
        """Log-odds (B, N, N, 3) of edge types from windows and the values (B, R, N) that follow them."""
        surprise = ((following - views.mean) * torch.exp(-views.log_sd)).detach().clamp(-10, 10)
        moments = cross_moments(views.gates * surprise[..., None], views.sources)
        edges = self.edge(moments)
        others = 1 - torch.eye(edges.shape[1], dtype=edges.dtype, device=edges.device)[..., None]
        n_others = max(edges.shape[1] - 1, 1)
        heard, sent = (edges * others).sum(2) / n_others, (edges * others).sum(1) / n_others
        nodes = self.node(torch.cat([heard, sent, views.summary], dim=-1))
        pairs = torch.cat([edges, *torch.broadcast_tensors(nodes[:, :, None], nodes[:, None])], dim=-1)
        return self.types(torch.cat([edges, self.edge_again(pairs)], dim=-1))

    def decode(self, views: WindowViews, edge_types: torch.Tensor) -> torch.Tensor:
        """Forecast (B, R, N) the next values, given probabilities or draws (B, N, N, 3) of edge types."""
        signs = torch.tensor(EDGE_TYPES, dtype=edge_types.dtype, device=edge_types.device)
        weights = edge_types @ signs
        weights = weights * (1 - torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device))
        return views.mean + views.gain * torch.einsum("bri,bji->brj", views.message, weights)

    def forward(self, past: torch.Tensor, following: torch.Tensor) -> Evidence:
        """Read windows (B, R, N, L) and what follows them (B, R, N)."""
        views = self.look(past)
        return Evidence(self.encode(views, following), views)

    @torch.no_grad()
    def orient_signs(self, past: torch.Tensor) -> None:
        """Call excitatory what grows with the source's activity: -message and the other two types forecast the same."""
        message, now = self.look(past).message, past[..., -1]
        if ((message - message.mean(1, keepdim=True)) * now).mean() < 0:
            for layer in (self.read, self.linear):
                layer.weight[3] *= -1
            self.read.bias[3] *= -1
            swapped = [0, 2, 1]
            self.types.weight.copy_(self.types.weight[swapped])
            self.types.bias.copy_(self.types.bias[swapped])


def negative_log_likelihood(views: WindowViews, forecast: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Of Gaussian forecasts, (B, R, N), without the constant."""
    return 0.5 * ((following - forecast) * torch.exp(-views.log_sd)) ** 2 + views.log_sd


def cross_moments(errors: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """How source features go with errors of forecasts, pair by pair, in units of their standard error.

    Parameters
    ----------
    errors : (B, R, N, T)
    sources : (B, R, N, S)

    Returns
    -------
    (B, N, N, 4·T·S + 1)
        [target, source]: correlations, and coefficients in a ridge regression on all sources, both ways round, on a
        logarithmic scale; and the logarithm of the number of windows.
    """
    n_rows, n_neurons, n_targets = errors.shape[1:]
    n_sources = sources.shape[-1]
    errors, sources = (_standardized(x).flatten(2) for x in (errors, sources))
    across = errors.transpose(1, 2) @ sources / n_rows  # (B, N·T, N·S)
    among = sources.transpose(1, 2) @ sources / n_rows
    among = among + _RIDGE * torch.eye(among.shape[-1], dtype=among.dtype, device=among.device)
    inverse = torch.linalg.inv(among)
    partial = across @ inverse / inverse.diagonal(dim1=1, dim2=2).clamp_min(_EPS).sqrt()[:, None]
    both = torch.asinh(torch.stack([across, partial], dim=-1) * n_rows**0.5)
    both = both.unflatten(2, (n_neurons, n_sources)).unflatten(1, (n_neurons, n_targets))
    pairs = both.transpose(2, 3).flatten(3)  # (B, target, source, T·S·2)
    length = torch.full_like(pairs[..., :1], n_rows).log() / 7
    return torch.cat([pairs, pairs.transpose(1, 2), length], dim=-1)


def _standardized(x: torch.Tensor) -> torch.Tensor:
    x = x - x.mean(1, keepdim=True)
    return x / (x.square().mean(1, keepdim=True) + _EPS).sqrt()


def _perceptron(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.SiLU(), nn.Linear(n_out, n_out), nn.SiLU())

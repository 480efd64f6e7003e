"""A graph of neurons whose counts correlate, and how much attention varies over it: a penalty while training."""

import numpy as np
import torch

__all__ = ["batch_connectivity", "correlation_graph", "total_variation"]

BIN_MS = 10.0


def correlation_graph(recording, n_neighbors) -> torch.Tensor:
    """Normalized Laplacian ``L = I - D^-1/2 W D^-1/2`` of the neurons' correlation graph, (N, N).

    W joins each neuron with the `n_neighbors` others whose counts in bins of 10 ms correlate most with its own, in the
    first 60 % of the recording, by ones, whichever of the two chose the other.
    """
    counts = recording["activity"].values
    counts = counts[: max(2, int(0.6 * len(counts)))]
    width = max(1, round(BIN_MS / float(recording.attrs["dt_ms"])))
    width = min(width, len(counts) // 2)
    counts = counts[: len(counts) // width * width].reshape(-1, width, counts.shape[1]).sum(1)
    counts = counts - counts.mean(0)
    scale = np.sqrt((counts**2).sum(0))
    correlation = counts.T @ counts / np.maximum(np.outer(scale, scale), 1e-12)
    np.fill_diagonal(correlation, -np.inf)
    n = len(correlation)
    nearest = np.argsort(-correlation, axis=1)[:, : min(n_neighbors, n - 1)]
    joined = np.zeros((n, n))
    np.put_along_axis(joined, nearest, 1.0, axis=1)
    joined = np.maximum(joined, joined.T)
    scale = joined.sum(1) ** -0.5
    return torch.tensor(np.eye(n) - scale[:, None] * joined * scale, dtype=torch.float32)


def batch_connectivity(layers, batch, past, n_neurons) -> torch.Tensor:
    """``C = N_a / N_z`` of one batch, (S, N, N), mean over layers and heads; 0 where no pair was seen.

    What `causalkit.spike_readouts` adds up with rows "query", to be differentiated.
    """
    attention = sum(layer.weights.mean(2) for layer in layers)[..., 1:, 1:] / len(layers)  # (S, B, T, T)
    age, neuron = batch.age, batch.neuron
    mask = (age[..., :, None] - age[..., None, :] <= past).tril(-1)
    mask = mask & batch.present[..., :, None] & batch.valid[..., None, :]
    pair = neuron[..., :, None] * n_neurons + neuron[..., None, :]
    pair = pair + n_neurons**2 * torch.arange(len(neuron), device=pair.device)[:, None, None, None]
    zeros = attention.new_zeros(len(neuron) * n_neurons**2)
    added = zeros.index_add(0, pair[mask], attention[mask])
    counts = zeros.index_add(0, pair[mask], torch.ones_like(attention[mask]))
    return (added / counts.clamp_min(1)).view(-1, n_neurons, n_neurons)


def total_variation(layers, batch, past, laplacian) -> torch.Tensor:
    """``tr(Cᵀ L C) / tr(Cᵀ C)`` of one batch, (S,): 0 where neighbours attend alike, at most 2."""
    c = batch_connectivity(layers, batch, past, len(laplacian))
    return (c * (laplacian @ c)).sum((1, 2)) / c.square().sum((1, 2)).clamp_min(1e-12)

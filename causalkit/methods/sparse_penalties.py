"""Penalties that set whole sources of a network's first layer to zero, and their proximal steps.

Weights have the shape (model, source, part, unit): the parts of a source are its lags in a network that sees windows,
the gates in a recurrent one. With W_j the weights of source j and W_jl those of its part l,

    group          Σ_j ‖W_j‖
    sparse_group   Σ_j (1 - α) ‖W_j‖ + α Σ_l ‖W_jl‖
    hierarchical   Σ_j Σ_l ‖W_j,l..L‖     a late lag can be used only where all earlier ones are

Groups are nested or apart, so the proximal step is one shrinkage after another, the inner groups first (Jenatton,
Mairal, Obozinski & Bach 2011, J. Machine Learning Research 12, 2297-2334).
"""

from __future__ import annotations

import torch

PENALTIES = ("group", "sparse_group", "hierarchical")
SHARE_OF_PARTS = 0.5  # α
_HALVINGS = 60


def value(weights: torch.Tensor, penalty: str) -> torch.Tensor:
    """What each source of each model costs, (model, source)."""
    if penalty == "hierarchical":
        return (weights**2).sum(3).flip(2).cumsum(2).sqrt().sum(2)  # norms of l..L
    whole = weights.flatten(2).norm(dim=2)
    if penalty == "group":
        return whole
    return (1 - SHARE_OF_PARTS) * whole + SHARE_OF_PARTS * weights.norm(dim=3).sum(2)


def prox(weights: torch.Tensor, threshold: torch.Tensor, penalty: str) -> torch.Tensor:
    """The V that minimizes ½‖V - weights‖² + Σ_j threshold_j penalty(V_j).

    Parameters
    ----------
    weights : (model, source, part, unit)
    threshold : (model,) or (model, source)
        Not negative.
    penalty : {"group", "sparse_group", "hierarchical"}
    """
    threshold = threshold.reshape(len(weights), -1, 1, 1)
    if penalty == "hierarchical":
        shrunk = weights.clone()
        for first in reversed(range(weights.shape[2])):  # from the last lag alone to all lags
            shrunk[:, :, first:] = _shrink(shrunk[:, :, first:], threshold)
        return shrunk
    if penalty == "sparse_group":
        norm = weights.norm(dim=3, keepdim=True)
        weights = weights * _factor(norm, SHARE_OF_PARTS * threshold)
        threshold = (1 - SHARE_OF_PARTS) * threshold
    return _shrink(weights, threshold)


def entry(gradient: torch.Tensor, penalty: str) -> torch.Tensor:
    """The λ below which a source that is zero does not stay there, (model, source).

    A source at zero is optimal exactly as long as ``prox(gradient, λ)`` is zero. For the group lasso that is the norm
    of the gradient; for the others it is found by halving an interval that holds it.

    Parameters
    ----------
    gradient : (model, source, part, unit)
        Of the loss, where the source's weights are zero.
    penalty : {"group", "sparse_group", "hierarchical"}
    """
    high = gradient.flatten(2).norm(dim=2)
    if penalty == "group":
        return high
    high = high * (1 + 1e-12)  # every penalty here is at least ‖W_j‖, so above the norm all is zero
    low = torch.zeros_like(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        zero = prox(gradient, middle, penalty).flatten(2).abs().amax(2) == 0
        high, low = torch.where(zero, middle, high), torch.where(zero, low, middle)
    return high


def _shrink(weights, threshold):
    return weights * _factor(weights.flatten(2).norm(dim=2)[..., None, None], threshold)


def _factor(norm, threshold):
    """What a group of this norm is multiplied with; exactly 0 from the threshold down."""
    return torch.where(norm > threshold, 1 - threshold / norm.clamp_min(1e-300), torch.zeros_like(norm))

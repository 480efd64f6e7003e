"""How the targets of a CompactNetwork attend to sources: softmax, a learned static graph, or linear attention.

Every way takes an `offset`, a logarithmic prior weight of each key; nobody's is in it, and what a window's z-scoring
took from a source. Shapes: G groups (a window of a model, say), H heads, N targets, K keys (the N sources in the same
order, perhaps nobody after them), D channels of a head.
"""

import math

import torch
from torch.nn.functional import elu, scaled_dot_product_attention

__all__ = ["heads", "linear_attention", "prior", "softmax_attention"]

_TINY = 1e-20


def heads(x, groups, n_heads):
    """(S, rows, heads·D) -> (groups, heads, rows a group, D)."""
    return x.reshape(groups, -1, n_heads, x.shape[-1] // n_heads).transpose(1, 2)


def prior(n_neurons, nobody, like):
    """Logarithmic prior weight of each key, (1, K): 0 of a neuron's; nobody, if it weighs anything, comes last."""
    offset = like.new_zeros(1, n_neurons + (nobody > 0))
    if nobody > 0:
        offset[:, -1] = math.log(nobody)
    return offset


def softmax_attention(query, key, value, offset, self_attention, need_attention):
    """Scaled dot-product attention; `offset` is added to the scores.

    Parameters
    ----------
    query, key, value : (G, H, N, D), (G, H, K, D), (G, H, K, any)
    offset : (1, K) or (G, 1, 1, K)
        Logarithmic prior weight of each key.
    self_attention : bool
        False leaves key i out for target i.
    need_attention : bool
        False takes the fused kernel, and returns None for the attention.

    Returns
    -------
    heard : (G, H, N, any)
    attention : (G, H, N, K) or None
    """
    n_targets, n_keys = query.shape[-2], key.shape[-2]
    bias = offset + query.new_zeros(1, 1, n_targets, n_keys)
    if not self_attention:
        bias = bias.masked_fill(_itself(n_targets, n_keys, query.device), -math.inf)
    if not need_attention:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias), None
    attention = torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5 + bias, dim=-1)
    return attention.to(value.dtype) @ value, attention


def linear_attention(query, key, value, offset, self_attention, need_attention):
    """Attention of a kernel of positive features, elu + 1, linear in the number of neurons.

    Katharopoulos et al. (2020, arXiv 2006.16236), equations 4 to 7; Choromanski et al. (2021, arXiv 2009.14794) take
    random features in the same place. The sums over keys are formed once for all targets, and each target's own term is
    taken out again. With `need_attention` the matrix itself is formed. Parameters and results are those of
    `softmax_attention`; it computes in float32 throughout, since the own term is subtracted.
    """
    with torch.autocast(query.device.type, enabled=False):
        value = value.float()
        query = elu(query.float()) + 1
        key = (elu(key.float()) + 1) * offset.float().exp().transpose(-2, -1)  # (G, H, K, D)
        n_targets, n_keys = query.shape[-2], key.shape[-2]
        if need_attention:
            weight = query @ key.transpose(-2, -1)
            if not self_attention:
                weight = weight.masked_fill(_itself(n_targets, n_keys, query.device), 0.0)
            attention = weight / weight.sum(-1, keepdim=True).clamp_min(_TINY)
            return attention @ value, attention
        heard = query @ (key.transpose(-2, -1) @ value)
        total = query @ key.sum(-2)[..., None]
        if not self_attention:
            own = (query * key[..., :n_targets, :]).sum(-1, keepdim=True)
            heard, total = heard - own * value[..., :n_targets, :], total - own
        return heard / total.clamp_min(_TINY), None


def _itself(n_targets, n_keys, device):
    return torch.eye(n_targets, n_keys, dtype=torch.bool, device=device)

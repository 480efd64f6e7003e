"""A causal transformer over spike tokens (arXiv 2508.16776, after Neuroformer, arXiv 2311.00136): which spike is next?

A token is ``z_k = e(n_k) + u(dt_k)``: a learned vector of its neuron, and Fourier features of the interval since the
spike before it and of its time in the window, mapped to the same width. It attends to the tokens strictly before it,
within `past` steps, and to a token that opens the window and is no spike: what attention gives to nobody goes there.
What a token of the last layer holds forecasts the token after it, by two heads: its neuron and its interval.

Attention may lean on the time between two tokens, by slopes of each head (ALiBi, arXiv 2108.12409) that start from
decays of 2 steps to the whole past. The head that names the next neuron may share the neurons' vectors.

Shapes: S models, B windows, T tokens, N neurons, C channels; positions run from the opening token, P = T + 1.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from causalkit.methods.causalformer_attention import heads
from causalkit.nn import AttentionLayer, Dropout, Embedding, EnsembleModule, LayerNorm, Linear

__all__ = ["INTERVAL_EDGES", "NeuroformerNetwork", "interval_class"]

# lower edges, in steps, of the classes of intervals: single steps up to 4, then wider ones
INTERVAL_EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128)


def interval_class(interval):
    """Class of an interval in steps."""
    edges = torch.tensor(INTERVAL_EDGES[1:], device=interval.device)
    return torch.bucketize(interval, edges, right=True)


class SpikeEmbedding(nn.Module):
    """Neuron and time of each token, after an opening token: (S, B, P, C)."""

    def __init__(self, n_models, n_neurons, width, past, n_frequencies):
        super().__init__()
        self.neuron = Embedding(n_models, n_neurons, width)
        self.opening = Embedding(n_models, 1, width)
        self.time = Linear(n_models, 4 * n_frequencies, width)
        periods = torch.logspace(math.log10(2), math.log10(8 * past), n_frequencies)
        self.frequencies = (2 * math.pi / periods).tolist()  # from every other step to eight windows of past

    def forward(self, batch):
        models, windows, length = batch.neuron.shape
        members = torch.arange(models, device=batch.neuron.device)[:, None, None]
        who = self.neuron.weight[members, batch.neuron]  # (S, B, T, C)
        when = torch.stack([batch.interval, batch.age], -1).to(who.dtype)  # (S, B, T, 2)
        phase = (when[..., None] * when.new_tensor(self.frequencies)).flatten(-2)  # (S, B, T, 2F)
        when = self.time(torch.cat([phase.sin(), phase.cos()], -1).flatten(1, 2))  # (S, B·T, C)
        opening = self.opening.weight[:, None].expand(-1, windows, -1, -1)
        return torch.cat([opening, who + when.unflatten(1, (windows, length))], 2)


class SpikeBlock(nn.Module):
    """Attention to earlier tokens, then a point-wise network, each after a normalization and added to the stream."""

    def __init__(self, n_models, width, n_heads, hidden, dropout, past=None):
        super().__init__()
        self.n_heads = n_heads
        self.slopes = None
        if past is not None:  # one step later is so much less
            slopes = -1 / torch.logspace(math.log10(2), math.log10(max(past, 3)), n_heads)
            self.slopes = nn.Parameter(slopes.repeat(n_models, 1))
        self.norm_attention, self.norm_feedforward = LayerNorm(n_models, width), LayerNorm(n_models, width)
        self.query_key_value = Linear(n_models, width, 3 * width)
        self.out = Linear(n_models, width, width)
        self.expand, self.contract = Linear(n_models, width, hidden), Linear(n_models, hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, stream, allowed, lag, layers=None):
        """`stream` (S, B·P, C), `allowed` and, for slopes, `lag` (S·B, 1, P, P) -> the stream after it."""
        models, groups = stream.shape[0], allowed.shape[0]
        split = self.query_key_value(self.norm_attention(stream)).chunk(3, dim=-1)
        query, key, value = (heads(x, groups, self.n_heads) for x in split)  # (S·B, H, P, D)
        nearness = None
        if self.slopes is not None:
            nearness = lag * self.slopes.repeat_interleave(groups // models, 0)[..., None, None]  # (S·B, H, P, P)
        if layers is None:
            mask = allowed if nearness is None else nearness.masked_fill(~allowed, -torch.inf)
            heard = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
            scores = scores if nearness is None else scores + nearness
            weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
            heard = weights @ value
            shape = (models, groups // models)
            layers.append(AttentionLayer(
                "history", "history", weights.unflatten(0, shape), value.unflatten(0, shape), self.out.weight
            ))  # fmt: skip
        stream = stream + self.dropout(self.out(heard.transpose(1, 2).reshape(stream.shape)))
        return stream + self.dropout(self.contract(gelu(self.expand(self.norm_feedforward(stream)))))


class NextSpike(nn.Module):
    """Logits of the next token's neuron and of its interval's class; they start small, so the bias is the rates."""

    def __init__(self, n_models, n_neurons, width, tied=False):
        super().__init__()
        self.n_neurons = n_neurons
        self.gain = nn.Parameter(torch.zeros(n_models, 1, 1)) if tied else None
        n_out = n_neurons + len(INTERVAL_EDGES)
        self.weight = nn.Parameter(torch.empty(n_models, width, n_out))
        self.bias = nn.Parameter(torch.zeros(n_models, 1, n_out))

    @torch.no_grad()
    def reset_member(self, member, generator):
        self.weight[member].normal_(std=0.02, generator=generator)

    def forward(self, stream, neurons):
        """`stream` (S, B·P, C) and the neurons' vectors (S, N, C) -> logits of neurons and of classes."""
        weight = self.weight
        if self.gain is not None:
            shared = self.gain * neurons.transpose(1, 2)
            weight = weight + nn.functional.pad(shared, (0, weight.shape[-1] - self.n_neurons))
        logits = torch.baddbmm(self.bias, stream, weight)
        return logits[..., : self.n_neurons], logits[..., self.n_neurons :]


class NeuroformerNetwork(EnsembleModule):
    """Forecast each spike from those before it.

    Parameters
    ----------
    n_models, n_neurons : int
    past : int
        Steps that attention reaches back.
    embedding_dim, feedforward_dim, n_heads, n_layers, n_frequencies : int
        Channels of a token and of the hidden layer, attention heads, blocks, Fourier frequencies.
    dropout : float
    lag_slopes, tied : bool
        Whether attention leans on the time between tokens, and whether the neurons' vectors name the next neuron too.
    """

    def __init__(
        self, n_models, n_neurons, *, past, embedding_dim=32, feedforward_dim=64, n_heads=2, n_layers=2,
        n_frequencies=8, dropout=0.0, lag_slopes=False, tied=False,
    ):  # fmt: skip
        super().__init__()
        self.past, self.width, self.lag_slopes = past, embedding_dim, lag_slopes
        self.embedding = SpikeEmbedding(n_models, n_neurons, embedding_dim, past, n_frequencies)
        self.blocks = nn.ModuleList(
            SpikeBlock(n_models, embedding_dim, n_heads, feedforward_dim, dropout, past if lag_slopes else None)
            for _ in range(n_layers)
        )
        self.norm = LayerNorm(n_models, embedding_dim)
        self.next = NextSpike(n_models, n_neurons, embedding_dim, tied)

    def allowed(self, batch):
        """Which positions attend to which, (S, B, P, P): the opening token, and strictly earlier tokens of the past."""
        length = batch.age.shape[-1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=batch.age.device).tril(-1)
        near = batch.age[..., :, None] - batch.age[..., None, :] <= self.past
        tokens = earlier & near & batch.valid[..., None, :]
        return nn.functional.pad(nn.functional.pad(tokens, (0, 0, 1, 0)), (1, 0), value=True)

    def forward(self, batch, layers=None, embedded=None, allowed=None):
        """Forecast the token at every place of `batch` from those before it.

        Parameters
        ----------
        batch : causalkit.methods.spike_windows.Batch
        layers : list, optional
            Gets an `AttentionLayer` from every block, over all P positions.
        embedded : (S, B, P, C), optional
            Take these for the embedded tokens.
        allowed : (S, B, P, P) bool, optional
            Take this for who attends to whom.

        Returns
        -------
        neuron_logits, interval_logits : (S, B, T, N), (S, B, T, classes)
        """
        stream = self.embedding(batch) if embedded is None else embedded
        allowed = self.allowed(batch) if allowed is None else allowed
        shape, stream = stream.shape[1:3], stream.flatten(1, 2)
        allowed = allowed.flatten(0, 1)[:, None]  # (S·B, 1, P, P)
        lag = None
        if self.lag_slopes:
            lag = (batch.age[..., :, None] - batch.age[..., None, :]).to(stream.dtype)
            lag = nn.functional.pad(lag, (1, 0, 1, 0)).flatten(0, 1)[:, None]  # none to the opening token
        for block in self.blocks:
            stream = block(stream, allowed, lag, layers)
        stream = self.norm(stream).unflatten(1, shape)[:, :, :-1]  # what follows the last token is not known
        logits = self.next(stream.flatten(1, 2), self.embedding.neuron.weight)
        return tuple(part.unflatten(1, (shape[0], shape[1] - 1)) for part in logits)

"""The decoder-only transformer (arXiv 2601.05647): every (neuron, lag) is a token, and a query asks for each target.

The tokens are the flattened past, N neurons times L lags, each the sum of its value, its neuron's and its lag's learned
embeddings. One query a target stands behind them. In every layer all tokens attend to the past and nobody to a query:
no query learns of another, and a forecast depends on every (source, lag) and on nothing else, whatever the order of the
neurons. (A token-causal mask over the flattened past would hide some sources from others by their place in the list.)
All tokens go through the same layers; the last serves the queries only, because no one hears the past after it.

The output is a normal distribution for each target, whose mean and variance both depend on the past.

Shapes: S models, B windows, N neurons, L lags, C channels.
"""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from causalkit.methods.causalformer_attention import heads
from causalkit.nn import AttentionLayer, Dropout, Embedding, EnsembleModule, Linear, cross_attention, normalization

__all__ = ["DecoderOnlyNetwork"]

LOG_VARIANCE = 10.0  # of a forecast of z-scored activity, at most, either way: beyond it is a training that diverges


class LagTokens(nn.Module):
    """Each value of the past as a token: its size along a vector of its neuron, and who and when it is."""

    def __init__(self, n_models, n_neurons, context, width):
        super().__init__()
        self.value = Embedding(n_models, n_neurons, width)
        self.neuron = Embedding(n_models, n_neurons, width)
        self.lag = Embedding(n_models, context, width)  # the oldest step first, as in the history

    def forward(self, history):
        """`history` (S, B, N, L) -> tokens (S, B·N·L, C), neuron-major."""
        who_and_when = self.neuron.weight[:, :, None] + self.lag.weight[:, None]  # (S, N, L, C)
        values = history[..., None] * self.value.weight[:, None, :, None]  # (S, B, N, L, C)
        return (values + who_and_when[:, None]).flatten(1, 3)


class DecoderLayer(nn.Module):
    """Attention to the past, then a point-wise network, each after a normalization and added to the stream."""

    def __init__(self, n_models, width, n_heads, hidden, norm, dropout):
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention = normalization(norm, n_models, width)
        self.query = Linear(n_models, width, width)
        self.key_value = Linear(n_models, width, 2 * width)
        self.out = Linear(n_models, width, width)
        self.norm_feedforward = normalization(norm, n_models, width)
        self.expand = Linear(n_models, width, hidden)
        self.contract = Linear(n_models, hidden, width)
        self.dropout = Dropout(dropout)

    def keys_and_values(self, past):
        """What all streams attend to in this layer: two tensors (S, B·N·L, C)."""
        return self.key_value(self.norm_attention(past)).chunk(2, dim=-1)

    def forward(self, stream, key, value, n_windows, need_attention=False):
        """`stream` (S, B·tokens, C) -> the stream after this layer; attention (S, B, heads, tokens, N·L) or None."""
        query, attention = self.query(self.norm_attention(stream)), None
        if need_attention:
            heard, attention = cross_attention(query, key, value, n_windows, self.n_heads)
        else:  # the fused kernel takes half the time
            groups = stream.shape[0] * n_windows
            heard = scaled_dot_product_attention(*(heads(x, groups, self.n_heads) for x in (query, key, value)))
            heard = heard.transpose(1, 2).reshape(query.shape)
        stream = stream + self.dropout(self.out(heard))
        return stream + self.dropout(self.contract(gelu(self.expand(self.norm_feedforward(stream))))), attention


class TargetReadout(nn.Module):
    """Mean and logarithmic variance of each target, by an affine map of its own: (S, B, N, C) -> twice (S, B, N)."""

    def __init__(self, n_models, n_neurons, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_models, n_neurons, width, 2))
        self.bias = nn.Parameter(torch.zeros(n_models, n_neurons, 2))

    @torch.no_grad()
    def reset_member(self, member, generator):
        self.weight[member].normal_(std=self.weight.shape[2] ** -0.5, generator=generator)

    def forward(self, stream):
        mean, log_variance = (torch.einsum("sbnc,sncp->sbnp", stream, self.weight) + self.bias[:, None]).unbind(-1)
        return mean, log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)


class DecoderOnlyNetwork(EnsembleModule):
    """Forecast every neuron's next value, and how sure the forecast is, from the flattened past of all.

    Parameters
    ----------
    n_models, n_neurons, context : int
        Members of the ensemble, neurons of the recording, lags L.
    embedding_dim, feedforward_dim, n_heads, n_layers : int
        Channels of a token and of the hidden feed-forward layer, attention heads, layers.
    norm : {"layer", "none"}
        Normalization before attention and feed-forward. Tokens of one window never mix in it.
    dropout : float
        Of what a layer adds to the stream.
    n_domains : int
        Regimes that the queries are told of; 1 tells nothing.
    """

    def __init__(
        self, n_models, n_neurons, *, context=5, embedding_dim=32, feedforward_dim=64, n_heads=4, n_layers=2,
        norm="layer", dropout=0.0, n_domains=1,
    ):  # fmt: skip
        super().__init__()
        self.tokens = LagTokens(n_models, n_neurons, context, embedding_dim)
        self.target = Embedding(n_models, n_neurons, embedding_dim)
        # one a target in each regime: a sum of one of each could not say which causes of which target have changed
        self.domain = Embedding(n_models, n_domains * n_neurons, embedding_dim) if n_domains > 1 else None
        self.layers = nn.ModuleList(
            DecoderLayer(n_models, embedding_dim, n_heads, feedforward_dim, norm, dropout) for _ in range(n_layers)
        )
        self.readout = TargetReadout(n_models, n_neurons, embedding_dim)
        n_tokens = n_neurons * context
        self.numbers_per_window = (n_tokens + n_neurons) * max(n_heads * n_tokens, feedforward_dim)  # largest tensor

    def forward(self, history, domain=None, layers=None):
        """Forecast the step after each window.

        Parameters
        ----------
        history : (S, B, N, L) z-scored activity, the oldest step first
        domain : (S, B) whole numbers, optional
            The regime of the step to forecast, for a network that knows several.
        layers : list, optional
            Gets an `AttentionLayer` from every attention layer; those of targets carry values.

        Returns
        -------
        mean, log_variance : (S, B, N)
        """
        models, windows, neurons, _ = history.shape
        past = self.tokens(history)
        queries = self.target.weight[:, None].expand(models, windows, neurons, -1)
        if self.domain is not None:
            members = torch.arange(models, device=history.device)[:, None]
            queries = queries + self.domain.weight.unflatten(1, (-1, neurons))[members, domain]
        queries = queries.flatten(1, 2)  # (S, B·N, C)
        for number, layer in enumerate(self.layers):
            key, value = layer.keys_and_values(past)
            queries, to_past = layer(queries, key, value, windows, layers is not None)
            if layers is not None:
                of_heads = value.unflatten(1, (windows, -1)).unflatten(-1, (layer.n_heads, -1)).transpose(2, 3)
                layers.append(AttentionLayer("target", "history", to_past, of_heads, layer.out.weight))
            if number + 1 < len(self.layers):
                past, mixing = layer(past, key, value, windows, layers is not None)
                if layers is not None:
                    layers.append(AttentionLayer("history", "history", mixing))
        return self.readout(queries.unflatten(1, (windows, neurons)))

"""The Causalformer with one token a neuron: the arithmetic of the published network divided by the history's length.

The published network makes a token of each (neuron, time step) and encodes every window anew. Here a neuron's whole
history becomes one token at once, as in iTransformer (Liu et al. 2024, arXiv 2310.06625); the two conditions of the
causal reading hold as before: the encoder sees one neuron at a time, and nothing comes from the future. Three more
changes make it learn in a third of the epochs, and make attention the only way from neuron to neuron:

- the newest value is embedded by sines too (Gorishniy et al. 2022, arXiv 2203.05556): a voltage turns into a spike
  within a few millivolts, and smooth layers take long to learn so sharp a step;
- a neuron's identity is in keys and queries, not in the values: a target learns who fired by attending, not by
  unmixing a sum in which every source has left its name;
- a target may attend to nobody, and not to itself (its own history reaches it directly): attention always adds up to
  one, and what is not needed would go to anybody.

Shapes: S models, B windows, N neurons, L history steps, C channels.
"""

import math

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

from causalkit.methods.causalformer_network import FeedForward
from causalkit.nn import BatchNorm, Dropout, Embedding, EnsembleModule, Linear, PeriodicEmbedding, local_attention

__all__ = ["CompactNetwork"]

NOBODY = 9.0  # before training a target spends this many times more attention on nobody than on all neurons
N_PERIODIC = 16  # sines a value is embedded by


class HistoryEmbedding(nn.Module):
    """A neuron's whole history as one token: its values, sines of the newest, the time."""

    def __init__(self, n_models, context, width, dropout):
        super().__init__()
        self.periodic = PeriodicEmbedding(n_models, N_PERIODIC)
        self.linear = Linear(n_models, context + N_PERIODIC + 1, width)
        self.dropout = Dropout(dropout)

    def forward(self, history, time_s):
        """`history` (S, B, N, L) and the newest step's time (S, B, 1) -> tokens (S, B·N, C)."""
        models, windows, neurons, length = history.shape
        values = history.reshape(models, -1, length)  # (S, B·N, L)
        time = time_s.expand(models, windows, neurons).reshape(models, -1, 1)
        features = torch.cat([values, self.periodic(values[..., -1]), time], dim=-1)
        return self.dropout(self.linear(features))


class NeuronMixing(nn.Module):
    """Self-attention between the neurons of a window: what an encoder must not do, to show what it costs."""

    def __init__(self, n_models, width, inner, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.norm = BatchNorm(n_models, width)
        self.query_key_value = Linear(n_models, width, 3 * inner)
        self.out = Linear(n_models, inner, width)

    def forward(self, x, n_windows):
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        return self.out(local_attention(query, key, value, n_windows, self.n_heads))


class CompactNetwork(EnsembleModule):
    """Forecast every neuron's next value from one token a neuron.

    Parameters
    ----------
    n_models, n_neurons, context : int
        Members of the ensemble, neurons of the recording, history steps.
    embedding_dim, feedforward_dim, head_dim, n_heads : int
        Channels of a token, of the hidden feed-forward layer, and of each attention head.
    dropout_embedding, dropout_feedforward : float
        Dropout probabilities.
    encoder_attention : {"local", "global"}
        "global" lets the encoder mix neurons, which breaks the first condition of the causal reading.
    leak_future : bool
        Whether the values to forecast will be given to the decoder, which breaks the second.
    """

    keys_per_neuron = 1

    def __init__(
        self, n_models, n_neurons, *, context=10, embedding_dim=64, feedforward_dim=128, head_dim=8, n_heads=4,
        dropout_embedding=0.0, dropout_feedforward=0.0, encoder_attention="local", leak_future=False,
    ):  # fmt: skip
        super().__init__()
        self.n_heads, inner = n_heads, head_dim * n_heads
        mixes = encoder_attention == "global"
        self.mixing = NeuronMixing(n_models, embedding_dim, inner, n_heads) if mixes else None
        self.future = Linear(n_models, 1, embedding_dim) if leak_future else None
        self.history = HistoryEmbedding(n_models, context, embedding_dim, dropout_embedding)
        self.norm_history = BatchNorm(n_models, embedding_dim)
        self.encoder = FeedForward(n_models, embedding_dim, feedforward_dim, dropout_feedforward)
        self.neuron = Embedding(n_models, n_neurons, embedding_dim)
        self.own = Linear(n_models, embedding_dim, embedding_dim)
        self.key_value = Linear(n_models, embedding_dim, 2 * inner)
        self.source = Linear(n_models, embedding_dim, inner)
        self.norm_query = BatchNorm(n_models, embedding_dim)
        self.query = Linear(n_models, embedding_dim, inner)
        self.out = Linear(n_models, inner, embedding_dim)
        self.norm_feedforward = BatchNorm(n_models, embedding_dim)
        self.feedforward = FeedForward(n_models, embedding_dim, feedforward_dim, dropout_feedforward)
        self.readout = Linear(n_models, embedding_dim, 1)
        self.nobody = Embedding(n_models, 1, inner)

    def encode(self, history, time_s):
        """Tokens of the histories after the encoder: (S, B, N, 1, C)."""
        models, windows, neurons, _ = history.shape
        tokens = self.history(history, time_s[..., -1:])
        if self.mixing is not None:
            tokens = tokens + self.mixing(tokens + self.neuron.weight.repeat(1, windows, 1), windows)
        tokens = tokens + self.encoder(self.norm_history(tokens))
        return tokens.view(models, windows, neurons, 1, -1)

    def forward(self, history, history_time_s, target_time_s, target_input=None, need_attention=True):
        """Forecast the step after each window.

        Parameters
        ----------
        history : (S, B, N, L) z-scored activity
        history_time_s, target_time_s : (S, B, L) and (S, B, 1), in seconds
            The newest of the history is used; the target's follows from it.
        target_input : (S, B, N, 1) or None
            The true values, for a network made with `leak_future`.
        need_attention : bool
            False is faster, and returns None for it.

        Returns
        -------
        prediction : (S, B, N)
        attention : (S, B, n_heads, N, N) or None
            Cross-attention of each target to each source neuron; what is missing to 1 went to nobody.
        """
        models, windows, neurons, _ = history.shape
        encoded = self.encode(history, history_time_s).flatten(1, 3)  # (S, B·N, C)
        identity = self.neuron.weight.repeat(1, windows, 1)  # (S, B·N, C)
        target = identity + self.own(encoded)
        if target_input is not None:
            target = target + self.future(target_input.flatten(1, 2))
        key, value = self.key_value(encoded).chunk(2, dim=-1)
        key = key + self.source(self.neuron.weight).repeat(1, windows, 1)
        query = self.query(self.norm_query(target))
        heard, attention = self._attend(query, key, value, windows, need_attention)
        target = target + self.out(heard)
        target = target + self.feedforward(self.norm_feedforward(target))
        return self.readout(target).view(models, windows, neurons), attention

    def _attend(self, query, key, value, windows, need_attention):
        models, rows, _ = query.shape
        neurons = rows // windows

        def heads(x):  # (S, rows, heads·dim) -> (S·B, heads, rows a window, dim)
            return x.reshape(models * windows, -1, self.n_heads, x.shape[-1] // self.n_heads).transpose(1, 2)

        nobody = self.nobody.weight[:, None].expand(models, windows, 1, -1)  # (S, B, 1, heads·dim)
        key = torch.cat([key.view(models, windows, neurons, -1), nobody.to(key.dtype)], dim=2).flatten(1, 2)
        value = pad(value.view(models, windows, neurons, -1), (0, 0, 0, 1)).flatten(1, 2)  # nobody says nothing
        bias = query.new_zeros(neurons, neurons + 1)
        bias[:, -1] = math.log(NOBODY * neurons)
        bias.fill_diagonal_(-math.inf)
        q, k, v = heads(query), heads(key), heads(value)
        if not need_attention:
            heard = scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(1, 1, -1, -1))
            attention = None
        else:
            attention = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias, dim=-1)
            heard = attention.to(v.dtype) @ v
            attention = attention[..., :neurons].unflatten(0, (models, windows))
        return heard.transpose(1, 2).reshape(models, rows, -1), attention

"""The Causalformer's network (Lu et al. 2023, arXiv 2311.06928): a stacked ensemble of small transformers.

One token for each (neuron, time step). The encoder attends within each neuron's own history; the decoder's
queries, one a neuron, attend first to their own history, then to everybody's: that last attention is what is
read as connectivity. Shapes: S models, B windows, N neurons, L history steps, C channels.
"""

import torch
from torch import nn

from causalkit.nn import (
    AttentionLayer,
    BatchNorm,
    Dropout,
    Embedding,
    EnsembleModule,
    Linear,
    Time2Vec,
    cross_attention,
    inside_groups,
)


class TokenEmbedding(nn.Module):
    """Value and time, position in the window, and neuron identity of each token, added up."""

    def __init__(self, n_models, n_neurons, width, dropout):
        super().__init__()
        self.time = Time2Vec(n_models, 1, periodic=False)
        self.position = Time2Vec(n_models, width, periodic=True)
        self.value_time = Linear(n_models, 2, width)
        self.neuron = Embedding(n_models, n_neurons, width)
        self.dropout_value = Dropout(dropout)
        self.dropout_neuron = Dropout(dropout)

    def forward(self, value, time_s):
        """`value` (S, B, N, L), `time_s` (S, B, L) in seconds -> tokens (S, B·N·L, C), neuron-major."""
        models, windows, neurons, length = value.shape
        time = self.time(time_s.reshape(models, -1)).view(models, windows, 1, length)  # (S, B, 1, L)
        pair = torch.stack([time.expand_as(value), value], dim=-1)  # (S, B, N, L, 2)
        position = torch.arange(length, dtype=value.dtype, device=value.device).expand(models, length)
        position = self.position(position)[:, None, None]  # (S, 1, 1, L, C)
        tokens = self.value_time(pair.view(models, -1, 2)).view(models, windows, neurons, length, -1)
        tokens = self.dropout_value(tokens + position)  # (S, B, N, L, C)
        neuron = self.neuron.weight[:, None, :, None].expand_as(tokens)
        return (tokens + self.dropout_neuron(neuron)).view(models, windows * neurons * length, -1)


class FeedForward(nn.Module):
    """The point-wise two-layer network: Linear, GELU, dropout, Linear, dropout."""

    def __init__(self, n_models, width, hidden, dropout):
        super().__init__()
        self.expand = Linear(n_models, width, hidden)
        self.contract = Linear(n_models, hidden, width)
        self.dropout_hidden, self.dropout_out = Dropout(dropout), Dropout(dropout)

    def forward(self, x):
        hidden = self.dropout_hidden(torch.nn.functional.gelu(self.expand(x)))
        return self.dropout_out(self.contract(hidden))


class Encoder(nn.Module):
    """Self-attention over each neuron's own history (or, to show what that costs, over all), feed-forward."""

    def __init__(self, n_models, width, inner, n_heads, hidden, dropout, mixes_neurons):
        super().__init__()
        self.n_heads, self.mixes_neurons = n_heads, mixes_neurons
        self.norm_attention = BatchNorm(n_models, width)
        self.query_key_value = Linear(n_models, width, 3 * inner)
        self.out = Linear(n_models, inner, width)
        self.norm_feedforward = BatchNorm(n_models, width)
        self.feedforward = FeedForward(n_models, width, hidden, dropout)

    def forward(self, x, n_windows, n_neurons, layers=None):
        query, key, value = self.query_key_value(self.norm_attention(x)).chunk(3, dim=-1)
        n_groups = n_windows if self.mixes_neurons else n_windows * n_neurons
        heard, attention = cross_attention(query, key, value, n_groups, self.n_heads)
        if layers is not None:
            layers.append(AttentionLayer("history", "history", inside_groups(attention, n_windows)))
        x = x + self.out(heard)
        return x + self.feedforward(self.norm_feedforward(x))


class Decoder(nn.Module):
    """Cross-attention to the own history, then to every neuron's history, feed-forward."""

    def __init__(self, n_models, width, inner, n_heads, hidden, dropout):
        super().__init__()
        self.n_heads = n_heads
        self.norm_local = BatchNorm(n_models, width)
        self.local_query = Linear(n_models, width, inner)
        self.local_out = Linear(n_models, inner, width)
        self.norm_global = BatchNorm(n_models, width)
        self.global_query = Linear(n_models, width, inner)
        self.global_out = Linear(n_models, inner, width)
        # Local and global keys and values of the encoded history, in one product.
        self.history = Linear(n_models, width, 4 * inner)
        self.norm_feedforward = BatchNorm(n_models, width)
        self.feedforward = FeedForward(n_models, width, hidden, dropout)

    def forward(self, x, history, n_windows, n_neurons, layers=None):
        local_key, local_value, global_key, global_value = self.history(history).chunk(4, dim=-1)
        query = self.local_query(self.norm_local(x))
        local, own = cross_attention(query, local_key, local_value, n_windows * n_neurons, self.n_heads)
        x = x + self.local_out(local)
        query = self.global_query(self.norm_global(x))
        output, attention = cross_attention(query, global_key, global_value, n_windows, self.n_heads)
        if layers is not None:
            values = global_value.unflatten(1, (n_windows, -1)).unflatten(-1, (self.n_heads, -1)).transpose(2, 3)
            layers.append(AttentionLayer("target", "history", inside_groups(own, n_windows)))
            layers.append(AttentionLayer("target", "history", attention, values, self.global_out.weight))
        x = x + self.global_out(output)
        return x + self.feedforward(self.norm_feedforward(x)), attention  # attention (S, B, heads, N, N·L)


class CausalformerNetwork(EnsembleModule):
    """Forecast every neuron's next value from all neurons' histories.

    Parameters
    ----------
    n_models, n_neurons, context : int
        Members of the ensemble, neurons of the recording, history steps.
    embedding_dim, feedforward_dim, head_dim, n_heads : int
        Channels of a token, of the hidden feed-forward layer, and of each attention head.
    dropout_embedding, dropout_feedforward : float
        Dropout probabilities.
    encoder_attention : {"local", "global"}
        "global" lets the encoder mix neurons, which breaks the causal reading (section 3.1 of the paper).
    """

    def __init__(
        self, n_models, n_neurons, *, context=10, embedding_dim=100, feedforward_dim=400, head_dim=8, n_heads=10,
        dropout_embedding=0.1, dropout_feedforward=0.1, encoder_attention="local",
    ):  # fmt: skip
        super().__init__()
        inner = head_dim * n_heads
        sizes = (n_models, embedding_dim, inner, n_heads, feedforward_dim, dropout_feedforward)
        self.embedding = TokenEmbedding(n_models, n_neurons, embedding_dim, dropout_embedding)
        self.encoder = Encoder(*sizes, mixes_neurons=encoder_attention == "global")
        self.decoder = Decoder(*sizes)
        self.readout = Linear(n_models, embedding_dim, 1)
        self.numbers_per_window = n_heads * n_neurons**2 * context  # of the attention, its largest tensor

    def encode(self, history, time_s, layers=None):
        """Tokens of the history after the encoder: (S, B, N, L, C)."""
        models, windows, neurons, length = history.shape
        tokens = self.embedding(history, time_s)
        return self.encoder(tokens, windows, neurons, layers).view(models, windows, neurons, length, -1)

    def forward(
        self, history, history_time_s, target_time_s, target_input=None, need_attention=True, layers=None
    ):
        """Forecast the step after each window.

        Parameters
        ----------
        history : (S, B, N, L) z-scored activity
        history_time_s, target_time_s : (S, B, L) and (S, B, 1), in seconds
        target_input : (S, B, N, 1) or None
            What the decoder is given as target values: None is zeros, as published; the true values leak
            the future into the forecast.
        need_attention : bool
            Without effect: the attention is computed anyway.
        layers : list, optional
            Gets an `AttentionLayer` from every attention layer.

        Returns
        -------
        prediction : (S, B, N)
        attention : (S, B, n_heads, N, N·L)
            Global cross-attention of each target neuron to each (source neuron, history step).
        """
        models, windows, neurons, _ = history.shape
        encoded = self.encode(history, history_time_s, layers).flatten(1, 3)  # (S, B·N·L, C)
        if target_input is None:
            target_input = torch.zeros_like(history[..., :1])
        queries = self.embedding(target_input, target_time_s)  # (S, B·N, C)
        decoded, attention = self.decoder(queries, encoded, windows, neurons, layers)
        return self.readout(decoded).view(models, windows, neurons), attention

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

Each of the last two can be undone, and the attention and normalization replaced, to measure what they do. The preset
"fast" takes the attention that is a learned graph, the same for all windows (`decoder_attention="static"`).

Shapes: S models, B windows, N neurons, L history steps, C channels.
"""

import torch
from torch import nn
from torch.nn.functional import gelu, pad

from causalkit.methods.causalformer_attention import heads, linear_attention, prior, softmax_attention
from causalkit.methods.causalformer_network import FeedForward
from causalkit.nn import (
    AttentionLayer,
    Dropout,
    Embedding,
    EnsembleModule,
    Linear,
    PeriodicEmbedding,
    cross_attention,
    inside_groups,
    normalization,
)

__all__ = ["CompactNetwork"]

N_PERIODIC = 16  # sines a value is embedded by
N_HIDDEN = 16  # channels of the networks that learn what the removed statistics do to attention
SILENT = 1e-5  # added to the variance of a window, as Liu et al. do: a silent window has none


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

    def __init__(self, n_models, width, inner, n_heads, norm):
        super().__init__()
        self.n_heads = n_heads
        self.norm = normalization(norm, n_models, width)
        self.query_key_value = Linear(n_models, width, 3 * inner)
        self.out = Linear(n_models, inner, width)

    def forward(self, x, n_windows, layers=None):
        query, key, value = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        heard, attention = cross_attention(query, key, value, n_windows, self.n_heads)
        if layers is not None:
            layers.append(AttentionLayer("history", "history", inside_groups(attention, n_windows)))
        return self.out(heard)


def standardize(history):
    """Z-score each window and neuron by itself: (S, B, N, L), its mean and its standard deviation (S, B, N, 1)."""
    mean = history.mean(-1, keepdim=True)
    sd = (history.var(-1, correction=0, keepdim=True) + SILENT).sqrt()
    return (history - mean) / sd, mean, sd


class Projector(nn.Module):
    """A number for each neuron and window, from its history as it was and a statistic of that."""

    def __init__(self, n_models, context):
        super().__init__()
        self.expand = Linear(n_models, context + 1, N_HIDDEN)
        self.contract = Linear(n_models, N_HIDDEN, 1)

    def forward(self, history, statistic):
        features = torch.cat([history, statistic], dim=-1).flatten(1, 2)
        return self.contract(gelu(self.expand(features)))  # (S, B·N, 1)


class RemovedStatistics(nn.Module):
    """De-stationary attention (Liu et al. 2022, equation 6): factors and shifts of scores, of what z-scoring removed.

    Their windows have one standard deviation and mean, ours one of each neuron: a source's enter its key alone and a
    target's its query, so that one neuron still learns of another by attention only.
    """

    def __init__(self, n_models, context):
        super().__init__()
        self.query_scale = Projector(n_models, context)
        self.key_scale = Projector(n_models, context)
        self.key_shift = Projector(n_models, context)

    def forward(self, history, mean, sd):
        """tau of queries, tau of keys, and delta of keys: each (S, B·N, 1)."""
        tau = [scale(history, sd).float().exp() for scale in (self.query_scale, self.key_scale)]
        return *tau, self.key_shift(history, mean).float()


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
    decoder_attention : {"softmax", "static", "linear"}
        What is read: scores of queries and keys; the same of the neurons' embeddings alone; positive features.
    norm : {"batch", "layer", "none"}
        Normalization before each layer.
    stationarize : bool
        Whether windows are z-scored by themselves. Static attention has no scores to give the statistics back to.
    nobody : float
        Before training a target attends to nobody this many times as much as to any neuron; 0 leaves nobody out.
    self_attention, identity_in_values : bool
        Whether a target may attend to itself; whether values name their source.
    """

    def __init__(
        self, n_models, n_neurons, *, context=10, embedding_dim=64, feedforward_dim=128, head_dim=8, n_heads=4,
        dropout_embedding=0.0, dropout_feedforward=0.0, encoder_attention="local", leak_future=False,
        decoder_attention="softmax", norm="batch", stationarize=False, nobody=1.0, self_attention=False,
        identity_in_values=False,
    ):  # fmt: skip
        super().__init__()
        self.n_heads, inner = n_heads, head_dim * n_heads
        self.decoder_attention, self.self_attention = decoder_attention, self_attention
        self.stationarize, self.nobody_weight = stationarize, nobody
        mixes, static = encoder_attention == "global", decoder_attention == "static"
        # of the largest tensor: the attention, or if all windows share that, the feed-forward layer's
        self.numbers_per_window = n_neurons * (feedforward_dim if static else n_heads * n_neurons)
        self.history = HistoryEmbedding(n_models, context, embedding_dim, dropout_embedding)
        self.norm_history = normalization(norm, n_models, embedding_dim)
        self.encoder = FeedForward(n_models, embedding_dim, feedforward_dim, dropout_feedforward)
        self.neuron = Embedding(n_models, n_neurons, embedding_dim)
        self.own = Linear(n_models, embedding_dim, embedding_dim)
        self.key_value = Linear(n_models, embedding_dim, inner * (1 if static else 2))  # static: values alone
        self.source = Linear(n_models, embedding_dim, inner)
        self.norm_query = None if static else normalization(norm, n_models, embedding_dim)
        self.query = Linear(n_models, embedding_dim, inner)
        self.out = Linear(n_models, inner, embedding_dim)
        self.norm_feedforward = normalization(norm, n_models, embedding_dim)
        self.feedforward = FeedForward(n_models, embedding_dim, feedforward_dim, dropout_feedforward)
        self.readout = Linear(n_models, embedding_dim, 1)
        # Options come last: but for static attention, what they share with the network without them starts from the
        # same weights.
        self.mixing = NeuronMixing(n_models, embedding_dim, inner, n_heads, norm) if mixes else None
        self.future = Linear(n_models, 1, embedding_dim) if leak_future else None
        self.nobody = Embedding(n_models, 1, inner) if nobody > 0 else None
        self.identity = Linear(n_models, embedding_dim, inner) if identity_in_values else None
        self.removed = RemovedStatistics(n_models, context) if stationarize and not static else None

    def encode(self, history, time_s, layers=None):
        """Tokens of the histories after the encoder: (S, B, N, 1, C)."""
        models, windows, neurons, _ = history.shape
        if self.stationarize:
            history, _, _ = standardize(history)
        tokens = self.history(history, time_s[..., -1:])
        if self.mixing is not None:
            tokens = tokens + self.mixing(tokens + self.neuron.weight.repeat(1, windows, 1), windows, layers)
        tokens = tokens + self.encoder(self.norm_history(tokens))
        return tokens.view(models, windows, neurons, 1, -1)

    def forward(
        self, history, history_time_s, target_time_s, target_input=None, need_attention=True, layers=None
    ):
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
        layers : list, optional
            Gets an `AttentionLayer` from every attention layer; needs the attention.

        Returns
        -------
        prediction : (S, B, N)
        attention : (S, B, n_heads, N, N) or None
            Cross-attention of each target to each source neuron; what is missing to 1 went to nobody.
        """
        models, windows, neurons, _ = history.shape
        encoded = self.encode(history, history_time_s, layers).flatten(1, 3)  # (S, B·N, C)
        mean, sd = standardize(history)[1:] if self.stationarize else (0.0, 1.0)
        identity = self.neuron.weight.repeat(1, windows, 1)  # (S, B·N, C)
        target = identity + self.own(encoded)
        if target_input is not None:
            target = target + self.future(((target_input - mean) / sd).flatten(1, 2))
        if self.decoder_attention == "static":
            heard, attention, value = self._attend_statically(encoded, windows)
        else:
            statistics = self.removed(history, mean, sd) if self.removed else None
            heard, attention, value = self._attend(target, encoded, statistics, windows, need_attention)
        if layers is not None:
            layers += self._layers(attention, value[:, :, :neurons])
        target = target + self.out(heard)
        target = target + self.feedforward(self.norm_feedforward(target))
        forecast = self.readout(target).view(models, windows, neurons, 1)
        if self.stationarize:
            forecast = forecast * sd + mean
        return forecast[..., 0], attention if need_attention else None

    def _attend(self, target, encoded, statistics, windows, need_attention):
        """What each target hears (S, B·N, heads·D), the attention (S, B, heads, N, N) or None, and the values."""
        models, neurons = self.neuron.weight.shape[:2]
        key, value = self.key_value(encoded).chunk(2, dim=-1)
        key = key + self.source(self.neuron.weight).repeat(1, windows, 1)
        query = self.query(self.norm_query(target))
        offset = prior(neurons, self.nobody_weight, query)
        if statistics is not None:
            query_scale, key_scale, shift = statistics
            query, key = query * query_scale.to(query.dtype), key * key_scale.to(key.dtype)
            shift = shift.view(models * windows, 1, 1, neurons).to(query.dtype)
            offset = offset + pad(shift, (0, offset.shape[-1] - neurons))
        key = self._with_nobody(key.view(models, windows, neurons, -1))
        value = self._values(value, windows)
        attend = linear_attention if self.decoder_attention == "linear" else softmax_attention
        q, k, v = (heads(x, models * windows, self.n_heads) for x in (query, key, value))
        heard, attention = attend(q, k, v, offset, self.self_attention, need_attention)
        if attention is not None:
            attention = attention[..., :neurons].unflatten(0, (models, windows))
        return heard.transpose(1, 2).reshape(models, windows * neurons, -1), attention, value

    def _attend_statically(self, encoded, windows):
        """As `_attend`, with one attention for all windows, of the neurons' embeddings."""
        models, neurons = self.neuron.weight.shape[:2]
        query = self.query(self.neuron.weight)
        key = self._with_nobody(self.source(self.neuron.weight)[:, None])
        offset = prior(neurons, self.nobody_weight, query)
        value = self._values(self.key_value(encoded), windows)
        q, k = heads(query, models, self.n_heads), heads(key, models, self.n_heads)
        v = value.unflatten(-1, (self.n_heads, -1)).permute(0, 3, 2, 1, 4).flatten(3)  # (S, heads, keys, B·D)
        heard, attention = softmax_attention(q, k, v, offset, self.self_attention, need_attention=True)
        heard = heard.unflatten(-1, (windows, -1)).permute(0, 3, 2, 1, 4).reshape(models, windows * neurons, -1)
        return heard, attention[:, None, ..., :neurons].expand(-1, windows, -1, -1, -1), value

    def _layers(self, attention, value):
        """For the readouts: a target starts as its own neuron's token, then attends to the others'."""
        own = torch.eye(attention.shape[-1]).to(attention)
        yield AttentionLayer("target", "history", own.expand(*attention.shape[:2], 1, -1, -1), residual=False)
        value = value.unflatten(-1, (self.n_heads, -1)).transpose(2, 3)  # (S, B, heads, N, D)
        yield AttentionLayer("target", "history", attention, value, self.out.weight)

    def _values(self, value, windows):
        """Values of the sources, and of nobody, who says nothing: (S, B, keys, heads·D)."""
        models, neurons = self.neuron.weight.shape[:2]
        value = value.view(models, windows, neurons, -1)
        if self.identity is not None:
            value = value + self.identity(self.neuron.weight)[:, None]
        return value if self.nobody is None else pad(value, (0, 0, 0, 1))

    def _with_nobody(self, key):
        """Keys (S, B, N, heads·D), and nobody's after them."""
        if self.nobody is None:
            return key
        nobody = self.nobody.weight[:, None].expand(-1, key.shape[1], 1, -1)
        return torch.cat([key, nobody.to(key.dtype)], dim=2)

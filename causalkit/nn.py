"""Torch layers that methods share, all with a leading ensemble dimension.

Every parameter has the shape ``(n_models, ...)`` and every activation ``(n_models, rows, channels)``: the
members of an ensemble train side by side as one batched program instead of one after another. Members never
mix, and each draws its initial weights and its dropout masks from its own generator, so member k is the same
model whatever the size of the ensemble it sits in.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

__all__ = [
    "AttentionLayer",
    "BatchNorm",
    "Dropout",
    "Embedding",
    "EnsembleModule",
    "LayerNorm",
    "Linear",
    "PeriodicEmbedding",
    "Time2Vec",
    "cross_attention",
    "generators",
    "inside_groups",
    "keep_models",
    "local_attention",
    "normalization",
]


def generators(seeds, device="cpu") -> list[torch.Generator]:
    """One random generator a model, seeded by `seeds` (a sequence of integers)."""
    return [torch.Generator(device=device).manual_seed(int(seed)) for seed in seeds]


class EnsembleModule(nn.Module):
    """A module whose parameters and buffers all lead with the model dimension."""

    @property
    def n_models(self) -> int:
        """Number of models stacked in this module."""
        return next(self.parameters()).shape[0]

    def initialize(self, seeds) -> "EnsembleModule":
        """Draw every model's initial weights from its own seed (on the CPU, so devices agree)."""
        for member, generator in enumerate(generators(seeds)):
            for module in self.modules():
                if hasattr(module, "reset_member"):
                    module.reset_member(member, generator)
        return self

    def set_generators(self, members: list[torch.Generator]) -> "EnsembleModule":
        """Give every dropout layer the models' generators."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generators = members
        return self


@torch.no_grad()
def keep_models(module: nn.Module, keep, optimizer=None) -> None:
    """Reduce a stacked module, and its optimizer's moments, to the models listed in `keep`."""
    keep = torch.as_tensor(keep)
    for parameter in module.parameters():
        index = keep.to(parameter.device)
        state = optimizer.state[parameter] if optimizer else {}
        for name, moment in state.items():
            if moment.dim():  # the step counter is a scalar that all models share
                state[name] = moment[index].clone()
        parameter.grad = None
        parameter.data = parameter.data[index].clone()
    for submodule in module.modules():
        for name, buffer in submodule.named_buffers(recurse=False):
            setattr(submodule, name, buffer[keep.to(buffer.device)].clone())


class Linear(nn.Module):
    """One affine map a model: (n_models, rows, n_in) -> (n_models, rows, n_out)."""

    def __init__(self, n_models: int, n_in: int, n_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_models, n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_models, 1, n_out))

    @torch.no_grad()
    def reset_member(self, member, generator):
        bound = 1 / math.sqrt(self.weight.shape[1])  # torch.nn.Linear's own default
        self.weight[member].uniform_(-bound, bound, generator=generator)
        self.bias[member].uniform_(-bound, bound, generator=generator)

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


class Embedding(nn.Module):
    """A learned vector for each of `n_items` items (neurons, say) in each model: (n_models, n_items, channels)."""

    def __init__(self, n_models: int, n_items: int, n_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_models, n_items, n_channels))

    @torch.no_grad()
    def reset_member(self, member, generator):
        self.weight[member].normal_(generator=generator)


class Time2Vec(nn.Module):
    """Time2Vec (Kazemi et al. 2019): ``w·t + b`` (`periodic` False) or ``sin(w·t + b)`` (`periodic` True).

    Takes times (n_models, rows) and returns (n_models, rows, n_channels).
    """

    def __init__(self, n_models: int, n_channels: int, *, periodic: bool):
        super().__init__()
        self.periodic = periodic
        self.weight = nn.Parameter(torch.empty(n_models, n_channels))
        self.bias = nn.Parameter(torch.empty(n_models, n_channels))

    @torch.no_grad()
    def reset_member(self, member, generator):
        self.weight[member].normal_(generator=generator)
        self.bias[member].normal_(generator=generator)

    def forward(self, time):
        phase = time[..., None] * self.weight[:, None] + self.bias[:, None]  # (models, rows, channels)
        return torch.sin(phase) if self.periodic else phase


class PeriodicEmbedding(nn.Module):
    """Sines of a value at learned frequencies (Gorishniy et al. 2022, arXiv 2203.05556): for sharp functions of it.

    Takes values (n_models, rows) and returns (n_models, rows, n_channels).
    """

    def __init__(self, n_models: int, n_channels: int, scale: float = 3.0):
        super().__init__()
        self.scale = scale  # standard deviation of the first frequencies, in radians a standard deviation of the value
        self.weight = nn.Parameter(torch.empty(n_models, n_channels))
        self.bias = nn.Parameter(torch.empty(n_models, n_channels))

    @torch.no_grad()
    def reset_member(self, member, generator):
        self.weight[member].normal_(std=self.scale, generator=generator)
        self.bias[member].uniform_(-math.pi, math.pi, generator=generator)

    def forward(self, value):
        return torch.sin(value[..., None] * self.weight[:, None] + self.bias[:, None])


class BatchNorm(nn.Module):
    """Batch normalization over channels, each model with its own statistics (Ioffe & Szegedy 2015).

    While training, a channel's mean and variance run over all rows of the batch, and so over all neurons:
    only in evaluation mode is one neuron's representation free of the others.
    """

    def __init__(self, n_models: int, n_channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(n_models, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_models, n_channels))
        self.register_buffer("running_mean", torch.zeros(n_models, n_channels))
        self.register_buffer("running_var", torch.ones(n_models, n_channels))

    def forward(self, x):
        if self.training:
            variance, mean = torch.var_mean(x.float(), dim=1, correction=0)
            with torch.no_grad():
                unbiased = variance * (x.shape[1] / max(x.shape[1] - 1, 1))
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(unbiased, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None], x, scale[:, None])


class LayerNorm(nn.Module):
    """Layer normalization over the channels of a row (Ba et al. 2016): rows never mix, in training neither."""

    def __init__(self, n_models: int, n_channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_models, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_models, n_channels))

    def forward(self, x):
        x = nn.functional.layer_norm(x.float(), x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias[:, None], x, self.weight[:, None])


def normalization(kind: str, n_models: int, n_channels: int) -> nn.Module:
    """The layer called "batch", "layer" or "none"."""
    if kind == "none":
        return nn.Identity()
    return {"batch": BatchNorm, "layer": LayerNorm}[kind](n_models, n_channels)


class Dropout(nn.Module):
    """Dropout whose masks come from one generator a model.

    A mask entry needs 16 random bits, not a float: random numbers are a tenth of a training step on a CPU.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generators: list[torch.Generator] = []

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        per_model = x[0].numel()
        bits = torch.empty(x.shape[0], -(-per_model // 4), dtype=torch.int64, device=x.device)
        for row, generator in zip(bits, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)  # all 64 bits: four entries of the mask
        bits = bits.view(torch.int16)[:, :per_model].view_as(x)
        keep = bits >= round(self.p * 2**16) - 2**15
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p))


@dataclass(frozen=True)
class AttentionLayer:
    """What one attention layer of a network did, for the readouts of attention (`causalkit.readouts`).

    A network has two streams of tokens: "history" (the sources' past, neuron-major, the oldest step first) and "target"
    (one query a neuron to forecast). A decoder-only network's own tokens are its history.

    Attributes
    ----------
    queries, keys : {"history", "target"}
        The stream that attends, and the one that it attends to.
    weights : (S, B, heads, Q, K)
        Attention; what is missing to 1 went to none of the keys.
    values : (S, B, heads, K, D), optional
        What is attended to. Given for the layers in which targets attend to every neuron: those are read.
    out : (S, heads·D, C), optional
        Weight of the projection of what was heard back into the stream.
    residual : bool
        Whether the stream is added to what it hears. False for a stream that starts as a copy of its keys.
    """

    queries: str
    keys: str
    weights: torch.Tensor
    values: torch.Tensor | None = None
    out: torch.Tensor | None = None
    residual: bool = True


def inside_groups(attention, n_windows: int):
    """Attention inside the groups of a window, mean of the heads, as one matrix over all tokens of the window.

    Parameters
    ----------
    attention : (S, B·groups, heads, q, k)
    n_windows : int
        B.

    Returns
    -------
    (S, B, 1, groups·q, groups·k), zero between groups
    """
    blocks = attention.mean(2).unflatten(1, (n_windows, -1))  # (S, B, groups, q, k)
    groups = blocks.shape[2]
    whole = torch.diag_embed(blocks.movedim(2, -1), dim1=2, dim2=4)  # (S, B, groups, q, groups, k)
    return whole.reshape(*blocks.shape[:2], 1, groups * blocks.shape[3], groups * blocks.shape[4])


def _heads(x, n_groups: int, n_heads: int):
    """(models, groups·rows, heads·dim) -> (models·groups, heads, rows, dim)."""
    models, tokens, width = x.shape
    return x.reshape(models * n_groups, tokens // n_groups, n_heads, width // n_heads).transpose(1, 2)


def local_attention(query, key, value, n_groups: int, n_heads: int):
    """Scaled dot-product attention inside groups of consecutive rows: a token sees its own group only.

    Parameters
    ----------
    query, key, value : (n_models, n_groups · rows a group, n_heads · head_dim)
        Keys and values may have another number of rows a group than the queries.
    n_groups : int
        Groups a model: one a (window, neuron) for attention to a neuron's own history.

    Returns
    -------
    (n_models, n_groups · query rows a group, n_heads · head_dim)
    """
    output, _ = cross_attention(query, key, value, n_groups, n_heads)
    return output


def cross_attention(query, key, value, n_groups: int, n_heads: int):
    """As `local_attention`, but returns the attention too: (n_models, n_groups, n_heads, queries, keys)."""
    models = query.shape[0]
    q, k, v = (_heads(x, n_groups, n_heads) for x in (query, key, value))
    scores = q @ (k * q.shape[-1] ** -0.5).transpose(-2, -1)  # (models·groups, heads, queries, keys)
    attention = torch.softmax(scores, dim=-1)
    output = (attention.to(v.dtype) @ v).transpose(1, 2)  # (models·groups, queries, heads, dim)
    output = output.reshape(models, query.shape[1], -1)
    return output, attention.unflatten(0, (models, n_groups))

"""The response of a spiking neuron to its own history and to the recent values of its index: a small network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from causalkit.methods.point_process import Bernoulli, Family
from causalkit.methods.short_training import (
    BestWeights,
    OneCycleAdamW,
    Rows,
    batch_size,
    batches,
    held_out,
    is_check,
)
from causalkit.methods.spike_history import N_OWN
from causalkit.nn import EnsembleModule, Linear, generators

Array = NDArray[np.float64]

EMBEDDING, WIDTH = 8, 64
SAMPLES = 2560  # of a batch
LINEAR_SHARE = 0.3  # of the steps that only the linear part learns
LINEAR_RATE = 4.0  # learning rate of the linear part and of the weights of sources, over that of the network
FIRST_WEIGHT, PRIOR = 0.05, 20.0  # spread of the first weights; precision of their Gaussian prior
FIRST_COURSE = 0.5  # effect at every lag of a weight of 1
MAX_EPOCHS = 100
CHUNK = 1 << 16  # samples that are evaluated at once


class SpikeResponse(EnsembleModule):
    """Linear predictor of the next bin from own history and the last values of an index, one network a model.

    ``eta = F(own history, identity, s(t), s(t-1) ...)`` with ``s = W counts``: one weight a pair, while the network,
    shared by all neurons, learns when after a spike, and in which state of the target, its effect comes. The weights
    `W` belong to the module and are learned with it.
    """

    def __init__(self, n_models: int, n_neurons: int, n_lags: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(n_models, n_neurons, EMBEDDING))
        self.weights = nn.Parameter(torch.zeros(n_models, n_neurons, n_neurons))
        self.direct = Linear(n_models, N_OWN + n_lags, 1)
        self.first = Linear(n_models, N_OWN + n_lags + EMBEDDING, WIDTH)
        self.second = Linear(n_models, WIDTH, WIDTH)
        self.last = Linear(n_models, WIDTH, 1)

    @torch.no_grad()
    def start(self, seeds, mean_eta: float) -> SpikeResponse:
        """Initialize: small weights of sources that act alike at all lags, and no network beside the linear part."""
        self.initialize(seeds)
        for member, generator in enumerate(generators(seeds)):
            self.weights[member].normal_(std=FIRST_WEIGHT, generator=generator)
        self.direct.weight.zero_()
        self.direct.weight[:, N_OWN:] = FIRST_COURSE
        self.direct.bias.fill_(mean_eta)
        self.last.weight.zero_()
        self.last.bias.zero_()
        return self

    def index(self, recent):
        """Index of every neuron at each lag, from `recent` counts (n_models, rows, n_lags, n_neurons)."""
        n = self.weights.shape[-1]
        others = self.weights.masked_fill(torch.eye(n, dtype=torch.bool), 0)
        return (recent.flatten(1, 2) @ others.transpose(1, 2)).unflatten(1, recent.shape[1:3]).transpose(2, 3)

    def forward(self, own, index):
        """Linear predictor (n_models, rows, n_neurons) of `own` and `index` (n_models, rows, n_neurons, channels)."""
        seen = torch.cat([own, index], dim=-1).flatten(1, 2)
        embedding = self.embedding[:, None].expand(-1, own.shape[1], -1, -1).flatten(1, 2)
        hidden = nn.functional.silu(self.first(torch.cat([seen, embedding], dim=-1)))
        hidden = nn.functional.silu(self.second(hidden))
        return (self.direct(seen) + self.last(hidden)).view(own.shape[:-1])


def train_spike_response(
    model: SpikeResponse, counts, own, rows: list[Rows], n_lags: int, family: Family, n_steps: int, rate: float,
    seeds: list[int],
) -> None:  # fmt: skip
    """Fit every model to its own rows by likelihood with AdamW; the linear part alone first.

    The last tenth of a model's rows is held out: the state that forecasts it best is kept.

    Parameters
    ----------
    counts : tensor (n_times, n_neurons)
    own : tensor (n_times, n_neurons, N_OWN)
    rows : list of arrays
        Training rows of each model.
    n_lags : int
    family : Bernoulli or Poisson
    n_steps : int
        Batches, all phases together; fewer where they would go through the rows more than a hundred times.
    rate : float
        Largest learning rate of the network.
    seeds : list of int
        They draw the batches.
    """
    taught, checked = held_out(rows)
    n_neurons = counts.shape[1]
    size = batch_size(taught, n_neurons, SAMPLES)
    n_steps = min(n_steps, MAX_EPOCHS * (min(map(len, taught)) // size))
    hidden = [*model.first.parameters(), *model.second.parameters(), *model.last.parameters(), model.embedding]
    linear_part = [model.weights, *model.direct.parameters()]
    optimizers = [
        OneCycleAdamW(hidden, rate, n_steps + 1, weight_decay=1e-4),
        OneCycleAdamW(linear_part, LINEAR_RATE * rate, n_steps + 1, weight_decay=0.0),
    ]
    lags = torch.arange(1, n_lags + 1)
    n_taught = torch.tensor([len(t) * n_neurons for t in taught])

    def loss(chosen):
        index = model.index(counts[chosen[..., None] - lags])
        return _loss(model(own[chosen], index), counts[chosen], family).mean(dim=(1, 2))

    best = BestWeights(model)
    for step, chosen in enumerate(batches(taught, size, n_steps, seeds)):
        linear = step < LINEAR_SHARE * n_steps
        for p in hidden:
            p.requires_grad_(not linear)
        for optimizer in optimizers:
            optimizer.zero_grad()
        prior = 0.5 * PRIOR * model.weights.square().sum(dim=(1, 2)) / n_taught
        (loss(chosen) + prior).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        if is_check(step, n_steps):
            with torch.no_grad():
                best.offer(torch.stack([loss(part) for part in checked.split(size, dim=1)]).mean(dim=0))
    best.restore()
    for p in hidden:
        p.requires_grad_(True)


def _loss(eta, counts, family: Family):
    if family is Bernoulli:
        return nn.functional.binary_cross_entropy_with_logits(eta, counts, reduction="none")
    return nn.functional.poisson_nll_loss(eta, counts, log_input=True, reduction="none")


def evaluate(model: SpikeResponse, fold: int, counts, own, rows: Rows, n_lags: int) -> tuple[Array, Array, Array]:
    """Linear predictors (n_rows, n_neurons), their gains (n_rows, n_neurons, n_lags), and those without input.

    A gain is the derivative with respect to the index at one lag.
    """
    lags, parts = torch.arange(1, n_lags + 1), []
    step = max(1, CHUNK // counts.shape[1])
    for chosen in torch.as_tensor(rows).split(step):
        mine = own[chosen].expand(model.n_models, -1, -1, -1)
        index = model.index(counts[chosen[:, None] - lags].expand(model.n_models, -1, -1, -1))
        index = index.detach().requires_grad_()
        eta = model(mine, index)
        (gain,) = torch.autograd.grad(eta.sum(), index)
        with torch.no_grad():
            alone = model(mine, torch.zeros_like(index))
        parts.append([part[fold].detach() for part in (eta, gain, alone)])
    return tuple(torch.cat(part).double().numpy() for part in zip(*parts, strict=True))

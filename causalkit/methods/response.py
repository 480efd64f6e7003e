"""The response of a neuron to its own history and to one number that sums up all its input: a small network."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import silu

from causalkit.methods.causalformer_network import Encoder
from causalkit.methods.short_training import (
    BestWeights,
    OneCycleAdamW,
    Rows,
    batch_size,
    batches,
    held_out,
    is_check,
)
from causalkit.methods.threads import side_by_side
from causalkit.nn import EnsembleModule, Linear, Time2Vec, keep_models

Array = NDArray[np.float64]

EMBEDDING, WIDTH = 8, 64
SAMPLES = {"mlp": 1024, "transformer": 512}  # of a batch; attention takes far longer for each
ENCODERS = tuple(SAMPLES)
CHUNK = 1 << 13  # samples, or tokens, that are evaluated at once: what fits into a cache is twice as fast
TOKEN_WIDTH, HEADS, HEAD_DIM, FEEDFORWARD = 16, 2, 8, 32


class HistoryEncoder(nn.Module):
    """Read a neuron's own history as the Causalformer's encoder does: by attention within that neuron alone.

    Each number of the history is a token, and its place in it the position: the last values, latest first, then the
    running averages. What is read is the token of the latest value, which has seen all others.
    """

    def __init__(self, n_models: int):
        super().__init__()
        self.value = Linear(n_models, 1, TOKEN_WIDTH)
        self.position = Time2Vec(n_models, TOKEN_WIDTH, periodic=True)
        inner = HEADS * HEAD_DIM
        self.encoder = Encoder(n_models, TOKEN_WIDTH, inner, HEADS, FEEDFORWARD, dropout=0.0, mixes_neurons=False)

    def forward(self, own):
        """What is read, (n_models, rows, n_neurons, token width), of `own` (n_models, rows, n_neurons, n_own)."""
        if self.training:
            return self._read(own)
        with torch.no_grad():  # it learns nothing here; in parts, because tokens take memory
            parts = own.split(max(1, CHUNK // own[0, 0].numel()), dim=1)
            return torch.cat([self._read(part) for part in parts], dim=1)

    def _read(self, own):
        models, rows, neurons, length = own.shape
        tokens = self.value(own.reshape(models, -1, 1)).unflatten(1, (-1, length))  # (models, rows·neurons, length, C)
        places = torch.arange(length, dtype=own.dtype, device=own.device).expand(models, -1)
        tokens = tokens + self.position(places)[:, None]
        read = self.encoder(tokens.flatten(1, 2), rows, neurons)  # (models, rows·neurons·length, C)
        return read.view(models, rows, neurons, length, -1)[..., 0, :]


class Response(EnsembleModule):
    """One network a model, shared by all neurons, which differ in an embedding only.

    Embeddings start at zero: neurons are told apart by what they do, not by their place in the array. Own history
    enters as it is, or read by the Causalformer's local encoder; identity and index enter after it.
    """

    def __init__(self, n_models: int, n_neurons: int, n_own: int, encoder: str = "mlp"):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(n_models, n_neurons, EMBEDDING))
        self.encoder = HistoryEncoder(n_models) if encoder == "transformer" else nn.Identity()
        self.samples = SAMPLES[encoder]
        n_read = TOKEN_WIDTH if encoder == "transformer" else n_own
        self.first = Linear(n_models, n_read + EMBEDDING + 1, WIDTH)
        self.second = Linear(n_models, WIDTH, WIDTH)
        self.last = Linear(n_models, WIDTH, 1)
        self.direct = Linear(n_models, n_own, 1)

    def layers(self, own, index, neurons=slice(None)):
        """Both hidden layers before their nonlinearity, each (n_models, rows * n_neurons, width)."""
        embedding = self.embedding[:, None, neurons].expand(-1, own.shape[1], -1, -1)
        inputs = torch.cat([self.encoder(own), embedding, index[..., None]], dim=-1).flatten(1, 2)
        first = self.first(inputs)
        return first, self.second(silu(first))

    def hidden(self, own, index, neurons=slice(None)):
        """Last hidden layer, (n_models, rows * n_neurons, width)."""
        return silu(self.layers(own, index, neurons)[1])

    def forward(self, own, index):
        """Forecast, (n_models, rows, n_neurons), of `own` (n_models, rows, n_neurons, n_own) and index."""
        out = self.last(self.hidden(own, index)) + self.direct(own.flatten(1, 2))
        return out.view(index.shape)

    @torch.no_grad()
    def forecast_and_gain(self, own, index):
        """Forecast and its derivative with respect to the index, (n_models, rows, n_neurons).

        By the chain rule, which here takes three quarters of the time that torch's gradients do.
        """
        first, second = self.layers(own, index)
        forecast = self.last(silu(second)) + self.direct(own.flatten(1, 2))
        silu_backward = torch.ops.aten.silu_backward
        slope = silu_backward(self.last.weight.mT.expand_as(second), second)
        slope = silu_backward(slope @ self.second.weight.mT, first)
        gain = slope @ self.first.weight[:, -1:].mT  # the index is the last of the inputs
        return forecast.view(index.shape), gain.view(index.shape)


def train_response(
    model: Response, own, goal, index, delta, rows: list[Rows], n_steps: int, rate: float, seeds: list[int],
    apart: bool = False,
) -> None:
    """Fit every model to its own rows with Huber's loss, AdamW and a rate that rises and falls to zero.

    The last tenth of a model's rows is held out: the weights that forecast it best are kept, so that a network that
    can learn little from a neuron's own past does not learn noise. (An index was fitted to these rows as well.)

    Parameters
    ----------
    own : OwnHistory, (n_rows, n_neurons, n_own)
    goal : tensor (n_rows, n_neurons)
    index : tensor (n_models, n_rows, n_neurons)
    delta : tensor (n_models, n_neurons)
        Where the loss turns linear, in units of `goal`.
    rows : list of arrays
        Training rows of each model.
    n_steps : int
        Batches.
    rate : float
        Largest learning rate.
    seeds : list of int
        They draw the batches.
    apart : bool
        Train each model by itself, side by side, which pays off in large networks. They differ by rounding.
    """
    taught, checked = held_out(rows)
    order = list(batches(taught, batch_size(taught, own.shape[1], model.samples), n_steps, seeds))
    if not apart:
        _train(model, own, goal, index, delta, order, checked, rate)
        return

    def train(k: int) -> Response:
        alone, one = member(model, k), slice(k, k + 1)
        _train(alone, own, goal, index[one], delta[one], [chosen[one] for chosen in order], checked[one], rate)
        return alone

    _put_back(model, side_by_side(train, range(model.n_models)))


def _train(model: Response, own, goal, index, delta, order, checked, rate: float) -> None:
    """As `train_response`; `order` are batches and `checked` the rows held out, (n_models, n_rows)."""
    n_steps = len(order)
    optimizer = OneCycleAdamW(model.parameters(), rate, n_steps + 1, weight_decay=1e-4)
    members = torch.arange(model.n_models)[:, None]

    def loss(chosen, forecast):
        error = goal[chosen] - forecast
        size, limit = error.abs(), delta[:, None]
        # over delta: so that neurons with small residuals count as much as others
        return torch.where(size <= limit, error**2 / (2 * limit), size - limit / 2).mean(dim=(1, 2))

    held_own, held_index = own[checked], index[members, checked]
    best = BestWeights(model)
    for step, chosen in enumerate(order):
        model.train()
        optimizer.zero_grad()
        loss(chosen, model(own[chosen], index[members, chosen])).sum().backward()
        _clip_gradients(model)
        optimizer.step()
        if is_check(step, n_steps):
            model.eval()
            with torch.no_grad():
                best.offer(loss(checked, _in_parts(model, held_own, held_index)))
    best.restore()
    model.eval()


def _in_parts(model: Response, own, index):
    """Forecasts as of the model, of some rows at a time."""
    step = max(1, CHUNK // own.shape[2])
    parts = zip(own.split(step, dim=1), index.split(step, dim=1), strict=True)
    return torch.cat([model(*part) for part in parts], dim=1)


@torch.no_grad()
def _put_back(model: Response, members: list[Response]) -> None:
    """Give each of the models the weights of a member that was trained by itself."""
    for k, alone in enumerate(members):
        for values, new in zip(model.parameters(), alone.parameters(), strict=True):
            values[k] = new[0]
    model.eval()


def _clip_gradients(model: Response, largest: float = 1.0) -> None:
    """Limit the norm of every network's gradient by itself: those of other folds must not matter to it."""
    squares = [p.grad.flatten(1).square().sum(dim=1) for p in model.parameters()]
    factor = largest / torch.stack(squares).sum(dim=0).sqrt().clamp_min(largest)
    for p in model.parameters():
        p.grad *= factor.view(-1, *[1] * (p.dim() - 1))


def member(model: Response, k: int) -> Response:
    """One of the models by itself."""
    alone = copy.deepcopy(model)
    keep_models(alone, [k])
    return alone


def evaluate(model: Response, own, index, rows=None) -> tuple[Array, Array]:
    """Forecasts and gains (their derivatives with respect to the index), each (n_models, n_rows, n_neurons).

    Of the chosen `rows` of `own` only, where these are given, as in large networks; then `index` is given for these,
    and gains are taken by the chain rule, which is faster and differs by rounding.
    """
    forecasts, gains = np.empty(index.shape), np.empty(index.shape)  # a list of parts would leave holes in memory
    step = max(1, CHUNK // own.shape[1])
    for start in range(0, index.shape[1], step):
        chosen = slice(start, start + step)
        part = own[chosen if rows is None else torch.as_tensor(rows[chosen])].expand(model.n_models, -1, -1, -1)
        if rows is not None:
            forecast, gain = model.forecast_and_gain(part, index[:, chosen])
        else:
            at = index[:, chosen].clone().requires_grad_()
            forecast = model(part, at)
            (gain,) = torch.autograd.grad(forecast.sum(), at)
        forecasts[:, chosen], gains[:, chosen] = forecast.detach().numpy(), gain.numpy()
    return forecasts, gains


@torch.no_grad()
def own_basis(model: Response, own, neuron: int, n_components: int, dtype=torch.float64) -> Array:
    """What the networks compute of a neuron's own history alone, (n_models, n_rows, n_own + 1 + n_components).

    These are its own values, the forecast without input, and the principal components of the last hidden layer.

    Parameters
    ----------
    own : tensor (n_rows, n_own)
        History of this neuron.
    neuron, n_components : int
    dtype
        Of what is given, and of the arithmetic of the components: single precision is faster.
    """
    mine = own[:, None].expand(model.n_models, -1, -1, -1)
    parts = [
        model.hidden(part, torch.zeros_like(part[..., 0]), slice(neuron, neuron + 1))
        for part in mine.split(CHUNK, dim=1)
    ]
    hidden = torch.cat(parts, dim=1)
    forecast = model.last(hidden) + model.direct(mine.flatten(1, 2))
    centered = (hidden - hidden.mean(dim=1, keepdim=True)).to(dtype)
    variances, vectors = torch.linalg.eigh((centered.transpose(1, 2) @ centered / len(own)).double())
    first = WIDTH - n_components
    spread = variances[:, None, first:].clamp_min(1e-12).sqrt().to(dtype)
    components = centered @ vectors[..., first:].to(dtype) / spread
    return torch.cat([mine.flatten(1, 2).to(dtype), forecast.to(dtype), components], dim=-1).numpy()

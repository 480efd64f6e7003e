"""What the short trainings of responses share: rows held out, batches, and the best weights kept.

They take seconds. `causalkit.training` is for those that take minutes, stop early and resume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.adamw import adamw

from causalkit.nn import EnsembleModule, generators

Rows = NDArray[np.int64]

WARM_UP, FIRST, LAST = 0.3, 25, 1e4  # share of the steps; the largest rate over the first, the first over the last
LEAST_MOMENTUM, MOMENTUM, DECAY_OF_SQUARES, EPSILON = 0.85, 0.95, 0.999, 1e-8
HELD_OUT, CHECKS = 10, 20  # one training row of so many is held out; looks at them in a training


def held_out(rows: list[Rows]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Split each model's rows in those that teach it, and its last tenth (n_models, n_held), as many of each model."""
    n_held = [max(1, len(r) // HELD_OUT) for r in rows]
    taught = [torch.as_tensor(r[:-n]) for r, n in zip(rows, n_held, strict=True)]
    return taught, torch.stack([torch.as_tensor(r[-min(n_held) :]) for r in rows])


def batch_size(taught: list[torch.Tensor], n_neurons: int, n_samples: int) -> int:
    """Rows of a batch of about `n_samples` samples: it holds whole time steps, so that no neuron's order matters."""
    n_used = min(map(len, taught))
    return int(np.clip(n_samples // n_neurons, min(8, n_used), n_used))


def batches(taught: list[torch.Tensor], size: int, n_steps: int, seeds: list[int]) -> Iterator[torch.Tensor]:
    """Give `n_steps` batches of rows, (n_models, size); every model goes through its own in an order of its own."""
    n_used, draws = min(map(len, taught)), generators(seeds)
    per_epoch = n_used // size
    for step in range(n_steps):
        if step % per_epoch == 0:
            order = torch.stack(
                [r[torch.randperm(len(r), generator=g)[:n_used]] for r, g in zip(taught, draws, strict=True)]
            )
        first = step % per_epoch * size
        yield order[:, first : first + size]


class OneCycleAdamW:
    """AdamW at a rate that rises and falls once, while its momentum does the opposite (Smith & Topin 2019).

    Bit for bit torch's `AdamW` under its `OneCycleLR`. But the classes of `torch.optim` import torch's compiler when
    the first of them is made, which takes longer than the fit of a short recording.

    Parameters
    ----------
    parameters : iterable of tensors
        Those without a gradient are left alone.
    rate : float
        The largest.
    n_steps : int
        Of the schedule: one more than are taken, as torch counts them.
    weight_decay : float
    """

    def __init__(self, parameters: Iterable[torch.Tensor], rate: float, n_steps: int, weight_decay: float):
        self.parameters, self.rate, self.weight_decay = list(parameters), rate, weight_decay
        self.top, self.last, self.step_number = WARM_UP * n_steps - 1, n_steps - 1, 0
        self._means, self._squares = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self._taken = [torch.tensor(0.0) for _ in self.parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, and go on to the next rate."""
        rate, momentum = self._rate_and_momentum()
        with_gradient = [k for k, p in enumerate(self.parameters) if p.grad is not None]
        kinds = self.parameters, [p.grad for p in self.parameters], self._means, self._squares
        parameters, gradients, means, squares = ([kind[k] for k in with_gradient] for kind in kinds)
        adamw(
            parameters, gradients, means, squares, [], [self._taken[k] for k in with_gradient], foreach=False,
            amsgrad=False, beta1=momentum, beta2=DECAY_OF_SQUARES, lr=rate, weight_decay=self.weight_decay,
            eps=EPSILON, maximize=False,
        )  # fmt: skip
        self.step_number += 1

    def _rate_and_momentum(self) -> tuple[float, float]:
        first = self.rate / FIRST
        if self.step_number <= self.top:
            share = self.step_number / self.top
            return _cosine(first, self.rate, share), _cosine(MOMENTUM, LEAST_MOMENTUM, share)
        share = (self.step_number - self.top) / (self.last - self.top)
        return _cosine(self.rate, first / LAST, share), _cosine(LEAST_MOMENTUM, MOMENTUM, share)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class BestWeights:
    """Each model's parameters and buffers at its lowest loss on the rows that were held out."""

    def __init__(self, model: EnsembleModule):
        self._state = [*model.parameters(), *model.buffers()]
        self._loss = torch.full((model.n_models,), torch.inf)
        self._kept = [values.detach().clone() for values in self._state]

    @torch.no_grad()
    def offer(self, loss: torch.Tensor) -> None:
        """Keep the models whose `loss` (n_models,) is their lowest so far."""
        better = loss < self._loss
        self._loss = torch.where(better, loss, self._loss)
        for keep, values in zip(self._kept, self._state, strict=True):
            keep[better] = values[better]

    @torch.no_grad()
    def restore(self) -> None:
        """Give the models what was kept of them."""
        for keep, values in zip(self._kept, self._state, strict=True):
            values.copy_(keep)


def is_check(step: int, n_steps: int) -> bool:
    """Whether to look at the rows held out after this step."""
    return (step + 1) % max(1, n_steps // CHECKS) == 0 or step == n_steps - 1

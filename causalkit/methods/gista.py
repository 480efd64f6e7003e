"""Proximal steps with line search for many models at once (GISTA: Gong, Zhang, Lu, Huang & Ye 2013, ICML, 37-45).

Every model has its own step size, its own line search and its own end; one program evaluates those that are still at
work. A step starts from the secant (Barzilai & Borwein 1988) and shrinks until the objective is below the largest of
the last few, by an amount that grows with the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

SHRINK = 0.8  # of a step that was refused
SUFFICIENT = 0.5  # share of ‖step‖² / (2 · size) by which the objective has to fall
MEMORY = 10  # objectives among which the largest is the one to beat
SMALLEST, LARGEST = 1e-8, 1e4  # step sizes
_TRIALS = 25

Parameters = dict[str, torch.Tensor]


@dataclass
class Problem:
    """A smooth loss and a penalty, for each of several models that share nothing.

    Attributes
    ----------
    loss : callable (parameters, models) -> (model,)
        Differentiable; `models` are the positions of the models that `parameters` hold.
    penalty : callable (parameters, models) -> (model,)
    prox : callable (parameters, sizes, models) -> parameters
        The proximal step of the penalty times `sizes`, (model,).
    """

    loss: Callable
    penalty: Callable
    prox: Callable


@dataclass
class State:
    """Where the models are: parameters, gradients, losses, and the step sizes to try next; all (model, ...)."""

    parameters: Parameters
    gradient: Parameters
    loss: torch.Tensor
    size: torch.Tensor

    @classmethod
    def at(cls, problem: Problem, parameters: Parameters) -> State:
        """Start at `parameters`."""
        n_models = len(next(iter(parameters.values())))
        loss, gradient = evaluate(problem, parameters, torch.arange(n_models))
        return cls(parameters, gradient, loss, torch.ones_like(loss))


def evaluate(problem: Problem, parameters: Parameters, models: torch.Tensor) -> tuple[torch.Tensor, Parameters]:
    """Loss and gradient of some models."""
    free = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    loss = problem.loss(free, models)
    gradient = torch.autograd.grad(loss.sum(), list(free.values()))
    return loss.detach(), dict(zip(free, gradient, strict=True))


@torch.no_grad()
def minimize(problem: Problem, state: State, *, max_steps: int, tolerance: float) -> tuple[State, torch.Tensor]:
    """Take proximal steps until each model's are small.

    Parameters
    ----------
    problem : Problem
    state : State
        Not changed.
    max_steps : int
    tolerance : float
        A model is done when a step moves its parameters by less than this share of their norm, divided by the step
        size where that is above 1.

    Returns
    -------
    State
    steps : (model,)
        How many each took.
    """
    parameters = {name: value.clone() for name, value in state.parameters.items()}
    gradient = {name: value.clone() for name, value in state.gradient.items()}
    loss, size = state.loss.clone(), state.size.clone()
    steps = torch.zeros(len(loss), dtype=torch.long)
    recent = (loss + problem.penalty(parameters, torch.arange(len(loss))))[:, None].repeat(1, MEMORY)
    active = torch.arange(len(loss))
    for step in range(max_steps):
        moved, new_loss, new_gradient, used = _search(problem, *(
            _take(part, active) for part in (parameters, gradient)), size[active], recent[active].amax(1), active)
        here = _take(parameters, active)
        change = {name: moved[name] - here[name] for name in moved}
        distance, norm = _square(change), _square(moved)
        bend = _dot(change, {name: new_gradient[name] - gradient[name][active] for name in change})
        secant = torch.where(bend > 0, distance / bend.clamp_min(1e-300), 2 * used)
        size[active] = secant.clamp(SMALLEST, LARGEST)
        for name, value in moved.items():
            parameters[name][active], gradient[name][active] = value, new_gradient[name]
        loss[active] = new_loss
        recent[active, step % MEMORY] = new_loss + problem.penalty(moved, active)
        steps[active] += 1
        active = active[distance.sqrt() > tolerance * used.clamp_max(1.0) * (1 + norm.sqrt())]
        if not len(active):
            break
    return State(parameters, gradient, loss, size), steps


def _search(problem, parameters, gradient, size, bound, models):
    """One accepted step of each model: parameters, loss, gradient, step size. One that finds none stays."""
    result = {name: value.clone() for name, value in parameters.items()}
    new_gradient = {name: value.clone() for name, value in gradient.items()}
    new_loss = torch.full_like(size, torch.nan)
    size, open_ = size.clone(), torch.arange(len(size))
    for _ in range(_TRIALS):
        tried = _take(size, open_)
        start = _take(parameters, open_)
        downhill = {
            name: value - tried.reshape(-1, *[1] * (value.dim() - 1)) * gradient[name][open_]
            for name, value in start.items()
        }
        candidate = problem.prox(downhill, tried, models[open_])
        with torch.enable_grad():
            loss, slope = evaluate(problem, candidate, models[open_])
        distance = _square({name: candidate[name] - start[name] for name in start})
        limit = bound[open_] - SUFFICIENT * distance / (2 * tried)
        objective = loss + problem.penalty(candidate, models[open_])
        good = (objective <= limit + 1e-14 * bound[open_].abs()) & loss.isfinite()
        for name in result:
            result[name][open_[good]] = candidate[name][good]
            new_gradient[name][open_[good]] = slope[name][good]
        new_loss[open_[good]] = loss[good]
        open_ = open_[~good]
        if not len(open_):
            return result, new_loss, new_gradient, size
        size[open_] *= SHRINK
    with torch.enable_grad():  # no step was good enough: at rounding error, or at a kink
        new_loss[open_], _ = evaluate(problem, _take(parameters, open_), models[open_])
    return result, new_loss, new_gradient, size


def _take(part, models):
    return part[models] if isinstance(part, torch.Tensor) else {name: value[models] for name, value in part.items()}


def _dot(a: Parameters, b: Parameters) -> torch.Tensor:
    return sum((a[name] * b[name]).flatten(1).sum(1) for name in a)


def _square(a: Parameters) -> torch.Tensor:
    return _dot(a, a)

"""The networks of neural Granger causality: one a target, all of them stacked in one program.

Each forecasts its target as ``own past · a + bias + w · h``: its own past enters by an unpenalized linear term, and
the hidden units h see every source, the target itself included, through weights that are penalized source by source.
The output weights w stay in the unit ball. Without that the penalty would be void, for smaller input weights and
larger output weights make the same function; with it a network of linear units is the group lasso exactly.

Shapes: M models, T rows, N sources, L lags, H hidden units. Input weights are (M, N, parts, units): parts and units
are lags and H in the perceptron, the four gates and H in the recurrent network, which sees one step at a time.
"""

from __future__ import annotations

import math

import torch

from causalkit.nn import generators

GATES = 4
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda x: x}


class Perceptron:
    """One hidden layer over all sources and lags (cMLP).

    Parameters
    ----------
    windows : (T, N, L), lag 1 first
    n_hidden : int
    activation : {"tanh", "relu", "linear"}
    """

    kind = "mlp"

    def __init__(self, windows: torch.Tensor, n_hidden: int, activation: str):
        self.windows, self.flat = windows, windows.flatten(1)
        self.n_hidden, self.activate = n_hidden, ACTIVATIONS[activation]
        self.n_parts, self.n_units = windows.shape[2], n_hidden

    def draw(self, generator) -> dict[str, torch.Tensor]:
        """Weights of the hidden units of one model, but for those on the input."""
        return {"threshold": torch.randn(self.n_hidden, generator=generator, dtype=torch.float64)}

    def hidden(self, parameters, rows=None) -> torch.Tensor:
        """(M, T, H)."""
        flat = self.flat if rows is None else self.flat[rows]
        weights = parameters["input"]  # (M, N, L, H): one product for all models
        side_by_side = weights.flatten(1, 2).transpose(0, 1).flatten(1)
        before = (flat @ side_by_side).unflatten(1, (len(weights), -1)).transpose(0, 1)
        return self.activate(before + parameters["threshold"][:, None])


class Recurrent:
    """A long short-term memory that reads a context of all sources step by step (cLSTM).

    Parameters
    ----------
    windows : (T, N, C), the last step first, as for the perceptron
    n_hidden : int
    """

    kind = "lstm"

    def __init__(self, windows: torch.Tensor, n_hidden: int):
        self.windows, self.n_hidden = windows, n_hidden
        self.n_parts, self.n_units = GATES, n_hidden

    def draw(self, generator) -> dict[str, torch.Tensor]:
        """Weights of the hidden units of one model, but for those on the input."""
        h = self.n_hidden
        recurrent = torch.empty(h, GATES * h, dtype=torch.float64)
        gates = torch.empty(GATES * h, dtype=torch.float64)
        bound = 1 / math.sqrt(h)  # torch.nn.LSTM's own default
        return {
            "recurrent": recurrent.uniform_(-bound, bound, generator=generator),
            "threshold": gates.uniform_(-bound, bound, generator=generator),
        }

    def hidden(self, parameters, rows=None) -> torch.Tensor:
        """State after the last step of each window, (M, T, H)."""
        windows = self.windows if rows is None else self.windows[rows]
        weights = parameters["input"].flatten(2)  # (M, N, 4 H)
        state = memory = weights.new_zeros(len(weights), len(windows), self.n_hidden)
        for step in reversed(range(windows.shape[2])):
            gates = torch.matmul(windows[:, :, step], weights) + parameters["threshold"][:, None]
            gates = gates + state @ parameters["recurrent"]
            admit, keep, show, new = gates.chunk(GATES, dim=-1)
            memory = keep.sigmoid() * memory + admit.sigmoid() * new.tanh()
            state = show.sigmoid() * memory.tanh()
        return state


def start(network, targets, own, weights, seeds) -> dict[str, torch.Tensor]:
    """Parameters of all models before training: no input weights, and the best own linear term.

    Parameters
    ----------
    network : Perceptron or Recurrent
    targets : (M, T)
    own : (M, T, K)
        The unpenalized columns of each model: own past, and a constant.
    weights : (M, T)
        Of each row in the loss; they sum to 1.
    seeds : list of (int, int)
        Of each model: a seed, and the number of its target.
    """
    n_sources = network.windows.shape[1]
    drawn = []
    for generator in generators(seeds):
        drawn.append(network.draw(generator) | {"output": _unit(network.n_hidden, generator)})
    parameters = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    shape = len(targets), n_sources, network.n_parts, network.n_units
    parameters["input"] = torch.zeros(shape, dtype=torch.float64)
    # what the hidden units put out without input is a constant, which the constant column takes back
    silent = torch.einsum("mth,mh->mt", network.hidden(parameters), parameters["output"])
    weighted = own * weights[..., None]  # normal equations: LAPACK's least squares rounds by where its memory lies
    gram = torch.einsum("mtk,mtl->mkl", weighted, own)
    gram = gram + 1e-12 * torch.eye(gram.shape[-1], dtype=gram.dtype)  # a past may repeat itself exactly
    solution = torch.linalg.solve(gram, torch.einsum("mtk,mt->mk", weighted, targets - silent))
    return parameters | {"own": solution}


def forecast(network, parameters, own, rows=None) -> torch.Tensor:
    """(M, T)."""
    linear = torch.einsum("mtk,mk->mt", own if rows is None else own[:, rows], parameters["own"])
    return linear + torch.einsum("mth,mh->mt", network.hidden(parameters, rows), parameters["output"])


def in_unit_ball(output: torch.Tensor) -> torch.Tensor:
    """The nearest output weights of norm 1 or less."""
    return output / output.norm(dim=1, keepdim=True).clamp_min(1)


def _unit(n_hidden, generator):
    drawn = torch.randn(n_hidden, generator=generator, dtype=torch.float64)
    return drawn / drawn.norm()

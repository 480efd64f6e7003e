"""What a network's output means: z-scored activity, with a squared error, or the rate of spikes, with a likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

LEAST = 1e-6  # a neuron that was silent in the rows that scaled it may still fire
LARGEST = 20.0  # of a logarithm: e^20 spikes a bin are beyond any recording


class SquaredError:
    """The output is the forecast of z-scored activity."""

    @staticmethod
    def loss(output, target):
        """Squared error of every target."""
        return (output - target).square()

    @staticmethod
    def forecast(output):
        """The output itself."""
        return output


@dataclass(frozen=True)
class Counts:
    """Likelihood of counts, given a network's output and z-scored targets.

    Attributes
    ----------
    family : {"bernoulli", "poisson"}
    mean, sd : tensor (n_neurons,)
        Of the counts, by which activity was z-scored.
    """

    family: str
    mean: torch.Tensor
    sd: torch.Tensor

    def predictor(self, output):
        """Logit or logarithm of the expected count: the network's output beside that of the neuron's mean."""
        rate = self.mean.clamp_min(LEAST)
        if self.family == "bernoulli":
            return output + torch.logit(rate.clamp_max(1 - LEAST))
        return (output + rate.log()).clamp_max(LARGEST)

    def loss(self, output, target):
        """Negative log-likelihood of every z-scored target, up to a constant of the target."""
        counts = (target * self.sd + self.mean).round()
        if self.family == "bernoulli":
            return functional.binary_cross_entropy_with_logits(self.predictor(output), counts, reduction="none")
        return functional.poisson_nll_loss(self.predictor(output), counts, log_input=True, reduction="none")

    def forecast(self, output):
        """Expected counts, z-scored as the activity."""
        predictor = self.predictor(output.float())
        mean = torch.sigmoid(predictor) if self.family == "bernoulli" else predictor.exp()
        return (mean - self.mean) / self.sd


def meaning_of_output(loss: str, scaling, device) -> SquaredError | Counts:
    """What the output of a network means that is trained with `loss`, on activity scaled by `scaling`."""
    if loss == "mse":
        return SquaredError()
    mean, sd = (torch.as_tensor(np.asarray(v), dtype=torch.float32, device=device) for v in (scaling.mean, scaling.sd))
    return Counts(loss, mean, sd)

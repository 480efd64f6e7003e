"""Simulated worlds whose wiring is known: recordings to test methods on."""

from .izhikevich import izhikevich, izhikevich_parameters, izhikevich_step
from .stimulus import ornstein_uhlenbeck, pulse_train
from .synapses import STDP, sinusoidal_modulation
from .wiring import cell_types, random_wiring

__all__ = [
    "STDP", "cell_types", "izhikevich", "izhikevich_parameters", "izhikevich_step", "ornstein_uhlenbeck", "pulse_train",
    "random_wiring", "sinusoidal_modulation",
]  # fmt: skip

"""Simulated worlds whose wiring is known: recordings to test methods on."""

from .izhikevich import izhikevich, izhikevich_parameters, izhikevich_step
from .lif import lif
from .lorenz96 import lorenz96
from .stimulus import ornstein_uhlenbeck, pulse_train
from .synapses import STDP, sinusoidal_modulation
from .var import var
from .wiring import cell_types, random_wiring

MODELS = {"izhikevich": izhikevich, "var": var, "lorenz96": lorenz96, "lif": lif}

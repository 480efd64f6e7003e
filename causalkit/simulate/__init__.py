"""Simulated worlds whose wiring is known: recordings to test methods on."""

from .izhikevich import izhikevich, izhikevich_parameters, izhikevich_step
from .lif import lif
from .lif_spikes import lif_spikes
from .linear_gaussian import linear_gaussian
from .lorenz96 import lorenz96
from .observe import OBSERVATIONS, observe_calcium, observe_spikes, observe_voltage
from .stimulus import ornstein_uhlenbeck, pulse_train
from .synapses import STDP, sinusoidal_modulation
from .timeseries import MECHANISMS, timeseries
from .topologies import TOPOLOGIES, topology_wiring
from .var import var
from .wiring import cell_types, random_wiring

MODELS = {
    "izhikevich": izhikevich, "var": var, "lorenz96": lorenz96, "lif": lif, "lif_spikes": lif_spikes,
    "timeseries": timeseries,
}  # fmt: skip

__all__ = [
    "MECHANISMS", "MODELS", "OBSERVATIONS", "STDP", "TOPOLOGIES", "cell_types", "izhikevich", "izhikevich_parameters",
    "izhikevich_step", "lif", "lif_spikes", "linear_gaussian", "lorenz96", "observe_calcium", "observe_spikes",
    "observe_voltage", "ornstein_uhlenbeck", "pulse_train", "random_wiring", "sinusoidal_modulation", "timeseries",
    "topology_wiring", "var",
]  # fmt: skip

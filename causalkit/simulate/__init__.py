"""Simulated worlds whose wiring is known: recordings to test methods on."""

from .izhikevich import izhikevich, izhikevich_parameters, izhikevich_step
from .wiring import cell_types, random_wiring

__all__ = ["cell_types", "izhikevich", "izhikevich_parameters", "izhikevich_step", "random_wiring"]

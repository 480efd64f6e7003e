"""The networks of a grid: where each recording comes from, how it is cut or shuffled, and what it contains."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from .. import io, significance, simulate
from ..recording import as_recording
from ..validation import short

SURROGATES = {
    "none": None,
    "time_shuffle": significance.time_shuffle,
    "circular_shift": significance.circular_shift,
}
# what a method sees; the truth and the raw voltage it does not
_GIVEN = ("activity", "spikes", "trial", "domain", "spike_time_ms", "spike_neuron")
TRUTH = ("connectivity", "lagged_connectivity", "instantaneous")
_BATCH_VALUES = 4_000_000  # time steps x neurons simulated at once: faster than one by one, and little memory


@dataclass(frozen=True)
class Network:
    """One recording of a grid, made when it is needed.

    Attributes
    ----------
    name : str
    simulated : dict or None
        Keywords of a simulator; ``model`` names it, unless it is `simulate.izhikevich`.
    file : str or None
        Path of the recording, where it is not simulated.
    reading : dict
        Keywords of `io.read`.
    n_steps : int or None
        Use the first so many time steps.
    observed : dict
        How the recording is seen: ``as`` names one of `simulate.OBSERVATIONS`, the rest are its keywords.
    hidden : tuple of str
        Neurons that nobody recorded.
    surrogate : {"none", "time_shuffle", "circular_shift"}
    surrogate_random_state : int
    """

    name: str
    simulated: dict | None = None
    file: str | None = None
    reading: dict = field(default_factory=dict)
    n_steps: int | None = None
    observed: dict = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    surrogate: str = "none"
    surrogate_random_state: int = 0

    @property
    def source(self) -> str:
        """Names the recording before it is cut or shuffled."""
        return repr((self.file, sorted((self.simulated or self.reading).items())))

    @property
    def connection_probability(self) -> float:
        """That of the simulated wiring; of a file, what a name such as ``N05_p0.2_net0`` says, else NaN."""
        if self.simulated is not None:
            default = 0.4 if is_random(self.simulated) else math.nan
            return float(self.simulated.get("connection_probability", default))
        found = re.search(r"(?:^|_)p(\d*\.?\d+)(?:_|$)", self.name)
        return float(found[1]) if found else math.nan

    @property
    def description(self) -> dict:
        """All that defines it, for the result's provenance; of a file, its name without the folder."""
        origin = {"file": Path(self.file).name, **self.reading} if self.file else dict(self.simulated)
        if self.n_steps:
            origin["first_steps"] = self.n_steps
        if self.observed:
            origin["observed"] = self.observed
        if self.hidden:
            origin["hidden"] = list(self.hidden)
        if self.surrogate != "none":
            origin["surrogate_random_state"] = self.surrogate_random_state
        return origin

    def __str__(self) -> str:
        cut = f", first {self.n_steps:,} steps" if self.n_steps else ""
        seen = ", ".join(f"{key} {value}" for key, value in self.observed.items())
        cut += f", {seen}" if seen else ""
        hidden = f", without {' '.join(self.hidden)}" if self.hidden else ""
        return self.name + cut + hidden + (f", {self.surrogate}" if self.surrogate != "none" else "")

    def recording(self) -> xr.Dataset:
        """Read or simulate it: `activity`, `spikes` and `trial` where there are any, and the truth."""
        if self.simulated is not None:
            return self.prepare(simulated(self.simulated))
        return self.prepare(io.read(self.file, **self.reading))

    def prepare(self, source: xr.Dataset) -> xr.Dataset:
        """Cut and shuffle the recording as it was read or simulated."""
        if "connectivity" not in source:
            raise ValueError(
                f"{self.file} has no known connectivity: a sweep compares scores with the truth; add it to the file "
                "as 'connectivity' (target, source)"
            )
        recording = as_recording(source)
        recording = recording[[name for name in (*_GIVEN, *TRUTH) if name in recording]]
        if self.n_steps is not None:
            if self.n_steps > recording.sizes["time"]:
                raise ValueError(
                    f"n_steps is {self.n_steps:,} but {self.name} has {recording.sizes['time']:,} time steps: a "
                    "shorter recording must not pass for a longer one; lower n_steps, or drop this network"
                )
            recording = recording.isel(time=slice(self.n_steps))
        if self.observed:
            how = dict(self.observed)
            recording = simulate.OBSERVATIONS[how.pop("as")](recording, **how)
        if self.hidden:
            recording = _without(recording, self.hidden, self.name)
        shuffle = SURROGATES[self.surrogate]
        return recording if shuffle is None else shuffle(recording, self.surrogate_random_state)


def simulated(arguments: dict) -> xr.Dataset | list[xr.Dataset]:
    """Simulate; a grid writes plasticity and modulation as the parameters of `STDP` and `sinusoidal_modulation`."""
    arguments = dict(arguments)
    if isinstance(rule := arguments.get("plasticity"), dict):
        arguments["plasticity"] = simulate.STDP(**rule)
    if isinstance(rhythm := arguments.get("modulation"), dict):
        arguments["modulation"] = simulate.sinusoidal_modulation(arguments.get("n_steps", 5000), **rhythm)
    return simulate.MODELS[arguments.pop("model", "izhikevich")](**arguments)


def is_random(arguments: dict) -> bool:
    """Whether a simulator draws the wiring with a connection probability."""
    model = simulate.MODELS[arguments.get("model", "izhikevich")]
    given = {"connectivity", "coefficients"} & set(arguments)
    return not given and "connection_probability" in inspect.signature(model).parameters


def _without(recording: xr.Dataset, hidden: tuple[str, ...], name: str) -> xr.Dataset:
    """The recording, and the truth, without some neurons."""
    there = recording["neuron"].values.tolist()
    kept = [neuron for neuron in there if neuron not in hidden]
    if unknown := sorted(set(hidden) - set(there)):
        raise ValueError(f"hidden names {unknown}, which {name} does not have: its neurons are {short(there)}")
    return recording.sel(neuron=kept, target=kept, source=kept)


def recordings(networks: Iterable[Network]) -> Iterator[tuple[Network, xr.Dataset]]:
    """Make every recording once, those of one simulated cell together; in any order."""
    by_source: dict[str, list[Network]] = {}
    for network in networks:
        by_source.setdefault(network.source, []).append(network)
    batches: dict[str, list[list[Network]]] = {}
    for same in by_source.values():
        if same[0].simulated is None:
            source = io.read(same[0].file, **same[0].reading)
            yield from ((network, network.prepare(source)) for network in same)
        else:
            cell = {name: value for name, value in same[0].simulated.items() if name != "random_state"}
            batches.setdefault(repr(sorted(cell.items())), []).append(same)
    for cell in batches.values():
        cell.sort(key=_seed)
        arguments = cell[0][0].simulated
        given = arguments.get("connectivity", arguments.get("coefficients", ()))
        n_neurons = len(given) or arguments.get("n_neurons", 5)
        size = n_neurons * arguments.get("n_steps", 5000)
        for batch in _runs(cell, longest=max(1, _BATCH_VALUES // size)):
            arguments = batch[0][0].simulated
            sources = simulated(arguments | {"n_networks": len(batch)})
            for same, source in zip(batch, sources, strict=True):
                yield from ((network, network.prepare(source)) for network in same)


def digest(recording: xr.Dataset) -> str:
    """Digest of what a result depends on: activity, time, names, trials, spikes, kind, and the truth."""
    content = hashlib.sha256(f"{recording.attrs['kind']} {recording.attrs['dt_ms']!r}".encode())
    for name in ("activity", "time", "neuron", "trial", "spikes", "domain", "connectivity"):
        if name in recording:
            values = recording[name].values
            if values.dtype.kind in "OU":
                values = np.frombuffer("\n".join(map(str, values)).encode(), np.uint8)
            content.update(f"{name} {values.shape} {values.dtype}".encode())
            content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()


def _seed(same: list[Network]) -> int:
    return same[0].simulated.get("random_state", 0)


def _runs(cell: list[list[Network]], longest: int) -> Iterator[list[list[Network]]]:
    """Batches of consecutive seeds."""
    batch: list[list[Network]] = []
    for same in cell:
        if batch and (_seed(same) != _seed(batch[-1]) + 1 or len(batch) == longest):
            yield batch
            batch = []
        batch.append(same)
    yield batch

"""One unit of work: a network and a method with all its seeds; its key, and its result as a file's bytes."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from .. import __version__, methods
from ..progress import progress_bar
from .grids import Grid
from .networks import TRUTH, Network, digest, recordings
from .stores import Legs

_WITHOUT_EFFECT = ("device", "checkpoint")  # hyperparameters that say where to compute, not what
_DIAGNOSTICS = (
    "r2", "test_r2", "ensemble_test_r2", "order", "n_lags", "bandwidth", "test_cross_entropy", "rate_cross_entropy",
    "chance_cross_entropy", "test_interval_cross_entropy", "interval_frequency_cross_entropy",
)  # fmt: skip
_TRAINING = ("train_loss", "validation_loss", "best_epoch")
_TOO_LARGE = ("seed_lag_score",)


@dataclass(frozen=True)
class Unit:
    """One network and one method with all its seeds.

    Attributes
    ----------
    key : str
        Digest of what the result follows from: data, method, hyperparameters, algorithm version.
    network : Network
    method, label : str
        The method's name, and what the grid calls it.
    parameters : dict
        Those that the grid gives.
    resolved : dict
        All, with presets filled in, but for those without effect on the result.
    algorithm_version : int
    data : str
        Digest of the recording.
    n_neurons, n_times : int
    """

    key: str
    network: Network
    method: str
    label: str
    parameters: dict
    resolved: dict
    algorithm_version: int
    data: str
    n_neurons: int
    n_times: int

    def __str__(self) -> str:
        return f"{self.label} on {self.network}"

    def recording(self) -> xr.Dataset:
        """The network's recording, if it is still the one that the key was made from."""
        recording = self.network.recording()
        if digest(recording) != self.data:
            raise ValueError(
                f"the recording of {self.network} has changed since the sweep began, so its result would bear a wrong "
                "name: leave the files alone, and start the sweep again"
            )
        return recording


def units(grid: Grid, *, progress: bool = True) -> list[Unit]:
    """List the units of a grid, network by network.

    Recordings are read or simulated for it: a key is made from the data itself, not from how it was simulated, so
    that it stays right when the simulator changes.

    Parameters
    ----------
    grid : Grid
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        If a recording lacks the truth or is shorter than `n_steps`.
    """
    made = {}
    with progress_bar(len(grid.networks), "recordings", wanted=progress) as bar:
        for network, recording in recordings(grid.networks):
            made[str(network)] = digest(recording), recording.sizes["neuron"], recording.sizes["time"]
            bar.update()
    result = []
    for network in grid.networks:
        data, n_neurons, n_times = made[str(network)]
        for setting in grid.settings:
            values = resolve(setting.method, setting.parameters, n_neurons)
            version = methods.get(setting.method).algorithm_version
            key = key_of(data, setting.method, values, version)
            result.append(
                Unit(key, network, setting.method, setting.label, setting.parameters, values, version, data, n_neurons,
                     n_times)
            )  # fmt: skip
    return result


def resolve(method: str, parameters: dict, n_neurons: int) -> dict:
    """All hyperparameters that decide a result on a recording of `n_neurons`, presets filled in."""
    model = methods.get(method)(**parameters)
    values = model.get_params()
    if hasattr(model, "_hyperparameters"):
        values |= model._hyperparameters(n_neurons)
    return {name: value for name, value in sorted(values.items()) if name not in _WITHOUT_EFFECT}


def key_of(data: str, method: str, resolved: dict, algorithm_version: int) -> str:
    """Digest of all that a result follows from.

    A method that gains a hyperparameter may say in ``added_parameters`` which value repeats its earlier results:
    with that value the key stays what it was.
    """
    neutral = getattr(methods.get(method), "added_parameters", {})
    decisive = {k: v for k, v in resolved.items() if not (k in neutral and neutral[k] == v)}
    parts = {"data": data, "method": method, "version": algorithm_version, "parameters": decisive}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:40]


def compute(unit: Unit, recording: xr.Dataset, *, checkpoint: Path | None = None, threads: int | None = None) -> bytes:
    """Fit the method, and return the result as the bytes of a netCDF file.

    Parameters
    ----------
    unit : Unit
    recording : Dataset
        As ``unit.recording()`` gives it.
    checkpoint : path, optional
        Folder from which a training that was cut off goes on.
    threads : int, optional
        Threads to use at most.

    Raises
    ------
    RuntimeError
        If the method here is of another version than the unit's.
    """
    from threadpoolctl import threadpool_limits

    method = methods.get(unit.method)
    resolved = resolve(unit.method, unit.parameters, unit.n_neurons)
    if method.algorithm_version != unit.algorithm_version or resolved != unit.resolved:
        raise RuntimeError(
            f"{unit.method} is of another version here than where the sweep was started, so the result would bear a "
            "wrong name: install the same causalkit everywhere"
        )
    if threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    given = recording.drop_vars([*TRUTH, "target", "source", "lag"], errors="ignore")  # no method sees the truth
    with threadpool_limits(threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model, earlier_seconds = _fit(method, unit, given, checkpoint)
        dataset = _result(unit, model, recording["connectivity"])
        dataset.attrs |= _provenance(model)
    dataset.attrs["seconds"] = float(model.connectivity_.attrs["seconds"] + earlier_seconds)
    dataset.attrs["warnings"] = json.dumps(sorted({str(w.message) for w in caught if w.category is UserWarning}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.nc"
        dataset.to_netcdf(path, engine="h5netcdf")
        return path.read_bytes()


def _fit(method, unit, recording, checkpoint):
    """The fitted model, and the seconds that its training took before it was cut off."""
    if checkpoint is None or "checkpoint" not in method().get_params():
        return method(**unit.parameters).fit(recording), 0.0
    legs = Legs(checkpoint)
    try:
        return method(**unit.parameters, checkpoint=str(checkpoint)).fit(recording), legs.earlier_seconds
    except ValueError:
        if not legs.resumed:
            raise
        legs.discard()  # a damaged or outdated checkpoint: train anew
        return method(**unit.parameters, checkpoint=str(checkpoint)).fit(recording), 0.0


def _result(unit: Unit, model, truth: xr.DataArray) -> xr.Dataset:
    """Scores, truth and diagnostics in one dataset."""
    dataset = model.connectivity_.drop_vars(_TOO_LARGE, errors="ignore")
    dataset["truth"] = truth.transpose("target", "source")
    for part, names in (("diagnostics_", _DIAGNOSTICS), ("training_", _TRAINING)):
        found = getattr(model, part, xr.Dataset())
        dataset = dataset.assign({name: found[name] for name in names if name in found})
    network = unit.network
    dataset.attrs = {
        "key": unit.key, "network": network.name, "network_parameters": json.dumps(network.description),
        "n_neurons": unit.n_neurons, "n_times": unit.n_times, "surrogate": network.surrogate,
        "connection_probability": network.connection_probability, "data": unit.data, "method": unit.method,
        "label": unit.label, "parameters": json.dumps(unit.resolved, default=str),
        "algorithm_version": unit.algorithm_version,
    }  # fmt: skip
    return dataset


def _provenance(model) -> dict:
    torch = sys.modules.get("torch")
    device = getattr(model, "device_", None)
    if torch is not None and device is not None:
        from ..training import device_name

        name, threads = device_name(device), torch.get_num_threads()
    else:
        from threadpoolctl import threadpool_info

        name, threads = "CPU", max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return {
        "device": name, "threads": threads, "causalkit": __version__, "numpy": np.__version__,
        "torch": importlib.metadata.version("torch"), "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip

"""Recordings on disk: NumPy, CSV, netCDF and the paper's text folders; written whole or not at all."""

import json
import os
import secrets
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from . import connectivity, formats
from .recording import as_recording, from_array
from .simulate.izhikevich import SPIKE_THRESHOLD_MV
from .tables import is_clock
from .validation import short

_READERS = {
    ".npz": formats.read_npz,
    ".nc": formats.read_netcdf,
    ".csv": formats.read_csv,
    ".tsv": formats.read_csv,
    ".txt": formats.read_csv,
}
WRITABLE = (".npz", ".nc", ".csv")


def read(path, *, dt_ms=None, kind=None, neurons=None, start=None, stop=None):
    """Read a recording.

    ``.npz``
        `activity`, `v`, `x` or `data`, shape (n_times, n_neurons) or (n_trials, n_times, n_neurons). Optional
        entries: `dt_ms`; `kind`; `time` (ms), `time_ms` or `time_s`, and `trial`, shape (n_times,); `neuron`
        (names); `spikes` (flags like the activity, or integer pairs of time step and neuron, from 0);
        `voltage_mv`; `connectivity` or `adj` (target, source); `cell_type`; `params_abcd` (n_neurons, 4).
    ``.csv``, ``.tsv``, ``.txt``
        One row a time step, one column a neuron; see `causalkit.tables.read_table`. Optional columns:
        `time_ms`, `time_s` or `time` (ms), and `trial` (whole numbers). Other counts of time or rows are refused.
    ``.nc``
        netCDF with `activity` (time, neuron), such as `write_recording` or ``recording.to_netcdf`` makes; units of
        `time` (ms, s, us, min, "seconds since …") are converted.
    a folder
        One simulated network as the authors of arXiv 2311.06928 publish it: `v_alltimes.txt`, one row a
        neuron, one column a time step, in mV; optionally `firings.txt` (time step and neuron, from 1),
        `connectivity.txt` (target, source), `params_abcd.txt`.

    The authors' folders, and `v` in an ``.npz``, hold the voltage as simulated, where spikes overshoot by up
    to 1,000 mV. As from the simulator, that becomes `voltage_mv`, and `activity` is the same clipped at 30 mV
    (unless another `kind` is given). Nothing else is clipped, scaled or filled in: missing values stay NaN.

    Times that are even but for rounding (to 5 % of a step) are put on the even grid they were rounded from.

    Parameters
    ----------
    path : str or path
    dt_ms : float, optional
        The time step in ms; required where the file does not tell it.
    kind : {"voltage", "spikes", "calcium", "other"}, optional
        Default: what the file says, else "voltage".
    neurons : sequence of str, optional
        Keep these neurons, in this order.
    start, stop : float, optional
        Keep the time steps with start <= time < stop, in ms; in each trial, where times start anew.

    Returns
    -------
    xarray.Dataset
        A recording, see `causalkit.recording`.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If the file is unreadable, is something else, lacks the time step, or contradicts the arguments.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: check the name, and the folder you are in")
    reader = formats.read_folder if path.is_dir() else _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: recordings are read from {', '.join(_READERS)} or a folder with v_alltimes.txt, not "
            f"from {path.suffix or 'files without suffix'}: convert it, or rename it if it is one of these"
        )
    found = reader(path)
    recording = _select(_as_found(found, path, dt_ms, kind), neurons, start, stop)
    # For the one who reads it to tell, not to be written with it as an attribute would be.
    recording.encoding["kind_assumed"] = kind is None and "kind" not in found.get("attributes", {})
    return recording


def write_recording(recording, path):
    """Write a recording to ``.npz`` or ``.nc`` (everything) or ``.csv`` (time, trial and activity only).

    The file is written under another name and moved into place: `path` never holds half of it.

    Raises
    ------
    ValueError
        If the suffix is another one, or neuron names cannot be columns of a CSV file.
    """
    path, recording = Path(path), as_recording(recording)
    if path.suffix not in WRITABLE:
        raise ValueError(
            f"{path}: recordings are written as {', '.join(WRITABLE)}: use one of these suffixes"
        )
    if path.suffix == ".nc":
        connectivity.to_netcdf(recording, path)
    elif path.suffix == ".csv":
        table = _to_table(recording)
        with atomic(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    else:
        arrays = {name: np.asarray(values) for name, values in recording.variables.items()}
        arrays = {name: v.astype(str) if v.dtype == object else v for name, v in arrays.items()}
        attributes = json.dumps(recording.attrs, default=lambda v: v.item() if hasattr(v, "item") else str(v))
        told = {name: recording.attrs[name] for name in ("dt_ms", "kind")}
        with atomic(path) as temporary:
            np.savez_compressed(temporary, **arrays, **told, attributes=attributes)


@contextmanager
def atomic(path):
    """Give a temporary path beside `path`, to be moved there on success and removed on failure."""
    temporary = _beside(Path(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path, suffixes, *, overwrite=False):
    """Raise unless a file can be written at `path`: before the long computation, not after it.

    Raises
    ------
    ValueError
        If the suffix is none of `suffixes`, or the file exists and `overwrite` is false.
    OSError
        If the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: the suffix says how to write it: use {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file in it")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: pass --overwrite to replace it, or give another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist: make it, or write somewhere else")
    probe = _beside(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to the folder {path.parent} ({error.strerror}): change its permissions, or write "
            "somewhere else"
        ) from error


def _beside(path):
    return path.with_name(f".{secrets.token_hex(4)}-{path.name}")


def _as_found(found, path, dt_ms, kind):
    """Make a recording of what a reader found."""
    attributes = found.get("attributes", {})
    kind = kind or attributes.get("kind", "voltage")
    trial, voltage_mv = found.get("trial"), found.get("voltage_mv")
    if "dataset" in found:
        data = found["dataset"]["activity"]
    elif "simulated" in found and kind == "voltage":
        voltage_mv = found["simulated"]
        data = np.minimum(voltage_mv, SPIKE_THRESHOLD_MV)
    else:
        data = found["simulated" if "simulated" in found else "data"]
    stored = attributes.get("dt_ms")
    dt_ms, time = formats.time_step(
        path, dt_ms, stored, found.get("time"), found.get("unit"), trial, len(data)
    )
    time = "time", time, {"units": "ms"}
    try:
        if "dataset" in found:
            dataset = found["dataset"].assign_attrs(dt_ms=dt_ms, kind=kind).assign_coords(time=time)
            return as_recording(dataset)
        recording = from_array(
            data,
            dt_ms=dt_ms,
            kind=kind,
            neurons=found.get("neurons"),
            spikes=formats.spike_flags(found.get("spikes"), data.shape),
            voltage_mv=voltage_mv,
            connectivity=found.get("connectivity"),
            cell_type=found.get("cell_type"),
            trial=trial,
            more_neurons_than_times=bool(attributes.get("more_neurons_than_times")),
        )
        if found.get("params") is not None:
            columns = zip("abcd", np.reshape(found["params"], (-1, 4)).T, strict=True)
            recording = recording.assign({name: ("neuron", values) for name, values in columns})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return recording.assign_coords(time=time).assign_attrs(
        {name: value for name, value in attributes.items() if name not in recording.attrs}
    )


def _select(recording, neurons, start, stop):
    if neurons is not None:
        neurons = [neurons] if isinstance(neurons, str) else [str(name) for name in neurons]
        held = recording["neuron"].values.tolist()
        if unknown := [name for name in neurons if name not in held]:
            raise ValueError(
                f"there is no neuron called {short(unknown)}: the recording has {short(held)}; give names as "
                "they are written there"
            )
        if len(set(neurons)) < len(neurons) or not neurons:
            raise ValueError(f"neurons {short(neurons)} is empty or repeats a name: name each neuron once")
        places = [held.index(name) for name in neurons]
        axes = [axis for axis in ("neuron", "target", "source") if axis in recording.dims]
        recording = recording.isel(dict.fromkeys(axes, places))
    if start is None and stop is None:
        return recording
    time = recording["time"].values
    keep = (time >= (-np.inf if start is None else start)) & (time < (np.inf if stop is None else stop))
    if not keep.any():
        raise ValueError(
            f"no time step between start {start} and stop {stop}: both are in ms, and the recording spans "
            f"{time.min():g} to {time.max():g} ms"
        )
    return recording.isel(time=keep)


def _to_table(recording):
    names = recording["neuron"].values.tolist()
    taken = [n for n in names if is_clock(n) or n.lower() == "trial" or n != " ".join(n.split()) or not n]
    if taken:
        raise ValueError(
            f"neurons {short(taken)} cannot be columns of a CSV file, they would be read as something else: "
            "rename them, or write .npz or .nc"
        )
    table = pd.DataFrame(recording["activity"].values, columns=names)
    table.insert(0, "time_ms", np.round(recording["time"].values, 9))
    if "trial" in recording:
        table.insert(0, "trial", recording["trial"].values)
    return table

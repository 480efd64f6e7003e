"""File formats: each reader says what it found, `causalkit.io.read` makes a recording of it.

What is found is a dict with some of: data or simulated (n_times, n_neurons), time and its unit, trial,
neurons, spikes, voltage_mv, connectivity, cell_type, params (n_neurons, 4), attributes (dict).
"""

import json
import zipfile

import numpy as np
import xarray as xr

from .tables import is_time, read_table, split_time, time_unit

_ACTIVITY = ("activity", "v", "x", "data")
_FOLDER = {
    "v_alltimes": "simulated",
    "firings": "spikes",
    "connectivity": "connectivity",
    "params_abcd": "params",
}
_UNITS = {"ms": "ms", "milliseconds": "ms", "s": "s", "seconds": "s"}


def read_npz(path):
    arrays = _load_archive(path)
    key = next((name for name in _ACTIVITY if name in arrays), None)
    if key is None:
        raise ValueError(
            f"{path} has no {', '.join(_ACTIVITY)} but {', '.join(arrays) or 'nothing'}: save the recording, "
            "shape (n_times, n_neurons), as 'activity'"
        )
    data = arrays[key]
    if data.dtype.kind not in "fiub" or data.ndim not in (2, 3):
        raise ValueError(
            f"{path}: {key!r} has shape {data.shape} and type {data.dtype}: a recording is an array of "
            "numbers of shape (n_times, n_neurons) or (n_trials, n_times, n_neurons)"
        )
    found = {k: arrays[k] for k in ("trial", "voltage_mv", "cell_type", "spikes") if k in arrays}
    if data.ndim == 3:
        for name in found.keys() & {"voltage_mv", "spikes"}:
            if found[name].shape == data.shape:
                found[name] = found[name].reshape(-1, data.shape[2])
        found["trial"] = np.repeat(np.arange(len(data)), data.shape[1])
        data = data.reshape(-1, data.shape[2])  # (n_trials * n_times, n_neurons)
    found["simulated" if key == "v" else "data"] = data
    found["attributes"] = json.loads(str(arrays["attributes"])) if "attributes" in arrays else {}
    found["attributes"] |= {name: arrays[name].item() for name in ("dt_ms", "kind") if name in arrays}
    found["neurons"] = next((arrays[k] for k in ("neuron", "neurons", "names") if k in arrays), None)
    truth = next((arrays[k] for k in ("connectivity", "adj") if k in arrays), None)
    found["connectivity"] = None if np.ndim(truth) == 3 else truth  # one wiring a trial is not one truth
    found["params"] = arrays.get("params_abcd")
    if all(name in arrays for name in "abcd"):
        found["params"] = np.stack([arrays[name] for name in "abcd"], axis=1)
    if (name := next((k for k in arrays if is_time(k)), None)) is not None:
        found |= {"time": arrays[name], "unit": time_unit(name)}
    return found


def read_csv(path):
    names, values = read_table(path)
    if names is None:
        return {"data": values}
    names, values, time, unit, trial = split_time(names, values, path)
    return {"data": values, "neurons": names, "time": time, "unit": unit, "trial": trial}


def read_folder(path):
    if not (path / "v_alltimes.txt").is_file():
        raise ValueError(
            f"{path} is a folder without v_alltimes.txt: give one network of the authors' data, which holds "
            "that file, or a recording in .npz, .csv or .nc"
        )
    files = {name: path / f"{name}.txt" for name in _FOLDER}
    files = {name: file for name, file in files.items() if file.is_file()}
    found = {_FOLDER[name]: read_table(file, header=False)[1] for name, file in files.items()}
    found["simulated"] = found["simulated"].T  # (n_times, n_neurons)
    if "spikes" in found:
        found["spikes"] = found["spikes"].astype(int) - 1  # both columns count from 1
    return found


def read_netcdf(path):
    with path.open("rb") as file:
        magic = file.read(4)
    engine = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}.get(magic)
    try:
        if engine is None:
            raise ValueError("it is neither HDF5 nor classic netCDF")
        with xr.open_dataset(path, engine=engine, decode_times=False) as opened:
            dataset = opened.load()
    except Exception as error:  # h5py and scipy raise nearly anything on a damaged file
        raise ValueError(
            f"{path} cannot be read as netCDF ({str(error).splitlines()[0]}): it is cut off or another kind "
            "of file; write it again"
        ) from error
    if "activity" not in dataset or set(dataset["activity"].dims) != {"time", "neuron"}:
        held = ", ".join(f"{name} {values.dims}" for name, values in dataset.data_vars.items()) or "nothing"
        raise ValueError(
            f"{path} has no activity (time, neuron) but {held}: a recording needs that variable; a file of "
            "scores (target, source) is a result, not a recording"
        )
    found = {"dataset": dataset.transpose("time", "neuron", ...), "attributes": dict(dataset.attrs)}
    if "time" in dataset.coords:
        unit = dataset["time"].attrs.get("units", "ms" if "dt_ms" in dataset.attrs else None)
        found |= {"time": dataset["time"].values, "unit": _UNITS.get(unit)}
    if "trial" in dataset.variables:
        found["trial"] = dataset["trial"].values
    return found


def spike_flags(spikes, shape):
    """Return flags (n_times, n_neurons) of flags, or of pairs of time step and neuron counted from 0."""
    if spikes is None or (spikes.shape == shape and np.isin(spikes, (0, 1)).all()):
        return spikes
    if spikes.ndim != 2 or spikes.shape[1] != 2 or spikes.dtype.kind not in "iu":
        raise ValueError(
            f"spikes has shape {spikes.shape} and type {spikes.dtype}: give flags of shape {shape}, or whole "
            "numbers of shape (n_spikes, 2), time step and neuron"
        )
    if ((spikes < 0) | (spikes >= shape)).any():
        raise ValueError(
            f"spikes names time steps {spikes[:, 0].min()} to {spikes[:, 0].max()} and neurons "
            f"{spikes[:, 1].min()} to {spikes[:, 1].max()}, outside activity of shape {shape}: they do not "
            "belong together, or count from different starts"
        )
    flags = np.zeros(shape, bool)
    flags[spikes[:, 0], spikes[:, 1]] = True
    return flags


def time_step(path, asked, stored, time, unit, trial, n_times):
    """Return the time step and the times in ms, and refuse uneven or contradictory ones.

    Parameters
    ----------
    asked, stored : float or None
        In ms: from the caller and from the file's attributes.
    time : array or None, shape (n_times,)
    unit : {"ms", "s", None}
    trial : array or None, shape (n_times,)
        Times may start anew with a trial.
    """
    known = {"dt_ms as asked for": asked, "dt_ms in the file": stored}
    if time is not None and n_times > 1:
        if np.shape(time) != (n_times,) or np.asarray(time).dtype.kind not in "fiu":
            raise ValueError(f"{path}: time has shape {np.shape(time)}: give a number for each of {n_times} rows")
        time = np.asarray(time, dtype=float)
        rows = np.arange(n_times - 1) if trial is None else np.flatnonzero(np.diff(trial) == 0)
        steps = np.diff(time)[rows]
        step = float(np.median(steps)) if len(steps) else np.nan
        uneven = np.flatnonzero(~(np.abs(steps - step) <= 0.05 * step))  # stored times are often rounded
        if len(uneven):
            raise ValueError(
                f"{path}: time steps are uneven: {steps[uneven[0]]:g} after data row {rows[uneven[0]] + 1}, "
                f"mostly {step:g}; methods count lags in steps: interpolate, or number the pieces in a "
                "column called trial"
            )
        if unit is None and stored is None and asked is None and step < 1:
            raise ValueError(
                f"{path}: the time step is {step:g}, and 'time' does not say of what: call it time_ms or time_s"
            )
        in_seconds = unit is None and asked is not None and np.isclose(asked, 1000 * step, rtol=0.05)
        scale = 1000.0 if unit == "s" or in_seconds else 1.0
        time = np.round(time * scale, 6)
        if len(steps):
            known["the step of the times"] = float(f"{steps.mean() * scale:.9g}")
    known = {name: float(value) for name, value in known.items() if value is not None}
    if not known:
        raise ValueError(
            f"{path} does not tell the time step: pass --dt-ms (dt_ms= in Python), the time between two rows "
            "in ms; it is 1 for the simulated networks of the Causalformer paper"
        )
    (first, dt_ms), *others = known.items()
    for other, value in others:
        if not np.isclose(value, dt_ms, rtol=0.05):
            raise ValueError(
                f"{path}: {first} is {dt_ms:g} ms but {other} is {value:g} ms: lags and rates depend on it; "
                "correct one of them"
            )
    return dt_ms, np.arange(n_times) * dt_ms if time is None else time


def _load_archive(path):
    broken = f"{path} is not a complete .npz archive (cut off, or another kind of file): save it again with numpy.savez"
    if not zipfile.is_zipfile(path):
        raise ValueError(broken)
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                arrays[key] = archive[key]
    except Exception as error:  # zip, zlib, header and dtype errors of many types
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path}: {key!r} holds pickled Python objects, which could run any code when loaded: save "
                "it as an array of numbers or text (its dtype must not be object)"
            ) from error
        raise ValueError(broken) from error
    if not all(isinstance(values, np.ndarray) for values in arrays.values()):
        raise ValueError(broken)  # a zip file of something else: NumPy returns raw bytes
    return arrays

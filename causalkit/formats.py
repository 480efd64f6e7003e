"""File formats: each reader says what it found, `causalkit.io.read` makes a recording of it.

What is found is a dict with some of: data or simulated (n_times, n_neurons), time and its unit, trial,
neurons, spikes, voltage_mv, connectivity, cell_type, params (n_neurons, 4), attributes (dict).
"""

import json
import zipfile

import numpy as np

from .recording import trial_slices
from .tables import is_time, read_table, refuse_clocks, split_time, time_unit
from .validation import CLOCK_TOLERANCE, physical_memory

ACTIVITY = ("activity", "v", "x", "data")
_FOLDER = {
    "v_alltimes": "simulated",
    "firings": "spikes",
    "connectivity": "connectivity",
    "params_abcd": "params",
}
MS = {  # of each unit of time
    "ns": 1e-6, "nanosecond": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "microsecond": 1e-3,
    "ms": 1.0, "msec": 1.0, "millisecond": 1.0, "s": 1e3, "sec": 1e3, "second": 1e3,
    "min": 6e4, "minute": 6e4, "h": 3.6e6, "hour": 3.6e6, "day": 8.64e7,
}  # fmt: skip


def read_npz(path):
    arrays = _load_archive(path)
    key = next((name for name in ACTIVITY if name in arrays), None)
    if key is None:
        raise ValueError(
            f"{path} has no {', '.join(ACTIVITY)} but {', '.join(arrays) or 'nothing'}: save the recording, "
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
    found["attributes"] = attributes_of(path, arrays)
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
        refuse_clocks(names, values, path)
        return {"data": values}
    names, values, time, unit, trial = split_time(names, values, path)
    refuse_clocks(names, values, path)
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
    unit : a key of `MS`, or None
    trial : array or None, shape (n_times,)
        Times may start anew with a trial.

    Returns
    -------
    dt_ms : float
        As asked for or stored if the times agree exactly, their mean step if they agree but for rounding.
    time : ndarray, shape (n_times,)
        In ms, evenly spaced in each trial.
    """
    if trial is not None and (np.shape(trial) != (n_times,) or np.asarray(trial).dtype.kind not in "biu"):
        raise ValueError(
            f"{path}: trial has shape {np.shape(trial)} and type {np.asarray(trial).dtype}: give a whole number for "
            f"each of {n_times} rows"
        )
    known = {"dt_ms as asked for": asked, "dt_ms in the file": stored}
    known = {name: _milliseconds(path, name, value) for name, value in known.items() if value is not None}
    if time is not None:
        if np.shape(time) != (n_times,) or np.asarray(time).dtype.kind not in "fiu":
            raise ValueError(f"{path}: time has shape {np.shape(time)}: give a number for each of {n_times} rows")
        time = np.asarray(time, dtype=float)
        rows = np.arange(n_times - 1) if trial is None else np.flatnonzero(np.diff(trial) == 0)
        steps = np.diff(time)[rows]
        step = float(np.median(steps)) if len(steps) else np.nan
        uneven = np.flatnonzero(~(np.abs(steps - step) <= CLOCK_TOLERANCE * step))
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
        in_seconds = unit is None and asked is not None and np.isclose(float(asked), 1000 * step, rtol=CLOCK_TOLERANCE)
        scale = MS["s" if in_seconds else unit or "ms"]
        time = time * scale
        if len(steps):
            known["the step of the times"] = float(f"{steps.mean() * scale:.9g}")
    if not known:
        raise ValueError(
            f"{path} does not tell the time step: pass --dt-ms (dt_ms= in Python), the time between two rows "
            "in ms; it is 1 for the simulated networks of the Causalformer paper"
        )
    (first, dt_ms), *others = known.items()
    for other, value in others:
        if not np.isclose(value, dt_ms, rtol=CLOCK_TOLERANCE):
            raise ValueError(
                f"{path}: {first} is {dt_ms:g} ms but {other} is {value:g} ms: lags and rates depend on it; "
                "correct one of them"
            )
    if time is None:
        with np.errstate(invalid="ignore"):  # an infinite step is refused later, by its name
            return dt_ms, np.arange(n_times) * dt_ms
    *_, step = known.values()
    dt_ms = dt_ms if np.isclose(step, dt_ms, rtol=1e-6) else step
    for rows in trial_slices(np.zeros(n_times) if trial is None else trial):
        time[rows] = np.round(time[rows.start] + np.arange(rows.stop - rows.start) * dt_ms, 6)
    return dt_ms, time


def _milliseconds(path, name, value):
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} is {value!r}: give one number of milliseconds, such as 1.0") from error


def attributes_of(path, arrays):
    """What an archive says of itself: `attributes` in JSON, and `dt_ms` and `kind`."""
    try:
        attributes = dict(json.loads(str(arrays["attributes"])) if "attributes" in arrays else {})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: 'attributes' is not a JSON object: write it with json.dumps of a dict, or leave it out"
        ) from error
    values = {name: arrays[name] for name in ("dt_ms", "kind") if name in arrays}
    return attributes | {name: v.item() if v.size == 1 else v.tolist() for name, v in values.items()}


def unit_name(path, unit):
    """Return the key in `MS` of a unit of netCDF, which may be a plural and say since when; None of None."""
    if unit is None:
        return None
    name = str(unit).split(" since ")[0].strip()
    known = next((key for key in (name, name.lower(), name.lower().removesuffix("s")) if key in MS), None)
    if known is None:
        raise ValueError(f"{path}: time has the units {unit!r}: convert it, and call them ms, s, us or min")
    return known


def _check_size(path):
    """Refuse an archive that unpacks to more than the machine holds: a few MB may hold zeros by the TB."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > (memory := physical_memory()) / 2:
        raise ValueError(
            f"{path} unpacks to {unpacked / 2**30:,.1f} GiB, more than half of this machine's {memory / 2**30:,.1f} "
            "GiB, and .npz is read at once: save the recording as .nc, .zarr or .nwb, which are read in parts"
        )


def _load_archive(path):
    broken = f"{path} is not a complete .npz archive (cut off, or another kind of file): save it again with numpy.savez"
    if not zipfile.is_zipfile(path):
        raise ValueError(broken)
    _check_size(path)
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

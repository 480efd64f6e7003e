"""What goes in: a recording is an `xarray.Dataset` with `activity (time, neuron)`.

Coordinates are `time` in ms and `neuron` (names); attributes are `kind` and `dt_ms`. Optional variables:
`spikes (time, neuron)` bool, `voltage_mv (time, neuron)`, `connectivity (target, source)` (the signed truth
where it is known), `cell_type (neuron)` and `trial (time)`. A trial border is where `trial` changes; no
window crosses one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .validation import (
    CLOCK_TOLERANCE,
    check_kind,
    neuron_names,
    numbers,
    of_length,
    of_shape,
    short,
    single_precision,
    time_step,
    trial_ids,
    validate,
)

__all__ = [
    "CELL_TYPES", "KINDS", "as_recording", "from_array", "normalize", "split", "trial_slices", "validate",
    "window_starts",
]  # fmt: skip

KINDS = ("voltage", "spikes", "calcium", "other")
EDGE = ("target", "source")
CELL_TYPES = ("excitatory", "inhibitory")


def from_array(
    data: Any,
    *,
    dt_ms: float | None = None,
    kind: str = "voltage",
    neurons: Sequence[str] | None = None,
    spikes: Any = None,
    voltage_mv: Any = None,
    connectivity: Any = None,
    cell_type: Sequence[str] | None = None,
    trial: Sequence[int] | None = None,
    variables: Mapping[str, Any] | None = None,
    more_neurons_than_times: bool = False,
) -> xr.Dataset:
    """Make a recording of an array, a DataFrame or a pynapple `TsdFrame`.

    Parameters
    ----------
    data : array, DataFrame, DataArray or TsdFrame, (n_times, n_neurons)
        One row per time step. Column names become neuron names.
    dt_ms : float, optional
        Time step in ms. Default: the step of a TsdFrame's time stamps, 1 ms for everything else.
    kind : {"voltage", "spikes", "calcium", "other"}
        What the numbers are; methods refuse kinds that they are not made for.
    neurons : sequence of str, optional
        Names, (n_neurons,). Default: the columns' names, else "n0", "n1", ...
    spikes : array of bool, optional
        (n_times, n_neurons), true where a neuron fires.
    voltage_mv : array, optional
        (n_times, n_neurons), raw membrane potential in mV.
    connectivity : array, optional
        (n_neurons, n_neurons), [target, source], the known signed wiring.
    cell_type : sequence of {"excitatory", "inhibitory"}, optional
        (n_neurons,).
    trial : sequence of int, optional
        (n_times,), the trial of each time step.
    variables : mapping, optional
        What else belongs to the recording, each as ``(dimensions, values)``.
    more_neurons_than_times : bool
        Accept more columns than rows, which otherwise counts as a transposed array.

    Returns
    -------
    xarray.Dataset
        A recording; `activity` is float32. The input is not changed.

    Raises
    ------
    TypeError
        Text, objects or complex numbers where real numbers are needed.
    ValueError
        A wrong number of dimensions, a wrong length, repeated names (also among `variables`), an unknown kind, an
        impossible step, negative values of kind "spikes", values so far from zero that float32 would lose how they
        change.
    """
    values, columns, seconds = _unpack(data)
    values = numbers(values, "activity")
    if values.ndim != 2:
        raise ValueError(
            f"activity has {values.ndim} dimensions {values.shape}: a recording is (n_times, n_neurons); for"
            " several trials, stack them along time and name each row's trial with trial=..."
        )
    n_times, n_neurons = values.shape
    if 0 in (n_times, n_neurons):
        raise ValueError(
            f"activity is empty, shape {values.shape}: there is nothing to analyze; give at least "
            "two neurons and as many time steps as the method needs"
        )
    if kind not in KINDS:
        raise ValueError(
            f"kind is {kind!r}: methods choose by it how to read the numbers; use one of {list(KINDS)}"
        )
    check_kind(kind, values)
    names = neuron_names(neurons if neurons is not None else columns, n_neurons)
    trial = None if trial is None else of_length(trial, n_times, "trial", "time step")
    dt_ms = time_step(dt_ms, seconds, trial)

    # one Dataset at the end: adding variables one by one costs more than simulating a small network
    contents = {"activity": (("time", "neuron"), single_precision(values, names))}
    coords = {"time": ("time", np.arange(n_times) * dt_ms, {"units": "ms"}), "neuron": names}
    attrs = {"kind": kind, "dt_ms": dt_ms}
    if more_neurons_than_times:
        attrs["more_neurons_than_times"] = 1  # netCDF attributes know no bool
    for name, extra, dtype in (("spikes", spikes, bool), ("voltage_mv", voltage_mv, float)):
        if extra is not None:
            contents[name] = ("time", "neuron"), of_shape(extra, (n_times, n_neurons), name).astype(dtype)
    if connectivity is not None:
        wiring = of_shape(connectivity, (n_neurons, n_neurons), "connectivity")
        contents["connectivity"] = ("target", "source"), wiring.astype(float)
        coords |= {"target": names, "source": names}
    if cell_type is not None:
        types = np.asarray(of_length(cell_type, n_neurons, "cell_type", "neuron"), dtype=str)
        unknown = sorted(set(types.tolist()) - set(CELL_TYPES))
        if unknown:
            raise ValueError(
                f"cell_type holds {unknown}: signs of edges are read from it; use {list(CELL_TYPES)}"
            )
        contents["cell_type"] = "neuron", types
    if trial is not None:
        contents["trial"] = "time", trial_ids(trial)
    if taken := sorted({*contents, *coords} & set(variables or ())):
        raise ValueError(
            f"variables holds {taken}, which the recording has already: one would silently replace the other; rename "
            "them"
        )
    return xr.Dataset(contents | dict(variables or {}), coords=coords, attrs=attrs)


def as_recording(data: Any) -> xr.Dataset:
    """Return `data` as a recording: a Dataset is checked and copied shallowly, the rest goes to `from_array`.

    Objects of Neo and pynapple go to `causalkit.io.convert`, which also takes what they need to be told.

    Raises
    ------
    TypeError, ValueError
        As `from_array`; also for a Dataset without `activity (time, neuron)`, `kind` or `dt_ms`.
    """
    if type(data).__module__.split(".")[0] in ("neo", "pynapple"):
        from .io import convert  # not at the top: it reads files, and imports this module

        return convert(data)
    if not isinstance(data, xr.Dataset):
        return from_array(data)
    if "activity" not in data:
        raise ValueError(
            f"the Dataset has the variables {list(data.data_vars)} but no 'activity': methods read activity"
            " (time, neuron); rename yours with dataset.rename(...) or make a recording with"
            " recording.from_array"
        )
    activity = data["activity"]
    if set(activity.dims) != {"time", "neuron"}:
        raise ValueError(
            f"activity has the dimensions {tuple(map(str, activity.dims))} instead of ('time', 'neuron'):"
            " time must not be mistaken for neurons; rename them with dataset.rename(...)"
        )
    numbers(activity.values, "activity")
    recording = data.copy(deep=False)
    names = neuron_names(data["neuron"].values if "neuron" in data.coords else None, activity.sizes["neuron"])
    activity = activity.transpose("time", "neuron")
    recording["activity"] = activity.copy(data=single_precision(activity.values, names))
    for name in {"spikes", "voltage_mv"} & set(data.data_vars):
        if set(data[name].dims) != {"time", "neuron"}:
            raise ValueError(
                f"{name} has the dimensions {tuple(map(str, data[name].dims))} instead of ('time', 'neuron'): it "
                "belongs to activity step by step; rename them with dataset.rename(...), or drop the variable"
            )
        numbers(data[name].values, name)
        recording[name] = data[name].transpose("time", "neuron")
    if "spikes" in recording:
        recording["spikes"] = recording["spikes"].astype(bool, copy=False)
    recording = recording.assign_coords(neuron=names)
    if recording.attrs.get("kind") not in KINDS:
        raise ValueError(
            f"the recording's kind is {recording.attrs.get('kind')!r}: methods choose by it how to read "
            f"the numbers; set recording.attrs['kind'] to one of {list(KINDS)}"
        )
    check_kind(recording.attrs["kind"], activity.values)
    if "dt_ms" not in recording.attrs:
        raise ValueError(
            "the recording has no time step: lags and rates are given in ms; set "
            "recording.attrs['dt_ms'], for example to 1.0"
        )
    recording.attrs["dt_ms"] = time_step(recording.attrs["dt_ms"], None, None)
    if "time" not in recording.coords:
        recording = recording.assign_coords(time=np.arange(activity.sizes["time"]) * recording.attrs["dt_ms"])
    if "trial" in recording:
        if recording["trial"].dims != ("time",):
            raise ValueError(
                f"trial has the dimensions {recording['trial'].dims}: windows must not cross trials, so "
                "each time step needs its trial; give it the single dimension 'time'"
            )
        trial_ids(recording["trial"].values)
    _check_clock(recording)
    if "connectivity" in recording:
        recording = _with_truth_of(recording, names)
    return recording


def _check_clock(recording: xr.Dataset) -> None:
    """Refuse time stamps that are no numbers, or that jump within a trial: lags would mean different times."""
    time, dt_ms = recording["time"].values, recording.attrs["dt_ms"]
    if time.dtype.kind not in "iuf":
        raise TypeError(f"time holds {time.dtype} values: lags and rates are given in ms; convert it to milliseconds "
                        "as plain numbers")
    for rows in trial_slices(recording):
        steps = np.diff(time[rows].astype(float))
        if len(steps) and not np.abs(steps - dt_ms).max() <= CLOCK_TOLERANCE * dt_ms:
            raise ValueError(
                f"time stamps are {steps.min():g} to {steps.max():g} ms apart but dt_ms is {dt_ms:g}: windows would "
                "jump over gaps; mark the pieces with recording['trial'], or set dt_ms to the true step"
            )


def normalize(activity: Any, *, reference: slice | None = None) -> np.ndarray:
    """Scale each neuron to mean 0 and standard deviation 1.

    Parameters
    ----------
    activity : array or DataArray, (n_times, n_neurons)
    reference : slice, optional
        Rows from which mean and (population) standard deviation are taken. Default: all rows, as in the
        Causalformer paper, test rows included.

    Returns
    -------
    ndarray of float64, (n_times, n_neurons)

    Raises
    ------
    ValueError
        A neuron is constant within the reference rows.
    """
    x = np.asarray(activity, dtype=np.float64)
    rows = x if reference is None else x[reference]
    if len(rows) == 0:
        raise ValueError(
            f"the reference rows {reference} are empty: mean and spread are taken from them; "
            f"choose rows within the {len(x)} time steps"
        )
    sd = rows.std(axis=0)
    if (rows.max(axis=0) == rows.min(axis=0)).any():
        constant = np.flatnonzero(rows.max(axis=0) == rows.min(axis=0)).tolist()
        raise ValueError(
            f"neurons in columns {constant} are constant in the reference rows: they cannot be scaled "
            "to unit variance; drop them or take a longer reference"
        )
    return (x - rows.mean(axis=0)) / sd


def trial_slices(recording: Any) -> list[slice]:
    """Return the rows of each trial of a recording (or of trial ids), in order; one slice without trials."""
    if isinstance(recording, xr.Dataset) and "trial" not in recording:
        return [slice(0, recording.sizes["time"])]
    trial = np.asarray(recording["trial"] if isinstance(recording, xr.Dataset) else recording)
    borders = [0, *(np.flatnonzero(trial[1:] != trial[:-1]) + 1).tolist(), len(trial)]
    return [slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True) if b > a]


def window_starts(recording_or_trial: Any, context: int, horizon: int = 1) -> np.ndarray:
    """Return the first rows of all windows of `context` rows followed by `horizon` target rows.

    Parameters
    ----------
    recording_or_trial : Dataset, or array (n_times,) of trial ids
    context, horizon : int
        Rows looked at, rows to be predicted.

    Returns
    -------
    ndarray of int, (n_windows,)
        No window crosses a trial border; trials shorter than `context + horizon` give none.
    """
    if context < 1 or horizon < 0:
        raise ValueError(
            f"context is {context} and horizon {horizon}: a window needs at least one row of context "
            "and no negative horizon"
        )
    length = context + horizon
    parts = [np.arange(s.start, s.stop - length + 1) for s in trial_slices(recording_or_trial)]
    return np.concatenate([*parts, np.empty(0, dtype=np.int64)]).astype(np.int64)


def split(n_windows: int, train: float = 0.6, validation: float = 0.2) -> tuple[slice, slice, slice]:
    """Cut windows into contiguous training, validation and test parts; the test part is what is left.

    Raises
    ------
    ValueError
        Fractions outside [0, 1] or beyond 1 together, or a part that would be empty.
    """
    if not (0 < train <= 1 and 0 <= validation <= 1 and train + validation <= 1 + 1e-9):
        raise ValueError(
            f"train={train} and validation={validation} are no fractions of a whole: training needs more "
            "than 0, and together they may not exceed 1"
        )
    first = round(train * n_windows)
    second = min(first + round(validation * n_windows), n_windows)
    asked = (train, validation, 1 - train - validation)
    parts = (slice(0, first), slice(first, second), slice(second, n_windows))
    if any(want > 1e-9 and part.start == part.stop for want, part in zip(asked, parts, strict=True)):
        raise ValueError(
            f"{n_windows} windows cannot be cut into parts of {train}, {validation} and the rest: one "
            "would be empty; record longer or take shorter windows"
        )
    return parts


def _with_truth_of(recording: xr.Dataset, names: np.ndarray) -> xr.Dataset:
    """Cut the known wiring to the neurons that are left, so that `drop_sel(neuron=...)` suffices."""
    truth = recording["connectivity"]
    if all(dim in truth.coords and set(names) <= set(truth[dim].values.astype(str)) for dim in EDGE):
        for dim in EDGE:
            recording = recording.assign_coords({dim: recording[dim].values.astype(str)}).sel({dim: names})
    elif set(truth.dims) != set(EDGE) or truth.shape != (len(names),) * 2:
        raise ValueError(
            f"connectivity has the dimensions {dict(truth.sizes)} for {len(names)} neurons: the truth is"
            " square, (target, source); name and cut it accordingly"
        )
    return recording


def _unpack(data: Any) -> tuple[Any, Any, np.ndarray | None]:
    """Return values, column names and time stamps in s, the latter two None where the data has none."""
    if isinstance(data, pd.DataFrame):
        text = [str(c) for c in data.columns if not (pd.api.types.is_numeric_dtype(data[c].dtype))]
        if text:
            raise TypeError(
                f"columns {short(text)} of the table are not numbers: a recording is numbers only; drop "
                "these columns or convert them with table.astype(float)"
            )
        columns = None if isinstance(data.columns, pd.RangeIndex) else data.columns
        return data.to_numpy(dtype=float, na_value=np.nan), columns, None
    if isinstance(data, xr.DataArray):
        if set(data.dims) != {"time", "neuron"}:
            raise ValueError(
                f"the DataArray has the dimensions {tuple(map(str, data.dims))} instead of ('time', "
                "'neuron'): time must not be mistaken for neurons; rename them with data.rename(...)"
            )
        names = data["neuron"].values if "neuron" in data.coords else None
        return data.transpose("time", "neuron").values, names, None
    if all(hasattr(data, name) for name in ("values", "t", "columns")):
        return np.asarray(data.values), data.columns, np.asarray(data.t, dtype=float)
    try:
        return np.asarray(data), None, None
    except ValueError as error:
        raise ValueError(
            f"activity is ragged ({error}): a recording is (n_times, n_neurons), every neuron with the "
            "same number of steps; cut or pad the rows"
        ) from None

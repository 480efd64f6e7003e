"""Checks of a recording; each message says what is wrong, why it matters and what to do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

CLOCK_TOLERANCE = 0.05  # of a time step: stored times are often rounded
_LOSS = 5e-4  # of a standard deviation: what float32 may take from a value
ELSE = " (on the command line: name the others with --neurons)"


def validate(recording: xr.Dataset, *, min_times: int = 2, what: str = "this method") -> None:
    """Refuse a recording that no method can learn from.

    Parameters
    ----------
    recording : xarray.Dataset
        As `as_recording` returns it.
    min_times : int
        Fewest time steps, all trials together, that the method needs.
    what : str
        The method, for the message.

    Raises
    ------
    ValueError
        NaN or infinite values, constant or duplicated neurons, one neuron only, more neurons than time steps
        (looks transposed), too few time steps.
    """
    x = recording["activity"].values
    names = recording["neuron"].values
    n_times, n_neurons = x.shape
    if n_neurons < 2:
        raise ValueError(
            f"activity has one neuron ({names[0]}): connectivity needs at least two; record more, or "
            "check whether the array is (n_times, n_neurons)"
        )
    if n_neurons > n_times and not recording.attrs.get("more_neurons_than_times"):
        raise ValueError(
            f"activity has {n_times} time steps and {n_neurons} neurons: it looks transposed, and with so few"
            " steps nothing can be told; pass data.T, or recording.from_array(data,"
            " more_neurons_than_times=True) if it is meant so"
        )
    for bad, word, remedy in (
        (np.isnan(x), "NaN", "interpolate them"),
        (np.isinf(x), "infinite", "replace or clip them"),
    ):
        if bad.any():
            cells = names[bad.any(axis=0)].tolist()
            raise ValueError(
                f"activity has {bad.sum()} {word} values in neurons {short(cells)}: methods need complete "
                f"recordings; {remedy} or drop these neurons with recording.drop_sel(neuron={short(cells)}){ELSE}"
            )
    constant = names[x.min(axis=0) == x.max(axis=0)].tolist()
    if constant:
        raise ValueError(
            f"activity is constant in neurons {short(constant)}: they carry no information and cannot be"
            f" scaled to unit variance; drop them with recording.drop_sel(neuron={short(constant)}){ELSE}"
        )
    first = _first_alike(x)
    if twins := [j for j in range(n_neurons) if first[j] != j]:
        raise ValueError(
            f"neurons {names[[first[twins[0]], twins[0]]].tolist()} have identical activity: no method can tell their"
            f" influences apart; drop one of them with recording.drop_sel(neuron={short(names[twins].tolist())}){ELSE}"
        )
    if n_times < min_times:
        raise ValueError(
            f"activity has {n_times} time steps but {what} needs at least {min_times}: there would be "
            "nothing to fit or test on; record longer, or ask for fewer lags"
        )


def _first_alike(x: np.ndarray) -> list[int]:
    """Return for each column the first column that equals it; only columns of one hash are compared."""
    first, alike = [], {}
    for j, column in enumerate(x.T):
        known = alike.setdefault(hash((column + 0.0).tobytes()), [])  # + 0.0 makes one zero of two
        first.append(next((i for i in known if np.array_equal(x[:, i], column)), j))
        if first[j] == j:
            known.append(j)
    return first


def single_precision(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return `values` (n_times, n_neurons) as float32, unless that would round a neuron's changes away."""
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinite values are told by `validate`
        single = np.ascontiguousarray(values, dtype=np.float32)
        if values.dtype == np.float32:
            return single
        coarse = [
            name
            for name, kept, exact in zip(names.tolist(), single.T, values.T, strict=True)
            if exact.max() > exact.min() and np.abs(kept - exact).max() > _LOSS * exact.std()
        ]
    if coarse:
        raise ValueError(
            f"activity of neurons {short(coarse)} changes little around a large value: kept as float32,"
            " it would lose these changes; subtract each neuron's mean first"
        )
    return single


def check_kind(kind: Any, values: np.ndarray) -> None:
    """Refuse negative values where the kind says that they count spikes."""
    if kind == "spikes" and (values < 0).any():
        raise ValueError(
            f"kind is 'spikes' but activity goes down to {np.nanmin(values):g}: spikes are counted from 0; give the "
            "counts, or the kind that the numbers are"
        )


def numbers(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        word = {"O": "objects", "U": "text", "S": "text", "T": "text", "c": "complex numbers"}
        raise TypeError(
            f"{what} holds {word.get(values.dtype.kind, str(values.dtype))} (dtype {values.dtype}): methods "
            "compute with real numbers; convert it with numpy.asarray(data, dtype=float)"
        )
    return values


def neuron_names(neurons: Any, n_neurons: int) -> np.ndarray:
    if neurons is None:
        return np.array([f"n{i}" for i in range(n_neurons)])
    names = np.array([str(n) for n in neurons])
    if len(names) != n_neurons:
        raise ValueError(
            f"there are {len(names)} neuron names for {n_neurons} columns: results are reported by name; "
            "give one name per column (or transpose the array, if its rows are the neurons)"
        )
    unique, counts = np.unique(names, return_counts=True)
    if len(unique) < n_neurons:
        raise ValueError(
            f"neuron names {unique[counts > 1].tolist()} occur more than once: results are reported by "
            "name; rename or drop the repeated ones"
        )
    return names


def of_length(values: Any, n: int, what: str, per: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,):
        raise ValueError(
            f"{what} has shape {values.shape} instead of ({n},): it needs one value per {per}; cut or "
            "repeat it accordingly"
        )
    return values


def of_shape(values: Any, shape: tuple[int, int], what: str) -> np.ndarray:
    values = numbers(np.asarray(values), what)
    if values.shape != shape:
        expected = "a square (target, source) matrix" if what == "connectivity" else "the shape of activity"
        raise ValueError(
            f"{what} has shape {values.shape} instead of {shape}: it must have {expected}, neuron by "
            "neuron; check which neurons and steps it covers"
        )
    return values


def trial_ids(trial: np.ndarray) -> np.ndarray:
    if trial.dtype.kind not in "biu":
        raise TypeError(
            f"trial holds {trial.dtype} values: trials are told apart by whole numbers; number them from 0"
        )
    return trial.astype(np.int64)


def time_step(dt_ms: Any, seconds: np.ndarray | None, trial: np.ndarray | None) -> float:
    if dt_ms is None and seconds is not None and len(seconds) > 1:
        steps = np.diff(seconds) * 1000
        inside = steps if trial is None else steps[np.asarray(trial)[1:] == np.asarray(trial)[:-1]]
        dt_ms = float(np.mean(inside))
        if not np.abs(inside - np.median(inside)).max() <= CLOCK_TOLERANCE * np.median(inside):
            raise ValueError(
                f"time stamps are {inside.min():g} to {inside.max():g} ms apart: lags need a constant step;"
                " bin or interpolate the recording, or mark its pieces with trial=..."
            )
        dt_ms = round(dt_ms, 9)
    dt_ms = 1.0 if dt_ms is None else dt_ms
    try:
        step = float(dt_ms)
    except (TypeError, ValueError):
        raise TypeError(
            f"dt_ms is {dt_ms!r}: the time step is a number of milliseconds, such as 1.0"
        ) from None
    if not (np.isfinite(step) and step > 0):
        raise ValueError(
            f"dt_ms is {dt_ms!r}: time runs forward in positive, finite steps; give milliseconds, such as 1.0"
        )
    return step


def physical_memory() -> int:
    """Bytes of memory of this machine; 16 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 << 30


def short(names: list, limit: int = 10) -> str:
    names = [str(n) for n in names]
    return (
        str(names) if len(names) <= limit else f"{names[:limit]!s}"[:-1] + f", ... {len(names) - limit} more]"
    )

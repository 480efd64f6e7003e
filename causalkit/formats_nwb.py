"""Neurodata Without Borders: series of values and the units of a spike sorting, by pynwb (extra `nwb`)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from .extras import needed
from .series import Entry, Traces, Trains, per_second

CALCIUM, VOLTAGE = ("RoiResponseSeries",), ("CurrentClampSeries", "IZeroClampSeries")
NEURAL = ("ElectricalSeries", *CALCIUM, *VOLTAGE)


@contextmanager
def opened(path: Path) -> Iterator[tuple[list[Entry], dict]]:
    """Open a file: what it holds, and its tables of intervals, each (n_intervals, 2) in ms."""
    _check(path)
    pynwb = needed("pynwb", "NWB files are read with", "nwb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cached name spaces, of deprecated fields: nothing that a reader can mend
        try:
            file = pynwb.NWBHDF5IO(str(path), "r")
        except Exception as error:
            raise _unreadable(path, error) from error
        try:
            try:
                content = file.read()
                entries = list(_entries(content, path))
            except Exception as error:  # hdmf raises nearly anything on files that are not what they say
                raise _unreadable(path, error) from error
            yield entries, _intervals(content)
        finally:
            file.close()


def is_nwb(path: Path) -> bool:
    """Whether an HDF5 file says that it is NWB."""
    try:
        with h5py.File(path, "r") as file:
            return "nwb_version" in file.attrs
    except OSError:
        return False


def _check(path):
    """Refuse what is no NWB, and links out of the file, before anything is built of it."""
    try:
        with h5py.File(path, "r") as file:
            if "nwb_version" not in file.attrs:
                held = ", ".join(list(file)[:10]) or "nothing"
                raise ValueError(
                    f"{path} is HDF5 but not NWB (it has no nwb_version, and holds {held}): export it as NWB, or save "
                    "the array as .npz or .nc"
                )
            _refuse_links(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _refuse_links(file, path):
    """Links and raw data outside the file may point anywhere on this machine."""
    todo = [file]
    while todo:
        group = todo.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(
                    f"{path}: {group.name.rstrip('/')}/{name} lies in another file, {link.filename}: only what is "
                    "in the file itself is read; export it with its data"
                )
            if not isinstance(link, h5py.HardLink):
                continue
            kind = group.get(name, getclass=True)
            if kind is h5py.Group:
                todo.append(group[name])
            elif kind is h5py.Dataset and group[name].external:
                raise ValueError(
                    f"{path}: {group.name.rstrip('/')}/{name} keeps its numbers in another file: only what is in the "
                    "file itself is read; export it with its data"
                )


def _unreadable(path, error):
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(
        f"{path} cannot be read as NWB ({text}): it is cut off, damaged or another kind of file; copy or export it "
        "again"
    )


def _entries(content, path):
    from pynwb import TimeSeries
    from pynwb.misc import Units

    for thing in content.objects.values():
        if isinstance(thing, TimeSeries) and isinstance(getattr(thing, "data", None), h5py.Dataset | np.ndarray | list):
            if np.ndim(thing.data) in (1, 2) and np.asarray(thing.data[:0]).dtype.kind in "fiub":
                yield _of_series(thing, path)
        elif isinstance(thing, Units) and "spike_times" in thing.colnames:
            n = len(thing.id)
            trains = functools.partial(_trains, thing, path)
            yield Entry(_place(thing), "Units", f"{n} neurons", "", "spike times", n > 1, trains)


def _place(thing):
    """Name with the places it lies in, as in the file: acquisition/lfp, processing/ecephys/LFP/lfp."""
    names, top = [thing.name], thing.parent
    while top is not None and top.name != "root":
        names.append(top.name)
        top = top.parent
    where = "/".join(reversed(names))
    data = getattr(thing, "data", None)
    inside = getattr(data, "name", None) if isinstance(data, h5py.Dataset) else None  # /acquisition/lfp/data
    return inside.strip("/").removesuffix("/data") if inside else where


def _of_series(series, path):
    types = [base.__name__ for base in type(series).__mro__]
    shape, dt_ms = np.shape(series.data), 1000 / series.rate if series.rate else None
    several = len(shape) == 2 and min(shape) > 1
    # behaviour, stimuli and the like are plain TimeSeries: only the types of neural data are taken unasked
    candidate = several and any(name in types for name in NEURAL)
    return Entry(
        _place(series), types[0], " x ".join(map(str, shape)), per_second(dt_ms) or "time stamps", str(series.unit),
        candidate, lambda: _traces(series, types, path),
    )  # fmt: skip


def _traces(series, types, path):
    n_columns = 1 if np.ndim(series.data) == 1 else np.shape(series.data)[1]
    transposed = _is_transposed(series)
    if transposed:
        n_columns = np.shape(series.data)[0]
    scale, offset = series.conversion, getattr(series, "offset", 0.0) or 0.0
    own = getattr(series, "channel_conversion", None)
    if own is not None:
        scale = scale * np.asarray(own[:], dtype=float)
    kind = "calcium" if "RoiResponseSeries" in types else "voltage" if any(t in types for t in VOLTAGE) else "other"
    clock = {"dt_ms": 1000 / series.rate, "start_ms": 1000 * (series.starting_time or 0.0)} if series.rate else {
        "time": 1000 * np.asarray(series.timestamps[:], dtype=float)
    }  # fmt: skip
    return Traces(
        path, series.data if hasattr(series.data, "shape") else np.asarray(series.data),
        _names(series, n_columns), kind, transposed=transposed, scale=scale, offset=offset,
        attributes={"series": _place(series), "unit": str(series.unit), "data_type": types[0]}, **clock,
    )  # fmt: skip


def _is_transposed(series):
    """Whether the neurons come first, against the standard: as many rows as electrodes or time stamps tell."""
    shape = np.shape(series.data)
    if len(shape) < 2 or shape[0] == shape[1]:
        return False
    region = getattr(series, "electrodes", None)
    region = getattr(series, "rois", None) if region is None else region
    if region is not None:
        return len(region.data) == shape[0] != shape[1]
    return series.timestamps is not None and len(series.timestamps) == shape[1]


def _names(series, n):
    """Of electrodes or regions of interest, by their ids; n0, n1, ... where there are none."""
    for attribute, prefix in (("electrodes", "e"), ("rois", "roi")):
        region = getattr(series, attribute, None)
        if region is None:
            continue
        rows = np.asarray(region.data[:]).ravel()
        ids = np.asarray(region.table.id[:])[rows]
        if len(ids) == n and len(set(ids.tolist())) == n:
            return [f"{prefix}{i}" for i in ids.tolist()]
    return [f"n{i}" for i in range(n)]


def _trains(units, path):
    times, n = units["spike_times"], len(units.id)
    names = [f"u{i}" for i in np.asarray(units.id[:]).tolist()]
    span = {}
    if "obs_intervals" in units.colnames:
        each = [1000 * np.reshape(np.asarray(units["obs_intervals"][i], dtype=float), (-1, 2)) for i in range(n)]
        observed = np.concatenate(each)
        if len(each[0]) > 1 and all(np.array_equal(one, each[0]) for one in each):
            span = {"intervals": each[0]}
        elif len(observed):
            span = {"start_ms": float(observed[:, 0].min()), "stop_ms": float(observed[:, 1].max())}
    return Trains(
        path, names, lambda i: 1000 * np.asarray(times[i], dtype=float),
        attributes={"series": _place(units), "data_type": "Units"}, **span,
    )  # fmt: skip


def _intervals(content):
    """Tables of intervals by name: trials, epochs, and others."""
    tables = dict(content.intervals or {})
    for name in ("trials", "epochs", "invalid_times"):
        if (table := getattr(content, name, None)) is not None:
            tables[name] = table
    return {
        name: 1000 * np.column_stack([table["start_time"][:], table["stop_time"][:]]).astype(float)
        for name, table in tables.items()
    }

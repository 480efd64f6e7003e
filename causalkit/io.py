"""Recordings on disk, in any format that is read; and Python objects of other packages. Written whole or not at all."""

import json
import os
import secrets
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from . import connectivity, formats, formats_dataset, formats_streams, preprocess
from .recording import as_recording, from_array
from .series import Entry, Trains, choose, chosen, printable, readable_names
from .simulate.izhikevich import SPIKE_THRESHOLD_MV
from .tables import is_clock
from .validation import short

_READERS = {
    ".npz": formats.read_npz,
    ".csv": formats.read_csv,
    ".tsv": formats.read_csv,
    ".txt": formats.read_csv,
}
READABLE = (".npz", ".nc", ".csv", ".tsv", ".txt", ".zarr", ".nwb")
_HDF5 = (".nwb", ".h5", ".hdf5", ".hdf")
WRITABLE = (".npz", ".nc", ".csv")


def read(
    path, *, dt_ms=None, kind=None, neurons=None, start=None, stop=None, series=None, epochs=None, bin_ms=None,
    resample_ms=None, detrend=None,
):  # fmt: skip
    """Read a recording.

    ``.nwb``
        Neurodata Without Borders (extra `nwb`): an ElectricalSeries, RoiResponseSeries or any other TimeSeries of
        numbers, scaled to the unit that the file names, or the spike times of Units, counted in bins of `bin_ms`. If
        there is more than one that could be meant, `series` says which. Neurons are named by the ids of their
        electrodes ("e3"), regions ("roi3") or units ("u3").
    ``.npz``
        `activity`, `v`, `x` or `data`, shape (n_times, n_neurons) or (n_trials, n_times, n_neurons). Optional
        entries: `dt_ms`; `kind`; `time` (ms), `time_ms` or `time_s`, and `trial`, shape (n_times,); `neuron`
        (names); `spikes` (flags like the activity, or integer pairs of time step and neuron, from 0);
        `voltage_mv`; `connectivity` or `adj` (target, source); `cell_type`; `params_abcd` (n_neurons, 4).
    ``.csv``, ``.tsv``, ``.txt``
        One row a time step, one column a neuron; see `causalkit.tables.read_table`. Optional columns:
        `time_ms`, `time_s` or `time` (ms), and `trial` (whole numbers). Other counts of time or rows are refused.
    ``.nc``, ``.zarr``
        netCDF or zarr (extra `zarr`; a folder or a zip file) with `activity` (time, neuron), such as `write_recording`,
        ``recording.to_netcdf`` or ``recording.to_zarr`` makes; units of `time` (ms, s, us, min, "seconds since …") are
        converted. A zarr array (n_times, n_neurons) of another name is taken too.
    a folder
        One simulated network as the authors of arXiv 2311.06928 publish it: `v_alltimes.txt`, one row a
        neuron, one column a time step, in mV; optionally `firings.txt` (time step and neuron, from 1),
        `connectivity.txt` (target, source), `params_abcd.txt`.

    The authors' folders, and `v` in an ``.npz``, hold the voltage as simulated, where spikes overshoot by up
    to 1,000 mV. As from the simulator, that becomes `voltage_mv`, and `activity` is the same clipped at 30 mV
    (unless another `kind` is given). Nothing else is clipped, scaled or filled in: missing values stay NaN.

    Times that are even but for rounding (to 5 % of a step) are put on the even grid they were rounded from. Names that
    no screen could show are made printable.

    NWB, zarr, and large netCDF, .npz and text (more than 32 million values, 64 MiB of text) are read in blocks: only
    what is asked for is held in memory, at the time step that is asked for. Of such netCDF, zarr and .npz only
    activity, times and trials are read. Text is looked through twice.

    Parameters
    ----------
    path : str or path
    dt_ms : float, optional
        The time step in ms; required where the file does not tell it.
    kind : {"voltage", "spikes", "calcium", "other"}, optional
        Default: what the file says, else "voltage"; of NWB, what the type of the series says, else "other".
    neurons : sequence of str, optional
        Keep these neurons, in this order.
    start, stop : float, optional
        Keep the time steps with start <= time < stop, in ms; in each trial, where times start anew.
    series : str, optional
        Which of several things in a file, by its name as `contents` lists it, or by the last part of that.
    epochs : str or array (n_epochs, 2), optional
        Keep these intervals, each a trial: the name of a table in an NWB file, such as "trials", or when each
        starts and stops, in ms.
    bin_ms : float, optional
        Width of the bins in which spikes are counted; required for spike times. Counts that are there are added up.
    resample_ms : float, optional
        A longer time step, behind an anti-alias filter: `causalkit.preprocess.resample`.
    detrend : str, optional
        "constant", "linear" or "highpass:SECONDS": `causalkit.preprocess.detrend`. It comes last.

    Returns
    -------
    xarray.Dataset
        A recording, see `causalkit.recording`; what was done to it is in `causalkit.preprocess.history`.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ImportError
        If the package that reads the format is not installed; the message names the extra.
    ValueError
        If the file is unreadable, is something else, lacks the time step, or contradicts the arguments.
    """
    path = Path(path)
    _check_options(bin_ms, resample_ms, detrend)
    form = _form(path)
    asked = {"dt_ms": dt_ms, "kind": kind, "neurons": neurons, "start": start, "stop": stop, "epochs": epochs}
    if form in (".nwb", ".zarr", ".nc"):
        with _entries(path, form) as (entries, tables):
            found = choose(entries, series, path).open()
            if not isinstance(found, dict):
                return _loaded(found, path, tables, bin_ms, resample_ms, detrend, asked)
            recording = _whole(found, path, asked)
    else:
        _has_no_series(path, series)
        if form in (".csv", ".tsv", ".txt") and formats_streams.is_large_text(path):
            found = formats_streams.text(path, dt_ms)
            return _loaded(found, path, {}, bin_ms, resample_ms, detrend, asked)
        if form == ".npz" and formats_streams.is_large_archive(path):
            with formats_streams.archive(path) as found:
                return _loaded(found, path, {}, bin_ms, resample_ms, detrend, asked)
        recording = _whole(_READERS.get(form, formats.read_folder)(path), path, asked)
    return _prepared(recording, path, bin_ms, resample_ms, detrend)


def contents(path):
    """List what a file holds that could be read as a recording.

    Returns
    -------
    DataFrame
        Columns name (for `series`), type, shape, rate and unit.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As `read`.
    """
    path = Path(path)
    columns = ["name", "type", "shape", "rate", "unit"]
    with _entries(path, _form(path)) as (entries, _):
        return pd.DataFrame(
            [[printable(getattr(entry, name)) for name in columns] for entry in entries], columns=columns, dtype=object
        )


def convert(
    data, *, kind=None, neurons=None, start=None, stop=None, series=None, epochs=None, bin_ms=None, resample_ms=None,
    detrend=None,
):  # fmt: skip
    """Make a recording of an object of Neo or pynapple; anything else goes to `causalkit.recording.as_recording`.

    A Neo Block or Segment gives one of its AnalogSignals, or its SpikeTrains counted in bins; each Segment of a Block
    is a trial. A pynapple Tsd or TsdFrame gives its values, a TsGroup its spikes counted in bins; each interval of the
    time support is a trial where there are several.

    Parameters
    ----------
    data : neo.Block, neo.Segment, neo.AnalogSignal, list of neo.SpikeTrain; pynapple.Tsd, TsdFrame or TsGroup
    kind, neurons, start, stop, series, epochs, bin_ms, resample_ms, detrend
        As in `read`; `epochs` is an array.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    TypeError, ValueError
        As `read`.
    """
    from . import formats_neo, formats_pynapple

    _check_options(bin_ms, resample_ms, detrend)
    asked = {"kind": kind, "neurons": neurons, "start": start, "stop": stop, "epochs": epochs}
    where = f"the {type(data).__name__}"
    module = next((m for m in (formats_neo, formats_pynapple) if m.is_one(data)), None)
    if module is None:
        _has_no_series(where, series)
        recording = as_recording(data)
        if kind is not None:
            recording = as_recording(recording.assign_attrs(kind=kind))
        recording = _with_epochs(_select(recording, neurons, start, stop), epochs)
    else:
        found = choose(module.entries(data), series, where).open()
        return _loaded(found, where, {}, bin_ms, resample_ms, detrend, asked)
    return _prepared(recording, where, bin_ms, resample_ms, detrend)


def _check_options(bin_ms, resample_ms, detrend):
    """Refuse impossible ones before a large file is read."""
    if bin_ms is not None:
        preprocess.positive("bin_ms", bin_ms, "the width of a bin in ms, such as 1")
    if resample_ms is not None:
        preprocess.positive("resample_ms", resample_ms, "the new time step in ms, such as 1")
    if bin_ms is not None and resample_ms is not None:
        raise ValueError("bin_ms counts spikes and resample_ms filters continuous activity: give one of them")
    if detrend is not None:
        preprocess.highpass_seconds(detrend)


def _form(path):
    """The suffix that says how to read a file, checked against how the file begins."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: check the name, and the folder you are in")
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".zarr.zip"):
        return ".zarr"
    if path.is_dir():
        marks = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
        return ".zarr" if suffix == ".zarr" or any((path / mark).is_file() for mark in marks) else "folder"
    if not path.is_file():
        raise ValueError(f"{path} is no file but a device, pipe or socket: save the recording to a file first")
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF\r\n\x1a\n") and suffix in (*_HDF5, ".nc"):
        from .formats_nwb import is_nwb

        return ".nwb" if suffix != ".nc" or is_nwb(path) else ".nc"
    if suffix not in READABLE:
        raise ValueError(
            f"{path}: recordings are read from {', '.join(READABLE)} or a folder with v_alltimes.txt, not "
            f"from {printable(path.suffix) or 'files without suffix'}: convert it, or rename it if it is one of these"
        )
    if suffix in (".csv", ".tsv", ".txt") and (is_really := _known(path, start)):
        raise ValueError(f"{path} is not a text file but {is_really}, whatever its name says: {_remedy(is_really)}")
    if suffix == ".zarr" and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is a file, and zarr is a folder or a zip file: copy the whole folder")
    if suffix == ".nwb":
        is_really = _known(path, start) or "no HDF5"
        raise ValueError(
            f"{path} cannot be read as NWB, it is {'empty' if not start else is_really}: it is cut off or another kind "
            "of file; copy or export it again"
        )
    return suffix


def _known(path, start):
    """What a file is by its first bytes, of what people rename by mistake."""
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return "a zip archive"
        if "[Content_Types].xml" in names:
            return "an Excel workbook" if any(n.startswith("xl/") for n in names) else "an Office document"
        return "an .npz archive" if any(n.endswith(".npy") for n in names) else "a zip archive"
    for mark, what in (
        (b"\x89HDF", "HDF5"), (b"CDF", "classic netCDF"), (b"\xd0\xcf\x11\xe0", "an old Excel or Office file"),
        (b"\x89PNG", "a PNG image"), (b"%PDF", "a PDF"), (b"\x1f\x8b", "gzip"), (b"MATLAB", "a MATLAB file"),
        (b"<html", "a web page"), (b"<!DOCTY", "a web page"), (b"{", "JSON"),
        (b"version ", "a Git LFS pointer without its data"),
        (b"\x93NUMPY", "a NumPy .npy file"), (b"\x80\x04", "a Python pickle"), (b"PAR1", "a Parquet file"),
    ):  # fmt: skip
        if start.startswith(mark):
            return what
    return None


def _remedy(is_really):
    known = {"an .npz archive": ".npz", "HDF5": ".nwb or .nc", "classic netCDF": ".nc"}
    if is_really in known:
        return f"give it the suffix {known[is_really]}"
    return "export the recording as CSV in UTF-8"


def _has_no_series(path, series):
    if series is not None:
        raise ValueError(f"{path} holds one recording: leave --series out (series= in Python)")


@contextmanager
def _entries(path, form):
    """What a file that is read in blocks holds, and its intervals; a file read at once is one entry."""
    if form == ".nwb":
        from . import formats_nwb

        with formats_nwb.opened(path) as found:
            yield found
    elif form == ".zarr":
        from . import formats_zarr

        with formats_zarr.opened(path) as (dataset, entries):
            yield (_of_dataset(dataset, path) if dataset is not None else entries), {}
    elif form == ".nc":
        with formats_dataset.opened(path) as dataset:
            yield _of_dataset(dataset, path), {}
    else:
        recording = read(path)
        shape = " x ".join(map(str, recording["activity"].shape))
        yield [Entry("activity", recording.attrs["kind"], shape, "", "", True, lambda: recording)], {}


def _of_dataset(dataset, path):
    """A small recording is read whole, a large one in blocks."""
    formats_dataset.check(dataset, path)
    entry = formats_dataset.entry(dataset, path)
    if not formats_dataset.is_large(dataset):
        entry.open = lambda: formats_dataset.found(dataset, path)
    return [entry]


def _loaded(found, path, tables, bin_ms, resample_ms, detrend, asked):
    """Read what is asked for of `Traces` or `Trains`, block by block."""
    options = {name: asked[name] for name in ("neurons", "start", "stop")}
    options["intervals"] = _intervals(asked["epochs"], tables, path)
    try:
        if isinstance(found, Trains):
            if asked["kind"] not in (None, "spikes"):
                raise ValueError("the series holds spike times, whose kind is spikes: leave --kind out")
            if resample_ms is not None:
                raise ValueError("the series holds spike times: leave --resample-ms out, --bin-ms sets the time step")
            recording, bin_ms = found.load(bin_ms=bin_ms, **options), None
        else:
            kind = asked["kind"] or found.kind
            if kind == "spikes" and resample_ms is not None:
                raise ValueError("spike counts cannot be resampled: put them into longer bins with --bin-ms")
            recording = found.load(dt_ms=asked.get("dt_ms"), kind=kind, resample_ms=resample_ms, **options)
    except (ValueError, TypeError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    recording.encoding["kind_assumed"] = False
    return _prepared(recording, path, bin_ms, None, detrend)


def _intervals(epochs, tables, path):
    if epochs is None or not isinstance(epochs, str):
        return epochs
    if epochs not in tables:
        held = ", ".join(map(printable, tables)) or "none"
        raise ValueError(
            f"{path} has no table of epochs {printable(epochs)!r}: the tables of intervals in it are {held}; choose "
            "one, or use --start and --stop"
        )
    return tables[epochs]


def _with_epochs(recording, epochs):
    if epochs is None:
        return recording
    if isinstance(epochs, str):
        raise ValueError(
            f"epochs {printable(epochs)!r} would be a table in an NWB file, and this is none: number each row's trial "
            "in a column called trial, or give start and stop times"
        )
    return preprocess.cut(recording, epochs)


def _whole(found, path, asked):
    """Make a recording of all that an eager reader found, and select."""
    recording = _as_found(found, path, asked["dt_ms"], asked["kind"])
    names = readable_names(recording["neuron"].values.tolist())
    recording = recording.assign_coords({d: names for d in ("neuron", "target", "source") if d in recording.dims})
    recording = _select(recording, asked["neurons"], asked["start"], asked["stop"])
    try:
        recording = _with_epochs(recording, asked["epochs"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    # For the one who reads it to tell, not to be written with it as an attribute would be.
    recording.encoding["kind_assumed"] = asked["kind"] is None and "kind" not in found.get("attributes", {})
    return recording


def _prepared(recording, path, bin_ms, resample_ms, detrend):
    """Bin, resample and detrend, as far as it is left to do."""
    assumed = recording.encoding.get("kind_assumed", False)
    try:
        if bin_ms is not None:
            recording = preprocess.bin_counts(recording, bin_ms)
        if resample_ms is not None:
            recording = preprocess.resample(recording, resample_ms)
        if detrend is not None:
            recording = preprocess.detrend(recording, detrend)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    recording.encoding["kind_assumed"] = assumed
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
        places = chosen(recording["neuron"].values.tolist(), neurons)
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

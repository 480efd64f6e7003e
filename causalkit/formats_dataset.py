"""Recordings as xarray writes them, in netCDF or zarr: read whole when small, block by block when large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from .formats import MS, unit_name
from .series import Entry, Traces, per_second, printable

WHOLE_BYTES = 1 << 28  # of activity that is simply loaded, with all that belongs to it


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """Open netCDF without loading it."""
    with path.open("rb") as file:
        magic = file.read(4)
    engine = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}.get(magic)
    if engine is None:
        raise damaged(path, "it is neither HDF5 nor classic netCDF")
    try:
        unnamed = {"phony_dims": "access"} if engine == "h5netcdf" else {}  # dimensions of plain HDF5
        dataset = xr.open_dataset(path, engine=engine, decode_times=False, **unnamed)
    except Exception as error:  # h5py and scipy raise nearly anything on a damaged file
        raise damaged(path, error) from error
    with dataset:
        yield dataset


def damaged(path, why, what="netCDF"):
    text = printable((str(why) or type(why).__name__).splitlines()[0])[:200]
    return ValueError(
        f"{path} cannot be read as {what} ({text}): it is cut off or another kind of file; write it again"
    )


def check(dataset: xr.Dataset, path: Path) -> None:
    """Refuse a file without activity (time, neuron)."""
    if "activity" not in dataset or set(dataset["activity"].dims) != {"time", "neuron"}:
        held = ", ".join(f"{name} {values.dims}" for name, values in list(dataset.data_vars.items())[:20]) or "nothing"
        raise ValueError(
            f"{path} has no activity (time, neuron) but {printable(held)}: a recording needs that variable; a file of "
            "scores (target, source) is a result, not a recording"
        )


def is_large(dataset: xr.Dataset) -> bool:
    """Whether more values belong to it than should be loaded at once: counted as said, not as packed."""
    return sum(8 * values.size for values in dataset.variables.values()) > WHOLE_BYTES


def found(dataset: xr.Dataset, path: Path) -> dict:
    """Return all of a small recording, as the readers in `causalkit.formats` do."""
    try:
        dataset = dataset.load()
    except Exception as error:
        raise damaged(path, error) from error
    attributes = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in dataset.attrs.items()}
    result = {"dataset": dataset.transpose("time", "neuron", ...), "attributes": attributes}
    if "time" in dataset.coords:
        result |= {"time": dataset["time"].values, "unit": _unit(dataset, path)}
    if "trial" in dataset.variables:
        result["trial"] = dataset["trial"].values
    return result


def entry(dataset: xr.Dataset, path: Path) -> Entry:
    """The activity of a recording, to be read in blocks; without `spikes` and what else goes along with it."""
    activity = dataset["activity"]
    dt_ms = dataset.attrs.get("dt_ms")
    return Entry(
        "activity", "recording", " x ".join(map(str, activity.shape)),
        per_second(dt_ms if isinstance(dt_ms, int | float) else None), "", True, lambda: _traces(dataset, path),
    )  # fmt: skip


def _traces(dataset, path):
    activity = dataset["activity"]
    names = [f"n{i}" for i in range(dataset.sizes["neuron"])]
    if "neuron" in dataset.coords:
        names = dataset["neuron"].values.tolist()
    time = None
    if "time" in dataset.coords:
        time = dataset["time"].values
        if time.dtype.kind not in "iuf":
            raise ValueError(f"{path}: time holds {time.dtype} values: write it in milliseconds as plain numbers")
        time = time.astype(float) * MS[_unit(dataset, path) or "ms"]
    attributes = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in dataset.attrs.items()}
    return Traces(
        path, _Lazy(activity), names, attributes.get("kind", "voltage"), dt_ms=attributes.get("dt_ms"), time=time,
        trial=dataset["trial"].values if "trial" in dataset.variables else None,
        transposed=activity.dims[0] == "neuron",
        attributes={k: v for k, v in attributes.items() if k not in ("dt_ms", "kind")},
    )  # fmt: skip


class _Lazy:
    """Slices of a variable that has not been loaded, as of an array."""

    ndim = 2

    def __init__(self, variable):
        self._variable = variable
        self.shape, self.dtype = variable.shape, variable.dtype
        self.chunks = variable.encoding.get("chunksizes") or variable.encoding.get("chunks")

    def __getitem__(self, key):
        return self._variable[key].values


def _unit(dataset, path):
    return unit_name(path, dataset["time"].attrs.get("units", "ms" if "dt_ms" in dataset.attrs else None))

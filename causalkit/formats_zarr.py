"""zarr: recordings as xarray writes them, and plain arrays (extra `zarr`)."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from . import formats_dataset
from .extras import needed
from .series import Entry, Traces, per_second, printable

# A codec runs on reading, and "pickle" runs any code: only those that turn bytes into numbers are let through.
CODECS = {
    "blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "delta", "fixedscaleoffset", "quantize", "packbits",
    "bitround", "astype", "shuffle", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "bytes", "endian",
    "transpose", "sharding_indexed", "vlen-utf8", "vlen-bytes", "vlen-array", "zfpy", "pcodec", "json2",
}  # fmt: skip
MOST_ARRAYS = 10_000


@contextmanager
def opened(path: Path) -> Iterator[tuple[xr.Dataset | None, list[Entry]]]:
    """Open a zarr store: the recording that xarray wrote, or None and the arrays there are."""
    zarr = needed("zarr", "zarr stores are read with", "zarr")
    _check_codecs(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that is not consolidated, of specifications to come
        store = None
        try:
            if path.is_file():
                store = zarr.storage.ZipStore(path, mode="r")
            top = zarr.open(store=store if store is not None else str(path), mode="r")
        except Exception as error:
            raise formats_dataset.damaged(path, error, "zarr") from error
        try:
            if isinstance(top, zarr.Group) and "activity" in top:
                try:
                    dataset = xr.open_dataset(
                        store if store is not None else str(path), engine="zarr", decode_times=False, chunks=None,
                        consolidated=False,
                    )  # fmt: skip
                except Exception as error:
                    raise formats_dataset.damaged(path, error, "zarr") from error
                with dataset:
                    yield dataset, []
            else:
                try:
                    entries = list(_entries(zarr, top, path))
                except Exception as error:
                    raise formats_dataset.damaged(path, error, "zarr") from error
                yield None, entries
        finally:
            if store is not None:
                store.close()


def _entries(zarr, top, path):
    arrays = [(path.stem, top)] if isinstance(top, zarr.Array) else _arrays(zarr, top)
    for name, array in arrays:
        if array.ndim == 2 and array.dtype.kind in "fiub":
            dt_ms = array.attrs.get("dt_ms") or top.attrs.get("dt_ms")
            dt_ms = dt_ms if isinstance(dt_ms, int | float) else None
            yield Entry(
                name, str(array.dtype), " x ".join(map(str, array.shape)), per_second(dt_ms),
                str(array.attrs.get("unit", "")), min(array.shape) > 1,
                lambda array=array, name=name, dt_ms=dt_ms: Traces(
                    path, array, [f"n{i}" for i in range(array.shape[1])], str(array.attrs.get("kind", "voltage")),
                    dt_ms=dt_ms, attributes={"series": name},
                ),
            )  # fmt: skip


def _arrays(zarr, group, within=""):
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield within + name, member
        elif within.count("/") < 10:
            yield from _arrays(zarr, member, f"{within}{name}/")


def _check_codecs(path):
    """Refuse filters that are not known to be harmless, before any array is built."""
    count = 0
    for name, text in _metadata(path):
        count += 1
        if count > MOST_ARRAYS:
            raise ValueError(f"{path} holds more than {MOST_ARRAYS:,} arrays: no recording does; check the file")
        try:
            described = json.loads(text)
        except ValueError as error:
            raise formats_dataset.damaged(path, f"{name} is not JSON", "zarr") from error
        for codec in _codecs(described):
            if codec not in CODECS:
                raise ValueError(
                    f"{path}: {printable(name)} is packed with {printable(codec)!r}, which is not known to hold "
                    "numbers only and could run code when read: write the array with another compressor"
                )


def _metadata(path):
    """Names and contents of the files that describe arrays."""
    wanted = (".zarray", "zarr.json", ".zmetadata")
    if path.is_dir():
        for name in wanted:
            for file in path.rglob(name):
                yield str(file.relative_to(path)), file.read_text(errors="replace")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.split("/")[-1] in wanted:
                    if info.file_size > 1 << 26:
                        raise formats_dataset.damaged(path, f"{info.filename} is too large", "zarr")
                    yield info.filename, archive.read(info).decode(errors="replace")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise formats_dataset.damaged(path, error, "zarr") from error


def _codecs(described):
    """Names of all codecs in a description, however deep."""
    todo = [described]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            for key, value in item.items():
                if key in ("codecs", "filters", "compressor", "index_codecs", "compressors"):
                    for codec in value if isinstance(value, list) else [value]:
                        if isinstance(codec, dict):
                            yield str(codec.get("id", codec.get("name", ""))).split(".")[-1]
                        elif isinstance(codec, str):
                            yield codec.split(".")[-1]
                todo.append(value)

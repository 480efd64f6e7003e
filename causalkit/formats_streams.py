"""Large text tables and .npz archives, read in order and block by block, so that memory does not grow with the file."""

from __future__ import annotations

import itertools
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .formats import ACTIVITY, attributes_of, time_step
from .series import Traces
from .tables import (
    HEAD,
    clock_problem,
    is_clock,
    is_ramp,
    is_skipped,
    is_time,
    layout_of,
    parsed,
    split_time,
    time_unit,
)
from .validation import physical_memory

WHOLE_TEXT, WHOLE_ARRAY = 1 << 26, 1 << 28  # bytes of a file, or of an array, that are simply loaded
ROWS = 4096  # of text that are parsed at once
STRIDE = 1 << 20  # bytes that are unpacked at once on the way to a row
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)


# --- text


def is_large_text(path: Path) -> bool:
    """Whether a text file should be read in blocks: it is large, and its lines end as lines do."""
    if path.stat().st_size <= WHOLE_TEXT:
        return False
    with path.open("rb") as file:
        return b"\n" in file.read(1 << 20)


def text(path: Path, dt_ms: float | None = None) -> Traces:
    """Look through a large table once, for its times, trials and faults; its values are read when they are asked for.

    Raises
    ------
    ValueError
        As `causalkit.tables.read_table`, `split_time` and `refuse_clocks`.
    """
    with path.open("rb") as file:
        head = list(itertools.islice(_lines(file, path), HEAD))
        layout, n_skipped = layout_of(path, head)
        file.seek(0)
        lines = itertools.islice(_lines(file, path), n_skipped, None)
        names = layout.names or [f"n{i}" for i in range(layout.width)]
        special = [i for i, name in enumerate(names) if layout.names and (is_time(name) or name.lower() == "trial")]
        offsets, kept, n_rows, ramp, last = [], [], 0, None, None
        while body := list(itertools.islice(lines, ROWS)):
            offsets.append(body[0][2])
            values = parsed(path, [(number, line) for number, line, _ in body], layout)
            kept.append(values[:, special])
            ramp = is_ramp(values, last) if ramp is None else ramp & is_ramp(values, last)
            last, n_rows = values[-2:], n_rows + len(values)
    of_rows = np.concatenate(kept)
    _, _, time, unit, trial = split_time([names[i] for i in special], of_rows, path)
    columns = [i for i in range(len(names)) if i not in special]
    for i in columns:
        if ramp[i] or (layout.names and is_clock(names[i])):
            raise ValueError(clock_problem(path, repr(names[i]) if layout.names else i + 1))
    if time is not None:
        _, time = time_step(path, dt_ms, None, time, unit, trial, n_rows)
    values = _Text(path, layout, columns, offsets, n_rows)
    return Traces(path, values, [names[i] for i in columns], "voltage", time=time, trial=trial)


def _lines(file, path) -> Iterator[tuple[int, str, int]]:
    """Number, text and place of each line that is neither empty nor a comment."""
    place, number = file.tell(), 0
    file_start = place == 0
    for raw in file:
        number += 1
        try:
            if b"\0" in raw:
                raise ValueError
            line = raw.decode("utf-8-sig" if place == 0 else "utf-8").rstrip("\r\n")
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}, is not text in UTF-8: export the recording as CSV in UTF-8"
            ) from error
        if not is_skipped(number if file_start else 2, line):
            yield number, line, place
        place += len(raw)


class _Text:
    """Slices of a table in a text file, as of an array (row, neuron)."""

    ndim = 2

    def __init__(self, path, layout, columns, offsets, n_rows):
        self._path, self._layout, self._columns, self._offsets = path, layout, columns, offsets
        self.shape = n_rows, len(columns)
        self.chunks = ROWS, len(columns)

    def __getitem__(self, key):
        rows, columns = key
        first = rows.start // ROWS
        parts = []
        with self._path.open("rb") as file:
            file.seek(self._offsets[first])
            lines = _lines(file, self._path)
            for start in range(first * ROWS, rows.stop, ROWS):
                body = [(number, line) for number, line, _ in itertools.islice(lines, ROWS)]
                block = parsed(self._path, body, self._layout)[:, self._columns][:, columns]
                parts.append(block[max(rows.start - start, 0) : rows.stop - start])
        return np.concatenate(parts)


# --- archives


def is_large_archive(path: Path) -> bool:
    """Whether an .npz holds an array of activity that should be read in blocks, and can be."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = _activity(archive)
            if name is None or archive.getinfo(name).file_size <= WHOLE_ARRAY:
                return False
            with archive.open(name) as member:
                shape, fortran, dtype = _header(member)
    except _DAMAGED:
        return False  # the reader of small ones says what is wrong
    return len(shape) in (2, 3) and not fortran and dtype.kind in "fiub"


@contextmanager
def archive(path: Path) -> Iterator[Traces]:
    """Activity of a large .npz, with its names, times and trials; nothing else of it is read."""
    with zipfile.ZipFile(path) as opened:
        name = _activity(opened)
        with opened.open(name) as member:
            values = _Member(path, member, opened.getinfo(name).file_size)
            wanted = {"trial", "neuron", "neurons", "names", "attributes", "dt_ms", "kind"}
            files = [n.removesuffix(".npy") for n in opened.namelist()]
            wanted = [n for n in files if n in wanted or is_time(n)]
            size = sum(opened.getinfo(f"{n}.npy").file_size for n in wanted)
            if size > physical_memory() / 4:
                raise ValueError(
                    f"{path}: {', '.join(wanted)} unpack to {size / 2**30:,.1f} GiB, more than names, times and trials "
                    "can be: save the recording again"
                )
            yield _traces(path, values, wanted)


def _traces(path, values, wanted):
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in wanted}
    except _DAMAGED as error:
        raise ValueError(f"{path}: its names, times or trials cannot be read ({error}): save it again") from error
    attributes = attributes_of(path, arrays)
    neurons = next((arrays[k] for k in ("neuron", "neurons", "names") if k in arrays), None)
    names = [f"n{i}" for i in range(values.shape[1])] if neurons is None else [str(n) for n in np.ravel(neurons)]
    if len(names) != values.shape[1]:
        raise ValueError(f"{path}: {len(names)} names for {values.shape[1]} neurons: give one name a column")
    trial = arrays.get("trial")
    if values.n_trials is not None:
        trial = np.repeat(np.arange(values.n_trials), len(values) // values.n_trials)
    time = next((arrays[k] for k in arrays if is_time(k)), None)
    dt_ms = attributes.pop("dt_ms", None)
    if time is not None:
        unit = next(time_unit(k) for k in arrays if is_time(k))
        dt_ms, time = time_step(path, None, dt_ms, time, unit, trial, len(values))
    return Traces(path, values, names, attributes.pop("kind", "voltage"), dt_ms=dt_ms, time=time, trial=trial,
                  attributes=attributes)  # fmt: skip


def _activity(archive):
    return next((f"{n}.npy" for n in ACTIVITY if f"{n}.npy" in archive.namelist() and n != "v"), None)


def _header(member):
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


class _Member:
    """Slices of an array in an archive, (row, neuron), read in order: a row before the last one starts anew."""

    ndim = 2

    def __init__(self, path, member, size):
        self._path, self._member = path, member
        shape, _, self.dtype = _header(member)
        self._first = member.tell()
        self.n_trials = shape[0] if len(shape) == 3 else None
        self.shape = int(np.prod(shape[:-1], dtype=object)), int(shape[-1])
        self._row = self.dtype.itemsize * self.shape[1]
        if self._first + self.shape[0] * self._row != size:
            raise ValueError(f"{path}: its activity has another size than its shape {shape} says: save it again")

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        rows, columns = key
        size = (rows.stop - rows.start) * self._row
        try:
            self._go_to(self._first + rows.start * self._row)
            raw = self._member.read(size)
        except _DAMAGED as error:
            raise ValueError(str(error)) from error
        if len(raw) < size:
            raise ValueError("it ends early")
        return np.frombuffer(raw, self.dtype).reshape(-1, self.shape[1])[:, columns]

    def _go_to(self, place):
        """As `seek`, which would unpack 16 MB at a time."""
        if place < self._member.tell():
            self._member.seek(0)
        while (left := place - self._member.tell()) > 0:
            if not self._member.read(min(left, STRIDE)):
                raise ValueError("it ends early")

"""What a file holds, before any of it is read: tables of values and trains of spikes, loaded piece by piece."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .formats import time_step
from .preprocess import (
    bin_spikes,
    checked_intervals,
    clipped,
    fits,
    noted,
    positive,
    ratio,
    resampled,
    rows_between,
)
from .progress import progress_bar
from .recording import from_array
from .validation import short, single_precision

BLOCK_BYTES = 1 << 25  # read at a time
CHUNK_BYTES = 1 << 28  # ... unless the file's own blocks are larger, up to this
MOST_LISTED = 20
LONGEST_NAME = 100  # characters


@dataclass
class Entry:
    """One thing in a file, for the list of what there is.

    Attributes
    ----------
    name : str
        With the places it lies in: ``processing/ecephys/LFP/lfp``.
    type, shape, rate, unit : str
        For people to read.
    candidate : bool
        It may be what is meant when nothing is asked for.
    open : callable
        Returns `Traces` or `Trains`.
    """

    name: str
    type: str
    shape: str
    rate: str
    unit: str
    candidate: bool
    open: Callable

    def __str__(self):
        told = ", ".join(text for text in (self.type, self.shape, self.rate, self.unit) if text)
        return f"{printable(self.name)} ({printable(told)})"


@dataclass
class Traces:
    """A table of values in a file, of which nothing has been read yet.

    Attributes
    ----------
    values : array-like, (n_times, n_neurons), or transposed
        Sliced with two keys: an HDF5 or zarr array.
    neurons : list of str
    kind : str
    dt_ms, start_ms : float, optional
        Of an even clock.
    time : array, optional
        (n_times,), in ms, instead of it.
    trial : array, optional
        (n_times,).
    transposed : bool
        `values` has the neurons first.
    scale, offset : float or array (n_neurons,)
        ``value * scale + offset`` is in the unit of the file.
    attributes : dict
        Kept with the recording.
    """

    path: Any
    values: Any
    neurons: Sequence[str]
    kind: str = "other"
    dt_ms: float | None = None
    start_ms: float = 0.0
    time: np.ndarray | None = None
    trial: np.ndarray | None = None
    transposed: bool = False
    scale: Any = 1.0
    offset: Any = 0.0
    attributes: dict = field(default_factory=dict)

    def load(self, *, dt_ms=None, kind=None, neurons=None, start=None, stop=None, intervals=None, resample_ms=None):
        """Read what is asked for, block by block, into a recording."""
        names = readable_names(self.neurons)
        columns = chosen(names, neurons)
        names = [names[i] for i in columns]
        n_times = self.values.shape[1 if self.transposed else 0]
        first, trial = self._pieces(dt_ms, n_times, start, stop, intervals)
        n_rows = sum(b - a for a, b in first)
        if not n_rows:
            raise ValueError(
                f"{self.path}: no time step lies between start {start} and stop {stop}"
                + (" in its epochs" if intervals is not None else "")
                + f": both are in ms, and the recording {self._span(dt_ms, n_times)}"
            )
        if self.time is None:
            step, _ = time_step(self.path, dt_ms, self.dt_ms, None, None, None, 0)
        else:
            times = np.concatenate([self.time[a:b] for a, b in first])
            ids = None if trial is None else np.repeat(trial, [b - a for a, b in first])
            step, at = time_step(self.path, dt_ms, self.dt_ms, times, "ms", ids, n_rows)
        up, down = (1, 1) if resample_ms is None else ratio(step, resample_ms)
        sizes = [-(-(b - a) * up // down) for a, b in first]
        fits(sum(sizes), len(names))
        if self.time is None:
            begins = [self.start_ms + a * step for a, _ in first]
        else:
            begins = at[np.cumsum([0, *(b - a for a, b in first)])[:-1]]
        new = step if up == down else float(resample_ms)
        values = np.empty((sum(sizes), len(names)), np.float32)
        done = 0
        with progress_bar(n_rows, "reading", wanted=n_rows > self._block_rows(columns), unit="row") as bar:
            for (a, b), size in zip(first, sizes, strict=True):

                def rows(i, j, a=a):
                    block = self._rows(a + i, a + j, columns)
                    bar.update(min(j - i, bar.total - bar.n))
                    return block

                if up == down:
                    self._read_into(values[done : done + size], rows, columns, names)
                else:
                    width = max(columns) - min(columns) + 1
                    values[done : done + size] = resampled(rows, b - a, up, down, len(names), width)
                done += size
        recording = from_array(
            values,
            dt_ms=new,
            kind=kind or self.kind,
            neurons=names,
            trial=None if trial is None else np.repeat(trial, sizes),
        )
        clock = np.concatenate([begin + np.arange(size) * new for begin, size in zip(begins, sizes, strict=True)])
        recording = recording.assign_coords(time=("time", np.round(clock, 6), {"units": "ms"}))
        recording = recording.assign_attrs(self.attributes)
        if intervals is not None:
            recording = noted(recording, "cut", intervals=len(first))
        if up != down:
            recording = noted(recording, "resample", from_ms=step, to_ms=new)
        return recording

    def _span(self, dt_ms, n_times):
        if self.time is not None:
            return f"spans {self.time[0]:g} to {self.time[-1]:g} ms"
        step = self.dt_ms or dt_ms or 1
        return f"spans {self.start_ms:g} to {self.start_ms + (n_times - 1) * step:g} ms"

    def _pieces(self, dt_ms, n_times, start, stop, intervals):
        """Rows (first, one after the last) of each trial, and its number; None where there are no trials."""
        spans = [(start, stop)]
        if intervals is not None:
            if self.trial is not None:
                raise ValueError(f"{self.path} has trials already: epochs would cut them; leave the epochs out")
            spans = clipped(checked_intervals(intervals), start, stop)
        if self.time is None:
            step, _ = time_step(self.path, dt_ms, self.dt_ms, None, None, None, 0)
            rows = [rows_between(self.start_ms, step, n_times, *span) for span in spans]
        elif self.trial is not None:
            return self._trials(n_times, start, stop)
        else:
            if (np.diff(self.time) <= 0).any():
                raise ValueError(f"{self.path}: time stamps run backward: sort them, or number the pieces as trials")
            bounds = [(-np.inf if a is None else a, np.inf if b is None else b) for a, b in spans]
            rows = [tuple(np.searchsorted(self.time, pair, side="left").tolist()) for pair in bounds]
        if self.trial is not None:
            return self._trials(n_times, start, stop)
        kept = [i for i, (a, b) in enumerate(rows) if b > a]
        return [rows[i] for i in kept], None if intervals is None else kept

    def _trials(self, n_times, start, stop):
        borders = [0, *(np.flatnonzero(np.diff(self.trial)) + 1).tolist(), n_times]
        rows, ids = [], []
        for a, b in zip(borders[:-1], borders[1:], strict=True):
            time = self.time[a:b] if self.time is not None else self.start_ms + np.arange(a, b) * (self.dt_ms or 1)
            low, high = -np.inf if start is None else start, np.inf if stop is None else stop
            inside = np.flatnonzero((time >= low) & (time < high))
            if len(inside):
                rows.append((a + int(inside[0]), a + int(inside[-1]) + 1))
                ids.append(int(self.trial[a]))
        return rows, ids

    def _read_into(self, out, rows, columns, names):
        size = self._block_rows(columns)
        for a in range(0, len(out), size):
            block = rows(a, min(a + size, len(out)))
            out[a : a + len(block)] = single_precision(block, np.array(names))

    def _block_rows(self, columns):
        """Rows of a block: as many of the file's own blocks as fit."""
        row = 8 * (max(columns) - min(columns) + 1)
        size = max(1, BLOCK_BYTES // row)
        chunk = getattr(self.values, "chunks", None)
        if chunk:
            own = chunk[1 if self.transposed else 0]
            if own * row <= CHUNK_BYTES:
                size = max(1, size // own) * own
        return size

    def _rows(self, a, b, columns):
        low, high = min(columns), max(columns) + 1
        try:
            if self.values.ndim == 1:
                block = np.asarray(self.values[a:b])[:, None]
            elif self.transposed:
                block = np.asarray(self.values[low:high, a:b]).T
            else:
                block = np.asarray(self.values[a:b, low:high])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.path}: rows {a:,} to {b:,} cannot be read ({printable(error)[:200]}): the file is damaged or "
                "cut off, or packed with a filter that is not installed; copy it again"
            ) from error
        block = block[:, np.array(columns) - low]
        if np.any(np.not_equal(self.scale, 1)) or np.any(self.offset):
            scale = self.scale if np.ndim(self.scale) == 0 else np.asarray(self.scale)[columns]
            block = block.astype(float) * scale + self.offset
        return block


@dataclass
class Trains:
    """Spike times of neurons in a file.

    Attributes
    ----------
    neurons : list of str
    times : callable
        Of a neuron's place: its spike times in ms, array (n_spikes,).
    start_ms, stop_ms : float, optional
        When they were looked for; default: from the first to the last spike.
    intervals : array, optional
        (n_intervals, 2), in ms, where they were looked for in several pieces.
    """

    path: Any
    neurons: Sequence[str]
    times: Callable
    start_ms: float | None = None
    stop_ms: float | None = None
    intervals: Any = None
    attributes: dict = field(default_factory=dict)

    def load(self, *, bin_ms=None, neurons=None, start=None, stop=None, intervals=None):
        """Count the spikes of the neurons asked for."""
        if bin_ms is None:
            raise ValueError(
                f"{self.path} holds spike times: methods read counts in bins; pass --bin-ms (bin_ms= in Python), the "
                "width of a bin in ms: 1 to 5 for synapses of a few ms"
            )
        positive("bin_ms", bin_ms, "the width of a bin in ms, such as 1")
        names = readable_names(self.neurons)
        trains = {names[i]: self.times(i) for i in chosen(names, neurons)}
        try:
            recording = bin_spikes(
                trains,
                bin_ms,
                start_ms=self.start_ms if start is None else start,
                stop_ms=self.stop_ms if stop is None else stop,
                intervals=self.intervals if intervals is None else intervals,
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return recording.assign_attrs(self.attributes)


def choose(entries: list[Entry], asked: str | None, path) -> Entry:
    """Return the entry that is asked for, or the only candidate; else say what there is.

    Raises
    ------
    ValueError
        None of that name, several, or nothing that could be a recording.
    """
    if not entries:
        raise ValueError(
            f"{path} holds no series of numbers and no spike times: there is nothing to analyze; check that it is the "
            "right file"
        )
    if asked is None:
        candidates = [entry for entry in entries if entry.candidate]
        if len(candidates) == 1:
            return candidates[0]
        why = f"holds {len(candidates)} series that could be meant" if candidates else "holds no series of neurons"
        raise ValueError(
            f"{path} {why}: choose one with --series NAME (series= in Python) from: {listed(candidates or entries)}"
        )
    exact = [entry for entry in entries if entry.name == asked]
    found = exact or [entry for entry in entries if entry.name.endswith(f"/{asked}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{path} holds {len(found)} series called {asked!r}: give the whole name, of {listed(found)}")
    names = [entry.name for entry in entries]
    close = difflib.get_close_matches(str(asked), [*names, *(n.split("/")[-1] for n in names)], 1)
    hint = f"did you mean {printable(close[0])}? " if close else ""
    raise ValueError(f"{path} has no series {printable(asked)!r}: {hint}it holds {listed(entries)}")


def listed(entries: list[Entry]) -> str:
    """What there is, in one line."""
    more = f"; and {len(entries) - MOST_LISTED} more" if len(entries) > MOST_LISTED else ""
    return "; ".join(map(str, entries[:MOST_LISTED])) + more


def chosen(names: list[str], asked) -> list[int]:
    """Places of the neurons that are asked for, in that order; of all where none are."""
    if asked is None:
        return list(range(len(names)))
    asked = [asked] if isinstance(asked, str) else [str(name) for name in asked]
    if unknown := [name for name in asked if name not in names]:
        raise ValueError(
            f"there is no neuron called {short(unknown)}: the recording has {short(names)}; give names as "
            "they are written there"
        )
    if len(set(asked)) < len(asked) or not asked:
        raise ValueError(f"neurons {short(asked)} is empty or repeats a name: name each neuron once")
    return [names.index(name) for name in asked]


def printable(text: Any) -> str:
    """Text in which what no screen shows, or what steers one, is replaced by U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def readable_names(names: Sequence[Any]) -> list[str]:
    """Names of neurons as people can read them: printable, of at most 100 characters, none empty, each once.

    A file may hold any names, and reports, tables and screens show them. Names that are fine stay as they are.
    """
    given = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]
    result, taken = [], set(given)
    for place, name in enumerate(given):
        text = printable(name).strip() or f"n{place}"
        if len(text) > LONGEST_NAME:
            text = text[: LONGEST_NAME - 1] + "…"
        if text != name:
            plain, count = text, 2
            while text in taken:
                text, count = f"{plain}#{count}", count + 1
            taken.add(text)
        result.append(text)
    return result


def per_second(dt_ms: float | None) -> str:
    return f"{1000 / dt_ms:,.6g} per second" if dt_ms else ""

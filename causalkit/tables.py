"""Tables of numbers in text files, read with a reason for every refusal."""

import csv
import io
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .validation import CLOCK_TOLERANCE, physical_memory

_DELIMITERS = "\t;|,"
_MISSING = {"", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#n/a", "-"}
_TIME = re.compile(r"time(?:[ _]?[(\[]?(ms|s)[)\]]?)?", re.IGNORECASE)
_CLOCK = re.compile(
    r"(t|times?([ _-]?stamps?)?|frames?|index|samples?)"
    r"([ _-]?[(\[]?([mµμun]?s|m?secs?|(milli|micro)?seconds?|min)[)\]]?)?",
    re.IGNORECASE,
)
_EXCEL = re.compile(r"sep=.?", re.IGNORECASE)
_MEMORY_PER_BYTE = 20  # of a text file: ten times its size, and half of the memory is for the rest
_RAMP = 10  # rows: so many even steps are no accident
HEAD = 20  # lines that tell how a table is laid out


@dataclass(frozen=True)
class Layout:
    """How a table is written: `delimiter` (None for blanks), `decimal` sign, `names` or None, `width` in cells."""

    delimiter: str | None
    decimal: str
    names: list[str] | None
    width: int


def read_table(path, *, header=True):
    """Read a table of numbers from a text file.

    The delimiter (tab, semicolon, bar, comma or blanks) is found out; with a delimiter other than the comma,
    numbers may have a decimal comma. Empty lines, lines that start with ``#`` and Excel's ``sep=;`` are skipped.
    Missing cells (empty, NA, nan) become NaN.

    Parameters
    ----------
    path : Path
    header : bool
        The first row is a header if it holds a word, counts three or more columns (0, 1, 2, ... or
        1, 2, 3, ...), or holds different whole numbers over columns of fractions. False: it never is.

    Returns
    -------
    names : list of str or None
        The header; None if there is none.
    values : ndarray, shape (n_rows, n_columns)
    """
    numbered = [
        (number, line)
        for number, line in enumerate(_text(path).splitlines(), 1)
        if not is_skipped(number, line)
    ]
    layout, n_skipped = layout_of(path, numbered[:HEAD], header=header)
    return layout.names, parsed(path, numbered[n_skipped:], layout)


def is_skipped(number, line):
    """Whether a line holds no row: empty, a comment, or Excel's word on the delimiter in the first line (``sep=;``)."""
    line = line.strip()
    return not line or line.startswith("#") or (number == 1 and bool(_EXCEL.fullmatch(line)))


def layout_of(path, head, *, header=True):
    """Find out how a table is written from its first lines, pairs of number and text.

    Returns
    -------
    Layout
    n_skipped : int
        Lines of `head` before the first row of values.
    """
    if not head:
        raise ValueError(f"{path} is empty: a recording needs one row a time step and one column a neuron")
    head = [(number, line) for number, line, *_ in head]
    delimiter = _delimiter([line for _, line in head])
    decimal = "," if delimiter != "," and any("," in line for _, line in head[1:]) else "."
    first, *sample = ([cell.strip() for cell in _cells(path, row, delimiter)] for row in head)
    where = f"{path}, line {head[0][0]}"
    names = first if header and (_is_header(first, decimal, where) or _is_numbered(first, sample, decimal)) else None
    if names and len(head) == 1:
        raise ValueError(f"{path} has a header ({', '.join(first[:5])}) and no rows: add one row a time step")
    return Layout(delimiter, decimal, names, len(first)), int(names is not None)


def parsed(path, body, layout):
    """Values of some rows, pairs of number and text, (n_rows, n_columns)."""
    for number, line in body:
        if (n := len(_cells(path, (number, line), layout.delimiter))) != layout.width:
            raise ValueError(
                f"{path}, line {number}: {n} values, where the first row has {layout.width}: every row needs "
                "one value a column; the file may be cut off or use another delimiter"
            )
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(line for _, line in body)),
            sep=r"\s+" if layout.delimiter is None else layout.delimiter,
            header=None,
            dtype=float,
            decimal=layout.decimal,
            na_values=sorted(_MISSING),
            skipinitialspace=True,
        )
    except ValueError as error:
        raise ValueError(_first_word(path, body, layout.names, layout.delimiter, layout.decimal)) from error
    return frame.to_numpy()


def split_time(names, values, path):
    """Take the time and trial columns out of a table.

    Returns
    -------
    names, values
        Without those columns.
    time : ndarray or None
        As in the file.
    unit : {"ms", "s", None}
        Of `time`, None if its name does not say.
    trial : ndarray of int or None
    """
    times = [i for i, name in enumerate(names) if is_time(name)]
    trials = [i for i, name in enumerate(names) if name.lower() == "trial"]
    if len(times) > 1 or len(trials) > 1:
        several = [names[i] for i in (times if len(times) > 1 else trials)]
        raise ValueError(f"{path} has several columns for one thing, {several}: keep one of them")
    for i in times + trials:
        if not np.isfinite(values[:, i]).all():
            row = int(np.flatnonzero(~np.isfinite(values[:, i]))[0]) + 1
            raise ValueError(
                f"{path}: column {names[i]!r} has no value in data row {row}: every time step needs its place"
            )
    trial = None
    if trials:
        trial = values[:, trials[0]].astype(int)
        if (trial != values[:, trials[0]]).any():
            raise ValueError(f"{path}: column {names[trials[0]]!r} must number the trials with whole numbers")
    keep = [i for i in range(len(names)) if i not in times + trials]
    time = values[:, times[0]] if times else None
    unit = time_unit(names[times[0]]) if times else None
    return [names[i] for i in keep], values[:, keep], time, unit, trial


def refuse_clocks(names, values, path):
    """Refuse columns that hold times or counts of rows under another name: they would pass for neurons."""
    ramp = is_ramp(values) if len(values) >= _RAMP else np.zeros(values.shape[1], bool)
    for i in range(values.shape[1]):
        if ramp[i] or names and is_clock(names[i]):
            raise ValueError(clock_problem(path, repr(names[i]) if names else i + 1))


def is_ramp(values, before=None):
    """Which columns rise in even steps; the rows `before`, at least two or None, come before those of `values`."""
    rows = values if before is None else np.concatenate([before, values])
    if len(rows) < 2:
        return np.zeros(values.shape[1], bool)
    with np.errstate(invalid="ignore"):  # between infinite values
        steps = np.diff(rows, axis=0)
        return (np.abs(steps - steps[0]).max(axis=0) <= CLOCK_TOLERANCE * steps[0]) & (steps[0] > 0)


def clock_problem(path, column):
    """What is wrong with a column that counts."""
    return (
        f"{path}: column {column} looks like times or row numbers, which would pass for a neuron: call it"
        " time_ms or time_s if it holds the time, or rename or remove it"
    )


def is_clock(name):
    """Whether a column of this name may be taken for the time: as `is_time`, and t, timestamp, frame, index, …"""
    return is_time(name) or bool(_CLOCK.fullmatch(name.strip()))


def is_time(name):
    """Whether a column or entry of this name holds times: time, time_ms, time_s, "Time [ms]", …"""
    return bool(_TIME.fullmatch(name.strip()))


def time_unit(name):
    """Return the unit that the name of a time column gives: "ms", "s" or None."""
    unit = _TIME.fullmatch(name.strip()).group(1)
    return unit.lower() if unit else None


def _text(path):
    size, memory = path.stat().st_size, physical_memory()
    if size > memory / _MEMORY_PER_BYTE:
        raise ValueError(
            f"{path} is {size / 2**30:,.1f} GiB of text, which is read at once and takes {_MEMORY_PER_BYTE // 2} times "
            f"as much memory, of {memory / 2**30:,.1f} GiB: save the recording as .nc, .zarr or .nwb, which are read "
            "in parts"
        )
    raw = path.read_bytes()
    try:
        if b"\0" in raw:
            raise ValueError
        return raw.decode("utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{path} is not a text file{_encoding(raw)}: export the recording as CSV in UTF-8") from error


def _encoding(raw):
    """What text may be that is none in UTF-8, from its first bytes."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " in UTF-8 but in UTF-16, which Excel calls Unicode text"
    if b"\0" in raw or any(byte < 32 and byte not in b"\t\n\r" for byte in raw[:4096]):
        return ", whatever its name says"
    return " in UTF-8 but in another encoding, as older programs write it"


def _delimiter(lines):
    """Return the first delimiter that every line has equally often; None stands for blanks."""
    for delimiter in _DELIMITERS:
        if (n := lines[0].count(delimiter)) and all(line.count(delimiter) == n for line in lines):
            return delimiter
    found = max(_DELIMITERS, key=lines[0].count)
    return found if found in lines[0] else None


def _cells(path, numbered_line, delimiter):
    number, line = numbered_line
    if delimiter is None:
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {number}: a quoted cell is too long ({error}): a closing quote may be missing; mend the line"
        ) from error


def _number(cell, decimal):
    try:
        return float(cell.strip().strip('"').replace(decimal, "."))
    except ValueError:
        return None


def _is_header(cells, decimal, where):
    words = [cell for cell in cells if cell.lower() not in _MISSING and _number(cell, decimal) is None]
    numbers = [_number(cell, decimal) for cell in cells]
    counts = [list(range(start, start + len(cells))) for start in (0, 1)]
    empty = [i for i, cell in enumerate(cells, 1) if not cell]
    if len(cells) > 2 and numbers in counts or words:
        fractions = [n for n in numbers if n is not None and not n.is_integer()]
        if fractions and not any(map(is_time, cells)):
            turned = ": " + "with a neuron in each row it has to be transposed; " * (words == cells[:1])
            raise ValueError(
                f"{where} mixes names and numbers ({', '.join(cells[:6])}){turned}the first row is either all "
                "names or all values; mend the cells that are not numbers"
            )
        if empty:
            raise ValueError(
                f"{where}: column {empty[0]} has no name: call it time_ms or time_s if it holds the time, "
                "give it the neuron's name if it is one, or remove it"
            )
        return True
    if empty == [1] and len(cells) > 2 and numbers[1:] in [count[:-1] for count in counts]:
        raise ValueError(f"{where}: column 1 has no name: call it time_ms or time_s if it holds the time, or remove it")
    return False


def _is_numbered(first, sample, decimal):
    """Whether the first row numbers the columns: different whole numbers, and fractions below each of them."""
    if len(first) < 2 or len(set(first)) < len(first) or not all(cell.isdecimal() for cell in first):
        return False
    columns = [[_number(cell, decimal) for cell in column] for column in zip(*sample, strict=False)]
    return len(columns) == len(first) and all(any(x is not None and x % 1 for x in column) for column in columns)


def _first_word(path, body, names, delimiter, decimal):
    for number, line in body:
        for i, cell in enumerate(_cells(path, (number, line), delimiter)):
            if cell.strip().lower() not in _MISSING and _number(cell, decimal) is None:
                column = repr(names[i]) if names else i + 1
                remedy = "remove that column or mend the cell"
                if names and is_clock(names[i]):
                    remedy = "write times as milliseconds in a column called time_ms, or remove it and pass --dt-ms"
                return (
                    f"{path}, line {number}, column {column}: {cell.strip()!r} is not a number: a recording "
                    f"holds numbers only; {remedy}"
                )
    return f"{path} cannot be read as a table of numbers: check its delimiter and its decimal sign"

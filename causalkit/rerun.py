"""What the notebooks of the book share: parameter check, opening line, results folder, glued numbers.

The one module that knows notebooks; nothing else in the package imports it.
"""

import ast
import difflib
import hashlib
import html
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import xarray as xr
import yaml
from IPython import get_ipython
from IPython.display import display

from causalkit import __version__, connectivity

_READERS = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".nc": xr.load_dataset,
    ".json": lambda path: json.loads(path.read_text()),
}
_run: dict = {}  # of this notebook: what check_parameters found, for its opening line


def _assigned(cell: str) -> set[str]:
    """Names set by a cell that only sets parameters: the notebook's own, or the one that papermill injects."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return set()
    if not cell.startswith("# Parameters") and not any(isinstance(line, ast.AnnAssign) for line in body):
        return set()
    targets = [line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None) for line in body]
    return {target.id for target in targets} if all(isinstance(t, ast.Name) for t in targets) else set()


def check_parameters(notebook: str, **expected: type) -> dict:
    """Stop a notebook whose parameters are misspelt or of the wrong type; return those it runs with.

    papermill only warns about a name that it does not know, so each notebook checks for itself, in the first cell
    after its parameters, wherever it runs.

    Parameters
    ----------
    notebook : str
        Its name, for example ``"01_simulate"``; finds the named sets of parameters in ``params/``.
    **expected
        Parameter name -> type. A float may be given as a whole number.

    Returns
    -------
    dict
        Parameter name -> value.

    Raises
    ------
    ValueError
        If a name is given that the notebook does not take; the message lists the valid ones.
    TypeError
        If a value has another type than expected.
    """
    namespace = get_ipython().user_ns
    valid = ", ".join(f"{name} ({kind.__name__})" for name, kind in expected.items())
    given = set().union(*map(_assigned, namespace["In"]))
    for name in sorted(given - set(expected)):
        close = difflib.get_close_matches(name, expected, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown parameter {name!r}: this notebook takes {valid}.{hint}")
    values = {name: namespace[name] for name in expected}
    for name, kind in expected.items():
        accepted = (int, float) if kind is float else kind
        if not isinstance(values[name], accepted) or (isinstance(values[name], bool) and kind is not bool):
            raise TypeError(
                f"parameter {name}={values[name]!r} is of type {type(values[name]).__name__}, expected"
                f" {kind.__name__}: it would fail or mislead further down. This notebook takes {valid}."
            )
    _run.clear()
    _run.update(values=values, profile=_profile(notebook, values), start=time.perf_counter())
    return values


def _profile(notebook: str, values: dict) -> str:
    """Which of the named sets of parameters these are."""
    for profile in ("smoke", "paper"):
        path = _find(f"params/{profile}/{notebook}.yaml")
        if path and yaml.safe_load(path.read_text()) == values:
            return profile
    return "own parameters"


def _find(name: str) -> Path | None:
    """A file of the repository, looked for at and above the working folder."""
    return next((f / name for f in [Path.cwd(), *Path.cwd().parents] if (f / name).exists()), None)


def profile_banner(*, networks: int = 1, seeds: int = 0, device: str = "cpu") -> None:
    """Show the line that opens a chapter: profile, parameters, networks, seeds, version, machine.

    Parameters
    ----------
    networks : int
        How many simulated networks the notebook uses.
    seeds : int
        How many models it trains on each (0: it trains none).
    device : str
        Where it computes, for example ``"cpu"`` or the name of a GPU.

    Raises
    ------
    RuntimeError
        If `check_parameters` has not run: the line is made of what it found.
    """
    if not _run:
        raise RuntimeError("profile_banner shows the checked parameters: call check_parameters() before it")
    parts = [_run["profile"], ", ".join(f"{name}={value}" for name, value in _run["values"].items())]
    parts.append(_count(networks, "network") + (f", {_count(seeds, 'seed')} each" if seeds else ""))
    machine = f"{platform.machine()}, {_count(os.cpu_count() or 1, 'core')}, {device}"
    _run.update(parts=parts, details=[f"causalkit {__version__}", machine])
    _run["handle"] = display(_line(), raw=True, display_id=True)


def finish() -> None:
    """Add the seconds that the notebook took to its opening line; the last code cell calls it."""
    if "handle" not in _run:
        raise RuntimeError("finish completes the opening line: call profile_banner() at the start of the notebook")
    _run["details"].append(f"{time.perf_counter() - _run['start']:.0f} s")
    _run["handle"].update(_line(), raw=True)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" + ("s" if n != 1 else "")


def _line() -> dict:
    # Only the HTML names machine and seconds: the plain text is compared when the stored outputs are validated.
    text = " · ".join(_run["parts"])
    shown = html.escape(" · ".join(_run["parts"] + _run["details"]))
    return {"text/plain": text, "text/html": f'<p class="ck-banner"><strong>This run:</strong> {shown}</p>'}


def results_folder() -> Path:
    """Where notebooks write: the folder in ``CAUSALKIT_RESULTS``, else ``results`` in the working folder."""
    folder = Path(os.environ.get("CAUSALKIT_RESULTS") or "results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def reuse(name: str, compute: Callable[..., xr.Dataset], **parameters) -> xr.Dataset:
    """Load what an earlier notebook saved with these parameters, or compute and save it, with a note.

    Parameters
    ----------
    name : str
        What it is, for example ``"recording"``; begins the file's name.
    compute : callable
        Called as ``compute(**parameters)``; returns an `xarray.Dataset`.
    **parameters
        Everything the result depends on; other values mean another file.
    """
    path = _path(name, parameters)
    if path.exists():
        return xr.load_dataset(path, engine="h5netcdf")
    print(f"{path.name} is not in the results folder: computing the {name} now", file=sys.stderr)
    return save(name, compute(**parameters), **parameters)


def save(name: str, result: xr.Dataset, **parameters) -> xr.Dataset:
    """Store a result where `reuse` with the same name and parameters finds it; return it."""
    connectivity.to_netcdf(result, _path(name, parameters))
    return result


def _path(name: str, parameters: dict) -> Path:
    key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    return results_folder() / f"{name}-{key}.nc"


def stored(name: str) -> pd.DataFrame | xr.Dataset | dict:
    """Load a paper-scale result that ships with the book, from ``book/results/``.

    Parameters
    ----------
    name : str
        File name, ending in ``.csv`` or ``.parquet`` (a table), ``.nc`` (a Dataset) or ``.json`` (a dict).

    Raises
    ------
    FileNotFoundError
        If no folder at or above the working folder has ``book/results/<name>``.
    """
    path = _find(f"book/results/{name}")
    if path is None:
        raise FileNotFoundError(
            f"book/results/{name} not found at or above {Path.cwd()}: the stored runs come with the repository,"
            " so run the notebook inside a clone of it"
        )
    return _READERS[path.suffix](path)


def glue(name: str, value: float) -> None:
    """Make a number of this notebook available to the book's prose as ``{glue:text}``.

    Works where myst_nb is not installed (Colab), unlike `myst_nb.glue`.
    """
    prefix = "application/papermill.record/"
    value = value if isinstance(value, str) else float(f"{float(value):.6g}")
    metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
    display({f"{prefix}text/plain": repr(value)}, raw=True, metadata=metadata)


def remark(value: str | pd.DataFrame) -> None:
    """Show a sentence or a table whose numbers differ between machines, such as seconds and trained scores.

    It is shown as HTML, which the validation of stored outputs passes over.
    """
    shown = value.to_html() if isinstance(value, pd.DataFrame) else f'<p class="ck-remark">{html.escape(value)}</p>'
    display({"text/plain": "(differs between machines)", "text/html": shown}, raw=True)

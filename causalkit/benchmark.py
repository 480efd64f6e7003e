"""Every method on every set, with hyperparameters fixed in advance: what `causalkit benchmark` runs, through the sweep.

A set is a folder's ``NAME.npz`` with `x` (time, node), or (replicate, time, node), and `adj` (target, source), or one a
replicate, and beside it ``NAME.json``, whose texts `kind` and `sampling` say what the numbers are; or one of the worlds
that causalkit simulates, `SIMULATED`. Each replicate is a recording of its own, analyzed and scored alone.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from . import __version__, connectivity, default, io, methods, metrics, sweep
from .recording import from_array
from .sweep.grids import Grid, Setting
from .sweep.networks import Network

FDR = 0.05  # of the graphs of methods with p-values
SIMULATED = {
    "sim_var": {"model": "var", "n_neurons": 10, "n_lags": 3, "n_steps": 2000},
    "sim_lorenz96": {"model": "lorenz96", "n_neurons": 10, "n_steps": 1000, "dt": 0.05},
    "sim_joint_mlp": {"model": "timeseries", "n_neurons": 10, "n_steps": 2000, "mechanism": "joint_mlp"},
    "sim_lif": {"model": "lif", "n_neurons": 10, "n_steps": 5000},
    "sim_izhikevich": {"model": "izhikevich", "n_neurons": 10, "n_steps": 5000},
}
AUTO = "auto"  # in place of a method: the one that `default.choose` chooses
SEED = 7000  # first of the simulated replicates
COLUMNS = (
    "set", "replicate", "method", "n_neurons", "n_steps", "n_edges", "auroc", "auprc", "true_positive_rate",
    "false_positive_rate", "threshold", "seconds", "problem", "parameters", "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Replicate:
    """One recording of a set, and where it is."""

    set: str
    number: int
    network: Network


@dataclass(frozen=True)
class Plan:
    """All units of a benchmark, and the replicate of each."""

    units: list[sweep.Unit]
    replicates: list[Replicate]


def plan(
    data: str | os.PathLike | None,
    store: str | os.PathLike,
    *,
    method_names: Sequence[str] | None = None,
    set_names: Sequence[str] | None = None,
    n_replicates: int = 5,
    progress: bool = True,
) -> Plan:
    """List what is to be run.

    Parameters
    ----------
    data : path, optional
        Folder of sets.
    store : path
        Folder of the results; recordings of the sets are kept in it, in ``recordings``.
    method_names, set_names : sequence of str, optional
        Default: all.
    n_replicates : int
        The first so many of each set.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Plan
        Methods that are not made for the kind of a set are left out of it.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder, or no set in it.
    ValueError
        Unknown names, or a file that holds no set; the message says what is wrong.
    """
    if isinstance(n_replicates, bool) or not isinstance(n_replicates, int) or n_replicates < 1:
        raise ValueError(f"n_replicates is {n_replicates!r}: it is how many replicates of a set are run, 1 or more")
    files = _files(data)
    known = [*files, *SIMULATED]
    chosen = list(set_names) if set_names else known
    for name in chosen:
        _known(name, known, "set")
    settings = []
    for name in method_names or methods.METHODS:
        method = methods.get(name)
        settings.append(Setting(name, method.__name__, {}))
    replicates = []
    for name in chosen:
        if name in files:
            replicates += _from_file(name, files[name], Path(store) / "recordings", n_replicates)
        else:
            replicates += _from_simulator(name, n_replicates)
    kinds = {str(each.network): _recording(each).attrs["kind"] for each in replicates}
    alike: dict[tuple[str, ...], list[Setting]] = {}  # each recording is made once for all methods of a kind
    for setting in settings:
        alike.setdefault(methods.get(setting.method).traits.input_kinds, []).append(setting)
    units = []
    for made_for, same in alike.items():
        networks = tuple(each.network for each in replicates if kinds[str(each.network)] in made_for)
        if networks:
            units += sweep.units(Grid(networks, tuple(same)), progress=progress)
    return Plan(units, replicates)


def table(plan: Plan, store: str | os.PathLike) -> pd.DataFrame:
    """One row a replicate and method that was run; refusals and failures with the reason, and no scores.

    Returns
    -------
    DataFrame
        ``auroc`` and ``auprc`` are off the diagonal. ``true_positive_rate`` and ``false_positive_rate`` are those of
        the method's own graph, as in Lusch, Maia & Kutz (2016); ``threshold`` says which: "FDR .05" on its p-values,
        or "own" for the graph it gives, empty where it gives none. ``seconds`` are those of the fit.
    """
    store = store if isinstance(store, sweep.Store) else sweep.Store(store)
    origin = {str(each.network): each for each in plan.replicates}
    found = {unit.key: result for unit, result in sweep.results(store, plan.units)}
    rows = []
    for unit in plan.units:
        each = origin[str(unit.network)]
        row = {"set": each.set, "replicate": each.number, "method": unit.label, "n_neurons": unit.n_neurons,
               "n_steps": unit.n_times, "parameters": json.dumps(unit.resolved, default=str)}  # fmt: skip
        if (result := found.get(unit.key)) is not None:
            rows.append(row | scores(result))
        elif problem := store.failure(unit.key):
            rows.append(row | {"problem": " ".join(problem.split())})
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["set", "method", "replicate"], ignore_index=True)


def with_auto(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """A table with a row "auto" for each replicate: what `default.choose` chooses for it is worth.

    A choice without hyperparameters of its own is the very fit that the table holds, and its row is repeated. Others,
    which take less than a second, are fitted here. A replicate whose choice the table does not have gets no row.

    Parameters
    ----------
    table : DataFrame
        As `table` makes it; rows "auto" in it are made anew.
    plan : Plan
        With the replicates.
    """
    table, rows = table[table["method"] != AUTO], []
    for each in plan.replicates:
        recording = _recording(each)
        choice = default.choose(recording)
        what = {"set": each.set, "replicate": each.number, "method": AUTO}
        if choice.parameters:
            method = choice.build().fit(recording)
            attributes = {"causalkit": __version__, "algorithm_version": method.algorithm_version,
                          "date": f"{datetime.now(UTC):%Y-%m-%d}"}  # fmt: skip
            result = method.connectivity_.assign(truth=recording["connectivity"]).assign_attrs(attributes)
            n_steps, n_neurons = recording["activity"].shape
            row = {"n_neurons": n_neurons, "n_steps": n_steps} | scores(result)
            parameters = method.get_params()
        else:
            of = (table["set"] == each.set) & (table["replicate"] == each.number)
            found = table[of & (table["method"] == methods.get(choice.method).__name__)]
            if found.empty:
                continue
            row = found.iloc[0].to_dict()
            parameters = json.loads(row["parameters"])
        rows.append(row | what | {"parameters": json.dumps({"method": choice.method} | parameters)})
    if not rows:
        return table
    together = pd.concat([table, pd.DataFrame(rows, columns=list(COLUMNS))], ignore_index=True)
    return together.sort_values(["set", "method", "replicate"], ignore_index=True)


def scores(result: xr.Dataset) -> dict:
    """What one result is worth: `result` is a unit's, with ``truth``."""
    truth = result["truth"].values != 0
    off = ~np.eye(len(truth), dtype=bool)
    graph, threshold = own_graph(result)
    row = {
        "n_edges": int((truth & off).sum()),
        "auroc": metrics.auroc(result["truth"], result["score"]),
        "auprc": metrics.auprc(result["truth"], result["score"]),
        "threshold": threshold,
        "seconds": float(result.attrs["seconds"]),
        "versions": json.dumps({k: str(result.attrs[k]) for k in ("causalkit", "algorithm_version", "date")}),
    }
    if graph is not None:
        row |= {"true_positive_rate": graph[truth & off].mean(), "false_positive_rate": graph[~truth & off].mean()}
    return row


def own_graph(result: xr.Dataset) -> tuple[np.ndarray | None, str]:
    """The graph that a method gives without the truth, of bool (target, source), and how it comes about."""
    if "p_value" in result:
        return connectivity.adjacency(result, fdr=FDR).values != 0, f"FDR {FDR:.2f}".replace("0.", ".")
    if "graph" in result:
        graph = result["graph"].transpose("target", "source", ...).values != 0
        return (graph if graph.ndim == 2 else graph.any(axis=2)), "own"
    return None, ""


def ranking(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC of each method on each set, methods ranked.

    Returns
    -------
    DataFrame
        A row a method, a column a set; blank (NaN) where it has no score for every replicate of the set. ``mean rank``,
        the first column, is over the sets that the method has: of those with scores there, 1 is best. Ties share.
        "auto", which is one of the others on each set, has its place among them and takes none from them.
    """
    done = table.dropna(subset="auroc")
    wide = done.pivot_table(index="method", columns="set", values="auroc")
    count = done.pivot_table(index="method", columns="set", values="auroc", aggfunc="count")
    wide = wide.where(count == count.max())
    rounded = wide.round(6)
    others = rounded.drop(index=AUTO, errors="ignore")
    places = others.rank(ascending=False)
    if AUTO in wide.index:
        places.loc[AUTO] = ((others > rounded.loc[AUTO]).sum() + 1).where(rounded.loc[AUTO].notna())
    place = places.mean(axis=1)
    wide.insert(0, "sets", wide.notna().sum(axis=1))
    wide.insert(0, "mean rank", place)
    return wide.sort_values("mean rank", kind="stable")


def hyperparameters(method_names: Sequence[str] | None = None) -> str:
    """All hyperparameters of the methods as text: defaults, the same for every set."""
    lines = []
    for name in method_names or methods.METHODS:
        method = methods.get(name)
        given = ", ".join(f"{key}={value!r}" for key, value in method().get_params().items())
        lines.append(f"{method.__name__}({given})")
    return "\n".join(lines)


# ---- sets


def read_set(path: str | os.PathLike) -> list[xr.Dataset]:
    """The recordings of a set, one a replicate.

    Parameters
    ----------
    path : path of the ``.npz``
        Its ``.json``, where there is one, tells the kind (a text with "spik" or "count" means spikes) and whether the
        first axis is trajectories of one experiment: those stay together, as trials of one recording.

    Raises
    ------
    ValueError
        The file is no such archive, or its arrays do not belong together.
    """
    path = Path(path)
    x, adj = _arrays(path)
    about = _about(path.with_suffix(".json"))
    kind = "spikes" if re.search("spik|count", str(about.get("kind", "")), re.IGNORECASE) else "other"
    together = x.ndim == 3 and "trajector" in str(about.get("sampling", "")).lower()
    if together:
        if adj.ndim == 3:
            raise ValueError(f"{path}: trajectories of one experiment have one truth, and adj has shape {adj.shape}")
        trial = np.repeat(np.arange(len(x)), x.shape[1])
        return [from_array(x.reshape(-1, x.shape[2]), kind=kind, connectivity=adj, trial=trial)]
    parts = x if x.ndim == 3 else x[None]
    truths = adj if adj.ndim == 3 else [adj] * len(parts)
    return [from_array(part, kind=kind, connectivity=truth) for part, truth in zip(parts, truths, strict=True)]


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("x", "adj") if name not in archive.files]
            if missing:
                raise ValueError(f"it has no {' and no '.join(missing)}, but {', '.join(archive.files) or 'nothing'}")
            x, adj = archive["x"], archive["adj"]
    except Exception as error:  # a damaged archive raises many kinds
        raise ValueError(
            f"{path} is no set ({error}): save x (time, node) or (replicate, time, node), and adj (target, source)"
        ) from error
    n_nodes = x.shape[-1] if x.ndim else 0
    fits = x.ndim in (2, 3) and adj.shape[-2:] == (n_nodes, n_nodes) and (
        adj.ndim == 2 or (adj.ndim == x.ndim == 3 and len(adj) == len(x))
    )  # fmt: skip
    if not fits:
        raise ValueError(
            f"{path}: x has shape {x.shape} and adj {adj.shape}; they are (time, node), or (replicate, time, node), "
            "and (target, source), or one a replicate"
        )
    return x, adj


def _about(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}): correct it, or remove it") from error
    if not isinstance(about, dict):
        raise ValueError(f"{path} holds {type(about).__name__}: it describes a set by names and values")
    return about


def _files(data) -> dict[str, Path]:
    if data is None:
        return {}
    folder = Path(data)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist: name the folder that holds the sets")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name the folder that holds the sets")
    files = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    if not files:
        raise FileNotFoundError(f"{folder} holds no .npz: a set is NAME.npz, with x and adj, and NAME.json")
    if both := sorted(set(files) & set(SIMULATED)):
        raise ValueError(f"{folder} has a set called {both[0]}, which is one of the simulated: rename the file")
    return files


def _from_file(name: str, path: Path, folder: Path, n_replicates: int) -> list[Replicate]:
    """Its replicates, each in a file of the store, where the sweep reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    replicates = []
    for number, recording in enumerate(read_set(path)[:n_replicates]):
        target = folder / f"{name}_r{number}.npz"
        io.write_recording(recording, target)
        replicates.append(Replicate(name, number, Network(target.stem, file=str(target.absolute()))))
    return replicates


def _from_simulator(name: str, n_replicates: int) -> list[Replicate]:
    replicates = []
    for number in range(n_replicates):
        arguments = {**SIMULATED[name], "random_state": SEED + number}
        if arguments["model"] == "izhikevich":
            del arguments["model"]  # the usual one needs no name
        replicates.append(Replicate(name, number, Network(f"{name}_r{number}", simulated=arguments)))
    return replicates


def _recording(replicate: Replicate) -> xr.Dataset:
    if replicate.network.file is None:
        return replicate.network.recording()
    return io.read(replicate.network.file)


def _known(name: str, known: list[str], what: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(str(name), known, 1)
        raise ValueError(
            f"there is no {what} {name!r}: " + (f"did you mean {close[0]!r}?" if close else f"choose of {known}")
        )

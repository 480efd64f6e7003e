"""The table of a sweep: one row a network, method, seed and protocol, from the result files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from .. import io, metrics
from ..progress import progress_bar
from .grids import Grid
from .stores import Store
from .work import Unit, units

_FROM_ATTRIBUTES = (
    "seconds", "algorithm_version", "causalkit", "numpy", "torch", "python", "device", "threads", "date",
    "parameters", "network_parameters", "warnings", "key",
)  # fmt: skip
COLUMNS = (
    "network", "n_neurons", "connection_probability", "n_steps", "surrogate", "method", "label", "seed", "protocol",
    "auroc", "auprc", "r2", "r2_on", "epochs", "order", *_FROM_ATTRIBUTES,
)  # fmt: skip


def table(
    store: Store | str | os.PathLike, grid: Grid | list[Unit] | None = None, *, progress: bool = True
) -> pd.DataFrame:
    """Score every result of a store, or those that belong to a grid.

    Parameters
    ----------
    store : Store or path
    grid : Grid or list of Unit, optional
        Take its units only, in its order and under its labels; units without a result are left out.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        One row a unit, seed and protocol ("off_diagonal", "published"). ``seed`` is "ensemble" for the method's score,
        and the seed as text for a member's. ``auroc`` and ``auprc`` are NaN where the truth has no edges, or no
        non-edges that the protocol counts. ``r2`` is the mean over neurons, of forecasts on the part that ``r2_on``
        names: "test", or "fit" for the data that the method was fitted to. ``epochs``, ``order`` where a method has
        them. ``seconds`` are those of the whole unit.
    """
    store = store if isinstance(store, Store) else Store(store)
    if grid is None:
        found = [(path, {}) for path in store.results()]
    else:
        planned = units(grid, progress=progress) if isinstance(grid, Grid) else grid
        found = [(store.result(u.key), _names(u)) for u in planned]
        found = [(path, names) for path, names in found if path is not None]
    rows: list[dict] = []
    with progress_bar(len(found), "scores", wanted=progress) as bar:
        for path, names in found:
            with xr.open_dataset(path, engine="h5netcdf") as result:
                rows += _rows(result.load(), names)
            bar.update()
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"epochs": "Int64", "order": "Int64"})


def results(store: Store | str | os.PathLike, planned: list[Unit]) -> Iterator[tuple[Unit, xr.Dataset]]:
    """Each unit that is finished, in the order given, with its result in memory.

    Parameters
    ----------
    store : Store or path
    planned : list of Unit
    """
    store = store if isinstance(store, Store) else Store(store)
    for unit in planned:
        if (path := store.result(unit.key)) is not None:
            with xr.open_dataset(path, engine="h5netcdf") as result:
                result.load()
            yield unit, result


def write_table(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as ``.parquet`` or ``.csv``, whole or not at all.

    Raises
    ------
    ImportError
        If pandas finds no parquet library.
    """
    path = Path(path)
    with io.atomic(path) as temporary:
        if path.suffix == ".csv":
            frame.to_csv(temporary, index=False, lineterminator="\n")
        else:
            frame.to_parquet(temporary, index=False)


def with_earlier_rows(frame: pd.DataFrame, path: str | os.PathLike, *, same: list[str]) -> pd.DataFrame:
    """A table, after those rows of an earlier one that it says nothing new of: the earlier store need not be kept.

    Parameters
    ----------
    frame : DataFrame
        The rows of what a store holds now, at least one.
    path : path
        The earlier table, ``.parquet`` or ``.csv``.
    same : list of str
        Columns that tell what a row is of. An earlier row with the values of a new one gives way to it.

    Raises
    ------
    FileNotFoundError
        If there is no earlier table.
    KeyError
        If one of the tables lacks a column of ``same``.
    """
    path = Path(path)
    earlier = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    told = pd.MultiIndex.from_frame(earlier[same]).isin(pd.MultiIndex.from_frame(frame[same]))
    return pd.concat([earlier[~told], frame], ignore_index=True)


def write_provenance(table: str | os.PathLike, provenance: dict) -> None:
    """Write what a table rests on beside it, as ``.json`` of the same name, whole or not at all."""
    with io.atomic(Path(table).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(provenance, indent=2) + "\n")


def _names(unit) -> dict:
    """What the grid calls the unit: of two networks with the same data, the store knows the first computed alone."""
    network = unit.network
    return {
        "network": network.name, "label": unit.label, "connection_probability": network.connection_probability,
        "surrogate": network.surrogate, "network_parameters": json.dumps(network.description),
    }  # fmt: skip


def _rows(result: xr.Dataset, names: dict) -> list[dict]:
    """Rows of one result: the ensemble, then each seed, in both protocols."""
    attributes = {name: _plain(value) for name, value in result.attrs.items()} | names
    shared = {
        "network": attributes["network"], "n_neurons": attributes["n_neurons"],
        "connection_probability": attributes["connection_probability"], "n_steps": attributes["n_times"],
        "surrogate": attributes["surrogate"], "method": attributes["method"], "label": attributes["label"],
        "order": int(result["order"]) if "order" in result else None,
        **{name: attributes[name] for name in _FROM_ATTRIBUTES},
    }  # fmt: skip
    members = [("ensemble", result["score"], _ensemble_r2(result), _epochs(result))]
    if "seed_score" in result:
        for seed in result["seed"].values:
            member = result.sel(seed=seed)
            r2 = ("test", _mean(member["test_r2"])) if "test_r2" in member else (None, np.nan)
            members.append((str(seed), member["seed_score"], r2, _epochs(member)))
    return [
        {**shared, "seed": seed, "protocol": protocol, "r2_on": on, "r2": r2, "epochs": epochs,
         **_scores(result["truth"], score, protocol)}
        for seed, score, (on, r2), epochs in members
        for protocol in metrics.PROTOCOLS
    ]  # fmt: skip


def _scores(truth: xr.DataArray, score: xr.DataArray, protocol: str) -> dict:
    off = ~np.eye(len(truth), dtype=bool)
    edges = truth.values[off] != 0
    rankable = edges.any() and (protocol == "published" or not edges.all())
    if not rankable:  # a complete graph has no non-edge to rank below the edges
        return {"auroc": np.nan, "auprc": np.nan}
    return {
        "auroc": metrics.auroc(truth, score, protocol=protocol),
        "auprc": metrics.auprc(truth, score, protocol=protocol),
    }


def _ensemble_r2(result: xr.Dataset) -> tuple[str | None, float]:
    for name, on in (("ensemble_test_r2", "test"), ("r2", "fit")):
        if name in result:
            return on, _mean(result[name])
    return None, np.nan


def _epochs(result: xr.Dataset) -> int | None:
    """Epochs trained: of a member, or of the one that trained longest."""
    if "train_loss" not in result:
        return None
    return int(np.isfinite(result["train_loss"]).sum("epoch").max())


def _mean(values: xr.DataArray) -> float:
    finite = values.values[np.isfinite(values.values)]  # a neuron that is silent has no variance to explain
    return float(finite.mean()) if finite.size else np.nan


def _plain(value):
    return value.item() if hasattr(value, "item") else value

"""What comes out: an `xarray.Dataset` with `score (target, source)`, larger = more evidence of an edge."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import xarray as xr

from .significance import fdr as adjust

EDGE = ("target", "source")


def build(
    score: Any,
    *,
    neurons: Sequence[str],
    method: str,
    parameters: dict | None = None,
    seconds: float | None = None,
    sign: Any = None,
    p_value: Any = None,
    lag_score: Any = None,
    seed_score: Any = None,
    **extra: Any,
) -> xr.Dataset:
    """Put a method's results into the form that metrics, plots and export read.

    Parameters
    ----------
    score : array, (n_neurons, n_neurons)
        [target, source], not negative. Its diagonal, where not NaN, goes to `self_score (target)`; in `score`
        the diagonal is NaN.
    neurons : sequence of str
        Names, (n_neurons,).
    method : str
        The method's name.
    parameters : dict, optional
        Hyperparameters, stored as JSON text.
    seconds : float, optional
        How long the fit took.
    sign : array of -1, 0, +1, optional
        (n_neurons, n_neurons), inhibitory or excitatory.
    p_value : array, optional
        (n_neurons, n_neurons), not corrected for the number of tests; its diagonal becomes NaN.
    lag_score : array, optional
        (n_neurons, n_neurons, n_lags), lag 1 first; the diagonal keeps each neuron's own history.
    seed_score : array, optional
        (n_seeds, n_neurons, n_neurons), or a DataArray with a `seed` coordinate; the diagonal is kept.
    **extra
        More (n_neurons, n_neurons) matrices, DataArrays, or numbers and text, which become attributes.

    Returns
    -------
    xarray.Dataset
        Dimensions (target, source); attributes method, parameters, version and, if given, seconds.

    Raises
    ------
    ValueError
        A wrong shape, or a score that is not finite or is negative off the diagonal.
    """
    names = np.array([str(n) for n in neurons])
    n = len(names)
    score = _matrix(score, n, "score")
    off = ~np.eye(n, dtype=bool)
    if (
        not np.isfinite(score[off]).all()
        or (score[off] < -1e-9 * max(1.0, np.abs(score[off]).max(initial=0))).any()
    ):
        raise ValueError(
            f"score of {method} has values that are negative or not finite off the diagonal: larger must "
            "mean more evidence, from 0 up; pass magnitudes, and signs in sign=..."
        )
    own = np.diag(score).copy()
    score[off] = np.maximum(score[off], 0)  # rounding may leave a zero slightly negative
    np.fill_diagonal(score, np.nan)

    result = xr.Dataset({"score": (EDGE, score)}, coords={"target": names, "source": names})
    if not np.isnan(own).all():
        result["self_score"] = "target", own
    if sign is not None:
        sign = _matrix(sign, n, "sign")
        if not np.isin(sign[off], (-1, 0, 1)).all():
            raise ValueError(
                f"sign of {method} has values other than -1, 0 and +1: it says inhibitory or excitatory; "
                "pass numpy.sign(weights)"
            )
        result["sign"] = EDGE, np.where(off, sign, 0).astype(np.int8)
    if p_value is not None:
        result["p_value"] = EDGE, np.where(off, _matrix(p_value, n, "p_value"), np.nan)
    if lag_score is not None:
        lags = np.asarray(lag_score, dtype=float)
        if lags.ndim != 3 or lags.shape[:2] != (n, n):
            raise ValueError(
                f"lag_score has shape {lags.shape} for {n} neurons: it must be (target, source, lag)"
            )
        result = result.assign_coords(lag=np.arange(1, lags.shape[2] + 1))
        result["lag_score"] = (*EDGE, "lag"), lags
    if seed_score is not None:
        seeds = np.asarray(seed_score, dtype=float)
        if seeds.ndim != 3 or seeds.shape[1:] != (n, n):
            raise ValueError(
                f"seed_score has shape {seeds.shape} for {n} neurons: it must be (seed, target, source)"
            )
        known = isinstance(seed_score, xr.DataArray) and "seed" in seed_score.coords
        result = result.assign_coords(seed=seed_score["seed"].values if known else np.arange(len(seeds)))
        result["seed_score"] = ("seed", *EDGE), seeds
    result.attrs = {
        "method": method,
        "parameters": json.dumps(parameters or {}, default=_plain),
        "version": _version(),
    }
    if seconds is not None:
        result.attrs["seconds"] = float(seconds)
    for name, value in extra.items():
        if isinstance(value, xr.DataArray):
            result[name] = value
        elif np.ndim(value) == 0:
            result.attrs[name] = value
        else:
            result[name] = EDGE, _matrix(value, n, name, dtype=None)
    return result


def adjacency(
    connectivity: xr.Dataset,
    *,
    fdr: float | None = None,
    top_k: int | None = None,
    density: float | None = None,
    threshold: float | None = None,
) -> xr.DataArray:
    """Make a graph of scores by exactly one rule.

    Parameters
    ----------
    connectivity : Dataset
    fdr : float, optional
        Edges whose p-value, Benjamini-Hochberg adjusted over all off-diagonal entries, is ≤ `fdr`.
    top_k : int, optional
        The k edges of largest score; of equal ones the first, target by target.
    density : float, optional
        As `top_k`, k being this share of all n (n - 1) possible edges, rounded.
    threshold : float, optional
        Edges of score > `threshold`.

    Returns
    -------
    DataArray of bool, (target, source)

    Raises
    ------
    ValueError
        No rule or several, a value outside its range, or `fdr` where the method gives no p-values.
    """
    rules = {"fdr": fdr, "top_k": top_k, "density": density, "threshold": threshold}
    given = {name: value for name, value in rules.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"{len(given)} rules given {sorted(given)}: the graph depends on the rule, so name exactly "
            f"one of {list(rules)}"
        )
    score = _checked(connectivity)["score"].transpose(*EDGE)
    n = score.sizes["target"]
    if fdr is not None:
        _in_unit_interval("fdr", fdr)
        if "p_value" not in connectivity:
            raise ValueError(
                f"{connectivity.attrs.get('method', 'this method')} gives no p-values, so a false "
                "discovery rate cannot be held; use top_k=, density= or threshold="
            )
        return (adjust(connectivity["p_value"].transpose(*EDGE), "bh") <= fdr).rename("adjacency")
    values = np.where(np.eye(n, dtype=bool), -np.inf, score.values)
    if threshold is not None:
        return score.copy(data=values > threshold).rename("adjacency")
    possible = n * (n - 1)
    if density is not None:
        _in_unit_interval("density", density)
        top_k = round(density * possible)
    if top_k != int(top_k) or not 0 <= top_k <= possible:
        raise ValueError(
            f"top_k is {top_k}: {n} neurons have {possible} possible edges; give a whole number from 0 "
            f"to {possible}"
        )
    chosen = np.zeros(n * n, dtype=bool)
    chosen[np.argsort(-values.ravel(), kind="stable")[: int(top_k)]] = True
    return score.copy(data=chosen.reshape(n, n)).rename("adjacency")


def to_frame(connectivity: xr.Dataset) -> pd.DataFrame:
    """List all off-diagonal edges, strongest first.

    Returns
    -------
    DataFrame
        Columns source, target, score and, where the method gives them, sign, p_value, adjusted_p_value and lag
        (the one of the largest `lag_score`, in time steps).
    """
    c = _checked(connectivity)
    n = c.sizes["target"]
    target, source = np.nonzero(~np.eye(n, dtype=bool))
    table = pd.DataFrame({"source": c["source"].values[source], "target": c["target"].values[target]})
    for name in ("score", "sign", "p_value", "adjusted_p_value"):
        if name in c:
            table[name] = c[name].transpose(*EDGE).values[target, source]
    if "lag_score" in c:
        lags = c["lag_score"].transpose(*EDGE, "lag")
        table["lag"] = c["lag"].values[lags.values.argmax(axis=-1)[target, source]]
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def to_networkx(connectivity: xr.Dataset | xr.DataArray, adjacency: xr.DataArray | None = None) -> nx.DiGraph:
    """Make a directed graph whose edges run source → target.

    Parameters
    ----------
    connectivity : Dataset or DataArray, (target, source)
        A Dataset gives every off-diagonal edge with the columns of `to_frame` as attributes (nothing is
        thresholded); a matrix gives its nonzero off-diagonal entries, with `weight` unless it is boolean.
    adjacency : DataArray of bool, optional
        Keep only these edges, as made by `adjacency`.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(connectivity["target"].values.tolist())
    if isinstance(connectivity, xr.Dataset):
        for row in to_frame(connectivity).to_dict("records"):
            graph.add_edge(row.pop("source"), row.pop("target"), **row)
    else:
        matrix = connectivity.transpose(*EDGE)
        names, sources = matrix["target"].values.tolist(), matrix["source"].values.tolist()
        off = ~np.eye(len(names), dtype=bool)
        for i, j in zip(*np.nonzero(matrix.fillna(0).values * off), strict=True):
            weight = {} if matrix.dtype == bool else {"weight": float(matrix.values[i, j])}
            graph.add_edge(sources[j], names[i], **weight)
    if adjacency is not None:
        kept = to_networkx(adjacency.astype(bool)).edges
        graph.remove_edges_from([edge for edge in graph.edges if edge not in kept])
    return graph


def to_netcdf(dataset: xr.Dataset, path: str | os.PathLike) -> Path:
    """Write a connectivity (or a recording) as netCDF; the file appears complete or not at all.

    Raises
    ------
    FileNotFoundError
        The folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"folder {str(path.parent)!r} does not exist, so {path.name!r} cannot be written; make it first"
        )
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        dataset.to_netcdf(partial, engine="h5netcdf")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def from_netcdf(path: str | os.PathLike) -> xr.Dataset:
    """Read a connectivity that `to_netcdf` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, is no netCDF, or holds no `score (target, source)`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; check the name and the folder")
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
    except Exception as error:  # h5py raises OSError, KeyError and others on damaged files
        raise ValueError(
            f"{path.name!r} cannot be read as netCDF ({error}): it is truncated or of another kind; "
            "write it again with connectivity.to_netcdf"
        ) from error
    for name in EDGE:
        if name in dataset.coords:
            dataset = dataset.assign_coords({name: dataset[name].values.astype(str)})
    return _checked(dataset, path.name)


def _checked(c: xr.Dataset, what: str = "the Dataset") -> xr.Dataset:
    if not isinstance(c, xr.Dataset) or "score" not in c or set(c["score"].dims) != set(EDGE):
        raise ValueError(
            f"{what} holds no score (target, source), so it is no connectivity; pass method.connectivity_ "
            "or what connectivity.build returns"
        )
    return c


def _matrix(values: Any, n: int, what: str, dtype: Any = float) -> np.ndarray:
    matrix = np.array(values, dtype=dtype)
    if matrix.shape != (n, n):
        raise ValueError(
            f"{what} has shape {matrix.shape} for {n} neurons: it must be a square (target, source) matrix"
        )
    return matrix


def _in_unit_interval(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: it is a share, so give a number from 0 to 1")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)


def _version() -> str:
    import causalkit  # not at the top: the package's __init__ imports this module

    return getattr(causalkit, "__version__", "unknown")

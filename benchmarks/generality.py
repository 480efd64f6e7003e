"""Tell how SingleIndexGranger does in worlds that it was not made for, and whether its p-values hold there.

    causalkit sweep benchmarks/generality.yaml --store _build/generality
    python benchmarks/generality.py

Collects whatever is there. Writes book/results/generality.csv, one row for each network, method and group of pairs; the
tables that the book shows, generality_worlds.csv, generality_graphs.csv and generality_p_values.csv; and their
provenance, generality.json. Prints the tables. The unit of all means and intervals is the network, because the pairs of
one are dependent.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from accuracy import FDR, VERSIONS, interval, row_of

import causalkit.sweep as sweep
from causalkit import connectivity
from causalkit.simulate.wiring import SYNAPTIC_WEIGHT
from causalkit.sweep.networks import Network, simulated

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("SingleIndexGranger", "MVGC")
NO_EDGES, NO_INPUTS, TOGETHER, ONE_LATER, STRONG = (
    "VAR without edges",
    "a driver without inputs",
    "hidden driver, both after 1 step",
    "hidden driver, after 1 and 2 steps",
    "the same, weights of 20",
)
FEW, MANY = 0.95, 0.999  # confidence of intervals, over 5 networks and over 30 or more


def world_of(network: Network) -> str:
    """What the book calls the kind of a network."""
    given = network.simulated
    if "connectivity" in given:
        if not network.hidden:
            return NO_INPUTS
        if np.max(given["connectivity"]) > SYNAPTIC_WEIGHT:
            return STRONG
        return TOGETHER if given.get("delay_steps", 1) == 1 else ONE_LATER
    if given.get("connection_probability") == 0:
        return NO_EDGES
    weight = given.get("weight")
    size = "" if weight is None else f", weights {'1 to 5' if isinstance(weight, list) else f'{weight:g}'}"
    delays = ", delays 1 to 5 ms" if "delay_steps" in given else ""
    model = given.get("model", "izhikevich")
    if model == "var":
        heavy = ", heavy tails" if given.get("noise") == "student" else ""
        n_lags = given.get("n_lags", 1)
        return ("VAR, lag 1" if n_lags == 1 else f"VAR, lags 1 to {n_lags}") + heavy
    if model == "lorenz96":
        return f"Lorenz-96, F = {given['forcing']:g}"
    drive = ", Poisson drive" if given.get("drive") == "poisson" else ""
    return {"lif": "LIF", "izhikevich": "Izhikevich"}[model] + size + delays + drive


def groups_of(world: str, neurons: list[str]) -> dict[str, np.ndarray]:
    """Groups of pairs that have a question of their own, as masks (target, source)."""
    off = ~np.eye(len(neurons), dtype=bool)
    place = {name: k for k, name in enumerate(neurons)}
    if world == NO_INPUTS:
        into = np.zeros_like(off)
        into[place["n0"]] = True
        among = off.copy()
        among[place["n0"]] = among[:, place["n0"]] = False
        return {"into the driver": into & off, "among the driven": among}
    if world in (TOGETHER, ONE_LATER, STRONG):
        forth, back = np.zeros_like(off), np.zeros_like(off)
        forth[place["n2"], place["n1"]] = back[place["n1"], place["n2"]] = True
        rest = {"all others": off & ~forth & ~back}
        if world == TOGETHER:
            return {"between the two": forth | back} | rest
        return {"earlier to later": forth, "later to earlier": back} | rest
    return {"all": off}


def rows_of(unit: sweep.Unit, result: xr.Dataset) -> list[dict]:
    """What one result says, a row for each group of pairs."""
    world = world_of(unit.network)
    truth, p = result["truth"].values, result["p_value"].values
    graph = connectivity.adjacency(result, fdr=FDR).values != 0
    versions = {name: str(result.attrs[name]) for name in VERSIONS if name in result.attrs}
    named = {"world": world, "network": str(unit.network), "n_neurons": unit.n_neurons, "n_steps": unit.n_times,
             "method": unit.label, "seconds": float(result.attrs["seconds"])}  # fmt: skip
    rows = []
    for group, pairs in groups_of(world, result["target"].values.tolist()).items():
        none = pairs & (truth == 0)
        row = {"pairs": group, "n_edges": 0, "n_non_edges": int(none.sum()), "in_graph": float(graph[none].mean())}
        row |= {f"rejected_{level:g}": float((p[none] < level).mean()) for level in (0.05, 0.01)}
        if group == "all":
            row |= row_of(result)
            row["right_lags"] = right_lags(unit.network, result)
        rows.append(named | row | {"versions": json.dumps(versions)})
    return rows


def right_lags(network: Network, result: xr.Dataset) -> float:
    """Share of edges whose statistic is largest at the lag at which the simulated connection acts; else NaN."""
    edge = result["truth"].values != 0
    if not edge.any() or network.simulated.get("model") == "lorenz96":
        return np.nan
    delays = simulated(network.simulated).get("delay_steps")
    found = result["lag"].values[result["lag_score"].transpose("target", "source", "lag").values[edge].argmax(axis=-1)]
    return float((found == (1 if delays is None else delays.values[edge])).mean())


def table_of(units: list[sweep.Unit], store: Path) -> pd.DataFrame:
    """Rows of all finished units."""
    return pd.DataFrame([row for unit, result in sweep.results(store, units) for row in rows_of(unit, result)])


def worlds_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each world, as the book shows them."""
    rows = []
    table = table[table["n_edges"] > 0]
    for world, part in table.groupby("world", sort=False):
        ours, mvgc = (part[part["method"] == method] for method in METHODS)
        rows.append({
            "world": world, "networks": len(ours),
            "AUROC": _mean(ours["auroc"], 3), "smallest": f"{ours['auroc'].min():.3f}", "MVGC": _mean(mvgc["auroc"], 3),
            "signs": "" if world.startswith("Lorenz") else _mean(ours["sign_accuracy"], 2),
            "lags": _mean(ours["right_lags"], 2),
        })  # fmt: skip
    return pd.DataFrame(rows)


def graphs_of(table: pd.DataFrame) -> pd.DataFrame:
    """What the graphs at a false discovery rate of .05, and the p-values behind them, are worth in each world."""
    rows = []
    table = table[(table["n_edges"] > 0) & (table["method"] == METHODS[0])]
    for world, ours in table.groupby("world", sort=False):
        allowed = FDR * (ours["n_non_edges"] / (ours["n_non_edges"] + ours["n_edges"])).mean()
        rows.append({
            "world": world, "found": _mean(ours["power"], 2), "false": _mean(ours["false_discoveries"], 3),
            "allowed": f"{allowed:.3f}", "non-edges below .05": _share(ours["rejected_0.05"], FEW),
        })  # fmt: skip
    return pd.DataFrame(rows)


def p_values_of(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of pairs without a connection that are called one, as the book shows them."""
    rows = []
    table = table[table["world"].isin((NO_EDGES, NO_INPUTS, TOGETHER, ONE_LATER, STRONG))]
    for (world, pairs), part in table.groupby(["world", "pairs"], sort=False):
        ours, mvgc = (part[part["method"] == method] for method in METHODS)
        rows.append({
            "networks of": world, "pairs": pairs, "networks": len(ours),
            "below .05": _share(ours["rejected_0.05"], MANY), "below .01": _share(ours["rejected_0.01"], MANY),
            "in the graph": _mean(ours["in_graph"], 3), "MVGC below .05": _mean(mvgc["rejected_0.05"], 3),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _mean(values: pd.Series, digits: int) -> str:
    return "" if values.isna().all() else f"{values.mean():.{digits}f}"


def _share(values: pd.Series, confidence: float) -> str:
    low, high = interval(values, confidence)
    return f"{values.mean():.3f}" + ("" if np.isnan(low) else f" ({max(low, 0):.3f} to {min(high, 1):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=ROOT / "benchmarks" / "generality.yaml")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "generality", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "generality.csv")
    arguments = parser.parse_args()
    units = sweep.units(sweep.read_grid(arguments.grid))
    table = table_of(units, arguments.store)
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of this grid: run the sweep first (see --help)\n")
    sweep.write_table(table, arguments.out)
    shown = {"worlds": worlds_of(table), "graphs": graphs_of(table), "p_values": p_values_of(table)}
    with pd.option_context("display.width", 240, "display.max_columns", None, "display.max_rows", None):
        for name, part in shown.items():
            sweep.write_table(part, arguments.out.with_name(f"{arguments.out.stem}_{name}.csv"))
            print(f"\n{name}: means over networks\n{part.to_string(index=False)}", flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/generality.py, from the grid beside it",
        "what": " ".join(__doc__.split("Writes")[1].split()),
        "units": {"done": int(table.drop_duplicates(["network", "method"]).shape[0]), "planned": len(units)},
        "intervals": f"of means over networks (Student): {FEW:.0%} for worlds, {MANY:.1%} for p-values",
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

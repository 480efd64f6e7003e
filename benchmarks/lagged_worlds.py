"""One table: every method of the book against every world with lags, from the store of their sweeps.

    causalkit sweep benchmarks/lagged_worlds.yaml --store _build/decoder_only
    causalkit sweep benchmarks/lagged_worlds_short.yaml --store _build/decoder_only
    causalkit sweep benchmarks/lagged_worlds_izhikevich.yaml --store _build/decoder_only
    python benchmarks/lagged_worlds.py

Collects whatever is there. Writes book/results/lagged_worlds.csv, one row for each recording and method, and its
provenance, lagged_worlds.json: F1 against the lagged truth, pairs of different neurons, of the graph of the k largest
scores (f1_top_k; k is the true number of edges), of the graph that ends at the widest gap (f1_gap) and of the method's
own graph (f1_own_rule; empty where it has none, so that neither needs k), and AUROC; f1_top_k_with_own_past counts own
past as well (empty where a method does not judge it); and of the summary graph (which neuron drives which, at any lag)
F1 of the k largest and AUROC. Of methods that do not tell lags apart, and of worlds that have one lag only, there is
the summary graph alone. Prints means over recordings.
"""

import argparse
import json
import os
import platform
from collections import Counter
from pathlib import Path

import decoder_only
import numpy as np
import pandas as pd
import xarray as xr

import causalkit.sweep as sweep
from causalkit import lagged_graphs, lagged_metrics, metrics, simulate

ROOT = Path(__file__).resolve().parents[1]
GRIDS = [ROOT / "benchmarks" / f"lagged_worlds{which}.yaml" for which in ("", "_short", "_izhikevich")]
OTHER_WORLDS = {"var": "VAR", "lorenz96": "Lorenz-96", "izhikevich": "Izhikevich"}
OTHERS = {"own_history": False}


def world_of(simulated: dict) -> str:
    """What the table calls a world."""
    name = simulated.get("model", "izhikevich")
    return OTHER_WORLDS.get(name) or decoder_only.world_of(decoder_only.DEFAULTS | simulated)


def scores_of(truth: xr.DataArray, found: xr.Dataset) -> dict:
    """How right one method's scores and graph are, of a world with lags."""
    different = truth.where(truth.target != truth.source, 0)
    row = summary_of((different != 0).any("lag"), found["score"])
    return row if "lag_score" not in found else lagged_scores_of(truth, different, found) | row


def lagged_scores_of(truth: xr.DataArray, different: xr.DataArray, found: xr.Dataset) -> dict:
    """How right scores are that tell lags apart; `different` is the truth without own past."""
    score = found["lag_score"]
    if score.sizes["lag"] < truth.sizes["lag"]:  # a lag that a method does not look at is no edge of it
        score = score.reindex(lag=truth["lag"], fill_value=0.0)
    others = score.fillna(0.0)  # the diagonal of methods that do not judge own past, which `own_history` leaves out
    k = int((different != 0).sum())
    graph = {"top_k": lagged_graphs.graph(others, top_k=k, **OTHERS),
             "gap": lagged_graphs.graph(others, widest_gap=True, **OTHERS)}  # fmt: skip
    if "graph" in found and "lag" in found["graph"].dims:
        graph["own_rule"] = found["graph"]
    row = {"n_edges": k, "auroc": lagged_metrics.auroc(truth, others, **OTHERS)}
    row |= {f"f1_{rule}": lagged_metrics.f1(truth, each, **OTHERS) for rule, each in graph.items()}
    row["n_found_gap"] = int(graph["gap"].sum())
    if score.notnull().all():
        n = int((truth != 0).sum())
        row["f1_top_k_with_own_past"] = lagged_metrics.f1(truth, lagged_graphs.graph(score, top_k=n))
    return row


def summary_of(edge: xr.DataArray, score: xr.DataArray) -> dict:
    """How right scores of the graph without lags are."""
    values = score.where(score.target != score.source, -np.inf).values
    k = int(edge.sum())
    largest = np.zeros(edge.shape, dtype=bool)
    largest.ravel()[np.argsort(-values.ravel(), kind="stable")[:k]] = True
    right = (largest & edge.values).sum()
    return {"summary_n_edges": k, "summary_f1_top_k": right / k, "summary_auroc": metrics.auroc(edge, score)}


def truth_of(simulated: dict) -> xr.Dataset:
    """The graphs of a world, which have a random stream of their own: a few steps of it have the same."""
    shorter = simulated | {"n_steps": 2}
    return simulate.MODELS[shorter.pop("model", "izhikevich")](**shorter)


def row_of(unit: sweep.Unit, result: xr.Dataset) -> dict:
    """One method on one recording."""
    simulated = unit.network.simulated
    truth = truth_of(simulated)
    if "lagged_connectivity" in truth:
        scores = scores_of(truth["lagged_connectivity"], result)
    else:
        scores = summary_of(truth["connectivity"] != 0, result["score"])
    versions = {name: str(result.attrs[name]) for name in decoder_only.VERSIONS if name in result.attrs}
    return {
        "world": world_of(simulated), "network": str(unit.network), "seed": simulated["random_state"],
        "n_steps": unit.n_times, "method": unit.label, "seconds": float(result.attrs["seconds"]), **scores,
        "versions": json.dumps(versions),
    }  # fmt: skip


def means_of(table: pd.DataFrame, column: str = "f1_top_k") -> pd.DataFrame:
    """Methods against worlds: means over the recordings, and their number."""
    worlds, methods = table.world.unique(), table.method.unique()
    groups = table.groupby(["method", "world"])[column]
    texts = groups.mean().map("{:.2f}".format) + groups.count().map(" ({})".format)
    return texts.where(groups.count() > 0).unstack("world").reindex(index=methods, columns=worlds).fillna("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, nargs="+", default=GRIDS, help="default: the three beside it")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "decoder_only", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "lagged_worlds.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    units = [unit for grid in arguments.grid for unit in sweep.units(sweep.read_grid(grid))]
    table = pd.DataFrame([row_of(unit, result) for unit, result in sweep.results(arguments.store, units)])
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of these grids: run the sweep first (--help)\n")
    planned = Counter(world_of(unit.network.simulated) for unit in units)
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["network", "method"])
    place = {world: number for number, world in enumerate(planned)}  # of the grids; worlds of no grid come last
    table = table.sort_values("seed", kind="stable")
    table = table.sort_values("world", key=lambda world: world.map(place), kind="stable", ignore_index=True)
    sweep.write_table(table.round(4), arguments.out)
    for column in ("f1_top_k", "f1_gap", "f1_own_rule", "summary_f1_top_k", "summary_auroc"):
        if column in table:
            print(f"\n{column}, mean (recordings)\n{means_of(table, column).to_string()}", flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/lagged_worlds.py, from the grids beside it",
        "what": " ".join(__doc__.split("provenance, lagged_worlds.json: ")[1].split("Prints")[0].split()),
        "units": {"done": len(table), "planned": len(units)},
        "units_of_worlds": {world: {"done": int((table.world == world).sum()), "planned": n}
                            for world, n in planned.items()},
        "networks": "seeds from 3200 on, on which nothing was chosen; 10 neurons, n_steps steps",
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}",
    }  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

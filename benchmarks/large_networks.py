"""How well are networks of hundreds of neurons read, and do the p-values hold where targets share their regressions?

    causalkit sweep benchmarks/large_networks.yaml --store _build/large
    python benchmarks/large_networks.py

The sweep may be stopped and started again; this collects whatever its store holds. Writes
book/results/large_networks.csv, one row a network and method; the table that the book shows, large_networks_table.csv;
and their provenance, large_networks.json. Prints the rows.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from accuracy import VERSIONS

import causalkit.sweep as sweep
from causalkit import connectivity, metrics

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "large_networks.yaml"


def row_of(unit: sweep.Unit, result: xr.Dataset) -> dict:
    """What the book tells of one network and method; the truth is in the result."""
    truth = result.truth != 0
    off = ~np.eye(unit.n_neurons, dtype=bool)
    p_value = result.p_value.values[off & ~truth.values]
    graph = connectivity.adjacency(result, fdr=0.05) != 0
    found = graph.values & off
    return {
        "neurons": unit.n_neurons,
        "steps": unit.n_times,
        "inputs": round(float(truth.sum()) / unit.n_neurons, 1),
        "method": unit.label,
        "auroc": metrics.auroc(result.truth, result.score),
        "sign_accuracy": metrics.sign_accuracy(result.truth, result.sign),
        "below_.05": float((p_value < 0.05).mean()),
        "below_.01": float((p_value < 0.01).mean()),
        "edges_found": float(found[truth.values].mean()),
        "false_edges": float((found & ~truth.values).sum() / max(found.sum(), 1)),
        "seconds": float(result.attrs["seconds"]),
        "scaled_afterwards": "p_values_scaled_afterwards" in result.attrs,
        "versions": json.dumps({name: str(result.attrs[name]) for name in VERSIONS}),
    }


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """What the book shows of it."""
    return pd.DataFrame({
        "neurons, inputs": [f"{n}, {i:.0f}" for n, i in zip(table.neurons, table.inputs, strict=True)],
        "steps": table.steps.map("{:,}".format),
        "method": table.method,
        "AUROC": table.auroc.map("{:.4f}".format),
        "signs": table.sign_accuracy.map("{:.3f}".format),
        "below .05": table["below_.05"].map("{:.3f}".format),
        "below .01": table["below_.01"].map("{:.3f}".format),
        "found": table.edges_found.map("{:.3f}".format),
        "false": table.false_edges.map("{:.3f}".format),
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=GRID, help="default: %(default)s")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "large", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "large_networks.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    units = sweep.units(sweep.read_grid(arguments.grid), progress=False)
    table = pd.DataFrame([row_of(unit, result) for unit, result in sweep.results(arguments.store, units)]).round(4)
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of this grid: run the sweep first (see --help)\n")
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["neurons", "steps", "inputs", "method"])
        table = table.sort_values(["neurons", "steps", "inputs", "method"], ignore_index=True)
    sweep.write_table(table, arguments.out)
    sweep.write_table(shown(table), arguments.out.with_name(f"{arguments.out.stem}_table.csv"))
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/large_networks.py, from the grid beside it",
        "what": "one simulated network a row, off the diagonal; below_.05 and below_.01: shares of the non-edges; "
        "edges_found and false_edges: of the graph at a false discovery rate of .05",
        "units": {"done": len(table), "planned": len(units)},
        "scaled_afterwards": "the results that this column says it of are older than significance.inflation in the "
        "method; it was applied to their stored p-values and scores",
        "seconds": "wall time of two threads on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    sweep.write_provenance(arguments.out, provenance)
    print(table.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main()

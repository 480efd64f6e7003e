"""Tell how well the decoder-only transformer finds lagged graphs, by readout and rule, from the stores of its sweeps.

    causalkit sweep benchmarks/decoder_only.yaml --store _build/decoder_only
    causalkit sweep benchmarks/decoder_only_depth.yaml --store _build/decoder_only
    python benchmarks/decoder_only.py

Collects whatever is there. Writes book/results/decoder_only.csv, one row for each world, model and readout, and its
provenance, decoder_only.json; with --table decoder_only_limits the same of the grids of regimes, sizes, lags and
lengths (`TABLES` says which). Their scores: F1, precision, recall and structural Hamming distance against the lagged
truth, own history included, of the graph of the k largest scores (top_k; k is the true number of edges) and of the
graph that ends at the widest gap (gap; it is told nothing), and AUROC and AUPRC of the scores. Prints means over
networks.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import causalkit.sweep as sweep
from causalkit import lagged_graphs, lagged_metrics

ROOT = Path(__file__).resolve().parents[1]
TABLES = {
    "decoder_only": ("decoder_only", "decoder_only_depth", "decoder_only_deep"),
    "decoder_only_limits": (
        "decoder_only_domains", "decoder_only_neurons", "decoder_only_lags25", "decoder_only_lags50",
        *(f"decoder_only_steps{n}" for n in (5000, 10000, 20000, 100000, 1000000)),
    ),
}  # fmt: skip
CHOSEN = {
    "decoder_only": "Training and the rule of the gap were chosen on seeds 2000 to 2003; a first sweep, on seeds 3100 "
    "and 3101, of one member with four heads missed three edges of one linear world, upon which eight heads and two "
    "members were chosen on seeds 2002 and 2003",
    "decoder_only_limits": "Sizes of network and training are those of decoder_only.csv, but for epochs and batch and, "
    "with many neurons or lags, channels and rate, which were chosen on seed 2000: upon a first sweep of 32 channels, "
    "which missed much with 50 neurons and with 50 lags on seed 3200",
}
RULES = {"top_k": lambda k: {"top_k": k}, "gap": lambda k: {"widest_gap": True}}
SCORES = ("f1", "precision", "recall", "shd")
VERSIONS = ("causalkit", "algorithm_version", "numpy", "torch", "python", "date")


def world_of(simulated: dict) -> str:
    """What the table calls a world."""
    more = {"n_neurons": (10, "{} neurons"), "n_lags": (5, "{} lags"), "n_domains": (1, "{} domains"),
            "linear_part": (1.0, "without straight part")}  # fmt: skip
    parts = [simulated["mechanism"].replace("_", " ")]
    parts += [text.format(simulated[name]) for name, (usual, text) in more.items() if simulated[name] != usual]
    return ", ".join(parts)


def scores_of(truth: xr.DataArray, lag_score: xr.DataArray) -> dict:
    """How right one readout's scores are, and the graphs of both rules."""
    k = int((truth != 0).sum())
    row = {"n_edges": k, "auroc": lagged_metrics.auroc(truth, lag_score),
           "auprc": lagged_metrics.auprc(truth, lag_score)}  # fmt: skip
    for rule, told in RULES.items():
        graph = lagged_graphs.graph(lag_score, **told(k))
        row |= {f"{name}_{rule}": getattr(lagged_metrics, name)(truth, graph) for name in SCORES}
        row[f"n_found_{rule}"] = int(graph.sum())
    return row


def readouts_of(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Name and scores of every readout in a result."""
    main = json.loads(result.attrs["parameters"])["readout"]
    others = [name.removesuffix("_lag_score") for name in result if name.endswith("_lag_score")]
    return {main: result["lag_score"]} | {name: result[f"{name}_lag_score"] for name in others if name != "seed"}


def rows_of(unit: sweep.Unit, result: xr.Dataset) -> list[dict]:
    """A row for each readout of one training."""
    simulated = unit.network.simulated
    truth = unit.recording()["lagged_connectivity"]
    named = {
        "world": world_of(DEFAULTS | simulated), "mechanism": simulated["mechanism"], "network": str(unit.network),
        "seed": simulated["random_state"], "n_neurons": unit.n_neurons, "n_steps": unit.n_times, "model": unit.label,
        "n_layers": unit.resolved["n_layers"], "n_domains_told": unit.resolved["n_domains"],
        "seconds": float(result.attrs["seconds"]), "r2": float(result["ensemble_test_r2"].mean()),
    }  # fmt: skip
    versions = {name: str(result.attrs[name]) for name in VERSIONS if name in result.attrs}
    return [named | {"readout": name} | scores_of(truth, score) | {"versions": json.dumps(versions)}
            for name, score in readouts_of(result).items()]  # fmt: skip


DEFAULTS = {"n_neurons": 10, "n_lags": 5, "n_domains": 1, "mechanism": "linear", "linear_part": 1.0}


def table_of(units: list[sweep.Unit], store: Path) -> pd.DataFrame:
    """Rows of all finished units."""
    return pd.DataFrame([row for unit, result in sweep.results(store, units) for row in rows_of(unit, result)])


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each world, length, model and readout."""
    groups = table.groupby(["world", "n_steps", "model", "readout"], sort=False)
    columns = ["f1_top_k", "f1_gap", "precision_gap", "recall_gap", "auroc"]
    means = groups[columns].mean()
    means.insert(0, "networks", groups["network"].nunique())
    means.insert(3, "smallest f1_gap", groups["f1_gap"].min())
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, default="decoder_only", help="default: %(default)s")
    parser.add_argument("--grids", type=Path, nargs="+", help="default: those of the table")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "decoder_only", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="default: the table, in book/results")
    parser.add_argument("--add", action="store_true", help="keep rows of the table that the store lacks")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "book" / "results" / f"{arguments.table}.csv"
    planned, tables = {}, []
    for grid in arguments.grids or [ROOT / "benchmarks" / f"{name}.yaml" for name in TABLES[arguments.table]]:
        units = sweep.units(sweep.read_grid(grid))
        part = table_of(units, arguments.store)
        tables.append(part)
        planned[grid.stem] = {(unit.network.name, unit.label) for unit in units}
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of these grids: run the sweeps first (see --help)\n")
    if arguments.add:
        table = sweep.with_earlier_rows(table, out, same=["network", "model"])
        asked = {network for of in planned.values() for network, _ in of}
        table = table[table.network.isin(asked)]  # grids may have changed since
    done = set(zip(table.network, table.model, strict=True))
    sweep.write_table(table.round(4), out)
    with pd.option_context("display.width", 240, "display.max_columns", None, "display.max_rows", None):
        print(means_of(table).round(3).to_string(), flush=True)
    provenance = {
        "table": out.name,
        "written_by": "benchmarks/decoder_only.py, from the grids beside it",
        "what": " ".join(__doc__.split("Their scores: ")[1].split("Prints")[0].split()),
        "units": {grid: {"done": len(of & done), "planned": len(of)} for grid, of in planned.items()},
        "networks": f"seeds from 3200 on, on which nothing was chosen. {CHOSEN[arguments.table]}",
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}",
    }
    sweep.write_provenance(out, provenance)


if __name__ == "__main__":
    main()

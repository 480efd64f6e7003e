"""Tell what the readouts of the decoder-only transformer find in Izhikevich networks, from the store of its sweep.

    causalkit sweep benchmarks/decoder_only_izhikevich.yaml --store _build/decoder_only
    python benchmarks/decoder_only_izhikevich.py

Collects whatever is there. Writes book/results/decoder_only_izhikevich.csv, one row for each network, method and
readout, and its provenance, decoder_only_izhikevich.json: AUROC of the wiring, pairs of different neurons. Scores of
the transformer are added up over its lags. MVGC's are beside them.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import decoder_only
import numpy as np
import pandas as pd

import causalkit.sweep as sweep
from causalkit import metrics

ROOT = Path(__file__).resolve().parents[1]
NAME = "decoder_only_izhikevich"


def rows_of(unit: sweep.Unit, result) -> list[dict]:
    """A row for each readout of one fit."""
    of_readout = {"": result["score"]}
    if unit.method == "decoder_only":
        of_readout = {name: score.sum("lag") for name, score in decoder_only.readouts_of(result).items()}
    r2 = float(result["ensemble_test_r2"].mean()) if "ensemble_test_r2" in result else np.nan
    versions = {name: str(result.attrs[name]) for name in decoder_only.VERSIONS if name in result.attrs}
    return [
        {
            "network": str(unit.network), "seed": unit.network.simulated["random_state"], "n_neurons": unit.n_neurons,
            "connection_probability": unit.network.connection_probability, "n_steps": unit.n_times,
            "method": unit.label, "readout": readout, "auroc": metrics.auroc(result["truth"], score), "r2": r2,
            "seconds": float(result.attrs["seconds"]), "versions": json.dumps(versions),
        }
        for readout, score in of_readout.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=ROOT / "benchmarks" / f"{NAME}.yaml")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "decoder_only", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / f"{NAME}.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    units = sweep.units(sweep.read_grid(arguments.grid))
    table = pd.DataFrame([r for unit, result in sweep.results(arguments.store, units) for r in rows_of(unit, result)])
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of {arguments.grid.name}: run the sweep first (--help)\n")
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["network", "method"])
    sweep.write_table(table.round(4), arguments.out)
    columns = ["n_neurons", "connection_probability", "method", "readout", "auroc", "r2"]
    print(table[columns].round(3).to_string(index=False), flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": f"benchmarks/{NAME}.py, from the grid beside it",
        "what": "AUROC of the wiring, pairs of different neurons, own past left out",
        "units": {"done": len(table[["network", "method"]].drop_duplicates()), "planned": len(units)},
        "networks": "one of each cell, seed 3200, on which nothing was chosen",
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

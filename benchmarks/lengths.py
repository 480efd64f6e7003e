"""How long must a recording be? AUROC of three methods on the first steps of recordings that are known to the end.

    causalkit sweep benchmarks/lengths.yaml --store _build/lengths
    python benchmarks/lengths.py

The sweep may be stopped and started again; this collects whatever its store holds. Writes book/results/lengths.csv,
one row a network, method and length, and its provenance, lengths.json. A recording that a method refuses as too short
has an empty AUROC, and what the method said. Prints the mean AUROC off the diagonal, and the number of networks.
"""

import argparse
import os
import platform
from pathlib import Path

import pandas as pd

import causalkit.sweep as sweep

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "lengths.yaml"
COLUMNS = ["network", "n_neurons", "connection_probability", "n_steps", "method", "auroc", "seconds", "refused"]


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of whole methods, not of single seeds, under the names of the grid."""
    frame = frame[(frame["protocol"] == "off_diagonal") & (frame["seed"] == "ensemble")]
    return frame.drop(columns="method").rename(columns={"label": "method"}).assign(refused="")[COLUMNS]


def refused(units: list[sweep.Unit], store: sweep.Store) -> pd.DataFrame:
    """One row a unit whose last run failed, with what the method said."""
    rows = []
    for unit in units:
        error = store.failure(unit.key) if store.result(unit.key) is None else None
        if error is not None:
            rows.append({
                "network": unit.network.name, "n_neurons": unit.n_neurons,
                "connection_probability": unit.network.connection_probability, "n_steps": unit.n_times,
                "method": unit.label, "refused": " ".join(error.split()),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def table_of(frame: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """Scores and refusals in the order of size, length and network; methods in the order of the grid."""
    parts = [part for part in (scored(frame), failures) if len(part)]
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values(["n_neurons", "n_steps", "network"], kind="stable", ignore_index=True)


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC over networks and their number, "refused" where a method took none."""
    groups = table.groupby(["n_neurons", "n_steps", "method"], sort=False)["auroc"]
    shown = groups.agg(lambda v: f"{v.mean():.3f} ({v.count()} of {len(v)})" if v.count() else "refused")
    return shown.unstack("method")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "lengths", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "lengths.csv")
    arguments = parser.parse_args()
    units, store = sweep.units(sweep.read_grid(GRID)), sweep.Store(arguments.store)
    frame = sweep.table(store, units)
    if frame.empty:
        parser.exit(1, f"{arguments.store} holds no results of this grid: run the sweep first (see --help)\n")
    table = table_of(frame, refused(units, store))
    sweep.write_table(table.round({"auroc": 6, "seconds": 2}), arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/lengths.py, from the grid beside it",
        "what": "AUROC off the diagonal of each method on the first steps of recordings of 50,000, simulated with "
        "seeds that nothing was chosen on; an empty AUROC: the method refused the recording, and said why",
        "units": {"done": int(table["auroc"].notna().sum()), "refused": int(table["auroc"].isna().sum()),
                  "planned": len(units)},
        "methods": {unit.label: {"parameters": unit.parameters, "algorithm_version": unit.algorithm_version}
                    for unit in units},
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "dates": [frame["date"].min(), frame["date"].max()],
        "versions": {key: sorted(frame[key].astype(str).unique()) for key in ("causalkit", "numpy", "torch", "python")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)
    print(means_of(table).to_string())


if __name__ == "__main__":
    main()

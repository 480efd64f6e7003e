"""Tell what the Causalformer's encoder adds to SingleIndexGranger, from the store of the grid beside this file.

    causalkit sweep benchmarks/encoders.yaml --store _build/encoders
    python benchmarks/encoders.py

Collects whatever is there, networks that both encoders have read. Writes book/results/encoders.csv, one row a network
and encoder, the table that the book shows, encoders_table.csv, and their provenance, encoders.json. Prints the table:
means over networks of the AUROC off the diagonal, of the share of non-edges below .05, and of the seconds of a fit.
"""

import argparse
import os
import platform
from pathlib import Path

import pandas as pd
from sparse_observations import rows_of

import causalkit.sweep as sweep

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "encoders.yaml"
ENCODERS = ("mlp", "transformer")
SHOWN = {"auroc": ("AUROC", 4), "rejected_0.05": ("below .05", 3), "seconds": ("seconds", 0)}


def world_of(row: pd.Series) -> str:
    """What the book calls the kind of a network."""
    model = "LIF" if row.network.startswith("lif") else "Izhikevich"
    edges = f"p = {row.connection_probability:g}" if row.n_edges else "no edges"
    return f"{model}, {row.n_neurons} neurons, {edges}, {row.n_steps:,} steps"


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a world, two columns a measure, of the networks that both encoders have read."""
    both = rows[rows.groupby("network").method.transform("nunique") == len(ENCODERS)]
    both = both.assign(world=both.apply(world_of, axis=1))
    table = pd.DataFrame({"networks": both.groupby("world", sort=False).network.nunique()})
    for name, (title, digits) in SHOWN.items():
        means = both.pivot_table(name, "world", "method", dropna=False)
        for encoder in ENCODERS:
            table[f"{title}, {encoder}"] = means[encoder].map(lambda v, d=digits: "" if pd.isna(v) else f"{v:.{d}f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "encoders", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "encoders.csv")
    arguments = parser.parse_args()
    rows, planned = rows_of(GRID, arguments.store)
    if rows.empty:
        parser.exit(1, f"{arguments.store} holds no results of this grid: run the sweep first (see --help)\n")
    rows = rows.drop(columns=["observed", "hidden", "input_mean", "rate_hz"])  # the same for all
    table = table_of(rows)
    sweep.write_table(rows, arguments.out)
    shown = arguments.out.with_name(f"{arguments.out.stem}_table.csv")
    table.reset_index().to_csv(shown, index=False, lineterminator="\n")
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/encoders.py, from the grid beside it",
        "what": " ".join(__doc__.split("Writes")[1].split()),
        "units": {"done": len(rows), "planned": planned},
        "seconds": "wall time of one thread on a machine that did other work: to compare the two only",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    sweep.write_provenance(arguments.out, provenance)
    with pd.option_context("display.width", 220, "display.max_columns", None):
        print(table, flush=True)


if __name__ == "__main__":
    main()

"""Tell what is left of the wiring when nobody measures voltage, from the store of the grids beside this file.

    for grid in benchmarks/sparse_observations/*.yaml; do causalkit sweep $grid --store _build/sparse; done
    python benchmarks/sparse_observations.py

Collects whatever is there. Writes book/results/sparse_observations.csv, one row a network, way of observing and method,
and its provenance. Prints AUROC off the diagonal, the share of right signs among true edges, and the share of non-edges
below .05, as means over networks, with their measured firing rate.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy import VERSIONS, row_of

import causalkit.sweep as sweep
from causalkit.simulate.izhikevich import INPUT_MEAN

ROOT = Path(__file__).resolve().parents[1]
GRIDS = ROOT / "benchmarks" / "sparse_observations"
KEPT = (
    "auroc", "sign_accuracy", "n_edges", "n_non_edges", "rejected_0.05", "rejected_0.01", "power", "false_discoveries",
)  # fmt: skip
SETTING = ["grid", "observed", "hidden", "n_neurons", "n_steps", "connection_probability", "input_mean"]


def rate_of(unit: sweep.Unit) -> float:
    """Mean firing rate of the neurons that are seen, in Hz; NaN where no spikes are seen."""
    recording = unit.recording()
    if recording.attrs["kind"] != "spikes":
        return np.nan
    return float(recording.activity.mean()) * 1000 / recording.attrs["dt_ms"]


def rows_of(path: Path, store: Path) -> tuple[pd.DataFrame, int]:
    """One row a finished unit of a grid, and how many units it has."""
    rows, units = [], sweep.units(sweep.read_grid(path))
    rates: dict[str, float] = {}  # of each network as it is seen
    for unit, result in sweep.results(store, units):
        network = unit.network
        if str(network) not in rates:
            rates[str(network)] = rate_of(unit)
        seen = " ".join(f"{key}={value}" for key, value in network.observed.items() if key != "as")
        setting = {
            "grid": path.stem,
            "observed": f"{network.observed.get('as', 'voltage')} {seen}".strip(),
            "hidden": len(network.hidden),
            "n_neurons": unit.n_neurons,
            "n_steps": network.n_steps or network.simulated.get("n_steps", 5000),  # of 1 ms, before any binning
            "connection_probability": network.connection_probability,
            "input_mean": network.simulated.get("input_mean", INPUT_MEAN),
            "network": network.name,
            "rate_hz": rates[str(network)],
            "method": unit.label,
            "seconds": float(result.attrs["seconds"]),
        }
        found = row_of(result)
        versions = {name: str(result.attrs[name]) for name in VERSIONS if name in result.attrs}
        rows.append(setting | {name: found.get(name) for name in KEPT} | {"versions": json.dumps(versions)})
    return pd.DataFrame(rows), len(units)


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each way of observing and method."""
    shown = ["rate_hz", "auroc", "sign_accuracy", "rejected_0.05", "power", "false_discoveries", "seconds"]
    groups = table.groupby([*SETTING, "method"])
    return groups[shown].mean().assign(networks=groups.size())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "sparse", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "sparse_observations.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    parts = {path.stem: rows_of(path, arguments.store) for path in sorted(GRIDS.glob("*.yaml"))}
    table = pd.concat([part for part, _ in parts.values() if len(part)], ignore_index=True)
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of these grids: run the sweeps first (see --help)\n")
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["grid", "observed", "hidden", "network", "method"])
    sweep.write_table(table, arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/sparse_observations.py, from the grids in the folder of that name",
        "what": " ".join(__doc__.split("Writes")[1].split()),
        "units": {
            name: {"done": int((table.grid == name).sum()), "planned": planned} for name, (_, planned) in parts.items()
        },
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    sweep.write_provenance(arguments.out, provenance)
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(means_of(table).round(3), flush=True)


if __name__ == "__main__":
    main()

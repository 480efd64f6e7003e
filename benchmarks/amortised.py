"""Does a graph network that was trained over many networks read the next as well as methods that learn it anew?

    python benchmarks/amortised.py train forecasts     # the weights that come with the package: a quarter of an hour
    python benchmarks/amortised.py train labels
    python benchmarks/amortised.py                     # both, beside MVGC and SingleIndexGranger; resumes

Training: 600 Izhikevich networks, seeds from 2000, of 5 to 20 neurons and 3,000 steps. Architecture and training were
chosen on 20 more, seeds from 2900. Measured: networks with seeds from 6100, which were used for nothing else; and those
of benchmarks/accuracy.yaml (the paper's, in the folder CAUSALKIT_REFERENCE_DATA) and benchmarks/generality.yaml (other
worlds), with the stored results of MVGC and SingleIndexGranger. Writes book/results/amortised.csv, one row a recording
and method; the tables that the book shows, amortised_table.csv and amortised_graphs.csv; and their provenance.
"""

import argparse
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import generality
import numpy as np
import pandas as pd
import torch

import causalkit.sweep as sweep
from causalkit import MVGC, AmortisedDiscovery, SingleIndexGranger, metrics, simulate
from causalkit.methods.amortised import SHIPPED
from causalkit.sweep.networks import Network

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "causalkit" / "methods" / "weights"
SIZES, PROBABILITIES, STRENGTHS = (5, 8, 12, 16, 20), (0.1, 0.2, 0.4, 0.6, 0.8), (5, (2, 8))
A_CELL, N_STEPS, FIRST_TRAINING_SEED = 12, 3000, 2000
FIRST_SEED = 6100
OTHERS = "MVGC", "SingleIndexGranger"


def training_recordings():
    """600 Izhikevich networks: 12 for each size, connection probability and strength of the weights."""
    seed, recordings = FIRST_TRAINING_SEED, []
    for n in SIZES:
        for p in PROBABILITIES:
            for weight in STRENGTHS:
                recordings += simulate.izhikevich(n, p, N_STEPS, seed, n_networks=A_CELL, weight=weight)
                seed += A_CELL
    return recordings


def train(which: str) -> None:
    """Train the weights that come with the package."""
    start, processor = time.perf_counter(), time.process_time()
    made = AmortisedDiscovery.pretrain(
        training_recordings(), WEIGHTS / f"amortised_{which}.safetensors", supervised=which == "labels",
        description=f"600 Izhikevich networks of 5 to 20 neurons (benchmarks/amortised.py train {which})",
    )  # fmt: skip
    print(f"{made.weights}: {time.perf_counter() - start:.0f} s, {time.process_time() - processor:.0f} s of one core")


def worlds() -> dict[str, list]:
    """Recordings that all methods read here, by what the book calls their kind."""
    cells = [(n, p) for n in (10, 20) for p in (0.2, 0.8)]
    made = {
        f"Izhikevich, {n} neurons, p = {p:g}": simulate.izhikevich(n, p, N_STEPS, FIRST_SEED + 10 * k, n_networks=5)
        for k, (n, p) in enumerate(cells)
    }
    made["Izhikevich, 10 neurons, p = 0.2, 1,000 steps"] = [
        recording.isel(time=slice(1000)) for recording in made["Izhikevich, 10 neurons, p = 0.2"]
    ]
    return made


def read_before() -> Iterator[tuple[str, Network, pd.DataFrame]]:
    """World, network and rows of MVGC and SingleIndexGranger, of networks that other benchmarks had them read."""
    for grid in ("accuracy", "generality"):
        stored = pd.read_csv(ROOT / "book" / "results" / f"{grid}.csv")
        stored = stored[stored["grid"] == grid] if "grid" in stored else stored[stored["pairs"] == "all"]
        ranked = (stored["n_edges"] > 0) & (stored["n_non_edges"] > 0) & stored["method"].isin(OTHERS)
        stored = dict(list(stored[ranked].groupby("network")))
        for network in sweep.read_grid(ROOT / "benchmarks" / f"{grid}.yaml").networks:
            if (rows := stored.get(network.name)) is not None:
                size = f"the paper's, {rows['n_neurons'].iloc[0]} neurons"
                yield size if grid == "accuracy" else generality.world_of(network), network, rows


def methods() -> dict:
    """What reads them, by what the book calls it."""
    return {which: AmortisedDiscovery(weights=which) for which in SHIPPED} | dict(
        zip(OTHERS, (MVGC(), SingleIndexGranger()), strict=True)
    )


def digest(which: str) -> str:
    """Which weights a row was made with; nothing for methods without."""
    file = WEIGHTS / f"amortised_{which}.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else ""


def row_of(world: str, network: str, recording, name: str, method) -> dict:
    """What one method says about one recording."""
    found = method.fit(recording).connectivity_
    truth = recording["connectivity"].values
    edge, none = truth != 0, (truth == 0) & ~np.eye(len(truth), dtype=bool)
    row = {
        "world": world, "network": network, "n_neurons": len(truth),
        "n_steps": recording.sizes["time"], "n_edges": int(edge.sum()), "method": name, "weights": digest(name),
        "auroc": metrics.auroc(recording, found), "auprc": metrics.auprc(recording, found),
        "sign_accuracy": metrics.sign_accuracy(truth, found["sign"].values) if "sign" in found else np.nan,
        "seconds": found.attrs["seconds"],
    }  # fmt: skip
    if name in SHIPPED:
        graph = found["graph"].values
        row |= {"found": graph[edge].mean(), "false": (graph & none).sum() / max(graph.sum(), 1),
                "forecast_gain": float(method.diagnostics_["forecast_gain"].mean())}  # fmt: skip
    return row


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Mean (smallest) AUROC over the networks of each world, as the book shows them."""
    rows = []
    for world, part in table.groupby("world", sort=False):
        by = dict(list(part.groupby("method")))
        row = {"networks of": world, "networks": part["network"].nunique()}
        row |= {name: f"{by[name]['auroc'].mean():.3f} ({by[name]['auroc'].min():.3f})" for name in methods()}
        rows.append(row)
    return pd.DataFrame(rows)


def read_out(table: pd.DataFrame) -> pd.DataFrame:
    """Signs, graphs and forecasts of the default weights, and seconds, as the book shows them."""
    rows = []
    for world, part in table.groupby("world", sort=False):
        by = dict(list(part.groupby("method")))
        ours = by[SHIPPED[0]]
        row = {"networks of": world, "signs": f"{ours['sign_accuracy'].mean():.2f}"}
        row |= {name: f"{ours[name].mean():.2f}" for name in ("found", "false")}
        row |= {"adds": f"{ours['forecast_gain'].mean():.3f}", "seconds": f"{ours['seconds'].median():.1f}"}
        row |= {f"{name} (s)": f"{by[name]['seconds'].median():{digits}}"
                for name, digits in zip(OTHERS, (".2f", ".0f"), strict=True)}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def measure(out: Path) -> pd.DataFrame:
    """Read what is not yet in the table at `out`, which is written after each recording."""
    done = pd.read_csv(out).fillna({"weights": ""}).to_dict("records") if out.exists() else []
    known = {(row["world"], row["network"], row["method"], row["weights"]): row for row in done}
    rows, ours = [], methods()

    def read(world, network, recording, names):
        for name in names:
            before = known.pop((world, network, name, digest(name)), None)
            rows.append(before or row_of(world, network, recording, name, ours[name]))

    for world, recordings in worlds().items():
        for recording in recordings:
            read(world, f"seed {recording.attrs['random_state']}", recording, ours)
            sweep.write_table(pd.DataFrame(rows + list(known.values())), out)
    for world, network, others in read_before():
        read(world, network.name, network.recording(), SHIPPED)
        same = {name: rows[-1][name] for name in ("world", "network", "n_neurons", "n_steps", "n_edges")}
        rows.extend(same | {"method": row["method"], "weights": ""} |
                    {name: row[name] for name in ("auroc", "sign_accuracy", "seconds")}
                    for row in others.to_dict("records"))  # fmt: skip
    table = pd.DataFrame(rows)
    sweep.write_table(table, out)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["measure", "train"], default="measure")
    parser.add_argument("which", nargs="?", choices=SHIPPED, default=SHIPPED[0], help="the weights to train")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "amortised.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "train":
        train(arguments.which)
        return
    table = measure(arguments.out)
    for name, part in (("table", shown(table)), ("graphs", read_out(table))):
        sweep.write_table(part, arguments.out.with_name(f"{arguments.out.stem}_{name}.csv"))
        print(part.to_string(index=False), flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/amortised.py",
        "what": " ".join(__doc__.split("Training:")[1].split()),
        "weights": {name: digest(name) for name in SHIPPED},
        "seconds": "wall time of one thread on a machine that did other work: they compare, and are no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

"""Train Causalformer as published on the paper's own networks, and compare with the published AUROC.

    CAUSALKIT_REFERENCE_DATA=... python benchmarks/causalformer_reference.py [NETWORK ...] [--simulated]

Ten seeds a network, ``preset="paper"``. The activity of the reference networks is read from the folder that
CAUSALKIT_REFERENCE_DATA names; ``--simulated`` adds the network that the notebooks simulate with their paper
parameters, and ``--controls`` that network's controls: untrained, time-shuffled, circularly shifted. Takes tens
of minutes a network on two cores; killed and started again it goes on where it was. Writes one row a network to
book/results/causalformer_reference.csv, and each network's aggregated attention to
book/results/causalformer_reference/.
"""

import argparse
import json
import os
import platform
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import causalkit
from causalkit import connectivity, metrics, significance, simulate, sweep
from causalkit.methods.causalformer import Causalformer
from causalkit.training import device_name

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
DEFAULT = ("N05_p0.4_net0", "N05_p0.6_net1", "N10_p0.4_net0")
OWN = "simulated_N05_p0.4_seed0"
SIMULATED = {"n_neurons": 5, "connection_probability": 0.4, "n_steps": 5000, "random_state": 0}


def reference_network(name: str) -> tuple:
    """The recording as the paper feeds it (clipped at threshold, first 5,000 rows), and the published values."""
    folder = Path(os.environ["CAUSALKIT_REFERENCE_DATA"]) / "paper"
    with np.load(folder / "networks" / f"{name}.npz", allow_pickle=False) as stored:
        voltage = stored["v"][:5000]
        recording = causalkit.from_array(
            voltage.clip(max=30), dt_ms=1.0, kind="voltage", voltage_mv=voltage, connectivity=stored["connectivity"]
        )
    return recording, json.loads((folder / "published.json").read_text())[name]


def train(name: str, recording, precision: str, **options) -> Causalformer:
    """Train with the paper's parameters and store the aggregated attention and the losses."""
    checkpoint = ROOT / "_build" / "checkpoints" / f"{name}_{precision}"
    model = Causalformer(preset="paper", precision=precision, checkpoint=checkpoint, **options).fit(recording)
    stored = model.connectivity_.drop_vars("seed_lag_score").assign_attrs(
        network=name, test_r2=float(model.diagnostics_["ensemble_test_r2"].mean())
    )
    stored.attrs["parameters"] = json.dumps(json.loads(stored.attrs["parameters"]) | {"checkpoint": None})
    folder = RESULTS / "causalformer_reference"
    folder.mkdir(parents=True, exist_ok=True)
    connectivity.to_netcdf(stored, folder / f"{name}.nc")
    connectivity.to_netcdf(model.training_, folder / f"{name}_training.nc")
    return model


def train_controls(name: str, recording, precision: str) -> None:
    """The same training where there is nothing to find."""
    train(f"{name}_untrained", recording, precision, max_epochs=0)
    for surrogate in (significance.time_shuffle, significance.circular_shift):
        train(f"{name}_{surrogate.__name__}", surrogate(recording, random_state=0), precision)


def run(name: str, recording, published: dict | None, precision: str) -> dict:
    """Train, store the aggregated attention, and return the row of the table."""
    model = train(name, recording, precision)
    truth, estimate = recording["connectivity"], model.connectivity_
    single = [metrics.auroc(truth, member) for member in estimate["seed_score"]]
    row = {
        "network": name,
        "n_neurons": recording.sizes["neuron"],
        "n_seeds": estimate.sizes["seed"],
        "precision": precision,
        "test_r2_mean_of_seeds": float(model.diagnostics_["test_r2"].mean()),
        "test_r2_lowest_seed": float(model.diagnostics_["test_r2"].mean("neuron").min()),
        "test_r2_ensemble": float(model.diagnostics_["ensemble_test_r2"].mean()),
        "auroc_published_protocol": metrics.auroc(truth, estimate["score"], protocol="published"),
        "auroc_off_diagonal": metrics.auroc(truth, estimate["score"]),
        "auroc_off_diagonal_single_mean": float(np.mean(single)),
        "auroc_off_diagonal_single_min": float(np.min(single)),
        "auroc_off_diagonal_single_max": float(np.max(single)),
        "epochs_mean": float(np.isfinite(model.training_["train_loss"]).sum("epoch").mean()),
        "seconds_of_last_run": round(estimate.attrs["seconds"], 1),
        "algorithm_version": model.algorithm_version,
        "causalkit": causalkit.__version__,
        "torch": torch.__version__,
        "device": device_name(model.device_),
        "date": date.today().isoformat(),
    }
    if published:
        row |= {
            "auroc_published_protocol_of_paper": published["auroc_paper_protocol"]["causalformer_ensemble"],
            "auroc_off_diagonal_of_paper": published["auroc_off_diagonal"]["causalformer_ensemble"],
            "auroc_off_diagonal_single_mean_of_paper": float(
                np.mean(published["auroc_off_diagonal"]["causalformer_single"])
            ),
            "test_r2_mean_of_seeds_of_paper": float(np.mean(published["test_r2"]["per_seed"])),
            "test_r2_ensemble_of_paper": published["test_r2"]["ensemble_mean"],
        }
    return row


def store(row: dict) -> None:
    """Add `row` to the table, in place of an older one of the same network."""
    path = RESULTS / "causalformer_reference.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    if len(table):
        table = table[table["network"] != row["network"]]
    table = pd.concat([table, pd.DataFrame([row])], ignore_index=True).sort_values("network")
    partial = path.with_suffix(".part")
    table.round(5).to_csv(partial, index=False)
    partial.replace(path)
    provenance = {
        "written_by": "benchmarks/causalformer_reference.py",
        "last_machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "protocol": "preset='paper', ten seeds, random_state 0, activity scaled by the training part; "
        "AUROC of the ensemble in the published protocol (diagonal counted) and off the diagonal; each row names "
        "the device, versions and date of its training",
    }  # fmt: skip
    sweep.write_provenance(path, provenance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"reference networks, or the default: {' '.join(DEFAULT)}")
    parser.add_argument("--simulated", action="store_true", help="add the notebooks' own network")
    parser.add_argument("--controls", action="store_true", help="train the controls of that network too")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    alone = arguments.simulated or arguments.controls
    names = arguments.networks or (() if alone else DEFAULT)
    jobs = [(name, *reference_network(name)) for name in names]
    if arguments.simulated:
        jobs.append((OWN, simulate.izhikevich(**SIMULATED), None))
    for name, recording, published in jobs:
        row = run(name, recording, published, arguments.precision)
        store(row)
        print(json.dumps(row, indent=1), flush=True)
    if arguments.controls:
        train_controls(OWN, simulate.izhikevich(**SIMULATED), arguments.precision)
    table = pd.read_csv(RESULTS / "causalformer_reference.csv")
    columns = ["auroc_published_protocol", "auroc_off_diagonal"]
    if all(f"{column}_of_paper" in table for column in columns):
        for column in columns:
            difference = table[column] - table[f"{column}_of_paper"]
            print(f"{column}: mean difference to the paper {difference.mean():+.4f}, "
                  f"mean absolute difference {difference.abs().mean():.4f}, {difference.count()} networks")  # fmt: skip


if __name__ == "__main__":
    main()

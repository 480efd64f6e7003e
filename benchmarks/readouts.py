"""One trained ensemble, read in every way: AUROC and seconds of each readout, over the grid, over epochs, of controls.

    [CAUSALKIT_REFERENCE_DATA=...] python benchmarks/readouts.py

Trains ``preset="fast"``, ten seeds, on networks simulated here with seeds from 2000 on, which nothing was chosen on,
and reads each with all of `causalkit.readouts.READOUTS` on its test windows. Parts:

grid        5, 10 and 20 neurons, four densities, one network or more a cell
untrained   the same ensembles as they were initialized, 10 neurons
shuffled    trained on the recordings with each neuron's time steps permuted, 10 neurons
epochs      one network of 10 neurons, trained for other numbers of epochs (the learning rate falls to zero in each)
reference   where CAUSALKIT_REFERENCE_DATA names the published data: ``preset="paper"``, one seed, 33 epochs, on one
            network of the paper with 20 neurons. Nothing is chosen on it.

Keeps the networks and one table each in the store, and goes on where it was when it is started again. Writes
book/results/readouts.csv, one row a network and readout, and its provenance, readouts.json. Seconds are processor
time of one thread.
"""

import argparse
import datetime
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts its threads: their seconds would add up

import numpy as np
import pandas as pd
import torch

import causalkit
from causalkit import Causalformer, io, metrics, readouts, significance, sweep

ROOT = Path(__file__).resolve().parents[1]
SIZES, PROBABILITIES, FIRST_SEED = (5, 10, 20), (0.2, 0.4, 0.6, 0.8), 2000
CONTROL_SIZE, EPOCHS = 10, (1, 2, 3, 5, 20)
REFERENCE, REFERENCE_EPOCHS = "N20_p0.4_net0", 33  # the authors' own stopped after 22 to 48


@dataclass(frozen=True)
class Run:
    """An ensemble to train and to read."""

    part: str
    n_neurons: int
    connection_probability: float
    seed: int  # of the simulated network
    n_seeds: int = 10
    n_steps: int = 5000
    preset: str = "fast"
    max_epochs: int | None = None  # None: the preset's

    @property
    def network(self) -> str:
        if self.part == "reference":
            return REFERENCE
        return f"N{self.n_neurons:02d}_p{self.connection_probability:g}_seed{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.part}_{self.network}" + (f"_epochs{self.max_epochs}" if self.part == "epochs" else "")

    def recording(self):
        if self.part == "reference":
            where = "${CAUSALKIT_REFERENCE_DATA}/paper/networks/" + f"{REFERENCE}.npz"
            network = {"files": {"pattern": where, "dt_ms": 1}, "n_steps": self.n_steps}
        else:
            names = ("n_neurons", "connection_probability", "n_steps")
            network = {"simulate": {name: getattr(self, name) for name in names} | {"random_state": self.seed}}
        grid = sweep.read_grid({"networks": [network], "methods": [{"method": "mvgc"}]})
        recording = grid.networks[0].recording()
        return significance.time_shuffle(recording, self.seed) if self.part == "shuffled" else recording


def runs(options) -> list[Run]:
    """What to do, the first network of every cell and the controls before further networks."""
    sizes = {"n_seeds": options.n_seeds, "n_steps": options.steps}

    def cells(part, n_neurons, number, **changed):
        return [Run(part, n, p, FIRST_SEED + number, **sizes, **changed) for n in n_neurons for p in PROBABILITIES]

    first = cells("grid", options.sizes, 0)
    control = [n for n in options.sizes if n == options.control_size]
    controls = cells("untrained", control, 0, max_epochs=0) + cells("shuffled", control, 0)
    epochs = [Run("epochs", n, 0.4, FIRST_SEED, max_epochs=e, **sizes) for n in control for e in options.epochs]
    further = [run for number in range(1, options.networks) for run in cells("grid", options.sizes, number)]
    reference = Run("reference", 20, 0.4, 0, n_seeds=1, preset="paper", max_epochs=REFERENCE_EPOCHS)
    return first + controls + epochs + ([reference] if os.environ.get("CAUSALKIT_REFERENCE_DATA") else []) + further


def fitted(run: Run, recording, store: Path) -> Causalformer:
    """The trained ensemble, kept in the store; the processor seconds of its training are in its result's attributes."""
    kept = store / "models" / f"{run.name}_{run.preset}"
    if kept.exists():
        return Causalformer.load(kept, device="cpu")
    checkpoint = store / f"checkpoint_{run.preset}" if run.part == "reference" else None
    sizes = {"n_seeds": run.n_seeds, "max_epochs": run.max_epochs}
    model = Causalformer(preset=run.preset, device="cpu", checkpoint=checkpoint, **sizes)
    start = time.process_time()
    model.fit(recording)
    model.connectivity_.attrs["processor_seconds"] = time.process_time() - start
    model.save(kept)
    return model


def rows_of(run: Run, store: Path) -> pd.DataFrame:
    """One row a readout."""
    recording = run.recording()
    truth = recording["connectivity"]
    model = fitted(run, recording, store)
    training = float(model.connectivity_.attrs["processor_seconds"])
    r2 = float(model.diagnostics_["ensemble_test_r2"].mean())
    rows = []
    for name in readouts.READOUTS:
        start = time.process_time()
        result = readouts.read(model, recording, name)
        seconds = time.process_time() - start
        single = [metrics.auroc(truth, member) for member in result["seed_score"]]
        rows.append({
            "readout": name, "auroc": metrics.auroc(truth, result["score"]), "auroc_single": np.mean(single),
            "auroc_single_sd": np.std(single), "seconds": seconds, "seconds_training": training, "r2": r2,
            "windows": result.attrs["windows"],
        })  # fmt: skip
    asked = asdict(run) | {"max_epochs": len(model.training_["epoch"])}
    versions = {"causalkit": causalkit.__version__, "torch": torch.__version__, "date": str(datetime.date.today())}
    return pd.DataFrame([{"network": run.network, **asked, **row, **versions} for row in rows])


def provenance(table: pd.DataFrame, name: str, planned: list[Run]) -> dict:
    done = table.groupby("part")["network"].count() // len(readouts.READOUTS)
    return {
        "table": name,
        "written_by": "benchmarks/readouts.py",
        "what": "AUROC off the diagonal of each readout of one trained ensemble: `auroc` of the mean of its members, "
        "`auroc_single` the mean of the members' own; test windows only, all of them",
        "runs": {part: {"done": int(n), "planned": sum(r.part == part for r in planned)} for part, n in done.items()},
        "networks": "simulated with seeds from 2000 on; part 'reference': one network of the paper, only looked up",
        "seconds": "processor time of one thread, on a machine that did other work; seconds_training of all members "
        "(part 'reference': in proportion from 20 of its 33 epochs)",
        "versions": {key: sorted(table[key].astype(str).unique()) for key in ("causalkit", "torch", "date")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each part and readout."""
    groups = table.groupby(["part", "readout"], sort=False)
    means = groups[["auroc", "auroc_single", "seconds"]].mean()
    means.insert(0, "networks", groups["network"].nunique())
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "readouts", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "readouts.csv")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--networks", type=int, default=1, help="networks a cell (default: %(default)s)")
    parser.add_argument("--control-size", type=int, default=CONTROL_SIZE, help="of controls (default: %(default)s)")
    parser.add_argument("--epochs", type=int, nargs="*", default=EPOCHS)
    parser.add_argument("--n-seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--collect", action="store_true", help="train nothing, write what the store holds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.store.mkdir(parents=True, exist_ok=True)
    planned, tables = runs(options), []
    for run in planned:
        path = options.store / f"{run.name}.csv"
        if not path.exists() and not options.collect:
            table = rows_of(run, options.store)
            with io.atomic(path) as temporary:
                table.to_csv(temporary, index=False)
            shown = table[["readout", "auroc", "auroc_single", "seconds"]].round(3).to_string(index=False)
            print(f"{run.name}, trained in {table['seconds_training'][0]:.0f} s\n{shown}", flush=True)
        if path.exists():
            tables.append(pd.read_csv(path))
    if not tables:
        parser.exit(1, "the store holds nothing: run without --collect\n")
    table = pd.concat(tables, ignore_index=True)
    with io.atomic(options.out) as temporary:
        table.round(4).to_csv(temporary, index=False)
    sweep.write_provenance(options.out, provenance(table, options.out.name, planned))
    print(means_of(table).round(3).to_string())


if __name__ == "__main__":
    main()

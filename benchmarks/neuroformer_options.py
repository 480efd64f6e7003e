"""Whether other networks first, or a penalty over a graph of neurons, help a Neuroformer: the paper's two open ends.

Each network of the strong world of next_neuron.py is learned with the settings "trained" of that script, and again with
one thing changed: after other sessions, whose networks have other wirings (`sessions`), and with a penalty on the
attention (`graph_penalty`) of three weights. The same test windows, the same seed of the transformer.

    python benchmarks/neuroformer_options.py [--replicates 3]

Writes book/results/neuroformer_options.csv and its provenance, after each training: what the forecast of the next
neuron gains over the rates, in nats, and r |r| of edges and of co-input for two readouts, with what chance leaves.
"""

import argparse
import itertools
import os
import platform
import time
from pathlib import Path

import pandas as pd
import torch
from next_neuron import KINDS, MODELS, READOUTS, WORLDS

from causalkit import Neuroformer, latent_graph_scores, simulate, sweep

ROOT = Path(__file__).resolve().parents[1]
WORLD = WORLDS["strong"]
SEED, SESSION_SEEDS = 3201, (2051, 2052, 2053)
PENALTIES = (0.1, 1.0, 10.0)


def variants() -> dict:
    """Options of each training."""
    sessions = [simulate.lif_spikes(random_state=seed, **WORLD) for seed in SESSION_SEEDS]
    return {"plain": {}, "other sessions": {"sessions": sessions}} | {
        f"penalty {weight:g}": {"graph_penalty": weight} for weight in PENALTIES
    }


def rows_of(recording, options) -> list[dict]:
    """Rows of one training, one a readout."""
    started = time.process_time()
    model = Neuroformer(**MODELS["trained"], **options, n_windows=300, device="cpu").fit(recording)
    found, seconds = model.diagnostics_, time.process_time() - started
    learned = {
        "gain": float(found.rate_cross_entropy) - float(found.test_cross_entropy.mean()),
        "best_epoch": int(model.training_.best_epoch[0]), "seconds": seconds,
    }  # fmt: skip
    rows = []
    for readout in READOUTS:
        own = model.read(recording, readout, n_windows=300).score.fillna(0)
        score = latent_graph_scores.scores(recording.connectivity, own)
        by_chance = latent_graph_scores.chance(recording.connectivity, own, n_rewired=5).mean()
        rows.append(
            learned | {"readout": readout} | {kind: score[kind] for kind in KINDS}
            | {f"{kind}_by_chance": by_chance[kind] for kind in KINDS}
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "neuroformer_options.csv")
    asked = parser.parse_args()
    rows = []
    for seed, (name, options) in itertools.product(range(SEED, SEED + asked.replicates), variants().items()):
        recording = simulate.lif_spikes(random_state=seed, **WORLD)
        rows += [{"replicate": seed, "training": name} | row for row in rows_of(recording, options)]
        table = pd.DataFrame(rows).round(4)
        sweep.write_table(table, asked.out)  # as far as it has come
        print(table.tail(len(READOUTS)).to_string(header=len(table) == len(READOUTS)), flush=True)
        about = {
            "table": asked.out.name, "written_by": "benchmarks/neuroformer_options.py",
            "networks": f"simulate.lif_spikes, hubs, seeds from {SEED} on, on which nothing was chosen; the other "
            f"sessions are of seeds {', '.join(map(str, SESSION_SEEDS))}",
            "world": WORLD, "model": MODELS["trained"], "penalties": PENALTIES, "rewired": 5,
            "seconds": "of one thread, the trainings on other sessions included",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        }  # fmt: skip
        sweep.write_provenance(asked.out, about)


if __name__ == "__main__":
    main()

"""Who drives whom in the example of the spycon benchmark: spikes of 20 neurons over an hour (Donner et al. 2024).

The recording is one of the model of a cortical slice by Ren et al. (2020): 20 of more than 340 neurons, about 1.3
spikes a second each, 18 excitatory connections. Its authors store the scores of six methods on it: AUROC .985 to 1.0.
Bins are of 1 ms, and all methods have their default settings, which were fixed before this recording was looked at.

Measured on the hour, AUROC (average precision): cross_correlogram .987 (.91), spike_glm 1.000 (1.00),
partial_correlation, which knows no direction, .961 (.44).

Usage: python benchmarks/spycon.py FOLDER [--methods cross_correlogram spike_glm ...] [--minutes 60] [--out scores.csv]

FOLDER holds spycon_ren20.npz with `spike_times_s`, `spike_ids` and `adj` (target, source). The generalized linear model
needs about 6 GB for the whole hour.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from causalkit import from_array, metrics
from causalkit.methods import METHODS

BIN_MS = 1.0
SETTINGS = {
    "cross_correlogram": {},
    "spike_glm": {"solver": "shared"},  # the same maximum as by default, in less memory
    "partial_correlation": {"bin_steps": 10},  # of 1 ms: effects last a few
}


def read(folder, minutes=60.0):
    """The first minutes as a recording of counts in bins of 1 ms."""
    path = Path(folder) / "spycon_ren20.npz"
    with np.load(path, allow_pickle=False) as file:
        times_s, ids, truth = file["spike_times_s"], file["spike_ids"], file["adj"]
    n_bins = round(minutes * 60_000 / BIN_MS)
    rows = np.floor(times_s * 1000 / BIN_MS).astype(int)
    inside = rows < n_bins
    counts = np.zeros((n_bins, len(truth)), dtype=np.float32)
    np.add.at(counts, (rows[inside], ids[inside].astype(int)), 1)
    return from_array(counts, dt_ms=BIN_MS, kind="spikes", connectivity=truth.astype(float))


def scores(recording, method):
    """One row of the table."""
    start = time.perf_counter()
    found = METHODS[method](**SETTINGS.get(method, {})).fit(recording).connectivity_
    truth = recording.connectivity.values
    edge = truth != 0
    return {
        "method": method,
        "minutes": recording.sizes["time"] * BIN_MS / 60_000,
        "auroc": metrics.auroc(recording, found),
        "average_precision": metrics.auprc(recording, found),
        "auroc_transposed": metrics.auroc(truth.T, found.score.values),  # half, if directions are told apart
        "excitatory": float((found.sign.values[edge] > 0).mean()) if "sign" in found else np.nan,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS), choices=list(METHODS))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    recording = read(arguments.folder, arguments.minutes)
    table = pd.DataFrame([scores(recording, method) for method in arguments.methods])
    print(table.to_string(index=False, float_format="%.3f"))
    if arguments.out:
        table.to_csv(arguments.out, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()

"""Simulate the paper's 160 networks and store their firing rates beside those of the published recordings.

CAUSALKIT_REFERENCE_DATA=FOLDER python benchmarks/simulated_grid.py

Writes book/results/simulated_grid.csv, which notebook 01 shows.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from causalkit import simulate

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results"


def published_rate(folder: Path, n_neurons: int, probability: float) -> float:
    """Mean rate in Hz of the published recordings of one cell of the grid; NaN where they are not at hand."""
    rates = []
    for path in sorted(folder.glob(f"paper/networks/N{n_neurons:02d}_p{probability}_net*.npz")):
        with np.load(path, allow_pickle=False) as file:
            n_steps, n = file["v"].shape
            rates.append(len(file["spikes"]) / (n * (n_steps - 1)) * 1000)
    return float(np.mean(rates)) if rates else float("nan")


def main() -> None:
    folder = Path(os.environ.get("CAUSALKIT_REFERENCE_DATA", "."))
    rows = []
    for n_neurons in (5, 10, 20, 40):
        for probability in (0.2, 0.4, 0.6, 0.8):
            networks = simulate.izhikevich(n_neurons=n_neurons, connection_probability=probability, n_networks=10)
            rates = [float(network.spikes.mean()) * 1000 for network in networks]
            row = {"n_neurons": n_neurons, "connection_probability": probability, "rate_hz": np.mean(rates)}
            row |= {"lowest_hz": min(rates), "highest_hz": max(rates)}
            rows.append(row | {"published_hz": published_rate(folder, n_neurons, probability)})
    table = pd.DataFrame(rows).round(1)
    table.to_csv(RESULTS / "simulated_grid.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

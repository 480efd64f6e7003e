"""Does preset="fast" lose AUROC against preset="paper"? Paired differences on networks that neither was chosen on.

    causalkit sweep benchmarks/fast_vs_paper.yaml --store _build/fast_vs_paper
    python benchmarks/fast_vs_paper.py

Collects whatever the store holds for both, writes book/results/fast_vs_paper.csv and its provenance,
fast_vs_paper.json, and prints the mean difference with its interval.
"""

import argparse
import os
import platform
from pathlib import Path

import pandas as pd
from scipy import stats

import causalkit.sweep as sweep
from causalkit import io

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "fast_vs_paper.yaml"
NETWORK = ["network", "n_neurons", "connection_probability"]
TOLERATED = 0.01  # AUROC that "fast" may lose on average


def paired(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a network that both presets were trained on: AUROC off the diagonal, R² and seconds of each."""
    frame = frame[frame["protocol"] == "off_diagonal"]
    ensemble = frame[frame["seed"] == "ensemble"].set_index([*NETWORK, "label"])
    single = frame[frame["seed"] != "ensemble"].groupby([*NETWORK, "label"])["auroc"].mean()
    columns = {
        "auroc": ensemble["auroc"], "auroc_single": single, "r2": ensemble["r2"],
        "seconds": ensemble["seconds"].round(),
    }  # fmt: skip
    wide = pd.DataFrame(columns).unstack("label").dropna()
    wide.columns = [f"{name}_{label}" for name, label in wide.columns]
    return wide.assign(difference=wide["auroc_fast"] - wide["auroc_paper"]).reset_index()


def interval(differences: pd.Series) -> dict:
    """Mean, and its 95 % interval by Student's t over networks, of which there are two or more."""
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    found = {"mean": differences.mean(), "low": interval.low, "high": interval.high}
    return {name: float(value) for name, value in found.items()} | {"networks": len(differences)}


def provenance(table: pd.DataFrame, name: str, frame: pd.DataFrame, planned: int) -> dict:
    return {
        "table": name,
        "written_by": "benchmarks/fast_vs_paper.py, from the grid beside it",
        "what": "AUROC off the diagonal of ensembles of three (auroc_single: mean of the three), preset 'fast' minus "
        "preset 'paper' on the same networks, simulated here with seeds that neither preset was chosen on",
        "finished": f"{len(table)} of {planned} networks",
        "difference": interval(table["difference"]),
        "difference_by_size": {f"{n}": interval(part["difference"]) for n, part in table.groupby("n_neurons")},
        "seconds": "of all three members, one thread, on a machine that did other work; 'paper' in bfloat16",
        "dates": [frame["date"].min(), frame["date"].max()],
        "versions": {key: sorted(frame[key].astype(str).unique()) for key in ("causalkit", "torch", "numpy", "python")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "fast_vs_paper", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "fast_vs_paper.csv")
    arguments = parser.parse_args()
    grid = sweep.read_grid(GRID)
    frame = sweep.table(arguments.store, grid)
    table = paired(frame)
    if (table.groupby("n_neurons").size() < 2).any() or table.empty:
        parser.exit(1, "fewer than two networks of a size have both presets: run the sweep first (see --help)\n")
    summary = provenance(table, arguments.out.name, frame, len(grid.networks))
    with io.atomic(arguments.out) as temporary:
        table.round(4).to_csv(temporary, index=False)
    sweep.write_provenance(arguments.out, summary)
    print(table.round(3).to_string(index=False))
    found = summary["difference"]
    print("fast - paper: {mean:+.3f} ({low:+.3f} to {high:+.3f}), {networks} networks".format(**found))
    verdict = "shown" if found["low"] > -TOLERATED else "not shown"
    print(f"that 'fast' loses less than {TOLERATED} on average is {verdict}")


if __name__ == "__main__":
    main()

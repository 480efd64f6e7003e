"""Count how often GaussianProcessGranger's p-values reject where nothing acts.

    python benchmarks/gaussian_process.py

Two worlds short enough for `default.choose` to take this method: autoregressions of four neurons without edges (200
rows), and Izhikevich voltages of three neurons without synapses (300 steps). Writes book/results/gaussian_process.csv,
one row for each network: how many pairs, the shares with a p-value below .05 and .01, and how many are edges at a false
discovery rate of .05. Networks that are in the table are not run again. Prints the means over networks with 99.9 %
intervals (Student's t), and in how many networks there is an edge.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import causalkit.sweep as sweep
from causalkit import GaussianProcessGranger, significance, simulate

ROOT = Path(__file__).resolve().parents[1]
FIRST_SEED = 6100
LEVELS = (0.05, 0.01)


WORLDS = {
    "autoregression": lambda seed: simulate.var(4, 0.0, 200, seed),
    "Izhikevich": lambda seed: simulate.izhikevich(3, 0.0, 300, random_state=seed),
}


def below_column(level: float) -> str:
    """Column of the share of p-values below a level: below_05."""
    return f"below_{level:g}".replace("0.", "")


def measure(world: str, seed: int) -> dict:
    """One network."""
    p = GaussianProcessGranger().fit(WORLDS[world](seed)).connectivity_.p_value.transpose("target", "source").values
    off = ~np.eye(len(p), dtype=bool)
    below = {below_column(level): (p[off] < level).mean() for level in LEVELS}
    edges = (significance.fdr(p)[off] <= 0.05).sum()
    return {"world": world, "seed": seed, "pairs": int(off.sum()), **below, "edges": int(edges)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over networks of a world, with the half width of their 99.9 % interval."""
    rows = []
    for world, part in table.groupby("world", sort=False):
        row = {"world": world, "networks": len(part), "pairs": int(part.pairs.sum())}
        for level in LEVELS:
            shares = part[below_column(level)]
            half = stats.t.ppf(0.9995, len(part) - 1) * shares.std() / np.sqrt(len(part))
            row[f"p < {level:g}"] = f"{shares.mean():.3f} ± {half:.3f}"
        rows.append(row | {"networks with an edge at FDR .05": int((part.edges > 0).sum())})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40, help="of each world (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "gaussian_process.csv")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.out).to_dict("records") if arguments.out.exists() else []
    told = {(row["world"], row["seed"]) for row in rows}
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.networks):
        for world in WORLDS:
            if (world, seed) not in told:
                rows.append(measure(world, seed))
                sweep.write_table(pd.DataFrame(rows), arguments.out)
    table = pd.DataFrame(rows)
    provenance = {
        "table": arguments.out.name, "written_by": "benchmarks/gaussian_process.py",
        "what": " ".join(__doc__.split("python benchmarks/gaussian_process.py")[1].split()),
        "seeds": f"{table.seed.min()} to {table.seed.max()}",
        "method": str(GaussianProcessGranger().get_params()),
    }  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)
    print(summary(table).to_string(index=False))


if __name__ == "__main__":
    main()

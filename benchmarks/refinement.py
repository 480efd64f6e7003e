"""Do tests on top of the transformer's lagged candidates help where causes are hidden, or act within the step?

    causalkit sweep benchmarks/refinement.yaml --store _build/decoder_only
    python benchmarks/refinement.py

Collects whatever is there. The candidates are the 2 k largest gradient energies, k the true number of edges, or the
largest fifth of all, or those before the widest gap (both told nothing); `discovery.refine_hidden_causes` or
`refine_within_step` refines them, with partial correlations (lines) or Hermite polynomials (curves). Writes
book/results/refinement.csv, one row for each recording, rule and test, and its provenance, refinement.json: F1 against
the lagged truth, own past included, of the k largest scores (f1_top_k), of the candidates (f1_candidates), of what is
left of them (f1_refined), of as many largest scores as are left (f1_as_many: what a shorter list alone would do) and of
the k largest of those that are left (f1_refined_top_k); and of effects within the step, F1 of the joined pairs, how
many directions were given and how many of these are right. Prints means over recordings.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import causalkit.sweep as sweep
from causalkit import discovery, lagged_graphs, lagged_metrics

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "refinement.yaml"
ALPHA = {"hidden": 1e-8, "within the step": 1e-3}  # chosen on seeds 2000 to 2002
RULES = {"twice k": lambda k, n: {"top_k": 2 * k}, "a fifth": lambda k, n: {"top_k": n // 5},
         "widest gap": lambda k, n: {"widest_gap": True}}  # fmt: skip
TESTS = {"lines": discovery.lagged_independence, "curves": discovery.basis_independence}


def world_of(simulated: dict) -> str:
    """What the table calls a world."""
    more = f"{simulated['n_latent']} hidden" if "n_latent" in simulated else "effects within the step"
    return f"{simulated['mechanism'].replace('_', ' ')}, {more}"


def refined(recording: xr.Dataset, candidates: xr.DataArray, test: str) -> xr.Dataset:
    """By the step that fits the world."""
    kind = "within the step" if "instantaneous" in recording else "hidden"
    asked = TESTS[test](recording, candidates.sizes["lag"], alpha=ALPHA[kind])
    step = discovery.refine_hidden_causes if kind == "hidden" else discovery.refine_within_step
    return step(candidates, asked)


def scores_of(recording: xr.Dataset, score: xr.DataArray, rule: str, test: str) -> dict:
    """How right the graph is before and after."""
    truth = recording["lagged_connectivity"]
    k = int((truth != 0).sum())
    candidates = lagged_graphs.graph(score, **RULES[rule](k, score.size))
    found = refined(recording, candidates, test)
    n_left = int(found["graph"].sum())
    graphs = {
        "top_k": lagged_graphs.graph(score, top_k=k),
        "candidates": candidates,
        "refined": found["graph"],
        "as_many": lagged_graphs.graph(score, top_k=n_left),
        "refined_top_k": lagged_graphs.graph(score.where(found["graph"], 0.0), top_k=min(k, n_left)),
    }
    row = {"n_edges": k, "n_candidates": int(candidates.sum()), "n_refined": n_left, "n_tests": found.attrs["n_tests"]}
    row |= {f"f1_{name}": lagged_metrics.f1(truth, graph) for name, graph in graphs.items()}
    if "instantaneous" not in recording:
        sure, hidden = found["sure"], found["hidden"]
        true = truth != 0
        return row | {"n_sure": int(sure.sum()), "n_sure_right": int((sure & true).sum()),
                      "n_hidden": int(hidden.sum()), "n_hidden_right": int((hidden & ~true).sum())}  # fmt: skip
    true, given = recording["instantaneous"].values != 0, found["instantaneous"].values
    joined, pairs = (np.triu(a | a.T) for a in (given | found["undirected"].values, true))
    return row | {"n_within": int(pairs.sum()), "f1_within": 2 * (joined & pairs).sum() / (joined.sum() + pairs.sum()),
                  "n_directed": int(given.sum()), "n_directed_right": int((given & true).sum())}  # fmt: skip


def rows_of(unit: sweep.Unit, result: xr.Dataset) -> list[dict]:
    """Of one training."""
    recording, simulated = unit.recording(), unit.network.simulated
    named = {"world": world_of(simulated), "network": str(unit.network), "seed": simulated["random_state"],
             "n_steps": unit.n_times, "seconds": float(result.attrs["seconds"])}  # fmt: skip
    return [named | {"candidates": rule, "test": test} | scores_of(recording, result["lag_score"], rule, test)
            for rule in RULES for test in TESTS]  # fmt: skip


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the recordings of each world, rule and test."""
    groups = table.groupby(["world", "candidates", "test"], sort=False)
    columns = [name for name in table if name.startswith("f1_")]
    means = groups[columns].mean()
    means.insert(0, "networks", groups["network"].nunique())
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=GRID)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "decoder_only", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "refinement.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    units = sweep.units(sweep.read_grid(arguments.grid))
    results = sweep.results(arguments.store, units)
    table = pd.DataFrame([row for unit, result in results for row in rows_of(unit, result)])
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results of {arguments.grid.name}: run the sweep first (--help)\n")
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["network"])
    sweep.write_table(table.round(4), arguments.out)
    with pd.option_context("display.width", 240, "display.max_columns", None, "display.max_rows", None):
        print(means_of(table).round(3).to_string(), flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/refinement.py, from the grid beside it",
        "what": " ".join(__doc__.split("provenance, refinement.json: ")[1].split("Prints")[0].split()),
        "units": {"done": int(table.network.nunique()), "planned": len(units)},
        "candidates": list(RULES),
        "alpha": ALPHA,
        "networks": "seeds from 3200 on; levels of the tests and the number of candidates were chosen on 2000 to 2002",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

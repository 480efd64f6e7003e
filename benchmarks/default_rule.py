"""Tell what the rule of causalkit.default chooses on every set of the benchmark, and what that is worth.

    causalkit benchmark --data FOLDER --store _build/benchmark --methods single_index,gaussian_process,mvgc
    python benchmarks/default_rule.py --data FOLDER

Reads what `causalkit benchmark` stored. Writes book/results/default_rule.csv, one row a set: what was chosen for how
many replicates, mean and lowest AUROC off the diagonal of the choice, and the mean of SingleIndexGranger. Partial
correlation in bins of one step is not among the stored settings and is computed here. A set is blank where a chosen
method was not run.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

import causalkit.sweep as sweep
from causalkit import benchmark, default, io, methods, metrics

ROOT = Path(__file__).resolve().parents[1]


def row_of(name: str, replicates: list, scores: dict) -> dict:
    """One set: `scores` is AUROC by replicate and class of method."""
    chosen, found, index = [], [], []
    for each in replicates:
        network = each.network
        recording = network.recording() if network.file is None else io.read(network.file)
        choice = default.choose(recording)
        chosen.append(choice.method)
        if choice.parameters:
            result = methods.get(choice.method)(**choice.parameters).fit(recording).connectivity_
            found.append(metrics.auroc(recording["connectivity"], result["score"]))
        else:
            found.append(scores.get((each.number, methods.get(choice.method).__name__), np.nan))
        index.append(scores.get((each.number, "SingleIndexGranger"), np.nan))
    return {"set": name, "replicates": len(replicates),
            "chosen": ", ".join(f"{m} {n}" for m, n in Counter(chosen).most_common()),
            "AUROC": _text(found), "lowest": _text([np.min(found)]), "SingleIndexGranger": _text(index)}  # fmt: skip


def _text(values) -> str:
    return "" if np.isnan(values).any() else f"{np.mean(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "benchmark", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "default_rule.csv")
    arguments = parser.parse_args()
    plan = benchmark.plan(arguments.data, arguments.store, progress=False)
    scored = benchmark.table(plan, arguments.store).dropna(subset="auroc")
    rows = []
    for name in dict.fromkeys(each.set for each in plan.replicates):
        part = scored[scored.set == name]
        scores = {(r.replicate, r.method): r.auroc for r in part.itertuples()}
        rows.append(row_of(name, [each for each in plan.replicates if each.set == name], scores))
    table = pd.DataFrame(rows).sort_values("set", ignore_index=True)
    sweep.write_table(table, arguments.out)
    provenance = {"table": arguments.out.name, "written_by": "benchmarks/default_rule.py",
                  "what": " ".join(__doc__.split("Writes")[1].split()),
                  "rule": " ".join(default.choose.__doc__.split("Parameters")[0].split())}  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

"""Tell how every method does on public sets and on causalkit's worlds, with the settings that it has by default.

    causalkit benchmark --data FOLDER --store _build/benchmark
    python benchmarks/public_sets.py --data FOLDER [--add]

Collects whatever is there. Writes book/results/benchmark.csv, one row for each set, replicate and method; the tables
that the book shows, benchmark_ranking.csv, benchmark_sets.csv and benchmark_rule.csv; and their provenance,
benchmark.json. Prints the tables. Hyperparameters are the defaults of each method, the same on all sets; nothing was
chosen on the public ones. Rows "auto" repeat, replicate by replicate, the row of the method that causalkit.default
chooses; benchmark_rule.csv says which that was. A figure is blank where a replicate has none.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import pandas as pd

import causalkit.sweep as sweep
from causalkit import benchmark, default

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (benchmark.AUTO, "SingleIndexGranger", "GaussianProcessGranger", "NeuralGranger", "MVGC")
# Mean AUROC that others report, the best of a grid that was tuned on the truth: stored logs of the authors of GVAR
# (github.com/i6092467/GVAR, bin/logs, commit e06268f) and of JRNGC. Where the best is not off the diagonal, it is left
# out.
PUBLISHED = {
    "esru_lorenz96_F10_T500": "GVAR 1.000, cLSTM .983, cMLP .972",
    "esru_lorenz96_F40_T500": "cMLP .997, GVAR .983, cLSTM .717",
    "gvar_linear_var": "GVAR 1.000, cMLP 1.000",
    "gvar_lotka_volterra": "GVAR .991, cMLP .835, cLSTM .499",
    "netsim_sim03": "GVAR .690, cLSTM .665, cMLP .616",
}


def sets_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a set: the default rule, its two main methods, networks, linear Granger causality, and others."""
    rows = []
    for name, part in table.groupby("set", sort=True):
        planned = part.replicate.nunique()
        scores = part.dropna(subset="auroc").groupby("method").auroc
        mean, count = scores.mean(), scores.count()
        others = mean[(count == planned) & ~mean.index.isin((*SHOWN, "RandomScores"))]
        best = f"{others.idxmax()} {others.max():.3f}" if len(others) else ""
        rows.append({"set": name, "replicates": planned}
                    | {method: _mean(mean, count, planned, method) for method in SHOWN}
                    | {"best other": best, "published, tuned on the truth": PUBLISHED.get(name, "")})  # fmt: skip
    return pd.DataFrame(rows)


def _mean(mean: pd.Series, count: pd.Series, planned: int, method: str) -> str:
    if method not in mean:
        return ""
    return f"{mean[method]:.3f}" + ("" if count[method] == planned else f" ({count[method]} only)")


def ranking_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method: its mean rank, and means over sets of the means over replicates."""
    ranked = benchmark.ranking(table)
    means = table.dropna(subset="auroc").groupby(["method", "set"])[
        ["auprc", "true_positive_rate", "false_positive_rate", "seconds"]
    ].mean().groupby("method").mean()  # fmt: skip
    rows = []
    for method, row in ranked.iterrows():
        mean = means.loc[method]
        rates = ("true_positive_rate", "false_positive_rate")
        rows.append({
            "method": method, "mean rank": _text(row["mean rank"], 1), "sets": int(row["sets"]),
            "AUROC": _text(row.drop(["mean rank", "sets"]).mean(), 3), "AUPRC": f"{mean.auprc:.3f}",
            **{name.split("_")[0] + " rate": _text(mean[name], 2) for name in rates},
            "seconds": f"{mean.seconds:.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def rule_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a set: what the default rule chose for how many replicates, what that is worth, and the single index."""
    rows = []
    for name, part in table.groupby("set", sort=True):
        planned, auto = part.replicate.nunique(), part[part.method == benchmark.AUTO]
        chosen = auto.parameters.map(lambda parameters: json.loads(parameters)["method"]).value_counts()
        single = part[part.method == "SingleIndexGranger"]
        rows.append({
            "set": name, "replicates": planned,
            "chosen": ", ".join(f"{method} {count}" for method, count in chosen.items()),
            "AUROC": _of_all(auto.auroc, "mean", planned), "lowest": _of_all(auto.auroc, "min", planned),
            "SingleIndexGranger": _of_all(single.auroc, "mean", planned),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _of_all(values: pd.Series, how: str, planned: int) -> str:
    return _text(values.agg(how), 3) if values.count() == planned else ""


def _text(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "benchmark", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "benchmark.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the store has nothing of")
    arguments = parser.parse_args()
    plan = benchmark.plan(arguments.data, arguments.store)
    table = benchmark.table(plan, arguments.store)
    if arguments.add:
        table = sweep.with_earlier_rows(table, arguments.out, same=["set", "replicate", "method"])
    table = benchmark.with_auto(table, plan)
    if table.empty:
        parser.exit(1, f"{arguments.store} holds no results: run causalkit benchmark first (see --help)\n")
    sweep.write_table(table, arguments.out)
    for name, part in (("ranking", ranking_of(table)), ("sets", sets_of(table)), ("rule", rule_of(table))):
        sweep.write_table(part, arguments.out.with_name(f"{arguments.out.stem}_{name}.csv"))
        print(f"\n{name}\n{part.to_string(index=False)}", flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/public_sets.py",
        "what": " ".join(__doc__.split("Writes")[1].split()),
        "units": {"planned": len(plan.units) + len(plan.replicates), "with scores": int(table.auroc.notna().sum()),
                  "refused or failed": int(table.problem.notna().sum())},
        "rule": " ".join(default.choose.__doc__.split("Parameters")[0].split()),
        "hyperparameters": benchmark.hyperparameters().splitlines(),
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

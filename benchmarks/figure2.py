"""Make the table of the paper's Figure 2: what the stores of its sweeps hold, beside what was published.

    CAUSALKIT_REFERENCE_DATA=... python benchmarks/figure2.py [GRID ...] [--store DIR]

MVGC that the store lacks is computed, which takes a minute. Causalformers are only collected, as many as there are:

    causalkit sweep benchmarks/figure2_causalformer.yaml --store _build/figure2

Writes book/results/figure2.parquet and its provenance, figure2.json, and prints each cell beside the paper's.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd

import causalkit.sweep as sweep

ROOT = Path(__file__).resolve().parents[1]
GRIDS = [ROOT / "benchmarks" / name for name in ("figure2.yaml", "figure2_causalformer.yaml")]
CELL = ["n_neurons", "connection_probability"]
PROTOCOLS = {"published": "auroc_paper_protocol", "off_diagonal": "auroc_off_diagonal"}
VERSIONS = ["causalkit", "algorithm_version", "numpy", "torch", "python"]
COLUMNS = [
    "source", "network", *CELL, "control", "method", "seed", "protocol", "auroc", "auprc", "r2", "r2_on", "order",
    "epochs", "seconds", "device", "date", "versions", "parameters",
]  # fmt: skip


def computed_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring the table of a sweep into the columns of the figure."""
    single = np.where(frame["seed"] == "ensemble", "Causalformer ensemble", "Causalformer single")
    from_file = frame["network_parameters"].map(lambda text: "file" in json.loads(text))
    return frame.assign(
        source=np.where(from_file, "reference", "own"),
        method=frame["label"].where(frame["method"] == "mvgc", pd.Series(single, frame.index)),
        control=[_control(*row) for row in zip(frame["label"], frame["surrogate"], strict=True)],
        versions=[json.dumps(row) for row in frame[VERSIONS].to_dict("records")],
    )[COLUMNS]


def _control(label: str, surrogate: str) -> str:
    parts = ["untrained"] * (label == "untrained") + [surrogate] * (surrogate != "none")
    return ", ".join(parts) or "none"


def published_rows(published: dict) -> pd.DataFrame:
    """What the authors stored for each network, in the same columns."""
    rows = []
    for network, values in published.items():
        size, probability, _ = network.split("_")
        shared = {"source": "published", "network": network, "control": "none", "n_neurons": int(size[1:]),
                  "connection_probability": float(probability[1:])}  # fmt: skip
        r2 = values["test_r2"]
        for protocol, name in PROTOCOLS.items():
            auroc = {key.removesuffix("_max10"): value for key, value in values[name].items()}
            scores = [
                ("MVGC-AIC", "ensemble", auroc["mvgc_aic"], None),
                ("MVGC-BIC", "ensemble", auroc["mvgc_bic"], None),
                ("Causalformer ensemble", "ensemble", auroc["causalformer_ensemble"], r2["ensemble_mean"]),
            ]
            singles = zip(auroc["causalformer_single"], r2["per_seed"], strict=True)
            scores += [("Causalformer single", str(n), score, test) for n, (score, test) in enumerate(singles)]
            rows += [
                {**shared, "method": method, "seed": seed, "protocol": protocol, "auroc": score, "r2": test,
                 "r2_on": None if test is None else "test"}
                for method, seed, score, test in scores
            ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def tidy(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Join rows, with the same types and the same order wherever they come from."""
    numbers = dict.fromkeys(("auroc", "auprc", "r2", "seconds"), "float64") | {"order": "Int64", "epochs": "Int64"}
    table = pd.concat([part.astype(object) for part in parts if len(part)], ignore_index=True)
    table = table.astype(numbers | {"n_neurons": "int64", "connection_probability": "float64"})
    seed_number = pd.to_numeric(table["seed"], errors="coerce")
    order = ["source", "control", "method", *CELL, "network", "protocol", "_seed"]
    return table.assign(_seed=seed_number).sort_values(order, kind="stable", ignore_index=True)[COLUMNS]


def cell_means(table: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Ours and published, over those networks of each cell that have both; single models averaged first."""
    chosen = table[(table["protocol"] == protocol) & (table["control"] == "none")]
    networks = chosen.groupby(["method", *CELL, "network", "source"])["auroc"].mean().unstack("source")
    both = networks.reindex(columns=["reference", "published"]).dropna()
    cells = both.groupby(["method", *CELL]).agg(["mean", "size"])
    cells = cells[[("reference", "mean"), ("published", "mean"), ("reference", "size")]]
    cells.columns = ["ours", "published", "networks"]
    return cells.assign(difference=cells["ours"] - cells["published"])


def differences(table: pd.DataFrame) -> dict:
    """Mean over cells of the absolute difference of their means, for each protocol and method."""
    found = {}
    for protocol in PROTOCOLS:
        cells = cell_means(table, protocol).reset_index()
        found[protocol] = {
            method: {"mean_over_cells": round(float(c["difference"].abs().mean()), 5), "cells": len(c),
                     "networks": int(c["networks"].sum())}
            for method, c in cells.groupby("method")
        }  # fmt: skip
    return found


def provenance(table: pd.DataFrame, name: str) -> dict:
    """What the table is, what it rests on, and where each part comes from."""
    ours = table[table["source"] != "published"]
    counts = table.groupby(["source", "control", "method"])["network"].nunique()
    versions = [json.loads(text) for text in ours["versions"].unique()]
    return {
        "table": name,
        "written_by": "benchmarks/figure2.py, from the grids beside it",
        "what": "AUROC and AUPRC of MVGC and Causalformer over the grid of the paper's Figure 2, one row a network, "
        "method, seed and protocol: 'own' networks are simulated here (N05_p0.2_seed0 with random_state=0), "
        "'reference' are the paper's own recordings, 'published' is what its authors found in those",
        "published": "Rows with source 'published' are single values that Lu et al. (2023), arXiv 2311.06928, stored "
        "with their code: github.com/ziyulu-uw/causalformer, commit e535d78, MIT license, copyright of its authors. "
        "Their seeds are numbered in the order of their list.",
        "protocols": "off_diagonal leaves the diagonal out and is empty where a network has no non-edge; published "
        "counts the zeroed diagonal as true negatives",
        "input": "voltage clipped at 30 mV, z-scored, first 5000 steps",
        "controls": "untrained: max_epochs=0; time_shuffle: each neuron's steps in random order, then trained",
        "seconds": "of the whole unit (all seeds), on machines that did other work: no timings",
        "networks": counts.reset_index(name="networks").to_dict("records"),
        "difference_to_published": differences(table),
        "dates": [ours["date"].min(), ours["date"].max()],
        "devices": sorted(ours["device"].unique()),
        "versions": {key: sorted({str(each[key]) for each in versions}) for key in VERSIONS},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip


def show(table: pd.DataFrame) -> None:
    for protocol in PROTOCOLS:
        cells = cell_means(table, protocol).reset_index()
        cells["shown"] = [f"{c.ours:.3f} / {c.published:.3f} ({c.networks})" for c in cells.itertuples()]
        print(f"\n{protocol} protocol: ours / published (networks that have both)")
        print(cells.pivot(index=CELL, columns="method", values="shown").fillna("").to_string())
    for protocol, methods in differences(table).items():
        for method, found in methods.items():
            print(f"{protocol}, {method}: mean over {found['cells']} cells of |ours - published| "
                  f"{found['mean_over_cells']:.4f}, {found['networks']} networks")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="*", type=Path, default=GRIDS, help="default: both grids of the figure")
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "figure2", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "figure2.parquet")
    arguments = parser.parse_args()
    folder = os.environ.get("CAUSALKIT_REFERENCE_DATA")
    if not folder:
        parser.exit(2, "set CAUSALKIT_REFERENCE_DATA to the folder of the published data: it is not shipped here\n")
    planned = [unit for path in arguments.grids for unit in sweep.units(sweep.read_grid(path))]
    print(sweep.run([unit for unit in planned if unit.method == "mvgc"], arguments.store))
    published = json.loads((Path(folder) / "paper" / "published.json").read_text())
    table = tidy([computed_rows(sweep.table(arguments.store, planned)), published_rows(published)])
    sweep.write_table(table, arguments.out)
    sweep.write_provenance(arguments.out, provenance(table, arguments.out.name))
    show(table)


if __name__ == "__main__":
    main()

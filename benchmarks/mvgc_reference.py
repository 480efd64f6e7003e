"""Run MVGC on the published networks and set its AUROC beside the published one.

The folder of the published data is named by the environment variable CAUSALKIT_REFERENCE_DATA. As published: voltage
clipped at 30 mV, z-scored (which MVGC does itself), first 5,000 steps, orders up to 10. The paper's "AIC" is AICc.

Usage: python benchmarks/mvgc_reference.py [--out book/results/mvgc_reference.csv]
"""

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from tqdm.auto import tqdm

import causalkit
from causalkit import MVGC, from_array, metrics

CRITERIA = {"MVGC-AIC": ("aicc", "mvgc_aic"), "MVGC-BIC": ("bic", "mvgc_bic")}
MAX_ORDER, N_STEPS, CLIP_MV = 10, 5000, 30.0


def run_network(path: Path, published: dict) -> list[dict]:
    """One row a criterion for the network in `path`."""
    with np.load(path, allow_pickle=False) as data:
        truth = data["connectivity"]
        recording = from_array(np.minimum(data["v"][:N_STEPS], CLIP_MV), kind="voltage")
    off_diagonal = truth[~np.eye(len(truth), dtype=bool)] != 0
    scorable = 0 < off_diagonal.sum() < off_diagonal.size  # a fully connected network has no non-edge to rank
    rows = []
    for method, (criterion, key) in CRITERIA.items():
        start = time.perf_counter()
        fit = MVGC(order=criterion, max_order=MAX_ORDER).fit(recording)
        seconds = time.perf_counter() - start
        score = fit.connectivity_.score.values
        theirs = published[path.stem]
        rows.append(
            {
                "network": path.stem,
                "n_neurons": len(truth),
                "connection_probability": float(path.stem.split("_")[1][1:]),
                "method": method,
                "order": int(fit.diagnostics_.order),
                "auroc_published_protocol": metrics.auroc(truth, score, protocol="published"),
                "auroc_off_diagonal": metrics.auroc(truth, score) if scorable else np.nan,
                "auprc_off_diagonal": metrics.auprc(truth, score) if scorable else np.nan,
                "auroc_published_protocol_of_paper": theirs["auroc_paper_protocol"][key],
                "auroc_off_diagonal_of_paper": theirs["auroc_off_diagonal"][f"{key}_max10"]
                if scorable
                else np.nan,
                "seconds": round(seconds, 4),
            }
        )
    return rows


def seconds_at_full_size() -> float:
    """Seconds for 40 neurons, order 10, 5,000 steps: the median of five runs."""
    x = np.random.default_rng(0).standard_normal((N_STEPS, 40))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        MVGC(order=10).fit(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def write(path: Path, text: str) -> None:
    """Write to a neighbor and move it into place, so that no half-written file stays behind."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parent.parent / "book" / "results" / "mvgc_reference.csv"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    folder = os.environ.get("CAUSALKIT_REFERENCE_DATA")
    if not folder:
        parser.exit(
            2, "set CAUSALKIT_REFERENCE_DATA to the folder of the published data: it is not shipped here\n"
        )
    paper = Path(folder) / "paper"
    published = json.loads((paper / "published.json").read_text())

    networks = sorted((paper / "networks").glob("N*.npz"))
    table = pd.DataFrame([row for p in tqdm(networks, disable=None) for row in run_network(p, published)])
    difference = (table.auroc_published_protocol - table.auroc_published_protocol_of_paper).abs()
    table["difference"] = difference
    cell = ["n_neurons", "connection_probability"]
    print("mean absolute difference to the published AUROC (published protocol)")
    print(table.pivot_table(index=cell, columns="method", values="difference").round(4).to_string())
    by_method = table.groupby("method").difference.agg(["mean", "max"])
    print(by_method.round(4).to_string())
    means = ["auroc_published_protocol", "auroc_published_protocol_of_paper", "auroc_off_diagonal"]
    print(table.groupby(["method", *cell])[means].mean().round(3).to_string())
    full_size = seconds_at_full_size()
    print(f"40 neurons, order 10, {N_STEPS} steps: {full_size:.3f} s")

    provenance = {
        "table": out.name,
        "what": "MVGC of this package on the 80 published networks, beside the AUROC that the paper's authors stored",
        "data": "github.com/ziyulu-uw/causalformer, commit e535d78, MIT license",
        "protocol": f"voltage clipped at {CLIP_MV:g} mV, z-scored, first {N_STEPS} steps, orders 1 to {MAX_ORDER}; the "
        "published protocol counts the zeroed diagonal as true negatives; off-diagonal values are empty where a "
        "network has no non-edge",
        "methods": {method: f"order={criterion!r}" for method, (criterion, _) in CRITERIA.items()},
        "mean_absolute_difference": by_method["mean"].round(5).to_dict(),
        "largest_difference": by_method["max"].round(5).to_dict(),
        "seconds_at_40_neurons_order_10": round(full_size, 4),
        "causalkit": causalkit.__version__,
        "algorithm_version": MVGC.algorithm_version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "date": datetime.date.today().isoformat(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, table.drop(columns="difference").to_csv(index=False, float_format="%.6g"))
    write(out.with_suffix(".json"), json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()

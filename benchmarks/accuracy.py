"""Tell how well SingleIndexGranger finds the edges, and whether its p-values hold, from the stores of its sweeps.

    CAUSALKIT_REFERENCE_DATA=... causalkit sweep benchmarks/accuracy.yaml --store _build/accuracy
    causalkit sweep benchmarks/calibration.yaml --store _build/calibration
    CAUSALKIT_REFERENCE_DATA=... python benchmarks/accuracy.py
    python benchmarks/accuracy.py --stored

Collects whatever is there. Writes book/results/accuracy.csv, one row a network, and its provenance, accuracy.json: the
share of non-edges with a p-value below each of twelve levels (rejected_LEVEL), and of graphs at six false discovery
rates the share of false edges and the share of edges that are found (false_discoveries and power at .05, with the rate
in the name at others). Prints each cell: AUROC off the diagonal beside MVGC's and the published, and the share of edges
with the right sign; of p-values the share of non-edges below .05 and .01, with an interval over networks, because the
pairs of one are dependent; of graphs at a false discovery rate of .05 the share of false edges beside what it may be,
and the share of edges that are found. With --stored it computes and writes nothing: it prints the same from the
tables in book/results, and then what the other benchmarks stored of this method, of readouts and of spikes.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import causalkit.sweep as sweep
from causalkit import connectivity, metrics

ROOT = Path(__file__).resolve().parents[1]
GRIDS = ("accuracy", "calibration")
WIDE = pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None,
                         "display.precision", 4)  # fmt: skip
CELL = ["n_neurons", "connection_probability"]
LEVELS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
TOLD = (0.05, 0.01)  # levels that are printed
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FDR = 0.05
CONFIDENCE = 0.999
VERSIONS = ("causalkit", "algorithm_version", "numpy", "torch", "python", "date")


def row_of(result: xr.Dataset) -> dict:
    """What one result says about edges, signs, p-values and graphs."""
    truth, off = result["truth"].values, ~np.eye(result.sizes["target"], dtype=bool)
    edge, none = off & (truth != 0), off & (truth == 0)
    row = {"n_edges": int(edge.sum()), "n_non_edges": int(none.sum()), "auroc": np.nan}
    if edge.any() and none.any():
        row["auroc"] = metrics.auroc(truth, result["score"].values)
    if edge.any():
        row["auroc_published_protocol"] = metrics.auroc(truth, result["score"].values, protocol="published")
    if "sign" in result and edge.any():
        row["sign_accuracy"] = metrics.sign_accuracy(truth, result["sign"].values)
    if "p_value" in result:
        p = result["p_value"].values
        row |= {f"rejected_{level:g}": float((p[none] < level).mean()) if none.any() else np.nan for level in LEVELS}
        for rate in RATES:
            name = "" if rate == FDR else f"_{rate:g}"
            found = connectivity.adjacency(result, fdr=rate).values
            row[f"false_discoveries{name}"] = float((found & none).sum() / max(1, found.sum()))
            row[f"power{name}"] = float(found[edge].mean()) if edge.any() else np.nan
    return row


def units_of(grid: str) -> list[sweep.Unit]:
    return sweep.units(sweep.read_grid(ROOT / "benchmarks" / f"{grid}.yaml"))


def rows_of(grid: str, store: Path) -> pd.DataFrame:
    """One row a finished unit of a grid."""
    rows = []
    for unit, result in sweep.results(store, units_of(grid)):
        named = {"grid": grid, "network": unit.network.name, "n_neurons": unit.n_neurons,
                 "connection_probability": unit.network.connection_probability}  # fmt: skip
        versions = {name: str(result.attrs[name]) for name in VERSIONS if name in result.attrs}
        times = {"method": unit.label, "seconds": float(result.attrs["seconds"])}
        rows.append(named | times | row_of(result) | {"versions": json.dumps(versions)})
    return pd.DataFrame(rows)


def interval(values: pd.Series, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Of the mean over networks, by Student's distribution; NaN for fewer than two."""
    values = values.dropna()
    if len(values) < 2:
        return np.nan, np.nan
    return tuple(stats.ttest_1samp(values, 0).confidence_interval(confidence))


def published(folder: Path) -> pd.Series:
    """The authors' ensemble on each network, off the diagonal."""
    stored = json.loads((folder / "paper" / "published.json").read_text())
    return pd.Series({name: v["auroc_off_diagonal"]["causalformer_ensemble"] for name, v in stored.items()})


def accuracy_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each cell."""
    ours = table[table["method"] == "SingleIndexGranger"].set_index("network")
    mvgc = table[table["method"] == "MVGC"].set_index("network")["auroc"]
    ours = ours.assign(mvgc=mvgc.reindex(ours.index))
    columns = ["auroc", "mvgc", "auroc_published", "sign_accuracy", "power", "false_discoveries", "seconds"]
    cells = ours.groupby(CELL)[columns].mean()
    cells.insert(1, "auroc_smallest", ours.groupby(CELL)["auroc"].min())
    return cells.assign(networks=ours.groupby(CELL).size())


def calibration_of(table: pd.DataFrame) -> pd.DataFrame:
    """Share of non-edges that are rejected in each cell, over networks, and realized false discoveries."""
    rows = []
    for cell, part in table[table["method"] == "SingleIndexGranger"].groupby(CELL):
        row = dict(zip(CELL, cell, strict=True)) | {"networks": len(part), "non_edges": int(part["n_non_edges"].sum())}
        for level in TOLD:
            low, high = interval(part[f"rejected_{level:g}"])
            row[f"at {level:g}"] = part[f"rejected_{level:g}"].mean()
            row[f"{CONFIDENCE:.1%} interval at {level:g}"] = f"{low:.3f} to {high:.3f}"
        allowed = FDR * (part["n_non_edges"] / (part["n_non_edges"] + part["n_edges"])).mean()
        rows.append(row | {"false_discoveries": part["false_discoveries"].mean(), "allowed": allowed})
    return pd.DataFrame(rows).set_index(CELL)


@WIDE
def show(table: pd.DataFrame) -> None:
    """Print the means of each grid."""
    for grid in GRIDS:
        part = table[table["grid"] == grid]
        if len(part):
            print(f"\n{grid}: means over networks\n{accuracy_of(part)}\n\n{calibration_of(part)}", flush=True)


def show_stored(folder: Path) -> None:
    """Print what the tables of a folder tell of the method, each as its own benchmark would."""
    import generality  # these import this file
    import large_networks
    import lengths
    import readouts
    import sparse_observations

    show(pd.read_csv(folder / "accuracy.csv"))
    worlds = pd.read_csv(folder / "generality.csv")
    for name in ("worlds", "graphs", "p_values"):
        print(f"\ngenerality, {name}\n{getattr(generality, f'{name}_of')(worlds).to_string(index=False)}")
    for benchmark in (lengths, sparse_observations, readouts):
        table = pd.read_csv(folder / f"{benchmark.__name__}.csv")
        print(f"\n{benchmark.__name__}: means over networks\n{benchmark.means_of(table).round(4).to_string()}")
    table = large_networks.shown(pd.read_csv(folder / "large_networks.csv"))
    print(f"\nlarge_networks, one network a row\n{table.to_string(index=False)}")
    for method, told in json.loads((folder / "scale.json").read_text())["methods"].items():
        print(f"\nscale of {method}: exponents {told['exponents']}, at most {told['largest_peak_gb']} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, default=ROOT / "_build", help="folder of both (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "accuracy.csv")
    parser.add_argument("--stored", action="store_true", help="print what book/results holds, compute nothing")
    arguments = parser.parse_args()
    if arguments.stored:
        return show_stored(arguments.out.parent)
    folder = os.environ.get("CAUSALKIT_REFERENCE_DATA")
    if not folder:
        parser.exit(2, "set CAUSALKIT_REFERENCE_DATA to the folder of the published data: it is not shipped here\n")
    parts = {grid: rows_of(grid, arguments.stores / grid) for grid in GRIDS}
    if parts["accuracy"].empty and parts["calibration"].empty:
        parser.exit(1, f"{arguments.stores} holds no results of these grids: run the sweeps first (see --help)\n")
    table = pd.concat(parts.values(), ignore_index=True)
    table["auroc_published"] = table["network"].map(published(Path(folder))).where(table["grid"] == "accuracy")
    sweep.write_table(table.round(6), arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/accuracy.py, from the grids beside it",
        "what": " ".join(__doc__.split("Writes")[1].split()),
        "units": {grid: {"done": len(part), "planned": len(units_of(grid))} for grid, part in parts.items()},
        "seconds": "wall time of one thread on a machine that did other work: no timings",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    sweep.write_provenance(arguments.out, provenance)
    show(table)


if __name__ == "__main__":
    main()

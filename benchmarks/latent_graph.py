"""Tell who finds direct edges and who finds shared inputs in networks of spiking neurons, from the store of the sweeps.

    causalkit sweep benchmarks/latent_graph.yaml --store _build/latent_graph
    causalkit sweep benchmarks/latent_graph_long.yaml --store _build/latent_graph
    causalkit sweep benchmarks/latent_graph_small.yaml --store _build/latent_graph
    python benchmarks/latent_graph.py

Collects whatever is there. Writes book/results/latent_graph.parquet, one row for each world, method, replicate and
metric, and its provenance, latent_graph.json: scores of edges and of co-input (causalkit.latent_graph_scores, r |r|),
the same of plain spike-count correlation, of the product of firing rates, of degrees alone and of shuffled rows, what
is left by chance on rewired networks, and cross-entropies of the next neuron. Prints means over replicates.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd

import causalkit.sweep as sweep
from causalkit import latent_graph_scores

ROOT = Path(__file__).resolve().parents[1]
GRIDS = ("latent_graph", "latent_graph_long", "latent_graph_small")
NAMES = {"spike_glm": "glm"}  # what the table calls a method
NULLS = {
    "count_correlation": "correlation", "rate_product": "rate_outer_product", "true_degrees": "true_degrees",
    "own_degrees": "degree_only", "row_shuffled": "row_shuffled",
}  # fmt: skip
CROSS_ENTROPIES = (
    "test_cross_entropy", "rate_cross_entropy", "chance_cross_entropy", "test_interval_cross_entropy",
    "interval_frequency_cross_entropy",
)  # fmt: skip
N_REWIRED = 5
USUAL = {"n_neurons": 300, "topology": "hub", "hub_weight": 3.0}


def world_of(simulated: dict) -> str:
    """What the table calls a world."""
    wiring = simulated.get("wiring") or {}
    parts = [simulated.get("topology", USUAL["topology"])]
    if "hub_weight" in wiring:
        parts.append(f"hub weight {wiring['hub_weight']}")
    if simulated.get("common_drive_mv") is not None:
        parts.append("common drive")
    return ", ".join(parts)


def estimates_of(unit, result) -> dict:
    """Name and matrix of everything that one fit says; the first is the method's own."""
    name = NAMES.get(unit.method, unit.method)
    estimates = {name: result["weight"] if "weight" in result else result["score"]}
    for variable in result:
        if variable.endswith("_score") and variable not in ("seed_score", "layer_score", "head_score", "lag_score",
                                                            "self_score"):  # fmt: skip
            estimates[f"{name}, {variable.removesuffix('_score')}"] = result[variable]
    if "layer_score" in result and result.sizes.get("layer", 1) > 1:
        estimates |= {f"{name}, layer {int(part.layer)}": part for part in result["layer_score"]}
    if "head_score" in result:
        for layer in range(result.sizes["layer"]):
            for head in range(result.sizes["head"]):
                part = result["head_score"].isel(layer=layer, head=head)
                estimates[f"{name}, layer {layer + 1}, head {head + 1}"] = part
    return estimates


def rows_of(unit, result) -> list[dict]:
    """Rows of one fit: its scores, and beside the transformer's and the GLM's what would score as well."""
    simulated, truth = unit.network.simulated, result["truth"]
    signed = "weight" in result or "sign" in result
    rows = []

    def add(method, values):
        rows.extend({"method": method, "metric": metric, "value": float(value)} for metric, value in values.items())

    for method, estimate in estimates_of(unit, result).items():
        add(method, latent_graph_scores.scores(truth, estimate.fillna(0), signed=signed))
    name, own = next(iter(estimates_of(unit, result).items()))
    own = own.fillna(0)
    if name in ("neuroformer", "glm"):
        by_chance = latent_graph_scores.chance(truth, own, n_rewired=N_REWIRED).mean()
        add(name, {f"{metric}_by_chance": value for metric, value in by_chance.items()})
    if name == "neuroformer":
        add(name, {metric: float(result[metric].mean()) for metric in CROSS_ENTROPIES if metric in result})
        recording = unit.recording()
        for null, values in latent_graph_scores.nulls(recording, own).iterrows():
            add(NULLS[null], values)
        counts = recording["activity"].values
        add("correlation", {
            metric: value for metric, value in
            latent_graph_scores.scores(truth.values, np.abs(np.corrcoef(counts.T))).items() if metric.startswith("edge")
        })  # fmt: skip
    named = {
        "world": world_of(simulated), "n_neurons": unit.n_neurons, "seconds_recorded": simulated["n_steps"] / 1000,
        "replicate": simulated["random_state"],
    }  # fmt: skip
    return [named | row for row in rows]


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over replicates of the four correlations, one row a world and method."""
    shown = ["edge_pearson", "edge_spearman", "co_input_pearson", "co_input_spearman"]
    keys = ["n_neurons", "world", "seconds_recorded", "method"]
    part = table[table.metric.isin(shown)]
    means = part.pivot_table(index=keys, columns="metric", values="value", sort=False)[shown]
    means.insert(0, "replicates", part.groupby(keys).replicate.nunique())
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=Path, nargs="+",
                        default=[ROOT / "benchmarks" / f"{name}.yaml" for name in GRIDS])  # fmt: skip
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "latent_graph", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "latent_graph.parquet")
    arguments = parser.parse_args()
    planned, rows = {}, []
    for grid in arguments.grids:
        units = sweep.units(sweep.read_grid(grid))
        found = list(sweep.results(arguments.store, units))
        planned[grid.stem] = {"done": len(found), "planned": len(units)}
        for unit, result in found:
            rows += rows_of(unit, result)
    if not rows:
        parser.exit(1, f"{arguments.store} holds no results of these grids: run the sweeps first (see --help)\n")
    table = pd.DataFrame(rows).round({"value": 5})
    sweep.write_table(table, arguments.out)
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None):
        print(means_of(table).round(3).to_string(), flush=True)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/latent_graph.py, from the grids beside it",
        "what": " ".join(__doc__.split("latent_graph.json: ")[1].split("Prints")[0].split()),
        "units": planned,
        "networks": "seeds from 3200 on, on which nothing was chosen; a replicate is a seed, its value the column's. "
        "The transformer's size, window and learning rate were taken after one look at seed 2000 and at its speed, and "
        "not searched",
        "partial": "units that are planned and not done are missing; n_neurons says which network a row is of",
        "rewired": N_REWIRED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

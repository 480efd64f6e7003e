"""Make the table of chapter 6: what the store of its sweeps holds, one row a network and setting.

    python benchmarks/what_makes_causal.py --stimulate          once: recordings with a hidden stimulus
    causalkit sweep benchmarks/what_makes_causal/GRID.yaml --store _build/what_makes_causal    each grid
    python benchmarks/what_makes_causal.py                      collects whatever is there, computes the rest of MVGC

Writes book/results/what_makes_causal.parquet and its provenance, what_makes_causal.json.
"""

import argparse
import itertools
import json
import os
import platform
import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

import causalkit.sweep as sweep
from causalkit import MVGC, io, metrics, simulate
from causalkit.methods.causalformer import PRESETS, Causalformer

ROOT = Path(__file__).resolve().parents[1]
GRIDS = sorted((ROOT / "benchmarks" / "what_makes_causal").glob("*.yaml"))
STORE = ROOT / "_build" / "what_makes_causal"
MEMBERS = 5  # of every ensemble that is compared; the base has ten
N_SUBSETS = 40  # ensembles drawn to estimate the mean of one size
BIOLOGY = ("delay_steps", "modulation", "plasticity")
VERSIONS = ["causalkit", "algorithm_version", "numpy", "torch", "python"]
COLUMNS = [
    "method", "setting", "value", "default", "network", "n_neurons", "connection_probability", "members", "auroc",
    "auroc_single", "auprc", "r2", "order", "agreement", "agreement_with_base", "agreement_beyond_truth", "seconds",
    "device", "date", "versions", "parameters",
]  # fmt: skip


# ---- recordings that a grid cannot describe


def stimulate(folder: Path, seeds: range) -> None:
    """Write networks of which every second neuron hears the same pulses, each 0 to 4 ms later than the first."""
    for seed in seeds:
        drive = simulate.pulse_train(
            5000, 10, range(0, 10, 2), rate_hz=20, amplitude=5, lag_steps=range(5), random_state=1000 + seed
        )
        made = simulate.izhikevich(10, 0.4, n_steps=5000, random_state=seed, stimulus=drive)
        kept = made[["activity", "spikes", "connectivity", "cell_type"]]
        io.write_recording(kept, folder / f"N10_p0.4_seed{seed}_stimulus.nc")


# ---- one row a network and setting


def row_of(unit: sweep.Unit, result: xr.Dataset) -> dict:
    """Scores of one result; of a Causalformer, those of its first five members."""
    setting, value = changed(unit)
    network = re.match(r"N\d+_p[\d.]+_seed\d+", unit.network.name)[0]
    row = {
        "method": "Causalformer" if unit.method == "causalformer" else unit.label, "setting": setting, "value": value,
        "default": default_of(setting), "network": network, "n_neurons": unit.n_neurons,
        "connection_probability": float(re.search(r"_p([\d.]+)_", network)[1]),
        "versions": json.dumps({name: plain(result.attrs[name]) for name in VERSIONS}),
        **{name: plain(result.attrs[name]) for name in ("seconds", "device", "date", "parameters")},
    }  # fmt: skip
    if "seed_score" not in result:
        return row | scores(result["truth"], result["score"]) | {"order": int(result["order"])}
    return row | ensemble_row(result.isel(seed=slice(MEMBERS)))


def changed(unit: sweep.Unit) -> tuple[str, str]:
    """What sets a unit apart from the base, and its value there."""
    if "=" in unit.label:
        setting, value = unit.label.split("=")
        return setting, value
    if unit.network.file:
        return "biology", "stimulus"
    described = unit.network.description
    for name in BIOLOGY:
        if name in described:
            return "biology", f"delay {described[name]} ms" if name == "delay_steps" else name
    if unit.n_times != 5000:
        return "n_steps", str(unit.n_times)
    if described["connection_probability"] != 0.4:
        return "connection_probability", str(described["connection_probability"])
    return "base", ""


def default_of(setting: str) -> str:
    """Value of the base."""
    others = {"n_steps": 5000, "connection_probability": 0.4, "biology": "none", "base": "", "n_seeds": MEMBERS}
    known = Causalformer().get_params() | PRESETS["fast"] | {"dropout": PRESETS["fast"]["dropout_embedding"]}
    return str((known | others)[setting])


def scores(truth, score) -> dict:
    return {name: getattr(metrics, name)(truth, score, protocol="off_diagonal") for name in ("auroc", "auprc")}


def ensemble_row(result: xr.Dataset) -> dict:
    """AUROC of the mean score and of single members, their R², and how far members agree."""
    truth, members = result["truth"], result["seed_score"]
    singles = [scores(truth, members.sel(seed=seed))["auroc"] for seed in members["seed"]]
    flat = off_diagonal(members)
    return scores(truth, members.mean("seed")) | {
        "members": len(singles), "auroc_single": float(np.mean(singles)), "r2": float(result["test_r2"].mean()),
        "agreement": float(np.mean([rank_correlation(a, b) for a, b in itertools.combinations(flat, 2)])),
        "agreement_beyond_truth": agreement_beyond_truth(off_diagonal(truth)[0] != 0, flat),
    }  # fmt: skip


def off_diagonal(matrix: xr.DataArray) -> np.ndarray:
    """One row a member, one column a pair of neurons."""
    values = np.atleast_3d(matrix.values.T).T
    return values[:, ~np.eye(values.shape[-1], dtype=bool)]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)


def agreement_beyond_truth(edge: np.ndarray, members: np.ndarray) -> float:
    """Mean rank correlation of two members among edges and among non-edges: 0 if they share only the truth."""
    residual = [rank_residual(edge, member) for member in members]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(residual, 2)]))


def rank_residual(edge: np.ndarray, member: np.ndarray) -> np.ndarray:
    ranks = np.argsort(np.argsort(member)).astype(float)
    for group in (edge, ~edge):
        ranks[group] -= ranks[group].mean()
    return ranks


def size_rows(row: dict, result: xr.Dataset) -> list[dict]:
    """AUROC of ensembles of each size from one member to all, the mean over ensembles drawn from the members."""
    truth, members = result["truth"], result["seed_score"].values
    rng, n_members = np.random.default_rng(0), len(members)
    rows = []
    for size in range(1, n_members + 1):
        sets = list(itertools.combinations(range(n_members), size))
        if len(sets) > N_SUBSETS:
            sets = [sets[k] for k in rng.choice(len(sets), N_SUBSETS, replace=False)]
        means = [result["score"].copy(data=members[list(chosen)].mean(0)) for chosen in sets]
        measured = pd.DataFrame([scores(truth, mean) for mean in means]).mean().to_dict()
        rows.append(
            {name: row[name] for name in COLUMNS[:7]}
            | {"setting": "n_seeds", "value": str(size), "default": default_of("n_seeds"), "members": size}
            | measured
        )
    return rows


def linear_test_r2(recording: xr.Dataset, parameters: dict) -> float:
    """R² on the last fifth of a VAR fitted to what comes before: the part that Causalformers are tested on."""
    n_test = recording.sizes["time"] // 5
    model = MVGC(**parameters).fit(recording.isel(time=slice(-n_test)))
    weights = model.diagnostics_["coefficients"].transpose("lag", "target", "source").values
    values, order = recording["activity"].values, len(weights)
    centered = values - values[:-n_test].mean(0)
    lagged = (centered[order - lag - 1 : len(values) - lag - 1] @ matrix.T for lag, matrix in enumerate(weights))
    return float(metrics.r2(centered[-n_test:], sum(lagged)[-n_test:]).mean())


def plain(value):
    return value.item() if hasattr(value, "item") else value


# ---- the table


def collect(units: list[sweep.Unit], store: sweep.Store) -> pd.DataFrame:
    """Rows of every unit that the store holds."""
    found = [unit for unit in units if store.result(unit.key) is not None]
    rows_of_units, sizes, ensembles = [], [], {}
    for unit in found:
        with xr.open_dataset(store.result(unit.key), engine="h5netcdf") as result:
            result.load()
        row = row_of(unit, result)
        rows_of_units.append(row)
        if "seed_score" in result:
            ensembles[unit.key] = row, off_diagonal(result["seed_score"])
            if row["setting"] == "base" and result.sizes["seed"] > MEMBERS:
                sizes += size_rows(row, result)
    agree_with_base(list(ensembles.values()))
    both = {(row["setting"], row["value"], row["network"]) for row, _ in ensembles.values()}
    for unit, row in zip(found, rows_of_units, strict=True):
        if unit.method == "mvgc" and (row["setting"], row["value"], row["network"]) in both:
            row["r2"] = linear_test_r2(unit.recording(), unit.parameters)
    numbers = {"order": "Int64", "members": "Int64"}
    table = pd.DataFrame(rows_of_units + sizes).reindex(columns=COLUMNS).astype(numbers)
    keys = ["method", "setting", "value", "network"]
    return table.drop_duplicates(keys).sort_values(keys, kind="stable", ignore_index=True)


def agree_with_base(ensembles: list[tuple[dict, np.ndarray]]) -> None:
    """Rank correlation of each ensemble with the base's members six to ten on the same network, of other seeds."""
    others = {row["network"]: flat[MEMBERS:] for row, flat in ensembles if row["setting"] == "base"}
    for row, flat in ensembles:
        if len(others.get(row["network"], ())):
            row["agreement_with_base"] = rank_correlation(flat[:MEMBERS].mean(0), others[row["network"]].mean(0))


def provenance(table: pd.DataFrame, name: str, planned: dict) -> dict:
    """What the columns are, and on how much they rest."""
    counts = table.groupby(["method", "setting", "value"])["network"].nunique()
    versions = [json.loads(text) for text in table["versions"].dropna().unique()]
    return {
        "table": name,
        "written_by": "benchmarks/what_makes_causal.py, from the grids in benchmarks/what_makes_causal",
        "what": "one row a network, method, setting and value: networks simulated here, 10 neurons, 5,000 steps, "
        "preset 'fast', one thing changed at a time ('base': nothing; 'default': its value there)",
        "networks_chosen": "seeds 400 and up; the preset was chosen on others",
        "auroc": f"off the diagonal; Causalformer: mean score of {MEMBERS} members (auroc_single: mean over them)",
        "n_seeds": f"ensembles drawn from the base's ten members: mean over {N_SUBSETS} of each size at most",
        "r2": "one step ahead on the last fifth; Causalformer: mean over members; MVGC: refitted without that part, "
        "and only where there is a Causalformer too",
        "agreement": "mean rank correlation between members' scores, off the diagonal",
        "agreement_beyond_truth": "the same after the mean rank of edges, and of non-edges, is taken away",
        "agreement_with_base": "rank correlation of the ensemble's score with that of five other members of the base",
        "biology": {
            "delay N ms": "synapses act N steps later", "modulation": "period 500 ms, depth .9",
            "plasticity": "STDP, strength .1 to 2", "stimulus": "pulses of 5 ms, 20 a second, to every second neuron, "
            "0 to 4 ms late; not seen by the methods",
        },
        "seconds": "of the whole unit, on machines that did other work: no timings",
        "finished": {key: f"{done} of {total} units" for key, (done, total) in planned.items()},
        "networks": counts.reset_index(name="networks").to_dict("records"),
        "dates": [table["date"].min(), table["date"].max()] if len(versions) else [],
        "devices": sorted(table["device"].dropna().unique()),
        "versions": {key: sorted({str(each[key]) for each in versions}) for key in VERSIONS},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="*", type=Path, default=GRIDS, help="default: all of the chapter")
    parser.add_argument("--store", type=Path, default=STORE, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "what_makes_causal.parquet")
    parser.add_argument("--stimulate", action="store_true", help="write the recordings with a stimulus, and end")
    arguments = parser.parse_args()
    recordings = STORE / "recordings"
    if arguments.stimulate or not recordings.exists():
        recordings.mkdir(parents=True, exist_ok=True)
        stimulate(recordings, range(400, 420))
    if arguments.stimulate:
        return
    planned = {path.stem: sweep.units(sweep.read_grid(path)) for path in arguments.grids}
    units = [unit for each in planned.values() for unit in each]
    print(sweep.run([unit for unit in units if unit.method == "mvgc"], arguments.store))
    store = sweep.Store(arguments.store)
    table = collect(units, store)
    finished = {name: (sum(store.result(unit.key) is not None for unit in each), len(each))
                for name, each in planned.items()}  # fmt: skip
    sweep.write_table(table, arguments.out)
    sweep.write_provenance(arguments.out, provenance(table, arguments.out.name, finished))
    groups = table.groupby(["method", "setting", "value"])
    shown = groups[["auroc", "auroc_single", "r2", "agreement"]].mean().assign(networks=groups["network"].nunique())
    print(shown.round(3).to_string())


if __name__ == "__main__":
    main()

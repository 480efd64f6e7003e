"""Speed of MVGC beside statsmodels, and of the simulator beside Brian2, on the paper's grid of networks.

MVGC: one fit gives all ordered pairs; statsmodels fits the same VAR to the same data and then tests each pair with
`test_causality`. Both use the order that the criterion chose for that network; choosing it is not timed.

Simulator: all networks of one size in one call, the drawing of their noise included, beside Brian2, which simulates
the same networks one by one and is given wiring, parameters and noise. Brian2 needs an environment of its own:
    python -m venv ENV && ENV/bin/pip install brian2 "numpy<2.4"

Both sides take turns on the same threads (OMP_NUM_THREADS, one if not set). With --measured M the other side runs M
networks of each cell of the grid only, and its total is its mean seconds times the number of networks. Seconds are
wall time, or with --clock cpu the processor time of one thread, which other programs on the machine do not add to.

Usage: python benchmarks/baselines.py [--brian2-python ENV/bin/python] [--measured 3] [--out book/results/baselines.csv]
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import numpy as np
import pandas as pd
import xarray as xr
from statsmodels.tsa.api import VAR

import causalkit
from causalkit import MVGC, simulate

PROBABILITIES, MAX_ORDER = (0.2, 0.4, 0.6, 0.8), 10
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# what runs Brian2's script under the clock "cpu": the script itself reads the wall clock
ON_CPU_CLOCK = """import runpy, sys, time
time.perf_counter = time.process_time
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")"""
HERE = Path(__file__).resolve().parent


def seconds_of(clock: str, function, *arguments) -> tuple[float, object]:
    """Seconds and result of one call."""
    start = CLOCKS[clock]()
    result = function(*arguments)
    return CLOCKS[clock]() - start, result


def wirings(n_neurons: int, n_networks: int) -> np.ndarray:
    """Random wirings, (probability * network, target, source): `n_networks` of each probability."""
    drawn = [simulate.random_wiring(n_neurons, p, seed)[0] for p in PROBABILITIES for seed in range(n_networks)]
    return np.stack(drawn)


def measured_of(n_networks: int, measured: int) -> np.ndarray:
    """Indices of the networks that the other side runs too: the first ones of each probability."""
    return np.flatnonzero(np.arange(len(PROBABILITIES) * n_networks) % n_networks < measured)


def fit_statsmodels(activity: np.ndarray, order: int) -> np.ndarray:
    """F (target, source) of the Granger causality tests of all ordered pairs."""
    n_neurons = activity.shape[1]
    fit = VAR(activity).fit(order)
    statistic = np.full((n_neurons, n_neurons), np.nan)
    for target in range(n_neurons):
        for source in set(range(n_neurons)) - {target}:
            statistic[target, source] = fit.test_causality(target, source, kind="f").test_statistic
    return statistic


def compare_mvgc(recordings: list[xr.Dataset], also_theirs: np.ndarray, order: str | int, clock: str) -> dict:
    """Seconds of both sides and the largest relative difference of their F values."""
    ours, theirs, differences, orders = [], [], [], []
    for k, recording in enumerate(recordings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # which order the criterion could compare is no matter here
            chosen = int(MVGC(order=order, max_order=MAX_ORDER).fit(recording).diagnostics_.order)
        orders.append(chosen)
        seconds, fit = seconds_of(clock, MVGC(order=chosen).fit, recording)
        ours.append(seconds)
        if k in also_theirs:
            activity = recording.activity.values.astype(float)
            seconds, statistic = seconds_of(clock, fit_statsmodels, activity, chosen)
            theirs.append(seconds)
            ratio = statistic / fit.connectivity_.f_statistic.values
            differences.append(np.nanmax(np.abs(ratio - 1)))
    return {
        "ours_seconds": np.sum(ours),
        "theirs_seconds": np.mean(theirs) * len(recordings),
        "n_measured": len(theirs),
        "agreement": {
            "largest_relative_difference_of_F": float(max(differences)),
            "orders": f"{min(orders)} to {max(orders)}",
        },
    }


def simulate_ours(connectivity: np.ndarray, n_steps: int) -> tuple[np.ndarray, list[xr.Dataset]]:
    """Noise (network, step, neuron) and recordings of all networks in one call."""
    n_networks, n_neurons, _ = connectivity.shape
    noise = np.random.default_rng(0).standard_normal((n_networks, n_steps, n_neurons))
    noise *= 5**0.5  # in place, as the simulator draws its own
    noise += 5
    return noise, simulate.izhikevich(connectivity=connectivity, input_current=noise)


def run_brian2(python: Path, folder: Path, options: list[str], clock: str) -> dict:
    """What `brian2_networks.py` prints, run in Brian2's environment on the networks in `folder`."""
    timed = ["-c", ON_CPU_CLOCK] if clock == "cpu" else []
    script = [str(HERE / "brian2_networks.py"), str(folder / "networks.npz"), *options]
    run = subprocess.run([str(python), *timed, *script], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{run.stderr}\nBrian2 failed: does {python} have brian2 and numpy<2.4?")
    return json.loads(run.stdout.splitlines()[-1])


def compare_simulators(connectivity: np.ndarray, n_steps: int, also_theirs: np.ndarray, python: Path,
                       options: list[str], rounds: int, clock: str) -> dict:
    """Seconds of both sides, the median of `rounds` turns, and how alike the spikes are.

    Both compute the same steps; rounding differs, and the networks are chaotic, so spikes part after some time.
    """
    if "--one-group" in options:
        also_theirs = np.arange(len(connectivity))  # its time does not grow with the number of networks
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for _ in range(rounds):
            seconds, (noise, recordings) = seconds_of(clock, simulate_ours, connectivity, n_steps)
            ours.append(seconds)
            params = np.stack([np.stack([r[name].values for name in "abcd"], axis=-1) for r in recordings])
            np.savez(folder / "networks.npz", connectivity=connectivity[also_theirs], params=params[also_theirs],
                     input_current=noise[also_theirs])  # fmt: skip
            answer = run_brian2(python, folder, [*options, "--voltages", str(folder / "voltages.npy")], clock)
            theirs.append(answer["seconds"])
        voltages = np.load(folder / "voltages.npy")
    fired = np.stack([recordings[k].spikes.values for k in also_theirs]), voltages >= 30
    differ = (fired[0] != fired[1]).any(axis=2)  # (network, step)
    same_for = np.where(differ.any(axis=1), differ.argmax(axis=1), n_steps)
    return {
        "ours_seconds": np.median(ours),
        "theirs_seconds": np.median(theirs) / len(also_theirs) * len(connectivity),
        "n_measured": len(also_theirs),
        "agreement": {
            "steps_until_spikes_differ_median": float(np.median(same_for)),
            "mean_rate_hz_ours": round(float(fired[0].mean() * 1000), 2),
            "mean_rate_hz_theirs": round(float(fired[1].mean() * 1000), 2),
        },
        "versions": {name: answer[name] for name in ("brian2", "numpy")},
    }


def brian2_options(names: list[str]) -> dict[str, list[str]]:
    """Command line of each way to run Brian2, by the name it has in the table."""
    one_by_one = {f"Brian2, {name}": ["--target", name] for name in names}
    return one_by_one | {f"Brian2, {names[0]}, all in one group": ["--target", names[0], "--one-group"]}


def with_ratios(rows: list[dict]) -> pd.DataFrame:
    """One line a size and baseline, and one for the whole grid; ratio = theirs / ours."""
    table = pd.DataFrame(rows).assign(n_neurons=lambda t: t.n_neurons.astype(str))
    numbers = ["n_networks", "n_measured", "ours_seconds", "theirs_seconds"]
    total = table.groupby(["task", "baseline"], sort=False, as_index=False)[numbers].sum().assign(n_neurons="all")
    table = pd.concat([table, total], ignore_index=True)
    return table.assign(ratio=table.theirs_seconds / table.ours_seconds)[["task", "baseline", "n_neurons", *numbers,
                                                                          "ratio"]]  # fmt: skip


def write(path: Path, text: str) -> None:
    """Write to a neighbor and move it into place, so that no half-written file stays behind."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--networks", type=int, default=10, help="of each size and probability (default 10)")
    parser.add_argument("--measured", type=int, help="of these, how many the other side runs (default: all)")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--order", default="aicc", help="a criterion, or a number of lags (default aicc)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the simulators (default 3)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that does other work")
    parser.add_argument("--brian2-python", type=Path, help="Python with brian2; without it MVGC only is compared")
    parser.add_argument("--brian2-targets", nargs="+", default=["numpy", "cython"], choices=["numpy", "cython"],
                        help="Brian2's code generation; cython needs Cython and a C++ compiler")  # fmt: skip
    parser.add_argument("--out", type=Path, default=HERE.parent / "book" / "results" / "baselines.csv")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and os.environ["OMP_NUM_THREADS"] != "1":
        parser.error("--clock cpu adds up the seconds of all threads, which is nobody's waiting time: set "
                     "OMP_NUM_THREADS=1, or take --clock wall")  # fmt: skip
    arguments.measured = min(arguments.measured or arguments.networks, arguments.networks)
    arguments.order = int(arguments.order) if arguments.order.isdigit() else arguments.order
    return arguments


def main() -> None:
    asked = arguments_of()
    also_theirs = measured_of(asked.networks, asked.measured)
    simulate.izhikevich(n_steps=10)
    MVGC(order=1).fit(simulate.izhikevich(n_steps=500))  # imports and first calls are not what is timed
    rows, agreement, versions = [], {}, {}
    for n_neurons in asked.sizes:
        connectivity = wirings(n_neurons, asked.networks)
        jobs = {"statsmodels": lambda w: compare_mvgc(simulate_ours(w, asked.steps)[1], also_theirs, asked.order,
                                                      asked.clock)}  # fmt: skip
        if asked.brian2_python:
            for name, options in brian2_options(asked.brian2_targets).items():
                jobs[name] = lambda w, options=options: compare_simulators(
                    w, asked.steps, also_theirs, asked.brian2_python, options, asked.rounds, asked.clock
                )
        for baseline, compare in jobs.items():
            result = compare(connectivity)
            agreement[f"{baseline}, {n_neurons} neurons"] = result.pop("agreement")
            versions |= {f"{name} (Brian2's side)": v for name, v in result.pop("versions", {}).items()}
            task = "MVGC" if baseline == "statsmodels" else "simulation"
            row = {"task": task, "baseline": baseline, "n_neurons": n_neurons, "n_networks": len(connectivity)}
            rows.append(row | result)
    table = with_ratios(rows)

    provenance = {
        "table": asked.out.name,
        "what": " ".join(__doc__.split("Usage:")[0].split()),
        "grid": f"{asked.sizes} neurons x connection probabilities {list(PROBABILITIES)} x {asked.networks} networks, "
        f"{asked.steps} steps",
        "measured": f"the other side ran {asked.measured} of {asked.networks} networks of each cell",
        "order": asked.order,
        "clock": asked.clock,
        "agreement": agreement,
        "causalkit": causalkit.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "statsmodels")},
        **versions,
        "cores": os.cpu_count(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "date": datetime.date.today().isoformat(),
    }
    print(table.round({"ours_seconds": 3, "theirs_seconds": 2, "ratio": 1}).to_string(index=False))
    print("ratio = theirs_seconds / ours_seconds;", provenance["measured"])
    if not asked.brian2_python:
        print("the simulator was not compared: --brian2-python names the Python to compare it with (see --help)")
    print(json.dumps({k: v for k, v in provenance.items() if k not in ("what", "table")}, indent=2))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write(asked.out, table.to_csv(index=False, float_format="%.6g"))
    write(asked.out.with_suffix(".json"), json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""`simulate.lif_spikes`: its speed, and its spikes and rates beside Brian2's on the same networks.

Without noise the two must fire in the same steps, if they integrate alike: currents exactly ("exact"), conductances by
our rule of second order written down in Brian2 ("same"). Beside Brian2's own Runge-Kutta ("rk4") a first spike falls
into the next step within some tens of milliseconds, a network without noise carries that on, and rates are what can be
compared. With noise, which each draws for itself, mean rates must agree within 5 %.

Brian2 does not import with the newest NumPy, so that it has an environment of its own:
    python -m venv ENV && ENV/bin/pip install brian2 "numpy<2.4"

Usage: python benchmarks/lif_spikes.py [--brian2-python ENV/bin/python] [--steps 20000] [--networks 3] [--out TABLE.csv]
"""

import argparse
import itertools
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from causalkit import simulate, sweep

HERE = Path(__file__).resolve().parent
N_NEURONS, SEED = 300, 2200
QUIET_DRIVE_MV, DRIVE_MV, NOISE_MV = 16.5, 10.0, 1.0
RULES = {"current": ("exact",), "conductance": ("rk4", "same")}  # of Brian2


def network(synapses, noise_mv, n_steps, n_neurons=N_NEURONS, seed=SEED, rule=None):
    """Our recording, the numbers that Brian2's side needs, and our seconds."""
    from causalkit.simulate.lif_spikes import Membrane

    drive = DRIVE_MV if noise_mv else QUIET_DRIVE_MV
    started = time.perf_counter()
    recording = simulate.lif_spikes(
        n_neurons, n_steps=n_steps, random_state=seed, synapses=synapses, noise_mv=noise_mv, drive_mv=drive, bin_ms=1
    )
    seconds = time.perf_counter() - started
    cell = Membrane.of(synapses, 20.0, 5.0, 2, -50.0, -65.0, (0.0, -80.0), drive)
    start = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[1]).random(n_neurons) * cell.threshold
    numbers = {
        "weights": recording.connectivity.values, "delays": recording.delay_steps.values, "start": start, "seed": seed,
        "synapses": synapses, "n_steps": n_steps, "drive": drive, "noise": noise_mv, "threshold": cell.threshold,
        "tau_ms": 20.0, "tau_syn_ms": 5.0, "refractory": 2, "reversal": np.array([65.0, -15.0]),
        "jump_plus": cell.jump[0, 0], "jump_minus": cell.jump[-1, -1], "rule": rule or RULES[synapses][0],
        "passed": cell.passed, "leak": cell.leak, "syn_decay": cell.syn_decay,
    }  # fmt: skip
    return recording, numbers, seconds


def in_brian2(python, numbers, folder):
    """Steps and neurons of Brian2's spikes, and what it prints."""
    np.savez(folder / "network.npz", **numbers)
    script = [str(HERE / "brian2_lif_spikes.py"), str(folder / "network.npz"), str(folder / "spikes.npz")]
    run = subprocess.run([str(python), *script], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{run.stderr}\nBrian2 failed: does {python} have brian2 and numpy<2.4?")
    with np.load(folder / "spikes.npz") as file:
        return file["time"], file["neuron"], json.loads(run.stdout.splitlines()[-1])


def compared(recording, time_, neuron, n_steps):
    """Rates of both sides, the share of all spikes that both have in the same step, and the first that differs."""
    n = recording.sizes["neuron"]
    ours = set(zip(recording.spike_time_ms.values.astype(int), recording.spike_neuron.values, strict=True))
    theirs = set(zip(time_.tolist(), neuron.tolist(), strict=True))
    return {
        "rate_hz": len(ours) / n / n_steps * 1000,
        "rate_hz_brian2": len(theirs) / n / n_steps * 1000,
        "same_spikes": len(ours & theirs) / max(len(ours | theirs), 1),
        "same_until_ms": min((step for step, _ in ours ^ theirs), default=n_steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brian2-python", type=Path, help="Python with brian2; without it only our side is timed")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--neurons", type=int, default=N_NEURONS)
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    cases = [(synapses, rule, noise_mv) for synapses, rules in RULES.items() for rule in rules
             for noise_mv in (0.0, NOISE_MV)]  # fmt: skip
    rows, versions = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for seed, (synapses, rule, noise_mv) in itertools.product(range(SEED, SEED + asked.networks), cases):
            recording, numbers, seconds = network(synapses, noise_mv, asked.steps, asked.neurons, seed, rule)
            row = {"synapses": synapses, "brian2_integrates": rule, "noise_mv": noise_mv, "random_state": seed,
                   "steps": asked.steps, "seconds": seconds}  # fmt: skip
            if asked.brian2_python:
                *spikes, answer = in_brian2(asked.brian2_python, numbers, Path(folder))
                versions = {name: answer[name] for name in ("brian2", "numpy")}
                row |= compared(recording, *spikes, asked.steps) | {"seconds_brian2": answer["seconds"]}
            rows.append(row)
    table = pd.DataFrame(rows).round(5)
    print(table.to_string(index=False, float_format="%.4g"))
    if asked.out:
        sweep.write_table(table, asked.out)
        about = {
            "table": asked.out.name, "written_by": "benchmarks/lif_spikes.py", "n_neurons": asked.neurons,
            "what": "rates of both sides in Hz, the share of all spikes that both have in the same step of 1 ms, and "
            "the first step in which they differ (the length where they never do)",
            "seconds": "of one thread on a machine that did other work: no timings",
            "python": platform.python_version(), "brian2": versions,
        }  # fmt: skip
        sweep.write_provenance(asked.out, about)


if __name__ == "__main__":
    main()

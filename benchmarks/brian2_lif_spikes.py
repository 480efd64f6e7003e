"""Simulate one large integrate-and-fire network in Brian2: the other side of `lif_spikes.py`.

Needs Brian2 and numpy only, not this package, so that it can run in an environment of its own:
    python -m venv ENV && ENV/bin/pip install brian2 "numpy<2.4"

NETWORK.npz holds `weights` and `delays` (target, source), `start` (neuron), voltages from rest, and the numbers that
`lif_spikes.py` names. SPIKES.npz is written: `time` in steps and `neuron`.

Usage: python benchmarks/brian2_lif_spikes.py NETWORK.npz SPIKES.npz
"""

import json
import sys
import time

import brian2 as b2
import numpy as np

CURRENT = """
dv/dt = (drive - v + s_plus) / tau : 1 (unless refractory)
ds_plus/dt = -s_plus / tau_syn : 1
s_minus : 1
"""
CONDUCTANCE = """
dv/dt = (drive - v + s_plus * (e_plus - v) + s_minus * (e_minus - v)) / tau : 1 (unless refractory)
ds_plus/dt = -s_plus / tau_syn : 1
ds_minus/dt = -s_minus / tau_syn : 1
"""
# by the rule of `causalkit.simulate.lif_spikes`: conductances enter by their mean over the step
SAME_RULE = """
v : 1
s_plus : 1
s_minus : 1
"""
SAME_STEP = """
total = 1 + passed * (s_plus + s_minus)
towards = (drive + passed * (s_plus * e_plus + s_minus * e_minus)) / total
v = (towards + (v - towards) * exp(-leak * total)) * int(not_refractory)
s_plus = s_plus * syn_decay
s_minus = s_minus * syn_decay
"""
EQUATIONS = {"exact": CURRENT, "rk4": CONDUCTANCE, "same": SAME_RULE}


def simulate(file) -> tuple[np.ndarray, np.ndarray, float]:
    b2.prefs.codegen.target = "numpy"
    b2.seed(int(file["seed"]))
    step, weights, rule = 1 * b2.ms, file["weights"], str(file["rule"])
    b2.defaultclock.dt = step
    names = {
        "drive": float(file["drive"]), "noise": float(file["noise"]), "threshold": float(file["threshold"]),
        "e_plus": float(file["reversal"][0]), "e_minus": float(file["reversal"][1]),
        "tau": float(file["tau_ms"]) * b2.ms, "tau_syn": float(file["tau_syn_ms"]) * b2.ms,
        **{name: float(file[name]) for name in ("passed", "leak", "syn_decay")},
    }  # fmt: skip
    neurons = b2.NeuronGroup(
        len(weights), EQUATIONS[rule], threshold="v >= threshold", reset="v = 0",
        # Brian2 counts the step of the spike itself; here so many steps after it are spent at rest
        refractory=(int(file["refractory"]) + 1) * b2.ms, method="rk4" if rule == "rk4" else "exact", namespace=names,
    )  # fmt: skip
    neurons.v = file["start"]
    if rule == "same":
        neurons.run_regularly(SAME_STEP, dt=step, when="groups", order=1)  # after Brian2 has seen who is refractory
    if names["noise"] > 0:  # after the step of the equations, before the threshold
        neurons.run_regularly("v += noise * randn() * int(not_refractory)", dt=step, when="groups", order=2)
    objects = [neurons]
    for name, there in (("s_plus", weights > 0), ("s_minus", weights < 0)):
        target, source = np.nonzero(there)
        if not len(target):
            continue
        jump = file["jump_plus"] if name == "s_plus" else file["jump_minus"]
        into = "s_plus" if rule == "exact" else name
        synapses = b2.Synapses(neurons, neurons, "w : 1", on_pre=f"{into}_post += w")
        synapses.connect(i=source, j=target)
        synapses.w = weights[target, source] * float(jump)
        synapses.delay = file["delays"][target, source] * step
        objects.append(synapses)
    monitor = b2.SpikeMonitor(neurons)
    start = time.perf_counter()
    b2.Network(*objects, monitor).run((int(file["n_steps"]) - 1) * step)
    seconds = time.perf_counter() - start
    # after its first step Brian2 is where row 1 is here: row 0 is the start
    return np.round(np.asarray(monitor.t / step)).astype(int) + 1, np.asarray(monitor.i), seconds


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as file:
        times, neurons, seconds = simulate(file)
    np.savez(sys.argv[2], time=times, neuron=neurons)
    print(json.dumps({"seconds": seconds, "brian2": b2.__version__, "numpy": np.__version__}))

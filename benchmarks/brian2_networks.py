"""Simulate given networks in Brian2 and print the seconds it took: the other side of `baselines.py`.

Needs Brian2 and numpy only, not this package, so that it can run in an environment of its own:
    python -m venv ENV && ENV/bin/pip install brian2 "numpy<2.4"

NETWORKS.npz holds `connectivity` (network, target, source), `params` (network, neuron, 4) and `input_current`
(network, step, neuron). Row t of the input drives the step from row t to row t + 1, as in `causalkit.simulate`.

Usage: python benchmarks/brian2_networks.py NETWORKS.npz [--target numpy] [--one-group] [--voltages OUT.npy]
"""

import argparse
import json
import time

import brian2 as b2
import numpy as np

THRESHOLD_MV, INITIAL_MV = 30, -65.0
NEURONS = """
v : 1
u : 1
a : 1
b : 1
c : 1
d : 1
synaptic : 1
"""
STEP = """
drive = 108 - u + (noise(t, i) + synaptic)
v += 0.5 * ((0.04 * v + 4.1) * v + drive)
v += 0.5 * ((0.04 * v + 4.1) * v + drive)
u += a * (b * v - u)
synaptic = 0
"""


def simulate(connectivity: np.ndarray, params: np.ndarray, input_current: np.ndarray) -> np.ndarray:
    """Voltages (network, step, neuron) of networks that share one group of neurons, unconnected to each other."""
    n_networks, n_steps, n_neurons = input_current.shape
    step, size = 1 * b2.ms, n_networks * n_neurons
    noise = b2.TimedArray(np.swapaxes(input_current, 0, 1).reshape(n_steps, size), dt=step)
    neurons = b2.NeuronGroup(size, NEURONS, threshold=f"v >= {THRESHOLD_MV}", reset="v = c; u += d", dt=step, name="n")
    neurons.run_regularly(STEP, dt=step, when="groups", name="step")
    for k, parameter in enumerate("abcd"):
        setattr(neurons, parameter, params[..., k].ravel())
    neurons.v = INITIAL_MV
    neurons.u = "b * v"

    network, target, source = np.nonzero(connectivity)
    offset = network * n_neurons
    objects = [neurons]
    if len(network):
        synapses = b2.Synapses(neurons, neurons, "w : 1", on_pre="synaptic_post += w", dt=step, name="s")
        synapses.connect(i=source + offset, j=target + offset)
        synapses.w = connectivity[network, target, source]
        objects.append(synapses)
    # between the step and the reset, as the other side stores voltages; row 0 is the initial state
    monitor = b2.StateMonitor(neurons, "v", record=True, dt=step, when="after_groups", name="m")
    b2.Network(*objects, monitor).run((n_steps - 1) * step, namespace={"noise": noise})
    voltage = np.concatenate([np.full((1, size), INITIAL_MV), np.asarray(monitor.v).T])
    return np.swapaxes(voltage.reshape(n_steps, n_networks, n_neurons), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks")
    parser.add_argument("--target", choices=["numpy", "cython"], default="numpy", help="Brian2's code generation")
    parser.add_argument("--one-group", action="store_true", help="all networks in one group, instead of one by one")
    parser.add_argument("--voltages", help="store the voltages here, to compare")
    arguments = parser.parse_args()
    b2.prefs.codegen.target = arguments.target
    with np.load(arguments.networks, allow_pickle=False) as file:
        connectivity, params, current = file["connectivity"], file["params"], file["input_current"]
    together = len(connectivity) if arguments.one_group else 1
    batches = [slice(k, k + together) for k in range(0, len(connectivity), together)]
    simulate(connectivity[batches[0]], params[batches[0]], current[batches[0], :10])  # compiling is not what is timed

    start = time.perf_counter()
    voltages = [simulate(connectivity[k], params[k], current[k]) for k in batches]
    seconds = time.perf_counter() - start
    if arguments.voltages:
        np.save(arguments.voltages, np.concatenate(voltages))
    print(json.dumps({"seconds": seconds, "brian2": b2.__version__, "numpy": np.__version__}))


if __name__ == "__main__":
    main()

"""Seconds to simulate the paper's whole grid: 4 sizes x 4 probabilities x 10 networks x 5,000 steps.

Run: python benchmarks/simulate_speed.py. Exits with 1 if the grid takes 30 s or more.
"""

import os
import sys
import time

from causalkit import simulate

SIZES, PROBABILITIES, N_NETWORKS, LIMIT_S = (5, 10, 20, 40), (0.2, 0.4, 0.6, 0.8), 10, 30


def main():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    simulate.izhikevich(n_steps=10)  # imports are not what is timed
    total_s = 0.0
    for n_neurons in SIZES:
        start = time.perf_counter()
        rates_hz = []
        for probability in PROBABILITIES:
            runs = simulate.izhikevich(n_neurons, probability, n_networks=N_NETWORKS)
            rates_hz.append(sum(float(run.spikes.mean()) for run in runs) / len(runs) * 1000)
        batched_s = time.perf_counter() - start
        start = time.perf_counter()
        for probability in PROBABILITIES:
            simulate.izhikevich(n_neurons, probability)
        alone_s = (time.perf_counter() - start) * N_NETWORKS
        total_s += batched_s
        rates = " ".join(f"{rate:.1f}" for rate in rates_hz)
        print(
            f"N={n_neurons:2d}: 40 networks in {batched_s:5.2f} s, one by one {alone_s:6.2f} s (measured on "
            f"4), {alone_s / batched_s:4.1f} times slower; mean rates {rates} Hz at p={PROBABILITIES}"
        )
    print(f"160 networks of 5,000 steps: {total_s:.2f} s on {cores} cores (limit {LIMIT_S} s)")
    return total_s >= LIMIT_S


if __name__ == "__main__":
    sys.exit(main())

"""Tell how often the report warns of an input that many share, with and without a neuron that nobody recorded.

    python benchmarks/common_input.py

Ten recorded neurons that also drive each other, and one that is left out of the recording and drives so many of them:
linear autoregressions of 2,000 steps (all after one step, or after one to three), Izhikevich voltages of 5,000 steps,
and Izhikevich networks of 10 or 20 of which half receive the same pulses. Writes book/results/common_input.csv: of how
many networks the warning came.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import causalkit.sweep as sweep
from causalkit import simulate
from causalkit.reporting import diagnostics

ROOT = Path(__file__).resolve().parents[1]
N, FIRST_SEED = 10, 2300
DRIVEN = (0, 2, 3, 4, 6, 10)


def recorded(network):
    """All neurons but the last, which nobody sees."""
    seen = slice(N)
    return network.isel(neuron=seen, target=seen, source=seen)


def linear(seed, n_driven, *, weight=0.4, n_lags=1):
    """A sparse autoregression; the hidden neuron reaches each target after one of `n_lags` steps."""
    rng = np.random.default_rng(seed)
    a = np.zeros((N + 1, N + 1, n_lags))
    wired = (rng.random((N, N)) < 0.2) * rng.uniform(0.1, 0.3, (N, N)) * rng.choice([-1, 1], (N, N))
    a[:N, :N, 0] = wired
    a[np.arange(N + 1), np.arange(N + 1), 0] = 0.4
    targets = rng.choice(N, n_driven, replace=False)
    a[targets, N, rng.integers(0, n_lags, n_driven)] = weight
    while _radius(a) > 0.9:
        a *= 0.95
    return recorded(simulate.var(coefficients=a, n_steps=2000, random_state=seed))


def _radius(a):
    n, _, n_lags = a.shape
    companion = np.eye(n * n_lags, k=-n)
    companion[:n] = np.moveaxis(a, -1, 1).reshape(n, -1)
    return np.abs(np.linalg.eigvals(companion)).max()


def spiking(seed, n_driven, *, weight=20.0):
    """A voltage network; the hidden neuron's synapses are four times as strong as the others'."""
    wiring = simulate.izhikevich(N + 1, 0.2, 2, random_state=seed).connectivity.values.copy()
    wiring[N], wiring[:, N] = 0, 0
    wiring[np.random.default_rng(seed).choice(N, n_driven, replace=False), N] = weight
    return recorded(simulate.izhikevich(n_steps=5000, random_state=seed, connectivity=wiring))


def pulsed(seed, n_driven, *, n_neurons=10):
    """Half of the neurons receive the same pulses, ten a second."""
    pulses = simulate.pulse_train(5000, n_neurons, range(n_driven), rate_hz=10, amplitude=8, random_state=seed)
    return simulate.izhikevich(n_neurons, 0.3, random_state=seed, stimulus=pulses)


WORLDS = {
    **{("linear", k): lambda s, k=k: linear(s, k) for k in DRIVEN},
    **{("linear, delays 1 to 3", k): lambda s, k=k: linear(s, k, n_lags=3) for k in DRIVEN[1:]},
    **{("Izhikevich", k): lambda s, k=k: spiking(s, k) for k in DRIVEN},
    ("Izhikevich, pulses", 5): lambda s: pulsed(s, 5),
    ("Izhikevich, pulses, 20 neurons", 10): lambda s: pulsed(s, 10, n_neurons=20),
}


def measure(world, driven, n_networks):
    found = [diagnostics.common_input(WORLDS[world, driven](FIRST_SEED + k)) for k in range(n_networks)]
    pairs = np.array([[f.values["together"], f.values["against"]] for f in found]).mean(axis=0)
    return {"world": world, "driven": driven, "networks": n_networks, "warned": sum(f.warns for f in found),
            "together": f"{pairs[0]:.2f}", "against": f"{pairs[1]:.2f}"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20, help="of each kind, default %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "common_input.csv")
    arguments = parser.parse_args()
    rows = []
    for world, driven in WORLDS:
        rows.append(measure(world, driven, arguments.networks))
        print(*rows[-1].values(), flush=True)
    sweep.write_table(pd.DataFrame(rows), arguments.out)
    provenance = {"table": arguments.out.name, "written_by": "benchmarks/common_input.py",
                  "what": " ".join(__doc__.split("Writes")[1].split()), "seeds": f"{FIRST_SEED} and on"}  # fmt: skip
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

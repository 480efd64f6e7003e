"""How much the spikes before it tell of the next spike's neuron, and how much of that a Neuroformer has learned.

Cross-entropies of the next neuron in nats, on the last fifth of the windows: of a forecast that knows the rates of the
training windows; of a multinomial regression on three exponential traces (2, 8, 25 ms) of every neuron's spikes, whose
ridge is chosen on the windows between; and of the transformer. The regression is convex: what it gains over the rates
is there to be found. It is fitted twice: on what the transformer knows, the traces at the spike before; and on
the traces at the time of the spike that is named, which the transformer forecasts and does not know.

    python benchmarks/next_neuron.py [--replicates 2]

Writes book/results/next_neuron.csv and its provenance, after each network. Beside each attention matrix stand the
scores (r |r|) of its edges and its co-input, what is left on rewired networks, and the nulls of latent_graph_scores.
"""

import argparse
import itertools
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from causalkit import Neuroformer, SpikeGLM, latent_graph_scores, simulate, spike_tokens, sweep
from causalkit.methods.neuroformer import _frequencies, _training_tokens
from causalkit.methods.spike_windows import TokenWindows

ROOT = Path(__file__).resolve().parents[1]
TRACES = (2.0, 8.0, 25.0)  # ms
RIDGES = (1e-4, 1e-3, 1e-2)
KINDS = ("edge_pearson", "co_input_spearman")
SEED = 2001  # the transformer's settings were tried on 2000
WORLDS = {
    "strong": {"n_neurons": 30, "n_steps": 60_000, "weight": (0.8, 1.6)},
    "usual": {"n_neurons": 60, "n_steps": 120_000},
}
MODELS = {
    "few steps": {"max_epochs": 4},
    "trained": {"past_ms": 50, "embedding_dim": 64, "n_heads": 4, "dropout": 0.2, "lag_slopes": True, "tied": True,
                "batch_size": 8, "max_epochs": 8},
}  # fmt: skip
READOUTS = ("attention", "norm_weighted_next")


def traces(clock, neuron, n_neurons, timed=True, taus=TRACES):
    """Decaying sums of the spikes before each token, (n_tokens, n_taus * n_neurons).

    `timed`: in the steps before, as they are in the token's step. Otherwise they are as they were at the token before
    it, with this one: what a model knows that forecasts when and who at once.
    """
    taus, state = np.array(taus)[:, None], np.zeros((len(taus), n_neurons))
    seen, last, waiting = np.empty((len(clock), state.size), np.float32), clock[0], []
    for k, now in enumerate(clock):
        if not timed:
            seen[k] = state.ravel()
            state *= np.exp(-(now - last) / taus)
            state[:, neuron[k]] += 1
            last = now
            continue
        if now != last:
            np.add.at(state, (slice(None), waiting), 1)
            state *= np.exp(-(now - last) / taus)
            waiting, last = [], now
        seen[k] = state.ravel()
        waiting.append(neuron[k])
    return seen


def regression(data, n_neurons, timed):
    """Cross-entropies on the test windows: of the multinomial regression, and of the rates."""
    parts = [_training_tokens(data, part) for part in (data.train, data.validation, data.test)]
    x = torch.tensor(traces(data.clock.numpy(), data.neuron.numpy(), n_neurons, timed))
    x = (x - x[parts[0]].mean(0)) / (x[parts[0]].std(0) + 1e-6)
    (train, validation, test), names = [x[part] for part in parts], [data.neuron[part] for part in parts]
    rates = _frequencies(names[0], n_neurons)
    found = []
    for ridge in RIDGES:
        weight, bias = torch.zeros(x.shape[1], n_neurons, requires_grad=True), rates.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

        def loss(weight=weight, bias=bias, optimizer=optimizer, ridge=ridge):
            optimizer.zero_grad()
            value = cross_entropy(train @ weight + bias, names[0]) + ridge * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        with torch.no_grad():
            held_out = (cross_entropy(x @ weight + bias, y).item()
                        for x, y in zip((validation, test), names[1:], strict=True))  # fmt: skip
            found.append(tuple(held_out))
    return min(found)[1], -rates[names[2]].mean().item()


def rows_of(world, replicate, models):
    """Rows of one network."""
    recording = simulate.lif_spikes(random_state=SEED + replicate, **WORLDS[world])
    tokens = spike_tokens.tokenize(recording)
    data = TokenWindows.cut(tokens, 50, 50)
    (timed, rates), (untimed, _) = (regression(data, recording.sizes["neuron"], knows) for knows in (True, False))
    common = {"world": world, "n_neurons": recording.sizes["neuron"], "replicate": SEED + replicate,
              "spikes": tokens.sizes["token"]}  # fmt: skip
    rows = [common | {"model": "rates", "gain": 0.0, "cross_entropy": rates},
            common | {"model": "regression", "gain": rates - untimed, "cross_entropy": untimed},
            common | {"model": "regression, time known", "gain": rates - timed, "cross_entropy": timed}]  # fmt: skip
    truth = recording.connectivity
    glm = latent_graph_scores.scores(truth, SpikeGLM().fit(recording).connectivity_.weight.fillna(0), signed=True)
    rows.append(common | {"model": "glm", "readout": "weight"} | {kind: glm[kind] for kind in KINDS})
    for name in models:
        started = time.process_time()
        model = Neuroformer(**MODELS[name], n_windows=300, device="cpu").fit(recording)
        found, seconds = model.diagnostics_, time.process_time() - started
        entropy = float(found.test_cross_entropy.mean())
        learned = {"model": name, "cross_entropy": entropy, "gain": float(found.rate_cross_entropy) - entropy,
                   "best_epoch": int(model.training_.best_epoch[0]), "seconds": seconds}  # fmt: skip
        for readout in READOUTS:
            own = model.read(recording, readout, n_windows=300).score.fillna(0)
            score, nulls = latent_graph_scores.scores(truth, own), latent_graph_scores.nulls(recording, own)
            by_chance = latent_graph_scores.chance(truth, own, n_rewired=5).mean()
            rows.append(
                common | learned | {"readout": readout} | {kind: score[kind] for kind in KINDS}
                | {f"{kind}_by_chance": by_chance[kind] for kind in KINDS}
                | {f"co_input_{null}": value for null, value in nulls["co_input_spearman"].items()}
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "next_neuron.csv")
    asked = parser.parse_args()
    rows = []
    for replicate, world in itertools.product(range(asked.replicates), asked.worlds):
        rows += rows_of(world, replicate, asked.models)
        table = pd.DataFrame(rows).round(4)
        sweep.write_table(table, asked.out)  # as far as it has come
        shown = table[(table.world == world) & (table.replicate == SEED + replicate)]
        print(shown.dropna(axis=1, how="all").T.to_string(), flush=True)
        about = {
            "table": asked.out.name, "written_by": "benchmarks/next_neuron.py", "traces_ms": TRACES, "ridges": RIDGES,
            "networks": f"simulate.lif_spikes, hubs, seeds from {SEED} on; the transformer's settings were tried on "
            "seed 2000 of the strong world",
            "worlds": {name: WORLDS[name] for name in asked.worlds},
            "models": {name: MODELS[name] for name in asked.models}, "rewired": 5,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread, torch {torch.__version__}",
        }  # fmt: skip
        sweep.write_provenance(asked.out, about)


if __name__ == "__main__":
    main()

"""Do more data or a larger transformer bring ABCD nearer to the truth, and do noise and broken assumptions matter?

    python benchmarks/abcd_scale.py
    python benchmarks/abcd_scale.py --varied world blur  # these alone

Transformers learn masked symbols of linear-Gaussian models as in abcd_trained.py, and ABCD reads their heads. Around
one setting (two layers, width 64, 50,000 sequences) one thing at a time is changed, on the same graphs and sequences:

- width: 16, 32, 64, 128, always in four heads;
- layers: 1, 2, 4;
- sequences to learn from: 200, 2,000, 50,000;
- training: none at all;
- blur: measurement noise of .3 or .6 of a node's standard deviation;
- world: those of violations.py, with nodes that nearly copy others, bent and even effects, nearly canceled paths, and
  "one embedding": the nodes that nearly copy others also share the embedding of their place with them.

- small: those worlds again, on several graphs, for models that train in seconds: width 32, 300 steps at twice the rate,
  embeddings of symbols that begin in the order of their bins, five sequences read. Tried on seed 2000 for the loss: of
  what it can fall, .63 after 250 steps; without the order 0 (.2 at a higher rate).

Every other model takes up to 700 steps of 64 sequences and keeps the state that forecasts 1,000 other sequences best,
so that a small set is not learned by heart. Steps, batch and learning rate were looked at on one graph, seed 2000, for
the loss alone. Two models of the first graph had been trained for 1,500 steps before these were cut to 700, and the
numbers of sequences changed, for computing time; settings that have no rows yet are planned. Symbols are bins of equal
frequency among all 50,000 sequences, the same in all settings.

Writes book/results/abcd_scale.csv, one row a graph, setting, reading and layer (means over ten sequences that were not
trained on, and over heads), and its provenance. A run that was stopped goes on where it was. Columns are those of
abcd_trained.py, and: `varied`, what the setting changes; `readings`: "ABCD" assumes 64 samples in every model, so that
a wider one has no more edges only because more samples are assumed, "ABCD, width" as many as the model is wide, the
authors' convention; "covariance of the data" is ICD on the values that the model's sequences were made of;
`agreement`: edges that two heads of a layer share over those that either has.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import violations
from abcd_trained import N_BINS, N_HEADS, MaskedModel, ideal_loss, masked_loss, scores_of, separation, to_symbols
from linear_gaussian import ALPHA, KINDS, N_OBSERVED, random_graph, sample

from causalkit import sweep
from causalkit.discovery import (
    agreement,
    attention_independence,
    embedding_independence,
    icd,
    oracle_independence,
    samples_independence,
)

ROOT = Path(__file__).resolve().parents[1]
BASE = {"world": "linear", "blur": 0.0, "width": 64, "n_layers": 2, "n_sequences": 50_000, "steps": 700}
SCALES = {"n_sequences": (200, 2000), "n_layers": (1,), "width": (32,), "steps": (0,)}
LATER = {"width": (128, 16), "n_layers": (4,)}
BLUR, WORLDS = (0.3, 0.6), (*violations.WORLDS, "one embedding")
SMALL, SMALL_RATE, SMALL_READ = {"width": 32, "steps": 300}, 6e-3, 5
VARIED = ("base", *SCALES, "blur", "world", "small")
N_VALIDATION, N_TEST, N_READ, BATCH, RATE, CHECKED, SIZE = 1000, 2000, 10, 64, 3e-3, 100, 64


def settings(n_graphs, steps, n_worlds=5):
    """Graphs and settings; what tells most for its cost comes first."""
    base = BASE | {"steps": steps}
    graphs = [{"graph": kind, "seed": 2300 + k} for k in range(n_graphs) for kind in KINDS]
    for graph in graphs:
        yield graph | {"varied": "base"} | base
        yield from (graph | {"varied": name} | base | {name: value} for name, to in SCALES.items() for value in to)
    for name, to in LATER.items():
        for value in to:
            yield from (graph | {"varied": name} | base | {name: value} for graph in graphs)
    for graph in graphs:
        yield from (graph | {"varied": "blur"} | base | {"blur": blur} for blur in BLUR)
    for varied, size in (("world", {}), ("small", SMALL)):
        for k in range(n_worlds):
            of_world = {"graph": "random", "seed": 2400 + k, "varied": varied}
            yield from (of_world | base | size | {"world": world} for world in WORLDS)


@cache
def data_of(varied_world, graph, seed, world, blur):
    """A graph of causes, what an oracle finds, values and symbols (sequence, node), the ideal loss, places of nodes."""
    n = BASE["n_sequences"] + N_VALIDATION + N_TEST
    places = list(range(N_OBSERVED))
    if varied_world:
        simulated = "colliding" if world == "one embedding" else world
        dag, noise = violations.world(simulated, seed)
        values = violations.sample(simulated, dag, noise, n, seed)
        if world == "one embedding":
            places = [next(dag.predecessors(k)) if noise[k] == violations.APART else k for k in places]
    else:
        dag = random_graph(graph, np.random.default_rng([seed, KINDS.index(graph)]))
        values = sample(dag, n, blur, seed)
    truth = icd(oracle_independence(dag, list(range(N_OBSERVED))))
    reference, test = values[: BASE["n_sequences"]], values[-N_TEST:]
    ideal = ideal_loss(test, reference, torch.Generator().manual_seed(0)) if world not in violations.LINKS else np.nan
    return dag, truth, values, to_symbols(values, reference), ideal, places


def order_symbols(model):
    """Let the embeddings of symbols begin in the order of their bins: along a line, and along a parabola."""
    value = torch.special.ndtri((torch.arange(N_BINS) + 0.5) / N_BINS)[:, None]  # (symbol, 1)
    start = model.symbol.weight.data[:N_BINS]  # a view: (symbol, width)
    line, parabola = torch.randn(2, start.shape[1])
    start.copy_(0.3 * start + value * line + 0.7 * (value**2 - 1) * parabola)


def train(symbols, validation, width, n_layers, steps, seed, places=None, rate=RATE, ordered=False):
    """The state of the model that forecasts `validation` best, and its step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = MaskedModel(width=width, n_layers=n_layers, places=places)
    if ordered:
        order_symbols(model)
    if not steps:
        return model.eval(), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    best, best_step, kept = np.inf, 0, None
    for step in range(1, steps + 1):
        batch = symbols[torch.randint(len(symbols), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        masked_loss(model, batch, generator).backward()
        optimizer.step()
        schedule.step()
        if step % CHECKED == 0 or step == steps:
            with torch.no_grad():
                loss = masked_loss(model, validation, torch.Generator().manual_seed(1)).item()
            if loss < best:
                best, best_step = loss, step
                kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval(), best_step


def rows_of(setting):
    rng = np.random.default_rng(setting["seed"])
    dag, truth, values, symbols, ideal, places = data_of(
        setting["varied"] in ("world", "small"), *(setting[name] for name in ("graph", "seed", "world", "blur"))
    )
    n, size = setting["n_sequences"], [setting[name] for name in ("width", "n_layers", "steps", "seed")]
    test = symbols[-N_TEST:]
    small = setting["varied"] == "small"
    rate, n_read = (SMALL_RATE, SMALL_READ) if small else (RATE, N_READ)
    model, step = train(symbols[:n], symbols[BASE["n_sequences"] : -N_TEST], *size, places, rate, ordered=small)
    with torch.no_grad():
        loss = masked_loss(model, test, torch.Generator().manual_seed(0)).item()
        _, embeddings, attentions = model(test)
    about = setting | {"n_edges": len(truth.edges), "kept_step": step, "test_loss": loss, "ideal_loss": ideal}

    def row(reading, layer, scored):
        return {**about, "reading": reading, "layer": layer, **pd.DataFrame(scored).mean().to_dict()}

    def scores(test):
        return scores_of(icd(test), test, truth, dag, rng)

    yield row("covariance of the data", np.nan, [scores(samples_independence(values[:n], alpha=ALPHA))])
    for layer, (attention, embedding) in enumerate(zip(attentions, embeddings, strict=True)):
        attention, embedding = attention.double().numpy(), embedding.double().numpy()
        sizes = {"ABCD": SIZE} | ({"ABCD, width": setting["width"]} if setting["width"] != SIZE else {})
        for reading, assumed in sizes.items():
            yield row(reading, layer, heads_read(attention[:n_read], assumed, truth, dag, rng))
        yield row("embeddings", layer, [scores(embedding_independence(of)) for of in embedding[:n_read]])
        mean = attention.mean(axis=0)  # (head, query, key)
        yield row("attention itself", layer, [{"auroc": separation(of + of.T, truth)} for of in mean])


def heads_read(attention, assumed, truth, dag, rng):
    """Scores of each head of (sequence, head, query, key), and how far a layer's heads agree."""
    for of_sequence in attention:
        tests = [attention_independence(of_sequence[head], assumed, alpha=ALPHA) for head in range(N_HEADS)]
        pags = [icd(test) for test in tests]
        alike = agreement(pags).attrs["jaccard"]
        for pag, test in zip(pags, tests, strict=True):
            yield scores_of(pag, test, truth, dag, rng) | {"agreement": alike}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1, help="of each of four kinds (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=5, help="graphs of each world (default: %(default)s)")
    parser.add_argument("--varied", nargs="+", choices=VARIED, default=VARIED, help="only these (default: all)")
    parser.add_argument("--steps", type=int, default=BASE["steps"], help="of training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "abcd_scale.csv")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame()
    for setting in settings(arguments.graphs, arguments.steps, arguments.worlds):
        if setting["varied"] not in arguments.varied:
            continue
        if len(table) and (table[list(setting)] == pd.Series(setting)).all(axis=1).any():
            continue
        new = pd.DataFrame(rows_of(setting)).round(4)
        table = pd.concat([table, new], ignore_index=True)
        sweep.write_table(table, arguments.out)  # after every model, so that what is done is kept
        write_provenance(table, arguments.out)
        print(*setting.values(), f"loss {new.test_loss[0]:.3f} (ideal {new.ideal_loss[0]:.3f})", flush=True)
    write_provenance(table, arguments.out)
    print(summary(table).round(3).to_string())


def summary(table):
    """Means over graphs and layers, and the spread over graphs of the F1 of edges."""
    keys = ["varied", "world", "blur", "width", "n_layers", "n_sequences", "steps", "reading"]
    shown = ["test_loss", "n_found", "edge_f1", "chance_edge_f1", "mark_f1", "chance_mark_f1", "auroc", "agreement"]
    of_graph = table.groupby([*keys, "graph", "seed"], sort=False)[shown].mean()
    groups = of_graph.groupby(keys, sort=False)
    means = groups.mean()
    means.insert(3, "sd", groups["edge_f1"].std())
    means.insert(0, "graphs", groups.size())
    return means


def write_provenance(table, path):
    provenance = {
        "table": path.name,
        "written_by": "benchmarks/abcd_scale.py",
        "what": "graphs read out of transformers of several sizes, trained on more or less data, against the graph "
        "that an oracle gives ICD; means over sequences and heads",
        "models": {varied: int(of.groupby([*BASE, "graph", "seed"]).ngroups) for varied, of in table.groupby("varied")},
        "graphs": int(table[["graph", "seed"]].drop_duplicates().shape[0]),
        "training_steps": {varied: sorted(map(int, of.steps.unique())) for varied, of in table.groupby("varied")},
        "sequences_read": {"small": SMALL_READ, "others": N_READ},
        "assumed_sample_size": SIZE,
        "alpha": ALPHA,
        "seeds": f"{table['seed'].min()} to {table['seed'].max()}; settings of training were looked at on seed 2000",
        "torch": torch.__version__,
    }
    sweep.write_provenance(path, provenance)


if __name__ == "__main__":
    main()

"""Is the graph that ABCD reads out of a trained transformer that of the model which made its data?

    python benchmarks/abcd_trained.py

Sequences of ten symbols come from one linear-Gaussian model each (those of linear_gaussian.py, without blur): symbol k
is node k's value, cut into 16 bins of equal frequency. A small transformer (two layers of four heads, width 64) learns
to fill in masked symbols. Then, for sequences it has not seen, graphs are read by ABCD out of each head of each layer,
and by partial correlations of the embeddings that follow each layer. The sample size that is assumed is the width, the
authors' convention, and alpha .01. Beside them: attention averaged over sequences before ABCD, the data's own
covariance (1,000 sequences), and chance (the same graphs with nodes shuffled).

Writes book/results/abcd_trained.csv, one row a model, reading and layer (means over sequences and heads), and its
provenance. `auroc`: how well joined pairs are told from others by the absolute partial correlation given all other
nodes, which needs no assumed sample size; of attention itself by A + Aᵀ. `ideal_loss`: the loss on the same masked
symbols of who knows the model.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from linear_gaussian import ALPHA, KINDS, N_OBSERVED, claims_right, random_graph, sample, shuffled
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy

from causalkit import sweep
from causalkit.discovery import (
    attention_independence,
    compare,
    embedding_independence,
    icd,
    oracle_independence,
    samples_independence,
)

ROOT = Path(__file__).resolve().parents[1]
N_BINS, WIDTH, N_HEADS, N_LAYERS = 16, 64, 4, 2
N_TRAIN, N_TEST, N_READ, BATCH, MASKED = 50_000, 2_000, 10, 128, 0.2
PAIRS = np.triu_indices(N_OBSERVED, 1)


class Layer(nn.Module):
    """Self-attention and a feed-forward block, each after a normalization and around a residual."""

    def __init__(self, width):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.mix = nn.MultiheadAttention(width, N_HEADS, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        normed = self.norms[0](x)
        mixed, attention = self.mix(normed, normed, normed, average_attn_weights=False)
        x = x + mixed
        return x + self.feed(self.norms[1](x)), attention  # (batch, token, width), (batch, head, query, key)


class MaskedModel(nn.Module):
    """Symbols in, the last of them a mask; logits of every place out, with embeddings and attention of each layer.

    Tokens that `places` gives one number have one embedding of their place.
    """

    def __init__(
        self, n_symbols=N_BINS, n_places=N_OBSERVED, n_out=N_BINS, width=WIDTH, n_layers=N_LAYERS, places=None
    ):
        super().__init__()
        self.places = torch.arange(n_places) if places is None else torch.as_tensor(places)
        self.symbol, self.place = nn.Embedding(n_symbols + 1, width), nn.Embedding(n_places, width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(n_layers)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_out))

    def forward(self, symbols):
        return self.after_embedding(self.symbol(symbols))

    def after_embedding(self, embedded):
        x = embedded + self.place(self.places)  # (batch, token, width)
        embeddings, attentions = [], []
        for layer in self.layers:
            x, attention = layer(x)
            embeddings.append(x)
            attentions.append(attention)
        return self.out(x), embeddings, attentions


def bin_edges(reference):
    return np.quantile(reference, np.arange(1, N_BINS) / N_BINS, axis=0)  # (n_bins - 1, token)


def to_symbols(values, reference):
    """(n, token) bins of equal frequency in the reference."""
    edges = bin_edges(reference)
    return torch.tensor(np.stack([np.searchsorted(edges[:, k], values[:, k]) for k in range(N_OBSERVED)], axis=1))


def hide(symbols, generator):
    return torch.rand(symbols.shape, generator=generator) < MASKED


def ideal_loss(values, reference, generator):
    """Loss of who knows the model, and the values that are not masked rather than their symbols: none can do better."""
    covariance, mean, edges = np.cov(reference.T), reference.mean(axis=0), bin_edges(reference)
    symbols = to_symbols(values, reference).numpy()
    losses = []
    for x, symbol, hidden in zip(values, symbols, hide(torch.tensor(values), generator).numpy(), strict=True):
        weights = np.linalg.solve(covariance[np.ix_(~hidden, ~hidden)], covariance[np.ix_(~hidden, hidden)])
        expected = mean[hidden] + (x - mean)[~hidden] @ weights
        left = covariance[np.ix_(hidden, hidden)] - covariance[np.ix_(hidden, ~hidden)] @ weights
        spread = np.sqrt(left.diagonal())
        for k, node in enumerate(np.flatnonzero(hidden)):
            borders = (np.concatenate([[-np.inf], edges[:, node], [np.inf]]) - expected[k]) / spread[k]
            losses.append(-np.log(max(np.diff(ndtr(borders))[symbol[node]], 1e-12)))
    return float(np.mean(losses))


def masked_loss(model, symbols, generator):
    hidden = hide(symbols, generator)
    logits, *_ = model(symbols.masked_fill(hidden, N_BINS))
    return cross_entropy(logits[hidden], symbols[hidden])


def train(symbols, n_steps, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = MaskedModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=n_steps)
    for _ in range(n_steps):
        batch = symbols[torch.randint(len(symbols), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        masked_loss(model, batch, generator).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def separation(strength, truth):
    """AUROC of joined against other pairs."""
    joined = [truth.has_edge(int(i), int(j)) for i, j in zip(*PAIRS, strict=True)]
    return roc_auc_score(joined, np.asarray(strength)[PAIRS])


def given_all_others(test):
    """(n, n) absolute partial correlations given all other nodes; those that cannot be had count as 1."""
    precision = np.linalg.pinv(test.correlation_matrix)
    scale = np.sqrt(np.abs(np.diag(precision)))
    return np.abs(precision) / np.outer(scale, scale)


def scores(test, truth, dag, rng):
    return scores_of(icd(test), test, truth, dag, rng)


def scores_of(found, test, truth, dag, rng):
    """Of the graph that was found by the test."""
    chance = pd.DataFrame([compare(shuffled(found, rng), truth) for _ in range(10)]).mean()
    return {"n_found": len(found.edges), **compare(found, truth), "claims_right": claims_right(found, dag),
            "chance_edge_f1": chance["edge_f1"], "chance_mark_f1": chance["mark_f1"],
            "auroc": separation(given_all_others(test), truth)}  # fmt: skip


def rows_of(kind, seed, n_steps):
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    dag = random_graph(kind, rng)
    truth = icd(oracle_independence(dag, list(range(N_OBSERVED))))
    values = sample(dag, N_TRAIN + N_TEST, 0.0, seed)
    symbols = to_symbols(values, values[:N_TRAIN])
    start = time.perf_counter()
    model = train(symbols[:N_TRAIN], n_steps, seed)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        test_loss = masked_loss(model, symbols[N_TRAIN:], torch.Generator().manual_seed(0)).item()
        _, embeddings, attentions = model(symbols[N_TRAIN:])
    ideal = ideal_loss(values[N_TRAIN:], values[:N_TRAIN], torch.Generator().manual_seed(0))
    about = {"graph": kind, "seed": seed, "n_edges": len(truth.edges), "seconds": round(seconds, 1),
             "test_loss": test_loss, "ideal_loss": ideal}  # fmt: skip

    def row(reading, layer, tests):
        return {**about, "reading": reading, "layer": layer, **pd.DataFrame(tests).mean().to_dict()}

    covariance = samples_independence(values[N_TRAIN : N_TRAIN + 1000], alpha=ALPHA)
    yield row("covariance of the data", np.nan, [scores(covariance, truth, dag, rng)])
    for layer in range(N_LAYERS):
        attention = attentions[layer].double().numpy()  # (sequence, head, query, key)
        embedding = embeddings[layer].double().numpy()  # (sequence, token, width)
        heads = range(N_HEADS)
        yield row("ABCD, one sequence", layer, [
            scores(attention_independence(attention[s, h], WIDTH, alpha=ALPHA), truth, dag, rng)
            for s in range(N_READ) for h in heads
        ])  # fmt: skip
        yield row("ABCD, mean attention", layer, [
            scores(attention_independence(attention[:, h].mean(axis=0), WIDTH, alpha=ALPHA), truth, dag, rng)
            for h in heads
        ])  # fmt: skip
        yield row("embeddings, one sequence", layer, [
            scores(embedding_independence(embedding[s], alpha=ALPHA), truth, dag, rng) for s in range(N_READ)
        ])  # fmt: skip
        mean = attention.mean(axis=0)
        yield row("attention itself", layer, [{"auroc": separation(mean[h] + mean[h].T, truth)} for h in heads])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=2, help="of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "abcd_trained.csv")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(arguments.graphs):
        for kind in KINDS:
            rows += rows_of(kind, 2100 + k, arguments.steps)
            table = pd.DataFrame(rows).round(4)
            sweep.write_table(table, arguments.out)  # after every model, so that what is done is kept
            print(kind, 2100 + k, f"{rows[-1]['seconds']} s, test loss {rows[-1]['test_loss']:.3f}",
                  f"(ideal {rows[-1]['ideal_loss']:.3f})", flush=True)
    shown = ["n_found", "edge_precision", "edge_recall", "edge_f1", "chance_edge_f1", "mark_f1", "chance_mark_f1",
             "claims_right", "auroc"]  # fmt: skip
    print(table.groupby(["reading", "layer"], dropna=False)[shown].mean().round(3).to_string())
    write_provenance(table, arguments.out, arguments.steps)


def write_provenance(table, path, n_steps):
    provenance = {
        "table": path.name,
        "written_by": "benchmarks/abcd_trained.py",
        "what": "graphs read out of transformers trained on symbols of linear-Gaussian models, against the graph that "
        "an oracle gives ICD; means over sequences and heads",
        "models": int(table.groupby(["graph", "seed"]).ngroups),
        "training_steps": n_steps,
        "sequences_read": N_READ,
        "assumed_sample_size": WIDTH,
        "alpha": ALPHA,
        "seeds": f"{table['seed'].min()} to {table['seed'].max()}",
        "torch": torch.__version__,
    }
    sweep.write_provenance(path, provenance)


if __name__ == "__main__":
    main()

"""What does the symmetric product of attention with itself say of neurons that drive each other, and of direction?

    CAUSALKIT_REFERENCE_DATA=... causalkit sweep benchmarks/figure2_causalformer.yaml --store _build/figure2
    CAUSALKIT_REFERENCE_DATA=... python benchmarks/abcd_neurons.py

Reads the attention A of the Causalformers of figure 2 (ten seeds, preset fast, [target, source]) on the paper's own
networks; trains nothing. ABCD takes A Aᵀ for the covariance of linear neurons; the co-input graph is the same product.
A forecast does not attend from a neuron to itself here, so the neuron itself enters as one: I + A, A over its largest
entry.

Columns of book/results/abcd_neurons.csv, one row a network, off the diagonal, chance .5 but for `co_input_r`:
`directed`: AUROC of A against the wiring; `joined_sum`, `joined_product`, `joined_partial`: AUROC, for pairs that a
connection joins either way, of A + Aᵀ, of (I + A)(I + A)ᵀ, and of its absolute partial correlations given all other
neurons; `direction`: of pairs joined one way, how often the larger of A's two entries is that way; `co_input_r`:
Spearman's correlation of A Aᵀ with |W| |W|ᵀ, shared inputs in truth, and `co_input_null`, the same of A with its rows
shuffled by themselves; `abcd_f1`: F1 of ABCD's edges (size assumed 64, alpha .01) against the joined pairs, and
`abcd_chance`, that of the same graphs with neurons shuffled; `abcd_arrows`: of ABCD's edges with one arrow, between
pairs joined one way, how many point that way (missing: there is none).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from linear_gaussian import shuffled
from scipy import stats
from sklearn.metrics import roc_auc_score

import causalkit.sweep as sweep
from causalkit import co_input
from causalkit.discovery import attention_independence, icd
from causalkit.discovery.pag import ARROW

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "benchmarks" / "figure2_causalformer.yaml"
SIZE, ALPHA, N_SHUFFLES = 64, 0.01, 20


def attention_of(result):
    """(target, source), 0 on the diagonal, 1 at its largest."""
    attention = np.nan_to_num(result.score.transpose("target", "source").values)
    return attention / attention.max()


def row_of(result, rng):
    attention, wiring = attention_of(result), result.truth.transpose("target", "source").values
    n = len(wiring)
    upper, off = np.triu_indices(n, 1), ~np.eye(n, dtype=bool)
    connected = wiring != 0
    joined = (connected | connected.T)[upper]
    with_self = np.eye(n) + attention
    test = attention_independence(with_self, SIZE, alpha=ALPHA)
    precision = np.abs(np.linalg.pinv(test.correlation_matrix))
    product = co_input(with_self)
    product /= np.sqrt(np.outer(product.diagonal(), product.diagonal()))
    one_way = connected & ~connected.T
    pag, pairs = icd(test), set(zip(*(part.tolist() for part in upper), strict=True))
    truth = {pair for pair, there in zip(zip(*upper, strict=True), joined, strict=True) if there}
    row = {
        "n_neurons": n,
        "joined_pairs": float(joined.mean()),
        "directed": auroc(connected[off], attention[off]),
        "joined_sum": auroc(joined, (attention + attention.T)[upper]),
        "joined_product": auroc(joined, product[upper]),
        "joined_partial": auroc(joined, (precision / np.sqrt(np.outer(*[precision.diagonal()] * 2)))[upper]),
        "direction": float((attention > attention.T)[one_way].mean()) if one_way.any() else np.nan,
        "co_input_r": co_input_correlation(attention, wiring),
        "co_input_null": np.mean([
            co_input_correlation(shuffled_rows(attention, rng), wiring) for _ in range(N_SHUFFLES)
        ]),
        "abcd_edges": len(pag.edges) / len(pairs),
        "abcd_f1": f1(pag, truth),
        "abcd_chance": np.mean([f1(shuffled(pag, rng), truth) for _ in range(N_SHUFFLES)]),
    }  # fmt: skip
    single = [edge for edge in pag.edges if (edge.mark_u == ARROW) != (edge.mark_v == ARROW)]
    arrows = [(edge.u, edge.v) if edge.mark_v == ARROW else (edge.v, edge.u) for edge in single]
    told = [one_way[v, u] for u, v in arrows if one_way[v, u] or one_way[u, v]]
    return row | {"abcd_arrows": float(np.mean(told)) if told else np.nan}


def auroc(there, score):
    return roc_auc_score(there, score) if there.any() and not there.all() else np.nan


def co_input_correlation(attention, wiring):
    upper = np.triu_indices(len(wiring), 1)
    if np.ptp(co_input(np.abs(wiring))[upper]) == 0:
        return np.nan  # all pairs share as much
    return stats.spearmanr(co_input(attention)[upper], co_input(np.abs(wiring))[upper]).statistic


def shuffled_rows(attention, rng):
    """Every target attends as much as before, but to others; never to itself."""
    out = np.zeros_like(attention)
    for target, row in enumerate(attention):
        others = np.arange(len(row)) != target
        out[target, others] = rng.permutation(row[others])
    return out


def f1(pag, truth):
    found = {tuple(sorted(edge[:2])) for edge in pag.edges}
    return 2 * len(found & truth) / max(len(found) + len(truth), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "_build" / "figure2")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "abcd_neurons.csv")
    arguments = parser.parse_args()
    store, rows = sweep.Store(arguments.store), []
    for unit, result in sweep.results(store, sweep.units(sweep.read_grid(GRID))):
        if result.attrs["surrogate"] == "none":
            rng = np.random.default_rng(0)
            rows.append({"model": unit.label, "network": result.attrs["network"], **row_of(result, rng)})
    if not rows:
        raise SystemExit(f"{arguments.store} has no finished Causalformer: run the sweep above first")
    table = pd.DataFrame(rows).round(4)
    sweep.write_table(table, arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/abcd_neurons.py",
        "what": "attention of Causalformers on the paper's networks, its product with itself, and ABCD of it",
        "networks": int(table.network.nunique()),
        "assumed_sample_size": SIZE,
        "alpha": ALPHA,
        "shuffles": N_SHUFFLES,
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")
    print(table.groupby(["model", "n_neurons"]).mean(numeric_only=True).round(3).T.to_string())
    print(table.groupby("model").mean(numeric_only=True).round(3).T.to_string())


if __name__ == "__main__":
    main()

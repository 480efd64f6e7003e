"""What does the symmetric product of attention with itself say of neurons that drive each other, and of direction?

    CAUSALKIT_REFERENCE_DATA=... causalkit sweep benchmarks/figure2_causalformer.yaml --store _build/figure2
    CAUSALKIT_REFERENCE_DATA=... causalkit sweep benchmarks/abcd_neurons.yaml --store _build/abcd_neurons
    CAUSALKIT_REFERENCE_DATA=... python benchmarks/abcd_neurons.py
    python benchmarks/abcd_neurons.py --add  # keep the rows of networks that the stores no longer hold

Reads the attention A [target, source] of the Causalformers of figure 2 (ten seeds, preset fast) and of decoder-only
transformers (two seeds, attention added up over lags) on the paper's own networks; trains nothing. ABCD takes A Aᵀ for
the covariance of linear neurons; the co-input graph is the same product. What a forecast attends to of a neuron's own
past is left out (the Causalformers do not attend to it at all), and the neuron itself enters as one: I + A, A over its
largest entry.

Time is known: what is attended to is past. So ABCD is also read with each neuron twice, past and now. Past neurons are
noise, present ones the sum I + A of them and noise of their own, and nothing now causes what is past.

Columns of book/results/abcd_neurons.csv, one row a network, off the diagonal, chance .5 but for `co_input_r`:
`directed`: AUROC of A against the wiring; `joined_sum`, `joined_product`, `joined_partial`: AUROC, for pairs that a
connection joins either way, of A + Aᵀ, of (I + A)(I + A)ᵀ, and of its absolute partial correlations given all other
neurons; `direction`: of pairs joined one way, how often the larger of A's two entries is that way; `co_input_r`:
Spearman's correlation of A Aᵀ with |W| |W|ᵀ, shared inputs in truth, and `co_input_null`, the same of A with its rows
shuffled by themselves; `abcd_f1`: F1 of ABCD's edges (size assumed 64, alpha .01) against the joined pairs, and
`abcd_chance`, that of the same graphs with neurons shuffled; `abcd_arrows`: of ABCD's edges with one arrow, between
pairs joined one way, how many point that way (missing: there is none); `timed_f1`: F1 of ABCD's edges from past to
present against the wiring, direction counted, `timed_chance`, that of the same edges with neurons shuffled, and
`timed_arrows`: of those between pairs joined one way, how many point that way. `gradients`: AUROC of the gradient
energy of the decoder-only transformer, its own score, against the wiring; `test_r2`: of the forecasts, mean of neurons.
"""

import argparse
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
GRIDS = {"figure2": "figure2_causalformer.yaml", "abcd_neurons": "abcd_neurons.yaml"}  # store: grid
SIZE, ALPHA, N_SHUFFLES, LARGEST = 64, 0.01, 20, 1


def attention_of(result):
    """(target, source), 0 on the diagonal, 1 at its largest."""
    of_lags = result.get("attention_lag_score")
    attention = result.score if of_lags is None else of_lags.sum("lag")
    attention = np.nan_to_num(attention.transpose("target", "source").values)
    np.fill_diagonal(attention, 0)
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
    row["abcd_arrows"] = share_right(arrows, one_way)
    row |= timed_row(attention, connected, one_way, np.random.default_rng(1))
    if "attention_lag_score" in result:
        row["gradients"] = auroc(connected[off], result.score.transpose("target", "source").values[off])
    return row | {"test_r2": float(result.ensemble_test_r2.mean()) if "ensemble_test_r2" in result else np.nan}


def share_right(arrows, one_way):
    """Of arrows (source, target) between pairs joined one way, how many point that way."""
    told = [one_way[v, u] for u, v in arrows if one_way[v, u] or one_way[u, v]]
    return float(np.mean(told)) if told else np.nan


def timed_row(attention, connected, one_way, rng):
    """ABCD of neurons past and present, whose time is known."""
    n = len(attention)
    found = timed_edges(attention)
    truth = set(zip(*(part.tolist() for part in np.nonzero(connected.T)), strict=True))  # (source, target)

    def f1_of(edges):
        return 2 * len(edges & truth) / max(len(edges) + len(truth), 1)

    def shuffled_once():
        names = rng.permutation(n).tolist()
        return {(names[u], names[v]) for u, v in found}

    return {
        "timed_f1": f1_of(found),
        "timed_chance": np.mean([f1_of(shuffled_once()) for _ in range(N_SHUFFLES)]),
        "timed_arrows": share_right(found, one_way),
    }


def timed_edges(attention):
    """Edges (source, target) from the past of a neuron to the present of another."""
    n = len(attention)
    nodes = [(k, lag) for lag in (1, 0) for k in range(n)]
    total = np.eye(2 * n)
    total[n:, :n] = np.eye(n) + attention  # what each node is made of, [node, noise]
    test = attention_independence(total, SIZE, alpha=ALPHA, nodes=nodes)
    pag = icd(test, order={node: -node[1] for node in nodes}, max_conditioning_size=LARGEST)
    joined = (sorted(edge[:2], key=lambda node: -node[1]) for edge in pag.edges)
    return {(past[0], now[0]) for past, now in joined if past[1] > now[1] and past[0] != now[0]}


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


def rows_of_stores(folder):
    """Rows of all finished models of the two sweeps; their grids are only read where there is a store."""
    for name, grid in GRIDS.items():
        if (folder / name).exists():
            units = sweep.units(sweep.read_grid(ROOT / "benchmarks" / grid))
            for unit, result in sweep.results(sweep.Store(folder / name), units):
                if result.attrs["surrogate"] == "none":
                    about = {"model": unit.label, "network": result.attrs["network"]}
                    yield about | row_of(result, np.random.default_rng(0))


def table_of(rows, path, add):
    """The rows as a table; with `add` after the earlier rows that they say nothing new of, be they none."""
    table = pd.DataFrame(rows).round(4)
    if not add:
        return table
    return pd.read_csv(path) if table.empty else sweep.with_earlier_rows(table, path, same=["model", "network"])


def provenance_of(table, name):
    return {
        "table": name,
        "written_by": "benchmarks/abcd_neurons.py",
        "what": "attention of Causalformers and decoder-only transformers on the paper's networks, its product with "
        "itself, and ABCD of it",
        "networks": {model: int(n) for model, n in table.groupby("model").network.nunique().items()},
        "assumed_sample_size": SIZE,
        "alpha": ALPHA,
        "shuffles": N_SHUFFLES,
        "largest_set_of_timed_search": LARGEST,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, default=ROOT / "_build", help="folder of both (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "abcd_neurons.csv")
    parser.add_argument("--add", action="store_true", help="keep the rows of the table that the stores lack")
    arguments = parser.parse_args()
    table = table_of(rows_of_stores(arguments.stores), arguments.out, arguments.add)
    if table.empty:
        raise SystemExit(f"{arguments.stores} holds no finished model: run the sweeps first (see --help)")
    sweep.write_table(table, arguments.out)
    sweep.write_provenance(arguments.out, provenance_of(table, arguments.out.name))
    print(table.groupby(["model", "n_neurons"]).mean(numeric_only=True).round(3).T.to_string())
    print(table.groupby("model").mean(numeric_only=True).round(3).T.to_string())


if __name__ == "__main__":
    main()

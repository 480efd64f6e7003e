"""How much of a causal graph do finite data give back? ICD on linear-Gaussian models, against what an oracle finds.

    python benchmarks/linear_gaussian.py

Ten observed nodes. Four kinds of graph: a random one (two neighbors each on average), a tree, a scale-free one, and a
random one with three hidden causes of two nodes each. Weights .3 to 1 with a sign by coin, noise of variance 1. What is
seen may be blurred: measurement noise of 0, .3 or .6 times a node's standard deviation, which hides every node behind
its reading. 200, 1,000 or 5,000 samples. ICD as published, and without trust in its own arrows. Beside each graph its
chance: the same graph with its nodes shuffled, mean of ten. Writes book/results/linear_gaussian.csv, one row a graph
and setting, and its provenance. `claims_right`: of all arrows and tails, those that the true causes bear out, also on
edges that should not be there.
"""

import argparse
from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from causalkit import simulate, sweep
from causalkit.discovery import PAG, compare, icd, oracle_independence, samples_independence
from causalkit.discovery.pag import CIRCLE, TAIL

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("random", "tree", "scale-free", "hidden")
N_OBSERVED, N_HIDDEN, ALPHA = 10, 3, 0.01
BLUR, N_SAMPLES = (0.0, 0.3, 0.6), (200, 1000, 5000)


def random_graph(kind, rng):
    """A directed acyclic graph; nodes 0 to 9 are observed, others hidden."""
    order = rng.permutation(N_OBSERVED).tolist()
    if kind == "tree":
        edges = [(order[int(rng.integers(k))], order[k]) for k in range(1, N_OBSERVED)]
    elif kind == "scale-free":
        undirected = nx.barabasi_albert_graph(N_OBSERVED, 2, seed=int(rng.integers(2**31)))
        edges = [(order[min(pair)], order[max(pair)]) for pair in undirected.edges]
    else:
        edges = [pair for pair in combinations(order, 2) if rng.random() < 2 / (N_OBSERVED - 1)]
    dag = nx.DiGraph(edges)
    dag.add_nodes_from(range(N_OBSERVED))
    for node in range(N_OBSERVED, N_OBSERVED + N_HIDDEN * (kind == "hidden")):
        dag.add_edges_from((node, int(effect)) for effect in rng.choice(N_OBSERVED, 2, replace=False))
    return dag


def sample(dag, n_samples, blur, seed):
    """(n_samples, 10) observed values."""
    values = simulate.linear_gaussian(dag, n_samples, seed)["value"].sel(node=range(N_OBSERVED)).values
    noise = np.random.default_rng([seed, 1]).standard_normal(values.shape)
    return values + blur * values.std(axis=0) * noise


def claims_right(pag, dag):
    """Share of arrows and tails that the graph bears out; NaN where there are none."""
    causes = {node: nx.ancestors(dag, node) for node in dag}
    marks = [(u, v, data["mark"]) for u, v, data in pag.graph.edges(data=True) if data["mark"] != CIRCLE]
    return np.mean([(v in causes[u]) == (mark == TAIL) for u, v, mark in marks]) if marks else np.nan


def shuffled(pag, rng):
    """The same graph, its nodes exchanged."""
    names = dict(zip(pag.nodes, rng.permutation(pag.nodes).tolist(), strict=True))
    return PAG(pag.nodes, [(names[e.u], names[e.v], e.mark_u, e.mark_v) for e in pag.edges])


def rows_of(kind, seed):
    dag = random_graph(kind, np.random.default_rng([seed, KINDS.index(kind)]))
    truth = icd(oracle_independence(dag, list(range(N_OBSERVED))))
    for blur in BLUR:
        for n_samples in N_SAMPLES:
            rng = np.random.default_rng(seed)
            test = samples_independence(sample(dag, n_samples, blur, seed), alpha=ALPHA)
            for trust_arrows in (True, False):
                found = icd(test, trust_arrows=trust_arrows)
                chance = pd.DataFrame([compare(shuffled(found, rng), truth) for _ in range(10)]).mean()
                yield {"graph": kind, "seed": seed, "blur": blur, "n_samples": n_samples, "trust_arrows": trust_arrows,
                       "n_edges": len(truth.edges), "n_found": len(found.edges), **compare(found, truth),
                       "claims_right": claims_right(found, dag), "chance_edge_f1": chance["edge_f1"],
                       "chance_mark_f1": chance["mark_f1"], "n_tests": sum(found.n_tests.values()),
                       "largest_set": max(found.n_tests)}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=20, help="of each kind (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "linear_gaussian.csv")
    arguments = parser.parse_args()
    table = pd.DataFrame([
        row for kind in KINDS for k in range(arguments.graphs) for row in rows_of(kind, 2000 + k)
    ]).round(4)  # fmt: skip
    shown = ["edge_precision", "edge_recall", "edge_f1", "chance_edge_f1", "mark_f1", "chance_mark_f1", "claims_right",
             "n_tests"]  # fmt: skip
    for by in (["trust_arrows"], ["trust_arrows", "graph"], ["trust_arrows", "n_samples"], ["trust_arrows", "blur"]):
        print(table.groupby(by)[shown].mean().round(3).to_string(), end="\n\n")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sweep.write_table(table, arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/linear_gaussian.py",
        "what": "ICD on samples of linear-Gaussian models, against the graph that an oracle gives ICD",
        "graphs_of_each_kind": arguments.graphs,
        "alpha": ALPHA,
        "seeds": f"2000 to {1999 + arguments.graphs}",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

"""What becomes of ICD's graph where its assumptions do not hold: straight lines, faithfulness, distinct variables?

    python benchmarks/violations.py

Random graphs of ten observed nodes (linear_gaussian.py), the same in each world:

- linear: as simulated there.
- bent: every cause works through tanh(2 x).
- even: every cause works through (x² - 1) / √2, which no correlation sees.
- cancelling: wherever a → b → c, a direct a → c is added whose effect undoes nine tenths of the path's: not faithful.
- colliding: in two pairs of nodes, one is the other plus noise of a twentieth of its size, as where two tokens have
  nearly one embedding. What one explains, the other explains.

ICD on partial correlations, without trust in its own arrows, alpha .01. The truth is what an oracle gives ICD on the
world's own graph. Writes book/results/violations.csv, one row a graph, world and size, and its provenance.
"""

import argparse
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from linear_gaussian import ALPHA, N_OBSERVED, claims_right, random_graph, shuffled

from causalkit import sweep
from causalkit.discovery import compare, icd, oracle_independence, samples_independence

ROOT = Path(__file__).resolve().parents[1]
WORLDS = ("linear", "bent", "even", "cancelling", "colliding")
N_SAMPLES, CANCELLED, APART, N_PAIRS = (1000, 10_000), 0.9, 0.05, 2
LINKS = {"bent": lambda x: np.tanh(2 * x), "even": lambda x: (x**2 - 1) / np.sqrt(2)}


def world(name, seed):
    """The weights of a graph, as attributes of its edges, and the spread of each node's noise."""
    rng = np.random.default_rng([seed, 0])
    dag = random_graph("random", rng)
    for edge in dag.edges:
        dag.edges[edge]["weight"] = rng.choice([-1, 1]) * rng.uniform(0.3, 1)
    noise = dict.fromkeys(dag, 1.0)
    if name == "cancelling":
        original = dag.copy()
        for a in original:
            for b in original[a]:
                for c in original[b]:
                    path = original[a][b]["weight"] * original[b][c]["weight"]
                    before = dag.get_edge_data(a, c, {"weight": 0.0})["weight"]
                    if not original.has_edge(a, c):
                        dag.add_edge(a, c, weight=before - CANCELLED * path)
    if name == "colliding":
        for copy, of in rng.permutation(N_OBSERVED)[: 2 * N_PAIRS].reshape(-1, 2).tolist():
            dag.remove_edges_from(list(dag.in_edges(copy)))
            if nx.has_path(dag, copy, of):  # a copy comes after what it copies
                dag.remove_edges_from(list(dag.out_edges(copy)))
            dag.add_edge(of, copy, weight=1.0)
            noise[copy] = APART
    return dag, noise


def sample(name, dag, noise, n_samples, seed):
    """(n_samples, 10) values."""
    rng, link = np.random.default_rng([seed, 1]), LINKS.get(name, lambda x: x)
    values = np.zeros((n_samples, N_OBSERVED))
    for node in nx.lexicographical_topological_sort(dag):
        values[:, node] = noise[node] * rng.standard_normal(n_samples)
        for cause in dag.predecessors(node):
            values[:, node] += dag[cause][node]["weight"] * link(values[:, cause])
    return values


def rows_of(name, seed):
    dag, noise = world(name, seed)
    truth = icd(oracle_independence(dag, list(range(N_OBSERVED))))
    for n_samples in N_SAMPLES:
        values = sample(name, dag, noise, n_samples, seed)
        found = icd(samples_independence(values, alpha=ALPHA), trust_arrows=False)
        rng = np.random.default_rng(seed)
        chance = pd.DataFrame([compare(shuffled(found, rng), truth) for _ in range(10)]).mean()
        yield {"world": name, "seed": seed, "n_samples": n_samples, "n_edges": len(truth.edges),
               "n_found": len(found.edges), **compare(found, truth), "claims_right": claims_right(found, dag),
               "chance_edge_f1": chance["edge_f1"], "chance_mark_f1": chance["mark_f1"]}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=20, help="of each world (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "violations.csv")
    arguments = parser.parse_args()
    table = pd.DataFrame(
        [row for name in WORLDS for k in range(arguments.graphs) for row in rows_of(name, 3100 + k)]
    ).round(4)
    shown = ["n_edges", "n_found", "edge_precision", "edge_recall", "edge_f1", "chance_edge_f1", "mark_f1",
             "chance_mark_f1", "claims_right"]  # fmt: skip
    print(table.groupby(["world", "n_samples"], sort=False)[shown].mean().round(2).to_string())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sweep.write_table(table, arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/violations.py",
        "what": "ICD where its assumptions do not hold, against the graph that an oracle gives ICD",
        "graphs_of_each_world": arguments.graphs,
        "alpha": ALPHA,
        "seeds": f"3100 to {3099 + arguments.graphs}",
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

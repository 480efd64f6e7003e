"""Does iterative causal discovery (ICD) find what can be found, and with how many tests?

    python benchmarks/icd.py            # the parts that need causalkit alone
    python benchmarks/icd.py --fci      # also beside causal-learn's FCI (pip install causal-learn)

All independences come from an oracle: d-separation in a random directed acyclic graph with hidden nodes. Writes
book/results/icd.csv, one row a graph and part, and its provenance, icd.json:

- brute force: up to 5 observed nodes; equal to what all Markov-equivalent graphs have in common?
- selection: the same, where one to four nodes selected the data.
- known order: the same with the time of each node known; `sound`: no mark that some graph of the class lacks.
- FCI: 6 to 10 observed nodes; equal to causal-learn's graph? Where not, brute force decides if it can, and
  `contradicts_truth` says whether a mark is not that of the true graph.
- rounds: 6 to 14 nodes, nothing hidden, so that `sound` says that all edges are right, and `wrong_between` counts
  marks that any round set against the true causes.
- speed: 50 nodes, three neighbors each on average; without hidden nodes `sound` and `wrong_between` as above.

Tests are counted by the size of the conditioning set: those of ICD, of ICD that removes edges at once, of ICD that
does not trust arrows ("wary"), of the skeleton of PC-stable (written here), and of FCI. FCI's counts are its
different questions: it asks some of them twice.
"""

import argparse
import contextlib
import io as text
import json
import platform
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from markov_equivalence import maximal_ancestral_graph, partial_ancestral_graph

from causalkit import sweep
from causalkit.discovery import PAG, icd, oracle_independence, orientation
from causalkit.discovery.pag import ARROW, CIRCLE, TAIL

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 13  # edges up to which brute force lists all graphs of more than five nodes


def random_world(seed, n_observed=None, n_latent=None, selection=False):
    """A random graph: (dag, observed, selected). Some nodes are hidden, one to four may have selected the data."""
    rng = np.random.default_rng(seed)
    n_observed = int(rng.integers(3, 6)) if n_observed is None else n_observed
    n_latent = int(rng.integers(0, 4)) if n_latent is None else n_latent
    n_nodes = n_observed + n_latent
    dag = nx.DiGraph()
    dag.add_nodes_from(range(n_nodes))
    order = rng.permutation(n_nodes)
    density = rng.choice([0.2, 0.3, 0.5, 0.7]) if n_observed < 6 else rng.uniform(1.5, 3) / (n_nodes - 1)
    dag.add_edges_from((int(i), int(j)) for i, j in combinations(order, 2) if rng.random() < density)
    selected = list(range(n_nodes, n_nodes + selection * int(rng.integers(1, 5))))
    for node in selected:
        dag.add_edges_from((int(i), node) for i in rng.choice(n_nodes, 2, replace=False))
    return dag, list(range(n_observed)), selected


def pc_stable_counts(test, nodes):
    """Tests of the skeleton of PC-stable (Colombo and Maathuis 2014): sets from the neighbors of either endpoint."""
    near = {node: set(nodes) - {node} for node in nodes}
    counts = Counter()
    for size in range(len(nodes) - 1):
        before = {node: sorted(near[node]) for node in nodes}
        if all(len(before[node]) - 1 < size for node in nodes):
            break
        for u, v in combinations(nodes, 2):
            if v not in near[u]:
                continue
            sets = dict.fromkeys(
                given for a, b in ((u, v), (v, u)) for given in combinations([w for w in before[a] if w != b], size)
            )
            for given in sets:
                counts[size] += 1
                if test(u, v, given):
                    near[u].discard(v)
                    near[v].discard(u)
                    break
    return dict(counts)


def causal_learn_fci(dag, observed):
    """Graph and counts of causal-learn's FCI under the same oracle."""
    from causallearn.graph.Endpoint import Endpoint
    from causallearn.search.ConstraintBased import FCI
    from causallearn.utils.cit import D_Separation

    asked = set()

    class Counted(D_Separation):
        def __call__(self, x, y, condition_set=None):
            given = () if condition_set is None else tuple(int(i) for i in condition_set)
            asked.add((frozenset((int(x), int(y))), frozenset(given)))
            return super().__call__(x, y, condition_set)

    make = FCI.CIT
    FCI.CIT = lambda data, method, **kwargs: Counted(data, **kwargs)
    try:
        with contextlib.redirect_stdout(text.StringIO()):
            graph, _ = FCI.fci(np.zeros((1000, len(observed))), "d_separation", true_dag=dag, show_progress=False)
    finally:
        FCI.CIT = make
    marks = {Endpoint.CIRCLE.name: CIRCLE, Endpoint.ARROW.name: ARROW, Endpoint.TAIL.name: TAIL}
    pag = PAG(observed)
    for edge in graph.get_graph_edges():
        u, v = (int(node.get_name()[1:]) - 1 for node in (edge.get_node1(), edge.get_node2()))
        pag.add_edge(observed[u], observed[v], marks[edge.get_endpoint1().name], marks[edge.get_endpoint2().name])
    return pag, dict(Counter(len(given) for _, given in asked))


def wrong_marks_between_rounds(dag, test, at_once):
    """Arrows and tails set in any round of a search that the true graph contradicts."""
    causes = {node: nx.ancestors(dag, node) for node in dag}
    wrong = []
    put = orientation._Rules.put

    def watched(rules, u, v, mark):
        if rules.mark(u, v) == CIRCLE and (v in causes[u]) != (mark == TAIL):
            wrong.append((u, v, mark))
        return put(rules, u, v, mark)

    orientation._Rules.put = watched
    try:
        pag = icd(test, at_once=at_once)
    finally:
        orientation._Rules.put = put
    return pag, len(set(wrong))


def is_sound(found, truth):
    """Every mark of `found` that is no circle is in the truth; same skeleton."""
    same = {frozenset(e[:2]) for e in found.edges} == {frozenset(e[:2]) for e in truth.edges}
    return same and all(
        found.mark(*ends) in (CIRCLE, truth.mark(*ends)) for e in found.edges for ends in ((e.u, e.v), (e.v, e.u))
    )


def row(part, seed, dag, observed, **values):
    return {"part": part, "seed": seed, "n_observed": len(observed), "n_nodes": len(dag),
            "n_edges": dag.number_of_edges(), **values}  # fmt: skip


def counted(name, counts):
    """Columns: all tests, their mean conditioning size, and tests of each size as JSON."""
    n = sum(counts.values())
    mean = sum(size * count for size, count in counts.items()) / n
    return {f"{name}_tests": n, f"{name}_size": round(mean, 4), f"{name}_by_size": json.dumps(counts, sort_keys=True)}


def brute_force(seed, selection=False, **sizes):
    dag, observed, selected = random_world(seed, selection=selection, **sizes)
    truth = partial_ancestral_graph(maximal_ancestral_graph(dag, observed, selected), selection)
    test = oracle_independence(dag, observed, selected=selected)
    found, once, wary = icd(test), icd(test, at_once=True), icd(test, trust_arrows=False)
    return row("selection" if selection else "brute force", seed, dag, observed, equal=found.same_as(truth),
               sound=is_sound(found, truth), at_once_equal=once.same_as(truth), wary_equal=wary.same_as(truth),
               **counted("icd", found.n_tests),
               **counted("at_once", once.n_tests), **counted("wary", wary.n_tests),
               **counted("pc", pc_stable_counts(test, observed)))  # fmt: skip


def known_order(seed):
    """Tiers of one to three nodes, in an order that agrees with the graph."""
    dag, observed, _ = random_world(seed)
    rng = np.random.default_rng(seed)
    times = dict(zip(nx.topological_sort(dag), np.sort(rng.integers(0, 3, len(dag))).tolist(), strict=True))
    truth = partial_ancestral_graph(maximal_ancestral_graph(dag, observed), selection=False, order=times)
    found = icd(oracle_independence(dag, observed), order=times)
    return row("known order", seed, dag, observed, equal=found.same_as(truth), sound=is_sound(found, truth),
               **counted("icd", found.n_tests))  # fmt: skip


def beside_fci(seed):
    n_observed = 6 + seed % 5
    dag, observed, _ = random_world(seed, n_observed)
    test = oracle_independence(dag, observed)
    (found, wrong), (once, wrong_once) = (wrong_marks_between_rounds(dag, test, way) for way in (False, True))
    wary = icd(test, trust_arrows=False)
    fci, fci_counts = causal_learn_fci(dag, observed)
    values = {"fci_equal": found.same_as(fci), "at_once_equal": once.same_as(found), "wary_equal": wary.same_as(found)}
    mag = maximal_ancestral_graph(dag, observed) if not values["fci_equal"] else None
    if mag is not None:
        values |= {"contradicts_truth": not is_sound(found, mag), "fci_contradicts_truth": not is_sound(fci, mag)}
    if mag is not None and len(mag.edges) <= LARGEST:
        truth = partial_ancestral_graph(mag, selection=False)
        values |= {"equal": found.same_as(truth), "sound": is_sound(found, truth),
                   "fci_right": fci.same_as(truth)}  # fmt: skip
    return row("FCI", seed, dag, observed, **values, wrong_between=wrong, at_once_wrong_between=wrong_once,
               **counted("icd", found.n_tests), **counted("at_once", once.n_tests), **counted("wary", wary.n_tests),
               **counted("pc", pc_stable_counts(test, observed)), **counted("fci", fci_counts))  # fmt: skip


def rounds(seed):
    """Nothing hidden, so that the true causes judge every mark of every round. 6 to 14 nodes, three neighbors each."""
    rng = np.random.default_rng(seed)
    dag = nx.DiGraph()
    dag.add_nodes_from(range(6 + 2 * (seed % 5)))
    pairs = list(combinations(rng.permutation(len(dag)).tolist(), 2))
    dag.add_edges_from(pairs[k] for k in rng.choice(len(pairs), 3 * len(dag) // 2, replace=False))
    test = oracle_independence(dag)
    (found, wrong), (once, wrong_once) = (wrong_marks_between_rounds(dag, test, way) for way in (False, True))
    right = set(map(frozenset, found.skeleton().edges)) == set(map(frozenset, dag.edges))
    return row("rounds", seed, dag, list(dag), sound=right, at_once_equal=once.same_as(found), wrong_between=wrong,
               at_once_wrong_between=wrong_once, **counted("icd", found.n_tests),
               **counted("at_once", once.n_tests))  # fmt: skip


def speed(seed, n_nodes=50, n_edges=75, n_latent=0):
    rng = np.random.default_rng(seed)
    dag = nx.DiGraph()
    dag.add_nodes_from(range(n_nodes + n_latent))
    pairs = list(combinations(rng.permutation(n_nodes + n_latent).tolist(), 2))
    dag.add_edges_from(pairs[k] for k in rng.choice(len(pairs), n_edges * (n_nodes + n_latent) // n_nodes, False))
    observed = list(range(n_nodes))
    test = oracle_independence(dag, observed)
    start = time.perf_counter()
    found = icd(test)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    pc = pc_stable_counts(test, observed) if not n_latent else None
    values = {"pc_seconds": round(time.perf_counter() - start, 3), **counted("pc", pc)} if pc else {}
    if not n_latent:  # nothing is hidden: the edges are those of the graph itself
        values["sound"] = set(map(frozenset, found.skeleton().edges)) == set(map(frozenset, dag.edges))
        values["wrong_between"] = wrong_marks_between_rounds(dag, test, at_once=False)[1]
        once, values["at_once_wrong_between"] = wrong_marks_between_rounds(dag, test, at_once=True)
        values |= {"at_once_equal": once.same_as(found), **counted("at_once", once.n_tests)}
    return row("speed" if not n_latent else "speed, hidden", seed, dag, observed, seconds=round(seconds, 3),
               **counted("icd", found.n_tests), **values)  # fmt: skip


def summary(table):
    lines = []
    for part, rows in table.groupby("part", sort=False):
        lines.append(f"{part}: {len(rows)} graphs")
        for name in (name for name in rows if name.split("_")[-1] in ("equal", "sound", "right", "truth")):
            known = rows[name].dropna() if name in rows else []
            if len(known):
                lines.append(f"  {name}: {int(known.sum())} of {len(known)}")
        for name in ("wrong_between", "at_once_wrong_between"):
            if name in rows and rows[name].notna().any():
                lines.append(f"  {name}: {int(rows[name].sum())} marks in {int((rows[name] > 0).sum())} graphs")
        for name in ("icd", "at_once", "wary", "pc", "fci"):
            if f"{name}_tests" in rows and rows[f"{name}_tests"].notna().any():
                tests, size = rows[f"{name}_tests"], rows[f"{name}_size"]
                over_all = (tests * size).sum() / tests.sum()
                lines.append(f"  {name}: {tests.mean():.1f} tests a graph, mean conditioning size {over_all:.2f}")
        if rows["seconds"].notna().any():
            lines.append(f"  seconds: median {rows['seconds'].median():.2f}, longest {rows['seconds'].max():.2f}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=500, help="by brute force; a fifth as many in other parts")
    parser.add_argument("--fci", action="store_true", help="compare with causal-learn's FCI")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "icd.csv")
    arguments = parser.parse_args()
    few = max(arguments.graphs // 5, 1)
    jobs = [(brute_force, 2000 + k, {}) for k in range(arguments.graphs)]
    jobs += [(brute_force, 3000 + k, {"selection": True}) for k in range(few)]
    jobs += [(brute_force, 3500 + k, {"selection": True, "n_observed": 5, "n_latent": 0}) for k in range(few)]
    jobs += [(known_order, 4000 + k, {}) for k in range(few)]
    jobs += [(beside_fci, 5000 + k, {}) for k in range(few if arguments.fci else 0)]
    jobs += [(rounds, 8000 + k, {}) for k in range(arguments.graphs)]
    jobs += [(speed, 6000 + k, {}) for k in range(max(few // 10, 1))]
    jobs += [(speed, 7000 + k, {"n_latent": 10}) for k in range(max(few // 10, 1))]
    table = pd.DataFrame([job(seed, **options) for job, seed, options in jobs])
    print(summary(table))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sweep.write_table(table, arguments.out)
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/icd.py",
        "what": "partial ancestral graphs found by ICD with an oracle, against brute force and causal-learn's FCI",
        "summary": summary(table).splitlines(),
        "python": platform.python_version(),
        "networkx": nx.__version__,
    }
    if arguments.fci:
        from importlib.metadata import version

        provenance["causal-learn"] = version("causal-learn")
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

"""Are predictions explained by fewer and truer tokens if the tokens come from a causal graph of attention (CLEANN)?

    python benchmarks/cleann.py

Two tasks whose causes are known, because this script makes their data; a transformer of two layers, four heads and
width 64 learns each (that of abcd_trained.py).

- Recommendation: 48 items in six series of eight parts. A session follows two or three series, in each from some part
  on, without gaps, and mixes them; nine items, then the next one is masked. Causes: items of the same series as the
  recommended one.
- Sentiment: ten words of 40. Eight are good, eight are bad, two turn the next word around, the rest say nothing. The
  sum decides; sums of zero are left out. Causes: words that have a sign, and what turns them around.

Of sequences that were not trained on each prediction is explained: by CLEANN (the last layer's attention, mean of
heads; assumed sample size 64, the width, or 768, the authors'; alpha .01) and by rankings of the tokens, whose first,
first two, ... are masked: attention from the prediction, gradient times embedding, random order. Rankings try one set
of each size and CLEANN many, so two rows try all sets of a ranking, in order of size and then of the sum of ranks: the
search of CLEANN without its graph. "CLEANN, then all sets" is CLEANN (768), and where its graph holds no set that
changes the prediction, all sets in the order of attention.

Writes book/results/cleann.csv, one row a sequence and method, and its provenance. `size`: tokens of the explanation,
missing where none was found among sets of up to four; `replaced_by`: the rank that the new recommendation had before;
`causes`: share of the explanation's tokens that are causes; `asked`: predictions made for it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from abcd_trained import WIDTH, MaskedModel
from torch.nn.functional import cross_entropy

from causalkit import abcd, sweep
from causalkit.discovery import cleann, explain_by_rank
from causalkit.discovery.explanations import first_that_changes, sets_by_rank

ROOT = Path(__file__).resolve().parents[1]
SIZES = (WIDTH, 768)  # assumed of attention: the width of these models, and of the authors'
MAX_SIZE, ALPHA, BATCH = 4, 0.01, 128
THEN_ALL = "CLEANN, then all sets"
N_SERIES, N_PARTS, N_WATCHED = 6, 8, 9
GOOD, BAD, TURN, N_WORDS, N_SAID = range(0, 8), range(8, 16), (16, 17), 40, 10


class Recommendation:
    """Sessions of items; the next one is asked for at the last place."""

    n_symbols, n_places, n_out, target = N_SERIES * N_PARTS, N_WATCHED + 1, N_SERIES * N_PARTS, N_WATCHED

    def draw(self, n, rng):
        """Symbols (n, n_places), masked at the target, and the next item (n,)."""
        sessions = np.array([self.session(rng) for _ in range(n)])
        symbols = sessions.copy()
        symbols[:, -1] = self.n_symbols
        return symbols, sessions[:, -1]

    def session(self, rng):
        while True:
            series = rng.choice(N_SERIES, rng.integers(2, 4), replace=False)
            part = dict.fromkeys(series.tolist(), 0) | {int(s): int(rng.integers(0, 4)) for s in series}
            items = []
            for s in rng.choice(series, self.n_places).tolist():
                items.append(s * N_PARTS + part[s])
                part[s] += 1
            if max(part.values()) <= N_PARTS:
                return items

    def causes(self, symbols, prediction):
        return [k for k in range(N_WATCHED) if symbols[k] // N_PARTS == prediction // N_PARTS]


class Sentiment:
    """Sentences of words; good or bad is asked for at the first place."""

    n_symbols, n_places, n_out, target = N_WORDS, N_SAID + 1, 2, 0

    def draw(self, n, rng):
        """Symbols (n, n_places), masked at the target, and 1 for good sentences (n,)."""
        words = rng.integers(0, N_WORDS, (4 * n, N_SAID))
        turned = np.isin(np.roll(words, 1, axis=1), TURN)
        turned[:, 0] = False
        values = (np.isin(words, GOOD) * 1 - np.isin(words, BAD) * 1) * np.where(turned, -1, 1)
        total = values.sum(axis=1)
        words, total = words[total != 0][:n], total[total != 0][:n]
        return np.insert(words, 0, self.n_symbols, axis=1), (total > 0).astype(int)

    def causes(self, symbols, prediction):
        signed = [k for k in range(1, self.n_places) if symbols[k] in GOOD or symbols[k] in BAD]
        return signed + [k for k in range(1, self.n_places - 1) if symbols[k] in TURN and k + 1 in signed]


TASKS = {"recommendation": Recommendation(), "sentiment": Sentiment()}


def train(task, n_train, n_steps, seed):
    """Also some of the other tokens are masked: a model that never saw that would not know what a mask means."""
    rng = np.random.default_rng(seed)
    symbols, goals = (torch.as_tensor(part) for part in task.draw(n_train, rng))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = MaskedModel(task.n_symbols, task.n_places, task.n_out)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=n_steps)
    for _ in range(n_steps):
        chosen = torch.randint(len(symbols), (BATCH,), generator=generator)
        share = 0.5 * torch.rand(BATCH, 1, generator=generator)
        hidden = torch.rand(BATCH, task.n_places, generator=generator) < share
        logits, *_ = model(symbols[chosen].masked_fill(hidden, task.n_symbols))
        optimizer.zero_grad()
        cross_entropy(logits[:, task.target], goals[chosen]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def explained(model, task, symbols, rng):
    """Rows of one sequence."""
    symbols = torch.as_tensor(symbols)
    embedded = model.symbol(symbols[None]).detach().requires_grad_()
    logits, _, attentions = model.after_embedding(embedded)
    order = logits[0, task.target].argsort(descending=True).tolist()
    logits[0, task.target, order[0]].backward()
    gradient = (embedded.grad * embedded.detach())[0].sum(dim=-1).abs().numpy()
    attention = attentions[-1][0].mean(dim=0).detach().double().numpy()  # (query, key), mean over heads
    others = [k for k in range(task.n_places) if k != task.target]

    @torch.no_grad()
    def prediction_without(tokens):
        changed = symbols.clone()
        changed[list(tokens)] = task.n_symbols
        return int(model(changed[None])[0][0, task.target].argmax())

    def changes(tokens):
        return prediction_without(tokens) != order[0]

    def ranked(scores):
        return sorted(others, key=lambda k: -scores[k])

    by_attention, shuffled = ranked(attention[task.target]), rng.permutation(others).tolist()
    pags = {size: abcd(attention, size, alpha=ALPHA) for size in SIZES}
    found = {
        **{f"CLEANN, {n}": cleann(pag, task.target, changes, max_size=MAX_SIZE) for n, pag in pags.items()},
        "CLEANN, arrows trusted": cleann(pags[768], task.target, changes, max_size=MAX_SIZE, trust_arrows=True),
        "attention": explain_by_rank(by_attention[:MAX_SIZE], changes),
        "gradient": explain_by_rank(ranked(gradient)[:MAX_SIZE], changes),
        "random": explain_by_rank(shuffled[:MAX_SIZE], changes),
        "all sets, by attention": first_that_changes(sets_by_rank(by_attention, MAX_SIZE), changes),
        "all sets, at random": first_that_changes(sets_by_rank(shuffled, MAX_SIZE), changes),
    }
    causes = set(task.causes(symbols.tolist(), order[0]))
    found[THEN_ALL] = cleann(pags[768], task.target, changes, max_size=MAX_SIZE, otherwise=by_attention)
    for method, explanation in found.items():
        row = {"method": method, "size": np.nan, "replaced_by": np.nan, "causes": np.nan, "asked": explanation.n_asked}
        if explanation.tokens is not None:
            row |= {"size": len(explanation.tokens), "causes": np.mean([k in causes for k in explanation.tokens]),
                    "replaced_by": order.index(prediction_without(explanation.tokens)) + 1}  # fmt: skip
        yield row | {"chance_causes": len(causes) / len(others)}


def then_all_sets(table):
    """Rows of CLEANN, then all sets, made of those of the two searches that it does one after the other."""
    keys = ["task", "seed", "sequence"]
    searches = "CLEANN, 768", "all sets, by attention"
    first, second = (table[table["method"] == name].set_index(keys) for name in searches)
    missed = first["size"].isna()
    rows = first.where(~missed, second)
    rows["asked"] = first["asked"] + second["asked"].where(missed, 0)
    return rows.assign(method=THEN_ALL).reset_index()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=3, help="of each task (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2500, help="of training (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=100, help="explained of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=3100, help="of the first model (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "cleann.csv")
    parser.add_argument("--complete", action="store_true", help="only add CLEANN, then all sets to the stored table")
    arguments = parser.parse_args()
    if arguments.complete:
        table = pd.read_csv(arguments.out)
        table = table[table["method"] != THEN_ALL]
        table = pd.concat([table, then_all_sets(table)]).sort_values(["seed", "task", "sequence"], kind="stable")
        sweep.write_table(table, arguments.out)
        print(summary(table).round(3).to_string())
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.seed, arguments.seed + arguments.models):
        for name, task in TASKS.items():
            model = train(task, 20_000, arguments.steps, seed)
            rng = np.random.default_rng([seed, 1])
            symbols, goals = task.draw(1000, rng)
            with torch.no_grad():
                guessed = model(torch.as_tensor(symbols))[0][:, task.target].argmax(dim=-1).numpy()
            accuracy = float((guessed == goals).mean())
            for k in range(arguments.sequences):
                about = {"task": name, "seed": seed, "sequence": k, "accuracy": accuracy}
                rows += [about | row for row in explained(model, task, symbols[k], rng)]
            table = pd.DataFrame(rows).round(4)
            sweep.write_table(table, arguments.out)  # after every model, so that what is done is kept
            print(name, seed, f"accuracy {accuracy:.3f}", flush=True)
    print(summary(table).round(3).to_string())
    write_provenance(table, arguments)


def summary(table):
    """Means over sequences; of the size also those over sequences that all methods explain."""
    replaced = table["replaced_by"].isin([2, 3]).astype(float)
    table = table.assign(explained=table["size"].notna(), second_or_third=replaced)
    table.loc[~table["explained"], "second_or_third"] = np.nan
    whole = table.groupby(["task", "seed", "sequence"])["explained"].transform("all")
    groups = ["task", "method"]
    columns = ["explained", "size", "second_or_third", "causes", "chance_causes", "asked"]
    means = table.groupby(groups, sort=False)[columns].mean()
    means.insert(2, "size_where_all", table[whole].groupby(groups)["size"].mean())
    return means


def write_provenance(table, arguments):
    provenance = {
        "table": arguments.out.name,
        "written_by": "benchmarks/cleann.py",
        "what": "explanations of predictions by masking; one row a sequence and method",
        "models": int(table.groupby(["task", "seed"]).ngroups),
        "training_steps": arguments.steps,
        "sequences_a_model": arguments.sequences,
        "assumed_sample_sizes": SIZES,
        "alpha": ALPHA,
        "largest_set": MAX_SIZE,
        "seeds": f"{table['seed'].min()} to {table['seed'].max()}",
        "torch": torch.__version__,
    }
    sweep.write_provenance(arguments.out, provenance)


if __name__ == "__main__":
    main()

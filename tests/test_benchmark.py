"""`causalkit benchmark`: sets as they are on disk, scores against scikit-learn, a run that goes on, refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import public_sets
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from causalkit import MVGC, PartialCorrelation, benchmark, methods, sweep
from causalkit.cli import main
from causalkit.default import Choice

OFF = ~np.eye(3, dtype=bool)


def world(seed, n_steps=150, names=((1, 0),)):
    """A linear world of three nodes, and its truth [target, source]."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((3, 3), np.int8)
    for target, source in names:
        truth[target, source] = 1
    x = rng.standard_normal((n_steps, 3))
    for t in range(1, n_steps):
        x[t] += 0.6 * truth @ x[t - 1]
    return x.astype(np.float32), truth


@pytest.fixture
def sets(tmp_path):
    """A folder with independent replicates, replicates with a truth each, spikes, and trajectories."""
    folder = tmp_path / "sets"
    folder.mkdir()

    def save(name, x, adj, **about):
        np.savez(folder / f"{name}.npz", x=x, adj=adj)
        (folder / f"{name}.json").write_text(json.dumps(about))

    worlds = [world(seed) for seed in range(3)]
    save("same", np.stack([x for x, _ in worlds]), worlds[0][1], kind="linear VAR")
    others = [world(5), world(6, names=((2, 1),))]
    save("each", np.stack([x for x, _ in others]), np.stack([a for _, a in others]))
    save("counts", np.random.default_rng(0).poisson(1.0, (150, 3)), worlds[0][1], kind="spike counts of neurons")
    save("pieces", np.stack([x for x, _ in worlds]), worlds[0][1], sampling="trajectories are separate")
    return folder


def test_replicates_truths_and_kinds_are_those_of_the_file(sets):
    same = benchmark.read_set(sets / "same.npz")
    assert [r.sizes["time"] for r in same] == [150] * 3 and not any("trial" in r for r in same)
    np.testing.assert_array_equal(same[1].activity, world(1)[0])
    each = benchmark.read_set(sets / "each.npz")
    assert [np.argwhere(r.connectivity.values).tolist() for r in each] == [[[1, 0]], [[2, 1]]]
    assert [r.attrs["kind"] for r in benchmark.read_set(sets / "counts.npz")] == ["spikes"]
    (pieces,) = benchmark.read_set(sets / "pieces.npz")
    assert pieces.sizes["time"] == 450 and np.bincount(pieces.trial).tolist() == [150] * 3


def test_scores_are_those_of_scikit_learn_and_of_the_fit(sets, tmp_path):
    plan = benchmark.plan(sets, tmp_path / "store", method_names=["mvgc"], set_names=["same", "each"], progress=False)
    sweep.run(plan.units, tmp_path / "store", progress=False)
    table = benchmark.table(plan, tmp_path / "store")
    assert table[["set", "replicate"]].values.tolist() == [["each", 0], ["each", 1], *(["same", k] for k in range(3))]
    for row in table.itertuples():
        recording = benchmark.read_set(sets / f"{row.set}.npz")[row.replicate]
        c = MVGC().fit(recording.drop_vars("connectivity")).connectivity_
        truth, score = recording.connectivity.values[OFF], c.score.values[OFF]
        assert row.auroc == pytest.approx(roc_auc_score(truth, score))
        assert row.auprc == pytest.approx(average_precision_score(truth, score))
        p = np.sort(c.p_value.values[OFF])
        passed = p <= 0.05 * np.arange(1, 7) / 6
        level = p[passed].max() if passed.any() else -1.0
        claimed = c.p_value.values[OFF] <= level
        assert row.true_positive_rate == pytest.approx(claimed[truth == 1].mean())
        assert row.false_positive_rate == pytest.approx(claimed[truth == 0].mean())
        assert row.threshold == "FDR .05" and row.n_edges == 1 and row.seconds > 0
        assert json.loads(row.parameters)["max_order"] == MVGC().max_order


def test_a_graph_of_the_method_counts_at_any_lag():
    result = MVGC().fit(world(0)[0]).connectivity_.drop_vars(["p_value"])
    assert benchmark.own_graph(result)[1] == ""
    lagged = np.zeros((3, 3, 2), bool)
    lagged[1, 0, 1] = lagged[2, 0, 0] = True
    graph, how = benchmark.own_graph(result.assign(graph=(("target", "source", "step"), lagged)))
    assert how == "own" and np.argwhere(graph).tolist() == [[1, 0], [2, 0]]


def test_methods_are_left_out_of_sets_that_they_are_not_made_for(sets, tmp_path):
    plan = benchmark.plan(sets, tmp_path / "store", set_names=["same", "counts"], progress=False)
    run = {(unit.method, unit.network.name.rpartition("_r")[0]) for unit in plan.units}
    for name, method in methods.METHODS.items():
        kinds = method.traits.input_kinds
        assert ((name, "same") in run) == ("other" in kinds) and ((name, "counts") in run) == ("spikes" in kinds)
    assert {unit.label for unit in plan.units} >= {"SingleIndexGranger", "NeuralGranger", "SpikeIndexGranger"}
    assert all(unit.parameters == {} for unit in plan.units)  # defaults, whatever the set


def test_the_command_goes_on_and_writes_a_table(sets, tmp_path, capsys):
    given = ["benchmark", "--data", str(sets), "--store", str(tmp_path / "store"), "--methods", "mvgc,random",
             "--sets", "same,pieces,sim_var", "--replicates", "2", "--out", str(tmp_path / "table.csv")]  # fmt: skip
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "MVGC(alpha=0.05" in out and "RandomScores(" in out and "10 units: 0 were finished, 10 computed" in out
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 10 and tuple(table.columns) == benchmark.COLUMNS
    assert table.groupby("set").replicate.nunique().to_dict() == {"pieces": 1, "same": 2, "sim_var": 2}
    assert main(given) == 0 and "10 were finished, 0 computed" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table)


def test_refusals_of_a_method_are_told_not_hidden(sets, tmp_path):
    x, adj = world(0, n_steps=12)
    np.savez(sets / "short.npz", x=x, adj=adj)
    plan = benchmark.plan(sets, tmp_path / "store", method_names=["single_index"], set_names=["short"], progress=False)
    sweep.run(plan.units, tmp_path / "store", progress=False)
    table = benchmark.table(plan, tmp_path / "store")
    assert table.auroc.isna().all() and "12 time steps" in table.problem[0]


def test_auto_repeats_the_row_of_what_is_chosen_and_fits_what_is_not_there(sets, tmp_path, monkeypatch):
    plan = benchmark.plan(sets, tmp_path, method_names=["mvgc"], set_names=["each", "counts"], progress=False)
    sweep.run(plan.units, sweep.Store(tmp_path), progress=False)
    table = benchmark.table(plan, tmp_path)
    choices = {150: Choice("mvgc")}
    monkeypatch.setattr(benchmark.default, "choose", lambda recording: choices[recording.sizes["time"]])
    both = benchmark.with_auto(table, plan)
    auto, mvgc = (both[both.method == name].reset_index(drop=True) for name in ("auto", "MVGC"))
    scores = ["set", "replicate", "auroc", "auprc", "true_positive_rate", "seconds"]
    pd.testing.assert_frame_equal(auto[scores], mvgc[scores])
    assert json.loads(auto.parameters[0])["method"] == "mvgc" and len(both) == 2 * len(table)
    choices[150] = Choice("partial_correlation", {"bin_steps": 1})
    again = benchmark.with_auto(both, plan)
    fitted = again[(again.method == "auto") & (again.set == "each")].iloc[1]
    x, truth = world(6, names=((2, 1),))
    expected = PartialCorrelation(bin_steps=1).fit(x).connectivity_.score.values[OFF]
    assert fitted.auroc == pytest.approx(roc_auc_score(truth[OFF], expected)) and len(again) == len(both)
    choices[150] = Choice("single_index")  # not in the table
    assert benchmark.with_auto(again, plan).method.unique().tolist() == ["MVGC"]


def test_auto_takes_no_place_from_others():
    rows = [("a", 0, "M", 0.9), ("a", 0, "K", 0.7), ("a", 0, "auto", 0.9), ("b", 0, "M", 0.5), ("b", 0, "K", 0.6),
            ("b", 0, "auto", 0.5)]  # fmt: skip
    ranked = benchmark.ranking(pd.DataFrame(rows, columns=["set", "replicate", "method", "auroc"]))
    assert ranked["mean rank"].to_dict() == {"M": 1.5, "K": 1.5, "auto": 1.5}


def test_ranking_leaves_incomplete_sets_blank():
    rows = [("a", 0, "M", 1.0), ("a", 1, "M", 0.8), ("a", 0, "K", 0.7), ("a", 1, "K", 0.7), ("b", 0, "M", 0.5),
            ("b", 0, "K", 0.6), ("b", 1, "K", 0.6)]  # fmt: skip
    ranked = benchmark.ranking(pd.DataFrame(rows, columns=["set", "replicate", "method", "auroc"]))
    assert ranked.loc["M", "a"] == pytest.approx(0.9) and np.isnan(ranked.loc["M", "b"])
    assert ranked["mean rank"].to_dict() == {"M": 1.0, "K": 1.5} and ranked["sets"].to_dict() == {"M": 1, "K": 2}


@pytest.mark.parametrize(
    ("arrays", "about", "message"),
    [
        ({"x": np.zeros((9, 3))}, None, "has no adj"),
        ({"x": np.zeros((9, 3)), "adj": np.zeros((4, 4))}, None, r"x has shape \(9, 3\) and adj \(4, 4\)"),
        ({"x": np.zeros((2, 9, 3)), "adj": np.zeros((5, 3, 3))}, None, "one a replicate"),
        ({"x": np.array([{}]), "adj": np.zeros((3, 3))}, None, "is no set"),
        ({"x": np.zeros((9, 3)), "adj": np.zeros((3, 3))}, "{", "is no JSON"),
        ({"x": np.zeros((9, 3)), "adj": np.zeros((3, 3))}, "[]", "holds list"),
    ],
)
def test_files_that_hold_no_set_are_refused(tmp_path, arrays, about, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    if about is not None:
        (tmp_path / "bad.json").write_text(about)
    with pytest.raises(ValueError, match=message):
        benchmark.read_set(tmp_path / "bad.npz")


def test_wrong_names_and_folders_are_refused(sets, tmp_path, capsys):
    for given, message in (
        (["--data", str(tmp_path / "nowhere")], "does not exist"),
        (["--data", str(sets / "same.npz")], "is a file"),
        (["--sets", "sim_vra"], "did you mean 'sim_var'"),
        (["--methods", "mvcg"], "Did you mean 'mvgc'"),
        (["--replicates", "0"], "n_replicates is 0"),
        (["--out", "table.txt"], "table.txt"),
    ):
        assert main(["benchmark", "--store", str(tmp_path / "store"), *given]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["benchmark", "--store", str(tmp_path / "store"), "--data", str(tmp_path / "empty")]) == 2
    assert "holds no .npz" in capsys.readouterr().err


# ---- the stored table of the book


def test_tables_of_the_book_are_means_over_replicates():
    rows = [("a", k, method, value, 0.5, 1.0, 0.25, 2.0)
            for method, values in (("SingleIndexGranger", (0.9, 1.0)), ("MVGC", (0.6, 0.8)), ("PCMCI", (0.5, 0.5)))
            for k, value in enumerate(values)]  # fmt: skip
    rows.append(("b", 0, "MVGC", 0.5, 0.5, 1.0, 0.25, 2.0))
    rates = ["true_positive_rate", "false_positive_rate"]
    table = pd.DataFrame(rows, columns=["set", "replicate", "method", "auroc", "auprc", *rates, "seconds"])
    one, other = public_sets.sets_of(table).to_dict("records")
    assert (one["SingleIndexGranger"], one["MVGC"], one["NeuralGranger"]) == ("0.950", "0.700", "")
    assert one["best other"] == "PCMCI 0.500" and other["SingleIndexGranger"] == ""
    ranked = public_sets.ranking_of(table)
    assert ranked.method.tolist() == ["SingleIndexGranger", "MVGC", "PCMCI"]
    assert ranked["mean rank"].tolist() == ["1.0", "1.5", "3.0"] and ranked.AUROC.tolist()[1] == "0.600"


def test_the_stored_table_holds_what_it_says():
    stored = Path(__file__).parents[1] / "book" / "results" / "benchmark.csv"
    table, provenance = pd.read_csv(stored), json.loads(stored.with_suffix(".json").read_text())
    assert tuple(table.columns) == benchmark.COLUMNS
    assert not table.duplicated(["set", "replicate", "method"]).any()
    scored = table.dropna(subset="auroc")
    assert len(scored) == provenance["units"]["with scores"] > 100
    assert scored[["auroc", "auprc"]].apply(lambda column: column.between(0, 1)).all(axis=None)
    alone = scored[scored.method != benchmark.AUTO]
    assert alone.groupby("method").parameters.nunique().eq(1).all()  # the same settings on every set
    keys = ["set", "replicate", "method"]
    auroc = alone.set_index(keys).auroc
    for row in scored[scored.method == benchmark.AUTO].itertuples():
        chosen = json.loads(row.parameters)["method"]
        if chosen != "partial_correlation":
            assert row.auroc == auroc[row.set, row.replicate, methods.get(chosen).__name__]
    for name in ("ranking", "sets", "rule"):
        shown = pd.read_csv(stored.with_name(f"benchmark_{name}.csv"), dtype=str, keep_default_na=False)
        made = getattr(public_sets, f"{name}_of")(table)
        pd.testing.assert_frame_equal(shown, made.astype(str), check_dtype=False)

"""From a recording to files: the method chosen, several methods at once, and what each file holds."""

import json

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from causalkit import (
    MVGC,
    GaussianProcessGranger,
    connectivity,
    infer,
    io,
    methods,
    preprocess,
    reporting,
    significance,
    simulate,
)
from causalkit.cli import main
from causalkit.default import Choice, choose
from causalkit.methods.random_scores import RandomScores
from causalkit.recording import from_array


def run(*arguments):
    return main([str(argument) for argument in arguments])


def chain(n_times=3000):
    """n0 drives n1 one step later, and n1 drives n2, negatively."""
    x = np.random.default_rng(5).normal(size=(n_times, 4))
    for t in range(1, n_times):
        x[t, 1] += 0.6 * x[t - 1, 0]
        x[t, 2] -= 0.6 * x[t - 1, 1]
    return from_array(x, dt_ms=2, kind="other")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("infer") / "chain.nc"
    io.write_recording(chain(), path)
    return path


@pytest.mark.parametrize(
    "kind, expected",
    [("voltage", "single_index"), ("other", "single_index"), ("spikes", "spike_index"), ("calcium", "mvgc")],
)
def test_without_a_name_a_long_recording_gets_the_method_of_its_kind(kind, expected):
    recording = from_array((np.random.default_rng(1).random((1200, 4)) < 0.3).astype(float), kind=kind)
    assert infer.choice_of(None, recording) == infer.choice_of("auto", recording) == choose(recording)
    assert infer.choice_of(None, recording).method == expected
    assert kind in methods.get(expected).traits.input_kinds and methods.get(expected).traits.p_values
    found, left_out = infer.suitable_methods(recording)
    assert found[0] == choose(recording)
    found = [choice.method for choice in found]
    assert all(kind in methods.get(name).traits.input_kinds for name in found)
    assert {*found, *left_out, "random"} == set(methods.METHODS) and not set(found) & set(left_out)
    assert len(set(found)) == len(found) and "slow" in left_out["causalformer"] and "mvgc" in found


def test_slow_methods_depend_on_the_number_of_neurons():
    few, many = from_array(np.zeros((200, 10))), from_array(np.zeros((200, 11)))
    assert Choice("pcmci") in infer.suitable_methods(few)[0] and "pcmci" in infer.suitable_methods(many)[1]


def test_a_chosen_method_is_never_left_out_as_slow():
    recording = from_array(np.random.default_rng(2).standard_normal((300, 25)), kind="other")
    found, left_out = infer.suitable_methods(recording)
    assert found[0].method == "gaussian_process" and "gaussian_process" not in left_out


def test_a_choice_that_takes_minutes_says_so_before_it_begins(capsys, monkeypatch):
    recording = from_array(np.random.default_rng(2).standard_normal((300, 4)), kind="other")
    choice = choose(recording)
    for seconds, told in ((600, True), (10, False)):
        monkeypatch.setattr(GaussianProcessGranger, "estimate_seconds", lambda *_, s=seconds: s)
        infer.announce(choice, choice.build(), recording)
        out = capsys.readouterr().out
        assert out.startswith("method gaussian_process (chosen: 300 time steps of 4 neurons are few)")
        assert ("about 10 min; --method single_index is quicker" in out) == told
    infer.announce(Choice("gaussian_process"), choice.build(), recording)  # the user's own choice
    assert capsys.readouterr().out == ""


def test_the_table_says_which_pairs_are_edges():
    result = MVGC().fit(chain()).connectivity_
    table = infer.edge_table(result, 0.01)
    found = set(zip(*(table.loc[table["edge"], name] for name in ("source", "target")), strict=True))
    assert found == {("n0", "n1"), ("n1", "n2")}
    pd.testing.assert_frame_equal(table.drop(columns="edge"), connectivity.to_frame(result))
    assert list(table.columns[:3]) == ["source", "target", "score"]
    assert set(infer.edge_graph(result, 0.01).edges) == found and len(infer.edge_graph(result, 0.01)) == 4


def test_q_values_are_added_where_a_method_has_p_values_only():
    result = MVGC().fit(chain()).connectivity_.drop_vars("adjusted_p_value")
    table = infer.edge_table(result)
    expected = significance.fdr(result["p_value"].transpose("target", "source"))
    for row in table.itertuples():
        assert row.adjusted_p_value == expected.sel(target=row.target, source=row.source)
    random = RandomScores().fit(chain()).connectivity_
    assert "edge" not in infer.edge_table(random)
    with pytest.raises(ValueError, match="no p-values"):
        infer.edge_graph(random)


def test_auto_chooses_by_the_recording_and_says_why(tmp_path, capsys):
    together = np.random.default_rng(7000).standard_normal((600, 6))
    together[:, 1:] += 0.8 * together[:, :-1]  # all within one step
    together[1:] += 0.3 * together[:-1]
    io.write_recording(from_array(together, kind="other", dt_ms=2000.0), tmp_path / "slow.nc")
    run_ = lambda *more: run("infer", tmp_path / "slow.nc", *more)  # noqa: E731
    assert run_("--out", tmp_path / "r.nc", "--out", tmp_path / "r.csv") == 0
    out = capsys.readouterr().out
    assert "method partial_correlation (chosen: " in out and "too long to see a direction" in out
    result = connectivity.from_netcdf(tmp_path / "r.nc")
    assert result.attrs["method"] == "partial_correlation"
    assert json.loads(result.attrs["parameters"])["bin_steps"] == 1
    assert "too long to see a direction" in result.attrs["chosen_because"]
    assert run_("--out", tmp_path / "r.graphml") == 2
    refusal = capsys.readouterr().err
    assert "no p-values (it was chosen: " in refusal and not (tmp_path / "r.graphml").exists()
    for how in (["--method", "auto"], ["--scores", tmp_path / "r.nc"], []):
        assert run("report", tmp_path / "slow.nc", *how, "--out", tmp_path / "r.html", "--overwrite") == 0
        page = (tmp_path / "r.html").read_text()
        assert "partial_correlation" in page and "too long to see a direction" in page
        assert "It has no direction" in page and "helps to forecast another beyond" not in page
    capsys.readouterr()
    assert run("infer", tmp_path / "slow.nc", "--method", "mvgc", "--out", tmp_path / "m.nc") == 0
    assert "chosen" not in capsys.readouterr().out
    assert "chosen_because" not in connectivity.from_netcdf(tmp_path / "m.nc").attrs
    assert run("infer", tmp_path / "slow.nc", "--method", "auto,mvgc", "--out", tmp_path / "s.nc") == 2
    assert "give it alone" in capsys.readouterr().err


def test_calcium_loses_the_decay_of_its_indicator_unless_it_is_left_in(tmp_path):
    seen = simulate.observe_calcium(simulate.izhikevich(4, 0.3, 20_000, random_state=7003))
    io.write_recording(seen, tmp_path / "seen.nc")
    for options, expected in (([], preprocess.without_decay(seen)), (["--decay-ms", 0], seen),
                              (["--decay-ms", 400], preprocess.without_decay(seen, 400))):  # fmt: skip
        out = ["--method", "mvgc", "--out", tmp_path / "r.nc", "--overwrite"]
        assert run("infer", tmp_path / "seen.nc", *out, *options) == 0
        found = connectivity.from_netcdf(tmp_path / "r.nc").score
        xr.testing.assert_allclose(found, MVGC().fit(expected).connectivity_.score)


def test_a_decay_is_taken_out_of_calcium_only_and_everyone_is_told(tmp_path, capsys):
    seen = simulate.observe_calcium(simulate.izhikevich(4, 0.3, 20_000, random_state=7003))
    done = preprocess.history(preprocess.without_decay(seen))
    found = choose(seen).fit(seen)
    assert preprocess.history(found) == done == [{"step": "without_decay", "decay_ms": 1000.0}]
    assert "preprocessing" not in choose(chain()).fit(chain()).attrs
    io.write_recording(seen, tmp_path / "seen.nc")
    assert run("infer", tmp_path / "seen.nc", "--dry-run") == 0
    assert "prepared    without_decay (decay_ms 1000.0)" in capsys.readouterr().out
    for asked in (seen, preprocess.without_decay(seen)):
        page = reporting.report(asked, found, second_opinion=False).html
        assert "<dt>shown after</dt><dd>without_decay (decay_ms 1000.0)</dd>" in page
        texts = [[each.text for each in reporting.diagnose(one)] for one in (asked, preprocess.without_decay(seen))]
        assert texts[0] == texts[1] != [each.text for each in reporting.diagnose(seen.assign_attrs(kind="other"))]
    io.write_recording(chain(), tmp_path / "other.nc")
    assert run("infer", tmp_path / "other.nc", "--decay-ms", 400, "--out", tmp_path / "r.nc") == 2
    assert "--decay-ms is for calcium, and this is other: add --kind calcium" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["no JSON", "{}", "[1]", '[{"how": "linear"}]', 3])
def test_a_history_that_no_one_can_read_is_refused(broken):
    with pytest.raises(ValueError, match="the attribute preprocessing is no list of steps"):
        preprocess.history(chain().assign_attrs(preprocessing=broken))


def test_a_page_is_of_one_method(file, tmp_path, capsys):
    for several in ("all", "mvgc,pcmci"):
        assert run("report", file, "--method", several, "--out", tmp_path / "r.html") == 2
        assert f"--method {several} names several, and a page is of one" in capsys.readouterr().err


def test_a_decay_that_is_left_in_is_left_in_by_every_method(tmp_path):
    seen = simulate.observe_calcium(simulate.izhikevich(4, 0.3, 20_000, random_state=7003))
    io.write_recording(seen, tmp_path / "seen.nc")
    out = ["--method", "partial_correlation", "--param", "bin_steps=1", "--decay-ms", 0, "--out", tmp_path / "r.nc"]
    assert run("infer", tmp_path / "seen.nc", *out) == 0
    found = connectivity.from_netcdf(tmp_path / "r.nc").score
    left_in = methods.get("partial_correlation")(bin_steps=1).fit(seen.assign_attrs(kind="other")).connectivity_.score
    xr.testing.assert_allclose(found, left_in)


def test_several_methods_go_into_one_file(file, tmp_path, capsys):
    outputs = [word for suffix in infer.SUFFIXES for word in ("--out", tmp_path / f"r{suffix}")]
    assert run("infer", file, "--method", "mvgc,pairwise_granger,random", "--fdr", 0.01, *outputs) == 0
    out = capsys.readouterr().out
    assert "mvgc scores of 12 ordered pairs" in out and "2 edges at a false discovery rate of 0.01" in out
    expected = MVGC().fit(io.read(file)).connectivity_
    root = connectivity.from_netcdf(tmp_path / "r.nc")
    xr.testing.assert_equal(root[list(expected.data_vars)], expected)
    group = xr.load_dataset(tmp_path / "r.nc", group="random", engine="h5netcdf")
    assert group.attrs["method"] == "random" and group["score"].dims == ("target", "source")
    off = ~np.eye(4, dtype=bool)
    rho = stats.spearmanr(expected["score"].values[off], group["score"].values[off]).statistic
    assert float(root["agreement"].sel(one="mvgc", other="random")) == pytest.approx(rho)
    table = pd.read_csv(tmp_path / "r.csv")
    assert table["method"].value_counts().to_dict() == {"mvgc": 12, "pairwise_granger": 12, "random": 12}
    assert table.loc[table["method"] == "random", "edge"].isna().all() and table["edge"].sum() >= 2
    parquet = pd.read_parquet(tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(table.drop(columns="edge"), parquet.drop(columns="edge"), check_dtype=False)
    assert parquet["edge"].dropna().tolist() == table["edge"].dropna().tolist()
    graph = nx.read_graphml(tmp_path / "r.graphml", force_multigraph=True)
    of_mvgc = {(a, b): values for a, b, values in graph.edges(data=True) if values["method"] == "mvgc"}
    assert set(of_mvgc) == {("n0", "n1"), ("n1", "n2")} and of_mvgc["n1", "n2"]["sign"] == -1
    assert not any(values["method"] == "random" for *_, values in graph.edges(data=True))


def test_the_result_says_what_was_done_to_the_recording(file, tmp_path):
    options = ["--resample-ms", 4, "--detrend", "linear", "--start", 100]
    assert run("infer", file, "--method", "mvgc", *options, "--out", tmp_path / "r.nc") == 0
    result = connectivity.from_netcdf(tmp_path / "r.nc")
    assert [step["step"] for step in preprocess.history(result)] == ["resample", "detrend"]
    assert result.attrs["dt_ms"] == 4 and result.attrs["kind"] == "other" and result.attrs["recording"] == str(file)
    assert result.attrs["command"].startswith("causalkit infer ") and "--detrend linear" in result.attrs["command"]


def test_a_method_that_fails_does_not_stop_the_others(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(RandomScores, "_fit", lambda *_: (_ for _ in ()).throw(ValueError("no dice")))
    assert run("infer", file, "--method", "random,mvgc", "--out", tmp_path / "r.csv") == 0
    assert "warning: random is left out: no dice" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "r.csv")["source"]) == {"n0", "n1", "n2", "n3"}
    assert run("infer", file, "--method", "random", "--out", tmp_path / "s.csv") == 2
    assert not (tmp_path / "s.csv").exists()


def test_what_a_file_holds_is_listed(file, capsys):
    assert run("infer", file, "--list") == 0
    out = capsys.readouterr().out
    assert "1 to choose from" in out and "3000 x 4" in out and "500 per second" in out

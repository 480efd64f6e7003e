"""Connectivities: built in one form, thresholded only when asked to, exported with the arrows the right way."""

import json
import os

import networkx as nx
import numpy as np
import pytest
import xarray as xr

from causalkit import connectivity, recording

NAMES = ["a", "b", "c"]
SCORE = [[9.0, 3.0, 0.5], [1.0, 8.0, 2.0], [0.0, 4.0, 7.0]]  # [target, source]


@pytest.fixture
def c():
    lag_score = np.zeros((3, 3, 2))
    lag_score[..., 1] = 1
    lag_score[0, 1] = 2, 1
    return connectivity.build(
        SCORE, neurons=NAMES, method="mvgc", parameters={"order": np.int64(3), "device": None}, seconds=1,
        sign=np.sign(np.array(SCORE) - 2.5), p_value=np.array([[0.0, 0.001, 0.9], [0.5, 0.0, 0.02], [1, 0.0004, 0]]),
        lag_score=lag_score, seed_score=np.stack([SCORE, SCORE]), radius=0.5, f_statistic=np.array(SCORE),
        order=xr.DataArray(3),
    )  # fmt: skip


def test_form(c):
    assert c.score.dims == c.p_value.dims == c.sign.dims == ("target", "source")
    assert c.lag_score.dims == ("target", "source", "lag") and c.lag.values.tolist() == [1, 2]
    assert c.seed_score.dims == ("seed", "target", "source")
    assert c.score.sel(target="a", source="b") == 3
    assert c.sign.dtype == np.int8 and c.sign.sel(target="b", source="a") == -1


def test_diagonal_is_kept_apart(c):
    assert np.isnan(np.diag(c.score)).all() and np.isnan(np.diag(c.p_value)).all()
    assert (np.diag(c.sign) == 0).all()
    assert c.self_score.values.tolist() == [9, 8, 7]
    no_own = connectivity.build(np.where(np.eye(3), np.nan, SCORE), neurons=NAMES, method="m")
    assert "self_score" not in no_own


def test_attributes_say_how_it_was_made(c):
    assert c.attrs["method"] == "mvgc" and c.attrs["seconds"] == 1.0 and c.attrs["radius"] == 0.5
    assert json.loads(c.attrs["parameters"]) == {"order": 3, "device": None}
    assert isinstance(c.attrs["version"], str) and c.order == 3
    assert c.f_statistic.sel(target="c", source="b") == 4
    assert "seconds" not in connectivity.build(SCORE, neurons=NAMES, method="m").attrs


def test_input_is_not_changed():
    score = np.array(SCORE)
    connectivity.build(score, neurons=NAMES, method="m")
    assert score.tolist() == SCORE


def test_seeds_keep_their_names():
    seeds = xr.DataArray(np.ones((2, 3, 3)), dims=("seed", "target", "source"), coords={"seed": [10, 11]})
    assert connectivity.build(SCORE, neurons=NAMES, method="m", seed_score=seeds).seed.values.tolist() == [10, 11]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": np.ones((3, 2))}, r"score has shape \(3, 2\) for 3 neurons.*square"),
        ({"score": np.ones((2, 2))}, r"score has shape \(2, 2\) for 3 neurons"),
        ({"score": -np.array(SCORE)}, r"score of m has values that are negative.*pass magnitudes"),
        ({"score": np.full((3, 3), np.nan)}, r"not finite off the diagonal"),
        ({"sign": np.array(SCORE)}, r"sign of m has values other than -1, 0 and \+1.*numpy.sign"),
        ({"p_value": np.ones(3)}, r"p_value has shape \(3,\) for 3 neurons"),
        ({"lag_score": np.ones((2, 3, 3))}, r"lag_score has shape \(2, 3, 3\).*\(target, source, lag\)"),
        ({"seed_score": np.ones((3, 3, 2))}, r"seed_score has shape \(3, 3, 2\).*\(seed, target, source\)"),
    ],
)
def test_wrong_results_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        connectivity.build(**{"score": SCORE, "neurons": NAMES, "method": "m", **arguments})


def test_rounding_below_zero_is_no_error():
    score = np.array(SCORE)
    score[2, 0] = -1e-16
    assert connectivity.build(score, neurons=NAMES, method="m").score[2, 0] == 0


# ---- graphs


def edges(adjacency):
    """Pairs (source, target) of an adjacency."""
    return {(adjacency.source.values[j], adjacency.target.values[i]) for i, j in np.argwhere(adjacency.values)}


def test_adjacency_by_each_rule(c):
    strongest = {("b", "c"), ("b", "a")}
    assert edges(connectivity.adjacency(c, top_k=2)) == strongest
    assert edges(connectivity.adjacency(c, density=1 / 3)) == strongest
    assert edges(connectivity.adjacency(c, threshold=2)) == strongest
    assert edges(connectivity.adjacency(c, fdr=0.01)) == strongest
    assert edges(connectivity.adjacency(c, fdr=0.05)) == strongest | {("c", "b")}
    assert connectivity.adjacency(c, top_k=0).dtype == bool
    assert not np.diag(connectivity.adjacency(c, top_k=6)).any()


def test_ties_are_broken_by_order():
    c = connectivity.build(np.ones((3, 3)), neurons=NAMES, method="m")
    assert edges(connectivity.adjacency(c, top_k=2)) == {("b", "a"), ("c", "a")}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "0 rules given .*name exactly one of"),
        ({"top_k": 1, "fdr": 0.1}, r"2 rules given \['fdr', 'top_k'\]"),
        ({"top_k": 7}, "top_k is 7: 3 neurons have 6 possible edges"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 1.5}, "top_k is 1.5.*whole number"),
        ({"density": 1.2}, "density is 1.2.*from 0 to 1"),
        ({"fdr": 5}, "fdr is 5.*from 0 to 1"),
    ],
)
def test_impossible_rules_are_refused(c, rule, message):
    with pytest.raises(ValueError, match=message):
        connectivity.adjacency(c, **rule)


def test_fdr_needs_p_values(c):
    with pytest.raises(ValueError, match="mvgc gives no p-values.*use top_k="):
        connectivity.adjacency(c.drop_vars("p_value"), fdr=0.05)


def test_what_is_no_connectivity_is_refused(rng):
    r = recording.from_array(rng.normal(size=(9, 3)))
    for use in (connectivity.to_frame, lambda d: connectivity.adjacency(d, top_k=1)):
        with pytest.raises(ValueError, match=r"no score \(target, source\).*method.connectivity_"):
            use(r)


# ---- tables, graphs, files


def test_table_lists_edges_strongest_first(c):
    table = connectivity.to_frame(c)
    assert table.columns.tolist() == ["source", "target", "score", "sign", "p_value", "lag"]
    assert len(table) == 6 and table.score.tolist() == [4, 3, 2, 1, 0.5, 0]
    assert table.loc[1].tolist() == ["b", "a", 3, 1, 0.001, 1]
    assert table.lag.tolist() == [2, 1, 2, 2, 2, 2]


def test_table_has_no_columns_that_the_method_lacks():
    c = connectivity.build(SCORE, neurons=NAMES, method="m")
    assert connectivity.to_frame(c).columns.tolist() == ["source", "target", "score"]


def test_graph_edges_run_from_source_to_target(c):
    graph = connectivity.to_networkx(c, connectivity.adjacency(c, top_k=1))
    assert list(graph.nodes) == NAMES and list(graph.edges) == [("b", "c")]
    assert graph["b"]["c"] == {"score": 4, "sign": 1, "p_value": 0.0004, "lag": 2}
    assert connectivity.to_networkx(c).number_of_edges() == 6


def test_graph_of_matrices(c, rng):
    assert set(connectivity.to_networkx(connectivity.adjacency(c, top_k=2)).edges) == {("b", "c"), ("b", "a")}
    truth = recording.from_array(rng.normal(size=(9, 3)), connectivity=[[0, -5, 0], [0, 0, 0], [0, 5, 0]]).connectivity
    graph = connectivity.to_networkx(truth.transpose("source", "target"))
    assert nx.to_dict_of_dicts(graph)["n1"] == {"n0": {"weight": -5}, "n2": {"weight": 5}}
    assert graph.number_of_nodes() == 3


def test_netcdf_round_trip(c, tmp_path):
    path = connectivity.to_netcdf(c, tmp_path / "c.nc")
    assert connectivity.from_netcdf(path).identical(c)
    assert os.listdir(tmp_path) == ["c.nc"]


def test_failed_write_leaves_the_old_file_and_nothing_else(c, tmp_path, monkeypatch):
    path = connectivity.to_netcdf(c, tmp_path / "c.nc")
    with pytest.raises(Exception, match="boolean"):
        connectivity.to_netcdf(c.assign_attrs(stable=True), path)

    def half_written(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", half_written)
    with pytest.raises(OSError, match="disk full"):
        connectivity.to_netcdf(c * 2, path)
    assert os.listdir(tmp_path) == ["c.nc"]
    assert connectivity.from_netcdf(path).identical(c)


def test_unreadable_files_are_refused(c, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.nc"):
        connectivity.from_netcdf(tmp_path / "none.nc")
    with pytest.raises(FileNotFoundError, match="folder .*nowhere.* does not exist, so 'c.nc' cannot be written"):
        connectivity.to_netcdf(c, tmp_path / "nowhere" / "c.nc")
    whole = connectivity.to_netcdf(c, tmp_path / "c.nc").read_bytes()
    for content in (whole[: len(whole) // 2], b"source,target\na,b\n", b""):
        (tmp_path / "bad.nc").write_bytes(content)
        with pytest.raises(ValueError, match="'bad.nc' cannot be read as netCDF.*truncated or of another kind"):
            connectivity.from_netcdf(tmp_path / "bad.nc")
    connectivity.to_netcdf(recording.from_array(np.eye(4)), tmp_path / "r.nc")
    with pytest.raises(ValueError, match="r.nc holds no score"):
        connectivity.from_netcdf(tmp_path / "r.nc")

"""Scores against scikit-learn, against their definitions and against the published values."""

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from causalkit import connectivity, metrics
from causalkit.metrics import auprc, auroc, f1, r2, roc_curve, shd, sign_accuracy
from causalkit.recording import from_array

PROTOCOLS = ("off_diagonal", "published")


@st.composite
def networks(draw, positive=False):
    """A signed truth with edges and non-edges, and a score in which ties occur."""
    n = draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    off = ~np.eye(n, dtype=bool)
    truth = rng.choice([-5, 0, 5], size=(n, n)) * off
    assume(0 < (truth != 0).sum() < n * (n - 1))
    score = rng.integers(1 if positive else -4, 9, size=(n, n)) / 4
    return truth, score


def off(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


@given(networks())
def test_auroc_and_auprc_are_those_of_scikit_learn(network):
    truth, score = network
    assert auroc(truth, score) == pytest.approx(roc_auc_score(off(truth) != 0, off(score)), abs=1e-12)
    assert auprc(truth, score) == pytest.approx(average_precision_score(off(truth) != 0, off(score)), abs=1e-12)


@given(networks())
def test_published_protocol_counts_a_zero_diagonal(network):
    truth, score = network
    np.fill_diagonal(score, 0)
    expected = roc_auc_score(truth.ravel() != 0, score.ravel())
    np.fill_diagonal(score, np.nan)
    assert auroc(truth, score, protocol="published") == pytest.approx(expected, abs=1e-12)


@given(networks(positive=True))
def test_published_protocol_converts_to_off_diagonal(network):
    truth, score = network
    n, n_negative = len(truth), (off(truth) == 0).sum()
    published = auroc(truth, score, protocol="published")
    assert auroc(truth, score) == pytest.approx((published * (n_negative + n) - n) / n_negative, abs=1e-12)


@pytest.mark.parametrize("metric", [auroc, auprc])
@given(network=networks(), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_ranking_alone_counts(metric, network, scale, shift):
    truth, score = network
    assert metric(truth, np.exp(scale * score) + shift) == pytest.approx(metric(truth, score), abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", [auroc, auprc])
@given(network=networks(), data=st.data())
def test_order_of_neurons_does_not_count(metric, protocol, network, data):
    truth, score = network
    order = np.ix_(*[data.draw(st.permutations(range(len(truth))))] * 2)
    permuted = metric(truth[order], score[order], protocol=protocol)
    assert permuted == pytest.approx(metric(truth, score, protocol=protocol), abs=1e-12)


@given(networks())
def test_reversed_ranking_mirrors_auroc(network):
    truth, score = network
    assert auroc(truth, -score) == pytest.approx(1 - auroc(truth, score), abs=1e-12)
    assert auroc(truth, np.zeros_like(score)) == 0.5


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(network=networks(positive=True))
def test_area_under_the_curve_is_auroc(protocol, network):
    curve = roc_curve(*network, protocol=protocol)
    assert curve.columns.tolist() == ["fpr", "tpr", "threshold"]
    assert curve.iloc[[0, -1]][["fpr", "tpr"]].values.tolist() == [[0, 0], [1, 1]]
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(*network, protocol=protocol), abs=1e-12)


def test_matrices_are_matched_by_name_and_dimension():
    names = ["a", "b", "c"]
    truth = xr.DataArray([[0, 5, 0], [0, 0, 0], [-5, 0, 0]], dims=("target", "source"),
                         coords={"target": names, "source": names})  # fmt: skip
    score = xr.DataArray(np.abs(truth.values) + np.eye(3), dims=truth.dims, coords=truth.coords)
    assert auroc(truth, score) == 1
    turned = score.isel(target=[2, 0, 1], source=[1, 2, 0]).transpose("source", "target")
    assert auroc(truth, turned) == 1
    assert auroc(truth, turned.transpose("target", "source").values) < 1  # bare arrays are taken as they lie
    with pytest.raises(ValueError, match="name different target neurons: they are matched by name"):
        auroc(truth, score.assign_coords(target=["a", "b", "x"]))


def test_recordings_and_connectivities_are_taken_whole(rng):
    r = from_array(rng.normal(size=(20, 3)), connectivity=[[0, 5, 0], [0, 0, 0], [-5, 0, 0]])
    sign = np.sign(r.connectivity)
    c = connectivity.build(np.abs(r.connectivity), neurons=r.neuron.values, method="m", sign=sign)
    assert auroc(r, c) == auprc(r, c) == sign_accuracy(r, c) == 1
    assert f1(r, connectivity.adjacency(c, top_k=2)) == 1 and shd(r, connectivity.adjacency(c, top_k=2)) == 0


@pytest.mark.parametrize(
    ("truth", "score", "protocol", "message"),
    [
        (np.zeros((3, 3)), np.ones((3, 3)), "off_diagonal", "truth has no edges off the diagonal"),
        (np.eye(3), np.ones((3, 3)), "off_diagonal", "truth has no edges off the diagonal"),
        (np.ones((3, 3)), np.ones((3, 3)), "off_diagonal", "truth has no non-edges off the diagonal"),
        (np.zeros((3, 3)), np.ones((3, 3)), "published", "truth has no edges"),
        (np.eye(3, k=1), np.full((3, 3), np.nan), "off_diagonal", "6 values off the diagonal that are not finite"),
        (np.eye(3, k=1) + np.nan, np.ones((3, 3)), "off_diagonal", "truth has NaN off the diagonal"),
        (np.eye(3, k=1), np.ones((4, 4)), "off_diagonal", r"truth has shape \(3, 3\) and the estimate \(4, 4\)"),
        (np.ones((3, 2)), np.ones((3, 2)), "off_diagonal", "must be the same square"),
        (np.eye(3, k=1), np.ones((3, 3)), "paper", "protocol is 'paper'.*use one of"),
        (np.eye(3, k=1), xr.DataArray(np.ones((3, 3)), dims=("x", "y")), "off_diagonal", r"dimensions \('x', 'y'\)"),
        (xr.Dataset({"v": 1}), np.ones((3, 3)), "off_diagonal", r"variables \['v'\] but no 'connectivity'"),
    ],
)
@pytest.mark.parametrize("metric", [auroc, auprc, roc_curve])
def test_what_cannot_be_scored_is_refused(metric, truth, score, protocol, message):
    with pytest.raises(ValueError, match=message):
        metric(truth, score, protocol=protocol)


def test_published_protocol_scores_a_complete_truth():
    assert auroc(np.ones((3, 3)) - np.eye(3), np.ones((3, 3)), protocol="published") == 1


# ---- graphs, signs, forecasts


@given(networks())
def test_f1_is_that_of_scikit_learn(network):
    truth, score = network
    graph = score > 0.5
    assert f1(truth, graph) == pytest.approx(f1_score(off(truth) != 0, off(graph), zero_division=0))


def test_f1_of_nothing_right_is_zero():
    assert f1(np.eye(3, k=1), np.eye(3, k=-1)) == 0 and f1(np.zeros((2, 2)), np.zeros((2, 2))) == 0


@pytest.mark.parametrize(
    ("estimate", "distance"),
    [
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], 0),
        ([[0, 0, 0], [1, 0, 0], [0, 0, 0]], 1),  # missing
        ([[0, 0, 0], [1, 0, 0], [1, 1, 0]], 1),  # superfluous
        ([[0, 1, 0], [0, 0, 0], [0, 1, 0]], 1),  # turned round
        ([[0, 1, 0], [1, 0, 0], [0, 1, 0]], 1),  # both ways instead of one
        ([[5, 1, 0], [0, 0, 1], [0, 0, 0]], 2),  # all turned round; the diagonal does not count
    ],
)
def test_structural_hamming_distance(estimate, distance):
    assert shd([[0, 0, 0], [5, 0, 0], [0, -5, 0]], estimate) == distance


@given(networks())
def test_structural_hamming_distance_is_a_distance(network):
    one, other = network[0] != 0, (network[1] > 0.5) & ~np.eye(len(network[0]), dtype=bool)
    assert shd(one, other) == shd(other, one) <= (one != other).sum()
    assert shd(one, one) == 0
    assert (shd(one, other) == 0) == (one == other).all()


def test_sign_accuracy_counts_true_edges_only():
    truth = np.array([[0, 5, -5], [5, 0, 0], [0, -5, 0]])
    assert sign_accuracy(truth, np.sign(truth)) == 1
    assert sign_accuracy(truth, [[-1, 1, -1], [-1, 1, 1], [1, 0, 0]]) == 0.5
    with pytest.raises(ValueError, match="truth has no edges: there are no signs"):
        sign_accuracy(np.eye(3), np.eye(3))


def test_r2_is_that_of_scikit_learn(rng):
    true = rng.normal(size=(50, 3))
    predicted = true + rng.normal(size=(50, 3)) * [0.1, 1, 3]
    np.testing.assert_allclose(r2(true, predicted), r2_score(true, predicted, multioutput="raw_values"))
    np.testing.assert_allclose(r2(true, true), 1)
    np.testing.assert_allclose(r2(true, np.tile(true.mean(axis=0), (50, 1))), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (np.ones((5, 2)), np.ones((5, 3)), r"shape \(5, 2\) and predicted \(5, 3\)"),
        (np.arange(5), np.arange(5), r"both must be \(n_times, n_neurons\)"),
        (np.eye(3), np.full((3, 3), np.nan), "not finite"),
        (np.c_[np.arange(4), np.ones(4)], np.ones((4, 2)), r"columns \[1\] are constant"),
    ],
)
def test_r2_refuses(true, predicted, message):
    with pytest.raises(ValueError, match=message):
        r2(true, predicted)


# ---- published values


def test_golden_ensemble_auroc(reference_data):
    """The authors' ten aggregated attention matrices give their published AUROC."""
    paper = reference_data / "paper"
    attention = np.load(paper / "golden" / "causalformer_ensemble.npz")["attention_aggregated_all_seeds"]
    truth = np.load(paper / "networks" / "N05_p0.4_net4.npz")["connectivity"]
    stored = json.loads((paper / "published.json").read_text())["N05_p0.4_net4"]
    assert attention.shape == (10, 5, 5)
    published = auroc(truth, attention.mean(axis=0), protocol="published")
    assert published == pytest.approx(0.99265, abs=5e-6)
    assert published == pytest.approx(stored["auroc_paper_protocol"]["causalformer_ensemble"], abs=1e-9)
    singles = [auroc(truth, a, protocol="published") for a in attention]
    assert singles == pytest.approx(stored["auroc_paper_protocol"]["causalformer_single"], abs=1e-9)


def test_golden_mvgc_scores_give_the_published_auroc(reference_data):
    """The authors' F matrices of all 80 networks, scored here, give their stored AUROC in both protocols."""
    stored = json.loads((reference_data / "paper" / "published.json").read_text())
    assert len(stored) == 80
    for name, values in stored.items():
        network = np.load(reference_data / "paper" / "networks" / f"{name}.npz")
        for criterion in ("aic", "bic"):
            score = network[f"mvgc_{criterion}_max10"]
            ours = auroc(network["connectivity"], score, protocol="published")
            assert ours == pytest.approx(values["auroc_paper_protocol"][f"mvgc_{criterion}"], abs=1e-9), name
            theirs = values["auroc_off_diagonal"][f"mvgc_{criterion}_max10"]
            if (off(network["connectivity"]) != 0).all():  # one network of the 80 is complete
                with pytest.raises(ValueError, match="no non-edges"):
                    auroc(network["connectivity"], score)
            else:
                assert auroc(network["connectivity"], score) == pytest.approx(theirs, abs=1e-9), name


def test_published_values_convert_from_one_protocol_to_the_other(reference_data):
    stored = json.loads((reference_data / "paper" / "published.json").read_text())
    for name, values in stored.items():
        truth = np.load(reference_data / "paper" / "networks" / f"{name}.npz")["connectivity"]
        n, n_negative = len(truth), (off(truth) == 0).sum()
        published = values["auroc_paper_protocol"]["causalformer_ensemble"]
        expected = values["auroc_off_diagonal"]["causalformer_ensemble"]
        if n_negative > 0:  # one network of the 80 is complete
            assert (published * (n_negative + n) - n) / n_negative == pytest.approx(expected, abs=1e-9), name


def test_protocols_are_named():
    assert metrics.PROTOCOLS == PROTOCOLS

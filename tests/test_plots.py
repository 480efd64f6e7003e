"""The figures: what they show, where it stands, and that they leave nothing behind."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from causalkit import metrics, plots, simulate
from causalkit.plots.style import BLACK, BLUE, RED


@pytest.fixture(autouse=True)
def figures_are_closed():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def recording():
    return simulate.izhikevich(5, 0.6, n_steps=400, random_state=2)


@pytest.fixture
def chain():
    """n1 excites n0, n2 inhibits n1: entry [target, source]."""
    weights = np.array([[0, 5, 0], [0, 0, -5], [0, 0, 0]])
    names = ["a", "b", "c"]
    return xr.DataArray(weights, dims=("target", "source"), coords={"target": names, "source": names})


@pytest.fixture
def training():
    losses = np.array([[0.9, 0.5, 0.4, 0.45], [0.8, 0.3, 0.35, np.nan]])
    return xr.Dataset(
        {
            "train_loss": (("seed", "epoch"), losses - 0.1),
            "validation_loss": (("seed", "epoch"), losses),
            "best_epoch": ("seed", [2, 1]),
        },
        coords={"epoch": np.arange(4), "seed": [10, 11]},
    )


def auroc_table(n_networks, methods=("MVGC", "Causalformer"), low=0.8):
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [(5, 10, 20), (0.2, 0.4), methods, range(n_networks)],
        names=["n_neurons", "connection_probability", "method", "network"],
    )
    return index.to_frame(index=False).assign(auroc=rng.uniform(low, 1, len(index)))


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_raster_has_one_mark_per_spike_at_its_time_and_neuron(recording):
    ax = plots.raster(recording)
    for i, marks in enumerate(ax.collections):
        expected = recording.time.values[recording.spikes.values[:, i]]
        np.testing.assert_array_equal(marks.get_positions(), expected)
        assert marks.get_lineoffset() == i
    assert len(ax.collections) == 5
    assert ax.get_xlabel() == "time (ms)" and ax.get_ylabel() == "neuron"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["n0", "n1", "n2", "n3", "n4"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first neuron is on top"
    assert to_hex(ax.collections[0].get_color()) == RED.lower()
    assert to_hex(ax.collections[4].get_color()) == BLUE.lower()
    assert legend_texts(ax.get_legend()) == ["excitatory", "inhibitory"]


def test_raster_of_a_spike_recording_without_cell_types(recording):
    counts = xr.Dataset(
        {"activity": recording.spikes.astype("float32")}, attrs={"kind": "spikes", "dt_ms": 1.0}
    )
    ax = plots.raster(counts)
    assert sum(len(marks.get_positions()) for marks in ax.collections) == int(recording.spikes.sum())
    assert ax.get_legend() is None


def test_raster_without_spikes_says_what_to_do(recording):
    with pytest.raises(ValueError, match="no spikes.*pass spikes= to from_array"):
        plots.raster(recording.drop_vars("spikes"))


def test_voltage_traces_are_the_activity_with_a_threshold_each(recording):
    ax = plots.voltage_traces(recording, threshold_mv=30)
    thresholds = [line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1]
    traces = [line for line in ax.lines if len(line.get_xdata()) == 400]
    assert len(thresholds) == len(traces) == 5
    for i, (trace, threshold) in enumerate(zip(traces, thresholds, strict=True)):
        shown_mv = trace.get_ydata() - threshold + 30
        np.testing.assert_allclose(shown_mv, recording.activity.values[:, i], atol=1e-3)
    assert np.diff(thresholds).max() < -60, "rows do not overlap, the first neuron is on top"
    assert ax.get_xlabel() == "time (ms)" and "(mV)" in ax.get_ylabel()
    assert "threshold 30 mV" in legend_texts(ax.get_legend())
    assert [text.get_text() for text in ax.texts] == ["50 mV"]


def test_traces_of_other_kinds_have_no_threshold_and_no_mv(recording):
    ax = plots.voltage_traces(recording.drop_vars("cell_type"), threshold_mv=None)
    assert len(ax.lines) == 5 and "mV" not in ax.get_ylabel() and ax.get_legend() is None


def test_network_graph_points_from_source_to_target(chain):
    ax = plots.network_graph(chain)
    edges = {patch.get_gid(): patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)}
    assert set(edges) == {"excitatory edge", "inhibitory edge"}
    place = {text.get_text(): np.array(text.get_position()) for text in ax.texts}
    assert set(place) == {"a", "b", "c"}
    for kind, source, target, color in (("excitatory", "b", "a", RED), ("inhibitory", "c", "b", BLUE)):
        edge = edges[f"{kind} edge"]
        start, end = edge._posA_posB
        np.testing.assert_allclose(start, place[source])
        np.testing.assert_allclose(end, place[target])
        assert to_hex(edge.get_edgecolor()) == color.lower()
    arrow, bar = (type(edges[f"{kind} edge"].get_arrowstyle()) for kind in ("excitatory", "inhibitory"))
    assert arrow is not bar, "cell types differ in shape, not only in color"
    assert legend_texts(ax.get_legend()) == ["excites (arrow)", "inhibits (bar)"]


@pytest.mark.parametrize("n_neurons", [5, 20, 40])
def test_network_graph_has_every_edge(n_neurons):
    weights, cell_type = simulate.random_wiring(n_neurons, 0.4, 0)
    ax = plots.network_graph(weights, cell_type)
    kinds = [patch.get_gid() for patch in ax.patches]
    assert len(kinds) == (weights != 0).sum()
    assert kinds.count("inhibitory edge") == (weights < 0).sum()


def test_boolean_graph_is_black_and_unlabelled(chain):
    ax = plots.network_graph(chain != 0)
    assert [to_hex(patch.get_edgecolor()) for patch in ax.patches] == [BLACK] * 2
    assert ax.get_legend() is None


def test_graph_without_edges_shows_its_neurons():
    ax = plots.network_graph(np.zeros((4, 4)))
    assert not ax.patches and len(ax.texts) == 4


def test_graph_of_scores_or_of_no_square_is_refused(chain):
    with pytest.raises(ValueError, match=r"NaN values, as scores do.*connectivity.adjacency"):
        plots.network_graph(chain.where(chain != 0))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), which is not square.*row a target"):
        plots.network_graph(np.zeros((2, 3)))


def shown_matrix(ax):
    return np.ma.filled(ax.images[0].get_array().astype(float), np.nan)


def test_connectivity_pair_rows_are_targets(chain):
    score = xr.Dataset({"score": chain.astype(float) ** 2 + np.arange(3)[:, None]}).transpose(
        "source", "target"
    )
    truth_ax, estimate_ax = plots.connectivity_pair(chain, score)
    np.testing.assert_array_equal(shown_matrix(truth_ax), [[np.nan, 1, 0], [0, np.nan, -1], [0, 0, np.nan]])
    np.testing.assert_array_equal(
        shown_matrix(estimate_ax), [[np.nan, 25, 0], [1, np.nan, 26], [2, 2, np.nan]]
    )
    for ax in (truth_ax, estimate_ax):
        assert ax.get_xlabel() == "source neuron" and ax.get_ylabel() == "target neuron"
        assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
        assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first target is on top"
    assert truth_ax.get_title() == "truth\n2 edges in 6 pairs"
    assert estimate_ax.get_title() == "estimate, AUROC 1.00\n(off diagonal)"
    bars = [ax for ax in truth_ax.figure.axes if ax not in (truth_ax, estimate_ax)]
    assert [ax.get_xlabel() for ax in bars] == ["connection", "score"]
    assert [t.get_text() for t in bars[0].get_xticklabels()] == ["inhibitory", "none", "excitatory"]


def test_connectivity_pair_matches_neurons_by_name(chain):
    score = chain.astype(float) ** 2 + np.arange(3)[:, None] * 0.1
    turned = xr.Dataset({"score": score}).isel(target=[2, 0, 1], source=[1, 2, 0])
    for truth in (chain, xr.Dataset({"connectivity": chain})):  # a recording, for example
        truth_ax, estimate_ax = plots.connectivity_pair(truth, turned)
        shown = score.where(~np.eye(3, dtype=bool))
        np.testing.assert_array_equal(shown_matrix(estimate_ax), shown)
        np.testing.assert_array_equal(shown_matrix(truth_ax), np.sign(chain).where(~np.eye(3, dtype=bool)))
        assert [t.get_text() for t in estimate_ax.get_xticklabels()] == ["a", "b", "c"]
        assert estimate_ax.get_title() == "estimate, AUROC 1.00\n(off diagonal)"
    unnamed = chain.values
    _, by_position = plots.connectivity_pair(unnamed, turned)
    assert f"AUROC {metrics.auroc(unnamed, turned):.2f}" in by_position.get_title()
    np.testing.assert_array_equal(
        shown_matrix(by_position), np.where(np.eye(3), np.nan, turned.score.transpose("target", "source"))
    )
    with pytest.raises(ValueError, match="name different target neurons"):
        plots.connectivity_pair(chain, turned.assign_coords(target=["a", "b", "x"]))


def test_connectivity_pair_takes_a_recording(recording):
    truth_ax, estimate_ax = plots.connectivity_pair(recording, np.abs(recording.connectivity))
    assert truth_ax.get_title().startswith("truth") and "AUROC 1.00" in estimate_ax.get_title()


def test_connectivity_pair_names_the_protocol_it_was_asked_for(chain):
    score = np.array([[9.0, 2, 1], [0, 9, 0.5], [1, 0, 9]])
    _, off = plots.connectivity_pair(chain, score)
    _, published = plots.connectivity_pair(chain, score, protocol="published")
    for ax, protocol in ((off, "off_diagonal"), (published, "published")):
        assert f"{metrics.auroc(chain, score, protocol=protocol):.2f}" in ax.get_title()
    assert off.get_title() != published.get_title()


def test_score_matrices_two_in_a_row_each_with_its_scale():
    rng = np.random.default_rng(0)
    scores = {
        name: rng.random((6, 6)) * scale
        for name, scale in (("trained", 1), ("untrained", 5), ("shuffled", 9))
    }
    axes = plots.score_matrices(scores)
    assert [ax.get_title() for ax in axes] == list(scores)
    assert [ax.images[0].get_clim()[1] for ax in axes] == sorted(ax.images[0].get_clim()[1] for ax in axes)
    assert len(axes[0].figure.axes) == 6, "three matrices, three color bars, no empty panel"
    assert all(np.isnan(np.diag(shown_matrix(ax))).all() for ax in axes)


def test_log_scale_of_scores():
    (ax,) = plots.score_matrices({"F": np.array([[0, 1e-3], [10.0, 0]])}, log=True)
    assert ax.images[0].norm.vmin == pytest.approx(1e-3) and ax.images[0].norm.vmax == pytest.approx(10)


def test_roc_shows_the_auroc_of_each_curve():
    rng = np.random.default_rng(0)
    truth = (rng.random((12, 12)) < 0.4) & ~np.eye(12, dtype=bool)
    good, poor = truth + rng.random((12, 12)), rng.random((12, 12))
    curves = {"good": metrics.roc_curve(truth, good), "poor": metrics.roc_curve(truth, poor)}
    ax = plots.roc(curves)
    assert legend_texts(ax.get_legend()) == [
        f"good: AUROC {metrics.auroc(truth, good):.3f}",
        f"poor: AUROC {metrics.auroc(truth, poor):.3f}",
        "chance: AUROC 0.500",
    ]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), curves["good"]["fpr"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), curves["good"]["tpr"])
    assert len({line.get_linestyle() for line in ax.lines}) == 3, "curves differ in dashes, not only in color"
    assert ax.get_xlabel() == "false positive rate" and ax.get_ylabel() == "true positive rate"
    assert legend_texts(plots.roc(curves["good"]).get_legend())[0].startswith("AUROC")


def test_training_curves_mark_the_weights_that_were_kept(training):
    ax = plots.training_curves(training)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(ax.lines) == 5 and len(dots) == 1
    np.testing.assert_array_equal(dots[0].get_xydata(), [[2, 0.4], [1, 0.3]])
    validation = [line for line in ax.lines if line.get_linestyle() == "-"]
    np.testing.assert_array_equal(validation[1].get_ydata(), training.validation_loss[1])
    assert ax.get_xlabel() == "epoch" and "mean squared error" in ax.get_ylabel()
    assert ax.get_legend().get_title().get_text() == "2 seeds"
    one = plots.training_curves(training.isel(seed=[0]))
    assert one.get_legend().get_title().get_text() == "1 seed"


def test_untrained_network_has_no_curve(training):
    with pytest.raises(ValueError, match="training has no epochs.*max_epochs of at least 1"):
        plots.training_curves(training.isel(epoch=[]))


def test_violins_have_a_row_a_probability_and_a_column_a_size():
    table = auroc_table(10)
    axes = plots.auroc_violins(table)
    assert axes.shape == (2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["N = 5", "N = 10", "N = 20"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["p = 0.2\nAUROC", "p = 0.4\nAUROC"]
    cell = table[(table.n_neurons == 10) & (table.connection_probability == 0.4)]
    medians = [line.get_ydata()[0] for line in axes[1, 1].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(
        medians, [cell[cell.method == m].auroc.median() for m in ("MVGC", "Causalformer")]
    )
    assert all(len(ax.collections) == 2 for ax in axes.flat)
    assert axes[0, 0].get_ylim()[0] < 0.5 < 1 < axes[0, 0].get_ylim()[1]
    assert legend_texts(axes[0, 0].figure.legends[0]) == ["MVGC", "Causalformer", "chance"]


def test_few_networks_are_dots_beside_the_published_median():
    table, published = auroc_table(3), auroc_table(10, low=0.6)
    axes = plots.auroc_violins(table, published)
    ax = axes[0, 2]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    diamonds = [line for line in ax.lines if line.get_marker() == "D"]
    cell = table[(table.n_neurons == 20) & (table.connection_probability == 0.2)]
    theirs = published[(published.n_neurons == 20) & (published.connection_probability == 0.2)]
    assert not ax.collections
    np.testing.assert_array_equal(dots[0].get_ydata(), cell[cell.method == "MVGC"].auroc)
    np.testing.assert_allclose(
        [d.get_ydata()[0] for d in diamonds], theirs.groupby("method", sort=False).auroc.median()
    )
    bars = [line.get_ydata() for line in ax.lines if line.get_marker() == "None" and len(line.get_ydata()) == 2][:2]
    extremes = theirs.groupby("method", sort=False).auroc.agg(["min", "max"])
    np.testing.assert_allclose(bars, extremes)
    # what was computed stands left of what was published, in the same color
    for dot, diamond in zip(dots, diamonds, strict=True):
        assert max(dot.get_xdata()) < diamond.get_xdata()[0]
        assert dot.get_color() == diamond.get_markerfacecolor()
    assert "published median" in legend_texts(ax.figure.legends[0])


def test_violins_leave_out_empty_scores_and_show_what_was_only_published():
    table, published = auroc_table(7), auroc_table(4, methods=("MVGC", "Ensemble"))
    complete = (table.n_neurons == 5) & (table.connection_probability == 0.2) & (table.network > 0)
    table.loc[complete, "auroc"] = np.nan
    axes = plots.auroc_violins(table, published)
    assert not axes[0, 0].collections and len(axes[0, 1].collections) == 2
    dots = [line for line in axes[0, 0].lines if line.get_marker() == "o"]
    assert [len(dot.get_ydata()) for dot in dots[:2]] == [1, 1]
    diamonds = [line.get_xdata()[0] for line in axes[1, 1].lines if line.get_marker() == "D"]
    assert np.round(diamonds).tolist() == [0, 2]  # MVGC, and what only the published table has
    assert "Ensemble" in legend_texts(axes[0, 0].figure.legends[0])


def test_chance_is_higher_where_the_diagonal_counts(rng):
    def chance(**options):
        axes = plots.auroc_violins(auroc_table(3), **options)
        lines = [[line for line in ax.lines if line.get_linestyle() == ":"] for ax in axes.flat]
        return np.reshape([line.get_ydata()[0] for (line,) in lines], axes.shape)

    np.testing.assert_array_equal(chance(), 0.5)
    lifted = chance(protocol="published")
    for (row, column), value in np.ndenumerate(lifted):
        n, p = (5, 10, 20)[column], (0.2, 0.4)[row]
        n_edges = round(p * n * (n - 1))
        off = np.flatnonzero(~np.eye(n, dtype=bool))
        truth = np.zeros((n, n), int)
        truth.flat[rng.choice(off, n_edges, replace=False)] = 1
        blind = [metrics.auroc(truth, rng.random((n, n)), protocol="published") for _ in range(200)]
        assert abs(np.mean(blind) - value) < 5 * np.std(blind) / 200**0.5
    with pytest.raises(ValueError, match="protocol is 'paper'.*off_diagonal"):
        plots.auroc_violins(auroc_table(3), protocol="paper")


def test_violins_of_a_foreign_table_are_refused():
    with pytest.raises(ValueError, match=r"published has no columns \['auroc', 'method'\]"):
        plots.auroc_violins(auroc_table(2), auroc_table(2).drop(columns=["auroc", "method"]))


def test_forecast_traces_compare_the_common_times(recording):
    true = (recording.activity - recording.activity.mean("time")) / recording.activity.std("time")
    predicted = 0.8 * true.isel(time=slice(100, None))
    ax = plots.forecast_traces(true.isel(time=slice(0, 350)), predicted)
    shown = true.isel(time=slice(100, 350))
    assert [len(line.get_xdata()) for line in ax.lines] == [250] * 10
    assert ax.lines[0].get_xdata()[0] == 100
    r2 = metrics.r2(shown.values, 0.8 * shown.values)
    assert [text.get_text() for text in ax.texts] == [f"R² {value:.2f}" for value in r2]
    difference = ax.lines[5].get_ydata() - ax.lines[0].get_ydata()
    np.testing.assert_allclose(difference, -0.2 * shown.values[:, 0], atol=1e-5)
    assert ax.get_xlabel() == "time (ms)" and "z-score" in ax.get_ylabel()
    with pytest.raises(ValueError, match="no time in common"):
        plots.forecast_traces(true.isel(time=slice(0, 50)), predicted)


def test_r2_histogram_counts_every_model():
    r2 = np.random.default_rng(0).normal(0.935, 0.01, (10, 16))
    ax = plots.r2_histogram(r2)
    assert sum(bar.get_height() for bar in ax.patches) == 160
    assert ax.lines[0].get_xdata()[0] == np.median(r2)
    assert ax.get_xlabel() == "test R²" and ax.get_ylabel() == "number of models"
    assert plots.r2_histogram(r2[0], what="neurons").get_ylabel() == "number of neurons"


def every_plot(recording, chain, training):
    """Each function that takes one axes, with data."""
    z = recording.activity / recording.activity.std()
    curve = metrics.roc_curve(chain, np.random.default_rng(0).random((3, 3)))
    return {
        "raster": (recording,),
        "voltage_traces": (recording,),
        "network_graph": (chain,),
        "roc": (curve,),
        "training_curves": (training,),
        "forecast_traces": (z, z),
        "r2_histogram": ([0.9, 0.92, 0.95],),
    }


def test_given_axes_are_used_and_nothing_else_is_opened_or_changed(recording, chain, training):
    before, settings = recording.copy(deep=True), dict(matplotlib.rcParams)
    for name, data in every_plot(recording, chain, training).items():
        figure, ax = plt.subplots()
        assert getattr(plots, name)(*data, ax=ax) is ax
        assert plt.get_fignums() == [figure.number], f"{name} opened another figure"
        plt.close(figure)
    figure, axes = plt.subplots(1, 2)
    assert list(plots.connectivity_pair(chain, np.eye(3) + chain, axes=axes)) == list(axes)
    assert plt.get_fignums() == [figure.number]
    assert dict(matplotlib.rcParams) == settings
    xr.testing.assert_identical(recording, before)


def test_figures_are_white_and_their_text_is_readable_on_a_phone(recording, chain, training):
    for name, data in every_plot(recording, chain, training).items():
        figure = getattr(plots, name)(*data).figure
        pixels_per_point = 390 / figure.get_size_inches()[0] / 72
        sizes = [text.get_fontsize() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(sizes) * pixels_per_point > 9, (
            f"{name} has text of {min(sizes) * pixels_per_point:.1f} pixels"
        )
        assert to_hex(figure.get_facecolor()) == "#ffffff"
        figure.canvas.draw()

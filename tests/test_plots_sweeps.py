"""The figures of sweeps: every network is drawn, and means rest on the same networks."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalkit import plots


@pytest.fixture(autouse=True)
def figures_are_closed():
    plt.close("all")
    yield
    plt.close("all")


def table(values, networks):
    """AUROC of each network (rows) at each value (columns); R² is one less."""
    rows = [
        {"network": str(k), "value": value, "auroc": score, "r2": score - 1}
        for k, scores in enumerate(networks)
        for value, score in zip(values, scores, strict=True)
    ]
    return pd.DataFrame(rows)


def lines(ax, width):
    return [line for line in ax.lines if line.get_linewidth() == width]


def test_curves_have_a_line_a_network_and_their_mean():
    scores = np.array([[0.5, 0.75, 1.0], [0.7, 0.85, 0.9]])
    axes = plots.setting_curves(
        table([1, 10, 2], scores), measures={"auroc": "AUROC", "r2": "R²"}, xlabel="history", default=10
    )
    assert [ax.get_ylabel() for ax in axes] == ["AUROC", "R²"] and axes[0].get_xlabel() == "history"
    for ax, shift in zip(axes, (0, 1), strict=True):
        np.testing.assert_allclose([line.get_ydata() for line in lines(ax, 1)], scores - shift)
        (mean,) = lines(ax, 2.4)
        np.testing.assert_allclose(mean.get_ydata(), [0.6 - shift, 0.8 - shift, 0.95 - shift])
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "10", "2"]
        (default,) = lines(ax, 1.2)
        assert set(default.get_xdata()) == {1}
    assert "default" in {text.get_text() for text in axes[0].figure.legends[0].get_texts()}


def test_mean_leaves_out_networks_that_lack_a_value():
    scores = [[0.5, np.nan, 0.7], [0.7, 0.8, 0.9], [0.9, 0.8, 0.7]]
    (ax,) = plots.setting_curves(table("abc", scores), measures={"auroc": "AUROC"})
    (mean,) = lines(ax, 2.4)
    np.testing.assert_allclose(mean.get_ydata(), [0.8, 0.8, 0.8])
    np.testing.assert_allclose(lines(ax, 1)[0].get_xdata(), [0, 2])
    (ax,) = plots.setting_curves(table("ab", [[0.5, np.nan], [0.7, 0.6]]), measures={"auroc": "AUROC"})
    assert not lines(ax, 2.4)


def test_curves_draw_into_axes_that_are_given():
    _, given = plt.subplots(1, 2)
    drawn = plots.setting_curves(table([1, 2], [[0.5, 0.6]]), given, measures={"auroc": "A", "r2": "R"})
    assert list(drawn) == list(given)


def test_effects_show_each_network_the_mean_and_its_standard_error():
    values = {"leak": [-0.5, -0.3, -0.1], "static": [0.1, 0.3], "linear": [0.2]}
    frame = pd.DataFrame(
        [{"label": name, "network": n, "difference": v} for name, each in values.items() for n, v in enumerate(each)]
    )
    ax = plots.paired_effects(frame)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["leak  (3)", "static  (2)", "linear  (1)"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [sorted(line.get_xdata()) for line in dots] == [sorted(each) for each in values.values()]
    bars = list(ax.containers)
    assert len(bars) == 2  # one network has no standard error
    for bar, each in zip(bars, list(values.values())[:2], strict=True):
        np.testing.assert_allclose(float(bar.lines[0].get_xdata()[0]), np.mean(each))
        (segment,) = bar.lines[2][0].get_segments()
        half = float(segment[1][0] - segment[0][0]) / 2
        np.testing.assert_allclose(half, np.std(each, ddof=1) / np.sqrt(len(each)))
    top, bottom = ax.transData.transform([(0, 0), (0, 2)])[:, 1]
    assert top > bottom


def test_figures_of_sweeps_refuse_tables_that_would_mislead():
    with pytest.raises(ValueError, match=r"no columns \['r2'\]"):
        plots.setting_curves(table([1], [[0.5]]).drop(columns="r2"), measures={"r2": "R²"})
    twice = pd.concat([table([1], [[0.5]])] * 2)
    with pytest.raises(ValueError, match="several rows for a network and value"):
        plots.setting_curves(twice, measures={"auroc": "AUROC"})
    with pytest.raises(ValueError, match=r"no columns \['difference'\]"):
        plots.paired_effects(pd.DataFrame({"label": ["a"], "network": ["b"]}))
    empty = pd.DataFrame({"label": ["a"], "network": ["b"], "difference": [np.nan]})
    with pytest.raises(ValueError, match="run the sweep first"):
        plots.paired_effects(empty)


def test_figures_of_sweeps_leave_the_style_alone():
    before = dict(matplotlib.rcParams)
    plots.setting_curves(table([1, 2], [[0.5, 0.6]]), measures={"auroc": "AUROC"})
    plots.paired_effects(pd.DataFrame({"label": ["a"], "network": ["b"], "difference": [0.1]}))
    assert dict(matplotlib.rcParams) == before


def costs():
    """Two methods at two sizes and two lengths, and one of them at a size of its own."""
    rows = [(m, s, n, t, n * t * k) for k, m in ((1, "a"), (2, "b"))
            for s, n, t in (("neurons", 10, 50), ("neurons", 5, 50), ("times", 5, 50), ("times", 5, 90))]  # fmt: skip
    return pd.DataFrame([*rows, ("a", "largest", 99, 999, 9)], columns=["method", "sweep", "n", "t", "seconds"])


def test_costs_are_drawn_against_what_was_varied():
    sizes = {"neurons": ("n", "neurons"), "times": ("t", "steps")}
    axes = plots.cost_curves(costs(), measures={"seconds": "seconds"}, sizes=sizes)
    assert axes.shape == (1, 2) and [ax.get_xlabel() for ax in axes[0]] == ["neurons", "steps"]
    for ax, x, y, cross in zip(axes[0], ([5, 10], [50, 90]), ([250, 500], [250, 450]), (99, 999), strict=True):
        assert ax.get_xscale() == ax.get_yscale() == "log"
        a, a_single, b, b_single = ax.lines
        assert a.get_xdata().tolist() == b.get_xdata().tolist() == x and a.get_ydata().tolist() == y
        assert b.get_ydata().tolist() == [2 * value for value in y]
        assert a_single.get_xdata().tolist() == [cross] and not len(b_single.get_xdata())
    assert [text.get_text() for text in axes[0, 0].figure.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(ValueError, match="no columns \\['seconds'\\]"):
        plots.cost_curves(costs().drop(columns="seconds"), measures={"seconds": "seconds"}, sizes=sizes)

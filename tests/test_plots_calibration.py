"""Figures of p-values, discoveries and recording length: what they show is what the table holds."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causalkit import plots


@pytest.fixture(autouse=True)
def figures_are_closed():
    plt.close("all")
    yield
    plt.close("all")


def shares(group, level, values):
    return pd.DataFrame({"group": group, "level": level, "share": values})


def interval_of(container):
    """Lower and upper ends of an errorbar's intervals."""
    (bars,) = container.lines[2]
    return np.array([[segment[0, 1], segment[1, 1]] for segment in bars.get_segments()])


def test_reliability_shows_means_and_students_intervals_over_networks():
    values = [0.02, 0.06, 0.07, np.nan]
    table = pd.concat([shares("a", 0.05, values), shares("a", 0.5, [0.5] * 4), shares("b", 0.05, [0.1]),
                       shares("b", 0.5, [0.9])])  # fmt: skip
    ax = plots.reliability(table, confidence=0.9)
    a, b = ax.containers
    assert [container.get_label() for container in ax.containers] == ["a", "b"]
    np.testing.assert_allclose(a.lines[0].get_xydata()[:, 1], [0.05, 0.5])
    interval = stats.ttest_1samp(values[:3], 0).confidence_interval(0.9)
    np.testing.assert_allclose(interval_of(a)[0], [interval.low, interval.high])
    np.testing.assert_allclose(interval_of(b), [[0.1, 0.1], [0.9, 0.9]])  # one network has no spread
    x = [container.lines[0].get_xydata()[:, 0] for container in (a, b)]
    np.testing.assert_allclose(x[0] * x[1], [0.05**2, 0.5**2])  # side by side, about the level
    diagonal = next(line for line in ax.lines if line.get_label() == "p-values hold")
    np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_uniform_p_values_lie_on_the_diagonal_and_others_do_not():
    rng, levels = np.random.default_rng(0), [0.01, 0.05, 0.2, 0.5]
    for power, reliable in ((1, True), (2, False)):
        p = rng.random((400, 50)) ** power
        table = pd.concat([shares("p", level, (p < level).mean(axis=1)) for level in levels])
        container = plots.reliability(table, confidence=0.999).containers[0]
        ends = interval_of(container)
        assert np.all((ends[:, 0] < levels) & (levels < ends[:, 1])) == reliable


def test_discovery_curves_join_the_rates_of_a_group():
    table = pd.DataFrame({
        "group": ["a"] * 4 + ["b"] * 2, "rate": [0.1, 0.1, 0.2, 0.2, 0.1, 0.2],
        "allowed": [0.05, 0.07, 0.1, 0.14, 0.02, 0.04], "false": [0.0, 0.1, 0.2, 0.2, 0.01, 0.05],
        "power": [0.4, 0.6, 0.8, 1.0, 0.9, 0.95],
    })  # fmt: skip
    left, right = plots.discovery_curves(table)
    np.testing.assert_allclose(left.containers[0].lines[0].get_xydata(), [[0.06, 0.05], [0.12, 0.2]])
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.05, 0.5], [0.2, 0.9]])
    np.testing.assert_allclose(right.lines[1].get_xydata(), [[0.01, 0.9], [0.05, 0.95]])
    assert interval_of(left.containers[0]).min() >= 0  # a share is not negative
    assert [text.get_text() for text in left.figure.legends[0].get_texts()] == ["a", "b", "as allowed"]


def test_length_curves_show_every_network_and_say_what_was_refused():
    table = pd.DataFrame({
        "n_neurons": 5, "method": "m", "n_steps": [100, 100, 1000, 1000], "auroc": [np.nan, 0.6, 0.8, 0.9],
    })  # fmt: skip
    (ax,) = plots.length_curves(table)
    dots, mean, refused = ax.lines[:3]
    np.testing.assert_allclose(dots.get_xydata()[1:], [[100, 0.6], [1000, 0.8], [1000, 0.9]])
    np.testing.assert_allclose(mean.get_ydata(), [np.nan, 0.85])  # no mean of those alone that were not refused
    assert refused.get_xdata().tolist() == [100] and refused.get_ydata()[0] > ax.get_ylim()[0]
    assert "refused: too short" in [text.get_text() for text in ax.figure.legends[0].get_texts()]
    (ax,) = plots.length_curves(table.dropna())
    assert "refused: too short" not in [text.get_text() for text in ax.figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", [plots.reliability, plots.discovery_curves, plots.length_curves])
def test_tables_without_a_column_are_refused(draw):
    with pytest.raises(ValueError, match="the table has no columns"):
        draw(pd.DataFrame({"group": ["a"]}))

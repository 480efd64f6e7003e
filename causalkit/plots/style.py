"""What all figures share: colors, text sizes, new axes, legends."""

from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D

# Okabe and Ito's palette, which stays apart in the common forms of color blindness.
RED, BLUE, ORANGE, GREEN, PINK, SKY = "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
BLACK, GRAY = "#222222", "#8A8A8A"
PALETTE = [BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK]
DASHES = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), "-"]
CELL_COLORS = {"excitatory": RED, "inhibitory": BLUE}
WIDTH = 5.4  # inches: at 390 pixels, 12 points are 12 pixels high
STYLE = {
    **sns.axes_style("ticks"),
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 12,
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.title_fontsize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.07,
}


def styled(draw):
    """Draw in the book's style, whatever the caller's matplotlib settings are, and leave those alone."""

    @wraps(draw)
    def with_style(*args, **kwargs):
        with plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return with_style


def panels(n_rows=1, n_columns=1, width=WIDTH, height=3.4, **kwargs):
    """Axes of a new figure, an array of shape (n_rows, n_columns)."""
    _, axes = plt.subplots(
        n_rows, n_columns, figsize=(width, height), squeeze=False, layout="constrained", **kwargs
    )
    return axes


def new_axes(width=WIDTH, height=3.4):
    return panels(width=width, height=height)[0, 0]


def neuron_ticks(axis, names, positions=None, most=20):
    """Name every neuron, or every n-th where there are more than fit."""
    positions = np.arange(len(names)) if positions is None else positions
    step = -(-len(names) // most)
    axis.set_ticks(list(positions)[::step], [str(name) for name in names[::step]])


def cell_handles(types, **kwargs):
    """Legend entries of the cell types that occur."""
    return [Line2D([], [], color=c, label=t, **kwargs) for t, c in CELL_COLORS.items() if t in list(types)]


def legend_above(ax, handles):
    if handles:
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            columnspacing=1.2,
            handlelength=1.6,
            borderaxespad=0.2,
        )


def cell_types(recording):
    """Cell type of each neuron, "unknown" where the recording does not say."""
    if "cell_type" in recording:
        return recording["cell_type"].values.astype(str)
    return np.full(recording.sizes["neuron"], "unknown")

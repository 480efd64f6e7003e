"""Every figure of the book, one function each.

Functions take data and an optional `ax`, draw, and return the axes (those with several panels: an array of
axes); they neither show nor save. Colors stay apart for color-blind readers, lines and shapes repeat what
colors say, and text is sized to be read at a phone's width. Matrices are drawn as they are stored: rows are
targets, columns are sources.
"""

from .ancestral import ancestral_graph
from .calibration import discovery_curves, reliability
from .fdr_slider import FDRSlider, fdr_slider, share_slider
from .graphs import connectivity_pair, network_graph, score_matrices
from .lagged import lagged_matrices, rank_spread, ranked_scores
from .lengths import length_curves
from .readouts import lag_profiles, readout_maps, readout_scores
from .recordings import forecast_traces, raster, voltage_traces
from .scores import auroc_violins, r2_histogram, roc, training_curves
from .sweeps import cost_curves, paired_effects, setting_curves

__all__ = [
    "FDRSlider", "ancestral_graph", "auroc_violins", "connectivity_pair", "cost_curves", "discovery_curves",
    "fdr_slider", "forecast_traces", "lag_profiles", "lagged_matrices", "length_curves", "network_graph",
    "paired_effects", "r2_histogram", "rank_spread", "ranked_scores", "raster", "readout_maps", "readout_scores",
    "reliability", "roc", "score_matrices", "setting_curves", "share_slider", "training_curves", "voltage_traces",
]  # fmt: skip

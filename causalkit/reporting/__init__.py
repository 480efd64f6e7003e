"""A page about a recording and its graph that a colleague can open: `report`, and the questions it asks, `diagnose`.

The page is one HTML file. It loads nothing, needs no server, and its own policy forbids any script but its own.
"""

from .diagnostics import (
    Finding,
    coarse_step,
    collinear,
    common_input,
    crowded_graph,
    diagnose,
    low_rates,
    not_stationary,
    too_short,
)
from .page import Report, report

__all__ = [
    "Finding", "Report", "coarse_step", "collinear", "common_input", "crowded_graph", "diagnose", "low_rates",
    "not_stationary", "report", "too_short",
]  # fmt: skip

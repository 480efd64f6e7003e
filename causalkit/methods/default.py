"""The method that is taken where nobody names one."""

from __future__ import annotations

from .base import Method


def default_method(kind: str) -> Method:
    """Return the method for a kind of recording, with its own defaults.

    Parameters
    ----------
    kind : {"voltage", "spikes", "calcium", "other"}

    Returns
    -------
    Method
        `SpikeIndexGranger` for spikes, `MVGC` for calcium, which the others refuse, `SingleIndexGranger` for the rest.
    """
    from . import get  # not at the top: the table imports the methods

    return get({"spikes": "spike_index", "calcium": "mvgc"}.get(kind, "single_index"))()

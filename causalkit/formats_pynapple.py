"""Objects of pynapple: values of a Tsd or TsdFrame, and the spikes of a TsGroup to be counted in bins."""

from __future__ import annotations

import numpy as np

from .series import Entry, Traces, Trains


def is_one(data):
    """Whether it is an object of pynapple."""
    return type(data).__module__.split(".")[0] == "pynapple"


def entries(data):
    """The one thing that there is."""
    kind = type(data).__name__
    if kind == "TsGroup":
        return [Entry("spikes", kind, f"{len(data)} neurons", "", "spike times", True, lambda: _trains(data))]
    if kind not in ("Tsd", "TsdFrame"):
        raise TypeError(f"a pynapple {kind} is no recording: give a Tsd, a TsdFrame, or a TsGroup with bin_ms")
    return [Entry("values", kind, " x ".join(map(str, np.shape(data.values))), "", "", True, lambda: _traces(data))]


def _spans(data):
    support = data.time_support
    return 1000 * np.column_stack([np.asarray(support.start), np.asarray(support.end)])


def _traces(data):
    time, spans = 1000 * np.asarray(data.t, dtype=float), _spans(data)
    columns = getattr(data, "columns", None)
    trial = None
    if len(spans) > 1:  # an interval includes its end
        trial = np.searchsorted(spans[:, 0], time + 1e-9, side="right") - 1
    return Traces(
        f"the {type(data).__name__}", np.asarray(data.values),
        ["n0"] if columns is None else [str(name) for name in columns], time=time, trial=trial,
        kind="voltage",
    )  # fmt: skip


def _trains(group):
    spans, keys = _spans(group), list(group.keys())
    where = {"intervals": spans} if len(spans) > 1 else {"start_ms": float(spans[0, 0]), "stop_ms": float(spans[0, 1])}
    return Trains(
        "the TsGroup", [f"u{key}" for key in keys], lambda i: 1000 * np.asarray(group[keys[i]].t, dtype=float), **where
    )

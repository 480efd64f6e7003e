"""Objects of Neo: AnalogSignals, and SpikeTrains to be counted in bins."""

from __future__ import annotations

import numpy as np

from .series import Entry, Traces, Trains, per_second


def is_one(data):
    """Whether it is an object of Neo, or a list of spike trains."""
    if isinstance(data, list | tuple):
        return bool(data) and all(is_one(each) and type(each).__name__ == "SpikeTrain" for each in data)
    return type(data).__module__.split(".")[0] == "neo"


def entries(data):
    """What there is to choose from."""
    if isinstance(data, list | tuple) or type(data).__name__ == "SpikeTrainList":
        return [_of_trains([list(data)])]
    kind = type(data).__name__
    if kind == "SpikeTrain":
        return [_of_trains([[data]])]
    if kind == "AnalogSignal":
        return [_of_signals(_name(data, 0), [data])]
    if kind not in ("Block", "Segment"):
        raise TypeError(
            f"a Neo {kind} is no recording: give a Block, a Segment, an AnalogSignal or a list of SpikeTrains"
        )
    segments = list(data.segments) if kind == "Block" else [data]
    if not segments:
        return []
    found = []
    for place in range(min(len(segment.analogsignals) for segment in segments)):
        signals = [segment.analogsignals[place] for segment in segments]
        found.append(_of_signals(_name(signals[0], place), signals))
    if all(len(segment.spiketrains) for segment in segments):
        found.append(_of_trains([list(segment.spiketrains) for segment in segments]))
    return found


def _name(signal, place):
    return str(signal.name or f"analogsignal{place}")


def _of_signals(name, signals):
    first = signals[0]
    dt_ms = float(first.sampling_period.rescale("ms"))
    return Entry(
        name, "AnalogSignal", " x ".join(map(str, first.shape)), per_second(dt_ms), str(first.dimensionality),
        first.shape[1] > 1, lambda: _traces(name, signals, dt_ms),
    )  # fmt: skip


def _traces(name, signals, dt_ms):
    shapes = {signal.shape[1:] for signal in signals}
    steps = {round(float(signal.sampling_period.rescale("ms")), 9) for signal in signals}
    if len(shapes) > 1 or len(steps) > 1:
        raise ValueError(
            f"the segments' signals {name!r} differ in their number of channels or in their rate: trials must be "
            "alike; convert the segments one by one"
        )
    first = signals[0]
    several = len(signals) > 1
    clock = {"start_ms": float(first.t_start.rescale("ms"))}
    if several:
        clock = {
            "time": np.concatenate([float(s.t_start.rescale("ms")) + np.arange(len(s)) * dt_ms for s in signals]),
            "trial": np.repeat(np.arange(len(signals)), [len(s) for s in signals]),
        }
    values = np.concatenate([np.asarray(s.rescale(first.units)) for s in signals]) if several else np.asarray(first)
    return Traces(
        f"the signal {name}", values, _channels(first), dt_ms=round(dt_ms, 9),
        attributes={"series": name, "unit": str(first.dimensionality)}, **clock,
    )  # fmt: skip


def _channels(signal):
    n = signal.shape[1]
    named = (signal.array_annotations or {}).get("channel_names")
    if named is not None and len(set(map(str, named))) == n:
        return [str(name) for name in named]
    return [f"n{i}" for i in range(n)]


def _of_trains(segments):
    n = len(segments[0])
    return Entry("spiketrains", "SpikeTrain", f"{n} neurons", "", "spike times", n > 1, lambda: _trains(segments))


def _trains(segments):
    if len({len(trains) for trains in segments}) > 1:
        raise ValueError(
            "the segments hold different numbers of spike trains: neurons are told apart by their place; convert the "
            "segments one by one"
        )
    names = [str(train.name or f"n{i}") for i, train in enumerate(segments[0])]
    if len(set(names)) < len(names):
        names = [f"n{i}" for i in range(len(names))]
    spans = np.array([
        [max(float(t.t_start.rescale("ms")) for t in trains), min(float(t.t_stop.rescale("ms")) for t in trains)]
        for trains in segments
    ])  # fmt: skip
    order = np.argsort(spans[:, 0], kind="stable")
    starts = spans[order, 0]
    # Segments may each begin at 0: then they are laid one after the other, and each is a trial
    apart = len(spans) == 1 or (starts[1:] >= spans[order, 1][:-1] - 1e-6).all()
    lengths = spans[:, 1] - spans[:, 0]
    shift = np.zeros(len(spans)) if apart else np.cumsum(lengths) - lengths - spans[:, 0]

    def times(i):
        # those at t_start belong to this segment, those at its end to none
        parts = [_within(trains[i], *span) + by for trains, span, by in zip(segments, spans, shift, strict=True)]
        return np.concatenate(parts)

    if len(spans) == 1:
        return Trains("the spike trains", names, times, start_ms=float(spans[0, 0]), stop_ms=float(spans[0, 1]))
    return Trains("the spike trains", names, times, intervals=spans + shift[:, None])


def _within(train, start, stop):
    times = np.asarray(train.rescale("ms"), dtype=float)
    return times[(times >= start) & (times < stop)]

"""Recordings as tensors: windows of history and the step that follows, for methods that forecast."""

from dataclasses import dataclass

import numpy as np
import torch

from causalkit.recording import split, window_starts

__all__ = ["MIN_WINDOWS", "Scaling", "Windows"]

MIN_WINDOWS = 10  # six to train on, two to validate, two to test


@dataclass
class Windows:
    """A recording cut into windows: `context` steps of all neurons, then the step to forecast.

    Attributes
    ----------
    activity : (n_times, n_neurons)
        Z-scored.
    clock : (n_times,)
        Time of each row as the networks are given it, see `Scaling`.
    starts : (n_windows,)
        First row of each window; none crosses a trial border.
    context : int
        History steps of a window.
    scaling : Scaling
        What activity and time were scaled by.
    domain : (n_windows,) or None
        Number of the regime of the step that each window forecasts, where the windows are split within regimes.
    train, validation, test : (n, )
        Indices of the windows of each part, 60, 20 and 20 % in the order of time: of the recording, or of each regime.
    """

    activity: torch.Tensor
    clock: torch.Tensor
    starts: torch.Tensor
    context: int
    scaling: "Scaling"
    domain: torch.Tensor | None = None

    @classmethod
    def cut(cls, recording, context, normalization, device, scaling=None, domain=None) -> "Windows":
        """Cut `recording` to fit on it, or, given the `scaling` of an earlier fit, to forecast it.

        With `domain` (n_times,), the regime of each row, the windows of every regime are split for themselves: the last
        part of a recording whose regimes follow each other may be of one that no training window is of.

        Raises
        ------
        ValueError
            If there are too few windows, values that are not finite, or a neuron that is constant in the rows
            that scale it (`normalization` "train": the training part; "paper": all rows).
        """
        starts = window_starts(recording, context)
        fewest = 1 if scaling else MIN_WINDOWS
        if len(starts) < fewest:
            raise ValueError(
                f"the recording has {len(starts)} windows of {context} + 1 steps within a trial, and {fewest} are "
                "needed: there would be nothing to learn from or to forecast; use longer trials or a smaller context"
            )
        regime = None if domain is None else np.unique(np.asarray(domain)[starts + context], return_inverse=True)[1]
        train, *held_out = _parts(len(starts), regime) if scaling is None else [None]
        if not all(map(len, held_out)):
            raise ValueError(
                "no regime has the five windows of which one is validated on and one tested: use longer regimes, or "
                "leave out the variable domain"
            )
        values = recording["activity"].values.astype(np.float64)
        if not np.isfinite(values).all():
            bad = recording["neuron"].values[~np.isfinite(values).all(0)].tolist()
            raise ValueError(
                f"activity has values that are not finite in neurons {bad}: forecasts would be NaN; interpolate them"
            )
        if scaling is None:
            if normalization == "paper":
                rows = slice(None)
            elif regime is None:
                rows = slice(0, int(starts[train[-1]]) + context + 1)
            else:
                rows = np.unique(starts[train][:, None] + np.arange(context + 1))
            scaling = Scaling.of(recording, rows)
        return cls(
            torch.tensor((values - scaling.mean) / scaling.sd, dtype=torch.float32, device=device),
            torch.tensor(scaling.clock(recording["time"].values), dtype=torch.float32, device=device),
            torch.tensor(starts, device=device), context, scaling,
            None if regime is None else torch.tensor(regime, device=device),
        )  # fmt: skip

    def _part(self, number):
        regime = None if self.domain is None else self.domain.cpu().numpy()
        return torch.as_tensor(_parts(len(self.starts), regime)[number], device=self.starts.device)

    train = property(lambda self: self._part(0))
    validation = property(lambda self: self._part(1))
    test = property(lambda self: self._part(2))

    def inputs(self, windows):
        """History (S, B, N, L), its clock (S, B, L) and the target's (S, B, 1) for `windows` (S, B)."""
        rows = self.starts[windows][..., None] + torch.arange(self.context, device=self.starts.device)
        history = self.activity[rows].transpose(-2, -1).contiguous()  # (S, B, L, N) -> (S, B, N, L)
        return history, self.clock[rows], self.clock[rows[..., -1:] + 1]

    def targets(self, windows):
        """The values to forecast, (S, B, N)."""
        return self.activity[self.starts[windows] + self.context]


def _parts(n_windows, regime=None):
    """Indices of training, validation and test windows; with the number of each window's regime, regime by regime."""
    if regime is None:
        return [np.arange(part.start, part.stop) for part in split(n_windows)]
    order = np.argsort(regime, kind="stable")
    size = np.bincount(regime)
    place = np.empty(n_windows, dtype=int)  # among the windows of its regime
    place[order] = np.arange(n_windows) - np.repeat(size.cumsum() - size, size)
    fifth = 5 * place // size[regime]
    return [np.flatnonzero(fifth < 3), np.flatnonzero(fifth == 3), np.flatnonzero(fifth == 4)]


@dataclass(frozen=True)
class Scaling:
    """What a recording was scaled by when it was fitted; applied to any later recording.

    Attributes
    ----------
    mean, sd : (n_neurons,)
        Of each neuron's activity.
    origin_ms, unit_ms, end : float
        The clock of the networks is (time - origin) / unit, held within 0 and `end`. The unit is 1,000 steps (a
        second, in the paper), or a fifth of a recording longer than 5,000: a network's response to time is linear
        and unbounded, so hours or absolute time stamps would drown the activity.
    """

    mean: np.ndarray
    sd: np.ndarray
    origin_ms: float
    unit_ms: float
    end: float

    @classmethod
    def of(cls, recording, rows) -> "Scaling":
        """The scaling of `recording` by the mean and standard deviation of the given rows."""
        values = recording["activity"].values[rows].astype(np.float64)
        mean, sd = values.mean(0), values.std(0)
        if not (sd > 0).all():
            silent = recording["neuron"].values[sd == 0].tolist()
            raise ValueError(
                f"neurons {silent} are constant in the training part (the first 60 % of the windows): they "
                "cannot be scaled to unit variance; drop them, or use normalization='paper'"
            )
        time, dt_ms = recording["time"].values, float(recording.attrs["dt_ms"])
        unit_ms = max(1000 * dt_ms, float(time[-1] - time[0]) / 5)
        return cls(mean, sd, float(time[0]), unit_ms, float(time[-1] - time[0]) / unit_ms)

    def clock(self, time_ms):
        return np.clip((np.asarray(time_ms, dtype=np.float64) - self.origin_ms) / self.unit_ms, 0.0, self.end)

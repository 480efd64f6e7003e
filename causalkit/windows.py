"""Recordings as tensors: windows of history and the step that follows, for methods that forecast."""

from dataclasses import dataclass

import numpy as np
import torch

from causalkit.recording import split, window_starts

__all__ = ["Windows"]


@dataclass
class Windows:
    """A recording cut into windows: `context` steps of all neurons, then the step to forecast.

    Attributes
    ----------
    activity : (n_times, n_neurons)
        Z-scored.
    time_s : (n_times,)
        Time of each row in seconds.
    starts : (n_windows,)
        First row of each window; none crosses a trial border.
    context : int
        History steps of a window.
    scaling : (mean, sd), each (n_neurons,)
        What the activity was scaled by.
    train, validation, test : (n, )
        Indices of the windows of each part, 60, 20 and 20 % in the order of time.
    """

    activity: torch.Tensor
    time_s: torch.Tensor
    starts: torch.Tensor
    context: int
    scaling: tuple[np.ndarray, np.ndarray]

    @classmethod
    def cut(cls, recording, context, normalization, device, scaling=None) -> "Windows":
        """Cut `recording`; `normalization` is "train" or "paper" (all rows), unless `scaling` is given.

        Raises
        ------
        ValueError
            If there are fewer than five windows, or a neuron is constant in the rows that scale it.
        """
        starts = window_starts(recording, context)
        if len(starts) < 5:
            raise ValueError(
                f"the recording has {len(starts)} windows of {context} + 1 steps within a trial: training, "
                "validation and test need five at least; use longer trials or a smaller context"
            )
        values = recording["activity"].values.astype(np.float64)
        if scaling is None:
            train_rows = slice(0, int(starts[split(len(starts))[0].stop - 1]) + context + 1)
            rows = values if normalization == "paper" else values[train_rows]
            scaling = rows.mean(0), rows.std(0)
            if not (scaling[1] > 0).all():
                silent = recording["neuron"].values[scaling[1] == 0].tolist()
                raise ValueError(
                    f"neurons {silent} are constant in the training part (the first 60 % of the windows): they "
                    "cannot be scaled to unit variance; drop them, or use normalization='paper'"
                )
        mean, sd = scaling
        return cls(
            torch.tensor((values - mean) / sd, dtype=torch.float32, device=device),
            torch.tensor(recording["time"].values / 1000, dtype=torch.float32, device=device),
            torch.tensor(starts, device=device), context, scaling,
        )  # fmt: skip

    def _part(self, number):
        part = split(len(self.starts))[number]
        return torch.arange(part.start, part.stop, device=self.starts.device)

    train = property(lambda self: self._part(0))
    validation = property(lambda self: self._part(1))
    test = property(lambda self: self._part(2))

    def inputs(self, windows):
        """History (S, B, N, L), its times (S, B, L) and the target's time (S, B, 1) of `windows` (S, B)."""
        rows = self.starts[windows][..., None] + torch.arange(self.context, device=self.starts.device)
        history = self.activity[rows].transpose(-2, -1).contiguous()  # (S, B, L, N) -> (S, B, N, L)
        return history, self.time_s[rows], self.time_s[rows[..., -1:] + 1]

    def targets(self, windows):
        """The values to forecast, (S, B, N)."""
        return self.activity[self.starts[windows] + self.context]

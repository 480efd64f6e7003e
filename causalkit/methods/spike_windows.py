"""Windows of spike tokens for networks: a past that is only looked at, and a present whose spikes are forecast."""

from dataclasses import dataclass

import numpy as np
import torch

from causalkit.recording import split
from causalkit.spike_tokens import steps_of
from causalkit.windows import MIN_WINDOWS

__all__ = ["Batch", "TokenWindows"]


@dataclass(frozen=True)
class Batch:
    """Tokens of some windows, padded to the longest: all (S, B, T).

    Attributes
    ----------
    neuron, interval, age : integer tensors
        Identity; steps since the token before; steps since the window's beginning.
    valid, present : bool tensors
        Whether there is a token; whether it lies in the present and not in the past.
    """

    neuron: torch.Tensor
    interval: torch.Tensor
    age: torch.Tensor
    valid: torch.Tensor
    present: torch.Tensor


@dataclass
class TokenWindows:
    """Tokens cut into windows: `past` steps, then `present` steps; the presents follow each other without a gap.

    Attributes
    ----------
    neuron, interval, clock : (n_tokens,)
        The clock counts the steps of all trials, with `past` empty steps between two: no window reaches into another.
    begin, first, now, end : (n_windows,)
        Clock at which a window begins; its first token, the first of its present, and the one after its last. A window
        without a spike in its present is none.
    session : (n_windows,)
    past : int
    step_ms : float
    """

    neuron: torch.Tensor
    interval: torch.Tensor
    clock: torch.Tensor
    begin: torch.Tensor
    first: torch.Tensor
    now: torch.Tensor
    end: torch.Tensor
    session: torch.Tensor
    past: int
    step_ms: float

    @classmethod
    def cut(cls, tokens, past, present, device="cpu", fewest=MIN_WINDOWS) -> "TokenWindows":
        """Cut `tokens` (`causalkit.spike_tokens.tokenize`) by steps.

        Raises
        ------
        ValueError
            If fewer than `fewest` windows hold a spike.
        """
        lengths = tokens["n_steps"].values
        offset = past + np.cumsum(lengths + past) - (lengths + past)
        clock = steps_of(tokens) + np.repeat(offset, tokens["n_tokens"].values)
        starts = [o + np.arange(0, n - present + 1, present) for o, n in zip(offset, lengths, strict=True)]
        session = np.repeat(tokens["session"].values, [len(s) for s in starts])
        starts = np.concatenate(starts)
        first, now, end = (np.searchsorted(clock, starts + shift) for shift in (-past, 0, present))
        some = end > now
        if some.sum() < fewest:
            raise ValueError(
                f"the recording has {some.sum()} windows of {present} steps that hold a spike, and {fewest} are needed:"
                " there would be nothing to learn from or to read; record longer, or lower present_ms"
            )
        columns = (tokens["neuron_id"].values, tokens["interval"].values, clock, (starts - past)[some], first[some],
                   now[some], end[some], session[some])  # fmt: skip
        return cls(*(torch.tensor(column, device=device) for column in columns), past, tokens.attrs["dt_ms"])

    def __len__(self):
        return len(self.begin)

    def _part(self, number):
        part = split(len(self))[number]
        return torch.arange(part.start, part.stop, device=self.begin.device)

    train = property(lambda self: self._part(0))
    validation = property(lambda self: self._part(1))
    test = property(lambda self: self._part(2))

    def batch(self, windows) -> Batch:
        """Tokens of `windows` (S, B)."""
        first, now, end = (x[windows][..., None] for x in (self.first, self.now, self.end))  # (S, B, 1)
        index = first + torch.arange(int((end - first).max()), device=first.device)  # (S, B, T)
        valid = index < end
        index = index.clamp(max=len(self.neuron) - 1)
        return Batch(
            self.neuron[index].where(valid, 0), self.interval[index].where(valid, 0),
            (self.clock[index] - self.begin[windows][..., None]).where(valid, 0), valid, valid & (index >= now),
        )  # fmt: skip

"""Long recordings, read in blocks of time steps, so that memory does not grow with their length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK_VALUES = 1 << 22  # 32 MB of float64: large enough for fast matrix products, small beside the matrices


class ZScored:
    """A trial, (n_times, n_neurons), scaled where it is read: no second copy of a long recording is held.

    Parameters
    ----------
    rows : array (n_times, n_neurons)
        Of any float type.
    mean, deviation : array (n_neurons,)
    """

    def __init__(self, rows: NDArray, mean: Array, deviation: Array):
        self.rows, self.mean, self.deviation = rows, mean, deviation

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> Array:
        scaled = self.rows[index] - self.mean  # float64, as the mean is
        scaled /= self.deviation
        return scaled


def z_scored(activity: NDArray, trials: list[slice]) -> tuple[list[ZScored], Array]:
    """The trials of `activity`, to be read with mean 0 and standard deviation 1 over all of it; and the deviations."""
    mean = sum(rows.sum(axis=0, dtype=float) for rows in blocks(activity)) / len(activity)
    squares = sum(((rows - mean) ** 2).sum(axis=0) for rows in blocks(activity))
    deviation = np.sqrt(squares / len(activity))
    return [ZScored(activity[rows], mean, deviation) for rows in trials], deviation


def blocks(x: NDArray | ZScored, history: int = 0, block: int | None = None) -> Iterator[Array]:
    """All rows of `x` in blocks of `block` new rows, each led by up to `history` of the rows before them."""
    if block is None:
        n_neurons = (x.rows if isinstance(x, ZScored) else x).shape[1]
        block = max(BLOCK_VALUES // n_neurons, 8 * history, 1)
    for start in range(0, len(x), block):
        yield x[max(start - history, 0) : start + block]

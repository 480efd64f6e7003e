"""Blocks of time for cross-fitting: what is learned on some is tested on the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def blocks_of_time(rows: Rows, n_folds: int, gap: int) -> list[tuple[Rows, Rows]]:
    """Training and test rows of each fold, as positions in `rows`: tests are one block, training stays `gap` away."""
    borders = np.linspace(0, len(rows), n_folds + 1).astype(int)
    if len(rows) < n_folds:
        return [(np.empty(0, int), np.empty(0, int))] * n_folds
    return [
        (np.flatnonzero((rows < rows[a] - gap) | (rows > rows[b - 1] + gap)), np.arange(a, b))
        for a, b in zip(borders[:-1], borders[1:], strict=True)
    ]

"""Independent parts of one computation, side by side: folds, targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from threadpoolctl import threadpool_limits

_available = ContextVar("threads that side_by_side may start", default=1)


@contextmanager
def one_thread_a_part() -> Iterator[None]:
    """Inside, no product is shared out among threads, but `side_by_side` has as many as torch had.

    Products of the size of a fold or a target hardly gain from two threads, and lose much where other programs keep
    one of them waiting. Results are the same for any number of threads.
    """
    n_threads = torch.get_num_threads()
    token = _available.set(n_threads)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)
        _available.reset(token)


def side_by_side(function: Callable, parts: Iterable) -> list:
    """Results of a function for each part, in order; in threads inside `one_thread_a_part`, one by one elsewhere."""
    parts, n_threads = list(parts), _available.get()
    if n_threads == 1 or len(parts) < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, parts))

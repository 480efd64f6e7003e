"""One progress bar for everything that takes more than a few seconds."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # a notebook without ipywidgets gets a bar of text
    from tqdm.auto import tqdm

__all__ = ["progress_bar", "stopwatch"]


def progress_bar(total: int, description: str, *, wanted: bool = True, **options) -> tqdm:
    """A tqdm bar that shows in terminals and notebooks, and nowhere else, if it is `wanted`.

    ``CAUSALKIT_PROGRESS=0`` or a set ``CI`` switches it off; so does output that goes to a file.
    """
    in_notebook = "ipykernel" in sys.modules  # a kernel's stderr never says that it is a terminal
    allowed = os.environ.get("CAUSALKIT_PROGRESS", "0" if os.environ.get("CI") else "1") != "0"
    shown = wanted and allowed and (in_notebook or sys.stderr.isatty())
    return tqdm(total=total, desc=description, disable=not shown, leave=False, **options)


@contextmanager
def stopwatch(description: str, *, wanted: bool = True) -> Iterator[None]:
    """Show for how long something runs that does not say how far it is; where `progress_bar` shows."""
    done = threading.Event()
    with progress_bar(0, description, wanted=wanted, bar_format="{desc}: {elapsed}") as bar:
        if bar.disable:
            yield
            return

        def tick():
            while not done.wait(0.5):
                bar.refresh()

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            done.set()
            ticking.join()

"""One progress bar for everything that takes more than a few seconds."""

import os
import sys
import warnings

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # a notebook without ipywidgets gets a bar of text
    from tqdm.auto import tqdm

__all__ = ["progress_bar"]


def progress_bar(total: int, description: str, *, wanted: bool = True, **options) -> tqdm:
    """A tqdm bar that shows in terminals and notebooks, and nowhere else, if it is `wanted`.

    ``CAUSALKIT_PROGRESS=0`` or a set ``CI`` switches it off; so does output that goes to a file.
    """
    in_notebook = "ipykernel" in sys.modules  # a kernel's stderr never says that it is a terminal
    allowed = os.environ.get("CAUSALKIT_PROGRESS", "0" if os.environ.get("CI") else "1") != "0"
    shown = wanted and allowed and (in_notebook or sys.stderr.isatty())
    return tqdm(total=total, desc=description, disable=not shown, leave=False, **options)

"""Other people's packages, of the extras: imported when they are needed, never before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def needed(module: str, what: str, extra: str) -> ModuleType:
    """Import a module of a package that an extra installs.

    Parameters
    ----------
    module : str
    what : str
        The beginning of a sentence that ends in "the package", such as "PCMCI needs".
    extra : str

    Raises
    ------
    ImportError
        It is not installed; the message names the extra.
    """
    package = module.split(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or package
        raise ImportError(
            f"{what} the package {package}, and {missing} is not installed: it belongs to the extra {extra!r}; "
            f"install it with pip install 'causalkit[{extra}]'"
        ) from error

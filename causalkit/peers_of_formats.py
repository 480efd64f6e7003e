"""Other people's packages that read files: imported when such a file is read, never before."""

from importlib import import_module


def needed(package, what, extra):
    """Import a package that reads a format.

    Raises
    ------
    ImportError
        It is not installed; the message names the extra.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        missing = error.name or package
        raise ImportError(
            f"{what} are read with the package {package}, and {missing} is not installed: install it with "
            f"pip install 'causalkit[{extra}]'"
        ) from error

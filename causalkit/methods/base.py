"""What all methods share: `fit` checks the recording, times the work and never changes hyperparameters."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

import xarray as xr
from sklearn.base import BaseEstimator

from ..recording import as_recording, validate


@dataclass(frozen=True)
class Traits:
    """What a method is, for documentation and for the tests that run over every method.

    Attributes
    ----------
    directed : bool
        Score [target, source] differs from [source, target].
    input_kinds : tuple of str
        Kinds of recording it is made for.
    stochastic : bool
        The result depends on `random_state`.
    signed, lagged, p_values : bool
        The connectivity holds `sign`, `lag_score`, `p_value`.
    """

    directed: bool
    input_kinds: tuple[str, ...]
    stochastic: bool
    signed: bool
    lagged: bool
    p_values: bool


class Method(BaseEstimator, ABC):
    """Base of all methods: a scikit-learn style estimator of connectivity.

    A method sets `name` and `traits`, takes keyword-only hyperparameters, which its constructor stores
    untouched, and writes `_fit(recording)`, which returns a connectivity and may set `diagnostics_` and
    `training_`.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        After `fit`: the result, dimensions (target, source).
    """

    name: ClassVar[str]
    traits: ClassVar[Traits]
    algorithm_version: ClassVar[int] = 1

    def fit(self, recording: Any) -> Method:
        """Infer the connectivity of a recording.

        Parameters
        ----------
        recording : Dataset, or what `recording.from_array` takes, (n_times, n_neurons)
            It is not changed.

        Returns
        -------
        self
            With `connectivity_` set.

        Raises
        ------
        TypeError, ValueError
            Input from which nothing can be learned; the message says what to do. Results of an earlier
            fit are gone.
        """
        for attribute in [a for a in vars(self) if a.endswith("_") and not a.startswith("_")]:
            delattr(self, attribute)  # a fit that fails must not leave another recording's results
        recording = as_recording(recording)
        kind = recording.attrs["kind"]
        if kind not in self.traits.input_kinds:
            raise ValueError(
                f"{type(self).__name__} is made for recordings of kind {list(self.traits.input_kinds)}, this"
                f" one is {kind!r}: its scores would mean nothing; choose another method, or set"
                " recording.attrs['kind'] if it is wrong"
            )
        validate(recording, min_times=self._min_times(), what=self._what())
        start = perf_counter()
        connectivity = self._fit(recording)
        connectivity.attrs["seconds"] = perf_counter() - start
        self.connectivity_ = connectivity
        return self

    @abstractmethod
    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        """Return the connectivity of a checked recording; may set `diagnostics_` and `training_`."""

    def _min_times(self) -> int:
        """Fewest time steps, all trials together, that the hyperparameters allow."""
        return 2

    def _what(self) -> str:
        """Name the method in messages, with the hyperparameter that sets `_min_times`."""
        return type(self).__name__


def check_whole(parameter: str, value: object, least: int, what: str = "a whole number") -> None:
    """Refuse a hyperparameter that is no whole number from `least` on."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{parameter} is {value!r}: it is {what}, {least} or more")


def check_rate(parameter: str, value: object) -> None:
    """Refuse a learning rate that is none."""
    if not isinstance(value, numbers.Real) or not 0 < value < 1:
        raise ValueError(f"{parameter} is {value!r}: it is the size of a training step, a number between 0 and 1")

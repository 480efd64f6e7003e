"""PCMCI and PCMCI+ of the package tigramite: conditional independence tests that first select what to condition on."""

from __future__ import annotations

import numbers
from functools import partial

import numpy as np
import xarray as xr

from causalkit import connectivity
from causalkit.extras import needed
from causalkit.methods.base import Method, Traits
from causalkit.methods.lagged_regression import check_trials, min_times
from causalkit.recording import trial_slices

# name -> (module, class) in tigramite.independence_tests
TESTS = {
    "parcorr": ("parcorr", "ParCorr"),
    "robust_parcorr": ("robust_parcorr", "RobustParCorr"),
    "cmi_knn": ("cmiknn", "CMIknn"),
}


class PCMCI(Method):
    """Lagged causes by conditional independence (Runge et al. 2019), computed by the package tigramite.

    For each target a set of likely parents is selected (PC); then each source at each lag is tested given the parents
    of both (MCI, momentary conditional independence). Needs the extra `peers`. tigramite is under the GNU General
    Public License and is imported only here, when `fit` is called.

    Parameters
    ----------
    max_lag : int
        Largest lag tested, in steps.
    test : {"parcorr", "robust_parcorr", "cmi_knn"}
        Partial correlation; the same of values made normal by their ranks; or conditional mutual information by nearest
        neighbours with permutations, which is slow.
    pc_alpha : float
        Level of the selection.
    alpha : float
        Level at which the test of a (source, lag) makes an edge of ``graph``; not corrected for their number.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        ``lag_score (target, source, lag)`` the size of the test's statistic (MCI; a partial correlation for the first
        two tests); ``lag_p_value (target, source, lag)``; ``graph (target, source, lag)`` of bool. ``score`` is the
        largest ``lag_score`` over lags, ``sign`` that of its statistic, ``p_value`` the smallest over lags times their
        number (Bonferroni), at most 1.
    diagnostics_ : xarray.Dataset
        ``n_parents (neuron)``, edges into each neuron in ``graph``.

    Raises
    ------
    ImportError
        From ``fit``: tigramite is not installed.
    ValueError
        From ``fit``: unknown parameters, too few time steps, a trial shorter than the lags.

    References
    ----------
    Runge, Nowack, Kretschmer, Flaxman & Sejdinovic (2019), Science Advances 5, eaau4996.
    """

    name = "pcmci"
    traits = Traits(
        directed=True, input_kinds=("voltage", "spikes", "calcium", "other"), stochastic=False, signed=True,
        lagged=True, p_values=True,
    )  # fmt: skip
    algorithm_version = 1

    def __init__(self, *, max_lag=5, test="parcorr", pc_alpha=0.2, alpha=0.01):
        self.max_lag = max_lag
        self.test = test
        self.pc_alpha = pc_alpha
        self.alpha = alpha

    def _min_times(self) -> int:
        if self.test not in TESTS:
            raise ValueError(
                f"test is {self.test!r}: it decides whether two values depend on each other; choose one of "
                f"{list(TESTS)}"
            )
        for name in ("pc_alpha", "alpha"):
            value = self.get_params().get(name, 0.5)
            if not isinstance(value, numbers.Real) or not 0 < value < 1:
                raise ValueError(f"{name} is {value!r}: it is the error level of a test, a number between 0 and 1")
        return min_times(self.max_lag) + 2

    def _what(self) -> str:
        return f"{type(self).__name__} with {self.max_lag} lags"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        found = self._run(recording)
        # tigramite's arrays are (source, target, lag), lag 0 first
        statistic, p_value = (np.swapaxes(found[name], 0, 1) for name in ("val_matrix", "p_matrix"))
        edge = np.swapaxes(found["graph"], 0, 1) == "-->"
        lagged, strongest = statistic[..., 1:], np.abs(statistic[..., 1:]).argmax(axis=-1)[..., None]
        n_lags, dims = lagged.shape[-1], ("target", "source", "lag")
        self.diagnostics_ = xr.Dataset(
            {"n_parents": ("neuron", edge[..., 1:].sum(axis=(1, 2)))}, coords={"neuron": recording.neuron.values}
        )
        return connectivity.build(
            np.abs(lagged).max(axis=-1),
            neurons=recording.neuron.values.tolist(),
            method=self.name,
            parameters=self.get_params(),
            sign=np.sign(np.take_along_axis(lagged, strongest, axis=-1)[..., 0]),
            p_value=np.minimum(p_value[..., 1:].min(axis=-1) * n_lags, 1.0),
            lag_score=np.abs(lagged),
            lag_p_value=xr.DataArray(p_value[..., 1:], dims=dims),
            graph=xr.DataArray(edge[..., 1:], dims=dims),
            **self._within(statistic[..., 0], edge[..., 0]),
        )

    def _run(self, recording: xr.Dataset) -> dict:
        return self._pcmci(recording).run_pcmci(
            tau_min=1, tau_max=int(self.max_lag), pc_alpha=self.pc_alpha, alpha_level=self.alpha
        )

    def _within(self, statistic: np.ndarray, edge: np.ndarray) -> dict:
        """What else there is to say of effects within the step."""
        return {}

    def _pcmci(self, recording: xr.Dataset):
        max_lag = int(self.max_lag)
        check_trials(recording, 2 * max_lag, self._what())  # tigramite conditions on parents of parents
        module, test = TESTS[self.test]
        from_peer = partial(needed, what=f"{type(self).__name__} needs", extra="peers")
        test = getattr(from_peer(f"tigramite.independence_tests.{module}"), test)
        x = recording.activity.values.astype(float)
        trials = {k: x[rows] for k, rows in enumerate(trial_slices(recording))}
        mode = "multiple" if len(trials) > 1 else "single"
        frame = from_peer("tigramite.data_processing").DataFrame(trials, analysis_mode=mode)
        return from_peer("tigramite.pcmci").PCMCI(dataframe=frame, cond_ind_test=test(), verbosity=0)


class PCMCIPlus(PCMCI):
    """As `PCMCI`, with effects within a time step (PCMCI+, Runge 2020), computed by the package tigramite.

    Parameters
    ----------
    max_lag, test : as for `PCMCI`
    alpha : float
        Level of all tests.

    Attributes
    ----------
    connectivity_ : xarray.Dataset
        As of `PCMCI`, for the lagged effects. Besides, ``instantaneous_score (target, source)``, the size of the
        statistic within the step, the same in both directions; and ``instantaneous (target, source)`` of bool, the
        edges whose direction was found.

    References
    ----------
    Runge (2020), Proceedings of the 36th Conference on Uncertainty in Artificial Intelligence, 1388-1397.
    """

    name = "pcmci_plus"

    def __init__(self, *, max_lag=5, test="parcorr", alpha=0.01):
        self.max_lag = max_lag
        self.test = test
        self.alpha = alpha

    def _run(self, recording: xr.Dataset) -> dict:
        return self._pcmci(recording).run_pcmciplus(tau_min=0, tau_max=int(self.max_lag), pc_alpha=self.alpha)

    def _within(self, statistic: np.ndarray, edge: np.ndarray) -> dict:
        return {
            "instantaneous_score": np.abs(statistic),
            "instantaneous": xr.DataArray(edge, dims=("target", "source")),
        }

"""The generalized linear model of spike trains: own history and coupling filters, one regression a neuron."""

from __future__ import annotations

import numbers

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from causalkit import connectivity, significance
from causalkit.methods import spike_glm_shared as shared
from causalkit.methods.base import Method, Traits, check_whole
from causalkit.methods.point_process import check_counts, family_of, fit
from causalkit.recording import window_starts

Array = NDArray[np.float64]

MIN_SPIKES = 10  # of a neuron
PENALTY = 0.1  # precision of a Gaussian prior on the constant and on own history: columns have a spread of about 1
NEWTON_UP_TO = 100  # neurons
SOLVERS = ("auto", "newton", "shared")


class SpikeGLM(Method):
    """Granger causality of spike trains by a generalized linear model (Pillow et al. 2008).

    The rate of a neuron in the next bin depends on its own last spikes and on those of all others, each through a
    filter over lags made of raised cosines: a Bernoulli model, or a Poisson one where bins hold several spikes. A
    source is scored by the Wald statistic of its filter.

    Parameters
    ----------
    max_lag : int, default 12
        Bins that coupling filters reach back.
    n_basis : int, default 3
        Raised cosines of a coupling filter, spaced by the logarithm of the lag.
    history : int, default 60
        Bins that a neuron's own filter reaches back.
    n_history_basis : int, default 8
        Raised cosines of it.
    penalty : float or "auto", default 0.1
        Precision of a Gaussian prior on every coupling coefficient (ridge). "auto" takes, of 0.1 to 10,000, the one
        under which the last fifth of the bins is most likely for twenty targets that learn from the rest.
    solver : {"auto", "newton", "shared"}, default "auto"
        "newton" solves a regression a target, in double precision. "shared" solves all at once in single precision:
        they differ in little but the counts that they explain. It reaches the same maximum, within a thousandth of a
        nat, but variances then take a target's rate as constant. "auto": "newton" up to 100 neurons.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the Wald statistic over its degrees of freedom; ``p_value`` by the chi-squared distribution;
        ``adjusted_p_value``, corrected as Benjamini & Hochberg (1995) do; ``weight``, the filter where it is largest,
        and its ``sign``; ``lag_score (target, source, lag)``, the square of the filter over its variance at each lag;
        ``coupling (target, source, lag)``, the filter itself, in logits or log rates a spike.
    diagnostics_ : xarray.Dataset
        ``n_rows`` fitted; ``penalty`` used; with "auto" ``held_out_loss (penalty_tried)`` in nats a bin; the attributes
        ``family`` of the counts and ``solver``.

    Raises
    ------
    ValueError
        From ``fit``: impossible parameters, activity that is no count, neurons with fewer than ten spikes, too few
        bins for the number of coefficients.

    Notes
    -----
    A penalty above the default shrinks coefficients, and p-values are too large then. Three hundred neurons in bins of
    5 ms for ten minutes take a few minutes of one core, "auto" included, and 3 GB.

    References
    ----------
    Pillow et al. (2008), Nature 454, 995-999. Truccolo et al. (2005), J. Neurophysiol. 93, 1074-1089.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import SpikeGLM, recording
    >>> rng = np.random.default_rng(0)
    >>> spikes = rng.random((2000, 2)) < 0.05
    >>> spikes[3:, 1] |= spikes[:-3, 0] & (rng.random(1997) < 0.5)  # n0 makes n1 spike three bins later
    >>> trains = recording.from_array(spikes.astype(float), dt_ms=1, kind="spikes")
    >>> c = SpikeGLM().fit(trains).connectivity_
    >>> bool(c.p_value.sel(target="n1", source="n0") < 1e-6), int(c.sign.sel(target="n1", source="n0"))
    (True, 1)
    """

    name = "spike_glm"
    traits = Traits(
        directed=True,
        input_kinds=("spikes",),
        stochastic=False,
        signed=True,
        lagged=True,
        p_values=True,
    )
    added_parameters = {"penalty": PENALTY, "solver": "auto"}

    def __init__(
        self, *, max_lag=12, n_basis=3, history=60, n_history_basis=8, penalty=PENALTY, solver="auto"
    ):
        self.max_lag = max_lag
        self.n_basis = n_basis
        self.history = history
        self.n_history_basis = n_history_basis
        self.penalty = penalty
        self.solver = solver

    def _min_times(self) -> int:
        for parameter in ("max_lag", "n_basis", "history", "n_history_basis"):
            check_whole(parameter, getattr(self, parameter), 1)
        for n, reach in (("n_basis", "max_lag"), ("n_history_basis", "history")):
            if getattr(self, n) > getattr(self, reach):
                raise ValueError(
                    f"{n} is {getattr(self, n)} for {reach}={getattr(self, reach)} bins: a filter has no more shapes "
                    f"than bins; lower {n} or raise {reach}"
                )
        if self.solver not in SOLVERS:
            raise ValueError(
                f"solver is {self.solver!r}: it says how the regressions are solved; use one of {list(SOLVERS)}"
            )
        number = isinstance(self.penalty, numbers.Real) and not isinstance(self.penalty, bool)
        if self.penalty != "auto" and not (number and 0 < self.penalty < np.inf):
            raise ValueError(
                f"penalty is {self.penalty!r}: it is the precision of a prior on couplings, a number above 0; larger "
                'ones shrink them more; "auto" chooses one on held-out bins'
            )
        return max(self.max_lag, self.history) + 2

    def _what(self) -> str:
        return f"SpikeGLM with max_lag={self.max_lag} and history={self.history}"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        counts, neurons = recording.activity.values.astype(float), recording.neuron.values.tolist()
        check_counts(counts, neurons, MIN_SPIKES, type(self).__name__)
        context, n = max(self.max_lag, self.history), len(neurons)
        rows = window_starts(recording, context) + context
        self._check_length(len(rows), n)
        family, basis = family_of(counts), raised_cosines(self.max_lag, self.n_basis)
        own_basis = raised_cosines(self.history, self.n_history_basis)
        solver = self.solver if self.solver != "auto" else "newton" if n <= NEWTON_UP_TO else "shared"
        diagnostics, penalty, design = {"n_rows": len(rows)}, self.penalty, None
        if solver == "shared" or penalty == "auto":
            design = shared.Design.of(counts, rows, basis, own_basis)
        if penalty == "auto":
            penalty, losses = shared.choose_penalty(design, family, PENALTY)
            diagnostics["held_out_loss"] = xr.DataArray(losses, {"penalty_tried": list(shared.PENALTIES)})
        self.diagnostics_ = xr.Dataset(
            diagnostics | {"penalty": penalty}, attrs={"family": family.name, "solver": solver}
        )
        if solver == "shared":
            found = _fit_shared(design, counts, rows, family, penalty)
        else:
            found = _fit_newton(counts, rows, family, penalty, basis, own_basis)
        return self._connectivity(recording.neuron.values.tolist(), basis, *found)

    def _connectivity(self, neurons: list[str], basis: Array, weights: Array, covariance: Array) -> xr.Dataset:
        """Of coefficients (target, source, basis) and their covariances (target, source, basis, basis)."""
        n, off = len(neurons), ~np.eye(len(neurons), dtype=bool)
        wald = np.full((n, n), np.nan)
        wald[off] = np.einsum(
            "pi,pi->p", weights[off], np.linalg.solve(covariance[off], weights[off][..., None])[..., 0]
        )
        filters = weights @ basis.T
        peak = np.take_along_axis(filters, np.abs(filters).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        filters = np.where(off[..., None], filters, np.nan)
        variance = np.einsum("lb,tsbc,lc->tsl", basis, covariance, basis, optimize=True)
        p_value = stats.chi2.sf(wald, self.n_basis)
        lags = np.arange(1, self.max_lag + 1)
        return connectivity.build(
            wald / self.n_basis, neurons=neurons, method=self.name, parameters=self.get_params(), p_value=p_value,
            sign=np.sign(np.where(off, peak, 0.0)), weight=np.where(off, peak, np.nan),
            lag_score=filters**2 / np.maximum(variance, 1e-300), adjusted_p_value=significance.fdr(p_value),
            coupling=xr.DataArray(
                filters, dims=("target", "source", "lag"), coords={"target": neurons, "source": neurons, "lag": lags}
            ),
        )  # fmt: skip

    def _check_length(self, n_rows: int, n_neurons: int) -> None:
        columns = 1 + self.n_history_basis + (n_neurons - 1) * self.n_basis
        if n_rows < 2 * columns:
            raise ValueError(
                f"activity has {n_rows} bins with a full history and SpikeGLM fits {columns} numbers to each neuron: "
                f"it needs at least {2 * columns} bins; record longer, or lower n_basis or history"
            )


def raised_cosines(n_lags: int, n_basis: int) -> Array:
    """Bumps over the logarithm of the lag that sum to one, (n_lags, n_basis); a single one is flat."""
    if n_basis == 1:
        return np.ones((n_lags, 1))
    position = np.log(np.arange(1, n_lags + 1) + 1.0)
    centers = np.linspace(position[0], position[-1], n_basis)
    width = centers[1] - centers[0]
    phase = np.clip((position[:, None] - centers) / width, -1, 1) * np.pi
    return 0.5 * (1 + np.cos(phase))


def _fit_newton(counts, rows, family, penalty, basis, own_basis) -> tuple[Array, Array]:
    """Coefficients (target, source, basis) and their covariances, one regression a target."""
    n, n_basis, first = counts.shape[1], basis.shape[1], 1 + own_basis.shape[1]
    coupled, own = _filtered(counts, rows, basis), _filtered(counts, rows, own_basis)
    weights, covariance = np.zeros((n, n, n_basis)), np.zeros((n, n, n_basis, n_basis))
    for j in range(n):
        others = np.delete(np.arange(n), j)
        x = np.hstack([np.ones((len(rows), 1)), own[:, j], coupled[:, others].reshape(len(rows), -1)])
        precision = np.repeat([PENALTY, float(penalty)], [first, x.shape[1] - first])
        found = fit(x, counts[rows, j], family, precision)
        weights[j, others] = found.coefficients[first:].reshape(n - 1, n_basis)
        blocks = [slice(k, k + n_basis) for k in range(first, x.shape[1], n_basis)]
        covariance[j, others] = np.stack([found.covariance[block, block] for block in blocks])
    return weights, covariance


def _fit_shared(design, counts, rows, family, penalty) -> tuple[Array, Array]:
    """The same of all targets together."""
    targets = np.arange(counts.shape[1])
    found = shared.fit_targets(design, targets, family, penalty, PENALTY)
    return found.coupling(design.n_basis), shared.covariances(design, found, family, penalty)


def _filtered(counts: Array, rows: NDArray[np.int64], basis: Array) -> Array:
    """Past counts weighted by each bump, (n_rows, n_neurons, n_basis)."""
    out = np.zeros((len(rows), counts.shape[1], basis.shape[1]))
    for lag, weights in enumerate(basis, start=1):
        out += counts[rows - lag][..., None] * weights
    return out

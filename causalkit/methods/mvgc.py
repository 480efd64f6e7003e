"""Multivariate Granger causality: a source's past improves the forecast of a target, all others given."""

from __future__ import annotations

import difflib
import numbers
import warnings

import numpy as np
import xarray as xr
from scipy import stats

from causalkit import connectivity, significance
from causalkit.methods import var
from causalkit.methods.base import Method, Traits
from causalkit.methods.blocks import ZScored, z_scored
from causalkit.methods.statespace import granger_causality_of_var
from causalkit.recording import trial_slices

CRITERIA = ("aic", "aicc", "bic")
ESTIMATORS = ("regression", "state_space")


class MVGC(Method):
    """Estimate pairwise-conditional Granger causality with a vector autoregression (VAR).

    For every ordered pair, F(source -> target) = log(v0 / v1): v1 is the target's residual variance given the
    history of all neurons, v0 that without the source's. All pairs come from one least-squares fit.

    Parameters
    ----------
    order : {"aicc", "aic", "bic"} or int, default "aicc"
        Number of lags p, or the criterion that chooses it. With m time steps, M = m - p regression rows,
        k = p * n_neurons**2 coefficients and L = -(M / 2) log|Sigma|:
        ``aic`` = -2L + 2k, ``aicc`` = -2L + 2k m / (m - k - 1), ``bic`` = -2L + k log m.
        What the Causalformer paper calls "MVGC-AIC" is AICc: the MATLAB toolbox it used computes that. AICc
        has no meaning where k >= m - 1; such orders are skipped.
    max_order : int, default 10
        Largest order a criterion may choose.
    estimator : {"regression", "state_space"}, default "regression"
        ``"regression"`` compares two regressions on the same rows. ``"state_space"`` takes the fitted VAR as
        the truth and computes its exact F, one Riccati equation a source: without a source the others follow
        no finite VAR, which the regression ignores. It needs a stable VAR. p-values are those of the
        regression in both cases.
    correction : {"bh", "by", "holm", "bonferroni", "none"}, default "bh"
        Correction of the p-values for the number of pairs, kept as ``adjusted_p_value``.
    alpha : float, default 0.05
        Level at which ``significant`` marks the adjusted p-values.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score`` F in nats; ``p_value`` of the F test of the nested regressions, with ``f_statistic`` on
        (p, M - p n_neurons - n_trials) degrees of freedom; ``adjusted_p_value``; ``significant``; ``sign`` of the
        source's coefficients summed over lags; ``lag_score (target, source, lag)`` the log-ratio for leaving
        out that lag alone, in nats (small for two lags that can stand in for each other);
        ``self_score (target)`` the log-ratio for leaving out the neuron's own history.
    diagnostics_ : xarray.Dataset
        ``order``; ``aic``, ``aicc``, ``bic`` by ``candidate_order``; ``at_max_order``, whether the criterion
        chose the largest order that it could compare; ``n_rows`` M;
        ``residual_df``; ``spectral_radius`` and ``stable`` (radius < 1); ``durbin_watson (neuron)``, near 2
        where residuals are white; ``r2 (neuron)`` of the one-step forecast on the data it was fitted to;
        ``consistency``, the share of the data's covariance that the forecasts carry,
        ``1 - norm(cov(residuals)) / norm(cov(data))`` in the spectral norm, neurons z-scored, both about the means of
        the trials, as ``r2``;
        ``coefficients (target, source, lag)`` and ``noise_covariance (target, source)`` in the recording's
        units.

    Raises
    ------
    ValueError
        From ``fit``: unknown parameters, too few time steps, a trial shorter than the order, neurons that are
        linear combinations of others, an unstable VAR with ``estimator="state_space"``.

    Notes
    -----
    Neurons are z-scored over the whole recording before orders are compared, so no result depends on units or
    offsets. Each trial has its own intercept: a mean that differs between trials predicts nothing, where one
    shared intercept would let every neuron tell the trial and so forecast every other. Histories never reach
    across the border of two trials. Memory: about three matrices of (p n_neurons)**2 doubles, 3 GB for 1,000 neurons
    and ten lags, besides the recording. p-values assume that the order is large enough and the noise white; they
    ignore that a criterion chose the order. They are too small where the activity drifts within a trial, that
    is near a unit root (`fit` warns if ``spectral_radius`` > 1 - 10 / M), and for many short trials of slow
    activity, whose means are estimated from few steps (a bias of about 1 / trial length in the coefficients).

    References
    ----------
    Geweke (1984), J. Am. Stat. Assoc. 79, 907-915. Barnett & Seth (2014), J. Neurosci. Methods 223, 50-68.
    Barnett & Seth (2015), Phys. Rev. E 91, 040101 (state-space route). Ding et al. (2000), Biol. Cybern. 83,
    35-45 (consistency).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import MVGC
    >>> x = np.random.default_rng(0).standard_normal((1000, 2))
    >>> x[1:, 1] += x[:-1, 0]  # n0 drives n1 one step later
    >>> c = MVGC(order="bic").fit(x).connectivity_
    >>> bool(c.significant.sel(target="n1", source="n0")), bool(c.significant.sel(target="n0", source="n1"))
    (True, False)
    """

    name = "mvgc"
    traits = Traits(
        directed=True,
        input_kinds=("voltage", "spikes", "calcium", "other"),
        stochastic=False,
        signed=True,
        lagged=True,
        p_values=True,
    )
    algorithm_version = 1

    def __init__(self, *, order="aicc", max_order=10, estimator="regression", correction="bh", alpha=0.05):
        self.order = order
        self.max_order = max_order
        self.estimator = estimator
        self.correction = correction
        self.alpha = alpha

    def _min_times(self) -> int:
        self._check_parameters()
        # for the smallest network, two neurons; _check_lengths knows the real size
        return 3 * (1 if isinstance(self.order, str) else int(self.order)) + 3

    def _what(self) -> str:
        return "MVGC" if isinstance(self.order, str) else f"MVGC of order {self.order}"

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        neurons = recording.neuron.values.tolist()
        trials, deviations = z_scored(recording.activity.values, trial_slices(recording))
        fit, criteria = self._regress(trials, neurons)

        residual_sums = np.diag(fit.residual_sums)
        growth, growth_by_lag = var.residual_growth(fit)
        f_statistic = growth / residual_sums[:, None] * fit.residual_df / fit.order
        p_value = stats.f.sf(f_statistic, fit.order, fit.residual_df)
        np.fill_diagonal(f_statistic, np.nan)
        np.fill_diagonal(p_value, np.nan)
        adjusted = np.asarray(significance.fdr(p_value, method=self.correction))
        score = np.log1p(growth / residual_sums[:, None])
        if self.estimator == "state_space":
            own_history = np.diag(score)
            score = granger_causality_of_var(fit.coefficients, fit.noise_covariance)
            np.fill_diagonal(score, own_history)

        self.diagnostics_ = _diagnose(fit, criteria, trials, deviations, neurons)
        return connectivity.build(
            score,
            neurons=neurons,
            method=self.name,
            parameters=self.get_params(),
            sign=np.sign(fit.coefficients.sum(axis=0)),
            p_value=p_value,
            lag_score=np.log1p(growth_by_lag / residual_sums[:, None, None]),
            f_statistic=f_statistic,
            adjusted_p_value=adjusted,
            significant=xr.DataArray(adjusted <= self.alpha, dims=("target", "source")),
        )

    def _check_parameters(self) -> None:
        if isinstance(self.order, str):
            _check_choice("order", self.order, CRITERIA, "a number of lags or the criterion that chooses it")
        _check_choice("estimator", self.estimator, ESTIMATORS, "how F is computed")
        for name in ("order", "max_order"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value >= 1) and not (name == "order" and isinstance(value, str)):
                raise ValueError(
                    f"{name} is {value!r}: a forecast needs a whole number of past steps, 1 or more"
                    + (f"; give that, or one of {list(CRITERIA)}" if name == "order" else "; give that")
                )
        if not isinstance(self.alpha, numbers.Real) or not 0 < self.alpha < 1:
            raise ValueError(
                f"alpha is {self.alpha!r}: it is the error level that decides which p-values are significant, a "
                "number between 0 and 1; give 0.05, for example"
            )

    def _regress(self, trials: list[ZScored], neurons: list[str]) -> tuple[var.Regression, xr.Dataset]:
        """The regression of the fixed or best order, and the criteria of all candidate orders."""
        n_neurons, n_times = len(neurons), sum(len(x) for x in trials)
        by_criterion = isinstance(self.order, str)
        candidates = np.arange(1, self.max_order + 1) if by_criterion else np.array([int(self.order)])
        _check_lengths(trials, candidates, n_neurons)
        if self.order == "aicc" and n_neurons**2 >= n_times - 1:
            raise ValueError(
                f"AICc is undefined at every order: order 1 already has {n_neurons**2} coefficients for "
                f"{n_times} time steps; use order='bic' or a fixed order, record longer or keep fewer neurons"
            )

        products, sums = var.lag_products(trials, candidates[-1])
        table = {name: np.full(len(candidates), np.nan) for name in CRITERIA}
        best, lowest = None, np.inf
        for i, order in enumerate(candidates.tolist()):
            if n_times < _fewest_times(order, n_neurons, len(trials)):
                break
            covariance, n_rows = var.lagged_covariance(trials, products, sums, order)
            factor, scale = var.factorize(covariance, neurons)
            deviance = -2 * var.log_likelihood(factor, scale, n_neurons, n_rows)
            k = order * n_neurons**2
            table["aic"][i] = deviance + 2 * k
            table["bic"][i] = deviance + k * np.log(n_times)
            if k < n_times - 1:
                table["aicc"][i] = deviance + 2 * k * n_times / (n_times - k - 1)
            value = table[self.order][i] if by_criterion else -np.inf
            if value < lowest:
                best, lowest = (factor, scale, n_neurons, n_rows), value
        criteria = xr.Dataset(
            {name: ("candidate_order", values) for name, values in table.items()},
            coords={"candidate_order": candidates},
        )
        fit = var.regress(*best, len(trials))
        largest = candidates[np.isfinite(table[self.order])].max() if by_criterion else np.inf
        if fit.order == largest < self.max_order:
            warnings.warn(
                f"{self.order} chose order {largest}, the largest that could be compared: {n_times} time steps are "
                f"too few for larger orders with {n_neurons} neurons, so the fit may follow noise or lack lags; "
                "record longer, keep fewer neurons, or fix a small order",
                UserWarning,
                stacklevel=4,  # the caller of fit
            )
        return fit, criteria.assign(at_max_order=fit.order == largest)


def _fewest_times(order: int, n_neurons: int, n_trials: int) -> int:
    # the first rows of each trial, then rows for the regressors, the intercepts and residuals of full rank
    return order * n_trials + order * n_neurons + n_trials + n_neurons


def _check_lengths(trials: list[ZScored], candidates: np.ndarray, n_neurons: int) -> None:
    n_times, lowest, highest = sum(len(x) for x in trials), candidates[0], candidates[-1]
    needed = _fewest_times(lowest, n_neurons, len(trials))
    if n_times < needed:
        raise ValueError(
            f"activity has {n_times} time steps but MVGC of order {lowest} with {n_neurons} neurons in "
            f"{len(trials)} trials needs at least {needed}: with fewer the regression fits anything; record "
            "longer, keep fewer neurons or ask for fewer lags"
        )
    shortest = min(range(len(trials)), key=lambda k: len(trials[k]))
    if len(trials[shortest]) <= highest:
        raise ValueError(
            f"trial number {shortest}, counted from 0, has {len(trials[shortest])} time steps: a history of "
            f"{highest} steps needs at least {highest + 1} in every trial; drop short trials, or lower order "
            "or max_order"
        )


def _diagnose(fit, criteria, trials, deviations, neurons) -> xr.Dataset:
    radius = var.spectral_radius(fit.coefficients)
    if radius >= 1:
        warnings.warn(
            f"the fitted VAR is unstable (spectral radius {radius:.4f}, not below 1): the activity drifts, "
            "so scores and p-values cannot be trusted; detrend or difference it, or record longer",
            UserWarning,
            stacklevel=4,  # the caller of fit
        )
    elif radius > 1 - 10 / fit.n_rows:
        warnings.warn(
            f"the fitted VAR is nearly unstable (spectral radius {radius:.4f}): neurons that merely drift seem to "
            "forecast each other, so p-values are too small; remove drifts, e.g. by differencing or detrending",
            UserWarning,
            stacklevel=4,
        )
    residual_sums, total = np.diag(fit.residual_sums), fit.total_sums
    squared_steps = var.squared_residual_steps(trials, fit.coefficients)
    coefficients = np.moveaxis(fit.coefficients, 0, -1) * (deviations[:, None] / deviations)[..., None]
    return criteria.assign(
        order=fit.order,
        n_rows=fit.n_rows,
        residual_df=fit.residual_df,
        spectral_radius=radius,
        stable=radius < 1,
        durbin_watson=("neuron", squared_steps / residual_sums),
        r2=("neuron", 1 - residual_sums / np.diag(total)),
        consistency=1 - np.linalg.norm(fit.residual_sums, 2) / np.linalg.norm(total, 2),
        coefficients=(("target", "source", "lag"), coefficients),
        noise_covariance=(("target", "source"), fit.noise_covariance * np.outer(deviations, deviations)),
    ).assign_coords(neuron=neurons, target=neurons, source=neurons, lag=np.arange(1, fit.order + 1))


def _check_choice(parameter: str, value: object, choices: tuple[str, ...], meaning: str) -> None:
    if value not in choices:
        close = difflib.get_close_matches(str(value).lower(), choices, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{parameter} is {value!r}: it is {meaning}; choose one of {list(choices)}{hint}")

"""Which method for a recording, by a rule that asks three questions of it and never looks at the truth.

It is what `causalkit infer` and `causalkit report` do where no method is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy import stats

from . import methods
from .preprocess import decay_free
from .recording import as_recording, normalize, trial_slices

BY_KIND = {"voltage": "single_index", "other": "single_index", "spikes": "spike_index", "calcium": "mvgc"}
LEVEL = 0.01  # at which a pair counts as coupled
LEAST, RATIO = 0.05, 2.0  # share of pairs coupled within a step, and how many times that over a step
FRAME_MS = 10.0  # of calcium: in longer ones partial correlation ranked better than MVGC
VOLTAGE_MS = 2.0  # longest step at which synapses take more than one
FEW_ROWS, FEW_NEURONS = 1000, 30  # with as many a Gaussian process is a matter of minutes


@dataclass(frozen=True)
class Choice:
    """A method's name in `causalkit.methods.METHODS`, what to set in it, and why in plain words."""

    method: str
    parameters: dict = field(default_factory=dict)
    why: str = ""

    def build(self, **more):
        """Make the method, unfitted, with other hyperparameters `more` where they are given."""
        return methods.get(self.method)(**(self.parameters | more))

    def fit(self, recording) -> xr.Dataset:
        """Fit it to a recording, to calcium without the decay of its indicator.

        Returns
        -------
        Dataset (target, source)
            The method's `connectivity_`, whose attribute ``chosen_because`` says why this method, and
            ``preprocessing`` what was done to the recording.
        """
        recording = decay_free(as_recording(recording))
        result = self.explain(self.build().fit(recording).connectivity_)
        if "preprocessing" in recording.attrs:
            result = result.assign_attrs(preprocessing=recording.attrs["preprocessing"])
        return result

    def explain(self, result: xr.Dataset) -> xr.Dataset:
        """Add to a result why this method was taken, where the recording chose it."""
        return result.assign_attrs(chosen_because=self.why) if self.why else result


def choose(recording) -> Choice:
    """Choose a method for a recording.

    1. Spikes have a method of their own.
    2. Where at least a twentieth of all pairs are coupled within a time step, and at least twice as many as over it,
       given the past of all, cause and effect fall into the same row: no lagged method can see them.
       `PartialCorrelation` sees who belongs together, and no direction. Voltages in steps of 2 ms or less are not
       asked; calcium is asked without the decay of its indicator (`preprocess.without_decay`).
    3. Other calcium goes to `MVGC`. With up to 1,000 time steps and 30 neurons, `GaussianProcessGranger`, which needs
       few rows and no form of the influence. Else `SingleIndexGranger`.

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes, (n_times, n_neurons)

    Returns
    -------
    Choice
        ``choose(recording).fit(recording)`` is a connectivity.

    Raises
    ------
    TypeError, ValueError
        As `recording.as_recording`.
    """
    recording = as_recording(recording)
    kind, (n_times, n_neurons) = recording.attrs["kind"], recording["activity"].shape
    if kind == "spikes":
        return by_kind(recording)
    coarse = kind != "voltage" or recording.attrs["dt_ms"] > VOLTAGE_MS
    within, over = coupled_shares(decay_free(recording)) if coarse else (0.0, 0.0)
    if within >= max(LEAST, RATIO * over):
        return Choice(
            "partial_correlation", {"bin_steps": 1},
            f"{100 * within:.0f} % of all pairs are coupled within a time step and {100 * over:.0f} % over one: the "
            "steps are too long to see a direction",
        )  # fmt: skip
    if kind == "calcium":
        return by_kind(recording)
    if n_times <= FEW_ROWS and n_neurons <= FEW_NEURONS:
        return Choice("gaussian_process", why=f"{n_times:,} time steps of {n_neurons} neurons are few")
    return Choice(BY_KIND[kind], why=f"{n_times:,} time steps of {n_neurons} neurons")


def by_kind(recording: xr.Dataset) -> Choice:
    """Choose by the kind of a recording alone.

    `SingleIndexGranger` for voltages and other smooth activity, `SpikeIndexGranger` for spikes, `MVGC` for calcium,
    whose frames must be of 10 ms or less to show a direction.
    """
    kind = recording.attrs["kind"]
    slow = kind == "calcium" and recording.attrs["dt_ms"] > FRAME_MS
    more = f": frames of {recording.attrs['dt_ms']:g} ms hold cause and effect, do not trust an arrow" if slow else ""
    return Choice(BY_KIND[kind], why=f"the recording is of kind {kind}{more}")


def coupled_shares(recording: xr.Dataset) -> tuple[float, float]:
    """Shares of pairs that are coupled within a time step, and over one, each given the last step of all.

    Of a linear forecast from the last step: the partial correlations of its errors by Fisher's z, unordered pairs; and
    its coefficients by Student's t, ordered pairs; both at the level .01. NaN for fewer than three neurons, fewer
    than 2 n + 10 rows, and a neuron that is constant or not finite: then the answer is no.
    """
    activity = recording["activity"]
    if not np.isfinite(activity).all() or (activity.max("time") == activity.min("time")).any():
        return np.nan, np.nan
    x = normalize(activity)
    n = x.shape[1]
    rows = np.concatenate([np.arange(part.start + 1, part.stop) for part in trial_slices(recording)])
    if n < 3 or len(rows) < 2 * n + 10:
        return np.nan, np.nan
    past = np.column_stack([np.ones(len(rows)), x[rows - 1]])
    products = past.T @ past
    products[np.diag_indices_from(products)] += 1e-8 * len(rows)  # collinear neurons are another question
    inverse = np.linalg.inv(products)
    weights = inverse @ past.T @ x[rows]
    errors, freedom = x[rows] - past @ weights, len(rows) - n - 1
    variance = (errors**2).sum(axis=0) / freedom
    t = (weights[1:] / np.sqrt(np.outer(np.diag(inverse)[1:], variance)))[~np.eye(n, dtype=bool)]
    precision = np.linalg.pinv(errors.T @ errors / freedom, hermitian=True)
    scale = np.sqrt(np.diag(precision))
    partial = (precision / np.outer(scale, scale))[np.triu_indices(n, 1)]
    z = np.arctanh(np.clip(partial, -0.999999, 0.999999)) * np.sqrt(max(freedom - n, 1))
    within = (2 * stats.norm.sf(np.abs(z)) < LEVEL).mean()
    over = (2 * stats.t.sf(np.abs(t), freedom) < LEVEL).mean()
    return float(within), float(over)

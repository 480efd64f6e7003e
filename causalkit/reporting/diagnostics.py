"""What may be wrong with a recording, asked before anyone believes a graph: one function a question.

Each function returns a `Finding`, whose `warns` says whether to worry and whose `text` says why in plain words. What
each can and cannot see was counted on simulated recordings of which the answer is known (`tests/test_diagnostics.py`).
A warning is no proof that a graph is wrong, and silence none that it is right: neurons that nobody recorded, each of
which drives a few others, leave no trace that any of these could see.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .. import connectivity as graphs
from .. import significance
from ..default import FRAME_MS, VOLTAGE_MS
from ..preprocess import decay_free
from ..recording import as_recording, normalize, trial_slices
from ..summary import spike_rates_hz
from .text import clean

Array = NDArray[np.float64]

ROWS_PER_PARAMETER = 10  # as the chapter on one's own recording asks for
N_BLOCKS = 16  # of time, half of them in each half of the recording
CHANGE_LEVEL = 0.01  # false discovery rate at which halves differ
MEAN_CHANGE, SPREAD_CHANGE = 0.2, 1.3  # standard deviations, ratio: smaller changes are no reason to worry
MAX_SHARED = 0.9  # of a neuron's variance that the others of the same moment explain
LAGS, MOST_ROWS = 3, 20_000  # of the linear forecast whose errors are looked at
COUPLED = 2.0  # standard errors
FEW_SPIKES = {"spikes": 100, "voltage": 10}  # voltages also tell what a neuron listens to between its spikes
# longest at which cause and effect fall into different rows
STEP_MS = {"voltage": VOLTAGE_MS, "spikes": 5.0, "calcium": FRAME_MS}
FORGETFUL, INSTANT = 0.45, 0.5


@dataclass(frozen=True)
class Finding:
    """The answer to one question about a recording.

    Attributes
    ----------
    name : str
        Of the function that asked, for example "too_short".
    title : str
        The answer in a few words.
    warns : bool
        Whether to worry.
    text : str
        What was seen, with figures.
    advice : str
        What to do; empty where there is nothing to do.
    values : dict
        The figures that decided.
    """

    name: str
    title: str
    warns: bool
    text: str
    advice: str = ""
    values: dict = field(default_factory=dict)


def diagnose(recording, connectivity=None, *, fdr=0.05):
    """Ask all questions about a recording, and about its connectivity if that is given.

    Parameters
    ----------
    recording : recording, or what `recording.from_array` takes
        Of calcium the decay of the indicator is taken out first (`preprocess.decay_free`).
    connectivity : xarray.Dataset, optional
        Result of a method on this recording.
    fdr : float, default 0.05
        False discovery rate of the graph that is judged.

    Returns
    -------
    list of Finding
        Warnings first.

    Raises
    ------
    ValueError
        If it is no recording.
    """
    recording = decay_free(as_recording(recording))
    errors = forecast_errors(recording)
    findings = [
        too_short(recording, connectivity),
        not_stationary(recording),
        collinear(recording),
        common_input(recording, errors),
        low_rates(recording),
        coarse_step(recording, errors),
    ]
    if connectivity is not None:
        findings.append(crowded_graph(connectivity, fdr))
    return sorted((f for f in findings if f is not None), key=lambda finding: not finding.warns)


def too_short(recording, connectivity=None):
    """Whether there are fewer than ten time steps for each number that a method fits to a target.

    Counted are the lags in use (of the connectivity; five without one) of all neurons, twice for the single-index
    model, which describes a source by two features.
    """
    n_times, n_neurons = recording["activity"].shape
    method = connectivity.attrs.get("method", "") if connectivity is not None else ""
    n_lags = connectivity.sizes.get("lag", 5) if connectivity is not None else 5
    n_fitted = n_neurons * n_lags * (2 if method == "single_index" else 1)
    ratio = n_times / n_fitted
    warns = ratio < ROWS_PER_PARAMETER
    text = (
        f"{n_times:,} time steps, and about {n_fitted:,} numbers to fit for each target "
        f"({n_neurons} neurons, {n_lags} {'lag' if n_lags == 1 else 'lags'}): {ratio:.3g} steps for each number."
    )
    advice = (
        f"Have at least {ROWS_PER_PARAMETER}. Below that edges are missed and scores are noisy: record longer, keep "
        "fewer neurons, or lower the largest lag."
    )
    title = "Too short for so many neurons" if warns else "Long enough"
    return Finding("too_short", title, warns, text, advice * warns, {"steps_per_number": ratio})


def not_stationary(recording):
    """Whether mean or spread of some neuron differ between the two halves of the recording.

    Each half is cut into eight blocks of time. Their means, and the logarithms of their variances, are compared by a
    t-test for each neuron, all adjusted together (Benjamini & Hochberg 1995, level .01). Blocks stand for themselves:
    activity that remembers longer than a block lasts counts as a change, and it is one. Changes below a fifth of a
    standard deviation, or of the variance by less than 1.3, are let pass.
    """
    x = recording["activity"].values.astype(float)
    n_times, n_neurons = x.shape
    if n_times < 4 * N_BLOCKS:
        text = f"{n_times} time steps are too few to compare halves of the recording."
        return Finding("not_stationary", "Stationarity unknown", False, text)
    spread = x.std(axis=0)
    blocks = [x[rows] for rows in np.array_split(np.arange(n_times), N_BLOCKS)]
    means = np.stack([block.mean(axis=0) for block in blocks])
    variances = np.stack([block.var(axis=0) for block in blocks])
    tiny = 1e-6 * spread**2  # a neuron may be silent in a block
    half = N_BLOCKS // 2
    p_mean, p_spread = (_p_of_change(values, half) for values in (means, np.log(variances + tiny + 1e-300)))
    shift = (means[half:].mean(axis=0) - means[:half].mean(axis=0)) / np.where(spread > 0, spread, 1)
    ratio = (variances[half:].mean(axis=0) + tiny) / (variances[:half].mean(axis=0) + tiny + 1e-300)
    adjusted = significance.fdr(np.stack([p_mean, p_spread]).ravel()).reshape(2, -1)
    shifted = (adjusted[0] < CHANGE_LEVEL) & (np.abs(shift) > MEAN_CHANGE)
    scaled = (adjusted[1] < CHANGE_LEVEL) & (np.maximum(ratio, 1 / np.maximum(ratio, 1e-300)) > SPREAD_CHANGE)
    changed = np.flatnonzero(shifted | scaled)
    values = {"mean_shift": shift, "variance_ratio": ratio, "changed": changed}
    if not len(changed):
        text = "Mean and spread of every neuron are alike in both halves of the recording."
        return Finding("not_stationary", "Halves are alike", False, text, values=values)
    worst = changed[np.argmax(np.abs(shift[changed]) + np.abs(np.log(ratio[changed])))]
    text = (
        f"{_some(recording, changed)} differ between the first half of the recording and the second: "
        f"{_name(recording, worst)} by {shift[worst]:+.2g} standard deviations in the mean, and its variance by a "
        f"factor of {ratio[worst]:.2g}."
    )
    advice = (
        "One number a pair describes an average over the recording, and a drift that neurons share looks like "
        "connections. Cut the recording where it changes, or remove the drift, and see whether the graph stays."
    )
    return Finding("not_stationary", "The recording changes", True, text, advice, values)


def collinear(recording):
    """Whether the other neurons of the same moment tell nearly all of a neuron: nine tenths of its variance.

    The share is the squared multiple correlation of a neuron with all others, corrected for their number.
    """
    x = normalize(_varying(recording))
    n_times, n_neurons = x.shape
    if n_times <= n_neurons + 2:
        text = f"{n_times} time steps are too few for {n_neurons} neurons to tell."
        return Finding("collinear", "Collinearity unknown", False, text)
    correlation = x.T @ x / n_times
    inverse = np.linalg.pinv(correlation, hermitian=True)
    residual = np.clip(1 / np.maximum(np.diag(inverse), 1), 0, 1)
    eigenvalue, vector = np.linalg.eigh(correlation)
    singular = np.abs(vector[:, eigenvalue < 1e-8 * n_neurons]).max(axis=1, initial=0) > 1e-3  # exact combinations
    shared = 1 - np.where(singular, 0, residual) * (n_times - 1) / max(n_times - n_neurons, 1)
    found = np.flatnonzero(shared > MAX_SHARED)
    values = {"shared": shared, "found": found}
    if not len(found):
        text = f"At most {100 * max(shared.max(), 0):.0f} % of a neuron's variance is in the others of the same moment."
        return Finding("collinear", "No neuron repeats others", False, text, values=values)
    off = np.abs(correlation - np.eye(n_neurons))
    worst = found[np.argmax(shared[found])]
    partner = int(np.argmax(off[worst]))
    text = (
        f"{_some(recording, found)} can be written as sums of the others: {100 * shared[worst]:.1f} "
        f"% of "
        f"{_name(recording, worst)} is in them. It resembles {_name(recording, partner)} most "
        f"(correlation {correlation[worst, partner]:.2f})."
    )
    advice = (
        "Methods cannot tell the influences of such neurons apart, and share them out at random. Were one cell "
        "sorted into two units, or two channels close together? Keep one of each."
    )
    return Finding("collinear", "Neurons that repeat each other", True, text, advice, values)


def common_input(recording, errors=None):
    """Whether many neurons surprise a linear forecast in the same direction at the same moment.

    The past of all recorded neurons is taken out by a linear forecast. Where connections are all there is, what is left
    of two neurons correlates here and there, in either direction. An input that many share makes most of their pairs
    correlate one way. The warning comes if four tenths of the neurons, at least four, are such a group, or if a third
    of all pairs correlate positively, three times as many as negatively.

    What it sees, of 20 simulated networks of ten neurons each, with one more that is not recorded
    (``benchmarks/common_input.py``): none without it, none where it drives two neurons, 0 to 2 where three, 19 of
    linear and 6 of spiking networks where four, and all where six; where its effects come one to three steps later, 5
    with four neurons, 12 with six, 20 with all ten. Pulses to half of the neurons: 19 of 20, with twenty neurons 16.
    """
    errors = forecast_errors(recording) if errors is None else errors
    n_neurons = recording.sizes["neuron"]
    if errors is None or n_neurons < 4:
        what = "Three neurons or fewer" if n_neurons < 4 else "So few time steps"
        text = f"{what} cannot show whether they share an input."
        return Finding("common_input", "Common input unknown", False, text)
    z = _coupling(errors)
    pairs = np.triu_indices(n_neurons, 1)
    together, against = float((z[pairs] > COUPLED).mean()), float((z[pairs] < -COUPLED).mean())
    group = _group(errors, z)
    most = len(group) >= max(4, 0.4 * n_neurons) and together > 1.5 * against
    warns = bool(most or (together >= 0.35 and together >= 3 * against))
    values = {"together": together, "against": against, "group": group}
    text = (
        f"After a linear forecast from everybody's past, {100 * together:.0f} % of all pairs still move together at "
        f"the "
        f"same moment, and {100 * against:.0f} % against each other"
        + (f". {_some(recording, np.sort(group))} form one group." if most else ".")
    )
    if not warns:
        return Finding("common_input", "No sign of an input that many share", False, text, values=values)
    advice = (
        "A stimulus, a movement, a rhythm or a neuron that was not recorded may drive many of these, and then the "
        "early "
        "ones look as if they drove the late ones. Compare with trials shifted against each other, or record the "
        "input as one more column."
    )
    return Finding("common_input", "Common input is likely", True, text, advice, values)


def low_rates(recording):
    """Whether some neurons fire fewer than 100 spikes in the whole recording, 10 where their voltage is there too.

    None without spikes, and for voltages that never cross 0 mV.
    """
    rates = spike_rates_hz(recording)
    if rates is None or (recording.attrs["kind"] == "voltage" and "spikes" not in recording and not rates.any()):
        return None  # a voltage that never crosses 0 mV is scaled, or of another kind
    seconds = recording.sizes["time"] * recording.attrs["dt_ms"] / 1000
    counts = rates * seconds
    least = FEW_SPIKES.get(recording.attrs["kind"], FEW_SPIKES["voltage"])
    few = np.flatnonzero(counts < least - 0.5)
    values = {"spikes": counts, "few": few}
    text = f"Neurons fire {rates.min():.3g} to {rates.max():.3g} spikes a second, at least {counts.min():.0f} in all."
    if not len(few):
        return Finding("low_rates", "Enough spikes", False, text, values=values)
    text = (
        f"{_some(recording, few)} fire fewer than {least} spikes in {seconds:.3g} s: "
        f"{_name(recording, few[np.argmin(counts[few])])} fires {counts.min():.0f}."
    )
    advice = (
        "What a silent neuron drives, or what drives it, cannot be seen: a missing edge of these neurons means "
        "nothing. "
        "Record longer or leave them out."
    )
    return Finding("low_rates", "Few spikes", True, text, advice, values)


def coarse_step(recording, errors=None):
    """Whether causes and effects may share a time step.

    Either by the clock: steps of more than 2 ms for voltages, 5 ms for spikes, 10 ms for calcium. Or by the data:
    activity forgets itself from one step to the next (median autocorrelation below .45 in size), and after a linear
    forecast half of all pairs are still correlated at the same moment, as if what happened between them had happened
    within a step.
    """
    errors = forecast_errors(recording) if errors is None else errors
    kind, dt_ms = recording.attrs["kind"], recording.attrs["dt_ms"]
    x = normalize(_varying(recording))
    memory = float(np.median(np.abs(np.mean(x[1:] * x[:-1], axis=0))))
    instant = 0.0
    if errors is not None and x.shape[1] > 1:
        instant = float((np.abs(_coupling(errors)[np.triu_indices(x.shape[1], 1)]) > COUPLED).mean())
    by_clock = dt_ms > STEP_MS.get(kind, np.inf)
    by_data = memory < FORGETFUL and instant >= INSTANT
    values = {"memory": memory, "instant": instant, "by_clock": by_clock, "by_data": by_data}
    if not (by_clock or by_data):
        text = f"Steps of {dt_ms:g} ms: {100 * instant:.0f} % of all pairs are correlated within a step."
        return Finding("coarse_step", "The time step is fine", False, text, values=values)
    reasons = []
    if by_clock:
        reasons.append(f"Steps of {dt_ms:g} ms are longer than a synapse takes (for {kind}: {STEP_MS[kind]:g} ms).")
    if by_data:
        reasons.append(
            f"{100 * instant:.0f} % of all pairs are correlated within one step of {dt_ms:g} ms, and neurons hardly "
            "remember their last value."
        )
    advice = (
        "Cause and effect may fall into the same row, and then no forecast tells which came first: edges are "
        "missed, or "
        "have the wrong direction. Use smaller bins or a faster recording."
    )
    return Finding("coarse_step", "The time step is coarse", True, " ".join(reasons), advice, values)


def crowded_graph(connectivity, fdr=0.05):
    """Whether more than half of all pairs are edges, or the method has no p-values to say."""
    if "p_value" not in connectivity:
        method = connectivity.attrs.get("method", "This method")
        text = f"{method} ranks pairs and gives no p-values: how many of them are edges, it does not say."
        return Finding("crowded_graph", "No p-values", False, text)
    graph = graphs.adjacency(connectivity, fdr=fdr).values
    possible = graph.size - len(graph)
    share = float(graph.sum() / possible)
    text = f"{graph.sum()} of {possible} possible edges ({100 * share:.0f} %) at a false discovery rate of {fdr:g}."
    if share <= 0.5:
        return Finding("crowded_graph", "The graph is no thicket", False, text, values={"share": share})
    advice = (
        "Dense networks exist, but a rhythm, a drift or an input that all share looks the same. Look at the other "
        "warnings, and at the graph of each half of the recording."
    )
    return Finding("crowded_graph", "Nearly everything is connected", True, text, advice, {"share": share})


def forecast_errors(recording):
    """Errors of a linear forecast from the last three steps of all neurons, (n_rows, n_neurons).

    Of 20,000 rows at most, in the middle of the recording; None where there are fewer than twice as many rows as
    coefficients.
    """
    x, errors = normalize(_varying(recording)), None
    n_neurons = x.shape[1]
    rows = np.concatenate([np.arange(part.start + LAGS, part.stop) for part in trial_slices(recording)])
    if len(rows) > MOST_ROWS:
        first = (len(rows) - MOST_ROWS) // 2
        rows = rows[first : first + MOST_ROWS]
    if len(rows) >= 2 * (LAGS * n_neurons + 1):
        past = np.column_stack([np.ones(len(rows)), *(x[rows - lag] for lag in range(1, LAGS + 1))])
        products = past.T @ past
        products[np.diag_indices_from(products)] += 1e-8 * len(rows)  # collinear neurons are another question
        errors = x[rows] - past @ np.linalg.solve(products, past.T @ x[rows])
    return errors


def _varying(recording):
    """Activity as float; neurons that never change get a little noise, so that every question can be asked."""
    x = recording["activity"].values.astype(float)
    constant = x.max(axis=0) == x.min(axis=0)
    if constant.any():
        x = x.copy()
        x[:, constant] += np.random.default_rng(0).standard_normal((len(x), constant.sum()))
    return x


def _coupling(errors):
    """Correlations in standard errors, (n_neurons, n_neurons), 0 on the diagonal."""
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(errors.T))
    z = np.arctanh(np.clip(correlation, -0.999999, 0.999999)) * np.sqrt(len(errors))
    np.fill_diagonal(z, 0)
    return z


def _group(errors, z):
    """Places of the largest group, of those foremost in the first principal component, four fifths of whose pairs are
    correlated one way."""
    n_neurons = len(z)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(errors.T))
    first = np.linalg.eigh(correlation)[1][:, -1]
    order, sign = np.argsort(-np.abs(first), kind="stable"), np.where(first < 0, -1, 1)
    coupled = ((z * np.outer(sign, sign)) > COUPLED)[np.ix_(order, order)]
    inside = np.cumsum([coupled[k, :k].sum() for k in range(n_neurons)])  # pairs among the first k + 1
    size = np.arange(1, n_neurons + 1)
    good = np.flatnonzero((size >= 3) & (inside >= 0.8 * size * (size - 1) / 2))
    return order[: size[good[-1]]] if len(good) else order[:0]


def _p_of_change(values, half):
    """Two-sided p-values of Student's t-test between the first and the last blocks, (n_neurons,)."""
    first, last = values[:half], values[half:]
    degrees = len(values) - 2
    pooled = (((first - first.mean(axis=0)) ** 2).sum(axis=0) + ((last - last.mean(axis=0)) ** 2).sum(axis=0)) / degrees
    error = np.sqrt(pooled * (1 / len(first) + 1 / len(last)))
    difference = np.abs(last.mean(axis=0) - first.mean(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 0, difference / error, np.where(difference > 0, np.inf, 0))
    return 2 * stats.t.sf(t, degrees)


def _name(recording, place):
    return clean(recording["neuron"].values[place])


def _some(recording, places, most=3):
    """How many neurons, and the first of their names."""
    names = [_name(recording, place) for place in places[:most]]
    more = len(places) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{len(places)} of {recording.sizes['neuron']} neurons ({listed})"

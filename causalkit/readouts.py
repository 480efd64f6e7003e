"""A trained model in, connectivity out: attention, aggregated exactly as Lu et al. (2023) publish it.

Every function takes and returns arrays with the dimensions it names, target before source; lag 1 is the newest
step of the history.
"""

import numpy as np
import xarray as xr

__all__ = ["aggregate_attention", "by_lag", "normalize_rows"]


def by_lag(attention: np.ndarray, n_neurons: int) -> np.ndarray:
    """Split the key dimension of attention into source neuron and lag.

    Parameters
    ----------
    attention : (..., targets, sources · history steps)
        Keys are neuron-major, and run from the oldest step to the newest within a neuron.
    n_neurons : int

    Returns
    -------
    (..., targets, sources, lags), a view in which lag 1 (the newest step) comes first.

    Raises
    ------
    ValueError
        If the keys are no whole number of steps a neuron.
    """
    n_keys = attention.shape[-1]
    if n_keys % n_neurons:
        raise ValueError(
            f"attention has {n_keys} keys for {n_neurons} neurons: every neuron has equally many history steps, "
            "so the one must be a multiple of the other; check n_neurons"
        )
    return attention.reshape(*attention.shape[:-1], n_neurons, n_keys // n_neurons)[..., ::-1]


def normalize_rows(attention: np.ndarray, axes) -> np.ndarray:
    """Divide by the sum over `axes`, so that each target's attention adds up to one."""
    return attention / attention.sum(axis=axes, keepdims=True)


def aggregate_attention(attention: np.ndarray, neurons, *, scale_rows: bool = True) -> xr.Dataset:
    """Aggregate cross-attention into a connectivity (Lu et al. 2023, section 3.3).

    Heads and history steps are added up, windows averaged, each target's row scaled to sum 1, and the members
    of the ensemble averaged.

    Parameters
    ----------
    attention : (n_seeds, n_targets, n_sources, n_lags)
        Each member's attention, added up over heads and averaged over windows.
    neurons : sequence of str
        Names, (n_neurons,).
    scale_rows : bool
        True scales each target's row to sum 1, as published. False scales each member so that its mean row does: for
        networks in which a target may attend to nobody, and a row's sum tells how much it needs others.

    Returns
    -------
    xarray.Dataset
        ``score (target, source)``, ``seed_score (seed, target, source)``, ``lag_score (target, source, lag)`` and
        ``seed_lag_score``; the diagonal is in place.
    """
    attention = np.asarray(attention, dtype=np.float64)
    if scale_rows:
        shares = normalize_rows(attention, (-2, -1))
    else:
        shares = normalize_rows(attention, (-3, -2, -1)) * attention.shape[-3]
    result = xr.Dataset(
        {"seed_lag_score": (("seed", "target", "source", "lag"), shares)},
        coords={"target": list(neurons), "source": list(neurons), "lag": np.arange(1, shares.shape[-1] + 1)},
    )
    result["seed_score"] = result["seed_lag_score"].sum("lag")
    result["lag_score"] = result["seed_lag_score"].mean("seed")
    result["score"] = result["seed_score"].mean("seed")
    return result

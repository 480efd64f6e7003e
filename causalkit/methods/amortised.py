"""Amortised causal discovery: one graph network trained over many recordings reads the next in one forward pass."""

from __future__ import annotations

import functools
import numbers
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from sklearn.exceptions import NotFittedError

from causalkit import connectivity
from causalkit.methods import amortised_training
from causalkit.methods.amortised_network import negative_log_likelihood
from causalkit.methods.base import Method, Traits, check_rate, check_whole
from causalkit.recording import as_recording, normalize, window_starts

SHIPPED = "forecasts", "labels"
FEWEST_WINDOWS = 20


class AmortisedDiscovery(Method):
    """Amortised causal discovery (Löwe et al. 2022): a graph network that was trained on other recordings.

    Other methods learn each recording anew. Here an **encoder**, trained over many simulated networks, says in one
    forward pass which pairs are connected and with which sign. A **decoder** that forecasts with those edges trains
    it, without any true graph; or the true graphs of the simulations do. `fit` trains nothing and draws nothing.

    Parameters
    ----------
    weights : {"forecasts", "labels"} or path or None, default "forecasts"
        Trained weights. Two come with the package, both from 600 simulated Izhikevich networks of 5 to 20 neurons:
        "forecasts" learned from forecasting alone, "labels" from the true graphs as well. Or the file that `pretrain`
        wrote. None is an untrained network, which `pretrain` accepts and `fit` refuses.

    Attributes
    ----------
    connectivity_ : xarray.Dataset (target, source)
        ``score``, the probability of an edge of either sign; ``sign``, the more probable sign; ``graph`` of bool, where
        the probability exceeds a half. Probabilities hold for networks like those of the training, and for no others.
        The attributes ``trained_on`` and ``weights_sha256`` say which weights it was.
    diagnostics_ : xarray.Dataset
        ``own_r2 (neuron)``, the share of variance that is forecast from own past, ``r2 (neuron)`` with the edges too,
        and ``forecast_gain (neuron)``, log-likelihood a step that edges add, in nats. Where edges do not add any, the
        network has not understood the recording.

    Raises
    ------
    NotFittedError
        From ``fit``: `weights` is None.
    ValueError
        From ``fit``: weights that cannot be read, or too few time steps.

    Warns
    -----
    UserWarning
        From ``fit``: the weights were trained on another kind of recording.

    Notes
    -----
    Activity is z-scored, neurons and pairs share all weights, and what is passed between them are means: the result
    follows a permutation of neurons, does not depend on their scale, and any number of neurons and steps will do. A
    neuron's next value is forecast as ``own past + gain(own past) · Σ sign · message(source's past)``, Gaussian with a
    variance that depends on its own past; a sign of 0 is no edge. Pairs enter the encoder as correlations of
    learned features of the source's past with what that forecast leaves of the target, as they are and partialled
    on all other sources; then edges tell neurons and neurons tell edges (Kipf et al. 2018). A recording in which
    neurons differ from those of the training is outside of what was learned: compare with a method that assumes less.

    References
    ----------
    Löwe, Madras, Zemel & Welling (2022), Causal Learning and Reasoning, PMLR 177, 509-525. Kipf, Fetaya, Wang, Welling
    & Zemel (2018), ICML, PMLR 80, 2688-2697.
    """

    name = "amortised"
    traits = Traits(
        directed=True, input_kinds=("voltage", "calcium", "other"), stochastic=False, signed=True, lagged=False,
        p_values=False,
    )  # fmt: skip

    def __init__(self, *, weights="forecasts"):
        self.weights = weights

    @classmethod
    def pretrain(
        cls, recordings: Any, file: Any, *, supervised: bool = False, context: int = 6, n_hidden: int = 32,
        n_steps: int = 1500, n_networks: int = 4, n_rows: int = 2000, learning_rate: float = 4e-3,
        edge_prior: float = 0.5, random_state: int = 0, description: str = "",
    ) -> AmortisedDiscovery:  # fmt: skip
        """Train a network over many recordings and write its weights to a file.

        Parameters
        ----------
        recordings : sequence of Dataset
            Some hundred, of networks like those that are to be read; of any size and length.
        file : path
            Where the weights go, as safetensors; by custom ``.safetensors``.
        supervised : bool, default False
            Learn from the `connectivity` of the recordings, beside their forecasts. Otherwise it is not looked at.
        context : int, default 6
            Steps of the past that are read.
        n_hidden : int, default 32
            Channels of neurons and of edges.
        n_steps : int, default 1500
            Steps of the optimizer (Adam, one cycle of the learning rate).
        n_networks, n_rows : int, default 4 and 2000
            Each step takes stretches of `n_rows` / 4 to `n_rows` windows from this many recordings of one size.
        learning_rate : float, default 4e-3
            The largest.
        edge_prior : float, default 0.5
            Probability of an edge before anything was seen; not used if supervised.
        random_state : int, default 0
        description : str, optional
            What the recordings were; kept with the weights, and told by every result.

        Returns
        -------
        AmortisedDiscovery
            With `weights` set to the file.

        Raises
        ------
        ValueError
            Impossible parameters, no recordings, recordings too short, or, if supervised, without connectivity.
        """
        for parameter, value, least in (
            ("context", context, 1), ("n_hidden", n_hidden, 1), ("n_steps", n_steps, 10), ("n_networks", n_networks, 1),
            ("n_rows", n_rows, 40), ("random_state", random_state, 0),
        ):  # fmt: skip
            check_whole(parameter, value, least)
        check_rate("learning_rate", learning_rate)
        if not isinstance(edge_prior, numbers.Real) or not 0 < edge_prior < 1:
            raise ValueError(f"edge_prior is {edge_prior!r}: it is a probability, a number between 0 and 1")
        settings = {
            "supervised": bool(supervised), "context": int(context), "n_hidden": int(n_hidden),
            "n_steps": int(n_steps), "n_networks": int(n_networks), "n_rows": int(n_rows),
            "learning_rate": float(learning_rate), "edge_prior": float(edge_prior), "random_state": int(random_state),
        }  # fmt: skip
        recordings = [as_recording(recording) for recording in recordings]
        network, losses = amortised_training.train(recordings, **settings)
        last = {name: float(np.mean(values[-max(len(values) // 10, 1) :])) for name, values in losses.items()}
        about = {"description": str(description), "kinds": sorted({r.attrs["kind"] for r in recordings}),
                 "n_recordings": len(recordings), "pretrain": settings, "last_losses": last}  # fmt: skip
        return cls(weights=str(amortised_training.save(network, file, about)))

    def _network(self):
        """The network in double precision, and what its file tells."""
        if self.weights is None:
            raise NotFittedError(
                "this AmortisedDiscovery has no trained weights: take those of the package, weights='forecasts', or "
                "train some with AmortisedDiscovery.pretrain(recordings, file)"
            )
        return read_weights(*_version_of(self.weights))

    def _min_times(self) -> int:
        network, _ = self._network()
        return network.settings["context"] + FEWEST_WINDOWS

    def _fit(self, recording: xr.Dataset) -> xr.Dataset:
        network, about = self._network()
        context, kind = network.settings["context"], recording.attrs["kind"]
        if kind != "other" and kind not in about["kinds"]:
            warnings.warn(
                f"the weights were trained on recordings of kind {about['kinds']}, this one is {kind!r}: pretrain on "
                "simulations of that kind, or do not trust the result",
                stacklevel=4,
            )
        starts = window_starts(recording, context)
        if len(starts) < FEWEST_WINDOWS:
            raise ValueError(
                f"activity has {len(starts)} windows of {context} + 1 steps within a trial: AmortisedDiscovery needs "
                f"at least {FEWEST_WINDOWS}; record longer, or use longer trials"
            )
        x = torch.tensor(normalize(recording["activity"]))
        past, following = (tensor[None] for tensor in amortised_training.cut(x, starts, context))
        with torch.no_grad():
            evidence = network(past, following)
            types = torch.softmax(evidence.logits, dim=-1)
            forecasts = evidence.views.mean, network.decode(evidence.views, types)
            loss = [negative_log_likelihood(evidence.views, f, following)[0].mean(0).numpy() for f in forecasts]
            left = [((following - f)[0] ** 2).mean(0).numpy() for f in forecasts]
        variance = following[0].var(0, correction=0).numpy()
        neurons = recording["neuron"].values.tolist()
        self.diagnostics_ = xr.Dataset(
            {
                "own_r2": ("neuron", 1 - left[0] / variance),
                "r2": ("neuron", 1 - left[1] / variance),
                "forecast_gain": ("neuron", loss[0] - loss[1]),
            },
            coords={"neuron": neurons},
        )
        probability = types[0, :, :, 1:].sum(-1).fill_diagonal_(torch.nan).numpy()
        return connectivity.build(
            probability,
            neurons=neurons,
            method=self.name,
            parameters=self.get_params() | {"weights": str(self.weights)},
            sign=amortised_training.edge_signs(evidence.logits[0]).numpy(),
            graph=xr.DataArray(probability > 0.5, dims=connectivity.EDGE),
            trained_on=about["description"],
            weights_sha256=about["sha256"],
        )


def _version_of(weights) -> tuple[str, int]:
    """Path of the weights and when they were written: a file that was trained anew is read anew."""
    if weights in SHIPPED:
        return str(resources.files("causalkit.methods") / "weights" / f"amortised_{weights}.safetensors"), 0
    if not Path(weights).is_file():
        raise ValueError(
            f"weights is {str(weights)!r}: it is one of {list(SHIPPED)}, or the file that AmortisedDiscovery.pretrain "
            "wrote, and there is no such file"
        )
    return str(weights), Path(weights).stat().st_mtime_ns


@functools.lru_cache(maxsize=4)
def read_weights(file: str, written: int):
    """The network in `file` in double precision, in which sums do not feel the order of neurons or trials."""
    network, about = amortised_training.load(file)
    return network.double(), about

"""The Causalformer's presets, and what its hyperparameters may be."""

import numbers

import numpy as np

__all__ = ["PRESETS", "VARIANTS", "checked"]

# "fast" is one token a neuron, and a learned graph that is the same for all windows (causalformer_compact). "paper" is
# Table 2; its learning-rate decay never acted: a bug in the program kept the rate constant. "small" is the paper's
# network for trying things out, with a worse readout.
PRESETS = {
    "fast": {
        "tokens": "history", "decoder_attention": "static", "context": 10, "embedding_dim": 64, "feedforward_dim": 128,
        "head_dim": 8, "n_heads": "auto", "dropout_embedding": 0.0, "dropout_feedforward": 0.0, "batch_size": 8,
        "learning_rate": 2.5e-3, "learning_rate_decay": "linear", "weight_decay": 1e-3, "max_epochs": 10,
        "patience": 10, "n_seeds": 10,
    },
    "paper": {
        "tokens": "step", "decoder_attention": "softmax", "context": 10, "embedding_dim": 100, "feedforward_dim": 400,
        "head_dim": 8, "n_heads": 10, "dropout_embedding": 0.1, "dropout_feedforward": 0.1, "batch_size": 16,
        "learning_rate": 5e-4, "learning_rate_decay": "constant", "weight_decay": 1e-3, "max_epochs": 200,
        "patience": 10, "n_seeds": 10,
    },
    "small": {
        "tokens": "step", "decoder_attention": "softmax", "context": 5, "embedding_dim": 48, "feedforward_dim": 96,
        "head_dim": 8, "n_heads": 6, "dropout_embedding": 0.1, "dropout_feedforward": 0.1, "batch_size": 32,
        "learning_rate": 3e-3, "learning_rate_decay": "constant", "weight_decay": 1e-3, "max_epochs": 10,
        "patience": 3, "n_seeds": 3,
    },
}  # fmt: skip

# Variants of the network with history tokens, and the values that leave it as it is.
VARIANTS = {
    "decoder_attention": "softmax", "norm": "batch", "stationarize": False, "nobody": 1.0, "self_attention": False,
    "identity_in_values": False,
}  # fmt: skip

_CHOICES = {
    "preset": tuple(PRESETS),
    "normalization": ("train", "paper"),
    "encoder_attention": ("local", "global"),
    "norm": ("batch", "layer", "none"),
    "precision": ("float32", "bfloat16"),
    "loss": ("mse", "bernoulli", "poisson"),
}
_PRESET_CHOICES = {
    "tokens": ("history", "step"),
    "decoder_attention": ("softmax", "static", "linear"),
    "learning_rate_decay": ("constant", "linear"),
}
_SWITCHES = ("leak_future", "stationarize", "self_attention", "identity_in_values")


def checked(parameters: dict, n_neurons: int | None = None) -> dict:
    """The preset's values, overridden by those of `parameters` that are not None.

    The number of heads stays "auto" where `n_neurons` is not given.

    Raises
    ------
    TypeError, ValueError
        For hyperparameters that make no network.
    """
    seed = parameters["random_state"]
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise ValueError(f"random_state={seed!r} must be a whole number from 0 on: results are repeated by it")
    for name in _SWITCHES:
        if not isinstance(parameters[name], bool):
            raise TypeError(f"{name}={parameters[name]!r} must be True or False")
    for name, choices in _CHOICES.items():
        _require_choice(name, parameters[name], choices)
    values = {
        name: value if parameters[name] is None else parameters[name]
        for name, value in PRESETS[parameters["preset"]].items()
    }
    if values["tokens"] == "step" and parameters["decoder_attention"] is None:
        values["decoder_attention"] = "softmax"  # the only one there is for them
    for name, choices in _PRESET_CHOICES.items():
        _require_choice(name, values[name], choices)
    for name, value in values.items():
        if not (name in _PRESET_CHOICES or (name == "n_heads" and value == "auto")):
            _require_number(name, value)
    _require_number("nobody", parameters["nobody"])
    _require_history_tokens(parameters, values)
    if values["n_heads"] == "auto" and n_neurons is not None:
        values["n_heads"] = min(max(4, 2 * n_neurons // 5), 16)
    return values


def _require_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(choices)}")


def _require_number(name, value):
    whole = isinstance(PRESETS["paper"].get(name), int)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
        raise TypeError(f"{name}={value!r} must be {'a whole' if whole else 'a'} number")
    if not np.isfinite(value):
        raise ValueError(f"{name}={value!r} must be finite")
    lowest = 0 if name in ("max_epochs", "weight_decay", "nobody") or name.startswith("dropout") else None
    if value < 0 or (value == 0 and lowest is None):
        raise ValueError(f"{name}={value!r} must be {'positive' if lowest is None else 'zero or more'}")
    if name.startswith("dropout") and value >= 1:
        raise ValueError(f"{name}={value!r} is a probability and must stay below 1")


def _require_history_tokens(parameters, values):
    if parameters["stationarize"] and values["decoder_attention"] == "linear":
        raise ValueError(
            "stationarize=True with decoder_attention='linear': the removed statistics are given back to scores, which "
            "linear attention does not have; choose one of the two"
        )
    given = parameters | {"decoder_attention": values["decoder_attention"]}
    changed = [f"{name}={given[name]!r}" for name, neutral in VARIANTS.items() if given[name] != neutral]
    if changed and values["tokens"] == "step":
        raise ValueError(
            f"{', '.join(changed)}: made for history tokens, and preset={parameters['preset']!r} with tokens='step' is "
            "the published network, in which it would change nothing; leave it out, or use tokens='history'"
        )

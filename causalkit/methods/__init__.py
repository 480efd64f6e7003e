"""One file a method; this table names them for the command line and the conformance suite."""

import difflib
from collections.abc import Mapping
from importlib import import_module

from causalkit.methods.base import Method, Traits

# Imported on first use: `causalkit --help` and MVGC need no torch.
_WHERE = {
    "mvgc": ("causalkit.methods.mvgc", "MVGC"),
    "causalformer": ("causalkit.methods.causalformer", "Causalformer"),
    "single_index": ("causalkit.methods.single_index", "SingleIndexGranger"),
    "spike_index": ("causalkit.methods.spike_index", "SpikeIndexGranger"),
    "decoder_only": ("causalkit.methods.decoder_only", "DecoderOnlyTransformer"),
    "neuroformer": ("causalkit.methods.neuroformer", "Neuroformer"),
    "spike_glm": ("causalkit.methods.spike_glm", "SpikeGLM"),
    "partial_correlation": ("causalkit.methods.partial_correlation", "PartialCorrelation"),
    "cross_correlogram": ("causalkit.methods.cross_correlogram", "CrossCorrelogram"),
    "pairwise_granger": ("causalkit.methods.pairwise_granger", "PairwiseGranger"),
    "pcmci": ("causalkit.methods.pcmci", "PCMCI"),
    "pcmci_plus": ("causalkit.methods.pcmci", "PCMCIPlus"),
    "var_lingam": ("causalkit.methods.var_lingam", "VARLiNGAM"),
    "dynotears": ("causalkit.methods.dynotears", "DYNOTEARS"),
    "neural_granger": ("causalkit.methods.neural_granger", "NeuralGranger"),
    "amortised": ("causalkit.methods.amortised", "AmortisedDiscovery"),
    "gaussian_process": ("causalkit.methods.gaussian_process", "GaussianProcessGranger"),
    "random": ("causalkit.methods.random_scores", "RandomScores"),
}


class _Methods(Mapping):
    """Name -> estimator class, each imported when it is first asked for."""

    def __getitem__(self, name):
        module, attribute = _WHERE[name]
        return getattr(import_module(module), attribute)

    def __iter__(self):
        return iter(_WHERE)

    def __len__(self):
        return len(_WHERE)

    def __contains__(self, name):
        return name in _WHERE


METHODS = _Methods()


def get(name: str) -> type[Method]:
    """Return the estimator class called `name`.

    Parameters
    ----------
    name : str
        A key of ``METHODS``, for example ``"mvgc"``.

    Raises
    ------
    ValueError
        If no method has that name; the message lists those there are.
    """
    if name in METHODS:
        return METHODS[name]
    close = difflib.get_close_matches(str(name).lower(), METHODS, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown method {name!r}: causalkit has {', '.join(METHODS)}.{hint}")


__all__ = ["METHODS", "Method", "Traits", "get"]

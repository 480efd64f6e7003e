"""causalkit: which neuron drives which, read out of recordings and of models that forecast them."""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _NotFound
from importlib.metadata import version as _version

try:
    __version__ = _version("causalkit")
except _NotFound:  # run from a source tree that is not installed
    __version__ = "0+unknown"

# The public API on one screen. Loaded on first use, so that importing causalkit does not import torch.
_PUBLIC = {
    "from_array": "causalkit.recording",
    "MVGC": "causalkit.methods.mvgc",
    "Causalformer": "causalkit.methods.causalformer",
    "SingleIndexGranger": "causalkit.methods.single_index",
    "SpikeIndexGranger": "causalkit.methods.spike_index",
    "DecoderOnlyTransformer": "causalkit.methods.decoder_only",
    "Neuroformer": "causalkit.methods.neuroformer",
    "SpikeGLM": "causalkit.methods.spike_glm",
    "PartialCorrelation": "causalkit.methods.partial_correlation",
    "CrossCorrelogram": "causalkit.methods.cross_correlogram",
    "PairwiseGranger": "causalkit.methods.pairwise_granger",
    "PCMCI": "causalkit.methods.pcmci",
    "PCMCIPlus": "causalkit.methods.pcmci",
    "VARLiNGAM": "causalkit.methods.var_lingam",
    "DYNOTEARS": "causalkit.methods.dynotears",
    "NeuralGranger": "causalkit.methods.neural_granger",
    "AmortisedDiscovery": "causalkit.methods.amortised",
    "GaussianProcessGranger": "causalkit.methods.gaussian_process",
    "RandomScores": "causalkit.methods.random_scores",
    "granger_causality_of_var": "causalkit.methods.statespace",
    "PAG": "causalkit.discovery",
    "icd": "causalkit.discovery",
    "icd_time_series": "causalkit.discovery",
    "oracle_independence": "causalkit.discovery",
    "abcd": "causalkit.discovery",
    "co_input": "causalkit.shared_input",
    "report": "causalkit.reporting",
}
_MODULES = (
    "benchmark", "connectivity", "datasets", "default", "discovery", "infer", "io", "lagged_graphs",
    "lagged_metrics", "latent_graph_scores", "methods", "metrics", "nn", "plots", "preprocess", "readouts",
    "recording", "reporting", "rerun", "significance", "simulate", "spike_readouts", "spike_tokens", "summary",
    "sweep", "training", "windows",
)  # fmt: skip

__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(_import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return _import_module(f"causalkit.{name}")
    raise AttributeError(f"module 'causalkit' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)

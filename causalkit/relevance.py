"""Layer-wise relevance propagation through any network here, by gradients that follow other rules.

Relevance divides the value of a forecast among the inputs that it was made of (Bach et al. 2015). For attention it is
propagated as Ali et al. (2022, arXiv 2202.07304) do, whose rules keep its sum: what decides *how* values are mixed is
taken as given, and only *what* is mixed is relevant.

=============================  =====================================================================================
affine layers                  each input gets its term of the sum, w·x, and the bias keeps its own (epsilon rule, the
                               stabilizing epsilon gone to zero)
attention                      weights are constants: relevance goes through the values
layer normalization            the standard deviation is a constant
batch normalization            is affine when it is read
GELU, sine and their like      the output's relevance is the input's (identity rule): f(x) is taken as x times f(x)/x
=============================  =====================================================================================

With these constants a forecast is an affine function of its history, so that relevance is derivative times input, and
what inputs and biases get adds up to the forecast. AttnLRP (Achtibat et al. 2024) differs in that it gives half of a
head's relevance to the attention's weights, and so to what keys and queries saw.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

__all__ = ["RelevanceRules"]

_CONSTANT = {"softmax", "var", "var_mean", "std"}
_IDENTITY = {"gelu", "sin", "relu", "tanh", "silu"}
_WITHOUT_RULE = {"elu", "sigmoid", "cos"}
_TINY = 1e-6


class RelevanceRules(TorchFunctionMode):
    """While active, functions of torch have the derivatives that make derivative times input the relevance.

    Forecasts made under it have the values they always have.

    Raises
    ------
    NotImplementedError
        For a function that no rule is known for, such as the features of linear attention.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in _WITHOUT_RULE:
            raise NotImplementedError(
                f"the network computes {name}, for which there is no rule of relevance here (linear attention makes "
                "its weights of it), so shares of the forecast would not add up; read 'gradient_x_input' instead"
            )
        if name in _IDENTITY:
            return _identity(func, *args, **kwargs)
        if name == "layer_norm":
            return _layer_norm(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return _attention(*args, **kwargs)
        result = func(*args, **kwargs)
        return _detached(result) if name in _CONSTANT else result


def _detached(result):
    return tuple(part.detach() for part in result) if isinstance(result, tuple) else result.detach()


def _attention(query, key, value, attn_mask=None, **kwargs):
    """The fused kernel, whose weights no softmax shows: all that they come from is a constant."""
    mask = None if attn_mask is None else attn_mask.detach()
    return scaled_dot_product_attention(query.detach(), key.detach(), value, attn_mask=mask, **kwargs)


def _identity(func, x, *args, **kwargs):
    with torch.no_grad():
        away_from_zero = torch.where(x.abs() < _TINY, torch.full_like(x, _TINY), x)
        ratio = func(away_from_zero, *args, **kwargs) / away_from_zero
    return x * ratio


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    deviation = (x.var(axes, correction=0, keepdim=True) + eps).sqrt().detach()
    scaled = (x - x.mean(axes, keepdim=True)) / deviation
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias

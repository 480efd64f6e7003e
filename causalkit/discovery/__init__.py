"""Causal discovery from independences: tests, search, and graphs that say what is known and what is open."""

from .attention import abcd, abcd_heads, agreement, attention_array
from .basis_independence import BasisIndependence, basis_independence
from .explanations import Explanation, cleann, explain_by_rank
from .independence import (
    PartialCorrelation,
    attention_independence,
    embedding_independence,
    oracle_independence,
    samples_independence,
)
from .iterative import icd
from .pag import PAG, Edge
from .refinement import refine_hidden_causes, refine_within_step
from .scores import compare
from .time_series import icd_time_series, lagged_independence

__all__ = [
    "PAG", "BasisIndependence", "Edge", "Explanation", "PartialCorrelation", "abcd", "abcd_heads", "agreement",
    "attention_array", "attention_independence", "basis_independence", "cleann", "compare", "embedding_independence",
    "explain_by_rank", "icd", "icd_time_series", "lagged_independence", "oracle_independence", "refine_hidden_causes",
    "refine_within_step", "samples_independence",
]  # fmt: skip

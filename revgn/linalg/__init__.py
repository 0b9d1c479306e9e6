"""Matrices only: Gram matrices, their factors, truncation, pseudoinverses."""

from revgn.linalg.factor import (
    RUNGS,
    CholeskyFactor,
    Factor,
    FactorInfo,
    Rung,
    SpectralFactor,
    factor,
    norm,
    project,
    solve_checked,
    solve_factored,
)
from revgn.linalg.gram import add_diagonal, as_dtype, gram_columns, gram_rows
from revgn.linalg.pinv import Pinv, PinvInfo, PinvSolution, apply_pinv, factor_pinv
from revgn.linalg.truncation import PAPER_RULE, PinvRule, machine_epsilon

__all__ = [
    "PAPER_RULE",
    "RUNGS",
    "CholeskyFactor",
    "Factor",
    "FactorInfo",
    "Pinv",
    "PinvInfo",
    "PinvRule",
    "PinvSolution",
    "Rung",
    "SpectralFactor",
    "add_diagonal",
    "apply_pinv",
    "as_dtype",
    "factor",
    "factor_pinv",
    "gram_columns",
    "gram_rows",
    "machine_epsilon",
    "norm",
    "project",
    "solve_checked",
    "solve_factored",
]

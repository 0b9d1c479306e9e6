"""Linear algebra of matrices: Gram matrices, factorizations, pseudoinverses, conjugate gradients."""

from revgn.linalg.cg import OUTCOMES, Outcome, conjugate_gradients
from revgn.linalg.checked import solve_checked
from revgn.linalg.extremes import begin_extremes
from revgn.linalg.factor import DampingScale, begin_factor, damping_decides, factor, factor_at, with_info
from revgn.linalg.factors import (
    RUNGS,
    CholeskyFactor,
    Factor,
    Factored,
    FactorInfo,
    InverseFactor,
    Rung,
    SpectralFactor,
    product_factored,
    project,
    solve_factored,
)
from revgn.linalg.gram import add_diagonal, as_dtype, gram_columns, gram_rows
from revgn.linalg.lanczos import largest_eigenvalue
from revgn.linalg.norms import begin_norms, norm, norms
from revgn.linalg.pinv import Pinv, PinvInfo, apply_pinv, begin_apply_pinv, begin_pinv, factor_pinv
from revgn.linalg.tiled import cholesky_tiled
from revgn.linalg.truncation import PAPER_RULE, PinvRule, machine_epsilon

__all__ = [
    "OUTCOMES",
    "PAPER_RULE",
    "RUNGS",
    "CholeskyFactor",
    "DampingScale",
    "Factor",
    "FactorInfo",
    "Factored",
    "InverseFactor",
    "Outcome",
    "Pinv",
    "PinvInfo",
    "PinvRule",
    "Rung",
    "SpectralFactor",
    "add_diagonal",
    "apply_pinv",
    "as_dtype",
    "begin_apply_pinv",
    "begin_extremes",
    "begin_factor",
    "begin_norms",
    "begin_pinv",
    "cholesky_tiled",
    "conjugate_gradients",
    "damping_decides",
    "factor",
    "factor_at",
    "factor_pinv",
    "gram_columns",
    "gram_rows",
    "largest_eigenvalue",
    "machine_epsilon",
    "norm",
    "norms",
    "product_factored",
    "project",
    "solve_checked",
    "solve_factored",
    "with_info",
]

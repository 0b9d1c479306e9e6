"""The laws of layers, losses and solvers as functions that check them.

They test the package itself and a user's own layers. Each function works on any backend. If a law does not
hold, it raises an `AssertionError` with the law, the measured error and the tolerance. `check_layer` checks
all laws that apply to a layer:

    from revgn.testing import check_layer
    check_layer(layer, params, x)
"""

from revgn.testing.compare import Kind, assert_close, assert_same_kind, draw_like, relative_error, tolerance
from revgn.testing.layer import (
    LAWS,
    Law,
    check_adjoint,
    check_inverse,
    check_inverse_tangent,
    check_layer,
    check_linear,
    check_linearize,
    check_linearize_inverse,
    check_pinv,
    check_purity,
    check_tangent,
    laws_of,
)
from revgn.testing.loss import check_loss
from revgn.testing.machine import Measured, check_machine
from revgn.testing.rows import check_features, check_halves, check_matrices, check_rows
from revgn.testing.solver import check_generalized_inverse, check_reported_rho, check_solver

__all__ = [
    "LAWS",
    "Kind",
    "Law",
    "Measured",
    "assert_close",
    "assert_same_kind",
    "check_adjoint",
    "check_features",
    "check_generalized_inverse",
    "check_halves",
    "check_inverse",
    "check_inverse_tangent",
    "check_layer",
    "check_linear",
    "check_linearize",
    "check_linearize_inverse",
    "check_loss",
    "check_machine",
    "check_matrices",
    "check_pinv",
    "check_purity",
    "check_reported_rho",
    "check_rows",
    "check_solver",
    "check_tangent",
    "draw_like",
    "laws_of",
    "relative_error",
    "tolerance",
]

"""Solvers of J D = eps: generalized inverses of the Jacobian J, and the residuals of their solutions D."""

from revgn.solvers import minimum_norm_cost  # noqa: F401  # registers the cost
from revgn.solvers.automatic import Automatic
from revgn.solvers.block import BlockWise
from revgn.solvers.block_weights import BlockWeights
from revgn.solvers.conjugate_gradients import Blocks, ConjugateGradients
from revgn.solvers.jacobian import (
    Equation,
    Jacobian,
    SolveInfo,
    Solver,
    apply,
    apply_adjoint,
    begin_rho,
    combined,
    equation,
    jacobian,
    output_change,
    prepared,
    residuals,
    rho,
    solve,
    solve_rows,
    work_of_rows,
)
from revgn.solvers.kernel import tangent_kernel
from revgn.solvers.kernel_rows import rows_change
from revgn.solvers.minimum_norm import MinimumNorm
from revgn.solvers.operator import jacobian_operator, kernel_operator
from revgn.solvers.tiled_kernel import TilePlan, is_dense, kernel_memory, plan_tiles

__all__ = [
    "Automatic",
    "BlockWeights",
    "BlockWise",
    "Blocks",
    "ConjugateGradients",
    "Equation",
    "Jacobian",
    "MinimumNorm",
    "SolveInfo",
    "Solver",
    "TilePlan",
    "apply",
    "apply_adjoint",
    "begin_rho",
    "combined",
    "equation",
    "is_dense",
    "jacobian",
    "jacobian_operator",
    "kernel_memory",
    "kernel_operator",
    "output_change",
    "plan_tiles",
    "prepared",
    "residuals",
    "rho",
    "rows_change",
    "solve",
    "solve_rows",
    "tangent_kernel",
    "work_of_rows",
]

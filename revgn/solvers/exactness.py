"""Exact is a measured word: rho = |J D - eps| / |eps|."""

from revgn.arrays import Array
from revgn.errors import ShapeError, UsageError
from revgn.linalg import norm
from revgn.solvers.jacobian import Jacobian, output_count
from revgn.trees import is_empty


def rho(JD: Array, eps: Array) -> float:
    """|J D - eps| / |eps|; |J D| where eps is 0."""
    wanted = norm(eps)
    return norm(JD - eps) / wanted if wanted else norm(JD)


def check_wanted(J: Jacobian, eps: Array) -> None:
    """Raise `ShapeError` unless eps is (n, c) for J's samples and outputs.

    `UsageError` for another dtype, or where no layer has parameters.
    """
    expected = (J.point.output.first.shape[0], output_count(J))
    if eps.shape != expected:
        raise ShapeError(f"solve: eps has shape {eps.shape}; expected {expected} for this Jacobian")
    if eps.dtype != J.point.output.first.dtype:
        raise UsageError(f"solve: eps is {eps.dtype} but the network {J.point.output.first.dtype}")
    if is_empty(J.params):
        raise UsageError("solve: no layer of the network has parameters")

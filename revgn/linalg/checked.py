"""Solve (K + mu I) Z = B and measure the residual; if it is too large, refine Z or factor more accurately.

The residual |R| / |B| is accepted up to eps^0.6, with eps the unit of rounding of the dtype of B.
"""

import math
from collections.abc import Callable
from typing import TypeVar

from revgn.arrays import Array, Deferred
from revgn.linalg.factors import RUNGS, Factor, Factored, FactorInfo, Rung, solve_factored
from revgn.linalg.norms import begin_norms, norm, norms
from revgn.linalg.truncation import machine_epsilon

T = TypeVar("T")
Evaluate = Callable[[Array, Array, T | None, Factor, FactorInfo], tuple[T, Array]]

_REFINEMENTS = 3
_ENOUGH = 0.6  # exponent of eps: a residual up to eps^0.6 is accepted
_EXPECTED = 0.1  # residual of a solution over eps (s_max / s_min)^2, as measured for features of images
_HIDDEN = 1e-3  # accepted residual, relative to the residual mu |Z| / |B| due to damping


def solve_checked(
    factored: Factor,
    info: FactorInfo,
    B: Array,
    evaluate: Evaluate[T],
    refactor: Callable[[Rung], Factored | None],
) -> tuple[T, FactorInfo, float]:
    """Solve (K + mu I) Z = B, refine Z, and try the next rungs of `factor` until Z is accurate.

    Parameters
    ----------
    evaluate : callable
        `evaluate(Z, dZ, before, factored, info)` returns the caller's result for Z, and the residual R in the
        shape of B. `before` is the caller's result for Z - dZ; it is None in the first call, where dZ = Z.
        A result that is linear in Z is `before` plus the result for dZ. Refinement then also removes the
        rounding errors of Z.
    refactor : callable
        `refactor(rung)` factors again, starting from that rung; None if no rung is left.

    Returns
    -------
    The result for the best Z, the info of the factorization used, and the residual |R| / |B|. The residual
    exceeds eps^0.6 (4e-10, or 7e-5 in single precision) only if it is below a thousandth of the residual due
    to damping, mu |Z| / |B|, or if the last rung was not more accurate.
    """
    while True:
        Z = solve_factored(factored, B)
        result, R = evaluate(Z, Z, None, factored, info)
        scale, misfit, *left = norms(B, R, *((Z,) if info.damping else ()))
        scale = scale or 1.0
        tolerance = _tolerance(info, scale, left, B)
        residual = misfit / scale
        for _ in range(_REFINEMENTS):
            if residual <= tolerance:
                break
            dZ = solve_factored(factored, R)
            Z = Z + dZ
            better, R = evaluate(Z, dZ, result, factored, info)
            again = norm(R) / scale
            if not again < residual:
                break
            result, residual = better, again
        if residual <= tolerance or info.rung == RUNGS[-1] or not math.isfinite(scale):
            return result, info, residual
        del factored  # the next factorization may need its memory
        higher = refactor(RUNGS[RUNGS.index(info.rung) + 1])
        if higher is None:
            return result, info, residual
        factored, info = higher


def begin_solve(
    factored: Factor,
    info: FactorInfo,
    B: Array,
    evaluate: Evaluate[T],
) -> tuple[T, Deferred[float | None]]:
    """Start `solve_checked` without waiting for the device: return the result for Z, and |R| / |B|.

    Z is refined once if, by the condition number of the factored matrix, its residual is expected to be too
    large. If the residual is still too large, None is returned in its place, and the result should not be
    used.
    """
    Z = solve_factored(factored, B)
    result, R = evaluate(Z, Z, None, factored, info)
    eps = machine_epsilon(B.dtype, B)
    if _EXPECTED * eps * info.s_max**2 > eps**_ENOUGH * info.s_min**2:
        dZ = solve_factored(factored, R)
        Z = Z + dZ
        result, R = evaluate(Z, dZ, result, factored, info)

    def judged(sizes: list[float]) -> float | None:
        scale, misfit, *left = sizes
        residual = misfit / (scale or 1.0)
        return residual if residual <= _tolerance(info, scale or 1.0, left, B) else None

    return result, begin_norms(B, R, *((Z,) if info.damping else ())).then(judged)


def _tolerance(info: FactorInfo, scale: float, left: list[float], B: Array) -> float:
    """Return the largest residual that needs no refinement; `left` holds |Z| if there is damping."""
    left_by_damping = info.damping * left[0] / scale if left else 0.0
    return float(max(machine_epsilon(B.dtype, B) ** _ENOUGH, _HIDDEN * left_by_damping))

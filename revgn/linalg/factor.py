"""Factorizations of symmetric positive semidefinite matrices K, by a ladder that never fails silently.

    (K + mu I) X = B

mu is the damping. The ladder has three steps. Each is tried if the one before it is not accurate enough:

- cholesky, in the dtype of the matrix;
- cholesky-float64, with the matrix formed again in double precision;
- eigh, which drops eigenvalues below the cutoff. It is computed in double precision, unless the requested
  truncation can be resolved in the dtype of the matrix.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from revgn.arrays import (
    Array,
    Deferred,
    DType,
    array_namespace,
    begin_cholesky,
    cholesky_product,
    cholesky_solve,
    eigh,
    read,
    ready,
    together,
)
from revgn.linalg.extremes import begin_extremes
from revgn.linalg.gram import add_diagonal, as_dtype
from revgn.linalg.lanczos import largest_eigenvalue
from revgn.linalg.norms import begin_norms, norm, norms
from revgn.linalg.tiled import TiledFactor, product_tiled, solve_tiled
from revgn.linalg.truncation import PinvRule, machine_epsilon, relative_cutoff, resolution

Rung = Literal["cholesky", "cholesky-float64", "eigh"]
DampingUnit = Literal["largest", "mean", "one"]
RUNGS: tuple[Rung, ...] = ("cholesky", "cholesky-float64", "eigh")

T = TypeVar("T")

_REFINEMENTS = 3
_ENOUGH = 0.6  # exponent of eps: a residual up to eps^0.6 is accepted
_EXPECTED = 0.1  # residual of a solution over eps (s_max / s_min)^2, as measured for features of images
_HIDDEN = 1e-3  # fraction of mu |Z| / |B|, the residual due to damping, that is accepted
_SCALE = 1e-6  # relative error of the largest eigenvalue, if it sets the damping


@dataclass(frozen=True, slots=True, eq=False)
class CholeskyFactor:
    """Cholesky factor L of K + mu I = L L^T."""

    lower: Array  # L


@dataclass(frozen=True, slots=True, eq=False)
class SpectralFactor:
    """Eigendecomposition K = Q diag(w) Q^T; `inverse` holds 1/(w + mu) for each kept w, else 0."""

    vectors: Array  # Q
    inverse: Array


Factor = CholeskyFactor | SpectralFactor | TiledFactor


class FactorInfo(NamedTuple):
    """Description of a factorization: its rung, order, rank, extreme singular values and damping mu.

    `s_max` and `s_min` are the square roots of the largest and the smallest kept eigenvalue. They are
    singular values if the matrix is a Gram matrix. For a Cholesky factor they are estimates by five Lanczos
    steps with K + mu I and its inverse, so they include the damping, or NaN (see `factor_at`). If the damping
    is relative to the largest eigenvalue, `s_max` is accurate to 1e-6.
    """

    rung: Rung
    order: int
    rank: int
    s_max: float
    s_min: float
    damping: float


Factored = tuple[Factor, FactorInfo]


def factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: DampingUnit,
    first_rung: Rung = "cholesky",
) -> Factored:
    """Factor the positive semidefinite matrix K + mu I by the first rung that is accurate enough.

    Parameters
    ----------
    form : callable
        `form(dtype)` returns K (N, N) in `dtype`, in memory that may be destroyed. Only its lower triangle
        must be filled, unless damping is relative to the largest eigenvalue. It is called again for each
        rung that is tried.
    order : int
        Order N of K.
    like : array
        Array with the dtype of the data from which K is formed. The first rung uses this dtype.
    rule : PinvRule
        `rtol` and `atol` apply to the square roots of K's eigenvalues.
    damping_unit : {"largest", "mean", "one"}
        mu is rule.damping times K's largest eigenvalue, computed to 1e-6, times its mean diagonal, or itself.
    first_rung : str
        First rung to try, for a caller whose solution by an earlier rung failed.
    """
    return read(begin_factor(form, order, like, rule, damping_unit=damping_unit, first_rung=first_rung))


def begin_factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: DampingUnit,
    first_rung: Rung = "cholesky",
) -> Deferred[Factored]:
    """Start `factor` without waiting for the outcome of the first rung."""
    first, *higher = RUNGS[RUNGS.index("eigh" if rule.truncates else first_rung) :]

    def climbed(found: Factored | None) -> Factored:
        if found is not None:
            return found
        tried = (factor_at(rung, form, order, like, rule, damping_unit=damping_unit) for rung in higher)
        return next(found for found in tried if found is not None)

    return begin_factor_at(first, form, order, like, rule, damping_unit=damping_unit).then(climbed)


def factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: DampingUnit,
    inspect: bool = True,
) -> Factored | None:
    """Factor by one rung only; None if it is not accurate enough, or is the same as the rung before it.

    Without `inspect`, the extreme singular values are not estimated if damping alone makes the factorization
    accurate enough; they are then NaN in its info.
    """
    return read(begin_factor_at(rung, form, order, like, rule, damping_unit=damping_unit, inspect=inspect))


def begin_factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: DampingUnit,
    inspect: bool = True,
) -> Deferred[Factored | None]:
    """Start `factor_at` without waiting for its outcome."""
    single, double = like.dtype, array_namespace(like).float64
    if rung == "cholesky":
        return _by_cholesky(form(single), rule, damping_unit, rung, inspect)
    if rung == "cholesky-float64":
        if single == double:
            return ready(None)
        return _by_cholesky(form(double), rule, damping_unit, rung, inspect)
    own_eps = machine_epsilon(single, like)
    resolved = rule.truncates and (rule.rtol or 0.0) ** 2 >= resolution(order, own_eps)
    return _by_eigh(form(single if resolved else double), rule, damping_unit, own_eps)


def with_info(
    factored: CholeskyFactor | TiledFactor,
    order: int,
    like: Array,
    mu: float,
    rung: Rung,
    *,
    damping: float = 0.0,
    inspect: bool = True,
) -> Factored | None:
    """Return `factored` with its info; None if K's smallest eigenvalue is lost in rounding errors.

    Parameters
    ----------
    like : array
        Array of the factor's dtype.
    damping : float
        mu relative to the mean diagonal of K.
    inspect : bool
        As for `factor_at`.
    """
    if not inspect and damping_decides(damping, order, like):
        return factored, FactorInfo(rung, order, order, math.nan, math.nan, mu)
    begun = _begin_extremes(factored, order, like)
    return read(begun.then(lambda extremes: _judged(factored, order, like, rung, mu, *extremes)))


def solve_factored(factored: Factor, B: Array) -> Array:
    """Solve (K + mu I) X = B for X (N, m) in the dtype of B; dropped eigenvectors do not contribute."""
    if isinstance(factored, CholeskyFactor):
        X = cholesky_solve(factored.lower, as_dtype(B, factored.lower.dtype))
    elif isinstance(factored, TiledFactor):
        X = solve_tiled(factored, as_dtype(B, factored.dtype))
    else:
        Q = factored.vectors
        X = Q @ (factored.inverse[:, None] * (Q.T @ as_dtype(B, Q.dtype)))
    return as_dtype(X, B.dtype)


def product_factored(factored: CholeskyFactor | TiledFactor, X: Array) -> Array:
    """Return (K + mu I) X for X (N, 1) in the dtype of X, computed from the factor."""
    if isinstance(factored, TiledFactor):
        return as_dtype(product_tiled(factored, as_dtype(X, factored.dtype)), X.dtype)
    return as_dtype(cholesky_product(factored.lower, as_dtype(X, factored.lower.dtype)), X.dtype)


def solve_checked(
    factored: Factor,
    info: FactorInfo,
    B: Array,
    evaluate: Callable[[Array, Array, T | None, Factor, FactorInfo], tuple[T, Array]],
    refactor: Callable[[Rung], tuple[Factor, FactorInfo] | None],
) -> tuple[T, FactorInfo, float]:
    """Solve (K + mu I) Z = B, refine Z by its residual, and climb the ladder until Z is accurate.

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
    evaluate: Callable[[Array, Array, T | None, Factor, FactorInfo], tuple[T, Array]],
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


def project(factored: Factor, B: Array) -> Array:
    """Return B without its components in dropped eigenvectors; B itself for a Cholesky factor."""
    if not isinstance(factored, SpectralFactor):
        return B
    Q = factored.vectors
    kept = as_dtype(factored.inverse > 0, Q.dtype)
    return as_dtype(Q @ (kept[:, None] * (Q.T @ as_dtype(B, Q.dtype))), B.dtype)


def _by_cholesky(
    K: Array, rule: PinvRule, unit: DampingUnit, rung: Rung, inspect: bool
) -> Deferred[Factored | None]:
    """Factor K by Cholesky; None if that fails or K's smallest eigenvalue is lost in rounding errors."""
    order, largest = K.shape[0], None
    damping: Deferred[float] = ready(0.0)
    if rule.damping and unit == "mean":
        mean = array_namespace(K).asarray(rule.damping * _mean_diagonal(K))
        damping = Deferred((mean,), float)
        add_diagonal(K, mean)
    elif rule.damping and unit == "one":
        damping = ready(rule.damping)
        add_diagonal(K, rule.damping)
    elif rule.damping:
        largest = largest_eigenvalue(partial(_times, K), order, K, _SCALE)
        mu = rule.damping * largest
        damping, largest = ready(mu), largest + mu
        add_diagonal(K, mu)
    found = begin_cholesky(K, overwrite=True)
    del K  # frees its memory if it was not overwritten
    if found is None:
        return ready(None)
    L, is_factor = found
    factored = CholeskyFactor(L)

    def judged(numbers: list[Any]) -> Factored | None:
        is_factor, mu, extremes = numbers
        return _judged(factored, order, L, rung, mu, *extremes) if is_factor else None

    if not inspect and unit == "mean" and damping_decides(rule.damping, order, L):
        outcome = Deferred((is_factor,), bool), damping

        def described(numbers: list[Any]) -> Factored | None:
            is_factor, mu = numbers
            info = FactorInfo(rung, order, order, math.nan, math.nan, mu)
            return (factored, info) if is_factor and math.isfinite(mu) else None

        return together(outcome).then(described)
    begun = _begin_extremes(factored, order, L, largest)
    numbers: list[Deferred[Any]] = [Deferred((is_factor,), bool), damping, begun]
    return together(numbers).then(judged)


def _times(K: Array, x: Array) -> Array:
    return K @ x


def _begin_extremes(
    factored: CholeskyFactor | TiledFactor, order: int, like: Array, largest: float | None = None
) -> Deferred[tuple[float, float]]:
    """Start to estimate the smallest and, unless it is given, the largest eigenvalue of K + mu I."""
    if isinstance(factored, TiledFactor):
        solve: Callable[[Array], Array] = partial(solve_tiled, factored)
    else:
        solve = partial(cholesky_solve, factored.lower)
    product = partial(product_factored, factored)
    if largest is not None:
        return begin_extremes((solve,), order, like).then(lambda found: (largest, _reciprocal(found[0])))
    begun = begin_extremes((product, solve), order, like)
    return begun.then(lambda found: (found[0], _reciprocal(found[1])))


def _reciprocal(of_inverse: float) -> float:
    return 1.0 / of_inverse if of_inverse else 0.0


def damping_decides(damping: float, order: int, like: Array) -> bool:
    """Return whether damping alone keeps the smallest eigenvalue of K + mu I above the bound of `_judged`.

    mu is `damping` times the mean diagonal of K. The smallest eigenvalue is at least mu, and the largest is
    at most the trace of K plus mu.
    """
    return _bound(order, like) * (order + damping) < damping


def _bound(order: int, like: Array) -> float:
    """Return the smallest accepted eigenvalue of a Cholesky factor of the dtype of `like`, over the largest.

    In single precision, the residual of the solution decides; in double precision, this bound decides.
    """
    eps = machine_epsilon(like.dtype, like)
    return resolution(order, eps) if like.dtype == array_namespace(like).float64 else 4 * eps


def _judged(
    factored: CholeskyFactor | TiledFactor,
    order: int,
    like: Array,
    rung: Rung,
    mu: float,
    largest: float,
    smallest: float,
) -> Factored | None:
    """Return the factorization; None if its smallest eigenvalue is below the rounding of its largest."""
    if not 0 < _bound(order, like) * largest < smallest:  # also if a number is not finite
        return None
    return factored, FactorInfo(rung, order, order, math.sqrt(largest), math.sqrt(smallest), mu)


def _by_eigh(K: Array, rule: PinvRule, unit: DampingUnit, own_eps: float) -> Deferred[Factored]:
    xp, N, eps = array_namespace(K), K.shape[0], machine_epsilon(K.dtype, K)
    w, Q = eigh(K)
    s = xp.sqrt(xp.where(w < 0, xp.zeros_like(w), w))
    s_max = xp.astype(s[-1], xp.float64)
    units = {
        "largest": lambda: s_max**2,
        "mean": lambda: _mean_diagonal(K),
        "one": lambda: xp.ones_like(s_max),
    }
    mu = rule.damping * units[unit]()
    least = as_dtype(s_max * relative_cutoff(rule, N, eps, own_eps), K.dtype)
    kept = (s >= least) & (s >= rule.atol) & (s > 0)
    inverse = xp.where(
        kept, 1.0 / xp.where(kept, w + as_dtype(mu, K.dtype), xp.ones_like(w)), xp.zeros_like(w)
    )
    rank = xp.sum(xp.astype(kept, xp.int64))
    s_min = xp.min(xp.where(kept, s, s[-1]))

    def finish(s_max: float, s_min: float, mu: float, rank: float) -> Factored:
        if not math.isfinite(s_max):
            return SpectralFactor(Q, w), FactorInfo("eigh", N, 0, math.nan, math.nan, math.nan)
        info = FactorInfo("eigh", N, int(rank), s_max, s_min if rank else 0.0, mu)
        return SpectralFactor(Q, inverse), info

    return Deferred((s_max, s_min, mu, rank), finish)


def _mean_diagonal(K: Array) -> Array:
    """Return the mean of the diagonal of K as a 0-d array in double precision."""
    xp = array_namespace(K)
    return xp.asarray(xp.astype(xp.mean(xp.linalg.diagonal(K)), xp.float64))

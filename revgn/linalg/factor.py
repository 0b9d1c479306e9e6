"""Factorizations of symmetric positive semidefinite matrices K, by three methods of increasing accuracy.

    (K + mu I) X = B

mu is the damping. Each method, called a rung, is tried if the one before it is not accurate enough:

- cholesky, in the dtype of the matrix;
- cholesky-float64, with the matrix formed again in double precision;
- eigh, which drops eigenvalues below the cutoff. It is computed in double precision, unless the requested
  truncation can be resolved in the dtype of the matrix.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from revgn.arrays import (
    Array,
    Deferred,
    DType,
    array_namespace,
    begin_cholesky,
    eigh,
    read,
    ready,
    together,
    triangular_solve,
)
from revgn.linalg.extremes import begin_extremes
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
    solve_factored,
)
from revgn.linalg.gram import add_diagonal, as_dtype
from revgn.linalg.lanczos import begin_largest_eigenvalue
from revgn.linalg.tiled import TiledFactor
from revgn.linalg.truncation import PinvRule, machine_epsilon, relative_cutoff, resolution

DampingScale = Literal["largest", "mean", "one"]

_SCALE = 1e-6  # relative error of the largest eigenvalue, if it sets the damping


def factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_scale: DampingScale,
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
    damping_scale : {"largest", "mean", "one"}
        mu is rule.damping times this scale: the largest eigenvalue of K (to 1e-6), the mean diagonal of K,
        or 1.
    first_rung : str
        First rung to try, for a caller whose solution by an earlier rung failed.
    """
    return read(begin_factor(form, order, like, rule, damping_scale=damping_scale, first_rung=first_rung))


def begin_factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_scale: DampingScale,
    first_rung: Rung = "cholesky",
    invert: bool = False,
) -> Deferred[Factored]:
    """Start `factor` without waiting for the outcome of the first rung.

    With `invert`, the inverse of the Cholesky factor is returned, for solutions with many columns on a GPU.
    """
    first, *higher = RUNGS[RUNGS.index("eigh" if rule.truncates else first_rung) :]

    def climbed(found: Factored | None) -> Factored:
        if found is not None:
            return found
        tried = (read(begin_at(rung, form, order, like, rule)) for rung in higher)
        return next(found for found in tried if found is not None)

    begin_at = partial(begin_factor_at, damping_scale=damping_scale, invert=invert)
    return begin_at(first, form, order, like, rule).then(climbed)


def factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_scale: DampingScale,
    inspect: bool = True,
) -> Factored | None:
    """Factor by one rung only; None if it is not accurate enough, or is the same as the rung before it.

    Without `inspect`, the extreme singular values are not estimated if damping alone makes the factorization
    accurate enough; they are then NaN in its info.
    """
    return read(begin_factor_at(rung, form, order, like, rule, damping_scale=damping_scale, inspect=inspect))


def begin_factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_scale: DampingScale,
    inspect: bool = True,
    invert: bool = False,
) -> Deferred[Factored | None]:
    """Start `factor_at` without waiting for its outcome; `invert` is as for `begin_factor`."""
    single, double = like.dtype, array_namespace(like).float64
    if rung == "cholesky":
        return _by_cholesky(form(single), rule, damping_scale, rung, inspect, invert)
    if rung == "cholesky-float64":
        if single == double:
            return ready(None)
        return _by_cholesky(form(double), rule, damping_scale, rung, inspect, invert)
    own_eps = machine_epsilon(single, like)
    resolved = rule.truncates and (rule.rtol or 0.0) ** 2 >= resolution(order, own_eps)
    return _by_eigh(form(single if resolved else double), rule, damping_scale, own_eps)


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
    begun = _begin_extremes(factored, factored, order, like)
    bound = _bound(order, like)
    return read(begun.then(lambda extremes: _judged(factored, order, bound, rung, mu, *extremes)))


def _by_cholesky(
    K: Array, rule: PinvRule, scale: DampingScale, rung: Rung, inspect: bool, invert: bool
) -> Deferred[Factored | None]:
    """Factor K by Cholesky; None if that fails or K's smallest eigenvalue is lost in rounding errors."""
    if rule.damping and scale == "largest":

        def damped(largest: float) -> Deferred[Factored | None]:
            mu = rule.damping * largest
            add_diagonal(K, mu)
            return _begin_cholesky(K, ready(mu), rung, invert, largest=largest + mu)

        return begin_largest_eigenvalue(partial(_times, K), K.shape[0], K, _SCALE).then(damped)
    damping = ready(rule.damping)
    if rule.damping and scale == "mean":
        mean = array_namespace(K).asarray(rule.damping * _mean_diagonal(K))
        damping = Deferred((mean,), float)
        add_diagonal(K, mean)
    else:
        add_diagonal(K, rule.damping)
    decides = scale == "mean" and damping_decides(rule.damping, K.shape[0], K)
    return _begin_cholesky(K, damping, rung, invert, inspect=inspect or not decides)


def _begin_cholesky(
    K: Array,
    damping: Deferred[float],
    rung: Rung,
    invert: bool,
    *,
    largest: float | None = None,
    inspect: bool = True,
) -> Deferred[Factored | None]:
    """Start to factor K, which includes the damping; `largest` is its largest eigenvalue, if known."""
    order, found = K.shape[0], begin_cholesky(K, overwrite=True)
    if found is None:
        return ready(None)
    L, is_factor = found
    lower, bound = CholeskyFactor(L), _bound(order, L)
    factored = InverseFactor(_inverse(L)) if invert else lower
    numbers: list[Deferred[Any]] = [Deferred((is_factor,), bool), damping]
    if not inspect:

        def described(numbers: list[Any]) -> Factored | None:
            is_factor, mu = numbers
            info = FactorInfo(rung, order, order, math.nan, math.nan, mu)
            return (factored, info) if is_factor and math.isfinite(mu) else None

        return together(numbers).then(described)

    def judged(numbers: list[Any]) -> Factored | None:
        is_factor, mu, extremes = numbers
        return _judged(factored, order, bound, rung, mu, *extremes) if is_factor else None

    return together([*numbers, _begin_extremes(lower, factored, order, L, largest)]).then(judged)


def _inverse(L: Array) -> Array:
    return triangular_solve(L, array_namespace(L).eye(L.shape[0], dtype=L.dtype, device=L.device))


def _times(K: Array, x: Array) -> Array:
    return K @ x


def _begin_extremes(
    lower: CholeskyFactor | TiledFactor,
    factored: Factor,
    order: int,
    like: Array,
    largest: float | None = None,
) -> Deferred[tuple[float, float]]:
    """Start to estimate the smallest and, unless it is given, the largest eigenvalue of K + mu I.

    Products are computed from `lower`, and solutions from `factored`.
    """
    solve, product = partial(solve_factored, factored), partial(product_factored, lower)
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
    """Return the smallest accepted ratio of the smallest to the largest eigenvalue of K + mu I, for Cholesky.

    In single precision, the residual of the solution decides; in double precision, this bound decides.
    """
    eps = machine_epsilon(like.dtype, like)
    return resolution(order, eps) if like.dtype == array_namespace(like).float64 else 4 * eps


def _judged(
    factored: Factor, order: int, bound: float, rung: Rung, mu: float, largest: float, smallest: float
) -> Factored | None:
    """Return the factorization; None if its smallest eigenvalue is below `bound` times its largest."""
    if not 0 < bound * largest < smallest:  # also if a number is not finite
        return None
    return factored, FactorInfo(rung, order, order, math.sqrt(largest), math.sqrt(smallest), mu)


def _by_eigh(K: Array, rule: PinvRule, scale: DampingScale, own_eps: float) -> Deferred[Factored]:
    xp, N, eps = array_namespace(K), K.shape[0], machine_epsilon(K.dtype, K)
    w, Q = eigh(K)
    s = xp.sqrt(xp.where(w < 0, xp.zeros_like(w), w))
    s_max = xp.astype(s[-1], xp.float64)
    scales = {
        "largest": lambda: s_max**2,
        "mean": lambda: _mean_diagonal(K),
        "one": lambda: xp.ones_like(s_max),
    }
    mu = rule.damping * scales[scale]()
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
        largest, smallest = (math.hypot(s, math.sqrt(mu)) for s in (s_max, s_min))
        info = FactorInfo("eigh", N, int(rank), largest, smallest if rank else 0.0, mu)
        return SpectralFactor(Q, inverse), info

    return Deferred((s_max, s_min, mu, rank), finish)


def _mean_diagonal(K: Array) -> Array:
    """Return the mean of the diagonal of K as a 0-d array in double precision."""
    xp = array_namespace(K)
    return xp.asarray(xp.astype(xp.mean(xp.linalg.diagonal(K)), xp.float64))

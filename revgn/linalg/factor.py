"""Factors of symmetric positive semidefinite matrices, by a ladder that never fails silently.

    (K + mu I) X = B

The rungs, each tried when the one before is found wanting:

- cholesky, in the dtype of the matrix;
- cholesky-float64, the matrix formed again in double precision;
- eigh, with eigenvalues below the cutoff dropped; in double precision unless a truncation was asked
  for that the matrix's own dtype resolves.
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
    root_of_squares,
    together,
)
from revgn.linalg.extremes import begin_extremes
from revgn.linalg.gram import add_diagonal, as_dtype
from revgn.linalg.lanczos import largest_eigenvalue
from revgn.linalg.tiled import TiledFactor, product_tiled, solve_tiled
from revgn.linalg.truncation import PinvRule, machine_epsilon, relative_cutoff, resolution

Rung = Literal["cholesky", "cholesky-float64", "eigh"]
RUNGS: tuple[Rung, ...] = ("cholesky", "cholesky-float64", "eigh")

T = TypeVar("T")

_REFINEMENTS = 3
_ENOUGH = 0.6  # power of eps that a residual may have
_EXPECTED = 0.1  # residual of a solution over eps (s_max / s_min)^2; features of images have a tenth of it
_HIDDEN = 1e-3  # share of what damping leaves of B below which a residual is hidden by it
_SCALE = 1e-6  # relative error of the largest eigenvalue that damping is relative to


@dataclass(frozen=True, slots=True, eq=False)
class CholeskyFactor:
    """K + mu I = L L^T."""

    lower: Array  # L


@dataclass(frozen=True, slots=True, eq=False)
class SpectralFactor:
    """K = Q diag(w) Q^T; `inverse` holds 1/(w + mu) where w is kept, else 0."""

    vectors: Array  # Q
    inverse: Array


Factor = CholeskyFactor | SpectralFactor | TiledFactor


class FactorInfo(NamedTuple):
    """What a factorization did.

    `s_max` and `s_min` are square roots of the largest and the smallest kept eigenvalue, hence
    singular values where the matrix is a Gram matrix. From a Cholesky factor they are estimates by five
    Lanczos steps with K and with K^-1, and then include the damping; s_max is right to 1e-6 where the damping
    is relative to it. `damping` is the number mu added.
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
    damping_unit: Literal["largest", "mean"],
    first_rung: Rung = "cholesky",
) -> Factored:
    """Factor the positive semidefinite matrix K + mu I.

    Parameters
    ----------
    form : callable
        `form(dtype)` makes K (N, N) in `dtype`, in memory that may be destroyed; only its lower
        triangle need be filled, unless damping is relative to the largest eigenvalue. Called anew for each
        rung that is tried.
    order : int
        N.
    like : array
        Its dtype is the one to begin with, and that of the numbers behind K.
    rule : PinvRule
        `rtol` and `atol` hold for the square roots of K's eigenvalues.
    damping_unit : {"largest", "mean"}
        mu = rule.damping times K's largest eigenvalue, found to 1e-6, or times its mean diagonal.
    first_rung : str
        Where to begin, for a caller who saw an earlier rung's solution fail.
    """
    return read(begin_factor(form, order, like, rule, damping_unit=damping_unit, first_rung=first_rung))


def begin_factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: Literal["largest", "mean"],
    first_rung: Rung = "cholesky",
) -> Deferred[Factored]:
    """`factor`, of which the first rung's outcome is not waited for."""
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
    damping_unit: Literal["largest", "mean"],
) -> Factored | None:
    """`factor` by that rung and no other; None where it is found wanting, or is the one before it."""
    return read(begin_factor_at(rung, form, order, like, rule, damping_unit=damping_unit))


def begin_factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: Literal["largest", "mean"],
) -> Deferred[Factored | None]:
    """`factor_at` without a wait for its outcome."""
    single, double = like.dtype, array_namespace(like).float64
    if rung == "cholesky":
        return _by_cholesky(form(single), rule, damping_unit, rung)
    if rung == "cholesky-float64":
        return ready(None) if single == double else _by_cholesky(form(double), rule, damping_unit, rung)
    own_eps = machine_epsilon(single, like)
    resolved = rule.truncates and (rule.rtol or 0.0) ** 2 >= resolution(order, own_eps)
    return _by_eigh(form(single if resolved else double), rule, damping_unit, own_eps)


def with_info(
    factored: CholeskyFactor | TiledFactor,
    order: int,
    like: Array,
    mu: float,
    rung: Rung,
) -> Factored | None:
    """`factored` and what is known of it; None where K's smallest eigenvalue is below its rounding.

    Parameters
    ----------
    like : array
        Of the factor's dtype.
    """
    begun = _begin_extremes(factored, order, like)
    return read(begun.then(lambda extremes: _judged(factored, order, like, rung, mu, *extremes)))


def solve_factored(factored: Factor, B: Array) -> Array:
    """Solve (K + mu I) X = B for X (N, m), in the dtype of B; dropped eigenvectors get no share."""
    if isinstance(factored, CholeskyFactor):
        X = cholesky_solve(factored.lower, as_dtype(B, factored.lower.dtype))
    elif isinstance(factored, TiledFactor):
        X = solve_tiled(factored, as_dtype(B, factored.dtype))
    else:
        Q = factored.vectors
        X = Q @ (factored.inverse[:, None] * (Q.T @ as_dtype(B, Q.dtype)))
    return as_dtype(X, B.dtype)


def solve_checked(
    factored: Factor,
    info: FactorInfo,
    B: Array,
    evaluate: Callable[[Array, Array, T | None, Factor, FactorInfo], tuple[T, Array]],
    refactor: Callable[[Rung], tuple[Factor, FactorInfo] | None],
) -> tuple[T, FactorInfo, float]:
    """Solve (K + mu I) Z = B, judged by what Z does: refined, then climbing the ladder until it is right.

    Parameters
    ----------
    evaluate : callable
        `evaluate(Z, dZ, before, factored, info)` returns what the caller wants of Z, and the residual R of
        B's shape. `before` is what it returned for Z - dZ, None at first (dZ = Z): results that are linear
        in Z are added up, so that Z's rounding is refined away with the rest.
    refactor : callable
        `refactor(rung)` factors anew, from that rung on; None where there is none left.

    Returns
    -------
    The evaluation of the best Z, the factorization used, and |R| / |B|. It exceeds eps^0.6 (4e-10, or 7e-5
    in single precision) only where that is a thousandth of what the damping leaves, mu |Z| / |B|, or the last
    rung could do no better.
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
        del factored  # the next one may need its memory
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
    """`solve_checked` without a wait for the device: the evaluation of Z, and |R| / |B| of it.

    Z is refined once where the condition of the factored matrix lets expect a residual that is too large. In
    place of a residual that is too large all the same comes None, and the solution should not be used.
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
    """Residual that needs no refinement; `left` is |Z| where there is damping."""
    left_by_damping = info.damping * left[0] / scale if left else 0.0
    return float(max(machine_epsilon(B.dtype, B) ** _ENOUGH, _HIDDEN * left_by_damping))


def project(factored: Factor, B: Array) -> Array:
    """B without what lies in dropped eigenvectors; B itself for a Cholesky factor."""
    if not isinstance(factored, SpectralFactor):
        return B
    Q = factored.vectors
    kept = as_dtype(factored.inverse > 0, Q.dtype)
    return as_dtype(Q @ (kept[:, None] * (Q.T @ as_dtype(B, Q.dtype))), B.dtype)


def _by_cholesky(
    K: Array, rule: PinvRule, unit: Literal["largest", "mean"], rung: Rung
) -> Deferred[Factored | None]:
    """Take the Cholesky factor where there is one and K's smallest eigenvalue is above its rounding."""
    order, largest = K.shape[0], None
    damping: Deferred[float] = ready(0.0)
    if rule.damping and unit == "mean":
        mean = array_namespace(K).asarray(rule.damping * _mean_diagonal(K))
        damping = Deferred((mean,), float)
        add_diagonal(K, mean)
    elif rule.damping:
        largest = largest_eigenvalue(partial(_times, K), order, K, _SCALE)
        mu = rule.damping * largest
        damping, largest = ready(mu), largest + mu
        add_diagonal(K, mu)
    found = begin_cholesky(K, overwrite=True)
    del K  # where it was not overwritten
    if found is None:
        return ready(None)
    L, is_factor = found
    factored = CholeskyFactor(L)

    def judged(numbers: list[Any]) -> Factored | None:
        is_factor, mu, extremes = numbers
        return _judged(factored, order, L, rung, mu, *extremes) if is_factor else None

    begun = _begin_extremes(factored, order, L, largest)
    numbers: list[Deferred[Any]] = [Deferred((is_factor,), bool), damping, begun]
    return together(numbers).then(judged)


def _times(K: Array, x: Array) -> Array:
    return K @ x


def _begin_extremes(
    factored: CholeskyFactor | TiledFactor, order: int, like: Array, largest: float | None = None
) -> Deferred[tuple[float, float]]:
    """Largest and smallest eigenvalue of K + mu I, the largest as given where it is known already."""
    if isinstance(factored, TiledFactor):
        product, solve = partial(product_tiled, factored), partial(solve_tiled, factored)
    else:
        product, solve = partial(cholesky_product, factored.lower), partial(cholesky_solve, factored.lower)
    if largest is not None:
        return begin_extremes((solve,), order, like).then(lambda found: (largest, _reciprocal(found[0])))
    begun = begin_extremes((product, solve), order, like)
    return begun.then(lambda found: (found[0], _reciprocal(found[1])))


def _reciprocal(of_inverse: float) -> float:
    return 1.0 / of_inverse if of_inverse else 0.0


def _judged(
    factored: CholeskyFactor | TiledFactor,
    order: int,
    like: Array,
    rung: Rung,
    mu: float,
    largest: float,
    smallest: float,
) -> Factored | None:
    """The factorization, unless the smallest eigenvalue is below the rounding of the largest."""
    eps = machine_epsilon(like.dtype, like)
    # In single precision the residual of what is solved decides; double precision has the last word on rank.
    bound = resolution(order, eps) if like.dtype == array_namespace(like).float64 else 4 * eps
    if not 0 < bound * largest < smallest:  # also where a number is not finite
        return None
    return factored, FactorInfo(rung, order, order, math.sqrt(largest), math.sqrt(smallest), mu)


def _by_eigh(
    K: Array, rule: PinvRule, unit: Literal["largest", "mean"], own_eps: float
) -> Deferred[Factored]:
    xp, N, eps = array_namespace(K), K.shape[0], machine_epsilon(K.dtype, K)
    w, Q = eigh(K)
    s = xp.sqrt(xp.where(w < 0, xp.zeros_like(w), w))
    s_max = xp.astype(s[-1], xp.float64)
    mu = rule.damping * (s_max**2 if unit == "largest" else _mean_diagonal(K))
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


def begin_norms(*arrays: Array) -> Deferred[list[float]]:
    """`norm` of each array, with one wait for all."""

    def finish(*roots: float) -> list[float]:
        return [
            root if _is_in_range(root, X) else _scaled_norm(X) for root, X in zip(roots, arrays, strict=True)
        ]

    return Deferred(tuple(root_of_squares(X) for X in arrays), finish)


def norms(*arrays: Array) -> list[float]:
    """`norm` of each array, with one wait for all."""
    return read(begin_norms(*arrays))


def norm(X: Array) -> float:
    """|X|, the Frobenius norm, as a Python float; scaled where the squares leave the dtype's range."""
    return norms(X)[0]


def _is_in_range(root: float, X: Array) -> bool:
    return 1e6 * float(array_namespace(X).finfo(X.dtype).smallest_normal) < root * root < math.inf


def _scaled_norm(X: Array) -> float:
    xp = array_namespace(X)
    scale = float(xp.max(xp.abs(X)))
    if not 0 < scale < math.inf:
        return scale
    return scale * math.sqrt(float(xp.sum((X / scale) ** 2)))


def _mean_diagonal(K: Array) -> Array:
    """0-d, in double precision."""
    xp = array_namespace(K)
    return xp.asarray(xp.astype(xp.mean(xp.linalg.diagonal(K)), xp.float64))

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
from typing import Literal, NamedTuple, TypeVar

from revgn.arrays import Array, DType, array_namespace, cholesky, cholesky_product, cholesky_solve, eigh
from revgn.linalg.gram import add_diagonal, as_dtype
from revgn.linalg.lanczos import largest_eigenvalue
from revgn.linalg.tiled import TiledFactor, product_tiled, solve_tiled
from revgn.linalg.truncation import PinvRule, machine_epsilon, resolution, smallest_kept

Rung = Literal["cholesky", "cholesky-float64", "eigh"]
RUNGS: tuple[Rung, ...] = ("cholesky", "cholesky-float64", "eigh")

T = TypeVar("T")

_REFINEMENTS = 3
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


def factor(
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: Literal["largest", "mean"],
    first_rung: Rung = "cholesky",
) -> tuple[Factor, FactorInfo]:
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
    rungs = RUNGS[RUNGS.index("eigh" if rule.truncates else first_rung) :]
    tried = (factor_at(rung, form, order, like, rule, damping_unit=damping_unit) for rung in rungs)
    return next(found for found in tried if found is not None)


def factor_at(
    rung: Rung,
    form: Callable[[DType], Array],
    order: int,
    like: Array,
    rule: PinvRule,
    *,
    damping_unit: Literal["largest", "mean"],
) -> tuple[Factor, FactorInfo] | None:
    """`factor` by that rung and no other; None where it is found wanting, or is the one before it."""
    single, double = like.dtype, array_namespace(like).float64
    if rung == "cholesky":
        return _by_cholesky(form(single), rule, damping_unit, rung)
    if rung == "cholesky-float64":
        return None if single == double else _by_cholesky(form(double), rule, damping_unit, rung)
    own_eps = machine_epsilon(single, like)
    resolved = rule.truncates and (rule.rtol or 0.0) ** 2 >= resolution(order, own_eps)
    return _by_eigh(form(single if resolved else double), rule, damping_unit, own_eps)


def with_info(
    factored: CholeskyFactor | TiledFactor,
    order: int,
    like: Array,
    mu: float,
    rung: Rung,
    largest: float | None = None,
) -> tuple[Factor, FactorInfo] | None:
    """`factored` and what is known of it; None where K's smallest eigenvalue is below its rounding.

    Parameters
    ----------
    like : array
        Of the factor's dtype.
    largest : float or None
        The largest eigenvalue of K + mu I, where it is known already.
    """
    eps = machine_epsilon(like.dtype, like)
    if isinstance(factored, TiledFactor):
        product, solve = partial(product_tiled, factored), partial(solve_tiled, factored)
    else:
        product, solve = partial(cholesky_product, factored.lower), partial(cholesky_solve, factored.lower)
    if largest is None:
        largest = largest_eigenvalue(product, order, like)
    smallest = 1.0 / (largest_eigenvalue(solve, order, like) or math.inf)
    # In single precision the residual of what is solved decides; double precision has the last word on rank.
    bound = resolution(order, eps) if like.dtype == array_namespace(like).float64 else 4 * eps
    if not smallest > bound * largest:  # also where a number is not finite
        return None
    return factored, FactorInfo(rung, order, order, math.sqrt(largest), math.sqrt(smallest), mu)


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
    scale = norm(B) or 1.0
    while True:
        Z = solve_factored(factored, B)
        left_by_damping = info.damping * norm(Z) / scale if info.damping else 0.0
        tolerance = max(machine_epsilon(B.dtype, B) ** 0.6, _HIDDEN * left_by_damping)
        result, R = evaluate(Z, Z, None, factored, info)
        residual = norm(R) / scale
        for _ in range(_REFINEMENTS):
            if residual <= tolerance:
                break
            dZ = solve_factored(factored, R)
            Z = Z + dZ
            better, R = evaluate(Z, dZ, result, factored, info)
            left = norm(R) / scale
            if not left < residual:
                break
            result, residual = better, left
        if residual <= tolerance or info.rung == RUNGS[-1] or not math.isfinite(scale):
            return result, info, residual
        del factored  # the next one may need its memory
        higher = refactor(RUNGS[RUNGS.index(info.rung) + 1])
        if higher is None:
            return result, info, residual
        factored, info = higher


def project(factored: Factor, B: Array) -> Array:
    """B without what lies in dropped eigenvectors; B itself for a Cholesky factor."""
    if not isinstance(factored, SpectralFactor):
        return B
    Q = factored.vectors
    kept = as_dtype(factored.inverse > 0, Q.dtype)
    return as_dtype(Q @ (kept[:, None] * (Q.T @ as_dtype(B, Q.dtype))), B.dtype)


def _by_cholesky(
    K: Array, rule: PinvRule, unit: Literal["largest", "mean"], rung: Rung
) -> tuple[Factor, FactorInfo] | None:
    """Take the Cholesky factor where there is one and K's smallest eigenvalue is above its rounding."""
    mu, largest = 0.0, None
    if rule.damping and unit == "mean":
        mu = rule.damping * _mean_diagonal(K)
    elif rule.damping:
        largest = largest_eigenvalue(lambda x: K @ x, K.shape[0], K, _SCALE)
        mu = rule.damping * largest
        largest += mu
    add_diagonal(K, mu)
    L = cholesky(K, overwrite=True)
    return None if L is None else with_info(CholeskyFactor(L), L.shape[0], L, mu, rung, largest)


def _by_eigh(
    K: Array, rule: PinvRule, unit: Literal["largest", "mean"], own_eps: float
) -> tuple[Factor, FactorInfo]:
    xp, N = array_namespace(K), K.shape[0]
    w, Q = eigh(K)
    s = xp.sqrt(xp.where(w < 0, xp.zeros_like(w), w))
    s_max = float(s[-1])
    if not math.isfinite(s_max):
        return SpectralFactor(Q, w), FactorInfo("eigh", N, 0, math.nan, math.nan, math.nan)
    kept = (s >= smallest_kept(s_max, rule, N, machine_epsilon(K.dtype, K), own_eps)) & (s > 0)
    mu = rule.damping * (s_max**2 if unit == "largest" else _mean_diagonal(K))
    inverse = xp.where(kept, 1.0 / xp.where(kept, w + mu, xp.ones_like(w)), xp.zeros_like(w))
    rank = int(xp.sum(xp.astype(kept, xp.int64)))
    s_min = float(s[N - rank]) if rank else 0.0
    return SpectralFactor(Q, inverse), FactorInfo("eigh", N, rank, s_max, s_min, mu)


def norm(X: Array) -> float:
    """|X|, the Frobenius norm, as a Python float; scaled where the squares leave the dtype's range."""
    xp = array_namespace(X)
    square = float(xp.sum(X * X))
    if 1e6 * float(xp.finfo(X.dtype).smallest_normal) < square < math.inf:
        return math.sqrt(square)
    scale = float(xp.max(xp.abs(X)))
    if not 0 < scale < math.inf:
        return scale
    return scale * math.sqrt(float(xp.sum((X / scale) ** 2)))


def _mean_diagonal(K: Array) -> float:
    xp = array_namespace(K)
    return float(xp.mean(xp.linalg.diagonal(K)))

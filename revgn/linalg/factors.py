"""Factors of K + mu I for symmetric positive semidefinite K (N, N): their kinds, and products with them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from revgn.arrays import Array, cholesky_product, cholesky_solve, matmul
from revgn.linalg.gram import as_dtype
from revgn.linalg.tiled import TiledFactor, product_tiled, solve_tiled

Rung = Literal["cholesky", "cholesky-float64", "eigh"]
RUNGS: tuple[Rung, ...] = ("cholesky", "cholesky-float64", "eigh")


@dataclass(frozen=True, slots=True, eq=False)
class CholeskyFactor:
    """Cholesky factor L of K + mu I = L L^T."""

    lower: Array  # L


@dataclass(frozen=True, slots=True, eq=False)
class InverseFactor:
    """Inverse of the Cholesky factor L. On a GPU, a product takes much less time than a triangular solve."""

    inverse: Array  # L^-1


@dataclass(frozen=True, slots=True, eq=False)
class SpectralFactor:
    """Eigendecomposition K = Q diag(w) Q^T; `inverse` holds 1/(w + mu) for each kept w, else 0."""

    vectors: Array  # Q
    inverse: Array


Factor = CholeskyFactor | InverseFactor | SpectralFactor | TiledFactor


class FactorInfo(NamedTuple):
    """Description of a factorization: its rung, order, rank, extreme singular values and damping mu.

    `s_max` and `s_min` are the square roots of the largest and the smallest kept eigenvalue of K + mu I: if K
    is a Gram matrix, sqrt(s^2 + mu) with singular values s. For a Cholesky factor they are estimates by five
    Lanczos steps with K + mu I and its inverse, or NaN (see `factor_at`). If the damping is relative to the
    largest eigenvalue, `s_max` is accurate to 1e-6.
    """

    rung: Rung
    order: int
    rank: int
    s_max: float
    s_min: float
    damping: float


Factored = tuple[Factor, FactorInfo]


def solve_factored(factored: Factor, B: Array) -> Array:
    """Solve (K + mu I) X = B for X (N, m) in the dtype of B; dropped eigenvectors do not contribute."""
    if isinstance(factored, CholeskyFactor):
        X = cholesky_solve(factored.lower, as_dtype(B, factored.lower.dtype))
    elif isinstance(factored, InverseFactor):
        inverse = factored.inverse
        X = matmul(inverse.T, matmul(inverse, as_dtype(B, inverse.dtype)))
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


def project(factored: Factor, B: Array) -> Array:
    """Return B without its components in dropped eigenvectors; B itself unless there are eigenvectors."""
    if not isinstance(factored, SpectralFactor):
        return B
    Q = factored.vectors
    kept = as_dtype(factored.inverse > 0, Q.dtype)
    return as_dtype(Q @ (kept[:, None] * (Q.T @ as_dtype(B, Q.dtype))), B.dtype)

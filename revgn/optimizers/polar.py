"""Approximate polar factor U V^T of a matrix M = U S V^T: all singular values become about equal.

Both methods first divide M by its Frobenius norm, X_0 = M / |M|, and then apply an odd function f to the
singular values of X_0, with f(s) about 1 for s >= 2e-3.

newton-schulz   five steps X <- a X + b (X X^T) X + c (X X^T)^2 X, as in Muon (Jordan et al. 2024). The
                coefficients (kellerjordan.github.io/posts/muon) give f(s) in [0.68, 1.21].
rational        f is the best approximation of 1 by an odd rational function of type (5, 4) on [2e-3, 1],
                with f(s) in [0.84, 1.16]. It is Zolotarev's function in partial fractions,

                    f(X) = (d I + sum_j a_j (X X^T + c_j I)^-1) X.

                It takes one Gram matrix, one Cholesky factorization for each of two poles, and one product.
                Source: Nakatsukasa and Freund 2016, section 3, for the coefficients.
"""

import math
from typing import Any, Literal, NamedTuple

from revgn.arrays import (
    Array,
    array_namespace,
    blockwise,
    cholesky_of_definite,
    empty,
    inner,
    matmul,
    triangular_solve,
)
from revgn.cost import Cost, Sizes
from revgn.linalg import add_diagonal, gram_columns, gram_rows
from revgn.structs import setting

Polar = Literal["rational", "newton-schulz"]
_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Rational(NamedTuple):
    """f(s) = s (d + sum_j a_j / (s^2 + c_j)), with constant d, numerators a and poles c."""

    constant: float
    numerators: tuple[float, ...]
    poles: tuple[float, ...]


RATIONAL = Rational(
    0.9619399092429224,
    (0.009218828468513391, 0.18527751829682576),
    (1.896081800634313e-05, 0.0091860596284537),
)
"""The function of the method "rational". Its poles are c_j = (l sn/cn)^2 of (2 j - 1) K/5, with elliptic
functions of the parameter 1 - l^2 and l = 2e-3."""


def polar_setting() -> Any:
    """Return the setting for the method that computes polar factors."""
    return setting(
        "Method that computes the polar factor of a weight's step: rational function, or five steps of "
        "Newton-Schulz.",
        default="rational",
        resumable=True,
    )


def polar_factor(method: Polar, M: Array) -> Array:
    """Return an approximation of U V^T for M = U S V^T (h, d/2); 0 if M is 0.

    The smaller of the two Gram matrices is formed. The result is NaN if M is not finite.

    Notes
    -----
    Law: the result is U f(S / |M|) V^T.
    Cost: with m = min(h, d/2) and k = max(h, d/2), 3 m^2 k + 17/3 m^3 operations for the rational function,
    and 5 (4 m^2 k + 2 m^3) for Newton-Schulz.
    """
    if not M.shape[0]:
        return M
    (size,) = blockwise(lambda square: (root_or_one(square),), inner(M, M))
    (X,) = blockwise(lambda Mi: (Mi / size,), M)
    is_tall = X.shape[0] > X.shape[1]
    if is_tall:
        X = X.T
    X = _newton_schulz(X) if method == "newton-schulz" else _rational(X)
    return X.T if is_tall else X


def cost_of_polar_factors(method: Polar, sizes: Sizes) -> Cost:
    """Return the cost of `polar_factor` for all weights without their bias rows."""
    work = 0.0
    for layer in sizes.layers:
        m, k = sorted((layer.rows - 1, layer.width))
        if method == "newton-schulz":
            work += _STEPS * (4.0 * m**2 * k + 2.0 * m**3)
        else:
            work += 3.0 * m**2 * k + len(RATIONAL.poles) * 17 / 6 * m**3
    return Cost({"orthogonalize": work})


def root_or_one(square: Array) -> Array:
    """Return the square root of a number, or 1 if the number is not positive."""
    xp = array_namespace(square)
    root = xp.sqrt(square)
    return xp.where(root > 0, root, xp.ones_like(root))


def _rational(X: Array) -> Array:
    """Return (d I + W^T W) X for X (m, k), with W the rows of sqrt(a_j) L_j^-1, L_j L_j^T = X X^T + c_j I."""
    xp, G, m = array_namespace(X), gram_rows(X), X.shape[0]
    identity = xp.eye(m, dtype=X.dtype, device=X.device)
    W = empty((len(RATIONAL.poles) * m, m), X)
    for j, (a, c) in enumerate(zip(RATIONAL.numerators, RATIONAL.poles, strict=True)):
        K = xp.asarray(G, copy=True)
        add_diagonal(K, c)
        L = cholesky_of_definite(K)
        W[j * m : (j + 1) * m, :] = triangular_solve(L, math.sqrt(a) * identity)
    P = gram_columns(W)
    add_diagonal(P, RATIONAL.constant)
    return matmul(P, X)


def _newton_schulz(X: Array) -> Array:
    for _ in range(_STEPS):
        K = gram_rows(X)
        (P,) = blockwise(lambda K, square: (_B * K + _C * square,), K, matmul(K, K))
        add_diagonal(P, _A)
        X = matmul(P, X)
    return X

"""The tangent kernel in parts that are never multiplied out: products with it, and its mean diagonal.

    (Theta v)[s,o] = sum_k < b_k[s,o], (K_k ybar_k)[s] >        ybar_k[s] = sum_o v[s,o] b_k[s,o]

with the features A_k, K_k = A_k A_k^T and the cotangents b_k of `revgn.solvers.kernel`, pulled back once.
Each product then needs two of (n, h+1) by (n, d/2) a coupling, or one of (n, n), in place of the six of a vjp
and jvp.
"""

from typing import NamedTuple

from revgn.arrays import Array, array_namespace, matmul
from revgn.linalg import gram_rows
from revgn.solvers.jacobian import Jacobian
from revgn.solvers.kernel import parts_backward


class ProductPart(NamedTuple):
    """A part's A (n, m), K (n, n) where it is cheaper than A twice, and b (n, c, k).

    b is (1, c, k) where it is the same for all samples, as at the last coupling.
    """

    features: Array
    gram: Array | None
    cotangents: Array


ProductParts = tuple[ProductPart, ...]


def product_parts(J: Jacobian) -> ProductParts:
    """Parts of Theta at J, the last layer's first.

    Notes
    -----
    Cost: 2 c n d h operations for each pull-back; memory of n c d/2 numbers a coupling.
    """
    return tuple(
        ProductPart(A, gram_rows(A) if A.shape[0] <= 2 * A.shape[1] else None, _by_sample(b))
        for A, b in parts_backward(J)
    )


def kernel_product(parts: ProductParts, v: Array) -> Array:
    """Theta v (n, c) of v (n, c).

    Notes
    -----
    Law: equals J J^T v. Cost: min(2 n^2, 4 n (h+1)) d/2 + 4 n c d/2 operations a coupling.
    """
    xp, total = array_namespace(v), 0.0 * v
    for A, K, b in parts:
        if b.shape[0] == 1:
            total += _gram_times(A, K, v @ b[0, :, :]) @ b[0, :, :].T
        else:
            moved = _gram_times(A, K, (v[:, None, :] @ b)[:, 0, :])
            total += xp.matmul(b, moved[:, :, None])[:, :, 0]
    return total


def mean_block(parts: ProductParts) -> Array:
    """Mean over the samples of Theta's blocks (c, c) on the diagonal; its mean diagonal is Theta's.

    Notes
    -----
    Law: 1/n sum_s Theta[(s,:),(s,:)]. Cost: 2 n c^2 d/2 operations a coupling.
    """
    total: Array | float = 0.0
    for A, _, b in parts:
        xp, n = array_namespace(A), A.shape[0]
        weight = xp.sum(A * A, axis=1) / n  # K[s,s] / n
        if b.shape[0] == 1:
            total = xp.sum(weight) * (b[0, :, :] @ b[0, :, :].T) + total
        else:
            rows = xp.reshape(xp.permute_dims(b, (1, 0, 2)), (b.shape[1], -1))
            weighted = xp.reshape(xp.permute_dims(weight[:, None, None] * b, (1, 0, 2)), rows.shape)
            total = weighted @ rows.T + total
    return total  # type: ignore[return-value]


def rotated(parts: ProductParts, Q: Array) -> ProductParts:
    """Parts of (I (x) Q^T) Theta (I (x) Q): combinations of the outputs, the columns of Q, in their place."""
    return tuple(part._replace(cotangents=array_namespace(Q).matmul(Q.T, part.cotangents)) for part in parts)


def _by_sample(b: Array) -> Array:
    """(c, n, k) as (n, c, k), in memory too."""
    xp = array_namespace(b)
    return xp.asarray(xp.permute_dims(b, (1, 0, 2)), copy=True)


def _gram_times(A: Array, K: Array | None, y: Array) -> Array:
    return matmul(A, A.T @ y) if K is None else matmul(K, y)

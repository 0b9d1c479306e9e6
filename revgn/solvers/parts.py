"""Tangent kernel Theta in parts: products with Theta and its mean diagonal block, without forming Theta.

    (Theta v)[s,o] = sum_k < b_k[s,o], (K_k ybar_k)[s] >        ybar_k[s] = sum_o v[s,o] b_k[s,o]

Features A_k, K_k = A_k A_k^T and cotangents b_k are defined in `revgn.solvers.kernel`. The cotangents are
pulled back once. A product with Theta then takes, for each coupling, two matrix products with A_k (n, h+1),
or one with K_k (n, n). A vjp and a jvp take six.
"""

from typing import NamedTuple

from revgn.arrays import Array, array_namespace, matmul, row_major
from revgn.linalg import gram_rows
from revgn.solvers.jacobian import Jacobian
from revgn.solvers.kernel import parts_backward


class ProductPart(NamedTuple):
    """One part of Theta: A (n, m), b (n, c, k), and K (n, n) if a product with K is cheaper than two with A.

    b is (1, c, k) if it is the same for all samples, as at the last coupling.
    """

    features: Array
    gram: Array | None
    cotangents: Array


ProductParts = tuple[ProductPart, ...]


def product_parts(J: Jacobian) -> ProductParts:
    """Return the parts of Theta = J J^T, from the last layer to the first.

    Notes
    -----
    Cost: 2 c n d h operations for each pull-back, and memory for n c d/2 elements for each coupling.
    """
    return tuple(
        ProductPart(A, gram_rows(A) if A.shape[0] <= 2 * A.shape[1] else None, _by_sample(b))
        for A, b, *_ in parts_backward(J, summed=True)
    )


def kernel_product(parts: ProductParts, v: Array) -> Array:
    """Return Theta v (n, c) for v (n, c).

    Notes
    -----
    Law: equals J J^T v. Cost: min(2 n^2, 4 n (h+1)) d/2 + 4 n c d/2 operations for each coupling.
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
    """Return the mean over the samples of the diagonal blocks (c, c) of Theta.

    Notes
    -----
    Law: equals 1/n sum_s Theta[(s,:),(s,:)]; it has the same mean diagonal as Theta. Cost: 2 n c^2 d/2
    operations for each coupling.
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
    """Return the parts of (I (x) Q^T) Theta (I (x) Q), with the outputs combined by the columns of Q."""
    return tuple(part._replace(cotangents=array_namespace(Q).matmul(Q.T, part.cotangents)) for part in parts)


def _by_sample(b: Array) -> Array:
    """Return b (c, n, k) as a contiguous array (n, c, k)."""
    return row_major(array_namespace(b).permute_dims(b, (1, 0, 2)))


def _gram_times(A: Array, K: Array | None, y: Array) -> Array:
    return matmul(A, A.T @ y) if K is None else matmul(K, y)

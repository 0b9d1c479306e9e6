"""The tangent kernel in parts that are never multiplied out: products with it, and its mean diagonal.

    (Theta v)[s,o] = sum_k < b_k[s,o], (K_k ybar_k)[s] >        ybar_k[s] = sum_o v[s,o] b_k[s,o]

with the features A_k, K_k = A_k A_k^T and the cotangents b_k of `revgn.solvers.kernel`. The cotangents of all
outputs are pulled back once; each product then needs two of (n, h+1) by (n, d/2) a coupling, or one of (n, n)
where n is small, in place of the six of a vjp and a jvp.
"""

from typing import NamedTuple

from revgn.arrays import Array, array_namespace, backend_of, matmul
from revgn.layers import lift
from revgn.maps import Halves, gram_params, vjp_input
from revgn.networks import points_backward
from revgn.solvers.jacobian import Jacobian, output_count


class KernelPart(NamedTuple):
    """One coupling's: A (n, m), K (n, n) where it is cheaper than A twice, b (n, c, d/2).

    b is (1, c, d/2) where it is the same for all samples, as at the last coupling.
    """

    features: Array
    gram: Array | None
    cotangents: Array


KernelParts = tuple[KernelPart, ...]


def kernel_parts(J: Jacobian) -> KernelParts:
    """Parts of Theta at J, the last trained coupling first.

    Notes
    -----
    Cost: 2 c n d h operations for each pull-back; memory of n c d/2 numbers a coupling.
    """
    layers = J.network.body.layers
    bars, parts = _outputs_pulled_back(J), []
    points = points_backward(layers, J.params, J.point)
    for k, point in zip(reversed(range(len(layers))), points, strict=True):
        A, b = point.features, bars[layers[k].half]
        K = gram_params(layers[k], point) if A.shape[0] <= 2 * A.shape[1] else None
        parts.append(KernelPart(A, K, _by_sample(b)))
        if k > 0:
            bars = vjp_input(layers[k], J.params[k], point, bars)
    return tuple(parts)


def kernel_product(parts: KernelParts, v: Array) -> Array:
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


def mean_block(parts: KernelParts) -> Array:
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


def rotated(parts: KernelParts, Q: Array) -> KernelParts:
    """Parts of (I (x) Q^T) Theta (I (x) Q): combinations of the outputs, the columns of Q, in their place."""
    return tuple(part._replace(cotangents=array_namespace(Q).matmul(Q.T, part.cotangents)) for part in parts)


def _outputs_pulled_back(J: Jacobian) -> Halves:
    """Cotangents (c, 1, d/2) at the chain's output of each output; (c, n, d/2) of each sample's own."""
    R, like = J.outputs, J.network.readout.first
    if R is None:
        R = array_namespace(like).eye(output_count(J), dtype=like.dtype, device=backend_of(like).device)
    rows = R.T[:, None, :] if R.ndim == 2 else array_namespace(R).permute_dims(R, (2, 0, 1))
    return lift(J.network.readout, rows)


def _by_sample(b: Array) -> Array:
    """(c, n, d/2) as (n, c, d/2), in memory too."""
    xp = array_namespace(b)
    return xp.asarray(xp.permute_dims(b, (1, 0, 2)), copy=True)  # type: ignore[no-any-return]


def _gram_times(A: Array, K: Array | None, y: Array) -> Array:
    return matmul(A, A.T @ y) if K is None else matmul(K, y)

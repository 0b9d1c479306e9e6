"""The rows of the Jacobian, pulled back once: the products J^T v and J D are sums over them."""

import math

from revgn import trees
from revgn.arrays import Array, array_namespace, blockwise, inner_of_rows, matmul, pieces, runs_ahead
from revgn.maps import KernelPart, WeightForm, from_matrices, positions, to_matrices, weight_forms
from revgn.networks import ChainParams
from revgn.solvers.jacobian import Jacobian, apply, apply_adjoint, output_count
from revgn.solvers.kernel import layer_parts
from revgn.trees import is_empty

_TOGETHER = 16  # outputs in one kernel, whose arguments are limited


def pulled_back(J: Jacobian, room: float = math.inf) -> Jacobian:
    """Return J with the parts of Theta, after one backward sweep for each row of a sample.

    `rows_change`, `rows_adjoint` and `lower_kernel` then need no further sweep. Rows of layers with several
    positions are computed for each sample (see `sample_parts`) where this takes fewer operations, provided
    that all of them together have at most `room` elements.
    """
    n, numbers = J.point.output.first.shape[0], 0
    for layer, of in zip(J.network.body.layers, J.params, strict=True):
        numbers += trees.size(of) if not is_empty(of) and positions(layer) > 1 else 0
    has_room = numbers * n * output_count(J) <= room
    return J._replace(pulled=tuple(layer_parts(J, summed=has_room)))


def rows_adjoint(J: Jacobian, v: Array) -> ChainParams:
    """Return J^T v for v with the shape of J D, the sum over samples and rows of v a b^T for each part.

    Notes
    -----
    Law: equals `apply_adjoint`. Cost: if the rows are pulled back, one product of n h d operations for each
    part, where a backward sweep for v takes three; in addition, m n d/2 elements are read for each part. If
    a part holds the rows of each sample as matrices, the cost is to read these once.
    """
    if J.pulled is None:
        return apply_adjoint(J, v)
    D, parts = [], iter(J.pulled)
    for layer, of in zip(reversed(J.network.body.layers), reversed(J.params), strict=True):
        own = () if is_empty(of) else tuple(_adjoint_of(next(parts), v, form) for form in weight_forms(layer))
        D.append(from_matrices(layer, own) if own else of)
    return tuple(reversed(D))


def _adjoint_of(part: KernelPart, v: Array, form: WeightForm) -> Array:
    """Return the sum over samples and rows of v a b^T, a matrix of the layer."""
    xp, (A, b) = array_namespace(v), part
    if b.shape[2] != form.columns:  # it holds matrices
        flat = xp.reshape(v.T, (1, -1))
        return xp.reshape(matmul(flat, xp.reshape(b, (flat.shape[1], -1))), (-1, form.columns))
    rows = _by_sample(A, b, v.shape[0])
    mixed = matmul(v, rows[:, 0, :]) if rows.shape[1] == 1 else _mixed(v, rows)
    return matmul(A.T, xp.reshape(mixed, (A.shape[0], -1)))


def _mixed(v: Array, rows: Array) -> Array:
    """Return the sum over o of rows[o,s] v[s,o] (n, m); on a device several outputs o in one launch."""
    weights = v.T[:, :, None]
    mixed = rows[0, ...] * weights[0, ...]
    if not runs_ahead(v):
        for o in range(1, rows.shape[0]):
            mixed += rows[o, ...] * weights[o, ...]
        return mixed
    for outputs in pieces(rows.shape[0] - 1, _TOGETHER):
        factors = (x[1 + o, ...] for o in range(outputs.start, outputs.stop) for x in (rows, weights))
        (mixed,) = blockwise(_with_products, mixed, *factors, out=(mixed,))
    return mixed


def _with_products(total: Array, *factors: Array) -> tuple[Array]:
    """Return total + a b + c d + ... for the factors a, b, c, d, ..."""
    for row, weight in zip(factors[0::2], factors[1::2], strict=True):
        total = total + row * weight
    return (total,)


def rows_change(J: Jacobian, D: ChainParams) -> Array:
    """Return J D, sample by sample the sum over all parts of <b, a^T X>, with X the matrices of D.

    Notes
    -----
    Law: equals `apply`. Cost: if the rows are pulled back, one product of n h d operations for each part,
    where a forward sweep for D takes three; in addition, m n d/2 elements are read for each part.
    """
    if J.pulled is None:
        return apply(J, D)
    n, parts, found = J.point.output.first.shape[0], iter(J.pulled), None
    for layer, of in zip(reversed(J.network.body.layers), reversed(D), strict=True):
        for X in () if is_empty(of) else to_matrices(layer, of):
            moved = _change_of(next(parts), X, n)  # (m, n)
            found = moved if found is None else found + moved
    assert found is not None
    return found.T


def _change_of(part: KernelPart, X: Array, samples: int) -> Array:
    """Return the inner products <b, a^T X> (c, n)."""
    xp, (A, b) = array_namespace(X), part
    if b.shape[2] != X.shape[1]:  # it holds matrices
        c, n, _ = b.shape
        return xp.reshape(matmul(xp.reshape(b, (c * n, -1)), xp.reshape(X, (-1, 1))), (c, n))
    return inner_of_rows(_by_sample(A, b, samples), xp.reshape(matmul(A, X), (1, samples, -1)))


def _by_sample(A: Array, b: Array, samples: int) -> Array:
    """Return b (c, n P, k) as (c, n, P k), and (c, P, k) as (c, 1, P k), for the features A (n P, m)."""
    positions = A.shape[0] // samples
    return array_namespace(b).reshape(b, (b.shape[0], -1, positions * b.shape[2]))

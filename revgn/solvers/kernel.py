"""The empirical tangent kernel Theta = J J^T, from the parts that the layers have in it.

With a_k[s] b_k[(o,s)]^T the row of the Jacobian that output o of sample s has in weight matrix k:

    Theta[(o,s),(p,t)] = sum_k (A_k A_k^T)[s,t] < b_k[(o,s)], b_k[(p,t)] >

For a coupling A are its features, and b is the output's cotangent pulled back to the half that moves. At the
last coupling b is a row of U^T, the same for all samples until a nonlinear coupling makes it differ, so the
last coupling costs nothing and the one before a single product for each output. Combined outputs
(`Jacobian.outputs`) take the outputs' place. Source: Jacot et al. 2018 for the kernel; the closed form is the
product rule.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from revgn.arrays import (
    Array,
    add_gram_products,
    array_namespace,
    backend_of,
    empty,
    limits_of,
    matmul,
    pieces,
)
from revgn.layers import Readout, lift
from revgn.linalg import gram_rows
from revgn.maps import Halves, KernelPart, from_matrices, kernel_parts, vjp_input, weight_forms
from revgn.networks import ChainParams, points_backward
from revgn.solvers.jacobian import Jacobian, output_count
from revgn.trees import is_empty

HELD = 4  # parts whose cotangents are held at a time, so that Theta is gone through once for all of them


class Held(NamedTuple):
    """A part's K (n, n') between the samples of rows and columns, b (c, n, k) and b' (c, n', k).

    Both b are (c, 1, k) where they are the same for all samples; `coefficients` may then hold <b, b'> (c, c).
    """

    gram: Array
    of_rows: Array
    of_columns: Array
    coefficients: Array | None = None

    @property
    def is_same(self) -> bool:
        """Whether the cotangents are the same for all samples."""
        return self.of_rows.shape[1] == self.of_columns.shape[1] == 1


def tangent_kernel(J: Jacobian) -> Array:
    """Theta (n c, n c), symmetric; row s c + o belongs to output o of sample s.

    Notes
    -----
    Law: Theta v = J (J^T v), v (n, c) row by row. Cost: 2 c n d h operations for each coupling's pull-back,
    half that for the last and none for the first, and (c n)^2 d/2 for each Gram matrix, the last excepted.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> Theta = revgn.tangent_kernel(J)
    >>> np.allclose(Theta @ z.ravel(), revgn.apply(J, revgn.apply_adjoint(J, z)).ravel())
    True
    """
    xp, n = array_namespace(J.point.output.first), J.point.output.first.shape[0]
    lower = lower_kernel(J)
    by_output = xp.reshape(xp.tril(lower) + xp.tril(lower, k=-1).T, (-1, n, lower.shape[0] // n, n))
    return xp.reshape(xp.permute_dims(by_output, (1, 0, 3, 2)), lower.shape)


def lower_kernel(J: Jacobian, parts: Iterable[KernelPart] | None = None) -> Array:
    """Theta (c n, c n) with its lower triangle filled; what stands above it has no meaning.

    Row o n + s belongs to output o of sample s: tiles of a few outputs and many samples are quick. `parts`
    are those of J, if they were found before.
    """
    n, c = J.point.output.first.shape[0], output_count(J)
    Theta = empty((c, n, c, n), J.network.readout.first)
    held: list[Held] = []
    is_first = True
    for A, b in parts_backward(J) if parts is None else parts:
        held.append(Held(gram_rows(A), b, b))
        if len(held) == HELD:
            add_parts(Theta, held, is_first=is_first, lower=True)
            held, is_first = [], False
    if held or is_first:
        add_parts(Theta, held, is_first=is_first, lower=True)
    return array_namespace(Theta).reshape(Theta, (c * n, c * n))


def parts_backward(J: Jacobian) -> Iterator[KernelPart]:
    """Yield the parts of Theta, the last layer's first; b is (c, n, k), or (c, 1, k) for all samples."""
    layers = J.network.body.layers
    first = next((k for k, of in enumerate(J.params) if not is_empty(of)), len(layers))
    bars = read_back(J.network.readout, J.outputs)
    points = points_backward(layers, J.params, J.point)
    for k, point in zip(reversed(range(first, len(layers))), points, strict=False):
        yield from kernel_parts(layers[k], J.params[k], point, bars)
        if k > first:
            bars = vjp_input(layers[k], J.params[k], point, bars)


def adjoint_of_parts(J: Jacobian, parts: Sequence[KernelPart], v: Array) -> ChainParams:
    """J^T v of v (n, c), from the parts of J.

    Notes
    -----
    Law: equals `apply_adjoint`. Cost: a product of n h d operations a part, against three with a sweep back
    for v; and c n d/2 numbers are gone through.
    """
    weights = v.T[:, :, None]

    def mixed(b: Array) -> Array:
        total = weights[0, ...] * b[0, ...]
        for o in range(1, b.shape[0]):
            total += weights[o, ...] * b[o, ...]
        return total

    matrices = iter([matmul(A.T, mixed(b)) for A, b in parts])
    D = []
    for layer, of in zip(reversed(J.network.body.layers), reversed(J.params), strict=True):
        own = () if is_empty(of) else tuple(next(matrices) for _ in weight_forms(layer))
        D.append(from_matrices(layer, own) if own else of)
    return tuple(reversed(D))


def are_few(rows: int, parts: int, outputs: int) -> bool:
    """Whether all cotangents of each sample's own rows take no more memory than what is held anyway.

    That is of all outputs, of the parts that the kernel is formed of at a time.
    """
    return rows * parts <= HELD * outputs


def read_back(readout: Readout, R: Array | None) -> Halves:
    """Cotangents (c, 1, d/2) at the chain's output of each output; (m, n, d/2) of each sample's own."""
    if R is not None and R.ndim == 3:
        rows = array_namespace(R).permute_dims(R, (2, 0, 1))  # (m, n, c)
        return lift(readout, rows)
    halves = (readout.first, readout.second) if R is None else (readout.first @ R, readout.second @ R)
    return Halves(*(half.T[:, None, :] for half in halves))


def add_parts(Theta: Array, held: list[Held], *, is_first: bool, lower: bool) -> None:
    """Theta += K_k * (b_k b_k'^T) for some parts, piece by piece, to Theta (c, n, c, n').

    Parameters
    ----------
    is_first : bool
        What Theta holds has no meaning yet.
    lower : bool
        Of a Theta whose rows and columns are the same, fill the lower triangle only.

    Notes
    -----
    Cost: for each part 2 k operations an element. Rows of a piece are of one output, so that a lower triangle
    of few samples takes 1 + 1/c times its operations. With CuPy a piece is a product for each part and one
    launch for their sum: c pieces where c n <= 16,384 and n <= 2048. Each element is written and read once
    for each part, and written once more. At c = 10, n = 1024, k = 392, with three such parts, that is
    0.14 TFLOP and 1.6 GB.
    """
    c, n, _, m = Theta.shape
    if not held:
        Theta[...] = 0.0
        return
    limits = limits_of(backend_of(Theta))
    if limits.fuses:
        held = [_with_coefficients(of) for of in held]
    together = max(1, limits.columns // m)  # outputs in the columns of a piece
    for o in range(c):
        for rows in pieces(n, limits.rows):
            for p in pieces(o + 1 if lower else c, together):
                for columns in pieces(m, limits.columns):
                    if lower and p.start == o and columns.start >= rows.stop:
                        continue  # above the diagonal
                    terms = (_term(of, o, rows, p, columns) for of in held)
                    add_gram_products(Theta[o, rows, p, columns], terms, is_first=is_first)


def _with_coefficients(of: Held) -> Held:
    """A part that is the same for all samples, with its products <b, b'> at once instead of row by row."""
    if not of.is_same:
        return of
    products = matmul(of.of_rows[:, 0, :], of.of_columns[:, 0, :].T)
    return of._replace(coefficients=products)


def _term(of: Held, o: int, rows: slice, p: slice, columns: slice) -> tuple[Array, Array]:
    """K[s,t] and <b[(o,s)], b'[(p,t)]> for these s, p, t; the latter (1, p, 1) if the same for all s, t."""
    xp, K = array_namespace(of.gram), of.gram[rows, columns]
    if of.coefficients is not None:
        return K, of.coefficients[o, p][None, :, None]
    left = of.of_rows[o, slice(None) if of.is_same else rows, :]
    right = of.of_columns[p, slice(None) if of.is_same else columns, :]
    product = matmul(left, xp.reshape(right, (-1, right.shape[2])).T)
    return K, xp.reshape(product, (left.shape[0], *right.shape[:2]))

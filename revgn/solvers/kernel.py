"""Empirical tangent kernel Theta = J J^T, computed as a sum of one part for each weight matrix.

The row of J for output o of sample s is, in weight matrix k, an outer product a_k[s] b_k[(o,s)]^T. Let A_k
have the rows a_k[s]. Then

    Theta[(o,s),(p,t)] = sum_k (A_k A_k^T)[s,t] < b_k[(o,s)], b_k[(p,t)] >

A row of a layer with P positions is a sum of P outer products. Either it is computed for each sample and
enters Theta as b_k, a matrix flattened to one row, with a_k[s] = 1; or each of the P^2 pairs of positions
contributes a product of this form (see `sample_parts`).

For a coupling, A_k are its features, and b_k is the cotangent of the output, pulled back to the half that the
coupling changes. At the last coupling, b_k is a row of U^T, with readout U, and the same for all samples. The
pull-back through a nonlinear coupling makes the cotangents of the samples differ. The last coupling
needs no pull-back, and the coupling before it needs one product for each output. With combined outputs
(`Jacobian.outputs`), the combinations replace the outputs. Source: Jacot et al. 2018 for the kernel; the
closed form follows from the product rule.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from revgn.arrays import (
    Array,
    add_gram_products,
    array_namespace,
    backend_of,
    empty,
    limits_of,
    lower_gram,
    matmul,
    pieces,
    row_major,
    total,
)
from revgn.layers import Readout, ReadoutParams, ReadoutPoint, spread
from revgn.linalg import gram_rows
from revgn.maps import (
    Halves,
    KernelPart,
    Layer,
    kernel_parts,
    positions,
    summed_rows,
    vjp_input,
    vjp_rows,
    weight_forms,
)
from revgn.networks import points_backward
from revgn.solvers.jacobian import Jacobian, output_count
from revgn.solvers.kernel_cost import GRADIENTS, HELD, takes_sums
from revgn.trees import is_empty


class SamplePart(NamedTuple):
    """Part of Theta: A (n P, m), and b (c, n P, k), or (c, P, k) if it is the same for all samples."""

    features: Array
    cotangents: Array
    positions: int = 1

    def products(self, other: "SamplePart | None" = None) -> Iterator["Held"]:
        """Yield the terms of Theta between the samples of this part and of `other`, by default the same.

        If the samples are the same and have one row each, the Gram matrices are undefined above the diagonal.
        """
        own = list(self.apart())
        columns = own if other is None else list(other.apart())
        gram = lower_gram if self.cotangents.shape[0] == 1 else gram_rows
        for A, b in own:
            for A_other, b_other in columns:
                yield Held(gram(A) if A is A_other else matmul(A, A_other.T), b, b_other)

    def apart(self) -> Iterator[tuple[Array, Array]]:
        """Yield A (n, m) and b (c, n, k) of each position."""
        xp, (A, b, P) = array_namespace(self.features), self
        if P == 1:
            yield A, b
            return
        c, _, k = b.shape
        A = row_major(xp.permute_dims(xp.reshape(A, (-1, P, A.shape[1])), (1, 0, 2)))
        b = row_major(xp.permute_dims(xp.reshape(b, (c, -1, P, k)), (2, 0, 1, 3)))
        for p in range(P):
            yield A[p, ...], b[p, ...]

    def diagonal(self) -> Array:
        """Return the sum of the part's diagonal entries, a 0-d array."""
        own = list(self.apart())
        return total(
            [
                array_namespace(A).sum(_along(A, other) * _along(b, b_other))
                for A, b in own
                for other, b_other in own
            ]
        )


def _along(x: Array, y: Array) -> Array:
    """Return sum_i x_si y_si (n,) for x (n, m), or its sum over the outputs for x (c, n, m)."""
    return array_namespace(x).sum(x * y, axis=-1 if x.ndim == 2 else (0, 2))


class Held(NamedTuple):
    """One part of Theta: its Gram matrix K (n, n') and its cotangents b (c, n, k) and b' (c, n', k).

    The rows of Theta belong to n samples, the columns to n'. Both b and b' are (c, 1, k) if they are the same
    for all samples; `coefficients` may then hold <b, b'> (c, c).
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
    """Return the symmetric kernel Theta (n c, n c). Row s c + o belongs to output o of sample s.

    Notes
    -----
    Law: Theta v = J (J^T v), for v (n, c) flattened row by row. Cost: 2 c n d h operations for the pull-back
    through each coupling, half as many for the last coupling and none for the first; and (c n)^2 d/2 for each
    Gram matrix of cotangents, except the last.

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


def lower_kernel(J: Jacobian) -> Array:
    """Return Theta (c n, c n) with only the lower triangle filled. Entries above the diagonal are undefined.

    Row o n + s belongs to output o of sample s. In this order, tiles of a few outputs and many samples are
    fast to compute.
    """
    n, c = J.point.output.first.shape[0], output_count(J)
    Theta = empty((c, n, c, n), J.network.readout.first)
    write_terms(Theta, (term for part in parts_backward(J) for term in part.products()), lower=True)
    return array_namespace(Theta).reshape(Theta, (c * n, c * n))


def sample_parts(
    part: KernelPart,
    samples: int,
    numbers: int | None = None,
    *,
    summed: bool = False,
    of_all: int | None = None,
) -> Iterator[SamplePart]:
    """Yield a part of Theta in the form in which it is computed with the fewest operations.

    With P positions, there are two forms. Either the Gram matrices of all pairs of positions are computed; or
    the rows of each sample, G_os = sum_p a_sp b_osp^T (m, k), which give a part with P = 1. If all G together
    have more than `numbers` elements, a few rows of each are computed at a time, as several parts. With
    `summed`, the second form is used. Otherwise, the form is chosen for `of_all` samples, by default the
    samples of the part.

    Notes
    -----
    Law: the parts add up to the same part of Theta. Cost: 2 c n P m k operations for G.
    """
    (A, b), n = part, samples
    (rows, m), (c, _, k) = A.shape, b.shape
    P = rows // n
    if P == 1 or not (summed or takes_sums(of_all or n, c, P, m, k)):
        yield SamplePart(A, b, P)
        return
    for piece in pieces(m, m if numbers is None else max(1, numbers // (c * n * k))):
        yield SamplePart(*_of_samples(part, n, piece))


def parts_backward(
    J: Jacobian, *, whole: bool = False, summed: bool = False, of_all: int | None = None
) -> Iterator[SamplePart]:
    """Yield the parts of Theta, from the last layer to the first (see `sample_parts`).

    Rows that are computed for each sample have at most as many elements as Theta, or `GRADIENTS` if that is
    more, unless a part has to be `whole`.
    """
    n = J.point.output.first.shape[0]
    bound = None if whole else max(GRADIENTS, (n * output_count(J)) ** 2)
    for part in layer_parts(J) if J.pulled is None else J.pulled:
        yield from sample_parts(part, n, bound, summed=summed, of_all=of_all)


def layer_parts(J: Jacobian, *, summed: bool = False) -> Iterator[KernelPart]:
    """Yield the parts of Theta as the layers return them, from the last layer to the first.

    With `summed`, the parts of layers with several positions hold the rows of each sample, where these take
    fewer operations.
    """
    n, c = J.point.output.first.shape[0], output_count(J)
    layers = J.network.body.layers
    first = next((k for k, of in enumerate(J.params) if not is_empty(of)), len(layers))
    bars = read_back(J.network.readout, J.outputs)
    points = points_backward(layers, J.params, J.point)
    for k, point in zip(reversed(range(first, len(layers))), points, strict=False):
        here = layers[k], J.params[k], point, bars
        is_summed = summed and not is_empty(J.params[k]) and _takes_sums(layers[k], n, c)
        if is_summed and k > first:
            bars, rows = vjp_rows(*here)
            yield from (KernelPart(_ones(n, G), G) for G in rows)
            continue
        for part in kernel_parts(*here):
            yield _of_samples(part, n) if is_summed else part
        if k > first:
            bars = vjp_input(*here)


def _of_samples(part: KernelPart, n: int, columns: slice = slice(None)) -> KernelPart:
    """Return the part with the rows of each sample, for some columns of its features; P = 1."""
    G = summed_rows(part, n, columns)
    return KernelPart(_ones(n, G), array_namespace(G).reshape(G, (*G.shape[:2], -1)))


def _takes_sums(layer: Layer, n: int, c: int) -> bool:
    """Return whether the rows of each sample take fewer operations for all matrices of a layer."""
    forms, P = weight_forms(layer), positions(layer)
    return all(takes_sums(n, c, P, of.rows, of.columns) for of in forms)


def _ones(samples: int, like: Array) -> Array:
    return array_namespace(like).ones((samples, 1), dtype=like.dtype, device=backend_of(like).device)


def read_back(readout: Readout, R: Array | None) -> Halves:
    """Return the outputs' cotangents at the end of the chain.

    They are (c, 1, d/2), or (m, 1, d/2) for combinations R that all samples share, or (m, n, d/2) otherwise.
    """
    if R is not None and R.ndim == 3:
        rows = array_namespace(R).permute_dims(R, (2, 0, 1))  # (m, n, c)
        halves: Halves = vjp_input(readout, ReadoutParams(), ReadoutPoint(), rows)
        return halves
    columns = (readout.first, readout.second) if R is None else (readout.first @ R, readout.second @ R)
    return spread(readout, Halves(*(half.T[:, None, :] for half in columns)))


def write_terms(Theta: Array, terms: Iterable[Held], *, lower: bool) -> None:
    """Write the sum of the terms to Theta (c, n, c, n'), at most `HELD` of them in memory at a time.

    `lower` is as for `add_parts`.
    """
    held: list[Held] = []
    is_first = True
    for term in terms:
        held.append(term)
        if len(held) == HELD:
            add_parts(Theta, held, is_first=is_first, lower=lower)
            held, is_first = [], False
    if held or is_first:
        add_parts(Theta, held, is_first=is_first, lower=lower)


def add_parts(Theta: Array, held: list[Held], *, is_first: bool, lower: bool) -> None:
    """Add K_k * (b_k b_k'^T) of the parts k in `held` to Theta (c, n, c, n'), piece by piece.

    Parameters
    ----------
    is_first : bool
        Overwrite Theta, whose content is still undefined, instead of adding to it.
    lower : bool
        Fill only the lower triangle of Theta, whose rows and columns must belong to the same samples.

    Notes
    -----
    Cost: 2 k operations per element for each part. The rows of a piece belong to one output, so for few
    samples the pieces of a lower triangle have 1 + 1/c times as many elements as the triangle. With CuPy,
    each piece takes one product for each part, and one launch for their sum; there are c pieces if c n <=
    16,384 and n <= 2048. Each element is written and read once for each part, and written once more. Example:
    c = 10, n = 1024 and three parts with k = 392 take 0.14 TFLOP and move 1.6 GB.
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
    """Return the part with all products <b, b'> computed, if its cotangents are the same for all samples."""
    if not of.is_same:
        return of
    products = matmul(of.of_rows[:, 0, :], of.of_columns[:, 0, :].T)
    return of._replace(coefficients=products)


def _term(of: Held, o: int, rows: slice, p: slice, columns: slice) -> tuple[Array, Array]:
    """Return K[s,t] and <b[(o,s)], b'[(p,t)]> for the rows s, outputs p and columns t.

    The products are (1, p, 1) if they are the same for all s and t.
    """
    xp, K = array_namespace(of.gram), of.gram[rows, columns]
    if of.coefficients is not None:
        return K, of.coefficients[o, p][None, :, None]
    left = of.of_rows[o, slice(None) if of.is_same else rows, :]
    right = of.of_columns[p, slice(None) if of.is_same else columns, :]
    product = matmul(left, xp.reshape(right, (-1, right.shape[2])).T)
    return K, xp.reshape(product, (left.shape[0], *right.shape[:2]))

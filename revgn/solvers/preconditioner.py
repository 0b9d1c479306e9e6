"""Preconditioner P for the damped tangent kernel Theta + mu I: diagonal blocks and leading eigendirections.

Take the basis of the outputs that diagonalizes the mean over samples of the diagonal blocks (c, c) of Theta.
In this basis Theta is close to block diagonal, with one block (n, n) for each output j. The blocks are formed
exactly, from the cotangents b_k of every sample; see `revgn.solvers.kernel` for K_k and b_k:

    E_j[s,t] = sum_k K_k[s,t] < b_k[s,j], b_k[t,j] >

At W = 0, all entries outside the blocks are zero. During training, the entries outside grow along few
directions q m^T in the weights, where q is an eigenvector of A_k^T A_k and m an eigenvector of sum b_k b_k^T.
The leading directions have the largest products of eigenvalues. Their columns F = J q m^T are kept exactly,
for all outputs and samples. The blocks are then formed from the remainder Theta - F F^T. For
large n, a block contains a group of the samples only:

    P = F F^T + E        E = blockdiag(Theta - F F^T + mu I)
    P^-1 = E^-1 - E^-1 F (I + F^T E^-1 F)^-1 F^T E^-1

Sources: Quinonero-Candela and Rasmussen 2005 for the form, the partially independent approximation of
Gaussian processes; George et al. 2018 (EKFAC) for the eigenbases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from revgn.arrays import (
    Array,
    Deferred,
    array_namespace,
    backend_of,
    begin_cholesky,
    cholesky,
    cholesky_solve,
    eigh,
    matmul,
    read,
    ready,
    row_major,
    runs_ahead,
    to_host,
    together,
    triangular_solve,
)
from revgn.linalg import add_diagonal, as_dtype, gram_columns, gram_rows, machine_epsilon
from revgn.solvers.parts import ProductParts

_RAISES = 12  # tenfold increases of a block's diagonal before the block is replaced by the identity


@dataclass(frozen=True, slots=True, eq=False)
class Preconditioner:
    """Preconditioner P in factored form: the columns F, and Cholesky factors of E and of I + F^T E^-1 F.

    On a device, where solving with a factor takes much longer than a product, E is inverted instead: the
    blocks of a group are then one array (c, g, g) of inverses.
    """

    groups: tuple[slice, ...]
    blocks: tuple[tuple[Array, ...] | Array, ...]  # by group of samples, then by output
    columns: Array  # F (n c, r)
    inner: Array  # Cholesky factor (r, r) of I + F^T E^-1 F, in double precision


class _Eigen(NamedTuple):
    """Eigenvectors of one coupling, leading ones first, and the products of their eigenvalues on the host."""

    features: Array  # A q (n, i)
    vectors: Array  # m (d/2, l)
    products: np.ndarray  # (i, l)


def precondition(factored: Preconditioner, R: Array) -> Array:
    """Return P^-1 R for R (n, c)."""
    xp, F = array_namespace(R), factored.columns
    Z = _solve_blocks(factored, R)
    if F.shape[1] == 0:
        return Z
    inside = as_dtype(F.T @ xp.reshape(Z, (-1, 1)), factored.inner.dtype)
    X = as_dtype(cholesky_solve(factored.inner, inside), R.dtype)
    return Z - _solve_blocks(factored, xp.reshape(F @ X, R.shape))


def factor_preconditioner(parts: ProductParts, mu: float, *, samples: int, directions: int) -> Preconditioner:
    """Return the preconditioner P of Theta + mu I, for the kernel Theta that `parts` add up to.

    Parameters
    ----------
    samples : int
        Maximum number of samples in a block.
    directions : int
        Number r of columns of F.

    Notes
    -----
    Law: P is symmetric and positive definite. P = Theta + mu I at W = 0 in the eigenbasis of the mean block,
    and whenever there is one output and one group of samples. If a Cholesky factorization fails, the diagonal
    of the block is increased; P is then less accurate. Cost, with g samples in a block: n g (h + c d/2)
    operations for each coupling, plus c n g^2 / 3, plus c n r (g + r).
    """
    like = parts[0].features
    n, c = like.shape[0], parts[0].cotangents.shape[1]
    xp = array_namespace(like)
    count = -(-n // samples)
    size = -(-n // count)
    groups = tuple(slice(start, min(start + size, n)) for start in range(0, n, size))
    F = _strongest(parts, directions)  # (n, c, r)
    inner = xp.eye(F.shape[2], dtype=xp.float64, device=backend_of(like).device)
    factors: list[tuple[Array, ...] | Array] = []
    for group in groups:
        begun = [_begin_cholesky(block, F[group, j, :], mu) for j, block in enumerate(_blocks(parts, group))]
        of_group = tuple(read(together(begun)))
        del begun  # frees the blocks
        if F.shape[2]:
            for j, L in enumerate(of_group):
                inner += as_dtype(F[group, j, :].T @ cholesky_solve(L, F[group, j, :]), xp.float64)
        factors.append(_inverses(of_group) if runs_ahead(like) else of_group)
    root = cholesky(inner) if F.shape[2] else inner  # None only if not finite, which is then reported
    return Preconditioner(groups, tuple(factors), xp.reshape(F, (n * c, -1)), inner if root is None else root)


def _blocks(parts: ProductParts, group: slice) -> Iterator[Array]:
    """Yield Theta[(group, j), (group, j)] for each output j; one Gram matrix is in memory at a time."""
    c = parts[0].cotangents.shape[1]
    totals: list[Array] = []
    for A, K, b in parts:
        xp, K = array_namespace(A), gram_rows(A[group, :]) if K is None else K[group, group]
        rows = b if b.shape[0] == 1 else b[group, :, :]
        by_output = row_major(xp.permute_dims(rows, (1, 0, 2)))
        for j in range(c):
            product = K * gram_rows(by_output[j, :, :])
            if len(totals) < c:
                totals.append(product)
            else:
                totals[j] += product
    while totals:
        yield totals.pop(0)


def _begin_cholesky(block: Array, F: Array, mu: float) -> Deferred[Array]:
    """Begin the Cholesky factorization of block - F F^T + mu I; mu is increased if it fails otherwise."""
    xp = array_namespace(block)
    trace = xp.astype(xp.sum(xp.linalg.diagonal(block)), xp.float64)
    rounding = 4 * machine_epsilon(block.dtype, block) * trace
    shift = xp.maximum(rounding, xp.full_like(rounding, mu))
    if F.shape[1]:
        block = block - matmul(F, F.T)
    add_diagonal(block, shift)
    begun = begin_cholesky(block)
    if begun is None:
        return ready(_raised(block, float(shift)))
    L, is_factor = begun
    return Deferred((is_factor, shift), lambda is_factor, shift: L if is_factor else _raised(block, shift))


def _raised(block: Array, shift: float) -> Array:
    """Return the Cholesky factor of a block after further increases of its diagonal, or the identity.

    The diagonal of `block` has already been increased by `shift`.
    """
    for _ in range(_RAISES - 1):
        shift *= 10.0
        add_diagonal(block, shift)
        if (L := cholesky(block)) is not None:
            return L
    return array_namespace(block).eye(block.shape[0], dtype=block.dtype, device=block.device)


def _strongest(parts: ProductParts, count: int) -> Array:
    """Return F (n, c, r): J along the r = `count` directions q m^T of the largest eigenvalue products."""
    like, c = parts[0].features, parts[0].cotangents.shape[1]
    xp, backend = array_namespace(like), backend_of(like)
    columns = [xp.zeros((like.shape[0], c, 0), dtype=like.dtype, device=backend.device)]
    if count:
        eigen = [_eigen(A, b, count) for A, _, b in parts]
        ranked = np.sort(np.concatenate([of.products.ravel() for of in eigen]))[::-1]
        least = ranked[min(count, ranked.size) - 1]
        for of, (_, _, b) in zip(eigen, parts, strict=True):
            i, j = np.nonzero((of.products >= least) & (of.products > 1e-12 * ranked[0]))
            if i.size:
                turned = xp.matmul(b, of.vectors[:, : int(j.max()) + 1])
                of_features = xp.take(of.features, backend.asarray(i), axis=1)
                columns.append(of_features[:, None, :] * xp.take(turned, backend.asarray(j), axis=2))
    return xp.concat(columns, axis=2)


def _eigen(A: Array, b: Array, count: int) -> _Eigen:
    xp = array_namespace(A)
    if A.shape[0] < A.shape[1]:
        w, Q = eigh(gram_rows(A))
        AQ = Q * xp.sqrt(xp.where(w > 0, w, xp.zeros_like(w)))
    else:
        w, Q = eigh(gram_columns(A))
        AQ = matmul(A, Q)
    of_b, M = eigh(gram_columns(xp.reshape(b, (-1, b.shape[2]))))
    products = np.outer(to_host(w), to_host(of_b)).astype(np.float64) / b.shape[0]
    AQ, M = xp.flip(AQ, axis=1), xp.flip(M, axis=1)
    return _Eigen(
        AQ[:, : min(count, AQ.shape[1])], M[:, : min(count, M.shape[1])], products[::-1, ::-1][:count, :count]
    )


def _inverses(factors: tuple[Array, ...]) -> Array:
    """Return the inverses (c, g, g) of L L^T, for the Cholesky factor L of each output."""
    xp, L = array_namespace(factors[0]), factors[0]
    unit = xp.eye(L.shape[0], dtype=L.dtype, device=L.device)
    halves = (triangular_solve(L, unit) for L in factors)
    return xp.stack([matmul(half.T, half) for half in halves])


def _solve_blocks(factored: Preconditioner, R: Array) -> Array:
    """Return E^-1 R for R (n, c)."""
    xp = array_namespace(R)
    rows = [
        _solve_group(of_group, R[group, :])
        for group, of_group in zip(factored.groups, factored.blocks, strict=True)
    ]
    return rows[0] if len(rows) == 1 else xp.concat(rows, axis=0)


def _solve_group(blocks: tuple[Array, ...] | Array, R: Array) -> Array:
    xp = array_namespace(R)
    if not isinstance(blocks, tuple):
        return xp.matmul(blocks, R.T[:, :, None])[:, :, 0].T
    return xp.concat([cholesky_solve(L, R[:, j : j + 1]) for j, L in enumerate(blocks)], axis=1)

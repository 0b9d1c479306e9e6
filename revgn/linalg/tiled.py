"""Cholesky factorization by square tiles, for matrices that are never formed as a whole.

    L_jj L_jj^T = K_jj - sum_(k<j) L_jk L_jk^T        L_ij L_jj^T = K_ij - sum_(k<j) L_ik L_jk^T,   i > j

The algorithm is left-looking. It goes through the tiles column by column; each tile of K is formed when it is
needed, and written once, as a tile of L. Three tiles are in memory at a time, and the others in a `Scratch`.
Source: Golub and Van Loan, Matrix Computations, section 4.2.9, for Cholesky factorization by blocks; Toledo
1999, A survey of out-of-core algorithms, for the order of the tiles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from revgn.arrays import Array, DType, Scratch, array_namespace, cholesky, subtract_product, triangular_solve
from revgn.linalg.gram import add_diagonal


@dataclass(frozen=True, slots=True, eq=False)
class TiledFactor:
    """Factor of P K P^T + mu I = L L^T by tiles; tile (i, j) of L, j <= i, is `tiles.get((i, j))`.

    P is a permutation of K's rows: `order` holds the row numbers of K in the order of L, and `back` is the
    inverse permutation. `sizes` are the numbers of rows of the tiles, and `dtype` is their dtype.
    """

    sizes: tuple[int, ...]
    order: Array
    back: Array
    tiles: Scratch
    dtype: DType


def cholesky_tiled(
    form: Callable[[int, int], Array], mu: float, sizes: Sequence[int], order: Array, tiles: Scratch
) -> TiledFactor | None:
    """Factor P K P^T + mu I; None if it is not positive definite.

    Parameters
    ----------
    form : callable
        `form(i, j)` returns tile (i, j) of P K P^T, j <= i, in contiguous memory that may be destroyed. Only
        the lower triangle of a tile on the diagonal is read. It is called once for each tile, column by
        column.
    sizes : sequence of int
        Numbers of rows of the tiles, which may differ.
    order : (N,)
        The permutation P, as row numbers of K.
    tiles : Scratch
        Storage for the tiles of L.

    Notes
    -----
    Law: L equals the factor by `cholesky` up to rounding. Cost: N^3/3 operations; N^3/(3 b) numbers are read
    for tiles of b rows. Memory: three tiles in addition to those that `tiles` keeps.
    """
    count, dtype = len(sizes), None
    for j in range(count):
        for i in range(j, count):
            tile = _tile(form, mu, tiles, i, j)
            if tile is None:
                return None
            dtype = tile.dtype
            tiles.put((i, j), tile)
            del tile  # before the next tile is formed
    back = array_namespace(order).argsort(order)
    return TiledFactor(tuple(sizes), order, back, tiles, dtype)


def solve_tiled(factored: TiledFactor, B: Array) -> Array:
    """Return (K + mu I)^-1 B for B (N, m) in the dtype of the factor.

    Notes
    -----
    Cost: 2 N^2 m operations; the tiles are read twice.
    """
    tiles, count = factored.tiles, len(factored.sizes)
    X = _split(factored, B)
    for j in range(count):
        X[j] = triangular_solve(tiles.get((j, j)), X[j])
        for i in range(j + 1, count):
            X[i] = X[i] - tiles.get((i, j)) @ X[j]
    for j in reversed(range(count)):
        for i in range(j + 1, count):
            X[j] = X[j] - tiles.get((i, j)).T @ X[i]
        X[j] = triangular_solve(tiles.get((j, j)), X[j], transposed=True)
    return _joined(factored, X)


def product_tiled(factored: TiledFactor, B: Array) -> Array:
    """Return (K + mu I) B for B (N, m) in the dtype of the factor, computed from L.

    Notes
    -----
    Cost: 2 N^2 m operations; the tiles are read twice.
    """
    tiles, count = factored.tiles, len(factored.sizes)
    X = _split(factored, B)
    total = [0.0 * part for part in X]
    for j in range(count):
        column = range(j, count)
        middle = sum((tiles.get((i, j)).T @ X[i] for i in column), 0.0 * X[j])
        for i in column:
            total[i] = total[i] + tiles.get((i, j)) @ middle
    return _joined(factored, total)


def _tile(form: Callable[[int, int], Array], mu: float, tiles: Scratch, i: int, j: int) -> Array | None:
    """Compute L_ij from the tiles in the columns before it."""
    tile = form(i, j)
    if i == j:
        add_diagonal(tile, mu)
    for k in range(j):
        left = tiles.get((i, k))
        tile = subtract_product(tile, left, left if i == j else tiles.get((j, k)))
    if i == j:
        return cholesky(tile, overwrite=True)
    return triangular_solve(tiles.get((j, j)), tile.T, overwrite=True).T


def _split(factored: TiledFactor, B: Array) -> list[Array]:
    """Split P B into the rows of each tile."""
    PB = array_namespace(B).take(B, factored.order, axis=0)
    parts, start = [], 0
    for size in factored.sizes:
        parts.append(PB[start : start + size, :])
        start += size
    return parts


def _joined(factored: TiledFactor, parts: list[Array]) -> Array:
    xp = array_namespace(*parts)
    return xp.take(xp.concat(parts, axis=0), factored.back, axis=0)

"""Random arrays, drawn on the host from an explicit generator, then moved: all backends see the same bits."""

import numpy as np

from revgn.arrays.namespace import Backend
from revgn.arrays.typing import Array, DType

_PIECE = 1 << 15  # numbers drawn at once


def draw_normal(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    scale: float,
    backend: Backend,
    dtype: DType,
    *,
    zero_rows: int = 0,
) -> Array:
    """Array of independent N(0, scale^2) numbers, drawn in float64 and rounded to `dtype`.

    The last `zero_rows` rows are drawn like the others, then set to zero.

    Notes
    -----
    Law: the numbers are those of `scale * rng.standard_normal(shape)`.
    Cost: one pass over memory: numbers are scaled and rounded while they are in the processor's cache.
    """
    drawn = np.empty(shape, np.float32 if dtype == backend.xp.float32 else np.float64)
    flat = drawn.reshape(-1)
    piece = np.empty(min(_PIECE, flat.size))
    for start in range(0, flat.size, _PIECE):
        out = flat[start : start + _PIECE]
        rng.standard_normal(out=piece[: out.size])
        np.multiply(piece[: out.size], scale, out=out, casting="same_kind")
    drawn[shape[0] - zero_rows :] = 0.0
    return backend.asarray(drawn)


def draw_orthonormal(
    rng: np.random.Generator, rows: int, columns: int, backend: Backend, dtype: DType
) -> Array:
    """Matrix (rows, columns), columns <= rows, with orthonormal columns, uniform over all such matrices.

    The QR factor of a normal matrix, signs fixed by a positive diagonal of R (Mezzadri 2007).
    """
    Q, R = np.linalg.qr(rng.standard_normal((rows, columns)))
    return backend.asarray(Q * np.sign(np.diagonal(R)), dtype=dtype)


def draw_frames(
    rng: np.random.Generator, count: int, rows: int, columns: int, backend: Backend, dtype: DType
) -> Array:
    """Matrices (count, rows, columns) like that of `draw_orthonormal`, independent of each other.

    By Gram and Schmidt's method for all of them at once, each vector projected twice.
    """
    V = rng.standard_normal((count, rows, columns))
    for j in range(columns):
        v, before = V[:, :, j], V[:, :, :j]
        for _ in range(2 if j else 0):
            v = v - np.sum(before * np.sum(before * v[:, :, None], axis=1, keepdims=True), axis=2)
        V[:, :, j] = v / np.linalg.norm(v, axis=1, keepdims=True)
    return backend.asarray(V, dtype=dtype)

"""Random arrays, drawn on the host by an explicit generator, then moved: the same bits on all backends."""

import numpy as np

from revgn.arrays.namespace import Backend
from revgn.arrays.typing import Array, DType
from revgn.errors import UsageError

_PIECE = 1 << 15  # numbers drawn at a time


class ShapesOnly(np.random.Generator):
    """Generator for a network or parameters of which only the shapes are used: `draw_normal` returns zeros.

    Matrices with orthonormal columns are drawn; they are small.
    """

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))


def draw_normal(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    scale: float,
    backend: Backend,
    dtype: DType,
    *,
    zero_rows: int = 0,
) -> Array:
    """Draw an array of independent N(0, scale^2) numbers in float64 and round it to `dtype`.

    The last `zero_rows` rows are drawn like all others, then set to zero.

    Notes
    -----
    Law: equals `scale * rng.standard_normal(shape)`, rounded to `dtype`.
    Cost: each number is written to memory once; it is scaled and rounded in the processor's cache.
    """
    _check_generator(rng)
    if isinstance(rng, ShapesOnly):
        return backend.xp.zeros(shape, dtype=dtype, device=backend.device)
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
    """Draw a matrix (rows, columns), columns <= rows, uniformly from those with orthonormal columns.

    It is the factor Q of the QR decomposition of a normal matrix. Its signs are fixed by a positive diagonal
    of R (Mezzadri 2007).
    """
    _check_generator(rng)
    Q, R = np.linalg.qr(rng.standard_normal((rows, columns)))
    return backend.asarray(Q * np.sign(np.diagonal(R)), dtype=dtype)


def draw_frames(
    rng: np.random.Generator, count: int, rows: int, columns: int, backend: Backend, dtype: DType
) -> Array:
    """Draw independent matrices (count, rows, columns), each distributed as in `draw_orthonormal`.

    Gram-Schmidt orthogonalization of all matrices at once, in which each vector is projected twice.
    """
    _check_generator(rng)
    V = rng.standard_normal((count, rows, columns))
    for j in range(columns):
        v, before = V[:, :, j], V[:, :, :j]
        for _ in range(2 if j else 0):
            v = v - np.sum(before * np.sum(before * v[:, :, None], axis=1, keepdims=True), axis=2)
        V[:, :, j] = v / np.linalg.norm(v, axis=1, keepdims=True)
    return backend.asarray(V, dtype=dtype)


def _check_generator(rng: object) -> None:
    if not isinstance(rng, np.random.Generator):
        example = f"np.random.default_rng({rng if isinstance(rng, int) else 0})"
        raise UsageError(f"rng: {rng!r} is not a random generator; expected one, as in {example}")

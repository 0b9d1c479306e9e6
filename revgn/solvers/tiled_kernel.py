"""Factorization of the tangent kernel by tiles, in bounded memory; see `revgn.linalg.tiled`.

A tile contains the entries of Theta between two groups of samples, S and T, with all their outputs. It needs
one block of every Gram matrix:

    Theta[(o,s),(p,t)] = sum_k (A_k[S] A_k[T]^T)[s,t] < b_k[(o,s)], b_k[(p,t)] >,    s in S, t in T

A_k and b_k are computed once, group by group, and stored like the tiles. No Gram matrix is formed as a whole.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from revgn._dispatch import has_map
from revgn.arrays import (
    HOST,
    Array,
    Backend,
    DType,
    Limits,
    Scratch,
    array_namespace,
    backend_of,
    empty,
    limits_of,
    memory_size,
    nbytes,
    pieces,
)
from revgn.errors import UsageError
from revgn.linalg import (
    RUNGS,
    DampingScale,
    Factor,
    FactorInfo,
    Rung,
    SpectralFactor,
    cholesky_tiled,
    with_info,
)
from revgn.maps import Halves, Point, positions, row_features, with_features
from revgn.networks import walk
from revgn.solvers.jacobian import Jacobian, cast, output_count
from revgn.solvers.kernel import Held, SamplePart, parts_backward, write_terms
from revgn.solvers.kernel_cost import HELD
from revgn.structs import setting
from revgn.trees import is_empty

UNBOUNDED = 2**62  # bytes
_FEWEST = 8  # smallest number of tiles in a row; one ninth of the memory for the lower half is then wasted


def memory_setting() -> Any:
    """Return the setting of a solver's memory for the kernel, in bytes; its default is None."""
    text = (
        "Memory for the tangent kernel in bytes, for example 4GB; by default half of the machine's memory. A "
        "larger kernel is factored by tiles."
    )
    return setting(text, default=None, ge=1, le=2**62, size=True, resumable=True)


class TilePlan(NamedTuple):
    """Plan of a factorization by tiles: samples per group, and memory in bytes.

    `at_work` is the memory for the arrays in use at a time, `kernel` for all tiles, and `sources` for the A_k
    and b_k from which tiles are formed. `room` is the memory that is left for tiles and sources.
    """

    samples: int
    at_work: int
    kernel: int
    sources: int
    room: int

    @property
    def on_disk(self) -> int:
        """Bytes of tiles and sources that do not fit in memory."""
        return max(0, self.kernel + self.sources - self.room)


def kernel_memory(memory: int | None, backend: Backend) -> int | None:
    """Return the memory for the kernel in bytes: `memory`, or half of the machine's memory by default.

    The result is None if the machine's memory is unknown. It does not depend on the free memory, so that a
    resumed run takes steps with identical bits.
    """
    size = memory_size(backend)
    return memory or (None if size is None else size // 2)


def is_dense(rung: Rung, order: int, size: int, memory: int | None, limits: Limits = HOST) -> bool:
    """Return whether the kernel is factored as a whole: it fits in `memory`, or there is no bound.

    Parameters
    ----------
    rung : Rung
        Factorization, which determines the memory; see `revgn.linalg.factor`.
    size : int
        Bytes of a number.
    limits : Limits
        Limits of the array library. CuPy factors a copy of the kernel, up to an order of 46,340.
    """
    fits = memory is None or dense_memory(rung, order, size, limits) <= memory
    return fits and order <= limits.order


def dense_memory(rung: Rung, order: int, size: int, limits: Limits = HOST) -> int:
    """Return the number of bytes in use while the kernel is factored as a whole by `rung`."""
    arrays = {
        "cholesky": size * limits.cholesky,
        "cholesky-float64": 8 * limits.cholesky,
        "eigh": 8 * limits.eigh,
    }
    return arrays[rung] * order**2


def plan_tiles(n: int, c: int, width: int, size: int, memory: int, limits: Limits = HOST) -> TilePlan:
    """Return the plan of tiles for n samples with c outputs, formed from `width` elements per sample.

    The order of a tile stays within the library's `limits`.

    Raises
    ------
    UsageError
        If tiles of a single sample do not fit in `memory`.

    Notes
    -----
    Law: at_work + room = memory. at_work is at most half of the memory, unless tiles have a single sample.
    """

    def at_work(g: int) -> int:
        products = HELD * min(g, limits.rows) * min(g * c, max(g, limits.columns)) if limits.fuses else 0
        return size * (limits.tiles * (g * c) ** 2 + 2 * g * width + (HELD + 1) * g**2 + products)

    if at_work(1) > memory:
        raise UsageError(f"memory: {memory:,} B is not enough; tiles of single samples take {at_work(1):,} B")
    most = int(min(-(-n // _FEWEST), limits.order / c))
    largest = next((g for g in range(most, 1, -1) if 2 * at_work(g) <= memory), 1)
    samples = -(-n // -(-n // largest))
    groups = [piece.stop - piece.start for piece in pieces(n, samples)]
    kernel = sum(c**2 * g * sum(groups[: i + 1]) for i, g in enumerate(groups))
    work = at_work(samples)
    return TilePlan(samples, work, size * kernel, size * n * width, memory - work)


def factor_tiled_kernel(
    J: Jacobian,
    damping: float,
    memory: int,
    rung: Rung,
    scale: DampingScale = "mean",
    inspect: bool = True,
) -> tuple[Factor, FactorInfo] | None:
    """Factor Theta + mu I by tiles in `memory` bytes.

    mu is `damping`, multiplied by the mean diagonal of Theta if that is the scale.

    Notes
    -----
    Law: equals the factorization of `revgn.linalg.factor` at this rung, up to rounding. The result is None if
    that factorization fails, and for `eigh`, which cannot be computed by tiles. Cost: the cost of the dense
    kernel, plus a second forward pass.
    """
    xp = array_namespace(J.point.output.first)
    single, double = J.point.output.first.dtype, xp.float64
    if rung == RUNGS[-1] or (rung == "cholesky-float64" and single == double):
        return None
    dtype = single if rung == "cholesky" else double
    n, c = J.point.output.first.shape[0], output_count(J)
    like = empty((n * c, 0), J.point.output.first, dtype)
    plan = plan_tiles(n, c, _width(J), nbytes((1,), like), memory, limits_of(backend_of(like)))
    groups = pieces(n, plan.samples)
    kernel = _TiledKernel(J, dtype, groups, plan)
    mean = kernel.mean_diagonal
    if not math.isfinite(mean):  # returned as data, in the form of an eigendecomposition
        nan = xp.full((n * c, 1), xp.nan, dtype=dtype, device=backend_of(like).device)
        return SpectralFactor(nan, nan[0, :]), FactorInfo("eigh", n * c, 0, math.nan, math.nan, math.nan)
    rows = xp.reshape(xp.arange(n * c, device=backend_of(like).device), (c, n))
    order = xp.concat([xp.reshape(rows[:, group], (-1,)) for group in groups])
    sizes = [c * (group.stop - group.start) for group in groups]
    tiles = Scratch(plan.room - kernel.sources.in_memory, plan.kernel)
    mu = damping * mean if scale == "mean" else damping
    factored = cholesky_tiled(kernel.tile, mu, sizes, order, tiles)
    if factored is None:
        return None
    relative = damping if scale == "mean" else 0.0
    return with_info(factored, n * c, like, mu, rung, damping=relative, inspect=inspect)


class _TiledKernel:
    """Tangent kernel whose tiles are formed from stored A_k and b_k, for each part k and group of samples."""

    def __init__(self, J: Jacobian, dtype: DType, groups: list[slice], plan: TilePlan) -> None:
        self.groups, self.outputs = groups, output_count(J)
        self.positions: list[int] = []  # number of positions of each part
        self.like = empty((0,), J.point.output.first, dtype)
        self.sources = Scratch(plan.room, plan.sources)
        kept, total = J.point.points, 0.0
        bare = cast(J._replace(point=J.point._replace(points=None)), dtype)
        for i, group in enumerate(groups):
            for k, part in enumerate(_parts(J, _of_samples(bare, group, kept))):
                total += float(part.diagonal())
                self.sources.put(("A", i, k), part.features)
                self.sources.put(("b", i, k), part.cotangents)
                if i == 0:
                    self.positions.append(part.positions)
        self.mean_diagonal = total / (groups[-1].stop * self.outputs)

    def tile(self, i: int, j: int) -> Array:
        """Return Theta between the samples of groups i and j; for i = j, fill only the lower triangle."""
        c = self.outputs
        g, h = (self.groups[at].stop - self.groups[at].start for at in (i, j))
        Theta = empty((c, g, c, h), self.like)
        terms = (term for k in range(len(self.positions)) for term in self._terms(k, i, j))
        write_terms(Theta, terms, lower=i == j)
        return array_namespace(Theta).reshape(Theta, (c * g, c * h))

    def _terms(self, k: int, i: int, j: int) -> Iterator[Held]:
        """Yield the terms of part k between the samples of groups i and j."""
        of_rows, of_columns = (
            SamplePart(self.sources.get(("A", at, k)), self.sources.get(("b", at, k)), self.positions[k])
            for at in (i, j)
        )
        return of_rows.products(None if i == j else of_columns)


def _parts(J: Jacobian, of_group: Jacobian) -> Iterator[SamplePart]:
    """Return the parts of Theta for a group of the samples of J, in the same form for all groups."""
    return parts_backward(of_group, whole=True, of_all=J.point.output.first.shape[0])


def _of_samples(J: Jacobian, group: slice, kept: Sequence[Point] | None = None) -> Jacobian:
    """Return J for a group of samples, with activations from a forward pass of this group.

    Features are copied from the `kept` points, if these exist, since a metric may have changed them.
    """
    x, R = J.point.input, J.outputs
    halves = Halves(x.first[group, :], x.second[group, :])
    point = walk(J.network.body.layers, J.params, halves, keep=True)
    if kept is not None:
        assert point.points is not None
        points = list(point.points)
        for k, layer in enumerate(J.network.body.layers):
            if not is_empty(J.params[k]) and has_map(with_features, type(layer)):
                rows = slice(group.start * positions(layer), group.stop * positions(layer))
                own = (cast(A[rows, :], halves.first.dtype) for A in row_features(layer, kept[k]))
                points[k] = with_features(layer, points[k], tuple(own))
        point = point._replace(points=tuple(points))
    R = R if R is None or R.ndim == 2 else R[group, ...]
    return J._replace(point=point, outputs=R, pulled=None)


def _width(J: Jacobian) -> int:
    """Return an upper bound on the number of elements per sample in all A_k and b_k."""
    c = output_count(J)
    parts = _parts(J, _of_samples(J, slice(0, 1)))
    return sum(A.shape[0] * A.shape[1] + c * b.shape[1] * b.shape[2] for A, b, *_ in parts)

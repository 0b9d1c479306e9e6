"""Factors by tiles equal factors of the whole matrix, for all tile sizes, in memory and on disk."""

import numpy as np
import pytest

from revgn.arrays import Scratch, to_host
from revgn.linalg import FactorInfo, PinvRule, cholesky_tiled, factor, project, solve_factored, with_info
from revgn.linalg.tiled import product_tiled, solve_tiled
from revgn.testing import assert_close, tolerance

N = 17
CUTS = {
    "ones": (1,) * 17,
    "threes": (3, 3, 3, 3, 3, 2),
    "sevens": (7, 7, 3),
    "whole": (17,),
    "uneven": (2, 9, 6),
}
ROOMS = {"disk": 0, "half": 600, "memory": 1 << 20}
SIZED = pytest.mark.parametrize("cut", CUTS)
PLACED = pytest.mark.parametrize(
    ("cut", "room"),
    [
        *(("ones", "disk"), ("threes", "half"), ("sevens", "memory")),
        *(("whole", "disk"), ("uneven", "half"), ("uneven", "disk")),
    ],
)


@pytest.fixture
def K(rng):  # noqa: N802
    A = rng.standard_normal((N, 2 * N))
    return A @ A.T / N


def tiled(K, library, dtype, cut, room, mu=0.0, order=None):
    """Factor K by tiles with its rows in a random order; also return the tiles that were formed."""
    order = np.random.default_rng(3).permutation(len(K)) if order is None else order
    asked, ends = [], np.cumsum((0, *CUTS[cut]))

    def form(i, j):
        asked.append((i, j))
        rows, columns = order[ends[i] : ends[i + 1]], order[ends[j] : ends[j + 1]]
        tile = K[np.ix_(rows, columns)]
        if i == j:
            tile = np.tril(tile) + np.triu(np.full(tile.shape, np.nan), k=1)
        return library.backend.asarray(tile, dtype=library.dtype(dtype)) + 0.0

    order_there = library.backend.asarray(order)
    return cholesky_tiled(form, mu, CUTS[cut], order_there, Scratch(ROOMS[room])), asked, order


@PLACED
def test_factor_equals_the_factor_of_the_whole(cut, room, K, backend, dtype):
    factored, asked, order = tiled(K, backend, dtype, cut, room, mu=0.3)
    L = np.zeros((N, N))
    ends = np.cumsum((0, *CUTS[cut]))
    count = len(CUTS[cut])
    assert asked == [(i, j) for j in range(count) for i in range(j, count)]
    for i, j in asked:
        L[ends[i] : ends[i + 1], ends[j] : ends[j + 1]] = to_host(factored.tiles.get((i, j)))
    expected = np.linalg.cholesky(K[np.ix_(order, order)] + 0.3 * np.eye(N))
    assert_close("L", np.tril(L), expected, tolerance(factored.dtype, "solve"))
    kept = factored.tiles.in_memory
    assert kept <= ROOMS[room]
    assert (factored.tiles.on_disk > 0) == (room != "memory")


@PLACED
def test_solution_and_product(cut, room, K, backend, dtype, rng):
    factored, _, _ = tiled(K, backend, dtype, cut, room)
    B = rng.standard_normal((N, 2))
    there = backend.asarray(B, dtype)
    limit = tolerance(there.dtype, "solve")
    X = solve_tiled(factored, there)
    assert_close("X", X, backend.asarray(np.linalg.solve(K, B), dtype), limit)
    assert_close("K B", product_tiled(factored, there), backend.asarray(K @ B, dtype), limit)
    assert np.array_equal(to_host(there), B.astype(dtype))
    assert_close("X in the ladder", solve_factored(factored, there), X, 0.0)
    assert project(factored, there) is there


@SIZED
def test_info_equals_the_info_of_the_whole(cut, K, backend):
    factored, _, _ = tiled(K, backend, "float64", cut, "disk", mu=0.1)
    like = backend.asarray(np.zeros((N, 0)))
    found = with_info(factored, N, like, 0.1, "cholesky")
    damping = 0.1 / float(np.mean(np.diag(K)))
    whole = factor(
        lambda _: backend.asarray(K) + 0.0, N, like, PinvRule(damping=damping), damping_scale="mean"
    )[1]
    assert isinstance(found[1], FactorInfo)
    assert found[1][:3] == whole[:3]
    assert found[1][3:] == pytest.approx(whole[3:], rel=1e-9)


@pytest.mark.parametrize("last", [-1.0, 0.0, np.nan])
def test_failure_returns_none(last, backend, dtype):
    K = np.diag([*np.ones(N - 1), last])
    for cut in CUTS:
        assert tiled(K, backend, dtype, cut, "disk", order=np.arange(N))[0] is None


@SIZED
def test_a_rank_lost_in_rounding_returns_none(cut, numpy_backend, rng):
    Q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    K = Q @ np.diag([*np.ones(N - 1), 1e-15]) @ Q.T
    factored, _, _ = tiled((K + K.T) / 2, numpy_backend, "float64", cut, "memory")
    assert factored is None or with_info(factored, N, np.zeros((N, 0)), 0.0, "cholesky") is None


def test_three_tiles_are_in_memory_at_a_time(numpy_backend, rng, monkeypatch):
    """Apart from stored tiles, memory holds only the tile that is computed and two that are read."""
    from revgn.arrays import pool

    size, count = 160, 6
    A = rng.standard_normal((size * count, 2 * size * count))
    K = A @ A.T
    fresh = pool._Pool()
    monkeypatch.setattr(pool, "_POOL", fresh)

    def form(i, j):
        tile = pool.empty((size, size), K)
        tile[...] = K[i * size : (i + 1) * size, j * size : (j + 1) * size]
        return tile

    cholesky_tiled(form, 0.0, (size,) * count, np.arange(size * count), Scratch(0))
    block = 8 * size**2
    assert 3 * block <= fresh.most_in_use <= 3 * 1.25 * block

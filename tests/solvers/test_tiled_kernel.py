"""The factorization by tiles gives the step and the info of the dense kernel, in bounded memory."""

import gc
import os

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, NetworkCase, network_case
from libraries import make_library

from revgn.arrays import HOST, Backend, limits_of, pool, to_host
from revgn.errors import MemoryShortageError, RunError, UsageError
from revgn.networks import Architecture, from_halves
from revgn.solvers import MinimumNorm, is_dense, jacobian, minimum_norm, plan_tiles, solve, tiled_kernel
from revgn.testing import assert_close, tolerance

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
BELOW = 1  # a memory bound in bytes that every kernel exceeds
CUPY = limits_of(Backend("cupy", None, None))


@pytest.fixture
def tiles(monkeypatch):
    """Return a function that fixes the samples of a tile, and the memory left for stored tiles."""

    def with_samples(samples, room=0):
        def plan(n, c, width, size, memory, limits):
            return tiled_kernel.TilePlan(min(samples, n), 0, 0, 0, room)

        monkeypatch.setattr(tiled_kernel, "plan_tiles", plan)

    return with_samples


def compare(J, eps, limit, damping=0.1, outputs="logits"):
    """Solve by tiles and as a whole, and compare the steps and the infos except for times."""
    D, info = solve(MinimumNorm(damping, outputs, memory=BELOW), J, eps)
    whole, whole_info = solve(MinimumNorm(damping, outputs), J, eps)
    assert_close("D", D, whole, limit)
    assert (info.rung, info.rank, info.order) == (whole_info.rung, whole_info.rank, whole_info.order)
    for name in ("rho", "s_max", "s_min", "damping"):
        # the rows are in another order for Lanczos, so that its estimates differ if it has not converged
        rel = 0.25 if name.startswith("s_") else max(limit, 1e-9)
        assert getattr(info, name) == pytest.approx(getattr(whole_info, name), rel=rel, abs=limit), name


@CASES
@pytest.mark.parametrize("samples", [1, 4])
def test_damped_step_equals_the_dense_step(case, samples, tiles, numpy_backend):
    """Also for rank-deficient kernels. n is 1 to 12, so that the last tile is often smaller."""
    tiles(samples)
    compare(*case.jacobian(numpy_backend), 1e-10)


@pytest.mark.parametrize(
    ("name", "room"),
    [("relu-same-keep", 0), ("gelu-identity-rebuild", 500), ("odd-d", 1 << 20), ("n=1", 0)],
)
def test_step_equals_the_dense_step_on_every_backend(name, room, tiles, backend, dtype):
    tiles(2, room)
    J, eps = network_case(name).jacobian(backend, dtype)
    compare(J, eps, tolerance(eps.dtype, "solve"))


@pytest.mark.parametrize("samples", [1, 2, 6])
@pytest.mark.parametrize("name", ["relu-same-keep", "tanh-same-rebuild"])
def test_undamped_step_is_the_moore_penrose_step_at_full_rank(name, samples, tiles, numpy_backend):
    tiles(samples)
    J, eps = network_case(name).jacobian(numpy_backend)
    compare(J, eps, 1e-8, damping=0.0)
    assert solve(MinimumNorm(memory=BELOW), J, eps)[1].rho < 1e-8


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("samples", [1, 4])
def test_step_with_combined_outputs_equals_the_dense_step(own, samples, tiles, numpy_backend):
    tiles(samples)
    J, eps = network_case("gelu-identity-rebuild").jacobian(numpy_backend)
    rng = np.random.default_rng(5)
    mixed = J._replace(outputs=rng.standard_normal((len(eps), 3, 2) if own else (3, 2)))
    compare(mixed, eps[:, :2], 1e-10)
    if not own:
        compare(J, eps, 1e-10, outputs="centered-logits")


def test_network_with_more_couplings_than_are_held_at_a_time(tiles, numpy_backend):
    tiles(4)
    J, eps = NetworkCase("deep", Architecture(4, 16, "tanh")).jacobian(numpy_backend)
    compare(J, eps, 1e-10)


def test_double_precision_is_used_if_single_precision_fails(tiles, numpy_backend):
    """Both rungs use tiles, or only the second if only the first one fits in memory as a whole."""
    tiles(2)
    J, eps = network_case("d=2").jacobian(numpy_backend, "float32")
    whole, expected = solve(MinimumNorm(1e-8), J, eps)
    assert expected.rung == "cholesky-float64"
    for memory in (BELOW, 4 * eps.size**2):
        D, info = solve(MinimumNorm(1e-8, memory=memory), J, eps)
        assert info.rung == "cholesky-float64"
        assert_close("D", D, whole, 1e-3)
        assert info.damping == pytest.approx(expected.damping, rel=1e-6)


def test_error_of_an_undamped_singular_kernel_states_the_remedy(tiles, numpy_backend):
    """The solver then needs an eigendecomposition, which is not available by tiles."""
    tiles(2)
    J, eps = network_case("repeated-rows").jacobian(numpy_backend)
    says = r"order 18 is singular up to rounding.*use damping > 0 or more memory"
    with pytest.raises(RunError, match=says):
        solve(MinimumNorm(memory=8 * 18**2), J, eps)
    info = solve(MinimumNorm(memory=6 * 8 * 18**2), J, eps)[1]
    assert (info.rung, info.rank) == ("eigh", 9)


def test_nonfinite_kernel_gives_a_nan_step_without_an_error(tiles, numpy_backend):
    tiles(2)
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    spoiled = J.params[0]._replace(weight=J.params[0].weight * np.nan)
    x = from_halves(J.network, J.point.input)
    _, J = jacobian(J.network, (spoiled, *J.params[1:]), x)
    D, info = solve(MinimumNorm(0.1, memory=BELOW), J, eps)
    assert np.isnan(info.rho)
    assert np.isnan(to_host(D[0].weight)).any()


@pytest.mark.parametrize(("n", "c"), [(1, 1), (6, 3), (100, 10), (1000, 2), (64, 100)])
@pytest.mark.parametrize("memory", [10**4, 10**6, 10**9])
def test_plan_respects_the_memory_bound(n, c, memory):
    width, size = 50, 4
    if memory < size * (3 * c**2 + 2 * width + 5):
        with pytest.raises(UsageError, match=r"memory: 10,000 B is not enough; tiles of single samples"):
            plan_tiles(n, c, width, size, memory)
        return
    plan = plan_tiles(n, c, width, size, memory)
    assert plan.at_work + plan.room == memory
    assert plan.samples == 1 or plan.at_work <= memory / 2
    assert 1 <= plan.samples <= -(-n // 8)
    assert plan.at_work >= size * (3 * (c * plan.samples) ** 2 + 2 * plan.samples * width)
    groups = tiled_kernel.pieces(n, plan.samples)
    tiles = [(g.stop - g.start, h.stop - h.start) for i, g in enumerate(groups) for h in groups[: i + 1]]
    assert plan.kernel == size * c**2 * sum(rows * columns for rows, columns in tiles)
    assert plan.sources == size * n * width
    assert plan.on_disk == max(0, plan.kernel + plan.sources - plan.room)


def test_stored_bytes_match_the_plan(numpy_backend, monkeypatch):
    """A solve stores as many bytes in memory and on disk as planned."""
    made = []

    class Watched(tiled_kernel.Scratch):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(tiled_kernel, "Scratch", Watched)
    J, eps = NetworkCase("wide", Architecture(2, 32, "tanh"), 16, 4, 50).jacobian(numpy_backend)
    memory = 80_000
    plan = plan_tiles(50, 4, tiled_kernel._width(J), 8, memory)
    solve(MinimumNorm(0.1, memory=memory), J, eps)
    sources, tiles = made
    assert tiles.in_memory + tiles.on_disk == plan.kernel
    shared = 3 * 4 * 8 * 8  # the last coupling's b is the same for all samples
    assert plan.sources - 8 * 50 * 4 * 8 <= sources.in_memory + sources.on_disk <= plan.sources + shared
    assert sources.in_memory + tiles.in_memory <= plan.room
    assert tiles.on_disk > 0


@pytest.mark.parametrize("memory", [10**6, 5 * 10**6])
def test_memory_is_bounded(memory, numpy_backend, monkeypatch):
    """The bound holds for all arrays of a solve with a kernel of 16 MB. The pool rounds up sizes slightly."""
    fresh = pool._Pool()
    monkeypatch.setattr(pool, "_POOL", fresh)
    case = NetworkCase("large", Architecture(2, 64), 64, 10, 200)
    J, eps = case.jacobian(numpy_backend, "float32")
    gc.collect()
    before = fresh.most_in_use = fresh.in_use
    _, info = solve(MinimumNorm(0.01, memory=memory), J, eps)
    assert fresh.most_in_use - before < 1.125 * memory
    assert info.rho == pytest.approx(solve(MinimumNorm(0.01), J, eps)[1].rho, rel=1e-4)


@pytest.mark.parametrize("fails", [KeyboardInterrupt, MemoryError])
def test_files_are_closed_on_failure(fails, tiles, numpy_backend, monkeypatch, tmp_path):
    """Ctrl-C or a memory error occurs during the factorization."""
    tiles(1)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    tile, calls = tiled_kernel._TiledKernel.tile, []

    def failing(self, i, j):
        calls.append((i, j))
        if (i, j) == (3, 2):
            raise fails
        return tile(self, i, j)

    def open_files():
        return [name for name in os.listdir("/proc/self/fd") if linked(name).startswith(str(tmp_path))]

    def linked(name):
        try:
            return os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            return ""

    monkeypatch.setattr(tiled_kernel._TiledKernel, "tile", failing)
    with pytest.raises(fails) as raised:
        solve(MinimumNorm(0.1, memory=BELOW), J, eps)
    assert calls[-1] == (3, 2)
    assert open_files() != [], "no tile was on disk, so the test is void"
    del raised
    gc.collect()
    assert open_files() == []
    assert list(tmp_path.iterdir()) == []


def test_tiles_respect_the_limits_of_the_library():
    """CuPy holds four tiles and the products of four parts at a time; no tile exceeds order 46,340."""
    memory, width = 1 << 41, 10
    host, device = (plan_tiles(200_000, 10, width, 4, memory, limits) for limits in (HOST, CUPY))
    assert (host.samples, device.samples) == (25_000, 4_546)  # 44 tiles in a row
    g = device.samples
    assert device.at_work == 4 * (4 * (10 * g) ** 2 + 2 * g * width + 5 * g**2 + 4 * 2048 * 16384)
    small = plan_tiles(80, 10, width, 4, memory, CUPY)
    assert small.at_work == 4 * (4 * 100**2 + 2 * 10 * width + 5 * 10**2 + 4 * 10 * 100)


def test_cupy_factors_a_copy_of_a_kernel_up_to_an_order():
    for rung, size in (("cholesky", 800), ("cholesky-float64", 1600), ("eigh", 6400)):
        assert is_dense(rung, 10, 4, size, CUPY)
        assert not is_dense(rung, 10, 4, size - 1, CUPY)
        assert is_dense(rung, 46_340, 4, None, CUPY)
        assert not is_dense(rung, 46_341, 4, None, CUPY)
        assert is_dense(rung, 46_341, 4, None)


def test_a_kernel_above_the_largest_order_of_the_library_is_factored_by_tiles(numpy_backend, monkeypatch):
    """The tiles use half of the machine's memory if no bound is given."""
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    whole, _ = solve(MinimumNorm(0.1), J, eps)
    monkeypatch.setattr(minimum_norm, "limits_of", lambda backend: HOST._replace(order=eps.size - 1))
    monkeypatch.setattr(minimum_norm, "lower_kernel", None)  # must not be called
    assert_close("D", solve(MinimumNorm(0.1), J, eps)[0], whole, 1e-10)


@pytest.mark.parametrize(
    "error", [MemoryError("no detail"), RuntimeError("cudaErrorMemoryAllocation: out of memory")]
)
def test_memory_error_states_the_bound_for_a_factorization_by_tiles(error, numpy_backend, monkeypatch):
    J, eps = NetworkCase("wide", Architecture(2, 32, "tanh"), 16, 4, 50).jacobian(numpy_backend)

    def failing(*arguments):
        raise error

    monkeypatch.setattr(minimum_norm, "lower_kernel", failing)
    order = eps.size
    says = rf"order {order} as a whole, which takes {8 * order**2:,} bytes; use memory={4 * order**2} "
    with pytest.raises(MemoryShortageError, match=says) as raised:
        solve(MinimumNorm(0.1), J, eps)
    assert raised.value.kernel_memory == 4 * order**2
    D, _ = solve(MinimumNorm(0.1, memory=raised.value.kernel_memory), J, eps)
    monkeypatch.undo()
    assert_close("D", D, solve(MinimumNorm(0.1), J, eps)[0], 1e-10)
    monkeypatch.setattr(tiled_kernel, "cholesky_tiled", failing)
    with pytest.raises(MemoryShortageError, match="even by tiles") as raised:
        solve(MinimumNorm(0.1, memory=4 * order**2), J, eps)
    assert raised.value.kernel_memory is None


def test_kernel_on_a_device_with_little_memory(stand_in):
    """The device has memory for 1.5 kernels: too little for a kernel and its copy, enough for tiles."""
    J, eps = NetworkCase("wide", Architecture(1, 16), 16, 8, 100).jacobian(make_library("cupy"), "float32")
    order, pool = eps.size, stand_in.get_default_memory_pool()
    whole, _ = solve(MinimumNorm(0.1), J, eps)
    gc.collect()
    pool.set_limit(size=pool.used_bytes() + 6 * order**2)
    try:
        with pytest.raises(MemoryShortageError) as raised:
            solve(MinimumNorm(0.1), J, eps)
        bound = raised.value.kernel_memory
        assert bound == 4 * order**2
        del raised
        D, _ = solve(MinimumNorm(0.1, memory=bound), J, eps)
    finally:
        pool.set_limit(size=0)
    for one, other in zip(D, whole, strict=True):
        assert_close("D", to_host(one.weight), to_host(other.weight), 1e-4)


def test_other_errors_are_not_converted(numpy_backend, monkeypatch):
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    monkeypatch.setattr(minimum_norm, "lower_kernel", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        solve(MinimumNorm(0.1), J, eps)


def test_kernels_that_fit_in_memory_are_factored_as_a_whole():
    assert [is_dense(rung, 10, 4, None) for rung in ("cholesky", "eigh")] == [True, True]
    for rung, size in (("cholesky", 400), ("cholesky-float64", 800), ("eigh", 4800)):
        assert is_dense(rung, 10, 4, size)
        assert not is_dense(rung, 10, 4, size - 1)

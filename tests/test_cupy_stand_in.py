"""The stand-in holds code to the rules of CuPy: what would fail or wait on a GPU fails or is counted here."""

import sys

import array_api_compat
import numpy as np
import pytest
import scipy.special
from stand_in import cupy_stand_in

from revgn.arrays import array_namespace, cupy_absence, select_backend


@pytest.fixture
def cp(stand_in):
    return stand_in


def test_it_is_cupy_within_and_not_afterwards():
    before = sys.modules.get("cupy")
    for _ in range(2):
        with cupy_stand_in() as cupy:
            x = select_backend("auto").asarray([1.0, 2.0])
            assert isinstance(x, cupy.ndarray)
            assert array_api_compat.is_cupy_array(x)
            assert array_namespace(x).__name__ == "array_api_compat.cupy"
            assert cupy_absence() is None
    assert sys.modules.get("cupy") is before


@pytest.mark.parametrize(
    "mix",
    [
        np.asarray,
        np.sum,
        np.linalg.norm,
        lambda x: np.array([x, x]),
        lambda x: x + np.ones(2),
        lambda x: np.ones(2) * x,
        lambda x: x @ np.ones(2),
        lambda x: x.__setitem__(0, np.ones(1)),
        scipy.special.erf,
    ],
)
def test_nothing_comes_to_the_host_unasked(mix, cp):
    with pytest.raises((TypeError, ValueError)):
        mix(cp.ones(2))


def test_numbers_are_taken(cp):
    x = np.float32(2.0) * cp.ones(2, dtype=cp.float32) + 1.0
    assert (x.dtype, x.get().tolist()) == (np.float32, [3.0, 3.0])
    assert (np.float64(2.0) * x).dtype == np.float64


def test_results_are_row_major_and_those_of_cusolver_column_major(cp):
    from cupyx.scipy.linalg import solve_triangular

    A = cp.asarray(np.arange(12.0).reshape(3, 4))
    assert A.T.flags.f_contiguous
    assert (A.T + 0.0).flags.c_contiguous
    assert cp.concatenate([A.T, A.T]).flags.c_contiguous
    K = A @ A.T + cp.eye(3)
    L = cp.linalg.cholesky(K)
    assert L.flags.c_contiguous
    assert cp.linalg.eigh(K)[1].flags.f_contiguous
    X = solve_triangular(L, A, lower=True)
    assert X.flags.f_contiguous
    assert np.allclose((L @ X).get(), A.get())


def test_a_failed_factorization_raises_only_on_request(cp):
    import cupyx

    K = cp.asarray(np.diag([1.0, -1.0]))
    with cp.counting() as counts:
        assert np.isfinite(cp.linalg.cholesky(K).get()).all()
    assert sum(counts.waits.values()) == 1  # that of get
    with cp.counting() as counts, cupyx.errstate(linalg="raise"), pytest.raises(np.linalg.LinAlgError):
        cp.linalg.cholesky(K)
    assert [key.partition(" at ")[0] for key in counts.waits] == ["state of cholesky"]


@pytest.mark.parametrize(
    "wait", [float, bool, lambda x: x.item(), lambda x: x.get(), lambda x: f"{x:.1f}", lambda x: x[x > 0]]
)
def test_waits_are_counted_where_they_happen(wait, cp):
    x = cp.asarray(2.0)
    with cp.counting() as counts:
        wait(x)
    ((place, number),) = counts.waits.items()
    assert number == 1
    assert "test_cupy_stand_in.py:" in place
    assert not counts.uploads


def test_launches_copies_and_uploads(cp):
    A = cp.asarray(np.ones((4, 6)))
    with cp.counting() as counts:
        A[:, ::2] @ A[:, ::2].T  # both operands are neither row-major nor column-major
    assert [sum(each.values()) for each in (counts.launches, counts.copies, counts.uploads)] == [3, 2, 0]
    with cp.counting() as counts:
        cp.asarray([1.0])
        A[[0, 1]]
    assert sum(counts.uploads.values()) == 2
    with cp.counting() as counts:
        A.T.reshape(-1)
        A.reshape(-1)
    assert sum(counts.copies.values()) == 1


def test_memory_is_limited(cp):
    pool = cp.get_default_memory_pool()
    before = pool.used_bytes()
    pool.set_limit(size=before + 1000)
    try:
        x = cp.zeros(100)
        assert pool.used_bytes() == before + 800
        with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating 800 bytes"):
            cp.zeros(100)
        y = x[::2]  # a view takes none, and keeps the memory
        del x
        assert pool.used_bytes() == before + 800
        del y
        assert pool.used_bytes() == before
    finally:
        pool.set_limit(size=0)


def test_an_unset_array_is_not_zero(cp):
    assert np.isnan(cp.empty(3).get()).all()


class TestElementwiseKernel:
    def test_formula(self, cp, rng):
        """The terms of C, against NumPy's."""
        kernel = cp.ElementwiseKernel(
            "T x, raw T scale, float64 shift, bool mask",
            "T y, bool big",
            """
            const T s = x * scale[0];  // a comment
            T t = mask ? exp(-s * s) : (T)shift;
            t += s > 0 && !mask ? T(1) : 0;
            y = fmax(t, static_cast<T>(0.5)) / 2;
            big = y >= 1.0f;
            """,
            "revgn_test",
        )
        x, mask = rng.standard_normal((4, 3)), rng.random(3) > 0.5
        y, big = kernel(cp.asarray(x), cp.asarray([2.0]), 0.25, cp.asarray(mask))
        s = 2.0 * x
        expected = np.fmax(np.where(mask, np.exp(-s * s), 0.25) + ((s > 0) & ~mask), 0.5) / 2
        np.testing.assert_allclose(y.get(), expected, rtol=1e-15)
        assert np.array_equal(big.get(), expected >= 1)

    def test_numbers_have_the_types_of_c(self, cp):
        """1.1 is double, and so is a sum with it; 1.1f is float. The quotient of integers is an integer."""
        x = cp.asarray(np.float32([1.0]))
        for code, expected in (
            ("double t = x + 1.1; y = t;", 1.0 + 1.1),
            ("double t = x + 1.1f; y = t;", float(np.float32(1.0) + np.float32(1.1))),
            ("float t = x + 1.1; y = t;", float(np.float32(2.1))),
            ("y = 7 / 2 + x * 0;", 3.0),
        ):
            assert cp.ElementwiseKernel("float32 x", "float64 y", code, "k")(x).get()[0] == expected

    def test_results_are_written_to_the_given_array(self, cp):
        x, y = cp.ones((2, 3)), cp.ones((2, 3))
        kernel = cp.ElementwiseKernel("T x", "T y", "y = x + y", "k")
        with cp.counting() as counts:
            assert kernel(x, y) is y
        assert sum(counts.launches.values()) == 1
        assert y.get().tolist() == [[2.0] * 3] * 2
        with pytest.raises(ValueError, match="Out shape is mismatched"):
            kernel(x, cp.ones((1, 3)))

    def test_functions_of_a_preamble(self, cp):
        preamble = "template <class T> __device__ T where(bool c, T a, T b) { return c ? a : b; }"
        x = cp.asarray([-1.0, 2.0])
        kernel = cp.ElementwiseKernel("T x", "T y", "y = where(x > 0, x, x * x)", "k", preamble=preamble)
        assert kernel(x).get().tolist() == [1.0, 2.0]
        kernel = cp.ElementwiseKernel("T x", "T y", "y = where(x > 0, x, 0.0f)", "k", preamble=preamble)
        with pytest.raises(TypeError, match="T is deduced as float32 and float64"):
            kernel(x)

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("y = z", "no variable z"),
            ("y = gamma(x)", "no function gamma"),
            ("x = 1.0", "x is not declared, or is an input"),
            ("t = x; y = t", "t is not declared"),
            ("y = x $ 2", "not understood"),
            ("y = (x", "where"),
            ("for (int k = 0; k < 2; k++) y = x;", "no variable int"),
        ],
    )
    def test_wrong_code_is_refused(self, code, error, cp):
        kernel = cp.ElementwiseKernel("T x", "T y", code, "k")
        with pytest.raises(SyntaxError, match=error):
            kernel(cp.ones(2))

    @pytest.mark.parametrize("wrong", [lambda cp: cp.ones(2, dtype=cp.float32), lambda cp: np.ones(2)])
    def test_wrong_arrays_are_refused(self, wrong, cp):
        kernel = cp.ElementwiseKernel("T x, T z", "T y", "y = x + z", "k")
        with pytest.raises(TypeError, match=r"Type is mismatched|Unsupported type"):
            kernel(cp.ones(2), wrong(cp))


def test_a_fused_function_is_one_launch(cp):
    fused, x = cp.fuse(lambda x, y: cp.sqrt(x * x + y)), cp.ones(2)
    with cp.counting() as counts:
        found = fused(x, 3.0)
    assert sum(counts.launches.values()) == 1
    assert found.get().tolist() == [2.0, 2.0]


def test_streams_and_events(cp):
    before, after = cp.cuda.Event(), cp.cuda.Event()
    with cp.cuda.Stream(non_blocking=True) as stream:
        before.record(stream)
        after.record(stream)
    with cp.counting() as counts:
        after.synchronize()
    assert sum(counts.waits.values()) == 1
    assert cp.cuda.get_elapsed_time(before, after) >= 0

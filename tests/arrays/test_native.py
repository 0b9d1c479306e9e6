"""Functions that differ between libraries give the same results."""

import numpy as np
import pytest
import scipy.special

from revgn.arrays import cholesky, cholesky_solve, eigh, erf, subtract_product, to_host, triangular_solve
from revgn.testing import assert_close, tolerance


@pytest.fixture
def K(rng):  # noqa: N802
    A = rng.standard_normal((5, 9))
    return A @ A.T


def test_cholesky_reads_the_lower_triangle(K, backend, dtype):
    lower_only = np.tril(K) + np.triu(np.full(K.shape, 7e7), k=1)
    given = backend.asarray(lower_only, dtype)
    L = cholesky(given)
    expected = backend.asarray(np.linalg.cholesky(K), dtype)
    assert_close("L", L, expected, tolerance(L.dtype, "map") * 10)  # a factor of condition about 10
    assert np.array_equal(to_host(given), lower_only.astype(dtype)), "K was changed without overwrite"


def test_cholesky_may_overwrite(K, backend):
    L = cholesky(backend.asarray(K) + 0.0, overwrite=True)
    assert_close("L", L, backend.asarray(np.linalg.cholesky(K)), 1e-12)


def test_cholesky_of_no_rows(backend, dtype):
    """Such a matrix occurs in the blocks of a preconditioner without directions."""
    L = cholesky(backend.asarray(np.empty((0, 0)), dtype))
    assert L is not None
    assert L.shape == (0, 0)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_cholesky_returns_none_after_a_failure(bad, backend, dtype):
    K = np.diag([1.0, bad, 1.0])
    if np.isnan(bad):
        K[:, 1] = K[1, :] = bad
    assert cholesky(backend.asarray(K, dtype)) is None


def test_a_matrix_of_order_zero_is_factored(backend):
    """Such a matrix occurs in a preconditioner without directions."""
    L = cholesky(backend.asarray(np.zeros((0, 0))))
    assert L is not None
    assert L.shape == (0, 0)


def test_cholesky_solve(K, backend, dtype, rng):
    B = rng.standard_normal((5, 2))
    L = backend.asarray(np.linalg.cholesky(K), dtype)
    X = cholesky_solve(L, backend.asarray(B, dtype))
    assert_close("X", X, backend.asarray(np.linalg.solve(K, B), dtype), tolerance(L.dtype, "solve"))


@pytest.mark.parametrize("order", [0, 1, 5, 40])
def test_eigh_reads_the_lower_triangle(order, backend, dtype, rng):
    A = rng.standard_normal((order, 2 * order))
    K = A @ A.T
    w, Q = eigh(backend.asarray(np.tril(K) + np.triu(np.full(K.shape, 7e7), k=1), dtype))
    assert_close("w", w, backend.asarray(np.linalg.eigvalsh(K), dtype), tolerance(w.dtype, "map") * 10)
    assert_close("Q w Q^T", (Q * w) @ Q.T, backend.asarray(K, dtype), tolerance(w.dtype, "map") * 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_eigh_of_numbers_that_are_not_finite(bad, backend, dtype):
    K = np.eye(3)
    K[2, 0] = bad
    for found in eigh(backend.asarray(K, dtype)):
        assert np.isnan(to_host(found)).all()


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_a_failure_of_eigh_on_a_device_gives_nan_without_a_wait(scale, stand_in, monkeypatch, rng):
    """CuPy returns numbers without meaning then."""
    A = rng.standard_normal((6, 8))
    K = stand_in.asarray(scale * (A @ A.T))
    with stand_in.counting() as counts:
        found = eigh(K)
    assert not counts.waits
    assert np.isfinite(to_host(found[0])).all()

    def fails(*_):
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(np.linalg, "eigh", fails)
    for found in eigh(K):
        assert np.isnan(to_host(found)).all()


def test_erf(backend, dtype):
    x = np.linspace(-4, 4, 17)
    expected = backend.asarray(scipy.special.erf(x), dtype)
    assert_close("erf", erf(backend.asarray(x, dtype)), expected, tolerance(expected.dtype, "map"))


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (3, 1)])
def test_subtract_product(shape, backend, dtype, rng):
    n, m = shape
    S, A, B = rng.standard_normal((n, m)), rng.standard_normal((n, 6)), rng.standard_normal((m, 6))
    found = subtract_product(backend.asarray(S, dtype) + 0.0, *(backend.asarray(X, dtype) for X in (A, B)))
    assert_close("S - A B^T", found, backend.asarray(S - A @ B.T, dtype), 10 * tolerance(found.dtype, "map"))


def test_subtract_gram_is_correct_in_the_lower_triangle(backend, dtype, rng):
    S, A = rng.standard_normal((5, 5)), backend.asarray(rng.standard_normal((5, 3)), dtype)
    found = to_host(subtract_product(backend.asarray(S, dtype) + 0.0, A, A))
    expected = S - to_host(A).astype(float) @ to_host(A).T
    assert np.allclose(np.tril(found), np.tril(expected), atol=1e-5 if dtype == "float32" else 1e-13)


def test_tiles_are_changed_in_place(rng):
    S, A, B = rng.standard_normal((4, 3)), rng.standard_normal((4, 6)), rng.standard_normal((3, 6))
    assert np.shares_memory(subtract_product(S, A, B), S)
    square = rng.standard_normal((4, 4))
    assert np.shares_memory(subtract_product(square, A, A), square)
    L = np.linalg.cholesky(B @ B.T)
    assert np.shares_memory(triangular_solve(L, S.T, overwrite=True), S)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_triangular_solve(transposed, columns, K, backend, dtype, rng):
    L, B = np.linalg.cholesky(K), rng.standard_normal((5, columns))
    given = backend.asarray(B, dtype)
    X = triangular_solve(backend.asarray(L, dtype), given, transposed=transposed)
    expected = backend.asarray(np.linalg.solve(L.T if transposed else L, B), dtype)
    assert_close("X", X, expected, tolerance(X.dtype, "solve"))
    assert np.array_equal(to_host(given), B.astype(dtype))

"""Gram matrices."""

import numpy as np
import pytest

from revgn.arrays import to_host, unwarned
from revgn.linalg import add_diagonal, as_dtype, gram_columns, gram_rows, norm, norms
from revgn.testing import assert_close, tolerance


def test_both_sides(backend, dtype, rng):
    A = rng.standard_normal((4, 7))
    limit = tolerance(backend.dtype(dtype), "map")
    assert_close("rows", gram_rows(backend.asarray(A, dtype)), backend.asarray(A @ A.T, dtype), limit)
    assert_close("columns", gram_columns(backend.asarray(A, dtype)), backend.asarray(A.T @ A, dtype), limit)


def test_gram_matrix_in_double_precision(backend, rng):
    A = backend.asarray(rng.standard_normal((4, 7)), "float32")
    K = gram_rows(A, backend.dtype("float64"))
    exact = to_host(A).astype(float)
    assert_close("rows", K, backend.asarray(exact @ exact.T), 1e-14)


def test_diagonal_is_added_in_place(backend, rng):
    K = rng.standard_normal((3, 3))
    ours = backend.asarray(K) + 0.0
    assert add_diagonal(ours, 0.25) is None
    assert_close("K + mu I", ours, backend.asarray(K + 0.25 * np.eye(3)), 0.0)


def test_same_dtype_is_the_same_array(backend):
    A = backend.asarray(np.ones((2, 2)), "float32")
    assert as_dtype(A, None) is A
    assert as_dtype(A, backend.dtype("float32")) is A
    assert as_dtype(A, backend.dtype("float64")).dtype == backend.dtype("float64")


def test_norm(backend):
    assert norm(backend.asarray([[3.0, 0.0], [0.0, 4.0]])) == pytest.approx(5.0)


def test_norms_are_scaled_if_squares_leave_the_range(backend):
    X = [np.array([3.0, 4.0]), np.array([1e-30, 0.0]), np.array([1e30, 1e30]), np.zeros(2)]
    with unwarned():
        found = norms(*(backend.asarray(x, "float32") for x in X))
    assert found == pytest.approx([5.0, 1e-30, 2**0.5 * 1e30, 0.0], rel=1e-6)


@pytest.mark.parametrize("kind", [float, np.float64, np.asarray])
def test_mu_is_rounded_before_it_is_added(kind, rng):
    """Although NumPy's float64 is a float, a sum with it is computed in double precision."""
    K = rng.standard_normal((100, 100)).astype(np.float32)
    ours, expected = K.copy(), K + np.float32(1 / 3) * np.eye(100, dtype=np.float32)
    add_diagonal(ours, kind(1 / 3))
    np.testing.assert_array_equal(ours, expected)

"""Gram matrices."""

import numpy as np
import pytest

from revgn.arrays import to_host
from revgn.linalg import add_diagonal, as_dtype, gram_columns, gram_rows, norm
from revgn.testing import assert_close, tolerance


def test_both_sides(backend, dtype, rng):
    A = rng.standard_normal((4, 7))
    limit = tolerance(backend.dtype(dtype), "map")
    assert_close("rows", gram_rows(backend.asarray(A, dtype)), backend.asarray(A @ A.T, dtype), limit)
    assert_close("columns", gram_columns(backend.asarray(A, dtype)), backend.asarray(A.T @ A, dtype), limit)


def test_in_a_finer_dtype(backend, rng):
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

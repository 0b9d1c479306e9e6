"""What the libraries do differently must come out the same."""

import numpy as np
import pytest
import scipy.special

from revgn.arrays import cholesky, cholesky_solve, erf, to_host
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
    assert np.array_equal(to_host(given), lower_only.astype(dtype)), "K was destroyed unasked"


def test_cholesky_may_overwrite(K, backend):
    L = cholesky(backend.asarray(K) + 0.0, overwrite=True)
    assert_close("L", L, backend.asarray(np.linalg.cholesky(K)), 1e-12)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_cholesky_that_fails_is_none(bad, backend, dtype):
    K = np.diag([1.0, bad, 1.0])
    if np.isnan(bad):
        K[:, 1] = K[1, :] = bad
    assert cholesky(backend.asarray(K, dtype)) is None


def test_cholesky_solve(K, backend, dtype, rng):
    B = rng.standard_normal((5, 2))
    L = backend.asarray(np.linalg.cholesky(K), dtype)
    X = cholesky_solve(L, backend.asarray(B, dtype))
    assert_close("X", X, backend.asarray(np.linalg.solve(K, B), dtype), tolerance(L.dtype, "solve"))


def test_erf(backend, dtype):
    x = np.linspace(-4, 4, 17)
    expected = backend.asarray(scipy.special.erf(x), dtype)
    assert_close("erf", erf(backend.asarray(x, dtype)), expected, tolerance(expected.dtype, "map"))

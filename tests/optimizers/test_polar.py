"""Polar factors: both methods equal a function of the singular values, and are nearly orthogonal."""

import numpy as np
import pytest

from revgn.arrays import to_host, unwarned
from revgn.optimizers.polar import RATIONAL, polar_factor
from revgn.testing import assert_close

SHAPES = [(12, 5), (5, 12), (7, 7), (1, 6), (6, 1), (1, 1)]
LEAST = 2e-3


def polynomial(s):
    """A singular value after five steps with the published coefficients."""
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


def rational(s):
    d, numerators, poles = RATIONAL
    return s * (d + sum(a / (s**2 + c) for a, c in zip(numerators, poles, strict=True)))


METHODS = {"newton-schulz": (polynomial, 0.68, 1.21), "rational": (rational, 0.84, 1.16)}
METHOD = pytest.mark.parametrize("method", METHODS)
SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def drawn(shape, smallest):
    """U, s, V^T of a matrix whose singular values are spread from 1 to `smallest`."""
    rng, rank = np.random.default_rng(50), min(shape)
    U, _ = np.linalg.qr(rng.standard_normal((shape[0], rank)))
    V, _ = np.linalg.qr(rng.standard_normal((shape[1], rank)))
    return U, np.geomspace(1.0, smallest, rank), V.T


@METHOD
@SHAPE
def test_singular_values_follow_the_function_and_vectors_do_not_change(shape, method, numpy_backend):
    U, s, Vt = drawn(shape, 0.05)
    expected = (U * METHODS[method][0](s / np.linalg.norm(s))) @ Vt
    assert_close("U f(s) V^T", polar_factor(method, 7.0 * (U * s) @ Vt), expected, 1e-11)


@METHOD
@SHAPE
def test_the_result_is_nearly_orthogonal(shape, method, backend, dtype):
    """At any scale; the distance from U V^T in the spectral norm follows from the interval."""
    U, s, Vt = drawn(shape, 0.01)
    X = polar_factor(method, backend.asarray(1e-9 * (U * s) @ Vt, dtype))
    assert X.dtype == backend.dtype(dtype)
    X, (_, low, high) = np.asarray(to_host(X), dtype=np.float64), METHODS[method]
    found = np.linalg.svd(X, compute_uv=False)
    assert (found > low).all()
    assert (found < high).all()
    assert np.linalg.norm(X - U @ Vt, 2) < max(1 - low, high - 1) + 0.01


@METHOD
def test_singular_values_above_a_five_hundredth_are_mapped_into_the_interval(method):
    function, low, high = METHODS[method]
    found = function(np.geomspace(LEAST, 1.0, 100_000))
    assert found.min() > low
    assert found.max() < high


def test_the_rational_function_is_the_best_of_its_type():
    """Its error has the same size, with alternating signs, at six points (Chebyshev's criterion)."""
    error = rational(np.geomspace(LEAST, 1.0, 400_001)) - 1
    inside = np.flatnonzero(np.diff(np.sign(np.diff(error)))) + 1
    extremes = error[[0, *inside, -1]]
    assert len(extremes) == 2 * len(RATIONAL.poles) + 2
    assert (np.sign(extremes[1:]) == -np.sign(extremes[:-1])).all()
    np.testing.assert_allclose(np.abs(extremes), np.abs(extremes[0]), rtol=1e-6)


@METHOD
def test_single_precision_keeps_weak_directions(method, numpy_backend):
    """As in double precision, although the Gram matrix squares the singular values."""
    U, s, Vt = drawn((60, 40), 1e-3)
    X = polar_factor(method, ((U * s) @ Vt).astype(np.float32))
    expected = METHODS[method][0](s / np.linalg.norm(s))
    np.testing.assert_allclose(np.diagonal(U.T @ X @ Vt.T), expected, atol=0.01)


@METHOD
def test_zero_stays_zero(method, backend, dtype):
    assert not to_host(polar_factor(method, backend.asarray(np.zeros((4, 3)), dtype))).any()


@METHOD
def test_a_matrix_that_is_not_finite_gives_nan(method, numpy_backend):
    with unwarned():
        assert np.isnan(polar_factor(method, np.full((4, 3), np.nan))).all()

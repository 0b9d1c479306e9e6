"""Spectra against dense references; estimates from products within their standard errors."""

import math

import numpy as np
import pytest

from revgn.analysis import (
    estimate_alignment,
    estimate_alignment_along,
    estimate_change,
    kernel_alignment,
    kernel_change,
    spectrum,
)
from revgn.errors import UsageError


def test_a_known_spectrum():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    found = spectrum(Q @ np.diag([8.0, 4.0, 2.0, 1.0, 1.0]) @ Q.T)
    np.testing.assert_allclose(found.eigenvalues, [8, 4, 2, 1, 1], rtol=1e-12)
    shares = np.array([8, 4, 2, 1, 1]) / 16
    assert found.trace == pytest.approx(16)
    assert found.effective_rank == pytest.approx(2 ** -np.sum(shares * np.log2(shares)))
    assert found.condition == pytest.approx(8)


def test_a_kernel_of_rank_one_and_a_zero_kernel():
    v = np.arange(1.0, 5.0)
    found = spectrum(np.outer(v, v))
    assert found.effective_rank == pytest.approx(1.0, abs=1e-9)
    assert found.condition > 1e12
    nothing = spectrum(np.zeros((3, 3)))
    assert (nothing.effective_rank, nothing.trace, nothing.condition) == (0.0, 0.0, math.inf)
    assert spectrum(np.eye(7)).effective_rank == pytest.approx(7.0)


def test_a_kernel_that_is_not_finite_has_no_rank():
    found = spectrum(np.diag([1.0, math.nan]))
    assert all(map(math.isnan, (found.trace, found.effective_rank, found.condition)))


def test_estimates_lie_within_their_standard_errors():
    """About two thirds of 200 estimates lie within one standard error, and nearly all within three."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((30, 40)), rng.standard_normal((30, 40))
    K, L = A @ A.T, A @ A.T + B @ B.T
    like = np.zeros((10, 3))

    y = rng.standard_normal((10, 3))
    along = y.ravel() @ K @ y.ravel() / (np.linalg.norm(K) * np.sum(y * y))

    def product(M):
        return lambda v: (M @ v.reshape(-1)).reshape(10, 3)

    for exact, estimate in (
        (kernel_alignment(K, L), lambda: estimate_alignment(product(K), product(L), like, 20, rng)),
        (along, lambda: estimate_alignment_along(product(K), y, 20, rng)),
        (kernel_change(K, L), lambda: estimate_change(product(K), product(L), like, 20, rng)),
    ):
        found = [estimate() for _ in range(200)]
        away = np.array([abs(each.value - exact) / each.error for each in found])
        assert 0.5 < np.mean(away < 1) < 0.8
        assert np.mean(away < 3) > 0.93
        assert np.mean([each.value for each in found]) == pytest.approx(exact, rel=0.02)


def test_one_random_vector_gives_no_standard_error():
    found = estimate_alignment(lambda v: v, lambda v: v, np.zeros((3, 2)), 1, np.random.default_rng(0))
    assert found.value == 1.0
    assert math.isnan(found.error)
    with pytest.raises(UsageError, match="probes: 0"):
        estimate_alignment(lambda v: v, lambda v: v, np.zeros((3, 2)), 0, np.random.default_rng(0))


@pytest.mark.parametrize("probes", [1, 3])
def test_the_alignment_with_zero_is_not_a_number(probes):
    ones, zeros = np.ones((3, 2)), np.zeros((3, 2))

    def rng():
        return np.random.default_rng(0)

    for found in (
        estimate_alignment(lambda v: v, lambda v: 0 * v, ones, probes, rng()),
        estimate_alignment_along(lambda v: v, zeros, probes, rng()),
        estimate_alignment_along(lambda v: 0 * v, ones, probes, rng()),
    ):
        assert all(map(math.isnan, found))

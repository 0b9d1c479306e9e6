"""Largest eigenvalue by Lanczos, compared with decompositions."""

import math

import numpy as np
import pytest

from revgn.linalg import PinvRule, factor_pinv, largest_eigenvalue


def random(rng, n, m):
    return rng.standard_normal((n, m))


def low_rank(rng, n, m):
    return rng.standard_normal((n, 3)) @ rng.standard_normal((3, m))


def relu_features(rng, n, m):
    return np.maximum(rng.standard_normal((n, 5)) @ rng.standard_normal((5, m)), 0.0)


def clustered(rng, n, m, spread=1e-4):
    """Matrix with half of its singular values within `spread` of the largest."""
    k = min(n, m)
    s = np.concatenate([1 - spread * rng.random(k // 2), 0.5 * rng.random(k - k // 2)])
    U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (n, m))
    return (U * s) @ V.T


@pytest.mark.parametrize("draw", [random, low_rank, relu_features, clustered])
@pytest.mark.parametrize("shape", [(60, 150), (150, 60), (100, 100), (1, 7), (7, 1)], ids=str)
def test_damping_is_relative_to_the_largest_singular_value(draw, shape, backend, dtype, rng):
    """Damping and s_max are accurate to 1e-6."""
    A = draw(rng, *shape)
    info = factor_pinv(backend.asarray(A, dtype), PinvRule(damping=0.1)).info
    square = np.linalg.norm(A, 2) ** 2
    assert info.rung == "cholesky"
    assert info.damping == pytest.approx(0.1 * square, rel=1e-6)
    assert info.s_max == pytest.approx(math.sqrt(1.1 * square), rel=1e-6)


@pytest.mark.parametrize(
    "others",
    [0.999 * np.ones(399), np.linspace(0, 1, 399), 1 - 1e-6 * np.arange(399), np.zeros(399)],
    ids=["behind-a-cluster", "dense", "close", "alone"],
)
def test_the_largest_eigenvalue_of_many(others):
    values = np.append(others, 1.0)
    found = largest_eigenvalue(lambda x: values[:, None] * x, 400, values, 1e-6)
    assert 1 - 1e-6 <= found <= 1 + 1e-12


def test_a_large_spectral_gap_takes_few_products(rng):
    K = relu_features(rng, 300, 400)
    K, count = K @ K.T, []

    def product(x):
        count.append(1)
        return K @ x

    exact = np.linalg.eigvalsh(K)[-1]
    assert largest_eigenvalue(product, 300, K, 1e-6) == pytest.approx(exact, rel=1e-9)
    assert len(count) <= 12


def test_zero_and_nan():
    like = np.zeros(3)
    assert largest_eigenvalue(lambda x: 0.0 * x, 3, like, 1e-6) == 0.0
    assert math.isnan(largest_eigenvalue(lambda x: math.nan * x, 3, like, 1e-6))

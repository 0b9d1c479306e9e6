"""Estimates of extreme eigenvalues, compared with decompositions and Lanczos."""

import math

import numpy as np
import pytest

from revgn.arrays import read
from revgn.linalg.extremes import begin_extremes


def of_product(K, library, dtype):
    K = library.asarray(K, dtype)
    return K, lambda x: K @ x


SPECTRA = {
    "even": np.linspace(1, 2, 60),
    "wide": 10.0 ** -np.linspace(0, 4, 60),
    "one stands out": np.append(1e3, np.linspace(0.5, 1, 59)),
    "small": np.array([3.0, 1.0]),
    "single": np.array([2.0]),
}


@pytest.fixture(params=SPECTRA.values(), ids=SPECTRA)
def matrix(request, rng):
    Q = np.linalg.qr(rng.standard_normal((len(request.param),) * 2))[0]
    return Q @ np.diag(request.param) @ Q.T


def test_both_ends_of_the_spectrum_are_estimated_from_inside(matrix, backend, dtype):
    """The estimates are accurate to some percent and, up to rounding, never outside the spectrum."""
    w = np.linalg.eigvalsh(matrix)
    like, product = of_product(matrix, backend, dtype)
    _, solve = of_product(np.linalg.inv(matrix), backend, dtype)
    largest, of_inverse = read(begin_extremes((product, solve), len(w), like))
    rounding = 1e-5 if dtype == "float32" else 1e-11
    assert 0.9 * w[-1] <= largest <= w[-1] * (1 + rounding)
    assert 0.85 / w[0] <= of_inverse <= (1 + rounding) / w[0]


def test_five_products_give_the_value_of_lanczos(rng):
    A = rng.standard_normal((80, 100))
    K, count = A @ A.T, []

    def product(x):
        count.append(1)
        return K @ x

    (found,) = read(begin_extremes((product,), 80, K))
    y = np.sin(1.7 * np.arange(1, 81) ** 2)
    Q = np.linalg.qr(np.stack([np.linalg.matrix_power(K / 300, k) @ y for k in range(5)], axis=1))[0]
    assert found == pytest.approx(np.linalg.eigvalsh(Q.T @ K @ Q)[-1], rel=1e-8)
    assert len(count) == 5


def test_scale_does_not_matter(rng):
    """K^5 y leaves the range of single precision long before K."""
    A = rng.standard_normal((30, 40)).astype(np.float32)
    for scale in (1e-25, 1e-15, 1.0, 1e15, 1e25):
        K = np.float32(scale) * (A @ A.T)
        (found,) = read(begin_extremes((lambda x, K=K: K @ x,), 30, K))
        assert found / scale == pytest.approx(np.linalg.norm(A, 2) ** 2, rel=0.05)


def test_zero_and_nan(backend, dtype):
    like = backend.asarray(np.zeros(3), dtype)
    maps = (lambda x: 0.0 * x, lambda x: math.nan * x, lambda x: x)
    zero, nan, one = read(begin_extremes(maps, 3, like))
    assert not zero > 0
    assert math.isnan(nan)
    assert one == pytest.approx(1.0, rel=1e-5)

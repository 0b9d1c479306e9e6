"""Alignment of kernels and representations, against dense references and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revgn.analysis import cka, cka_of_kernels, kernel_alignment
from revgn.errors import ShapeError, UsageError


def dense_hsic(K, L, estimator):
    """The estimators as published, with all matrices formed."""
    n = K.shape[0]
    ones = np.ones(n)
    if estimator == "biased":
        H = np.eye(n) - np.outer(ones, ones) / n
        return np.trace(K @ H @ L @ H) / (n - 1) ** 2
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    terms = np.trace(K @ L) + (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return (terms - 2 / (n - 2) * (ones @ K @ L @ ones)) / (n * (n - 3))


def dense_cka(X, Y, estimator):
    K, L = X @ X.T, Y @ Y.T
    both, of_K, of_L = (dense_hsic(*pair, estimator) for pair in ((K, L), (K, K), (L, L)))
    return both / math.sqrt(of_K * of_L)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@given(seed=st.integers(0, 2**32), n=st.integers(4, 20), p=st.integers(1, 8), q=st.integers(1, 8))
def test_cka_is_the_formula(estimator, seed, n, p, q):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, p)), rng.standard_normal((n, q)) + 0.3 * rng.standard_normal((n, 1))
    found, expected = cka(X, Y, estimator), dense_cka(X, Y, estimator)
    if dense_hsic(X @ X.T, X @ X.T, estimator) > 1e-9 and dense_hsic(Y @ Y.T, Y @ Y.T, estimator) > 1e-9:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert found == pytest.approx(cka(Y, X, estimator), rel=1e-12)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_cka_is_1_up_to_rotation_scale_and_shift(estimator):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    assert cka(X, 3.0 * X @ Q + rng.standard_normal(5), estimator) == pytest.approx(1.0, abs=1e-12)
    assert cka(X, X @ np.diag([1, 2, 3, 4, 5.0]), estimator) < 0.999


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("offset", [0.0, 10.0, 30.0, 1e3, 1e5])
def test_a_common_offset_costs_no_digits_in_single_precision(offset, estimator):
    """The value equals a reference in double precision, with all matrices centered and formed."""
    rng = np.random.default_rng(2)
    shared = rng.standard_normal((100, 8))
    X, Y = ((shared + rng.standard_normal((100, 8)) + offset).astype(np.float32) for _ in range(2))
    Xc, Yc = (Z.astype(np.float64) - Z.astype(np.float64).mean(axis=0) for Z in (X, Y))
    assert cka(X, Y, estimator) == pytest.approx(dense_cka(Xc, Yc, estimator), rel=1e-9)


def test_only_the_unbiased_estimate_is_zero_for_independent_data():
    """n = 32: the unbiased estimate is 0 on average, the biased one about 0.2 or more."""
    rng = np.random.default_rng(1)
    pairs = [(rng.standard_normal((32, 8)), rng.standard_normal((32, 8))) for _ in range(400)]
    unbiased, biased = (np.mean([cka(X, Y, name) for X, Y in pairs]) for name in ("unbiased", "biased"))
    assert abs(unbiased) < 0.02
    assert 0.15 < biased < 0.3


def test_alignment_is_a_cosine():
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal((6, 6)) for _ in range(2))
    K, L = A @ A.T, B @ B.T
    expected = np.trace(K @ L) / (np.linalg.norm(K) * np.linalg.norm(L))
    assert kernel_alignment(K, L) == pytest.approx(expected, rel=1e-13)
    assert kernel_alignment(K, 7 * K) == pytest.approx(1.0, abs=1e-15)
    for scale in (1e-25, 1e7, 1e25):  # the sum of squares leaves the range of single precision
        large = np.float32(scale) * K.astype(np.float32)
        assert kernel_alignment(large, large) == pytest.approx(1.0, abs=1e-6)


def test_shapes_that_cannot_be_compared_are_refused():
    with pytest.raises(ShapeError, match=r"expected \(n, p\) and \(n, q\) with n at least 4"):
        cka(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ShapeError, match="expected"):
        cka(np.ones((5, 2)), np.ones((6, 2)))
    with pytest.raises(ShapeError, match=r"expected two matrices \(N, N\)"):
        kernel_alignment(np.eye(3), np.eye(4))
    with pytest.raises(UsageError, match="estimator 'best' is not one of"):
        cka_of_kernels(np.eye(5), np.eye(5), "best")
    assert math.isnan(cka(np.ones((5, 2)), np.ones((5, 2)), "biased"))

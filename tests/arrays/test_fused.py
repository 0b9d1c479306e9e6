"""Chains of operations, computed in pieces of any size, equal the plain formulas."""

import numpy as np
import pytest

from revgn.arrays import (
    activate,
    add,
    blockwise,
    fused,
    matmul,
    matmul_into,
    sandwich,
    scaled,
    subtract,
    to_host,
)
from revgn.testing import assert_close, tolerance

SIZES = [(1, 1, 1), (5, 3, 7), (8, 4, 8), (13, 6, 20)]


@pytest.fixture(params=[(1, 1), (8, 4), (1 << 15, 1 << 10)], ids=["1", "few", "whole"])
def pieces(request, monkeypatch):
    """Pieces of one row, of a few rows, and larger than all arrays of these tests."""
    elements, rows = request.param
    monkeypatch.setattr(fused, "_ELEMENTS", elements)
    monkeypatch.setattr(fused, "_ROWS", rows)
    monkeypatch.setattr(fused, "_COLUMNS", rows)


def draw(library, dtype, *shapes):
    rng = np.random.default_rng(3)
    return [library.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def expect(library, dtype, name, found, expected):
    assert_close(name, found, library.asarray(expected, dtype), tolerance(found.dtype, "map"))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products(size, pieces, backend, dtype):
    n, a, b = size
    A, B, x, y = draw(backend, dtype, (n, a), (a, b), (n, b), (1, b))
    expect(backend, dtype, "A B", matmul(A, B), to_host(A) @ to_host(B))
    expect(backend, dtype, "(A A) B", matmul(A[None, :, :], B)[0, :, :], to_host(A) @ to_host(B))
    out = backend.asarray(np.zeros((n, b + 1)), dtype) if backend.name != "numpy:readonly" else None
    if out is not None:
        matmul_into(A, B, out[:, 1:])
        expect(backend, dtype, "into", out[:, 1:], to_host(A) @ to_host(B))
    expect(backend, dtype, "x + y", add(x, y), to_host(x) + to_host(y))
    expect(backend, dtype, "x - y", subtract(x, y), to_host(x) - to_host(y))


@pytest.mark.parametrize(
    ("size", "lead", "same", "mask"),
    [
        ((1, 1, 1), (), False, False),
        ((5, 3, 7), (), True, True),
        ((5, 3, 7), (3,), False, True),
        ((8, 4, 8), (2, 2), False, False),
        ((8, 4, 8), (), False, True),
        ((13, 6, 20), (3,), True, False),
        ((13, 6, 20), (2, 2), True, True),
    ],
    ids=str,
)
def test_sandwich(size, lead, same, mask, pieces, backend, dtype):
    n, a, h = size
    x, L, S, R = draw(backend, dtype, (*lead, 1 if same else n, a), (a, h), (n, h), (h, a + 1))
    S = S > 0 if mask else S
    expected = ((to_host(x) @ to_host(L)) * to_host(S)) @ to_host(R)
    expect(backend, dtype, "sandwich", sandwich(x, L, S, R), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_activate(size, pieces, backend, dtype):
    n, a, h = size
    u, C = draw(backend, dtype, (n, a), (a, h))
    A, slope = activate(u, C, lambda x: (2.0 * x, x > 0))
    uC = to_host(u) @ to_host(C)
    expect(backend, dtype, "A", A, np.hstack([2.0 * uC, np.ones((n, 1))]))
    assert np.array_equal(to_host(slope), to_host(A)[:, :h] > 0)


def test_blockwise_returns_all_results(pieces, backend, dtype):
    x, y = draw(backend, dtype, (7, 3), (7, 3))
    both = blockwise(lambda u, v: (u + v, u > v), x, y)
    expect(backend, dtype, "sum", both[0], to_host(x) + to_host(y))
    assert np.array_equal(to_host(both[1]), to_host(x) > to_host(y))


def test_scaled_by_booleans(backend, dtype):
    x, slope = draw(backend, dtype, (4, 5), (4, 5))
    expect(backend, dtype, "scaled", scaled(x, slope > 0), np.where(to_host(slope) > 0, to_host(x), 0.0))


def test_nan_remains_nan_when_scaled_by_a_boolean(backend, dtype):
    """NumPy multiplies, other libraries select; no library hides NaN."""
    mask = backend.asarray(np.array([True, False, False]))
    found = to_host(scaled(backend.asarray(np.array([np.nan, np.nan, 1.0]), dtype), mask))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0.0])

"""Sums of Gram matrices times inner products, compared with the formula."""

import numpy as np
import pytest

from revgn.arrays import add_gram_products, to_host
from revgn.testing import assert_close


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("same", [(), (0,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 4), (1, 1, 1), (4, 1, 6)], ids=str)
def test_the_sum_is_added_to_a_view(shape, same, is_first, backend, dtype):
    """There are three terms; `same` lists the terms whose P is the same for all s and t."""
    rng = np.random.default_rng(1)
    r, q, m = shape
    grams = [rng.standard_normal((r, m)) for _ in range(3)]
    products = [rng.standard_normal((1, q, 1) if k in same else shape) for k in range(3)]
    before = rng.standard_normal((2, r, q + 1, m))
    total = sum(K[:, None, :] * P for K, P in zip(grams, products, strict=True))
    expected = before.copy()
    expected[1, :, 1:, :] = total if is_first else total + expected[1, :, 1:, :]
    if is_first:
        before[1, :, 1:, :] = np.nan  # must not be read
    xp = backend.backend.xp
    out = xp.asarray(backend.asarray(before, dtype), copy=True)
    terms = (
        (backend.asarray(K, dtype), xp.asarray(backend.asarray(P, dtype), copy=True))
        for K, P in zip(grams, products, strict=True)
    )
    add_gram_products(out[1, :, 1:, :], terms, is_first=is_first)
    assert_close("sum", to_host(out).astype(float), expected, 1e-13 if dtype == "float64" else 1e-5)

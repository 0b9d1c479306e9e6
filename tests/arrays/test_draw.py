"""Normal arrays, drawn in pieces."""

import numpy as np
import pytest

from revgn.arrays import draw_normal, to_host


@pytest.mark.parametrize("shape", [(3, 4), (1, 1 << 15), (257, 300), (2, 0)])
def test_the_numbers_equal_a_single_draw(shape, backend, dtype):
    """The pieces are bitwise equal to one draw, and so is the state of the generator afterwards."""
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    found = draw_normal(one, shape, 0.1, backend.backend, backend.dtype(dtype))
    expected = (0.1 * other.standard_normal(shape)).astype(dtype)
    assert found.dtype == backend.dtype(dtype)
    np.testing.assert_array_equal(to_host(found), expected)
    assert one.standard_normal() == other.standard_normal()


def test_rows_of_zeros_also_advance_the_generator(numpy_backend):
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    found = draw_normal(one, (5, 2), 1.0, numpy_backend.backend, np.float64, zero_rows=2)
    expected = other.standard_normal((5, 2))
    np.testing.assert_array_equal(found[:3], expected[:3])
    assert not found[3:].any()
    assert one.standard_normal() == other.standard_normal()

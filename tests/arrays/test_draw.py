import numpy as np
import pytest

from revgn.arrays import draw_normal, to_host


@pytest.mark.parametrize("shape", [(3, 4), (1, 1 << 15), (257, 300), (2, 0)])
def test_the_numbers_are_those_of_one_draw(shape, backend, dtype):
    """Drawn piece by piece, to the bit, and the generator goes on from the same place."""
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    found = draw_normal(one, shape, 0.1, backend.backend, backend.dtype(dtype))
    expected = (0.1 * other.standard_normal(shape)).astype(dtype)
    assert found.dtype == backend.dtype(dtype)
    np.testing.assert_array_equal(to_host(found), expected)
    assert one.standard_normal() == other.standard_normal()


def test_rows_of_zeros_are_drawn_as_well(numpy_backend):
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    found = draw_normal(one, (5, 2), 1.0, numpy_backend.backend, np.float64, zero_rows=2)
    expected = other.standard_normal((5, 2))
    np.testing.assert_array_equal(found[:3], expected[:3])
    assert not found[3:].any()
    assert one.standard_normal() == other.standard_normal()

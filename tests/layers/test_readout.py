"""The readout has orthonormal columns, and `lift` is its right inverse."""

import numpy as np
import pytest
from cases import LayerCase

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.layers import draw_readout, lift
from revgn.maps import Halves, forward
from revgn.testing import assert_close, tolerance


@pytest.mark.parametrize("outputs", [1, 3, 8])
def test_columns_are_orthonormal(outputs, backend, dtype):
    layer = draw_readout(
        4, outputs, np.random.default_rng(0), backend=backend.backend, dtype=backend.dtype(dtype)
    )
    U = np.vstack([to_host(layer.first), to_host(layer.second)])
    assert np.allclose(U.T @ U, np.eye(outputs), atol=tolerance(layer.first.dtype, "map"))


def test_lift_is_the_smallest_change_of_the_halves(backend, dtype):
    layer, params, _ = LayerCase("readout", 0, "n<h").build(backend, dtype)
    dz = backend.asarray(np.random.default_rng(1).standard_normal((5, 3)), dtype)
    change = lift(layer, dz)
    assert_close("z changes by dz", forward(layer, params, change), dz, tolerance(dz.dtype, "map"))
    U = np.vstack([to_host(layer.first), to_host(layer.second)])
    smallest = to_host(dz) @ np.linalg.pinv(U)
    assert np.allclose(np.hstack([to_host(h) for h in change]), smallest, atol=1e-6)


def test_more_outputs_than_features_is_refused(numpy_backend):
    with pytest.raises(ShapeError, match="5 outputs for 4 features"):
        draw_readout(2, 5, np.random.default_rng(0))


def test_error_names_the_map_for_a_wrong_width(numpy_backend):
    layer, params, _ = LayerCase("readout", 0, "n<h").build(numpy_backend, "float64")
    with pytest.raises(ShapeError, match=r"forward\(Readout\)"):
        forward(layer, params, Halves(np.ones((2, 2)), np.ones((2, 2))))

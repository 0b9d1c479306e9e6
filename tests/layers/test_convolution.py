"""Convolutions in blocks of samples; dense features with a trained projection; initialization."""

import numpy as np
import pytest
from cases import CONVOLUTIONS, ConvolutionCase

from revgn.arrays import Grid, fold, patches, to_host, unfold
from revgn.errors import ShapeError, UsageError
from revgn.layers import Coupling, RandomFeatures, draw_convolution, trained_features
from revgn.layers.feature_map import CouplingParams
from revgn.maps import Halves, forward, init, jvp_input, linearize, row_cotangents, vjp_input
from revgn.testing import assert_close, check_layer, tolerance
from revgn.testing.compare import agree, inner


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("projection", ["frozen", "trained"])
def test_the_laws_hold_in_blocks_of_samples(projection, samples, numpy_backend, monkeypatch):
    """Five samples in blocks of one or two, as large batches are computed."""
    case = ConvolutionCase(projection)
    layer, params, x = case.build(numpy_backend, "float64")
    y, point = linearize(layer, params, x)
    y_bar = Halves(*np.random.default_rng(3).standard_normal((2, 2, *x.first.shape)))
    whole = vjp_input(layer, params, point, y_bar), row_cotangents(layer, params, point, y_bar)
    grid = layer.features.grid
    monkeypatch.setattr(patches, "_NUMBERS", samples * grid.pixels * (grid.fan_in + case.hidden))
    check_layer(layer, params, x)
    assert_close("linearize", linearize(layer, params, x), (y, point), 1e-13)
    again = vjp_input(layer, params, point, y_bar), row_cotangents(layer, params, point, y_bar)
    assert_close("vjp_input with leading axes", again, whole, 1e-13)


@pytest.mark.parametrize(
    "grid", [Grid(3, 4, 2, 3), Grid(1, 5, 2, 5), Grid(4, 1, 3, 3), Grid(2, 2, 3, 1)], ids=str
)
def test_fold_is_the_transpose_of_unfold(grid, backend, dtype, rng):
    u = backend.asarray(rng.standard_normal((3, grid.size)), dtype)
    rows = backend.asarray(rng.standard_normal((3 * grid.pixels, grid.fan_in)), dtype)
    size = float(np.linalg.norm(to_host(u)) * np.linalg.norm(to_host(rows)))
    limit = tolerance(u.dtype, "map")
    agree("fold = unfold^T", inner(unfold(u, grid), rows), inner(u, fold(rows, grid)), size, limit)


def test_one_pixel_gives_dense_features_with_a_trained_projection(backend, dtype, rng):
    """The same maps as of random features with that projection."""
    features = trained_features(4, 9, activation="tanh", backend=backend.backend, dtype=backend.dtype(dtype))
    params = init(features, rng, 0.5)
    plain, own = RandomFeatures(params.projection, "tanh"), CouplingParams(params.weight)
    u = backend.asarray(rng.standard_normal((6, 4)), dtype)
    (y, point), (expected, at) = linearize(features, params, u), linearize(plain, own, u)
    limit = tolerance(u.dtype, "map")
    assert_close("A(u) W", y, expected, limit)
    assert_close("jvp_input", jvp_input(features, params, point, u), jvp_input(plain, own, at, u), limit)
    assert_close("vjp_input", vjp_input(features, params, point, y), vjp_input(plain, own, at, y), limit)


@pytest.mark.parametrize("projection", ["frozen", "trained"])
def test_projections_are_drawn_by_their_number_of_inputs(projection, rng):
    features = draw_convolution(Grid(4, 4, 8, 3), 400, rng, projection=projection)
    params = init(features, rng, 0.01)
    C = params.projection if projection == "trained" else features.projection
    assert C.shape == (72, 400)
    assert abs(C.std() * 72**0.5 - 1) < 0.05
    assert abs(params.weight[:-1].std() / 0.01 - 1) < 0.05
    assert not np.any(params.weight[-1])


def test_even_neighbourhoods_raise():
    with pytest.raises(UsageError, match=r"TrainedConvolution: Grid.*kernel=2.*odd kernel size"):
        draw_convolution(Grid(4, 4, 2, 2), 3, np.random.default_rng(0), projection="trained")


def test_a_coupling_of_images_reports_wrong_shapes(numpy_backend):
    layer, params, _ = CONVOLUTIONS[0].build(numpy_backend, "float64")
    assert isinstance(layer, Coupling)
    with pytest.raises(ShapeError, match=r"forward\(Coupling\).*expected \(n, 24\)"):
        forward(layer, params, Halves(np.ones((2, 12)), np.ones((2, 12))))

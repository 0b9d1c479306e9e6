"""Laws of every layer, on every backend and dtype. An entry in `cases.LAYERS` adds a layer to these tests."""

import numpy as np
import pytest
from cases import LAYERS, LayerCase

from revgn.maps import Halves, linearize, vjp_input
from revgn.testing import assert_close, check_layer, tolerance


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_layer_satisfies_its_laws(case, backend, dtype):
    layer, params, x = case.build(backend, dtype)
    check_layer(layer, params, x)


@pytest.mark.parametrize("kind", ["relu", "gelu", "linear", "readout", "scaling"])
@pytest.mark.parametrize("half", [0, 1])
def test_cotangents_may_have_leading_axes(kind, half, backend):
    layer, params, x = LayerCase(kind, half, "n<h").build(backend, "float64")
    y, point = linearize(layer, params, x)
    rng = np.random.default_rng(3)

    def drawn(leading, of):
        return backend.asarray(rng.standard_normal((*leading, *of.shape)))

    whole = drawn((2,), y) if kind == "readout" else Halves(drawn((2,), y.first), drawn((2,), y.second))
    together = vjp_input(layer, params, point, whole)
    for o in range(2):
        one = whole[o, ...] if kind == "readout" else Halves(whole.first[o, ...], whole.second[o, ...])
        alone = vjp_input(layer, params, point, one)
        got = Halves(together.first[o, ...], together.second[o, ...])
        assert_close("vjp_input of stacked cotangents", got, alone, tolerance(x.first.dtype, "map"))


def test_one_cotangent_for_all_samples(backend):
    """A cotangent of shape (c, 1, d/2) applies to all samples."""
    layer, params, x = LayerCase("tanh", 1, "n<h").build(backend, "float64")
    _, point = linearize(layer, params, x)
    row = backend.asarray(np.random.default_rng(4).standard_normal((2, 1, 3)))
    shared = vjp_input(layer, params, point, Halves(row, row))
    ones = backend.asarray(np.ones((2, 5, 3)))
    spread = vjp_input(layer, params, point, Halves(row * ones, row * ones))
    assert_close("first half", shared.first * ones, spread.first, 1e-13)
    assert_close("second half", shared.second * ones, spread.second, 1e-13)

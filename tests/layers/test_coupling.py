"""Couplings match their formulas, and linear couplings match couplings with the identity."""

import numpy as np
import pytest
from cases import LayerCase
from reference import dense
from reference.pinv import pinv

from revgn.errors import RevgnError, ShapeError
from revgn.layers import Coupling, RandomFeatures, draw_coupling, linear_features
from revgn.linalg import PAPER_RULE, PinvRule
from revgn.maps import (
    Halves,
    forward,
    init,
    inverse,
    jvp_input,
    linearize,
    linearize_inverse,
    pinv_params,
    row_features,
    vjp_input,
    vjp_params,
)
from revgn.testing import assert_close, tolerance

COUPLINGS = [LayerCase(kind, half, "n<h") for kind in ("relu", "tanh", "gelu", "linear") for half in (0, 1)]


@pytest.mark.parametrize("case", COUPLINGS, ids=lambda case: case.name)
def test_forward_matches_the_formula(case, backend, dtype):
    layer, params, x = case.build(backend, dtype)
    plain, plain_params, plain_x = case.build(make_numpy(), "float64")
    expected = dense.coupling(plain, plain_params.weight, plain_x)
    limit = tolerance(params.weight.dtype, "map")
    y = forward(layer, params, x)
    for got, want in zip(y, expected, strict=True):
        assert_close("forward", got, backend.asarray(want, dtype), limit)


def make_numpy():
    from libraries import make_library

    return make_library("numpy")


@pytest.mark.parametrize("case", COUPLINGS, ids=lambda case: case.name)
def test_jvp_input_matches_the_complex_step(case, numpy_backend):
    layer, params, x = case.build(numpy_backend, "float64")
    dx = Halves(*np.random.default_rng(5).standard_normal((2, *x.first.shape)))
    moved = [h + 1j * dense.E * dh for h, dh in zip(x, dx, strict=True)]
    expected = Halves(*(h.imag / dense.E for h in dense.coupling(layer, params.weight, moved)))
    _, point = linearize(layer, params, x)
    assert_close("jvp_input", jvp_input(layer, params, point, dx), expected, 1e-13)


@pytest.mark.parametrize("size", ["n=1", "n<d/2", "n<h", "n=h", "n>h+1"])
def test_linear_coupling_equals_a_coupling_with_the_identity(size, backend, dtype):
    layer, params, x = LayerCase("linear", 0, size).build(backend, dtype)
    plain, plain_params = Coupling(0, RandomFeatures(layer.features.projection, "identity")), params
    limit = tolerance(params.weight.dtype, "solve")
    (y, point), (plain_y, plain_point) = linearize(layer, params, x), linearize(plain, plain_params, x)
    assert_close("forward", y, plain_y, limit)
    pushed, pulled = jvp_input(layer, params, point, x), vjp_input(layer, params, point, y)
    assert_close("jvp_input", pushed, jvp_input(plain, plain_params, plain_point, x), limit)
    assert_close("vjp_input", pulled, vjp_input(plain, plain_params, plain_point, y), limit)
    assert_close(
        "vjp_params",
        vjp_params(layer, params, point, y).weight,
        vjp_params(plain, plain_params, plain_point, y).weight,
        limit,
    )
    (B,), (A,) = row_features(layer, point), row_features(plain, plain_point)
    assert_close("features", B @ B.T, A @ A.T, limit)
    fast, slow = (pinv_params(of, at, y, PinvRule()) for of, at in ((layer, point), (plain, plain_point)))
    assert_close("realized", fast.realized, slow.realized, limit)
    if dtype == "float64":
        assert_close("step", fast.params.weight, slow.params.weight, 1e-10)


RULES = [PinvRule(), PAPER_RULE, PinvRule(rtol=0.3), PinvRule(rtol=1e-8, damping=0.05)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["relu", "linear"])
@pytest.mark.parametrize("size", ["n<h", "n=h", "n>h+1", "n=1"])
def test_pinv_params_applies_the_pseudoinverse_of_the_features(kind, size, rule, numpy_backend):
    layer, params, x = LayerCase(kind, 1, size).build(numpy_backend, "float64")
    v = np.random.default_rng(6).standard_normal(x.second.shape)
    _, point = linearize(layer, params, x)
    A = dense.features(layer, x.first)
    expected = pinv(A, rtol=rule.rtol, atol=rule.atol, damping=rule.damping) @ v
    step = pinv_params(layer, point, Halves(v, v), rule)
    assert_close("pinv_params", step.params.weight, expected, 1e-9)
    assert_close("realized", step.realized, Halves(0 * v, A @ expected), 1e-9)


def test_init_draws_weights_and_sets_the_bias_to_0(backend, dtype):
    layer = draw_coupling(
        0, 3, 500, np.random.default_rng(0), backend=backend.backend, dtype=backend.dtype(dtype)
    )
    params = init(layer, np.random.default_rng(1), 1e-3)
    assert params.weight.shape == (501, 3)
    assert params.weight.dtype == layer.features.projection.dtype
    from revgn.arrays import to_host

    W = to_host(params.weight)
    assert np.all(W[-1] == 0)
    assert abs(W[:-1].std() / 1e-3 - 1) < 0.1
    assert abs(to_host(layer.features.projection).std() * 500**0.5 - 1) < 0.1


@pytest.mark.parametrize("call", [forward, inverse, linearize, linearize_inverse])
@pytest.mark.parametrize("kind", ["relu", "linear"])
def test_error_names_map_and_shapes_for_a_wrong_width(call, kind, numpy_backend):
    layer, params, _ = LayerCase(kind, 0, "n<h").build(numpy_backend, "float64")
    wrong = Halves(np.ones((5, 4)), np.ones((5, 4)))
    name = call.__name__
    with pytest.raises(ShapeError, match=rf"{name}\({type(layer).__name__}\).*\(5, 4\).*\(n, 3\)") as raised:
        call(layer, params, wrong)
    assert isinstance(raised.value, RevgnError)


def test_linear_features_raise_for_fewer_features_than_width(numpy_backend):
    with pytest.raises(ShapeError, match=r"linear_features.*\(4, 3\)"):
        linear_features(np.ones((4, 3)))


def test_defaults_are_numpy_and_double_precision():
    layer = draw_coupling(0, 3, 5, np.random.default_rng(0))
    assert isinstance(layer.features.projection, np.ndarray)
    assert layer.features.projection.dtype == np.float64
    assert layer.features.activation == "relu"

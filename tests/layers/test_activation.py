"""Activations match their formulas, and their slopes match derivatives and difference quotients."""

import numpy as np
import pytest
from reference.dense import PHI

from revgn.arrays import scaled, to_host
from revgn.layers import ACTIVATIONS
from revgn.layers.activation import value_and_slope
from revgn.testing import assert_close, tolerance

AT = np.concatenate([np.linspace(-6, 6, 26), [-30.0, 30.0, 1e-9, 200.0, -200.0]])[:, None]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_matches_the_formula(activation, backend, dtype):
    x = backend.asarray(AT, dtype)
    expected = backend.asarray(PHI[activation](to_host(x).astype(float)), dtype)
    assert_close(activation, value_and_slope(activation, x)[0], expected, tolerance(x.dtype, "map"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_matches_the_complex_step_derivative(activation, backend, dtype):
    x = backend.asarray(AT, dtype)
    step = to_host(x).astype(complex) + 1e-30j
    expected = backend.asarray(PHI[activation](step).imag / 1e-30, dtype)
    slope = scaled(backend.backend.xp.ones_like(x), value_and_slope(activation, x)[1])
    assert_close(activation, slope, expected, tolerance(x.dtype, "map"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_matches_difference_quotients(activation):
    e = 1e-6
    quotient = (value_and_slope(activation, AT + e)[0] - value_and_slope(activation, AT - e)[0]) / (2 * e)
    away = np.abs(AT) > 1e-3
    assert np.allclose(value_and_slope(activation, AT)[1][away], quotient[away], atol=1e-7)


def test_slope_of_relu_is_0_at_0():
    assert not value_and_slope("relu", np.zeros((1, 1)))[1][0, 0]

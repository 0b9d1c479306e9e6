"""Activations against their formulas, slopes against differences."""

import numpy as np
import pytest
from reference.dense import PHI

from revgn.arrays import to_host
from revgn.layers import ACTIVATIONS
from revgn.layers.activation import slope, value
from revgn.testing import assert_close, tolerance

AT = np.concatenate([np.linspace(-6, 6, 26), [-30.0, 30.0, 1e-9, 200.0, -200.0]])[:, None]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_is_the_formula(activation, backend, dtype):
    x = backend.asarray(AT, dtype)
    expected = backend.asarray(PHI[activation](to_host(x).astype(float)), dtype)
    assert_close(activation, value(activation, x), expected, tolerance(x.dtype, "map"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_is_the_derivative(activation, backend, dtype):
    x = backend.asarray(AT, dtype)
    step = to_host(x).astype(complex) + 1e-30j
    expected = backend.asarray(PHI[activation](step).imag / 1e-30, dtype)
    assert_close(activation, slope(activation, x), expected, tolerance(x.dtype, "map"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_against_differences(activation):
    e = 1e-6
    quotient = (value(activation, AT + e) - value(activation, AT - e)) / (2 * e)
    away = np.abs(AT) > 1e-3
    assert np.allclose(slope(activation, AT)[away], quotient[away], atol=1e-7)


def test_relu_is_flat_at_its_kink():
    assert slope("relu", np.zeros((1, 1)))[0, 0] == 0

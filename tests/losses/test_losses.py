"""Losses satisfy their laws and formulas, also for outputs whose exponential overflows."""

import numpy as np
import pytest
import scipy.special
from cases import LOSSES, LossCase

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.losses import (
    CrossEntropy,
    SquaredError,
    accuracy,
    gradient,
    log_softmax,
    output_step,
    value,
)
from revgn.testing import assert_close, check_loss, tolerance


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_loss_satisfies_its_laws(case, backend, dtype):
    check_loss(*case.build(backend, dtype))


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_loss_matches_the_formula(case, backend, dtype):
    loss, z, t = case.build(backend, dtype)
    Z, T = to_host(z).astype(float), to_host(t).astype(float)
    if isinstance(loss, SquaredError):
        expected, eps = np.mean(np.sum((Z - T) ** 2, axis=1)), Z - T
    else:
        p = scipy.special.softmax(Z, axis=1)
        expected, eps = np.mean(-np.sum(T * scipy.special.log_softmax(Z, axis=1), axis=1)), p - T
    limit = tolerance(z.dtype, "map")
    assert float(value(loss, z, t)) == pytest.approx(expected, rel=limit, abs=limit)
    assert_close("output_step", output_step(loss, z, t), backend.asarray(eps, dtype), limit)


SMOOTH = [LossCase("s", SquaredError()), LossCase("c", CrossEntropy(), one_hot=False)]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_gradient_matches_difference_quotients(case, numpy_backend):
    loss, z, t = case.build(numpy_backend, "float64")
    for index in np.ndindex(*z.shape):
        e = np.zeros_like(z)
        e[index] = 1e-6
        quotient = (value(loss, z + e, t) - value(loss, z - e, t)) / 2e-6
        assert gradient(loss, z, t)[index] == pytest.approx(quotient, abs=1e-8)


def test_value_is_the_mean_over_samples(backend):
    for case in (LossCase("s", SquaredError()), LossCase("c", CrossEntropy())):
        loss, z, t = case.build(backend, "float64")
        alone = [float(value(loss, z[i : i + 1, :], t[i : i + 1, :])) for i in range(z.shape[0])]
        assert float(value(loss, z, t)) == pytest.approx(np.mean(alone), rel=1e-14)


@pytest.mark.parametrize("height", [1e4, 1e30])
def test_large_outputs_do_not_overflow(height, backend, dtype):
    """Results are finite for logits of 1e4, for a right and for a wrong prediction."""
    z = backend.asarray([[height, 0.0, -height], [height, 0.0, -height]], dtype)
    t = backend.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype)
    loss = CrossEntropy()
    assert_close("log_softmax", log_softmax(z), z - height, 1e-6)
    assert float(value(loss, z, t)) == pytest.approx(height, rel=1e-6)
    expected = backend.asarray([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]], dtype)
    assert_close("eps", output_step(loss, z, t), expected, 0.0)


def test_log_softmax_keeps_small_probabilities(backend):
    """log p = -40 is exact although the other probability, 1 - p, rounds to 1."""
    z = backend.asarray([[0.0, -40.0]])
    assert to_host(log_softmax(z))[0, 1] == pytest.approx(-40.0, rel=1e-15)
    assert to_host(log_softmax(z))[0, 0] == pytest.approx(-np.exp(-40.0), rel=1e-12, abs=1e-16)


def test_output_step_does_not_depend_on_a_constant(backend, dtype):
    loss, z, t = LossCase("c", CrossEntropy()).build(backend, dtype)
    shifted = output_step(loss, z + 3.0, t)
    assert_close("eps", shifted, output_step(loss, z, t), tolerance(z.dtype, "map"))
    rows = np.sum(to_host(shifted).astype(float), axis=1)
    assert np.allclose(rows, 0.0, atol=tolerance(z.dtype, "map"))


def test_accuracy(backend, dtype):
    z = backend.asarray([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [-1.0, -2.0]], dtype)
    t = backend.asarray([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype)
    share = accuracy(z, t)
    assert float(share) == 0.75
    assert (share.ndim, share.dtype) == (0, z.dtype)


@pytest.mark.parametrize("function", [value, gradient, output_step])
@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()])
def test_different_shapes_raise(loss, function):
    words = rf"\({type(loss).__name__}\): outputs have shape \(2, 3\) and targets \(2, 1\)"
    with pytest.raises(ShapeError, match=words):
        function(loss, np.ones((2, 3)), np.ones((2, 1)))

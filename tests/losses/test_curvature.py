"""The square root of a loss's curvature and the damped output step match dense matrices."""

import numpy as np
import pytest
import scipy.special
from cases import LOSSES, LossCase

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.losses import CrossEntropy, SquaredError, curvature_root, damped_output_step, output_step
from revgn.testing import assert_close, tolerance

EVERY = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)


def curvature(loss, z, t):
    """Return H (n, c, c) by its formula."""
    if isinstance(loss, SquaredError):
        return np.broadcast_to(np.eye(z.shape[1]), (*z.shape, z.shape[1]))
    p, tau = scipy.special.softmax(z, axis=1), t.sum(axis=1)
    diagonal = p[:, :, None] * np.eye(z.shape[1])
    return tau[:, None, None] * (diagonal - p[:, :, None] * p[:, None, :])


@EVERY
def test_root_squares_to_the_curvature(case, backend, dtype):
    loss, z, t = case.build(backend, dtype)
    R, w = curvature_root(loss, z, t)
    limit = tolerance(z.dtype, "chain")
    if R is None:
        assert isinstance(loss, SquaredError)
        assert_close("w = g", w, output_step(loss, z, t), 0.0)
        return
    n, c = z.shape
    assert (R.shape, w.shape) == ((n, c, c - 1), (n, c - 1))
    found = to_host(R).astype(float)
    H = curvature(loss, to_host(z).astype(float), to_host(t).astype(float))
    assert_close("R R^T = H", found @ np.swapaxes(found, 1, 2), H, limit)
    Rw = (found @ to_host(w).astype(float)[:, :, None])[:, :, 0]
    assert_close("R w = g", Rw, to_host(output_step(loss, z, t)).astype(float), limit)


@EVERY
@pytest.mark.parametrize("mu", [1e-3, 0.1, 10.0])
def test_damped_output_step_solves_its_equation(case, mu, numpy_backend):
    loss, z, t = case.build(numpy_backend, "float64")
    H = curvature(loss, z, t) + mu * np.eye(z.shape[1])
    expected = np.linalg.solve(H, output_step(loss, z, t)[:, :, None])[:, :, 0]
    assert_close("eps", damped_output_step(loss, z, t, mu), expected, 1e-9)


def test_damped_output_step_agrees_with_double_precision(backend, dtype):
    loss, z, t = LOSSES[-1].build(backend, dtype)
    _, z64, t64 = LOSSES[-1].build(backend, "float64")
    found = to_host(damped_output_step(loss, z, t, 0.1))
    limit = tolerance(z.dtype, "chain")
    assert_close("eps", found, to_host(damped_output_step(loss, z64, t64, 0.1)).astype(found.dtype), limit)


def test_undamped_output_step_is_the_newton_step(numpy_backend):
    """Without damping, the output step is mean(y/p) - y/p up to a constant."""
    loss, z, t = LossCase("c", CrossEntropy()).build(numpy_backend, "float64")
    p = scipy.special.softmax(z, axis=1)
    limit = damped_output_step(loss, z, t, 1e-9)
    newton = np.mean(t / p, axis=1, keepdims=True) - t / p
    assert_close("eps", limit - limit.mean(axis=1, keepdims=True), newton, 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_result_is_finite_for_a_confident_wrong_output(dtype, numpy_backend):
    """The probability of the target class is below the smallest float32."""
    z = numpy_backend.asarray([[500.0, 0.0, -500.0]], dtype)
    t = numpy_backend.asarray([[0.0, 0.0, 1.0]], dtype)
    R, w = curvature_root(CrossEntropy(), z, t)
    assert np.isfinite(R).all()
    assert np.isfinite(w).all()
    assert np.isfinite(damped_output_step(CrossEntropy(), z, t, 1e-3)).all()


@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"])
def test_different_shapes_raise(loss):
    with pytest.raises(ShapeError):
        curvature_root(loss, np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ShapeError):
        damped_output_step(loss, np.zeros((3, 2)), np.zeros((2, 2)), 0.1)


@pytest.mark.parametrize("gap", [5.0, 20.0, 30.0, 34.0])
def test_the_root_is_accurate_for_a_confident_output_of_any_class(gap, numpy_backend):
    """Relative to the largest entry of H, which is about exp(-gap), with float32 logits."""
    z = gap * np.eye(4, dtype=np.float32)
    R = curvature_root(CrossEntropy(), z, np.eye(4, dtype=np.float32))[0].astype(np.float64)
    p = scipy.special.softmax(z.astype(np.float64), axis=1)
    H = -p[:, :, None] * p[:, None, :]
    for k in range(4):  # p_k (1 - p_k), without cancellation
        H[:, k, k] = p[:, k] * np.delete(p, k, axis=1).sum(axis=1)
    size = np.abs(H).max(axis=(1, 2), keepdims=True)
    assert_close("R R^T = H", R @ np.swapaxes(R, 1, 2) / size, H / size, 2e-6)
    assert_close("R^T 1 = 0", R.sum(axis=1) / np.sqrt(size[:, :, 0]), np.zeros((4, 3)), 1e-5)


@pytest.mark.parametrize("nu", [1e-1, 1e-3, 1e-5, 1e-7])
def test_the_damped_output_step_is_accurate_for_any_damping(nu, numpy_backend):
    """In float32, with the output step of the same numbers in float64 as reference."""
    rng = np.random.default_rng(5)
    z = (4.0 * rng.standard_normal((500, 10))).astype(np.float32)
    t = np.eye(10, dtype=np.float32)[rng.integers(10, size=500)]
    found = damped_output_step(CrossEntropy(), z, t, nu)
    expected = damped_output_step(CrossEntropy(), z.astype(np.float64), t.astype(np.float64), nu)
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 2e-5


def test_a_sample_without_a_target_has_no_curvature_and_no_step(numpy_backend):
    z, t = np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 3))
    R, w = curvature_root(CrossEntropy(), z, t)
    assert_close("R", R, np.zeros((1, 3, 2)), 0.0)
    assert_close("w", w, np.zeros((1, 2)), 0.0)

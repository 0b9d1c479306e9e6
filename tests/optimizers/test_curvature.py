"""Gauss-Newton with the exact curvature of the loss, and Levenberg-Marquardt, against dense references."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.special
from cases import network_case
from reference import dense

from revgn import trees
from revgn.errors import UsageError
from revgn.losses import CrossEntropy, SquaredError, output_step, value
from revgn.maps import forward
from revgn.optimizers import (
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    direction,
    init_state,
    update,
)
from revgn.optimizers.levenberg_marquardt import LevenbergMarquardtState
from revgn.solvers import BlockWise, MinimumNorm, apply, jacobian
from revgn.testing import assert_close
from revgn.testing.compare import snapshot

CASE = network_case("tanh-same-keep")


def problem(library, loss=None, dtype="float64"):
    net, params, x = CASE.build(library, dtype)
    t = np.eye(CASE.outputs)[np.random.default_rng(3).integers(CASE.outputs, size=CASE.samples)]
    z, J = jacobian(net, params, x)
    return params, Linearization(loss or CrossEntropy(), z, library.asarray(t, dtype), J)


@pytest.mark.parametrize("damping", [1e-2, 1.0])
def test_exact_curvature_is_the_dense_step(damping, numpy_backend):
    """D = (J^T H J + mu I)^-1 J^T (p - y), mu relative to the mean diagonal of R^T J J^T R."""
    params, at = problem(numpy_backend)
    optimizer = GaussNewton(MinimumNorm(damping), curvature="exact")
    D, _, info, _ = direction(optimizer, init_state(optimizer, at.jacobian.network, params), params, at)
    J = dense.jacobian(at.jacobian.network, params, np.hstack(at.jacobian.point.input))
    n, c = at.outputs.shape
    p = scipy.special.softmax(at.outputs, axis=1)
    H = scipy.linalg.block_diag(*(np.diag(row) - np.outer(row, row) for row in p))
    mu = damping * np.trace(H @ J @ J.T) / (n * (c - 1))
    assert info.damping == pytest.approx(mu, rel=1e-12)
    normal = J.T @ H @ J + mu * np.eye(J.shape[1])
    assert_close("D", dense.flat(D), np.linalg.solve(normal, J.T @ dense.rows(p - at.targets)), 1e-9)


@pytest.mark.parametrize("solver", [MinimumNorm(), BlockWise()], ids=repr)
def test_output_damping_works_with_every_solver(solver, backend):
    """J D = eps with (H + nu I) eps = p - y."""
    params, at = problem(backend)
    optimizer = GaussNewton(solver, curvature="exact", output_damping=0.5)
    D, _, info, _ = direction(optimizer, init_state(optimizer, at.jacobian.network, params), params, at)
    eps = apply(at.jacobian, D)
    xp = backend.backend.xp
    p = output_step(at.loss, at.outputs, at.targets) + at.targets
    H_eps = p * eps - p * xp.sum(p * eps, axis=1, keepdims=True)
    assert_close("(H + nu) eps", H_eps + 0.5 * eps, p - at.targets, 1e-9)
    assert info.rho < 1e-9


def test_exact_curvature_of_squared_error_is_the_identity(numpy_backend):
    params, at = problem(numpy_backend, SquaredError())
    exact, plain = GaussNewton(MinimumNorm(0.1), curvature="exact"), GaussNewton(MinimumNorm(0.1))
    found, expected = (
        direction(o, init_state(o, at.jacobian.network, params), params, at).params for o in (exact, plain)
    )
    assert_close("D", found, expected, 0.0)


def test_curvatures_that_the_solver_does_not_support_are_refused():
    with pytest.raises(UsageError, match="the block-wise solver needs output_damping"):
        GaussNewton(BlockWise(), curvature="exact")
    with pytest.raises(UsageError, match="output_damping needs the exact curvature"):
        GaussNewton(output_damping=0.1)
    with pytest.raises(UsageError, match="already centers the logits"):
        GaussNewton(MinimumNorm(outputs="centered-logits"), curvature="exact")


# --- Levenberg-Marquardt ------------------------------------------------------------------------------

INNER = [
    GaussNewton(MinimumNorm(0.3)),
    GaussNewton(MinimumNorm(0.3), curvature="exact", momentum=0.5),
    GaussNewton(BlockWise(), curvature="exact", output_damping=0.3),
]
EVERY = pytest.mark.parametrize("inner", INNER, ids=["identity", "exact", "block"])


@EVERY
@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"])
def test_the_predicted_decrease_is_the_decrease_of_a_short_step(inner, loss, numpy_backend):
    """To first order, and to second order where the curvature is exact."""
    from revgn.optimizers.levenberg_marquardt import predicted_decrease

    params, at = problem(numpy_backend, loss)
    D = direction(inner, init_state(inner, at.jacobian.network, params), params, at).params
    u = apply(at.jacobian, D)
    before, errors = float(value(loss, at.outputs, at.targets)), []
    for lr in (1e-2, 1e-3):
        decrease = before - float(value(loss, at.outputs - lr * u, at.targets))
        errors.append(abs(decrease - predicted_decrease(inner, at, u, lr)))
    is_exact = inner.curvature == "exact" or isinstance(loss, SquaredError)
    order = np.log10(errors[0] / errors[1]) if errors[1] > 1e-14 else 3.0
    assert order > (2.9 if is_exact else 1.9)


def state_with(inner, at, damping):
    J = at.jacobian
    return LevenbergMarquardtState(damping, init_state(inner, J.network, J.params))


@EVERY
def test_the_step_uses_the_damping_in_the_state(inner, numpy_backend):
    params, at = problem(numpy_backend)
    optimizer = LevenbergMarquardt(inner, rejects=False)
    assert init_state(optimizer, at.jacobian.network, params).damping == 0.3
    if inner.output_damping:
        other = replace(inner, output_damping=0.7)
    else:
        other = replace(inner, solver=replace(inner.solver, damping=0.7))
    found = update(optimizer, state_with(inner, at, 0.7), params, at, 0.5)
    assert_close(
        "W",
        found.params,
        update(other, init_state(other, at.jacobian.network, params), params, at, 0.5).params,
        0.0,
    )


@EVERY
def test_damping_follows_the_gain_ratio(inner, numpy_backend):
    """It falls after a short step, which the model predicts well; a step far too long is rejected."""
    params, at = problem(numpy_backend)
    optimizer = LevenbergMarquardt(inner, raised=3.0, lowered=2.0)
    kept = update(optimizer, state_with(inner, at, 0.4), params, at, 1e-3)
    assert kept.state.damping == 0.2
    assert float(kept.step_norm) > 0
    broken = update(optimizer, state_with(inner, at, 0.4), params, at, 1e3)
    assert broken.state.damping == pytest.approx(1.2)
    assert snapshot(broken.params) == snapshot(params)
    assert float(broken.step_norm) == 0.0


def test_the_damping_stays_within_its_bounds(numpy_backend):
    params, at = problem(numpy_backend)
    optimizer = LevenbergMarquardt(INNER[0], lowest=0.25, highest=0.5)
    assert update(optimizer, state_with(INNER[0], at, 0.3), params, at, 1e-3).state.damping == 0.25
    assert update(optimizer, state_with(INNER[0], at, 0.4), params, at, 1e3).state.damping == 0.5


def test_full_batch_loss_falls_far_faster_than_with_the_identity_curvature(numpy_backend):
    net, params, x = CASE.build(numpy_backend, "float64")
    t = np.eye(CASE.outputs)[np.arange(CASE.samples) % CASE.outputs]
    plain = GaussNewton(MinimumNorm(1e-3))
    adapted = LevenbergMarquardt(GaussNewton(MinimumNorm(0.1), curvature="exact"), lowest=1e-12)
    ends = []
    for optimizer in (plain, adapted):
        weights, state = params, init_state(optimizer, net, params)
        for _ in range(40):
            z, J = jacobian(net, weights, x)
            weights, state, *_ = update(optimizer, state, weights, Linearization(CrossEntropy(), z, t, J))
        ends.append(float(value(CrossEntropy(), forward(net, weights, x), t)))
    assert ends[1] < 1e-3 * ends[0]


def test_gradients_of_trees_are_untouched(backend):
    params, at = problem(backend)
    before = snapshot(params)
    optimizer = LevenbergMarquardt(INNER[1])
    state = init_state(optimizer, at.jacobian.network, params)
    first, second = (update(optimizer, state, params, at, 0.5) for _ in range(2))
    assert snapshot(params) == before
    assert snapshot(first.params) == snapshot(second.params)
    assert float(trees.norm(trees.axpy(-1.0, params, first.params))) == pytest.approx(float(first.step_norm))


@pytest.mark.parametrize("bounds", [{"lowest": 1.0, "highest": 0.5}, {"lowest": 0.5}, {"highest": 0.2}])
def test_an_initial_damping_outside_its_bounds_is_refused(bounds):
    with pytest.raises(UsageError, match=r"the initial damping is 0\.3; expected a number between lowest"):
        LevenbergMarquardt(INNER[0], **bounds)

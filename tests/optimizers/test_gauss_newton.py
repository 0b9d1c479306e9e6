"""Gauss-Newton training: exact steps of either solver reach rounding error within a few steps."""

import numpy as np
import pytest
from cases import redraw
from reference import dense

from revgn import trees
from revgn.losses import CrossEntropy, SquaredError, output_step, value
from revgn.maps import forward, init
from revgn.networks import Architecture, draw_network
from revgn.optimizers import GaussNewton, Linearization, init_state, update
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, apply, jacobian, solve
from revgn.solvers.rows import draw_rows
from revgn.testing import assert_close

SOLVERS = [BlockWise("uniform"), BlockWise("last"), BlockWise(), MinimumNorm()]
SAMPLES, FEATURES, OUTPUTS = 12, 10, 3


def build(library, scale=1e-3):
    """A network whose blocks all have rank n, a batch, and targets."""
    rng = np.random.default_rng(34)
    net = draw_network(
        Architecture(2, 64, "tanh"),
        FEATURES,
        OUTPUTS,
        rng,
        backend=library.backend,
        dtype=library.dtype("float64"),
    )
    params = redraw(init(net, rng, 1.0), library, "float64", rng, scale)
    x = library.asarray(rng.standard_normal((SAMPLES, FEATURES)))
    t = forward(net, params, x) + library.asarray(0.1 * rng.standard_normal((SAMPLES, OUTPUTS)))
    return net, params, x, t


def losses(optimizer, library, steps):
    net, params, x, t = build(library)
    state = init_state(optimizer, net, params)
    yield float(value(SquaredError(), forward(net, params, x), t))
    for _ in range(steps):
        z, J = jacobian(net, params, x)
        params, state, *_ = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        yield float(value(SquaredError(), forward(net, params, x), t))


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_learning_rate_one_reaches_rounding(solver, backend):
    """Full batch, squared error: within 8 steps the loss falls to 1e-20 of its initial value."""
    start, *later = losses(GaussNewton(solver), backend, 8)
    assert min(later) < 1e-20 * start


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_convergence_is_quadratic(solver, numpy_backend):
    """A step squares the error in the outputs, |z - t|, up to one constant."""
    error = np.sqrt(list(losses(GaussNewton(solver), numpy_backend, 6)))
    error = error[error > 1e-12]
    assert error.size >= 4
    slopes = np.diff(np.log(error[1:])) / np.diff(np.log(error[:-1]))
    assert slopes[-1] > 1.7


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_a_small_learning_rate_gives_a_gradient_flow_on_the_outputs(solver, numpy_backend):
    """With learning rate lr, an exact step multiplies z - t by 1 - lr, to first order."""
    start, after = losses(GaussNewton(solver, lr=1e-4), numpy_backend, 1)
    assert np.sqrt(after / start) == pytest.approx(1 - 1e-4, abs=1e-6)


@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"])
@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_the_step_is_the_solution(solver, loss, backend):
    """W - lr D, with J D = eps and eps the output step of the loss."""
    net, params, x, _ = build(backend, scale=0.1)
    t = backend.asarray(np.eye(OUTPUTS)[np.arange(SAMPLES) % OUTPUTS])
    z, J = jacobian(net, params, x)
    eps = output_step(loss, z, t)
    D, info = solve(solver, J, eps)
    optimizer = GaussNewton(solver, lr=0.5)
    done = update(optimizer, init_state(optimizer, net, params), params, Linearization(loss, z, t, J))
    assert_close("W - lr D", done.params, trees.axpy(-0.5, D, params), 0.0)
    assert_close("J D = eps", apply(J, D), eps, 1e-10)
    assert done.solve.rho == info.rho


def remembered(library, solver, beta, steps, limit=np.inf):
    """Directions of several updates on changing batches, with the eps and the dense J of each batch."""
    optimizer = GaussNewton(solver, 0.1, beta, limit)
    net, params, _, _ = build(library, scale=0.1)
    state, rng = init_state(optimizer, net, params), np.random.default_rng(35)
    for _ in range(steps):
        x = library.asarray(rng.standard_normal((SAMPLES, FEATURES)))
        t = library.asarray(rng.standard_normal((SAMPLES, OUTPUTS)))
        z, J = jacobian(net, params, x)
        done = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        yield state.direction, done, J, z - t
        params, state = done.params, done.state


@pytest.mark.parametrize(("beta", "damping"), [(0.9, 0.3), (1.0, 0.0)])
def test_momentum_is_the_nearest_solution_to_the_last_direction(beta, damping, numpy_backend):
    """D minimizes |J D - eps|^2 + mu |D - beta D_(t-1)|^2, against the dense Jacobian."""
    for before, done, J, eps in remembered(numpy_backend, MinimumNorm(damping), beta, 3):
        truth = dense.jacobian(J.network, J.params, np.hstack(J.point.input))
        mu = damping * np.mean(np.sum(truth * truth, axis=1))
        near = beta * dense.flat(before)
        kernel = truth @ truth.T + mu * np.eye(truth.shape[0])
        expected = near + truth.T @ np.linalg.solve(kernel, dense.rows(eps) - truth @ near)
        assert_close("D", dense.flat(done.state.direction), expected, 1e-9)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("kind", [MinimumNorm, ConjugateGradients])
def test_momentum_with_some_rows_per_sample(kind, rows, numpy_backend):
    """The same law with R^T J and R^T eps; R is drawn at each step from eps, not from the residual."""
    own = {"tolerance": 1e-12} if kind is ConjugateGradients else {}
    steps = remembered(numpy_backend, kind(0.3, rows=rows, **own), 0.9, 3)
    for step, (before, done, J, eps) in enumerate(steps):
        R = draw_rows(eps, rows, (0, step))
        truth = dense.jacobian(J.network, J.params, np.hstack(J.point.input)).reshape(*eps.shape, -1)
        truth = np.einsum("ncm,ncw->nmw", R, truth).reshape(SAMPLES * rows, -1)
        wanted = np.einsum("ncm,nc->nm", R, eps).ravel()
        kernel = truth @ truth.T
        kernel += 0.3 * np.mean(np.diagonal(kernel)) * np.eye(len(kernel))
        near = 0.9 * dense.flat(before)
        expected = near + truth.T @ np.linalg.solve(kernel, wanted - truth @ near)
        assert_close("D", dense.flat(done.state.direction), expected, 1e-9)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_a_step_with_momentum_is_exact(solver, numpy_backend):
    for _, done, J, eps in remembered(numpy_backend, solver, 0.9, 4):
        assert_close("J D = eps", apply(J, done.state.direction), eps, 1e-10)
        assert done.solve.rho < 1e-10


def test_rho_is_relative_to_eps(numpy_backend):
    """A damped step with momentum: rho is |J D - eps| / |eps| for the whole direction."""
    for _, done, J, eps in remembered(numpy_backend, MinimumNorm(0.3), 0.9, 3):
        miss = np.linalg.norm(apply(J, done.state.direction) - eps) / np.linalg.norm(eps)
        assert done.solve.rho == pytest.approx(miss, rel=1e-9)


@pytest.mark.parametrize(("limit", "damping"), [(1.0, 0.0), (1.2, 0.3)])
def test_momentum_keeps_the_residual_below_the_limit(limit, damping, numpy_backend):
    """beta is the momentum, or the largest number with |eps - beta J D_(t-1)| <= limit |eps|."""
    bounded = 0
    for before, done, J, eps in remembered(numpy_backend, MinimumNorm(damping), 1.0, 8, limit):
        truth = dense.jacobian(J.network, J.params, np.hstack(J.point.input))
        eps, u = dense.rows(eps), truth @ dense.flat(before)
        crossings = np.roots([u @ u, -2 * eps @ u, (1 - limit**2) * eps @ eps]) if u.any() else np.ones(1)
        beta = min(1.0, crossings.max())
        bounded += beta < 1
        kernel = truth @ truth.T
        kernel += damping * np.mean(np.diagonal(kernel)) * np.eye(len(kernel))
        expected = beta * dense.flat(before) + truth.T @ np.linalg.solve(kernel, eps - beta * u)
        assert_close("D", dense.flat(done.state.direction), expected, 1e-9)
    assert bounded >= 2


def test_a_momentum_limit_that_is_never_reached_has_no_effect(numpy_backend):
    """Even if its square exceeds the largest number."""
    steps = (remembered(numpy_backend, MinimumNorm(0.3), 0.9, 3, limit) for limit in (1e10, 1e200, np.inf))
    first, *others = [[dense.flat(done.state.direction).tolist() for _, done, _, _ in of] for of in steps]
    assert others == [first] * 2

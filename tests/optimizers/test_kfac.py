"""K-FAC against dense Kronecker products, with factors from the explicit derivatives of the network."""

import math

import numpy as np
import pytest
from cases import NETWORKS, network_case
from reference import kfac

from revgn import trees
from revgn.arrays import to_host
from revgn.errors import UnsupportedMapError
from revgn.losses import CrossEntropy, SquaredError, gradient, value
from revgn.maps import forward
from revgn.optimizers import KFAC, Linearization, batch_gradient, init_state, update
from revgn.optimizers.kronecker import curvature_columns
from revgn.solvers import jacobian
from revgn.testing import assert_close, tolerance

LR = 0.05
KINDS = {"squared-error": SquaredError(), "cross-entropy": CrossEntropy()}
EVERY_LOSS = pytest.mark.parametrize("kind", KINDS)
CASE = network_case("relu-identity-keep")


def batch(case, step, library, dtype="float64"):
    """Inputs and targets that change from step to step."""
    rng = np.random.default_rng([60, step])
    t = np.eye(case.outputs)[rng.integers(case.outputs, size=case.samples)]
    x = rng.standard_normal((case.samples, case.features))
    return library.asarray(x, dtype), library.asarray(t, dtype)


def linearized(loss, t, net, params, x):
    z, J = jacobian(net, params, x)
    return Linearization(loss, z, t, J)


def trained(optimizer, case, kind, library, steps, dtype="float64"):
    """Each update, with the linearization and the state before it."""
    net, params, _ = case.build(library, dtype)
    state = init_state(optimizer, net, params)
    for step in range(steps):
        x, t = batch(case, step, library, dtype)
        at = linearized(KINDS[kind], t, net, params, x)
        done = update(optimizer, state, params, at)
        yield at, x, state, done
        params, state = done.params, done.state


@EVERY_LOSS
def test_columns_are_a_square_root_of_the_curvature(kind, backend, dtype):
    z = backend.asarray(np.random.default_rng(61).standard_normal((5, 4)), dtype)
    S = curvature_columns(KINDS[kind], z)
    assert (S.shape, S.dtype) == ((4, 5, 4), z.dtype)
    S, z = (np.asarray(to_host(a), dtype=np.float64) for a in (S, z))
    expected = kfac.hessians(kind, z)
    assert_close("S S^T", np.einsum("onp,onq->npq", S, S), expected, tolerance(dtype, "map"))
    moved = 1e-5 * np.eye(4)[:, None, :] + np.zeros((4, 5, 4))
    for p in range(4):  # n times the derivative of the gradient
        ahead, behind = (gradient(KINDS[kind], z + sign * moved[p], np.eye(4)[[0] * 5]) for sign in (1, -1))
        np.testing.assert_allclose(5 * (ahead - behind) / 2e-5, expected[:, p, :], atol=1e-9)


@EVERY_LOSS
@pytest.mark.parametrize("case", [c for c in NETWORKS if c.samples > 1], ids=lambda case: case.name)
def test_the_step_matches_the_dense_kronecker_product(case, kind, numpy_backend):
    """All kinds of couplings, including couplings with reduced features, activations kept or rebuilt."""
    optimizer = KFAC(LR, 0.01, momentum=0.0)
    at, x, _, done = next(trained(optimizer, case, kind, numpy_backend, 1))
    net, params, *_ = at.jacobian
    moved = zip(params, done.params, batch_gradient(at), kfac.factors(net, params, x, kind), strict=True)
    for before, after, g, (P, Q) in moved:
        D = (before.weight - after.weight) / LR
        assert_close("D", D, kfac.solved(P, Q, 0.01, g.weight), 1e-9)


@EVERY_LOSS
def test_means_momentum_and_renewals(kind, numpy_backend):
    """Seven updates, with the factors renewed at every second one, against explicit formulas."""
    optimizer = KFAC(LR, 0.03, 0.8, every=2, decay=0.6, weight_decay=0.2)
    means, m = None, None
    for step, (at, x, _, done) in enumerate(trained(optimizer, CASE, kind, numpy_backend, 7)):
        net, params, *_ = at.jacobian
        if step % 2 == 0:
            share = min(1 - 1 / (step // 2 + 1), 0.6)
            new = kfac.factors(net, params, x, kind)
            means = means or new
            pairs = zip(means, new, strict=True)
            means = [(share * P + (1 - share) * p, share * Q + (1 - share) * q) for (P, Q), (p, q) in pairs]
        g = [each.weight for each in batch_gradient(at)]
        D = [kfac.solved(P, Q, 0.03, G) for (P, Q), G in zip(means, g, strict=True)]
        m = D if m is None else [0.8 * old + new for old, new in zip(m, D, strict=True)]
        for before, after, mk in zip(params, done.params, m, strict=True):
            expected = before.weight - LR * (mk + 0.2 * before.weight)
            assert_close("weights", after.weight, expected, 1e-9)


@pytest.mark.parametrize("dtype", ["float32"])
def test_single_precision_is_double_precision_rounded(dtype, backend, numpy_backend):
    optimizer = KFAC(LR, 0.01, 0.5, every=1)
    double = list(trained(optimizer, CASE, "cross-entropy", numpy_backend, 3))[-1][-1].params
    single = list(trained(optimizer, CASE, "cross-entropy", backend, 3, dtype))[-1][-1].params
    host = trees.map_leaves(lambda w: np.asarray(to_host(w), dtype=np.float64), single)
    assert_close("float32", host, double, 1e-3)


def test_the_clip_bounds_the_change(numpy_backend):
    """lr^2 <D, g> is kl_clip if it would be larger; otherwise the step does not change."""
    at, _, state, free = next(trained(KFAC(LR, 1e-4, 0.0), CASE, "cross-entropy", numpy_backend, 1))
    params, g = at.jacobian.params, batch_gradient(at)

    def change(done):
        return LR * float(trees.dot(trees.axpy(-1.0, done.params, params), g))

    size = change(free)
    for bound, expected in ((0.25 * size, 0.5), (0.999 * size, math.sqrt(0.999)), (1.001 * size, 1.0)):
        done = update(KFAC(LR, 1e-4, 0.0, kl_clip=bound), state, params, at)
        step, whole = (trees.axpy(-1.0, params, each.params) for each in (done, free))
        assert_close("clipped", step, trees.scale(expected, whole), 1e-12)


@EVERY_LOSS
def test_a_full_batch_is_fitted(kind, numpy_backend):
    """The loss falls to a tenth within thirty steps."""
    net, params, _ = CASE.build(numpy_backend, "float64")
    x, t = batch(CASE, 0, numpy_backend)
    optimizer = KFAC(0.25, 1e-3, 0.0, every=1)
    state, loss = init_state(optimizer, net, params), KINDS[kind]
    start = float(value(loss, forward(net, params, x), t))
    for _ in range(30):
        at = linearized(loss, t, net, params, x)
        params, state, *_ = update(optimizer, state, params, at)
    assert float(value(loss, forward(net, params, x), t)) < 0.1 * start


def test_a_zero_curvature_leaves_the_weights_unchanged(numpy_backend):
    """One class has no curvature and no gradient: the weights do not move, and nothing is divided by 0."""
    case = network_case("d=1")
    net, params, x = case.build(numpy_backend, "float64")
    at = linearized(CrossEntropy(), np.ones((case.samples, 1)), net, params, x)
    done = update(KFAC(), init_state(KFAC(), net, params), params, at)
    assert float(done.step_norm) == 0.0


def test_another_loss_has_no_columns():
    with pytest.raises(UnsupportedMapError, match="curvature_columns"):
        curvature_columns(object(), np.zeros((2, 2)))

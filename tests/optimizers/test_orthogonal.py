"""Orthogonalized: equal to Muon for a momentum, independent of length, with the inner state unchanged."""

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn.losses import SquaredError
from revgn.optimizers import (
    SGD,
    FeatureMetric,
    GaussNewton,
    Linearization,
    Muon,
    Orthogonalized,
    direction,
    init_state,
    update,
)
from revgn.solvers import MinimumNorm, jacobian
from revgn.testing import assert_close

CASE = network_case("tanh-same-keep")
GAUSS_NEWTON = GaussNewton(MinimumNorm(0.1), momentum=0.9, metric=FeatureMetric())


def directions(optimizer, library, length=1.0, batches=3):
    """Directions on several batches at the same parameters, with the states after each."""
    net, params, x = CASE.build(library, "float64")
    rng, state = np.random.default_rng(62), init_state(optimizer, net, params)
    for _ in range(batches):
        x = library.asarray(rng.standard_normal(x.shape))
        z, J = jacobian(net, params, x)
        t = z - length * library.asarray(rng.standard_normal(z.shape))
        found = direction(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        state = found.state
        yield found


def test_a_momentum_orthogonalized_is_muon(backend):
    """The matrices are equal; in Muon, Adam updates the biases."""
    ours = directions(Orthogonalized(SGD(momentum=0.9)), backend)
    for one, other in zip(ours, directions(Muon(momentum=0.9, nesterov=False), backend), strict=True):
        for a, b in zip(one.params, other.params, strict=True):
            assert_close("U V^T", a.weight[:-1, :], b.weight[:-1, :], 1e-9)


@pytest.mark.parametrize("inside", [SGD(momentum=0.9), GAUSS_NEWTON], ids=["sgd", "gauss-newton"])
def test_the_result_does_not_depend_on_the_length(inside, backend):
    one, other = (directions(Orthogonalized(inside), backend, length) for length in (1.0, 1e3))
    for a, b in zip(one, other, strict=True):
        assert_close("direction", a.params, b.params, 1e-9)


def test_all_singular_values_are_about_one(numpy_backend):
    """In [0.68, 1.21] s where the singular values of D are not tiny; the vectors stay, the bias is scaled."""
    plain = directions(GAUSS_NEWTON, numpy_backend)
    for D, found in zip(plain, directions(Orthogonalized(GAUSS_NEWTON), numpy_backend), strict=True):
        for was, of in zip(D.params, found.params, strict=True):
            W, M = was.weight[:-1, :], of.weight[:-1, :]
            U, S, Vt = np.linalg.svd(W, full_matrices=False)
            turned = U.T @ M @ Vt.T
            strong = 3e-3 * np.linalg.norm(S) < S
            assert strong.sum() >= 2
            assert np.all((np.diagonal(turned)[strong] > 0.68) & (np.diagonal(turned)[strong] < 1.21))
            assert np.linalg.norm(turned - np.diag(np.diagonal(turned))) < 1e-9
            ratio = np.linalg.norm(M) / np.linalg.norm(W)
            assert_close("bias", of.weight[-1, :], ratio * was.weight[-1, :], 1e-12)


def test_the_state_belongs_to_the_inner_optimizer(numpy_backend):
    plain = directions(GAUSS_NEWTON, numpy_backend)
    for one, other in zip(plain, directions(Orthogonalized(GAUSS_NEWTON), numpy_backend), strict=True):
        assert_close("momentum", other.state.direction, one.state.direction, 0.0)
        # these depend on the direction, or on the run
        own = ("rho", "change", "left", "is_measured", "seconds_kernel", "seconds_solve")
        assert one.solve == other.solve._replace(**{name: getattr(one.solve, name) for name in own})


def test_a_zero_direction_stays_zero(backend):
    net, params, x = CASE.build(backend, "float64")
    z, J = jacobian(net, params, x)
    at = Linearization(SquaredError(), z, z, J)
    done = update(Orthogonalized(SGD()), init_state(SGD(), net, params), params, at)
    assert_close("W", done.params, params, 0.0)


def test_the_step_has_the_inner_learning_rate_and_decay(numpy_backend):
    """W - scale lr (D + w W)."""
    net, params, x = CASE.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    at = Linearization(SquaredError(), z, z + 1.0, J)
    optimizer = Orthogonalized(SGD(0.2, weight_decay=0.5))
    D = direction(optimizer, init_state(optimizer, net, params), params, at).params
    done = update(optimizer, init_state(optimizer, net, params), params, at, 0.25)
    expected = trees.axpy(-0.05, trees.axpy(0.5, params, D), params)
    assert_close("W", done.params, expected, 1e-15)
    assert (done.lr, done.length) == (0.05, 0.05)

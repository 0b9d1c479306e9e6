"""Orthogonalized: equal to Muon for a momentum, independent of length, with the inner state unchanged."""

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn.errors import UsageError
from revgn.losses import SquaredError
from revgn.optimizers import (
    SGD,
    Blend,
    FeatureMetric,
    GaussNewton,
    Linearization,
    Muon,
    Orthogonalized,
    direction,
    init_state,
    update,
)
from revgn.optimizers.muon import spectral_scale
from revgn.optimizers.polar import polar_factor
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


@pytest.mark.parametrize("nesterov", [True, False])
def test_an_orthogonalized_gradient_is_muon(nesterov, backend):
    """The matrices are equal; in Muon, Adam updates the biases. Momentum of SGD is not Nesterov's."""
    ours = (
        Orthogonalized(SGD(), momentum=0.95) if nesterov else Orthogonalized(SGD(momentum=0.95), momentum=0.0)
    )
    muon = Muon(momentum=0.95, nesterov=nesterov)
    for one, other in zip(directions(ours, backend), directions(muon, backend), strict=True):
        for a, b in zip(one.params, other.params, strict=True):
            assert_close("U V^T", a.weight[:-1, :], b.weight[:-1, :], 1e-9)


@pytest.mark.parametrize("inside", [SGD(momentum=0.9), GAUSS_NEWTON], ids=["sgd", "gauss-newton"])
def test_the_result_does_not_depend_on_the_length(inside, backend):
    one, other = (directions(Orthogonalized(inside, momentum=0.0), backend, length) for length in (1.0, 1e3))
    for a, b in zip(one, other, strict=True):
        assert_close("direction", a.params, b.params, 1e-9)


def test_all_singular_values_are_about_one(numpy_backend):
    """In [0.68, 1.21] s where the singular values of D are not tiny; the vectors stay, the bias is scaled."""
    plain = directions(GAUSS_NEWTON, numpy_backend)
    for D, found in zip(
        plain, directions(Orthogonalized(GAUSS_NEWTON, momentum=0.0), numpy_backend), strict=True
    ):
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
    for one, other in zip(
        plain, directions(Orthogonalized(GAUSS_NEWTON, momentum=0.0), numpy_backend), strict=True
    ):
        assert_close("momentum", other.state.direction, one.state.direction, 0.0)
        # these depend on the direction, or on the run
        own = ("rho", "change", "left", "is_measured", "seconds_kernel", "seconds_solve")
        assert one.solve == other.solve._replace(**{name: getattr(one.solve, name) for name in own})


def test_momentum_is_the_running_mean_of_the_inner_directions(backend):
    """Of steps that are not orthogonalized; the inner state is that of the inner optimizer alone."""
    inner, mu, mean = GaussNewton(MinimumNorm(0.1)), 0.8, None
    steps = zip(
        directions(inner, backend), directions(Orthogonalized(inner, momentum=mu), backend), strict=True
    )
    for plain, found in steps:
        D = plain.params
        mean = trees.scale(1 - mu, D) if mean is None else trees.axpy(mu, mean, trees.scale(1 - mu, D))
        assert_close("mean", found.state.momentum, mean, 1e-12)
        ahead = trees.axpy(mu, mean, trees.scale(1 - mu, D))
        for of, was in zip(found.params, ahead, strict=True):
            M = polar_factor("rational", was.weight[:-1, :])
            assert_close("U V^T", of.weight[:-1, :], spectral_scale(M) * M, 1e-9)


def test_momentum_of_gauss_newton_is_refused_within():
    with pytest.raises(UsageError, match="both this optimizer and the inner GaussNewton have momentum"):
        Orthogonalized(GAUSS_NEWTON)
    with pytest.raises(UsageError, match="both this optimizer and the inner GaussNewton have momentum"):
        Orthogonalized(Blend(GAUSS_NEWTON))


def test_wrapped_twice_each_has_its_own_momentum(numpy_backend):
    """Without momentum, the outer polar factor is that of matrices with equal singular values."""
    inner = Orthogonalized(SGD())
    for one, other in zip(
        directions(inner, numpy_backend),
        directions(Orthogonalized(inner, momentum=0.0), numpy_backend),
        strict=True,
    ):
        assert_close("momentum", other.state.momentum, one.state.momentum, 0.0)


def test_a_zero_direction_stays_zero(backend):
    net, params, x = CASE.build(backend, "float64")
    z, J = jacobian(net, params, x)
    at = Linearization(SquaredError(), z, z, J)
    optimizer = Orthogonalized(SGD())
    done = update(optimizer, init_state(optimizer, net, params), params, at)
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

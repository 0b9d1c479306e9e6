"""Step lengths: the trust radius, the Armijo condition, and both together."""

import numpy as np
import pytest
from cases import network_case
from reference import dense

from revgn import trees
from revgn.errors import UsageError
from revgn.losses import CrossEntropy, SquaredError, value
from revgn.maps import forward
from revgn.networks import join
from revgn.optimizers import (
    SGD,
    Adam,
    Backtracking,
    GaussNewton,
    Linearization,
    Paced,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.optimizers.sgd import SGDState
from revgn.solvers import MinimumNorm, jacobian
from revgn.testing import assert_close
from revgn.testing.compare import snapshot

CASE = network_case("tanh-same-keep")
INNER = {
    "gauss-newton": GaussNewton(MinimumNorm(0.1), lr=1.0),
    "sgd": SGD(1.0),
    "adam": Adam(1.0, weight_decay=0.5),
}
EVERY = pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
LOSSES = pytest.mark.parametrize(
    "loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"]
)


def problem(library, loss=None):
    net, params, x = CASE.build(library, "float64")
    t = np.eye(CASE.outputs)[np.random.default_rng(51).integers(CASE.outputs, size=CASE.samples)]
    z, J = jacobian(net, params, x)
    return params, Linearization(loss or SquaredError(), z, library.asarray(t), J)


def step_of(optimizer, params, at, scale=1.0):
    """The update, and E with W_new = W - t E from the inner optimizer alone."""
    done = update(optimizer, init_state(optimizer, at.jacobian.network, params), params, at, scale)
    inner = optimizer.inner
    D = direction(inner, init_state(inner, at.jacobian.network, params), params, at, scale).params
    return done, trees.axpy(inner.weight_decay, params, D)


def loss_at(at, params):
    x = join(at.jacobian.point.input, at.jacobian.network.features)
    return float(value(at.loss, forward(at.jacobian.network, params, x), at.targets))


@EVERY
@pytest.mark.parametrize("rule", [{"trust_radius": 0.5}, {"length": Backtracking()}], ids=["bound", "rule"])
def test_the_step_is_the_length_times_the_direction(inner, rule, backend):
    params, at = problem(backend)
    done, E = step_of(Paced(inner, **rule), params, at, 3.0)
    assert isinstance(done.length, float)
    assert done.lr == 3.0
    assert_close("W - t E", done.params, trees.axpy(-done.length, E, params), 0.0)


@EVERY
def test_a_step_shortened_by_the_radius_has_its_norm(inner, numpy_backend):
    params, at = problem(numpy_backend)
    done, E = step_of(Paced(inner, trust_radius=1e-3), params, at)
    distance = np.linalg.norm(dense.flat(done.params) - dense.flat(params))
    assert distance == pytest.approx(1e-3, rel=1e-10)
    assert float(done.step_norm) == pytest.approx(1e-3, rel=1e-10)
    assert done.length * np.linalg.norm(dense.flat(E)) == pytest.approx(1e-3, rel=1e-10)
    free, _ = step_of(Paced(inner, trust_radius=1e3), params, at)
    plain = update(inner, init_state(inner, at.jacobian.network, params), params, at)
    assert free.length == 1.0
    assert snapshot(free.params) == snapshot(plain.params)


@EVERY
@LOSSES
@pytest.mark.parametrize("lr", [0.01, 30.0, 300.0])
def test_backtracking_stops_at_the_first_length_with_enough_decrease(inner, loss, lr, numpy_backend):
    params, at = problem(numpy_backend, loss)
    rule = Backtracking(halvings=20, decrease=0.2)
    paced = Paced(inner, rule)
    done, E = step_of(paced, params, at, lr)
    slope = float(trees.dot(batch_gradient(at), E))
    enough = [
        loss_at(at, trees.axpy(-lr / 2**k, E, params)) <= loss_at(at, params) - 0.2 * lr / 2**k * slope
        for k in range(rule.halvings + 1)
    ]
    assert slope > 0
    assert done.length == lr / 2 ** enough.index(True)
    assert loss_at(at, done.params) <= loss_at(at, params) - 0.2 * done.length * slope


def test_an_ascent_direction_gives_no_step_but_updates_the_state(numpy_backend):
    """A momentum that points uphill: the loss does not rise, and the next batch may differ."""
    params, at = problem(numpy_backend)
    paced = Paced(SGD(0.1, 0.9), Backtracking())
    wrong = SGDState(trees.scale(-100.0, batch_gradient(at)))
    done = update(paced, wrong, params, at)
    assert snapshot(done.params) == snapshot(params)
    assert (done.length, float(done.step_norm)) == (0.0, 0.0)
    expected = trees.axpy(0.9, wrong.momentum, batch_gradient(at))
    assert_close("momentum", done.state.momentum, expected, 0.0)


def test_lengths_with_an_overflow_are_rejected(numpy_backend):
    params, at = problem(numpy_backend)
    with np.errstate(all="ignore"):
        done, _ = step_of(Paced(SGD(1.0), Backtracking(4)), params, at, 1e162)
    assert done.length == 0.0
    assert snapshot(done.params) == snapshot(params)


def test_the_bound_is_applied_before_the_rule(numpy_backend):
    """The length is the length allowed by the bound, halved several times."""
    params, at = problem(numpy_backend)
    done, E = step_of(Paced(SGD(1.0), Backtracking(), trust_radius=0.5), params, at, 1e3)
    k = -np.log2(done.length * float(trees.norm(E)) / 0.5)
    assert abs(k - round(k)) < 1e-9
    assert k >= 0


def test_a_bound_or_a_rule_is_required():
    with pytest.raises(UsageError, match="neither a trust_radius nor a length rule"):
        Paced(SGD())

"""Step lengths: bounds that hold, the Armijo condition, what a fresh batch likes; the pull to the start."""

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
    LBFGS,
    SGD,
    Adam,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Paced,
    PacedState,
    SGDState,
    Switch,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.solvers import MinimumNorm, jacobian
from revgn.testing import assert_close
from revgn.testing.compare import snapshot

CASE = network_case("tanh-same-keep")
INNER = [GaussNewton(MinimumNorm(0.1)), SGD(), Adam(weight_decay=0.5)]
EVERY = pytest.mark.parametrize("inner", INNER, ids=repr)
LOSSES = pytest.mark.parametrize(
    "loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"]
)


def problem(library, loss=None):
    """Parameters, and a batch with a fresh one."""
    net, params, x = CASE.build(library, "float64")
    rng = np.random.default_rng(51)
    t = np.eye(CASE.outputs)[rng.integers(CASE.outputs, size=(2, CASE.samples))]
    z, J = jacobian(net, params, x)
    fresh = library.asarray(rng.standard_normal(x.shape)), library.asarray(t[1])
    return params, Linearization(loss or SquaredError(), library.asarray(t[0]), z, J, fresh)


def step_of(optimizer, params, at, lr):
    """The update, and E with W_new = W - t E, by the inner optimizer alone."""
    done = update(optimizer, init_state(optimizer, params), params, at, lr)
    inner = optimizer.optimizer
    D = direction(inner, init_state(inner, params), params, at, lr).params
    return done, trees.axpy(inner.weight_decay, params, D)


def loss_at(at, params, batch=None):
    x, t = batch or (join(at.jacobian.point.input, at.jacobian.network.features), at.targets)
    return float(value(at.loss, forward(at.jacobian.network, params, x), t))


@EVERY
def test_without_a_bound_or_a_rule_nothing_changes(inner, numpy_backend):
    params, at = problem(numpy_backend)
    paced = Paced(inner)
    done = update(paced, init_state(paced, params), params, at, 0.3)
    plain = update(inner, init_state(inner, params), params, at, 0.3)
    assert snapshot(done.params) == snapshot(plain.params)
    assert snapshot(done.step_norm) == snapshot(plain.step_norm)
    assert done.length == plain.length == 0.3


@EVERY
@pytest.mark.parametrize("rule", ["fixed", "backtracking", "second-batch"])
def test_the_step_is_the_length_times_the_direction(inner, rule, backend):
    params, at = problem(backend)
    done, E = step_of(Paced(inner, rule), params, at, 3.0)
    assert isinstance(done.length, float)
    assert_close("W - t E", done.params, trees.axpy(-done.length, E, params), 0.0)


@EVERY
def test_a_radius_that_binds_is_reached(inner, numpy_backend):
    params, at = problem(numpy_backend)
    done, E = step_of(Paced(inner, trust_radius=1e-3), params, at, 1.0)
    distance = np.linalg.norm(dense.flat(done.params) - dense.flat(params))
    assert distance == pytest.approx(1e-3, rel=1e-10)
    assert float(done.step_norm) == pytest.approx(1e-3, rel=1e-10)
    assert done.length * np.linalg.norm(dense.flat(E)) == pytest.approx(1e-3, rel=1e-10)
    free, _ = step_of(Paced(inner, trust_radius=1e3), params, at, 1.0)
    assert free.length == 1.0


@EVERY
def test_a_change_that_binds_is_reached(inner, numpy_backend):
    """The root of the mean over samples of |t J E|^2, J by the complex step."""
    params, at = problem(numpy_backend)
    done, E = step_of(Paced(inner, trust_change=0.01), params, at, 1.0)
    J = dense.jacobian(at.jacobian.network, params, np.hstack(at.jacobian.point.input))
    change = done.length * np.linalg.norm(J @ dense.flat(E)) / np.sqrt(CASE.samples)
    assert change == pytest.approx(0.01, rel=1e-9)
    assert step_of(Paced(inner, trust_change=1e3), params, at, 1.0)[0].length == 1.0
    both, _ = step_of(Paced(inner, trust_change=0.01, trust_radius=1e-4), params, at, 1.0)
    assert float(both.step_norm) == pytest.approx(1e-4, rel=1e-10)


@EVERY
@LOSSES
@pytest.mark.parametrize("lr", [0.01, 1.0, 30.0, 300.0])
def test_backtracking_stops_at_the_first_length_of_enough_decrease(inner, loss, lr, numpy_backend):
    params, at = problem(numpy_backend, loss)
    paced = Paced(inner, "backtracking", halvings=20, decrease=0.2)
    done, E = step_of(paced, params, at, lr)
    slope = float(trees.dot(batch_gradient(at), E))
    halvings = range(paced.halvings + 1)
    enough = [
        loss_at(at, trees.axpy(-lr / 2**k, E, params)) <= loss_at(at, params) - 0.2 * lr / 2**k * slope
        for k in halvings
    ]
    assert slope > 0
    assert done.length == lr / 2 ** enough.index(True)
    assert loss_at(at, done.params) <= loss_at(at, params) - 0.2 * done.length * slope


def test_uphill_no_length_is_taken_but_the_state_goes_on(numpy_backend):
    """A momentum that points the wrong way: the loss does not rise, and the next batch may differ."""
    params, at = problem(numpy_backend)
    paced = Paced(SGD(0.9), "backtracking")
    wrong = PacedState(SGDState(trees.scale(-100.0, batch_gradient(at))), ())
    done = update(paced, wrong, params, at, 0.1)
    assert snapshot(done.params) == snapshot(params)
    assert (done.length, float(done.step_norm)) == (0.0, 0.0)
    expected = trees.axpy(0.9, wrong.inner.momentum, batch_gradient(at))
    assert_close("momentum", done.state.inner.momentum, expected, 0.0)


@EVERY
@LOSSES
@pytest.mark.parametrize("lr", [0.01, 1.0, 30.0, 1e3])
def test_a_fresh_batch_likes_the_first_minimum(inner, loss, lr, numpy_backend):
    params, at = problem(numpy_backend, loss)
    done, E = step_of(Paced(inner, "second-batch", halvings=6), params, at, lr)
    losses = [loss_at(at, trees.axpy(-lr / 2**k, E, params), at.fresh) for k in range(7)]
    rises = [k for k in range(6) if losses[k + 1] >= losses[k]]
    assert done.length == lr / 2 ** (rises[0] if rises else 6)


def test_a_length_that_overflows_is_halved(numpy_backend):
    params, at = problem(numpy_backend)
    with np.errstate(all="ignore"):
        done, _ = step_of(Paced(SGD(), "second-batch", halvings=40), params, at, 1e162)
    assert np.isfinite(loss_at(at, done.params, at.fresh))
    with np.errstate(all="ignore"):
        done, _ = step_of(Paced(SGD(), "backtracking", halvings=4), params, at, 1e162)
    assert done.length == 0.0


def test_bounds_come_before_the_rule(numpy_backend):
    params, at = problem(numpy_backend)
    done, E = step_of(Paced(SGD(), "second-batch", trust_radius=0.5), params, at, 1e3)
    k = -np.log2(done.length * float(trees.norm(E)) / 0.5)
    assert abs(k - round(k)) < 1e-9
    assert k >= 0


def test_decay_to_the_start(numpy_backend):
    """W - lr (D + w W + w_0 (W - W_0)), W_0 where the state was made."""
    params, at = problem(numpy_backend)
    paced = Paced(SGD(weight_decay=0.25), decay_to_start=0.5)
    start = trees.scale(0.3, params)
    done = update(paced, init_state(paced, start), params, at, 0.1)
    W, W0, g = (dense.flat(tree) for tree in (params, start, batch_gradient(at)))
    assert_close("W", dense.flat(done.params), W - 0.1 * (g + 0.25 * W + 0.5 * (W - W0)), 1e-13)
    assert snapshot(done.state.start) == snapshot(start)
    assert init_state(Paced(SGD()), params).start == ()


def test_a_second_batch_is_missed(numpy_backend):
    params, at = problem(numpy_backend)
    paced = Paced(SGD(), "second-batch")
    with pytest.raises(UsageError, match=r"needs one; give it as Linearization\.fresh"):
        update(paced, init_state(paced, params), params, at._replace(fresh=None), 0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": LBFGS()}, "Paced: LBFGS takes its steps itself"),
        ({"optimizer": LevenbergMarquardt(INNER[0])}, "Paced: LevenbergMarquardt takes its steps itself"),
        ({"optimizer": Switch(SGD(), Adam(), at=1)}, "Paced: Switch takes its steps itself"),
        ({"optimizer": Paced(SGD())}, "Paced: Paced takes its steps itself"),
        ({"length": "armijo"}, "length is 'armijo'; expected fixed, backtracking or second-batch"),
        ({"halvings": 0}, "halvings 0"),
        ({"decrease": 1.0}, "decrease 1.0"),
        ({"decay_to_start": -1.0}, "decay_to_start -1.0"),
        ({"trust_radius": 0.0}, "trust_radius is 0.0; expected a number > 0"),
        ({"trust_change": float("nan")}, "trust_change is nan"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Paced(**{"optimizer": SGD(), **wrong})

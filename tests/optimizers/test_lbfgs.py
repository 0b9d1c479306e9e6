"""L-BFGS: the two-loop recursion against the dense BFGS inverse, the line search against its conditions."""

import math

import numpy as np
import pytest
import scipy.optimize
from cases import network_case
from hypothesis import given
from hypothesis import strategies as st
from reference import dense

from revgn import trees
from revgn.losses import CrossEntropy, SquaredError, value
from revgn.maps import forward
from revgn.networks import join
from revgn.optimizers import LBFGS, SGD, Linearization, batch_gradient, init_state, update
from revgn.optimizers.lbfgs import LBFGSState, inverse_product
from revgn.optimizers.line_search import CURVATURE, DECREASE, Trial, strong_wolfe
from revgn.solvers import jacobian
from revgn.testing import assert_close

CASE = network_case("tanh-same-keep")


def searched(f, slope, first=1.0):
    """Trial that the line search finds for f and its derivative, and the lengths tried."""
    tried = []

    def evaluate(length):
        tried.append(length)
        return Trial(length, f(length), slope(length), ())

    return strong_wolfe(evaluate, Trial(0.0, f(0.0), slope(0.0), ()), first), tried


def assert_wolfe(found, f, slope):
    assert found.length > 0
    assert found.value == f(found.length) <= f(0.0) + DECREASE * found.length * slope(0.0)
    assert abs(found.slope) <= CURVATURE * abs(slope(0.0))


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=3),
    st.floats(0.3, 5.0),
    st.floats(-3, 3),
    st.floats(0.01, 100.0),
)
def test_the_length_satisfies_the_strong_wolfe_conditions(waves, steep, tilt, first):
    """Waves on a parabola: many minima, maxima and inflection points."""
    frequencies = 1.0 + np.arange(len(waves))

    def f(a):
        return float(0.5 * steep * a * a + tilt * a + waves @ np.sin(frequencies * a))

    def slope(a):
        return float(steep * a + tilt + (waves * frequencies) @ np.cos(frequencies * a))

    waves = np.array(waves)
    if slope(0.0) > -0.1:  # not a descent direction: reverse it
        tilt -= slope(0.0) + 0.1
    assert_wolfe(searched(f, slope, first)[0], f, slope)


def test_a_parabola_takes_one_cubic():
    """The cubic through two points of a parabola is the parabola."""
    found, tried = searched(lambda a: (a - 3.0) ** 2, lambda a: 2 * (a - 3.0), 8.0)
    assert tried == [8.0, pytest.approx(3.0, rel=1e-12)]
    assert found.slope == pytest.approx(0.0, abs=1e-11)


def test_lengths_grow_while_the_slope_is_negative():
    found, tried = searched(lambda a: (a - 300.0) ** 2, lambda a: 2 * (a - 300.0), 1.0)
    assert tried[:4] == [1.0, 4.0, 16.0, 64.0]
    assert found.length == 64.0


def test_a_length_with_a_loss_that_is_not_finite_is_too_long():
    def f(a):
        return (a - 0.01) ** 2 if a < 0.05 else math.nan

    found, tried = searched(f, lambda a: 2 * (a - 0.01) if a < 0.05 else math.inf)
    assert len(tried) < 10
    assert_wolfe(found, f, lambda a: 2 * (a - 0.01))


def test_at_a_kink_the_lowest_trial_is_returned():
    """For |a - 1/3| no length satisfies the second condition, but some lengths lower the loss."""
    found, tried = searched(lambda a: abs(a - 1 / 3), lambda a: math.copysign(1.0, a - 1 / 3))
    assert len(tried) <= 20
    assert abs(found.length - 1 / 3) < 0.01


@pytest.mark.parametrize("first", [1.0, 0.0, 5e-324])
def test_without_a_lower_trial_the_length_is_zero(first):
    found, tried = searched(lambda a: 1.0 + a, lambda a: -1.0, first)  # a wrong slope, as by rounding
    assert found.length == 0.0
    assert len(tried) <= 20


def test_the_search_ends_for_an_unbounded_loss():
    found, tried = searched(lambda a: -a, lambda a: -1.0)
    assert len(tried) == 20
    assert found.length == max(tried)


@pytest.mark.parametrize("history", [1, 3, 8])
@pytest.mark.parametrize("pairs", [0, 1, 3, 8])
def test_the_two_loop_recursion_is_the_dense_inverse(history, pairs, numpy_backend):
    """H by the BFGS formula from I s.y / y.y of the newest pair, over all stored pairs."""
    net, params, _ = CASE.build(numpy_backend, "float64")
    rng, w = np.random.default_rng(70), dense.flat(params)

    def drawn():
        return trees.map_leaves(lambda leaf: rng.standard_normal(leaf.shape), params)

    state = init_state(LBFGS(history=history), net, params)
    H = np.eye(w.size)
    made = [(s, trees.axpy(0.3, drawn(), s)) for s in (drawn() for _ in range(pairs))]
    for s, y in made:
        newest = (s, y, 1.0 / float(trees.dot(s, y)))
        state = LBFGSState(*((*old[1:], new) for old, new in zip(state, newest, strict=True)))
    if pairs:
        s, y = (dense.flat(part) for part in made[-1])
        H *= (s @ y) / (y @ y)
    for s, y in made[-history:]:
        s, y = dense.flat(s), dense.flat(y)
        V = np.eye(w.size) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    g = drawn()
    assert_close("H g", dense.flat(inverse_product(state, g)), H @ dense.flat(g), 1e-10)


def stepped(optimizer, library, steps, loss, dtype="float64", activations="keep"):
    """Each update on one batch, with its linearization."""
    net, params, x = network_case(f"tanh-same-{activations}").build(library, dtype)
    t = library.asarray(np.eye(CASE.outputs)[np.arange(CASE.samples) % CASE.outputs], dtype)
    state = init_state(optimizer, net, params)
    for _ in range(steps):
        z, J = jacobian(net, params, x)
        at = Linearization(loss, z, t, J)
        done = update(optimizer, state, params, at)
        yield at, done
        params, state = done.params, done.state


LOSSES = pytest.mark.parametrize(
    "loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"]
)


def loss_at(at, params):
    x = join(at.jacobian.point.input, at.jacobian.network.features)
    return float(value(at.loss, forward(at.jacobian.network, params, x), at.targets))


@LOSSES
@pytest.mark.parametrize("activations", ["keep", "rebuild"])
def test_each_step_satisfies_the_conditions_and_is_stored(loss, activations, numpy_backend):
    gradient_before = None
    for at, done in stepped(LBFGS(history=4), numpy_backend, 9, loss, activations=activations):
        before = at.jacobian.params
        g = batch_gradient(at)
        s = trees.axpy(-1.0, before, done.params)
        descent = float(trees.dot(g, s))
        x = join(at.jacobian.point.input, at.jacobian.network.features)
        z, J = jacobian(at.jacobian.network, done.params, x)
        there = at._replace(outputs=z, jacobian=J)
        y = trees.axpy(-1.0, g, batch_gradient(there))
        assert loss_at(at, done.params) <= loss_at(at, before) + DECREASE * descent
        assert abs(float(trees.dot(batch_gradient(there), s))) <= CURVATURE * abs(descent)
        assert_close("s", done.state.steps[-1], s, 1e-9)
        assert_close("y", done.state.changes[-1], y, 1e-9)
        assert done.state.inverse_products[-1] == pytest.approx(1.0 / float(trees.dot(s, y)), rel=1e-9)
        assert_close("H y = s", inverse_product(done.state, y), s, 1e-9)
        if gradient_before is not None:
            assert_close("older pairs", done.state.steps[:-1], gradient_before[1:], 0.0)
        gradient_before = done.state.steps


@LOSSES
def test_faster_than_gradient_descent(loss, numpy_backend):
    """Forty steps reach a far lower loss than 200 steps of gradient descent at its best learning rate."""

    def last(optimizer, steps):
        *_, (at, done) = stepped(optimizer, numpy_backend, steps, loss)
        return loss_at(at, done.params)

    with np.errstate(over="ignore", invalid="ignore"):
        descent = [last(SGD(lr), 200) for lr in (0.03, 0.1, 0.3, 1.0)]
    assert last(LBFGS(), 40) < 0.1 * np.nanmin(descent)


def test_the_losses_agree_with_scipy(numpy_backend):
    """SciPy's L-BFGS-B has another line search; the losses agree within a factor of two for 30 steps."""
    net, params, x = CASE.build(numpy_backend, "float64")
    own = [(at, loss_at(at, done.params)) for at, done in stepped(LBFGS(), numpy_backend, 30, SquaredError())]
    targets, theirs = own[0][0].targets, []

    def evaluate(weights):
        z, J = jacobian(net, trees.unflatten(params, weights), x)
        g = batch_gradient(Linearization(SquaredError(), z, targets, J))
        return float(value(SquaredError(), z, targets)), trees.flatten(g)

    scipy.optimize.minimize(
        evaluate,
        trees.flatten(params),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 30, "maxcor": 10, "ftol": 0, "gtol": 0},
        callback=lambda weights: theirs.append(evaluate(weights)[0]),
    )
    ratio = np.array([loss for _, loss in own]) / theirs
    assert (ratio < 2.0).all()
    assert (ratio > 0.5).all()


def test_it_converges_to_rounding(numpy_backend):
    """The loss falls to the square of the rounding error, and then does not change."""
    *_, (at, done) = stepped(LBFGS(history=20), numpy_backend, 150, SquaredError())
    assert loss_at(at, done.params) < 1e-26
    assert np.isfinite(dense.flat(done.params)).all()


def test_single_precision_converges(numpy_backend):
    *_, (at, done) = stepped(LBFGS(), numpy_backend, 60, SquaredError(), dtype="float32")
    assert loss_at(at, done.params) < 1e-8
    assert np.isfinite(float(done.step_norm))


def test_without_a_lower_loss_the_weights_stay_and_the_pairs_are_dropped(numpy_backend, monkeypatch):
    monkeypatch.setattr("revgn.optimizers.lbfgs.strong_wolfe", lambda evaluate, start, first: start)
    for at, done in stepped(LBFGS(history=3), numpy_backend, 2, SquaredError()):
        assert float(done.step_norm) == 0.0
        assert dense.flat(done.params).tobytes() == dense.flat(at.jacobian.params).tobytes()
        assert done.state.inverse_products == (0.0,) * 3


def test_a_pair_without_curvature_is_left_out(numpy_backend, monkeypatch):
    """The trial has a lower loss but an equally steep slope, so s.y carries no information."""
    monkeypatch.setattr("revgn.optimizers.lbfgs.strong_wolfe", lambda evaluate, start, first: evaluate(1e-9))
    for _, done in stepped(LBFGS(history=3), numpy_backend, 2, SquaredError()):
        assert float(done.step_norm) > 0.0
        assert done.state.inverse_products == (0.0,) * 3


def test_the_first_step_is_along_the_gradient_and_short(numpy_backend, monkeypatch):
    """The first length tried is the learning rate; without a pair it is multiplied by 1/|g|."""
    tried = []

    def noted(evaluate, start, first):
        tried.append((first, -start.slope))
        return strong_wolfe(evaluate, start, first)

    monkeypatch.setattr("revgn.optimizers.lbfgs.strong_wolfe", noted)
    list(stepped(LBFGS(0.5), numpy_backend, 3, SquaredError()))
    first, square = tried[0]
    assert first == pytest.approx(0.5 * min(1.0, square**-0.5))
    assert [length for length, _ in tried[1:]] == [0.5, 0.5]

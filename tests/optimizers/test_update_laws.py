"""What every optimizer keeps: purity, the same bits again, the norm it reports, decoupled weight decay."""

from dataclasses import replace

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn._dispatch import has_map
from revgn.losses import CrossEntropy, SquaredError
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    Adam,
    Backtracking,
    Blend,
    FeatureMetric,
    GaussNewton,
    Linearization,
    Muon,
    Orthogonalized,
    Paced,
    Switch,
    direction,
    init_state,
    update,
)
from revgn.solvers import BlockWise, MinimumNorm, jacobian
from revgn.testing import assert_close, relative_error, tolerance
from revgn.testing.compare import assert_same_kind, snapshot

OPTIMIZERS = [
    SGD(),
    SGD(momentum=0.9),
    SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    Adam(),
    Adam(weight_decay=0.1),
    Muon(),
    Muon(momentum=0.5, nesterov=False, weight_decay=0.1),
    KFAC(),
    KFAC(damping=0.1, momentum=0.0, every=1),
    GaussNewton(BlockWise("uniform")),
    GaussNewton(BlockWise()),
    GaussNewton(MinimumNorm(), weight_decay=0.1),
    GaussNewton(MinimumNorm(0.1)),
    GaussNewton(BlockWise(), momentum=1.0),
    GaussNewton(MinimumNorm(0.1), momentum=0.9, metric=FeatureMetric(every=2)),
    GaussNewton(BlockWise(), metric=FeatureMetric(0.1, decay=0.0, every=1)),
    Switch(Adam(), GaussNewton(MinimumNorm(0.1), momentum=0.9), switch_at=1),
    Switch(GaussNewton(MinimumNorm()), SGD(momentum=0.9), patience=5),
    Blend(GaussNewton(MinimumNorm(0.1), momentum=0.9), Adam(), share=0.25),
    Orthogonalized(GaussNewton(MinimumNorm(0.1), momentum=0.9)),
    Orthogonalized(Adam(weight_decay=0.1)),
]
CHOOSING = [  # the length of their steps, so rate and decay have other effects
    LBFGS(),
    LBFGS(history=1),
    Paced(GaussNewton(MinimumNorm(0.1)), Backtracking(), trust_radius=0.1),
    Paced(Blend(GaussNewton(), SGD()), trust_radius=1e-3),
    Switch(Paced(SGD(), Backtracking()), LBFGS(history=2), switch_at=3),
]
EVERY = pytest.mark.parametrize("optimizer", OPTIMIZERS + CHOOSING, ids=repr)
FREE = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
CASE = network_case("tanh-same-keep")


def problem(library, dtype, loss):
    net, params, x = CASE.build(library, dtype)
    rng = np.random.default_rng(33)
    t = np.eye(CASE.outputs)[rng.integers(CASE.outputs, size=CASE.samples)]
    z, J = jacobian(net, params, x)
    return params, Linearization(loss, z, library.asarray(t, dtype), J)


def memory(state):
    """The arrays that a state remembers, without counts and other numbers."""
    return tuple(leaf for leaf in trees.leaves(state) if hasattr(leaf, "dtype"))


def warmed_up(optimizer, params, at):
    """A state that remembers something."""
    state = init_state(optimizer, at.jacobian.network, params)
    return update(optimizer, state, params, at, 0.1).state


@EVERY
@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()], ids=["squared-error", "cross-entropy"])
def test_an_update_is_a_function(optimizer, loss, backend, dtype):
    """Arguments stay as they are, the same arguments give the same bits, on every library and device."""
    params, at = problem(backend, dtype, loss)
    state = warmed_up(optimizer, params, at)
    arguments = (params, memory(state), tuple(at.jacobian.point), at.outputs, at.targets)
    before = [snapshot(argument) for argument in arguments]
    first = update(optimizer, state, params, at, 0.1)
    second = update(optimizer, state, params, at, 0.1)
    assert [snapshot(argument) for argument in arguments] == before
    assert snapshot(first.params) == snapshot(second.params)
    assert snapshot(memory(first.state)) == snapshot(memory(second.state))
    assert snapshot(first.params) != before[0]
    assert_same_kind("parameters", first.params, params)
    assert_same_kind("state", memory(first.state), memory(state))


@EVERY
def test_step_norm_is_the_distance_moved(optimizer, backend, dtype):
    params, at = problem(backend, dtype, SquaredError())
    done = update(optimizer, warmed_up(optimizer, params, at), params, at, 0.25)
    moved = relative_error(done.params, params, scale=1.0)
    assert done.step_norm.ndim == 0
    assert float(done.step_norm) == pytest.approx(moved, rel=tolerance(at.outputs.dtype, "chain"))


def with_decay(optimizer, decay):
    """The same optimizer with another decay, in those inside where it has none of its own."""
    inside = [name for name in ("first", "second", "inner") if hasattr(optimizer, name)]
    if not inside:
        return replace(optimizer, weight_decay=decay)
    return replace(optimizer, **{name: with_decay(getattr(optimizer, name), decay) for name in inside})


def rate(optimizer):
    """The learning rate that the weight decay is multiplied by."""
    if isinstance(optimizer, Blend):
        return (1 - optimizer.share) * optimizer.first.lr + optimizer.share * optimizer.second.lr
    return optimizer.first.lr if isinstance(optimizer, Switch) else optimizer.lr


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, LBFGS()], ids=repr)
def test_weight_decay_is_decoupled(optimizer, numpy_backend):
    """With decay w the step is the one without, and w times the parameters more."""
    params, at = problem(numpy_backend, "float64", SquaredError())
    without, decayed = with_decay(optimizer, 0.0), with_decay(optimizer, 0.5)
    state = warmed_up(without, params, at)
    plain, shrunk = (update(each, state, params, at, 0.25) for each in (without, decayed))
    lr = optimizer.second.lr if getattr(plain.state, "is_second", 0) else rate(optimizer)
    expected = trees.axpy(-0.25 * 0.5 * lr, params, plain.params)
    assert_close("decay", shrunk.params, expected, 1e-13)
    assert snapshot(memory(shrunk.state)) == snapshot(memory(plain.state))


@FREE
def test_the_rate_scales_the_step(optimizer, numpy_backend):
    params, at = problem(numpy_backend, "float64", SquaredError())
    state = warmed_up(optimizer, params, at)
    small, large = (update(optimizer, state, params, at, lr) for lr in (0.125, 0.5))
    step = trees.axpy(-1.0, params, small.params)
    assert_close("rate", trees.axpy(-1.0, params, large.params), trees.scale(4.0, step), 1e-12)
    assert snapshot(memory(large.state)) == snapshot(memory(small.state))


@EVERY
def test_only_a_solver_has_something_to_report(optimizer, numpy_backend):
    params, at = problem(numpy_backend, "float64", SquaredError())
    info = update(optimizer, init_state(optimizer, at.jacobian.network, params), params, at, 0.1).solve
    first = optimizer.first if isinstance(optimizer, Switch) else optimizer
    assert (info is not None) == ("GaussNewton" in repr(first))


@EVERY
def test_an_update_goes_along_the_direction(optimizer, numpy_backend):
    params, at = problem(numpy_backend, "float64", SquaredError())
    if not has_map(direction, type(optimizer)):
        assert isinstance(optimizer, LBFGS | Paced | Switch)  # which take their steps themselves
        return
    optimizer = with_decay(optimizer, 0.0)
    state = warmed_up(optimizer, params, at)
    along = direction(optimizer, state, params, at, 0.25)
    plain = update(optimizer, state, params, at, 0.25)
    assert_close("W - lr D", plain.params, trees.axpy(-0.25 * optimizer.lr, along.params, params), 0.0)
    assert snapshot(memory(plain.state)) == snapshot(memory(along.state))

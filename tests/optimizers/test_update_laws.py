"""Laws of every optimizer: purity, reproducible bits, the reported norm, decoupled weight decay."""

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
    SOAP,
    Adam,
    Backtracking,
    Blend,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
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

SPRING = GaussNewton(MinimumNorm(0.1), 0.5, momentum=0.9)
OPTIMIZERS = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": Adam(weight_decay=0.1),
    "muon": Muon(weight_decay=0.1),
    "muon without nesterov": Muon(momentum=0.5, nesterov=False),
    "soap": SOAP(weight_decay=0.1),
    "soap at every step": SOAP(every=1, largest_side=4),
    "kfac": KFAC(),
    "kfac without momentum": KFAC(damping=0.1, momentum=0.0, every=1),
    "block uniform": GaussNewton(BlockWise("uniform")),
    "block with momentum": GaussNewton(BlockWise(), momentum=1.0),
    "block in a metric": GaussNewton(BlockWise(), metric=FeatureMetric(0.1, decay=0.0, every=1)),
    "minimum norm": GaussNewton(weight_decay=0.1),
    "spring": SPRING,
    "spring in a metric": replace(SPRING, metric=FeatureMetric(every=2)),
    "switched": Switch(Adam(), SPRING, switch_at=1),
    "not yet switched": Switch(GaussNewton(), SGD(momentum=0.9), patience=5),
    "blend": Blend(SPRING, Adam(weight_decay=0.1), 0.25),
    "orthogonalized": Orthogonalized(SPRING, momentum=0.0),
    "orthogonalized-momentum": Orthogonalized(GaussNewton()),
    "paced": Paced(Blend(GaussNewton(), SGD()), trust_radius=1e9),
}
CHOOSING = {  # optimizers that choose their step length, so learning rate and decay act differently
    "lbfgs": LBFGS(history=1),
    "bounded": Paced(GaussNewton(MinimumNorm(0.1)), Backtracking(), trust_radius=0.1),
    "backtracking blend": Paced(Blend(Adam(), SGD()), Backtracking(halvings=3)),
    "lbfgs after backtracking": Switch(Paced(SGD(), Backtracking()), LBFGS(history=2), switch_at=3),
    "levenberg-marquardt": LevenbergMarquardt(SPRING),
}
EVERY = pytest.mark.parametrize("name", [*OPTIMIZERS, *CHOOSING])
FREE = pytest.mark.parametrize("name", OPTIMIZERS)
CASE = network_case("tanh-same-keep")


def named(name):
    return (OPTIMIZERS | CHOOSING)[name]


def problem(library, dtype="float64", loss=None):
    net, params, x = CASE.build(library, dtype)
    t = np.eye(CASE.outputs)[np.random.default_rng(33).integers(CASE.outputs, size=CASE.samples)]
    z, J = jacobian(net, params, x)
    return params, Linearization(loss or SquaredError(), z, library.asarray(t, dtype), J)


def memory(state):
    """The arrays in a state, without counts and other numbers."""
    return tuple(leaf for leaf in trees.leaves(state) if hasattr(leaf, "dtype"))


def warmed_up(optimizer, params, at):
    """A state after some updates."""
    return update(optimizer, init_state(optimizer, at.jacobian.network, params), params, at, 0.1).state


@EVERY
def test_an_update_is_a_pure_function(name, backend, dtype):
    """Arguments do not change, and the same arguments give the same bits, on every library and device."""
    optimizer, (params, at) = named(name), problem(backend, dtype, CrossEntropy())
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
def test_step_norm_is_the_distance_moved(name, numpy_backend, dtype):
    optimizer, (params, at) = named(name), problem(numpy_backend, dtype)
    done = update(optimizer, warmed_up(optimizer, params, at), params, at, 0.25)
    moved = relative_error(done.params, params, scale=1.0)
    assert done.step_norm.ndim == 0
    assert float(done.step_norm) == pytest.approx(moved, rel=tolerance(at.outputs.dtype, "chain"))


def with_decay(optimizer, decay):
    """The same optimizer with another weight decay, also in all inner optimizers."""
    names = [name for name in ("inner", "first", "second") if hasattr(optimizer, name)]
    inside = {name: with_decay(getattr(optimizer, name), decay) for name in names}
    return replace(optimizer, **(inside or {"weight_decay": decay}))


def summed_lr(optimizer, done):
    """Sum of the learning rates that multiply directions in an update."""
    if isinstance(optimizer, Paced):
        return summed_lr(optimizer.inner, done)
    if isinstance(optimizer, Blend):
        share = optimizer.share
        return 0.25 * ((1 - share) * optimizer.first.lr + share * optimizer.second.lr)
    return done.lr


@pytest.mark.parametrize("name", [*OPTIMIZERS, "lbfgs"])
def test_weight_decay_is_decoupled(name, numpy_backend):
    """With weight decay w, the step is the step without it plus scale lr w times the parameters."""
    params, at = problem(numpy_backend)
    without, decayed = with_decay(named(name), 0.0), with_decay(named(name), 0.5)
    state = warmed_up(without, params, at)
    plain, shrunk = (update(each, state, params, at, 0.25) for each in (without, decayed))
    factor = -0.5 * summed_lr(without, plain)
    assert_close("decay", shrunk.params, trees.axpy(factor, params, plain.params), 1e-13)
    assert snapshot(memory(shrunk.state)) == snapshot(memory(plain.state))


@FREE
def test_the_scale_scales_the_step(name, numpy_backend):
    optimizer, (params, at) = named(name), problem(numpy_backend)
    state = warmed_up(optimizer, params, at)
    small, large = (update(optimizer, state, params, at, scale) for scale in (0.125, 0.5))
    step = trees.axpy(-1.0, params, small.params)
    assert_close("scale", trees.axpy(-1.0, params, large.params), trees.scale(4.0, step), 1e-12)
    assert (large.lr, large.length) == (4 * small.lr, 4 * small.length)
    assert snapshot(memory(large.state)) == snapshot(memory(small.state))


@EVERY
def test_only_optimizers_with_a_solver_report_solve_information(name, numpy_backend):
    optimizer, (params, at) = named(name), problem(numpy_backend)
    info = update(optimizer, init_state(optimizer, at.jacobian.network, params), params, at).solve
    first = repr(optimizer.first if isinstance(optimizer, Switch) else optimizer)
    assert (info is not None) == ("GaussNewton" in first)


@EVERY
def test_an_update_goes_along_the_direction(name, numpy_backend):
    """W - scale lr (D + w W)."""
    optimizer, (params, at) = named(name), problem(numpy_backend)
    if not has_map(direction, type(optimizer)):
        assert isinstance(optimizer, LBFGS | Paced | Switch | LevenbergMarquardt)
        return
    state = warmed_up(optimizer, params, at)
    along = direction(optimizer, state, params, at, 0.25)
    done = update(optimizer, state, params, at, 0.25)
    step = trees.axpy(optimizer.weight_decay, params, along.params)
    assert_close("W", done.params, trees.axpy(-0.25 * optimizer.lr, step, params), 1e-15)
    assert done.lr == done.length == 0.25 * optimizer.lr
    assert snapshot(memory(done.state)) == snapshot(memory(along.state))

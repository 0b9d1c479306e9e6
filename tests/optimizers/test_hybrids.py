"""Two optimizers combined: one after the other, and blended."""

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn.errors import UsageError
from revgn.losses import SquaredError, value
from revgn.networks import join
from revgn.optimizers import (
    LBFGS,
    SGD,
    Adam,
    Blend,
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
from revgn.solvers import MinimumNorm, jacobian
from revgn.testing import assert_close
from revgn.testing.compare import snapshot

CASE = network_case("tanh-same-keep")
GN = GaussNewton(MinimumNorm(0.1), 0.5, momentum=0.9, weight_decay=0.1)
PAIRS = {
    "gauss-newton, adam": (GN, Adam(weight_decay=0.3)),
    "adam, gauss-newton": (Adam(), GN),
    "sgd, muon": (SGD(0.2, 0.9), Muon()),
}


def problem(library, seed=0, scale=1.0):
    net, params, _ = CASE.build(library, "float64")
    rng = np.random.default_rng([52, seed])
    x = library.asarray(rng.standard_normal((CASE.samples, CASE.features)))
    t = library.asarray(scale * rng.standard_normal((CASE.samples, CASE.outputs)))
    z, J = jacobian(net, params, x)
    return params, Linearization(SquaredError(), z, t, J)


def at_params(at, params):
    """The same batch, linearized at other parameters."""
    x = join(at.jacobian.point.input, at.jacobian.network.features)
    z, J = jacobian(at.jacobian.network, params, x)
    return at._replace(outputs=z, jacobian=J)


def path(optimizer, batches, params, scale=1.0):
    """Updates of an optimizer on one batch after another."""
    state = init_state(optimizer, batches[0].jacobian.network, params)
    for at in batches:
        done = update(optimizer, state, params, at_params(at, params), scale)
        params, state = done.params, done.state
        yield done


# --- in sequence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"), [*PAIRS.values(), (Adam(), LBFGS(history=2))], ids=[*PAIRS, "adam, lbfgs"]
)
def test_a_switch_runs_one_optimizer_alone_then_the_other_alone(first, second, backend):
    """Bit for bit; the second starts from its initial state, with its own learning rate."""
    batches = [problem(backend, seed)[1] for seed in range(6)]
    params = problem(backend)[0]
    found = list(path(Switch(first, second, switch_at=3), batches, params, 0.125))
    before = list(path(first, batches[:3], params, 0.125))
    after = list(path(second, batches[3:], before[-1].params, 0.125))
    for done, expected in zip(found, before + after, strict=True):
        assert snapshot(done.params) == snapshot(expected.params)
        assert (done.lr, done.length) == (expected.lr, expected.length)
    assert [done.state.is_second for done in found] == [0, 0, 0, 1, 1, 1]
    assert [done.state.updates for done in found] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("patience", "smoothing"), [(1, 0.9), (3, 0.5), (3, 0.0)])
def test_a_switch_comes_when_progress_stalls(patience, smoothing, numpy_backend):
    """No new minimum of the running mean of the batch loss for `patience` updates; the mean is recomputed."""
    batches = [problem(numpy_backend, seed, scale=1 + 2 / (seed + 1))[1] for seed in range(25)]
    optimizer = Switch(SGD(0.01), SGD(0.01, 0.5), patience=patience, smoothing=smoothing)
    params = problem(numpy_backend)[0]
    seen, on = [], []
    state = init_state(optimizer, batches[0].jacobian.network, params)
    for at in batches:
        at = at_params(at, params)
        seen.append(float(value(at.loss, at.outputs, at.targets)))
        done = update(optimizer, state, params, at)
        params, state = done.params, done.state
        on.append(bool(state.is_second))
    weights = [smoothing ** np.arange(t)[::-1] for t in range(1, 26)]
    means = [np.sum(w * seen[: len(w)]) / np.sum(w) for w in weights]
    lowest, since, expected = np.inf, 0, []
    for mean in means:
        since = 0 if mean < (1 - 1e-4) * lowest else since + 1
        lowest = mean if since == 0 else lowest
        expected.append(since >= patience or any(expected))
    assert on == expected
    assert any(on)
    assert not all(on)


def test_a_constant_loss_is_no_progress(numpy_backend):
    params, at = problem(numpy_backend)
    optimizer = Switch(SGD(), Adam(), patience=4)
    state, turns = init_state(optimizer, at.jacobian.network, params), []
    for _ in range(8):
        state = update(optimizer, state, params, at, 0.1).state
        turns.append(state.is_second)
    assert turns == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_switch_needs_exactly_one_criterion():
    for given in ({}, {"switch_at": 3, "patience": 3}):
        with pytest.raises(UsageError, match=r"Switch: switch_at is .*, patience is .*; set exactly one"):
            Switch(SGD(), Adam(), **given)


# --- blended ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)
def test_a_blend_is_the_weighted_mean_of_both_steps(first, second, backend):
    """W - scale ((1 - share) lr_1 (D_1 + w_1 W) + share lr_2 (D_2 + w_2 W)), over three updates."""
    params, at = problem(backend)
    states = [init_state(each, at.jacobian.network, params) for each in (first, second)]
    for done in path(Blend(first, second, share=0.25), [at] * 3, params, 0.5):
        expected, here = params, at_params(at, params)
        for k, (each, share) in enumerate(((first, 0.75), (second, 0.25))):
            D, states[k], *_ = direction(each, states[k], params, here)
            step = trees.axpy(each.weight_decay, params, D)
            expected = trees.axpy(-0.5 * share * each.lr, step, expected)
        assert_close("W", done.params, expected, 1e-13)
        assert (done.solve is None) == (first is not GN and second is not GN)
        params = done.params


@pytest.mark.parametrize(
    "inner", [LBFGS(), LevenbergMarquardt(), Switch(switch_at=1), Paced(trust_radius=1.0)]
)
def test_an_optimizer_without_a_direction_is_refused(inner):
    refusal = f"{type(inner).__name__} has no direction, because it computes whole steps"
    for wrap in (Paced, Orthogonalized, Blend, lambda of: Blend(SGD(), of)):
        with pytest.raises(UsageError, match=refusal):
            wrap(inner)

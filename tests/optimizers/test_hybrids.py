"""Two optimizers at work: in turn, blended, each in its own couplings, and one on two half-batches."""

import numpy as np
import pytest
from cases import network_case
from reference import dense

from revgn import trees
from revgn.errors import UsageError
from revgn.losses import SquaredError, value
from revgn.networks import join
from revgn.optimizers import (
    LBFGS,
    SGD,
    Adam,
    Agreement,
    Blend,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Muon,
    PerCoupling,
    Switch,
    direction,
    init_state,
    update,
)
from revgn.solvers import BlockWise, MinimumNorm, apply, jacobian
from revgn.testing import assert_close
from revgn.testing.compare import snapshot

CASE = network_case("tanh-same-keep")
GN = GaussNewton(MinimumNorm(0.1), momentum=0.9)
PAIRS = [(GN, Adam()), (Adam(), GN), (SGD(0.9), Muon()), (GaussNewton(), SGD())]
EVERY = pytest.mark.parametrize(("first", "second"), PAIRS, ids=repr)


def problem(library, seed=0, samples=CASE.samples, scale=1.0):
    net, params, _ = CASE.build(library, "float64")
    rng = np.random.default_rng([52, seed])
    x = library.asarray(rng.standard_normal((samples, CASE.features)))
    t = library.asarray(scale * rng.standard_normal((samples, CASE.outputs)))
    return params, Linearization(SquaredError(), t, *jacobian(net, params, x))


def at_params(at, params):
    """The same batch seen from other parameters."""
    x = join(at.jacobian.point.input, at.jacobian.network.features)
    z, J = jacobian(at.jacobian.network, params, x)
    return at._replace(outputs=z, jacobian=J)


def path(optimizer, batches, params, lr, state=None):
    """Updates of an optimizer on batches in turn."""
    state = init_state(optimizer, params) if state is None else state
    for at in batches:
        done = update(optimizer, state, params, at_params(at, params), lr)
        params, state = done.params, done.state
        yield done


def memory(state):
    """The arrays that a state remembers."""
    return tuple(leaf for leaf in trees.leaves(state) if hasattr(leaf, "dtype"))


# --- in turn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [*PAIRS, (Adam(), LBFGS(2))], ids=repr)
def test_a_switch_is_one_alone_then_the_other_alone(first, second, backend):
    """Bit for bit; the second starts with a state of its own, at its own rate."""
    batches = [problem(backend, seed)[1] for seed in range(6)]
    params = problem(backend)[0]
    found = list(path(Switch(first, second, at=3, rate=0.25), batches, params, 0.125))
    before = list(path(first, batches[:3], params, 0.125))
    after = list(path(second, batches[3:], before[-1].params, 0.03125))
    for done, expected in zip(found, before + after, strict=True):
        assert snapshot(done.params) == snapshot(expected.params)
        assert done.length == expected.length
    assert [done.state.is_second for done in found] == [0, 0, 0, 1, 1, 1]
    assert [done.state.updates for done in found] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("patience", [1, 3])
def test_a_switch_comes_when_progress_stalls(patience, smoothing, numpy_backend):
    """No new lowest mean of the batches' losses for so many updates, against a mean by hand."""
    batches = [problem(numpy_backend, seed, scale=1 + 2 / (seed + 1))[1] for seed in range(25)]
    optimizer = Switch(SGD(), SGD(0.5), patience=patience, smoothing=smoothing)
    params = problem(numpy_backend)[0]
    seen, on = [], []
    state = init_state(optimizer, params)
    for at in batches:
        at = at_params(at, params)
        seen.append(float(value(at.loss, at.outputs, at.targets)))
        done = update(optimizer, state, params, at, 0.01)
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


def test_standing_still_is_no_progress(numpy_backend):
    params, at = problem(numpy_backend)
    optimizer = Switch(SGD(), Adam(), patience=4)
    state, turns = init_state(optimizer, params), []
    for _ in range(8):
        state = update(optimizer, state, params, at, 0.1).state
        turns.append(state.is_second)
    assert turns == [0, 0, 0, 0, 1, 1, 1, 1]


# --- blended ------------------------------------------------------------------------------------------


@EVERY
def test_a_blend_is_both_alone_in_their_shares(first, second, backend):
    params, at = problem(backend)
    optimizer = Blend(first, second, rate=0.5, share=0.25)
    state = next(path(optimizer, [problem(backend, 1)[1]], params, 0.1)).state
    done = update(optimizer, state, params, at, 0.2)
    one = update(first, state.first, params, at, 0.2)
    other = update(second, state.second, params, at, 0.1)
    steps = [trees.axpy(-1.0, params, each.params) for each in (one, other)]
    expected = trees.add(trees.scale(0.75, steps[0]), trees.scale(0.25, steps[1]))
    assert_close("step", trees.axpy(-1.0, params, done.params), expected, 1e-12)
    assert snapshot(memory(done.state)) == snapshot(memory((one.state, other.state)))


# --- by the coupling ----------------------------------------------------------------------------------


def columns(params, couplings):
    """Which columns of the dense J belong to these couplings."""
    return np.concatenate([np.full(trees.size(of), k in couplings) for k, of in enumerate(params)])


@pytest.mark.parametrize("couplings", [(3,), (0, 2), (1, 2, 3)])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_gauss_newton_solves_with_its_own_couplings(couplings, damping, numpy_backend):
    """The minimum norm of J without the others' columns; Adam elsewhere, as if it were alone."""
    params, at = problem(numpy_backend)
    optimizer = PerCoupling(GaussNewton(MinimumNorm(damping)), Adam(), couplings, rate=0.5)
    D = direction(optimizer, init_state(optimizer, params), params, at, 1.0).params
    own = columns(params, couplings)
    J = dense.jacobian(at.jacobian.network, params, np.hstack(at.jacobian.point.input))[:, own]
    eps = dense.rows(at.outputs - at.targets)
    Theta = J @ J.T
    Theta += damping * np.mean(np.diag(Theta)) * np.eye(len(eps))
    assert_close("D_1", dense.flat(D)[own], J.T @ np.linalg.solve(Theta, eps), 1e-9)
    adam = direction(Adam(), init_state(Adam(), params), params, at, 1.0).params
    assert_close("D_2", dense.flat(D)[~own], 0.5 * dense.flat(adam)[~own], 1e-13)


@pytest.mark.parametrize("optimizer", [SGD(0.9), Adam(), Muon()], ids=repr)
def test_for_optimizers_by_the_coupling_it_is_as_if_there_were_one(optimizer, backend):
    batches = [problem(backend, seed)[1] for seed in range(3)]
    params = problem(backend)[0]
    both = PerCoupling(optimizer, optimizer, (0, 3))
    for found, expected in zip(
        path(both, batches, params, 0.1), path(optimizer, batches, params, 0.1), strict=True
    ):
        assert_close("W", found.params, expected.params, 1e-12)


def test_rho_and_carry_are_of_its_couplings(numpy_backend):
    batches = [problem(numpy_backend, seed)[1] for seed in range(3)]
    params = problem(numpy_backend)[0]
    optimizer = PerCoupling(GaussNewton(MinimumNorm(), momentum=0.9), SGD(), (2, 3))
    for done in path(optimizer, batches, params, 0.1):
        assert done.solve.rho < 1e-10
        carried = done.state.first.direction
        assert not np.any(dense.flat(carried)[~columns(params, (2, 3))])
    last = at_params(batches[-1], params)
    assert apply(last.jacobian, carried).shape == last.outputs.shape


# --- agreement ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(), GN, Adam()], ids=repr)
@pytest.mark.parametrize("samples", [6, 7])
def test_agreement_keeps_what_has_one_sign(optimizer, samples, numpy_backend):
    params, at = problem(numpy_backend, samples=samples)
    x = np.hstack(at.jacobian.point.input)
    agreement = Agreement(optimizer)
    state = next(path(agreement, [problem(numpy_backend, 1)[1]], params, 0.1)).state
    found = direction(agreement, state, params, at, 0.1)
    halves = []
    for rows, own in ((slice(0, 3), state.first), (slice(3, samples), state.second)):
        z, J = jacobian(at.jacobian.network, params, x[rows])
        half = Linearization(at.loss, at.targets[rows], z, J)
        halves.append(direction(optimizer, own, params, half, 0.1))
    a, b = (dense.flat(half.params) for half in halves)
    D = dense.flat(found.params)
    assert_close("D", D, np.where(a * b > 0, (a + b) / 2, 0.0), 1e-13)
    assert 0.2 < np.mean(D != 0) < 0.9
    if found.solve:
        assert found.solve.rho == max(half.solve.rho for half in halves)


@pytest.mark.parametrize("optimizer", [SGD(0.9), GN, Adam(), Muon()], ids=repr)
def test_equal_halves_agree_on_all(optimizer, backend):
    """Bit for bit, also in what they remember."""
    xp = backend.backend.xp
    params, half = problem(backend, samples=4)
    x = xp.concat(half.jacobian.point.input, axis=1)
    z, J = jacobian(half.jacobian.network, params, xp.concat((x, x), axis=0))
    whole = Linearization(half.loss, xp.concat((half.targets, half.targets), axis=0), z, J)
    agreement = Agreement(optimizer)
    found = list(path(agreement, [whole] * 3, params, 0.1))
    for done, expected in zip(found, path(optimizer, [half] * 3, params, 0.1), strict=True):
        assert snapshot(done.params) == snapshot(expected.params)
    assert snapshot(memory(found[-1].state.first)) == snapshot(memory(found[-1].state.second))


def test_a_single_sample_has_no_halves(numpy_backend):
    params, at = problem(numpy_backend, samples=1)
    optimizer = Agreement(SGD())
    with pytest.raises(UsageError, match="a batch of 1 sample has no halves"):
        update(optimizer, init_state(optimizer, params), params, at, 0.1)


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Switch(SGD(), Adam()), "at is None, patience None; expected one of them"),
        (lambda: Switch(SGD(), Adam(), at=3, patience=3), "at is 3, patience 3"),
        (lambda: Switch(SGD(), Adam(), at=0), "of at least 1"),
        (lambda: Switch(SGD(), Adam(), at=1, rate=0.0), "rate 0.0"),
        (lambda: Switch(SGD(), Adam(), at=1, smoothing=1.0), "smoothing 1.0"),
        (lambda: Blend(GN, LBFGS()), "Blend: LBFGS takes its steps itself"),
        (lambda: Blend(LevenbergMarquardt(GN), SGD()), "Blend: LevenbergMarquardt takes its steps itself"),
        (lambda: Blend(GN, Adam(weight_decay=0.1)), "Adam has weight_decay 0.1; give it to Blend"),
        (lambda: Blend(GN, Adam(), share=1.0), "share 1.0; expected"),
        (lambda: Blend(GN, Adam(), rate=-1.0), "rate -1.0"),
        (lambda: PerCoupling(GN, LBFGS(), (0,)), "PerCoupling: LBFGS takes"),
        (lambda: PerCoupling(GN, SGD(weight_decay=1.0), (0,)), "give it to PerCoupling"),
        (lambda: PerCoupling(GaussNewton(BlockWise()), SGD(), (0, 1)), "take the minimum norm"),
        (lambda: PerCoupling(GN, SGD(), ()), "expected some different numbers"),
        (lambda: PerCoupling(GN, SGD(), (1, 1)), r"couplings are \(1, 1\)"),
        (lambda: PerCoupling(GN, SGD(), (-1,)), "numbers >= 0"),
        (lambda: PerCoupling(GN, SGD(), (0,), rate=0.0), "rate is 0.0"),
        (lambda: Agreement(Switch(SGD(), Adam(), at=1)), "Agreement: Switch takes its steps itself"),
        (lambda: Agreement(SGD(weight_decay=1.0)), "give it to Agreement"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("couplings", [(4,), (0, 1, 2, 3)])
def test_couplings_are_some_of_the_networks(couplings, numpy_backend):
    params, _ = problem(numpy_backend)
    with pytest.raises(UsageError, match="couplings are 0 to 3; expected some of them, not all"):
        init_state(PerCoupling(GN, SGD(), couplings), params)

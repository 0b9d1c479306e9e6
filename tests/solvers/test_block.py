"""The block step matches a dense reference implementation."""

from itertools import cycle

import numpy as np
import pytest
from cases import EXACT_SOLVERS, NetworkCase, network_case, repeated_rows
from reference import dense
from reference.block import block_step

from revgn import maps
from revgn.arrays import deferred, ready, runs_ahead, to_host
from revgn.errors import ShapeError, UsageError
from revgn.networks import Architecture, Chain, Network
from revgn.solvers import BlockWise, MinimumNorm, apply, jacobian, solve
from revgn.solvers.block_weights import fixed_weights, full_rank_weights
from revgn.testing import assert_close, relative_error

RULES = {
    "plain": {},
    "paper": {"rtol": 1e-3, "atol": 1e-5},
    "coarse": {"rtol": 0.2},
    "damped": {"rtol": 1e-9, "damping": 0.05},
}
SIZED = [
    NetworkCase(f"{first}-n={n}", Architecture(2, 8, "tanh", first, activations), samples=n, outputs=4)
    for first in ("same", "identity")
    for n, activations in ((5, "keep"), (5, "rebuild"), (8, "keep"), (12, "keep"))
]


@pytest.mark.parametrize("case", SIZED, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("rule", "weights"), [*zip(RULES, cycle(((0.3, 0.7), (0.0, 1.0), (1.0, 0.0))), strict=False)]
)
def test_step_matches_the_dense_reference(case, weights, rule, numpy_backend):
    """For n < h, n = h and n > h; both first blocks; undamped, truncated and damped; several weights."""
    net, params, x = case.build(numpy_backend, "float64")
    eps = np.random.default_rng(40).standard_normal((case.samples, case.outputs))
    D, info = solve(BlockWise(weights, **RULES[rule]), jacobian(net, params, x)[1], eps)
    expected = block_step(net, params, x, eps, weights, **RULES[rule])
    for ours, theirs in zip(D, expected, strict=True):
        assert_close("step", ours.weight, theirs, 1e-7)
    assert info.block_weights == weights


@pytest.mark.parametrize("case", [of for of in EXACT_SOLVERS if of.block_weights], ids=lambda case: case.name)
def test_step_with_named_weights_matches_the_dense_reference(case, numpy_backend):
    net, params, x = network_case("relu-same-keep").build(numpy_backend, "float64")
    eps = np.random.default_rng(41).standard_normal((6, 3))
    D, info = solve(case.solver, jacobian(net, params, x)[1], eps)
    assert info.block_weights == case.block_weights
    for ours, theirs in zip(D, block_step(net, params, x, eps, case.block_weights), strict=True):
        assert_close("step", ours.weight, theirs, 1e-8)


def test_each_block_alone_realizes_eps(numpy_backend):
    """The sum over the L blocks, each with weight 1, realizes L eps."""
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    parts = [solve(BlockWise(weights), J, eps)[0] for weights in ((1.0, 0.0), (0.0, 1.0))]
    for D in parts:
        assert relative_error(apply(J, D), eps) < 1e-9
    both = tuple(type(a)(a.weight + b.weight) for a, b in zip(*parts, strict=True))
    assert relative_error(apply(J, both), 2 * eps) < 1e-9


class TestShortFirstBlock:
    """Features that are linear in the input have rank d/2 + 1 = 5 < 9 = n and cannot realize eps."""

    CASE = network_case("first-block-short")

    def test_uniform_weights_do_not_realize_eps(self, numpy_backend, dtype):
        J, eps = self.CASE.jacobian(numpy_backend, dtype)
        D, info = solve(BlockWise("uniform"), J, eps)
        assert info.rho > 0.01
        assert info.rho == pytest.approx(relative_error(apply(J, D), eps), rel=1e-5)
        assert info.rank == 5

    def test_full_rank_weights_realize_eps(self, numpy_backend):
        J, eps = self.CASE.jacobian(numpy_backend)
        D, info = solve(BlockWise("full-rank"), J, eps)
        assert info.rho < 1e-8
        assert info.block_weights == (0.0, 1.0)
        assert info.rank == 9
        assert not np.any(D[0].weight)
        assert not np.any(D[1].weight)

    def test_minimum_norm_realizes_eps(self, numpy_backend):
        J, eps = self.CASE.jacobian(numpy_backend)
        assert solve(MinimumNorm(), J, eps)[1].rho < 1e-8


@pytest.mark.parametrize("short", [0, 1])
def test_a_block_has_the_rank_of_its_lower_coupling(short, numpy_backend):
    """A block with one linear coupling, the first or the second, does not realize eps."""
    net, params, x = network_case("first-block-short").build(numpy_backend, "float64")
    other = NetworkCase("relu", Architecture(2, 24, "relu"), samples=9)
    full, full_params, _ = other.build(numpy_backend, "float64")
    layers, weights = list(full.body.layers), list(full_params)
    layers[short], weights[short] = net.body.layers[short], params[short]
    _, J = jacobian(Network(8, Chain(tuple(layers)), net.readout), tuple(weights), x)
    eps = np.random.default_rng(44).standard_normal((9, 3))
    assert solve(BlockWise("full-rank"), J, eps)[1].block_weights == (0.0, 1.0)
    assert solve(BlockWise("uniform"), J, eps)[1].rho > 0.01


@pytest.mark.parametrize("consistent", [True, False])
def test_repeated_rows(consistent, backend):
    """Each sample occurs twice. The step realizes equal rows of eps, and the mean of different ones."""
    case = NetworkCase("twice", Architecture(2, 16, "tanh"), rows=repeated_rows)
    J, _ = case.jacobian(backend)
    pairs = np.repeat(np.random.default_rng(42).standard_normal((3, 3)), 2, axis=0)
    split = 0.0 if consistent else np.array([[0.5], [-0.5]] * 3)
    eps = backend.asarray(pairs + split)
    for solver in (BlockWise("full-rank"), BlockWise("uniform")):
        D, info = solve(solver, J, eps)
        assert_close("J D", apply(J, D), backend.asarray(pairs), 1e-8)
        assert info.rank == 3
        missed = np.linalg.norm(split * np.ones((6, 3))) / np.linalg.norm(pairs + split)
        assert info.rho == pytest.approx(missed, abs=1e-8)


def test_info_states_the_worst_values_over_the_couplings(numpy_backend):
    J, eps = network_case("first-block-short").jacobian(numpy_backend)
    _, info = solve(BlockWise("uniform"), J, eps)
    at, singular = J.point.input, []
    for layer, params in zip(J.network.body.layers, J.params, strict=True):
        A = dense.features(layer, at[1 - layer.half])
        singular.append(np.linalg.svd(A, compute_uv=False))
        at = dense.coupling(layer, params.weight, at)
    assert info.s_max == pytest.approx(max(s[0] for s in singular), rel=0.25)
    assert info.s_min == pytest.approx(min(s[s > 1e-9 * s[0]][-1] for s in singular), rel=0.25)
    assert info.damping == 0.0


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_damping_shortens_the_step(damping, numpy_backend):
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend)
    D, info = solve(BlockWise("last", damping=damping), J, eps)
    exact, _ = solve(BlockWise("last"), J, eps)
    assert np.linalg.norm(dense.flat(D)) < np.linalg.norm(dense.flat(exact))
    assert info.damping > 0
    assert info.rho > 1e-4


class TestBlockWeights:
    @pytest.mark.parametrize("bad", ["most", (0.5, 0.6), (), (float("nan"), 1.0)])
    def test_invalid_weights_raise(self, bad):
        with pytest.raises(UsageError, match="block_weights"):
            BlockWise(bad)

    def test_wrong_number_of_weights_raises(self, numpy_backend):
        J, eps = network_case("tanh-same-keep").jacobian(numpy_backend)
        with pytest.raises(UsageError, match="3 numbers for 2 blocks"):
            solve(BlockWise((0.5, 0.25, 0.25)), J, eps)

    def test_weights_by_name(self):
        assert fixed_weights("uniform", 4) == (0.25,) * 4
        assert fixed_weights("first", 3) == (1.0, 0.0, 0.0)
        assert fixed_weights("last", 3) == (0.0, 0.0, 1.0)
        assert fixed_weights("full-rank", 3) is None
        assert fixed_weights((0.5, 0.5), 2) == (0.5, 0.5)

    def test_full_rank_weights_select_the_highest_rank(self):
        assert full_rank_weights([5, 9, 9]) == (0.0, 0.5, 0.5)
        assert full_rank_weights([5, 9, 8]) == (0.0, 1.0, 0.0)
        assert full_rank_weights([4]) == (1.0,)


def test_chain_without_blocks_raises(numpy_backend):
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float64")
    layers = net.body.layers
    for picked in ((0, 2), (0,), (0, 1, 2)):
        odd = Network(8, Chain(tuple(layers[k] for k in picked)), net.readout)
        _, J = jacobian(odd, tuple(params[k] for k in picked), x)
        with pytest.raises(ShapeError, match="pairs of layers that change both halves"):
            solve(BlockWise("last"), J, np.ones((6, 3)))


def test_the_halves_may_come_in_the_other_order(numpy_backend):
    """A block is any two couplings that change different halves, so G may come before F."""
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float64")
    order = (1, 0, 3, 2)
    other = Network(8, Chain(tuple(net.body.layers[k] for k in order)), net.readout)
    swapped = tuple(params[k] for k in order)
    eps = np.random.default_rng(43).standard_normal((6, 3))
    D, info = solve(BlockWise("uniform"), jacobian(other, swapped, x)[1], eps)
    assert info.rho < 1e-9
    for ours, theirs in zip(D, block_step(other, swapped, x, eps, (0.5, 0.5)), strict=True):
        assert_close("step", ours.weight, theirs, 1e-8)


@pytest.mark.parametrize("weights", ["full-rank", "uniform"])
@pytest.mark.parametrize("rule", [{}, {"rtol": 0.2, "atol": 1e-5}], ids=["full-rank", "truncated"])
def test_the_numbers_of_all_blocks_are_read_together(rule, weights, backend, numpy_backend, monkeypatch):
    """On an asynchronous device there is one read for the factors and one for the solutions."""
    net, params, x = network_case("relu-same-keep").build(backend, "float64")
    eps = backend.asarray(np.random.default_rng(45).standard_normal((6, 3)))
    seen = []
    monkeypatch.setattr(deferred, "to_host", lambda x: seen.append(x.shape) or to_host(x))
    D, info = solve(BlockWise(weights, **rule), jacobian(net, params, x)[1], eps)
    assert len(seen) == (2 if runs_ahead(eps) else 0)
    expected = block_step(
        *network_case("relu-same-keep").build(numpy_backend, "float64"),
        to_host(eps),
        info.block_weights,
        **rule,
    )
    for ours, theirs in zip(D, expected, strict=True):
        assert_close("step", ours.weight, backend.asarray(theirs), 1e-8)


def test_an_inaccurate_solution_is_computed_again(backend, monkeypatch):
    net, params, x = network_case("relu-same-keep").build(backend, "float64")
    eps = backend.asarray(np.random.default_rng(46).standard_normal((6, 3)))
    right, begun = solve(BlockWise(), jacobian(net, params, x)[1], eps)[0], []

    def wrong(layer, point, factored, dy):
        begun.append(layer)
        step = maps.solve_params(layer, point, factored, dy)
        doubled = maps.Halves(*(2.0 * half for half in step.realized))
        return maps.BegunParamsStep(step.params, doubled, ready(None if len(begun) == 2 else step.info))

    monkeypatch.setattr(maps, "begin_solve_params", wrong)
    D, info = solve(BlockWise(), jacobian(net, params, x)[1], eps)
    assert len(begun) == (4 if runs_ahead(eps) else 0)
    assert info.rho < 1e-9
    for ours, theirs in zip(D, right, strict=True):
        assert_close("step", ours.weight, theirs.weight, 1e-12)

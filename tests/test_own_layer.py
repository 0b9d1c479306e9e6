"""Networks with a user's own layers: every solver and optimizer against the dense Jacobian."""

from dataclasses import dataclass

import numpy as np
import pytest
from own_layer import Scaling, ScalingParams, Swap

from revgn import trees
from revgn.analysis import QUANTITIES, Ahead, Moment, cka_of_kernels, make_probe, measure
from revgn.errors import ShapeError, UnsupportedMapError
from revgn.layers import draw_coupling, draw_readout
from revgn.losses import SquaredError, output_step, value
from revgn.maps import (
    Halves,
    forward,
    init,
    inverse,
    jvp_input,
    jvp_inverse,
    jvp_params,
    linearize,
    linearize_inverse,
    row_cotangents,
    row_features,
    to_matrices,
    vjp_input,
    vjp_params,
)
from revgn.networks import Chain, Network
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    Adam,
    Blend,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Muon,
    Orthogonalized,
    Paced,
    Switch,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.solvers import (
    BlockWise,
    ConjugateGradients,
    MinimumNorm,
    apply,
    jacobian,
    solve,
    tangent_kernel,
)
from revgn.testing import assert_close, check_layer, check_reported_rho

WIDTH, SAMPLES, OUTPUTS = 3, 6, 2


def network(activations="keep", *, own=None):
    """Two couplings, the own layer, a swap, two more couplings."""
    rng = np.random.default_rng(70)
    pair = [draw_coupling(k % 2, WIDTH, 9, rng, activation="tanh") for k in range(4)]
    layers = (*pair[:2], own or Scaling(WIDTH), Swap(), *pair[2:])
    net = Network(2 * WIDTH, Chain(layers, activations), draw_readout(WIDTH, OUTPUTS, rng))
    params = trees.map_leaves(lambda W: 0.2 * rng.standard_normal(W.shape), init(net, rng, 1.0))
    return net, params


def problem(activations="keep"):
    """Parameters and the linearization at a batch; the dense J (n c, weights), row by row."""
    net, params = network(activations)
    rng = np.random.default_rng(71)
    x, t = rng.standard_normal((SAMPLES, 2 * WIDTH)), rng.standard_normal((SAMPLES, OUTPUTS))
    z, J = jacobian(net, params, x)
    units = (trees.unflatten(params, e) for e in np.eye(trees.size(params)))
    explicit = np.array([apply(J, e).ravel() for e in units]).T
    return params, Linearization(SquaredError(), z, t, J), explicit


ACTIVATIONS = pytest.mark.parametrize("activations", ["keep", "rebuild"])


@ACTIVATIONS
def test_network_and_kernel(activations):
    params, at, J = problem(activations)
    check_layer(at.jacobian.network, params, np.hstack(at.jacobian.point.input), kind="chain")
    assert_close("Theta", tangent_kernel(at.jacobian), J @ J.T, 1e-12)


@ACTIVATIONS
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["dense", "tiled", "cg"])
def test_minimum_norm(kind, damping, activations):
    _, at, J = problem(activations)
    solver = {
        "dense": MinimumNorm(damping),
        "tiled": MinimumNorm(damping, memory=2000),
        "cg": ConjugateGradients(damping, tolerance=1e-12),
    }[kind]
    eps = np.random.default_rng(72).standard_normal((SAMPLES, OUTPUTS))
    D, info = solve(solver, at.jacobian, eps)
    mu = damping * np.mean(np.sum(J * J, axis=1))
    expected = J.T @ np.linalg.solve(J @ J.T + mu * np.eye(len(J)), eps.ravel())
    assert_close("D", trees.flatten(D), expected, 1e-8)
    assert info.damping == pytest.approx(mu)


@ACTIVATIONS
@pytest.mark.parametrize("weights", ["full-rank", "first", "last", "uniform", (0.5, 0.25, 0.25)])
def test_block_step(weights, activations):
    """Each pair of couplings is a block, and so is the own layer, of rank 1; the swap belongs to no block."""
    _, at, J = problem(activations)
    eps = np.random.default_rng(73).standard_normal((SAMPLES, OUTPUTS))
    D, info = solve(BlockWise(weights), at.jacobian, eps)
    check_reported_rho(BlockWise(weights), at.jacobian, eps)
    assert len(info.block_weights) == 3
    if weights == "full-rank":
        assert info.block_weights == (0.5, 0.0, 0.5)
    if weights in ("full-rank", "first", "last"):
        assert_close("J D", J @ trees.flatten(D), eps.ravel(), 1e-9)
    else:
        assert 0.01 < info.rho < 1


def test_the_own_block_takes_its_least_squares_step():
    """The step of a block of one layer is its pseudoinverse, applied to eps transported to its output."""
    _, at, _ = problem()
    eps = np.random.default_rng(74).standard_normal((SAMPLES, OUTPUTS))
    D, _ = solve(BlockWise((0.0, 1.0, 0.0)), at.jacobian, eps)
    net, params, point = at.jacobian.network, at.jacobian.params, at.jacobian.point
    after = Chain(net.body.layers[3:])
    y, _ = linearize(net.body.layers[2], params[2], point_input(net, params, point, 2))
    _, beyond = linearize(after, params[3:], y)
    lifted = Halves(eps @ net.readout.first.T, eps @ net.readout.second.T)
    v = jvp_inverse(after, params[3:], beyond, lifted)
    expected = ScalingParams(*((a * b).sum(0) / (a * a).sum(0) for a, b in zip(y, v, strict=True)))
    assert_close("D", D[2], expected, 1e-12)


def point_input(net, params, point, k):
    return forward(Chain(net.body.layers[:k]), params[:k], point.input)


def test_momentum():
    params, at, J = problem()
    optimizer = GaussNewton(MinimumNorm(0.1), momentum=0.9, momentum_limit=float("inf"))
    state = init_state(optimizer, at.jacobian.network, params)
    first = direction(optimizer, state, params, at)
    second = direction(optimizer, first.state, params, at)
    eps = output_step(at.loss, at.outputs, at.targets).ravel()
    mu, before = 0.1 * np.mean(np.sum(J * J, axis=1)), trees.flatten(first.params)
    kernel = J @ J.T + mu * np.eye(len(J))
    expected = 0.9 * before + J.T @ np.linalg.solve(kernel, eps - 0.9 * J @ before)
    assert_close("D", trees.flatten(second.params), expected, 1e-10)


SOLVERS = [MinimumNorm(), MinimumNorm(memory=2000), ConjugateGradients(tolerance=1e-13)]


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_metric(solver):
    """D = M^-1 J^T (J M^-1 J^T)^-1 eps; P of the own layer is 1, so that its M is (1 + floor) I."""
    params, at, J = problem()
    optimizer = GaussNewton(solver, metric=FeatureMetric(0.5))
    D = direction(optimizer, init_state(optimizer, at.jacobian.network, params), params, at).params
    M = []
    network, points = at.jacobian.network, at.jacobian.point.points
    for layer, of, point in zip(network.body.layers, params, points, strict=True):
        if not trees.is_empty(of):
            (A, *_), X = row_features(layer, point), to_matrices(layer, of)
            P = A.T @ A
            own = P / np.mean(np.diag(P)) + 0.5 * np.eye(len(P))
            M += [np.kron(np.linalg.inv(own), np.eye(Xi.shape[1])) for Xi in X]
    MJ = block_diagonal(M) @ J.T
    eps = output_step(at.loss, at.outputs, at.targets).ravel()
    assert_close("D", trees.flatten(D), MJ @ np.linalg.solve(J @ MJ, eps), 1e-7)


def block_diagonal(blocks):
    whole, start = np.zeros((sum(map(len, blocks)),) * 2), 0
    for block in blocks:
        whole[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return whole


def test_metric_and_block_step():
    params, at, J = problem()
    optimizer = GaussNewton(BlockWise("last"), metric=FeatureMetric(0.5))
    D = direction(optimizer, init_state(optimizer, at.jacobian.network, params), params, at).params
    eps = output_step(at.loss, at.outputs, at.targets).ravel()
    assert_close("J D", J @ trees.flatten(D), eps, 1e-9)


def test_kfac():
    """Where the rows are the gradients, the factor Q is the block of the Gauss-Newton matrix itself."""
    params, at, J = problem()
    mu = 0.03
    D = direction(KFAC(damping=mu), init_state(KFAC(), at.jacobian.network, params), params, at).params
    start = trees.size(params[:2])
    for k, (own, g) in enumerate(zip(D[2], batch_gradient(at)[2], strict=True)):
        B = J[:, start + k * WIDTH : start + (k + 1) * WIDTH]
        Q = 2.0 * B.T @ B / SAMPLES  # 2 I is the curvature of each sample
        pi = 1.0 / np.sqrt(np.trace(Q) / WIDTH)
        damped = (1.0 + pi * np.sqrt(mu)) * (Q + np.sqrt(mu) / pi * np.eye(WIDTH))
        assert_close("D", own, np.linalg.solve(damped, g), 1e-10)


def test_muon_moves_vectors_by_adam():
    """An array that has only bias rows gets the direction of Adam."""
    params, at, _ = problem()
    net = at.jacobian.network
    D = direction(Muon(), init_state(Muon(), net, params), params, at).params
    by_adam = direction(Adam(), init_state(Adam(), net, params), params, at).params
    assert_close("D", D[2], by_adam[2], 1e-14)


def test_orthogonalization_leaves_vectors():
    params, at, _ = problem()
    net, inner = at.jacobian.network, GaussNewton(MinimumNorm(0.1))
    optimizer = Orthogonalized(inner, momentum=0.0)
    D = direction(optimizer, init_state(optimizer, net, params), params, at).params
    plain = direction(inner, init_state(inner, net, params), params, at).params
    assert_close("D", D[2], plain[2], 0.0)
    assert np.ptp(np.linalg.svd(D[0].weight[:-1], compute_uv=False)) < 0.6


EVERY = [
    SGD(lr=0.05, momentum=0.5),
    Adam(lr=0.05),
    Muon(lr=0.05),
    KFAC(lr=0.3),
    LBFGS(),
    GaussNewton(MinimumNorm(0.1), lr=0.5),
    GaussNewton(MinimumNorm(0.1, memory=2000), lr=0.5, momentum=0.5),
    GaussNewton(ConjugateGradients(0.1), lr=0.5),
    GaussNewton(BlockWise(damping=0.01), lr=0.2),
    GaussNewton(BlockWise("uniform", damping=0.01), lr=0.2, momentum=0.5),
    GaussNewton(MinimumNorm(0.1), lr=0.5, metric=FeatureMetric(every=2)),
    LevenbergMarquardt(GaussNewton(MinimumNorm(0.1), lr=0.5)),
    Orthogonalized(GaussNewton(MinimumNorm(0.1), lr=0.05)),
    Paced(GaussNewton(MinimumNorm(0.1), lr=0.5), trust_radius=0.5),
    Blend(GaussNewton(MinimumNorm(0.1), lr=0.5), Adam(lr=0.05)),
    Switch(Adam(lr=0.05), GaussNewton(MinimumNorm(0.1), lr=0.5), switch_at=2),
]


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_every_optimizer_lowers_the_loss(optimizer):
    params, at, _ = problem()
    net, t = at.jacobian.network, at.targets
    x = np.hstack(at.jacobian.point.input)
    state, losses = init_state(optimizer, net, params), []
    for _ in range(5):
        z, J = jacobian(net, params, x)
        losses.append(float(value(SquaredError(), z, t)))
        params, state, *_ = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
    assert losses[-1] < 0.9 * losses[0]


@dataclass(frozen=True, eq=False)
class Bare:
    """A layer with tangents and cotangents alone."""

    width: int


for function in (init, forward, linearize, jvp_input, jvp_params, vjp_input, vjp_params):
    function.register(Bare)(function.dispatch(Scaling))


@pytest.mark.parametrize(
    ("optimizer", "missing"),
    [
        (GaussNewton(MinimumNorm()), "row_features"),
        (GaussNewton(MinimumNorm(memory=2000)), "row_features"),
        (GaussNewton(ConjugateGradients()), "row_features"),
        (GaussNewton(BlockWise()), "moved_halves"),
        (GaussNewton(metric=FeatureMetric()), "to_matrices"),
        (KFAC(), "to_matrices"),
        (Muon(), "weight_forms"),
    ],
    ids=repr,
)
def test_a_missing_map_is_named(optimizer, missing):
    net, params = network(own=Bare(WIDTH))
    x = np.random.default_rng(75).standard_normal((SAMPLES, 2 * WIDTH))
    z, J = jacobian(net, params, x)
    at = Linearization(SquaredError(), z, z + 1.0, J)

    def step(optimizer):
        update(optimizer, init_state(optimizer, net, params), params, at)

    with pytest.raises(UnsupportedMapError, match=rf"{missing}\(Bare\): not implemented for Bare"):
        step(optimizer)
    for plain in (Adam(), SGD(), LBFGS()):  # which need none of them
        step(plain)


@dataclass(frozen=True, eq=False)
class Unblocked:
    """A layer with the maps of the minimum-norm step alone."""

    width: int


for function in (inverse, linearize_inverse, jvp_inverse, row_features, row_cotangents):
    function.register(Unblocked)(function.dispatch(Scaling))
for function in (init, forward, linearize, jvp_input, jvp_params, vjp_input, vjp_params):
    function.register(Unblocked)(function.dispatch(Scaling))


def analysed(own, probes=0):
    """All quantities with an own layer, and the representations at initialization and now."""
    net, params = network(own=own)
    rng = np.random.default_rng(77)
    x, t = rng.standard_normal((SAMPLES, 2 * WIDTH)), rng.standard_normal((SAMPLES, OUTPUTS))
    now, one, two = (trees.map_leaves(lambda W, c=c: (1 + c) * W + c, params) for c in (0.1, 0.2, 0.4))
    probe, batch = make_probe(net, params, x, t, probes), (x, t)
    at = Moment(net, now, probe, Ahead(SquaredError(), (batch, batch), (one, two)))
    return measure(at), probe.representations, at.representations


OF_BRANCHES = {"branches_cka", "halves_cka", "between_cka"}  # means over layers with `moved_halves`


def test_what_a_layer_without_the_maps_of_the_block_step_cannot_give_is_not_measured():
    (whole, before, after), (found, *_) = analysed(Scaling(WIDTH)), analysed(Unblocked(WIDTH))
    assert whole.keys() - found.keys() == {"solvers_cosine"}
    same = found.keys() - OF_BRANCHES
    np.testing.assert_equal({name: found[name] for name in same}, {name: whole[name] for name in same})
    for name in ("branches", "halves"):
        pairs = zip(getattr(after, name), getattr(before, name), strict=True)
        alike = [cka_of_kernels(*pair) for pair in pairs]
        assert found[f"{name}_cka"] == pytest.approx(np.mean([*alike[:2], *alike[3:]]), rel=1e-12)


@pytest.mark.parametrize("probes", [0, 5])
def test_what_a_layer_of_tangents_and_cotangents_cannot_give_is_not_measured(probes):
    """Without the rows of its Jacobian, no kernel is formed; with random vectors, it is estimated."""
    whole, found = (analysed(own(WIDTH), probes)[0] for own in (Scaling, Bare))
    missing = {"solvers_cosine", "step_excess"}
    if not probes:
        missing |= {
            f"kernel_{name}" for name in ("similarity", "alignment", "effective_rank", "condition", "rate")
        }
    assert whole.keys() - found.keys() == missing
    same = found.keys() - OF_BRANCHES - {"features_cka"}
    np.testing.assert_equal({name: found[name] for name in same}, {name: whole[name] for name in same})


def test_a_chain_whose_layers_form_no_blocks_is_analysed():
    """It has no block step, and here no pair of branches."""
    rng = np.random.default_rng(78)
    layer = draw_coupling(0, WIDTH, 9, rng)
    net = Network(2 * WIDTH, Chain((layer,)), draw_readout(WIDTH, OUTPUTS, rng))
    params = init(net, rng, 0.5)
    x, t = rng.standard_normal((SAMPLES, 2 * WIDTH)), rng.standard_normal((SAMPLES, OUTPUTS))
    moved = trees.scale(1.5, params)
    ahead = Ahead(SquaredError(), ((x, t), (x, t)), (moved, trees.scale(2.0, params)))
    found = measure(Moment(net, params, make_probe(net, params, x, t), ahead))
    expected = {quantity.name for quantity in QUANTITIES if not quantity.by_coupling}
    assert expected - found.keys() == {"solvers_cosine", "between_cka"}


def test_layers_that_make_no_blocks_are_named():
    net, params = network()
    odd = Network(net.features, Chain(net.body.layers[1:]), net.readout)
    x = np.random.default_rng(76).standard_normal((SAMPLES, 2 * WIDTH))
    z, J = jacobian(odd, params[1:], x)
    with pytest.raises(ShapeError, match=r"the layers change the halves \[\(1,\), \(0, 1\), \(\)"):
        solve(BlockWise(), J, z)

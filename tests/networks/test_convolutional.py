"""Convolutional networks: laws, formulas pixel by pixel, dense Jacobians, and every solver on them."""

from functools import cache

import numpy as np
import pytest
from cases import CONVOLUTIONAL, redraw
from libraries import make_library
from reference import images

from revgn.arrays import to_host
from revgn.cost import Sizes, layer_costs
from revgn.errors import ShapeError, UsageError
from revgn.maps import Halves, forward, init, jvp_params
from revgn.networks import (
    Architecture,
    Convolutional,
    ImageStem,
    draw_network,
    from_halves,
    round_trip_error,
    to_halves,
)
from revgn.solvers import (
    BlockWise,
    ConjugateGradients,
    MinimumNorm,
    apply,
    apply_adjoint,
    equation,
    jacobian,
    output_change,
    solve,
    tangent_kernel,
)
from revgn.testing import assert_close, check_layer, tolerance
from revgn.testing.compare import agree, inner
from revgn.trees import flatten, scale, size, unflatten

CASES = pytest.mark.parametrize("case", CONVOLUTIONAL, ids=lambda case: case.name)


@cache
def dense_jacobian(name):
    """J of a case in double precision, by the complex step."""
    case = next(case for case in CONVOLUTIONAL if case.name == name)
    return images.jacobian(*case.build(make_library("numpy"), "float64"))


@CASES
def test_network_satisfies_its_laws(case, backend, dtype):
    net, params, x = case.build(backend, dtype)
    check_layer(net, params, x, kind="chain")


@pytest.mark.parametrize("case", CONVOLUTIONAL[:3:2], ids=lambda case: case.name)
def test_chain_satisfies_its_laws(case, numpy_backend):
    net, params, x = case.build(numpy_backend, "float64")
    check_layer(net.body, params, to_halves(net, x), kind="chain")


@CASES
def test_network_matches_the_formula(case, backend, dtype):
    net, params, x = case.build(backend, dtype)
    plain = case.build(make_library("numpy"), "float64")
    z = images.network(plain[0], plain[1], plain[2])
    assert_close("forward", forward(net, params, x), backend.asarray(z, dtype), tolerance(x.dtype, "chain"))


@CASES
def test_jacobian_and_kernel_match_the_dense_reference(case, numpy_backend, rng):
    net, params, x = case.build(numpy_backend, "float64")
    truth = dense_jacobian(case.name)
    z, J = jacobian(net, params, x)
    d, z_bar = rng.standard_normal(size(params)), rng.standard_normal(z.shape)
    assert_close("J d", apply(J, unflatten(params, d)).ravel(), truth @ d, 1e-12)
    assert_close("J^T z_bar", flatten(apply_adjoint(J, z_bar)), truth.T @ z_bar.ravel(), 1e-12)
    assert_close("kernel", tangent_kernel(J), truth @ truth.T, 1e-12)


SOLVERS = [
    MinimumNorm(),
    MinimumNorm(outputs="centered-logits"),
    MinimumNorm(rows=1),
    MinimumNorm(rows=2),
    MinimumNorm(memory=4000, damping=1e-9),
    ConjugateGradients(tolerance=1e-10),
    ConjugateGradients(rows=1, tolerance=1e-10),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@CASES
def test_minimum_norm_steps_match_the_dense_pseudoinverse(case, solver, numpy_backend, rng):
    net, params, x = case.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    eps = rng.standard_normal(z.shape)
    of = equation(solver, J, eps, (3, 4))
    D, info = solve(of.solver, of.jacobian, of.eps)
    truth = dense_jacobian(case.name)
    R = of.jacobian.outputs
    if R is not None:
        R = np.broadcast_to(R, (len(x), *R.shape[-2:]))
        truth = np.einsum("scm,scw->smw", R, truth.reshape(*z.shape, -1)).reshape(of.eps.size, -1)
    expected = np.linalg.pinv(truth) @ of.eps.ravel()
    assert_close("D = J^+ eps", flatten(D), expected, 1e-5)
    assert info.rho < 1e-5


@pytest.mark.parametrize("projection", ["frozen", "trained"])
def test_the_block_step_solves_least_squares_in_every_coupling(projection, numpy_backend, rng):
    """Per block: D_F = A_F^+ v_F, then D_G from what is left; projections do not change."""
    case = next(case for case in CONVOLUTIONAL if case.architecture.projection == projection)
    net, params, x = case.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    eps = rng.standard_normal(z.shape)
    D, info = solve(BlockWise(block_weights="last"), J, eps)
    f, g = [k for k, own in enumerate(params) if own][-2:]
    P, U = net.readout.pixels, np.vstack([net.readout.first, net.readout.second])
    v = [np.tile(half, (1, P)) for half in np.split(eps @ U.T, 2, axis=1)]
    at = J.point.points
    A_F, A_G = at[f].features, at[g].features
    q = net.body.layers[f].features.grid.channels
    D_F = np.linalg.pinv(A_F) @ v[0].reshape(-1, q)
    zero = [np.zeros_like(w) for w in params[f]]
    pushed = jvp_params(net.body.layers[f], params[f], at[f], type(params[f])(D_F, *zero[1:]))
    from revgn.maps import jvp_input

    change = jvp_input(net.body.layers[g], params[g], at[g], pushed).second
    D_G = np.linalg.pinv(A_G) @ (v[1] - change).reshape(-1, q)
    assert_close("D_F", D[f].weight, D_F, 1e-9)
    assert_close("D_G", D[g].weight, D_G, 1e-9)
    missed = np.linalg.norm(output_change(J, D) - eps) / np.linalg.norm(eps)
    assert info.rho == pytest.approx(missed, rel=1e-6)
    assert all(not np.any(of.projection) for of in D if len(of) > 1)


@pytest.mark.parametrize(("shape", "grid", "factor"), [
    ((3, 4, 6), (2, 3, 8), 2), ((1, 5, 5), (6, 6, 1), 1),
    ((2, 3, 5), (2, 3, 4), 2), ((3, 4, 4), (4, 4, 2), 1),
])  # fmt: skip
def test_the_stem_is_an_isometry_and_its_transpose_its_inverse(shape, grid, factor, backend, dtype, rng):
    from revgn.arrays import Grid

    stem = ImageStem(*shape, Grid(*grid), factor)
    x = backend.asarray(rng.standard_normal((3, int(np.prod(shape)))), dtype)
    halves = to_halves(stem, x)
    assert_close("from_halves(to_halves(x)) = x", from_halves(stem, halves), x, 0.0)
    expected = images.halves_of(stem, to_host(x))
    for half, truth in zip(halves, expected, strict=True):
        assert np.array_equal(to_host(half), truth)
    y = Halves(*(backend.asarray(rng.standard_normal(half.shape), dtype) for half in halves))
    agree("transpose", inner(halves, y), inner(x, from_halves(stem, y)), 10.0, 1e-5)


@CASES
def test_round_trip_error_is_at_rounding_level(case, backend, dtype):
    net, params, x = case.build(backend, dtype)
    assert 0 <= float(round_trip_error(net, params, x)) < (1e-13 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activations_and_outputs_are_of_order_one_at_initialization(activation, rng):
    """Whitened images: features, branches and halves neither vanish nor explode with depth."""
    shape = Convolutional(blocks=(2, 2), activation=activation)
    net = draw_network(shape, (3, 16, 16), 10, rng, dtype=np.float32)
    params = init(net, rng, shape.init_scale)
    _, J = jacobian(net, params, rng.standard_normal((16, 768)).astype(np.float32))
    for own, point in zip(params, J.point.points, strict=True):
        if own:
            assert 0.05 < np.sqrt(np.mean(point.features[:, :-1] ** 2)) < 2
    assert np.sqrt(np.mean(J.point.output.first**2)) < 2


@pytest.mark.parametrize(("settings", "shape", "message"), [
    ({"channels": 7}, (3, 8, 8), "channels: 7 cannot be divided into two halves"),
    ({"channels": 8}, (3, 8, 8), r"network.channels: 8 is less than the 12 channels .* at least 12"),
    ({"kernel": 2}, (3, 8, 8), "kernel: 2 has no center"),
    ({"blocks": (1,)}, (3, 8, 8), "blocks: 1 stages, but hidden has 2"),
    ({}, 64, r"needs images, but the inputs are 64 numbers; .* set data.layout \(--layout\)"),
])  # fmt: skip
def test_unsuitable_settings_raise(settings, shape, message):
    with pytest.raises(UsageError, match=message):
        draw_network(Convolutional(**settings), shape, 4, np.random.default_rng(0))


def test_too_many_outputs_for_a_pooled_readout_raise():
    with pytest.raises(ShapeError, match="200 outputs for 128 channels"):
        draw_network(Convolutional(), (3, 8, 8), 200, np.random.default_rng(0))


def test_dense_networks_with_trained_projections(backend, dtype, rng):
    shape = Architecture(2, 12, "tanh", projection="trained")
    net = draw_network(shape, 7, 3, rng, backend=backend.backend, dtype=backend.dtype(dtype))
    params = redraw(init(net, rng, 1.0), backend, dtype, rng, 0.3)
    x = backend.asarray(rng.standard_normal((5, 7)), dtype)
    check_layer(net, params, x, kind="chain")
    z, J = jacobian(net, params, x)
    D, info = solve(MinimumNorm(), J, z)
    assert info.rho < tolerance(z.dtype, "solve")
    assert [len(of) for of in D] == [2] * 4


@CASES
def test_weights_and_ranks_are_counted(case, numpy_backend):
    net, params, x = case.build(numpy_backend, "float64")
    layers = tuple(each for layer in net.body.layers for each in layer_costs(layer, len(x)))
    sizes = Sizes(len(x), case.outputs, 8, layers)
    assert sizes.weights == size(params)
    truth = dense_jacobian(case.name)
    assert np.linalg.matrix_rank(truth) <= sizes.rank_bound(case.outputs)
    zero = scale(0.0, params)
    at_zero = tuple(type(of)(of.weight, *own[1:]) if of else of for of, own in zip(zero, params, strict=True))
    rank = np.linalg.matrix_rank(images.jacobian(net, at_zero, x))
    assert rank <= sizes.rank_at_zero(case.outputs)

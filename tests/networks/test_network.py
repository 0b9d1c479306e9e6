"""Construction of networks; split and join, odd widths, wrong shapes."""

import numpy as np
import pytest
from cases import network_case

from revgn.arrays import to_host
from revgn.errors import ShapeError, UsageError
from revgn.layers import LinearFeatures, RandomFeatures
from revgn.maps import Halves, forward, init, inverse, jvp_params, linearize, vjp_input
from revgn.networks import (
    REFERENCE,
    Architecture,
    Padding,
    draw_network,
    from_halves,
    join,
    round_trip_error,
    split,
    to_halves,
)
from revgn.solvers import Jacobian, MinimumNorm, solve
from revgn.testing import assert_close, tolerance
from revgn.testing.compare import agree, inner
from revgn.trees import leaves, size


@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_join_inverts_split(d, backend, dtype, rng):
    x = backend.asarray(rng.standard_normal((3, d)), dtype)
    halves = split(x)
    assert halves.first.shape == halves.second.shape == (3, (d + 1) // 2)
    assert_close("join(split(x)) = x", join(halves, d), x, 0.0)
    if d % 2:
        assert not np.any(to_host(halves.second)[:, -1])


def test_an_odd_width_appends_a_zero_column(backend, dtype):
    """d = 7 gives the result of d = 8 with a zero column; the cotangent of `vjp_input` omits this column."""
    net, params, x = network_case("odd-d").build(backend, dtype)
    z, point = linearize(net, params, x)
    pulled = vjp_input(net, params, point, z)
    assert pulled.shape == x.shape
    halves = split(x)
    assert_close("forward", forward(net, params, join(halves, 7)), z, 0.0)


@pytest.mark.parametrize(("d", "width"), [(1, 1), (1, 3), (4, 5), (5, 3), (5, 7)])
def test_a_padded_network_splits_its_inputs_in_the_middle_and_pads_each_half(d, width, backend, dtype, rng):
    stem, x = Padding(d, width), backend.asarray(rng.standard_normal((3, d)), dtype)
    halves = to_halves(stem, x)
    middle = (d + 1) // 2
    first, second = (np.zeros((3, width)) for _ in range(2))
    first[:, :middle], second[:, : d - middle] = to_host(x)[:, :middle], to_host(x)[:, middle:]
    for half, expected in zip(halves, (first, second), strict=True):
        assert np.array_equal(to_host(half), expected)
    assert_close("from_halves(to_halves(x)) = x", from_halves(stem, halves), x, 0.0)
    y = Halves(*(backend.asarray(rng.standard_normal((3, width)), dtype) for _ in range(2)))
    agree("adjoint", inner(halves, y), inner(x, from_halves(stem, y)), 10.0, 1e-6)


def test_a_padded_network_has_more_outputs_than_features(backend, dtype, rng):
    """Four features, ten outputs: an exact step still realizes any change of the outputs."""
    net = draw_network(
        Architecture(2, 24, "tanh"), 4, 10, rng, width=5,
        backend=backend.backend, dtype=backend.dtype(dtype),
    )  # fmt: skip
    params = init(net, rng, 0.2)
    x = backend.asarray(rng.standard_normal((6, 4)), dtype)
    assert size(params) == 4 * 25 * 5  # four couplings (h+1, d/2)
    z, point = linearize(net, params, x)
    assert z.shape == (6, 10)
    assert_close("the inputs", from_halves(net, point.input), x, 0.0)
    D, _ = solve(MinimumNorm(), Jacobian(net, params, point), z)
    assert_close("J D = eps", jvp_params(net, params, point, D), z, tolerance(z.dtype, "solve"))


@pytest.mark.parametrize(
    ("padding", "features", "outputs", "width"),
    [
        (None, 1, 3, 2),
        (None, 20, 1000, 500),
        (None, 7, 8, 4),
        (None, 8, 3, 4),
        (0, 7, 8, 4),
        (3, 2, 3, 3),
        (1, 1, 2, 1),
    ],
)
def test_padding_gives_room_for_the_outputs(padding, features, outputs, width, rng):
    architecture = Architecture(1, 8, padding=padding)
    net = draw_network(architecture, features, outputs, rng)
    assert (net.features, net.readout.first.shape[0]) == (features, width)
    assert (net.stem is None) == (width == (features + 1) // 2)
    z = forward(net, init(net, rng, 0.1), rng.standard_normal((4, features)))
    assert z.shape == (4, outputs)


@pytest.mark.parametrize(("features", "outputs", "least"), [(1, 3, 2), (2, 6, 3), (5, 9, 4)])
def test_too_little_padding_is_refused(features, outputs, least, rng):
    with pytest.raises(UsageError, match=rf"network.padding: 0 for .* expected at least {least},"):
        draw_network(Architecture(1, 8, padding=0), features, outputs, rng)
    with pytest.raises(UsageError, match=f"least {least},"):
        draw_network(Architecture(1, 8, padding=least - 1), features, outputs, rng)
    draw_network(Architecture(1, 8, padding=least), features, outputs, rng)


def test_too_few_columns_raise():
    with pytest.raises(ShapeError, match="Padding: halves of 2 columns for 5 features; expected at least 3"):
        draw_network(Architecture(), 5, 2, np.random.default_rng(0), width=2)


@pytest.mark.parametrize("name", ["relu-identity-keep", "odd-d", "d=2"])
def test_round_trip_error_is_at_rounding_level(name, backend, dtype):
    net, params, x = network_case(name).build(backend, dtype)
    error = round_trip_error(net, params, x)
    assert error.ndim == 0
    assert 0 <= float(error) < (1e-13 if dtype == "float64" else 1e-5)


def test_round_trip_error_matches_a_direct_computation(numpy_backend):
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float32")
    halves = split(x)
    back = inverse(net.body, params, forward(net.body, params, halves))
    missed = np.linalg.norm(join(back, 8).astype(float) - x) / np.linalg.norm(x)
    assert float(round_trip_error(net, params, x)) == pytest.approx(missed, rel=1e-3)


@pytest.mark.parametrize(("preset", "d", "count"), [
    ("paper-mnist", 784, 12_545_568),
    ("paper-mnist-relu", 784, 12_545_568),
    ("paper-cifar10", 3072, 147_474_432),
    ("paper-cifar10-relu", 3072, 147_474_432),
])  # fmt: skip
def test_reference_networks_have_the_number_of_weights_of_the_paper(preset, d, count):
    blocks, hidden = REFERENCE[preset].blocks, REFERENCE[preset].hidden
    assert 2 * blocks * (hidden + 1) * d // 2 == count


@pytest.mark.parametrize(("d", "half"), [(1, 1), (7, 4), (8, 4)])
@pytest.mark.parametrize(("projection", "rows"), [("frozen", 10), ("trained", 19)])
def test_each_coupling_has_a_weight_and_perhaps_a_projection(d, half, projection, rows):
    """With h = 9, W is (10, d/2), and a trained projection C (d/2, 9)."""
    architecture = Architecture(2, 9, "relu", "identity", projection=projection)
    rng = np.random.default_rng(0)
    net = draw_network(architecture, d, 1, rng)
    assert size(init(net, rng, 1e-3)) == 2 * 2 * rows * half


def test_first_block_sets_the_features_and_halves_alternate(backend):
    def drawn(first, hidden=9, activation="relu"):
        architecture = Architecture(2, hidden, activation, first)
        float64 = backend.dtype("float64")
        rng = np.random.default_rng(0)
        net = draw_network(architecture, 8, 3, rng, backend=backend.backend, dtype=float64)
        return net.body.layers

    assert [layer.half for layer in drawn("same")] == [0, 1, 0, 1]
    kinds = [type(layer.features) for layer in drawn("identity")]
    assert kinds == [LinearFeatures] * 2 + [RandomFeatures] * 2
    assert [layer.features.activation for layer in drawn("relu", activation="tanh")] == ["relu"] * 2 + [
        "tanh"
    ] * 2
    assert [layer.features.activation for layer in drawn("identity", hidden=2)] == ["identity"] * 2 + [
        "relu"
    ] * 2
    assert [type(layer.features) for layer in drawn("same", activation="identity")] == [LinearFeatures] * 4


@pytest.mark.parametrize("call", [forward, linearize])
def test_inputs_of_another_dtype_raise(call, backend):
    net, params, _ = network_case("tanh-same-keep").build(backend, "float32")
    _, _, x = network_case("tanh-same-keep").build(backend, "float64")
    with pytest.raises(
        UsageError, match=rf"{call.__name__}\(Network\): x has dtype .*float64, but the network has .*float32"
    ):
        call(net, params, x)


def test_error_names_map_and_shapes_for_wrong_shapes(numpy_backend):
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float64")
    with pytest.raises(ShapeError, match=r"forward\(Network\): x has shape \(6, 7\); expected \(n, 8\)"):
        forward(net, params, x[:, :7])
    with pytest.raises(ShapeError, match=r"linearize\(Network\)"):
        linearize(net, params, x[0])
    with pytest.raises(ShapeError, match=r"forward\(Chain\): got parameters for 3 layers; expected 4"):
        forward(net, params[:3], x)
    _, point = linearize(net, params, x)
    with pytest.raises(ShapeError, match=r"jvp_params\(Chain\)"):
        jvp_params(net, params, point, params[:3])


def test_frozen_arrays_are_identical_on_all_backends(backend, dtype):
    net, _, _ = network_case("relu-identity-keep").build(backend, dtype)
    plain = draw_network(
        network_case("relu-identity-keep").architecture, 8, 3, np.random.default_rng(11),
        dtype=np.dtype(dtype),
    )  # fmt: skip
    for ours, theirs in zip(net.body.layers, plain.body.layers, strict=True):
        assert np.array_equal(to_host(ours.features.projection), theirs.features.projection)
    for ours, theirs in zip(leaves((net.readout.first,)), leaves((plain.readout.first,)), strict=True):
        assert np.array_equal(to_host(ours), theirs)


@pytest.mark.parametrize("name", ["tanh-same-keep", "odd-d"])
def test_cotangents_may_have_leading_axes(name, backend, rng):
    net, params, x = network_case(name).build(backend, "float64")
    z, point = linearize(net, params, x)
    z_bar = backend.asarray(rng.standard_normal((2, *z.shape)))
    together = vjp_input(net, params, point, z_bar)
    for o in range(2):
        assert_close("vjp_input", together[o, ...], vjp_input(net, params, point, z_bar[o, ...]), 1e-13)


@pytest.mark.parametrize(("rng", "example"), [(3, "3"), (None, "0"), ("seed", "0")])
def test_a_seed_in_place_of_a_generator_is_refused(rng, example):
    net = draw_network(Architecture(2, 8), 4, 3, np.random.default_rng(0))
    for call in (lambda: draw_network(Architecture(2, 8), 4, 3, rng), lambda: init(net, rng, 1.0)):
        with pytest.raises(
            UsageError, match=rf"rng: .*expected one, as in np.random.default_rng\({example}\)"
        ):
            call()

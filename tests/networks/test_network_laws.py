"""Chains and networks satisfy the laws of a layer, with the tolerance of a chain."""

import numpy as np
import pytest
from cases import NETWORKS, network_case, redraw
from hypothesis import given
from hypothesis import strategies as st
from reference import dense

from revgn.arrays import to_host
from revgn.layers import draw_coupling
from revgn.maps import Halves, forward, init, inverse, jvp_params, linearize, vjp_params
from revgn.networks import Chain, to_halves
from revgn.testing import assert_close, check_layer, tolerance
from revgn.testing.compare import inner, norm

CASES = pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)


@CASES
def test_network_satisfies_its_laws(case, backend, dtype):
    net, params, x = case.build(backend, dtype)
    check_layer(net, params, x, kind="chain")


@pytest.mark.parametrize(
    "name",
    ["relu-identity-rebuild", "tanh-same-keep", "gelu-identity-keep", "odd-d", "n=1", "identity-everywhere"],
)
def test_chain_satisfies_its_laws(name, backend, dtype):
    """A chain has an inverse as well; its other laws are among those of the networks above."""
    net, params, x = network_case(name).build(backend, dtype)
    check_layer(net.body, params, to_halves(net, x), kind="chain")


@CASES
def test_network_matches_the_formula(case, backend, dtype):
    net, params, x = case.build(backend, dtype)
    plain, plain_params, plain_x = case.build(numpy_library(), "float64")
    z = dense.network(plain, dense.weights_of(plain_params), plain_x)
    assert_close("forward", forward(net, params, x), backend.asarray(z, dtype), tolerance(x.dtype, "chain"))


@CASES
def test_jacobian_matches_the_dense_reference(case, numpy_backend, rng):
    net, params, x = case.build(numpy_backend, "float64")
    J = dense.jacobian(net, params, x)
    z, point = linearize(net, params, x)
    d = redraw(params, numpy_backend, "float64", rng, 1.0)
    pushed = jvp_params(net, params, point, d)
    assert_close("J d", dense.rows(pushed), J @ dense.flat(d), 1e-12)
    z_bar = rng.standard_normal(z.shape)
    pulled = vjp_params(net, params, point, z_bar)
    assert_close("J^T z_bar", dense.flat(pulled), J.T @ dense.rows(z_bar), 1e-12)


@given(
    blocks=st.integers(1, 3), width=st.integers(1, 4), hidden=st.integers(1, 9), n=st.integers(1, 7),
    linear=st.booleans(), keep=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_laws_for_any_sizes(blocks, width, hidden, n, linear, keep, seed):
    """inverse(forward(x)) = x and <u, J v> = <J^T u, v> for chains of any shape."""
    library, rng = numpy_library(), np.random.default_rng(seed)
    layers = [
        draw_coupling(
            k % 2, width, hidden, rng, activation="linear" if linear and k < 2 and width <= hidden else "relu"
        )
        for k in range(2 * blocks)
    ]
    chain = Chain(tuple(layers), "keep" if keep else "rebuild")
    params = redraw(init(chain, rng, 1.0), library, "float64", rng, 0.3)
    x = Halves(*rng.standard_normal((2, n, width)))
    y, point = linearize(chain, params, x)
    assert_close("inverse(forward(x)) = x", inverse(chain, params, y), x, 1e-11)
    v, u = redraw(params, library, "float64", rng, 1.0), Halves(*rng.standard_normal((2, n, width)))
    Jv = jvp_params(chain, params, point, v)
    assert abs(inner(u, Jv) - inner(vjp_params(chain, params, point, u), v)) <= 1e-11 * norm(u) * norm(Jv)


@pytest.mark.parametrize("name", ["relu-identity", "tanh-same", "gelu-identity"])
def test_kept_and_rebuilt_activations_give_the_same_network(name, backend, dtype, rng):
    kept, params, x = network_case(f"{name}-keep").build(backend, dtype)
    rebuilt, same_params, _ = network_case(f"{name}-rebuild").build(backend, dtype)
    assert_close("parameters", same_params, params, 0.0)
    limit = tolerance(x.dtype, "chain")
    (z, point), (z_again, thin) = linearize(kept, params, x), linearize(rebuilt, params, x)
    assert point.points is not None
    assert thin.points is None
    assert_close("forward", z_again, z, 0.0)
    d = redraw(params, backend, dtype, rng, 1.0)
    assert_close("jvp", jvp_params(rebuilt, params, thin, d), jvp_params(kept, params, point, d), limit)
    assert_close("vjp", vjp_params(rebuilt, params, thin, z), vjp_params(kept, params, point, z), limit)


@pytest.mark.parametrize("name", ["relu-same-keep", "gelu-identity-rebuild", "odd-d"])
def test_permuted_samples_give_permuted_results(name, backend, dtype):
    net, params, x = network_case(name).build(backend, dtype)
    order = np.random.default_rng(2).permutation(x.shape[0])
    shuffled = backend.asarray(to_host(x)[order], dtype)
    limit = tolerance(x.dtype, "chain")
    (z, point), (z_shuffled, point_shuffled) = (linearize(net, params, rows) for rows in (x, shuffled))
    assert_close("forward", z_shuffled, backend.asarray(to_host(z)[order], dtype), limit)
    pulled = vjp_params(net, params, point_shuffled, z_shuffled)
    assert_close("J^T sums over the samples", pulled, vjp_params(net, params, point, z), limit)


@pytest.mark.parametrize("name", ["relu-identity-keep", "tanh-same-rebuild", "odd-d"])
def test_all_backends_give_the_same_numbers(name, backend, dtype):
    net, params, x = network_case(name).build(backend, dtype)
    plain, plain_params, plain_x = network_case(name).build(numpy_library(), dtype)
    z, point = linearize(net, params, x)
    plain_z, plain_point = linearize(plain, plain_params, plain_x)
    limit = tolerance(x.dtype, "chain")
    assert_close("forward", to_host(z), plain_z, limit)
    pulled = vjp_params(net, params, point, z)
    expected = vjp_params(plain, plain_params, plain_point, plain_z)
    assert_close("vjp", dense.flat([type(p)(to_host(p.weight)) for p in pulled]), dense.flat(expected), limit)


def numpy_library():
    from libraries import make_library

    return make_library("numpy")

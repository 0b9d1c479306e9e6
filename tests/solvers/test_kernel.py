"""The tangent kernel in closed form against J J^T."""

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, network_case
from reference import dense

from revgn.arrays import to_host
from revgn.solvers import apply, apply_adjoint, tangent_kernel
from revgn.testing import assert_close, tolerance

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)


@CASES
def test_kernel_is_the_dense_one(case, numpy_backend):
    J, _ = case.jacobian(numpy_backend)
    x = np.hstack(J.point.input)[:, : J.network.features]
    explicit = dense.jacobian(J.network, J.params, x)
    assert_close("Theta = J J^T", tangent_kernel(J), explicit @ explicit.T, 1e-13)


@CASES
def test_kernel_is_symmetric_and_never_negative(case, backend, dtype):
    J, _ = case.jacobian(backend, dtype)
    Theta = tangent_kernel(J)
    assert_close("symmetric", Theta, Theta.T, 0.0)
    w = np.linalg.eigvalsh(to_host(Theta).astype(float))
    assert w[0] >= -tolerance(Theta.dtype, "map") * w[-1]


@pytest.mark.parametrize("name", ["relu-identity-keep", "gelu-identity-rebuild", "odd-d", "n=1"])
def test_kernel_is_jvp_of_vjp(name, backend, dtype):
    J, eps = network_case(name).jacobian(backend, dtype)
    Theta = to_host(tangent_kernel(J)).astype(float)
    by_maps = to_host(apply(J, apply_adjoint(J, eps)))
    n, c = eps.shape
    product = (Theta @ dense.rows(to_host(eps))).reshape(c, n).T
    assert_close("Theta v", product, by_maps.astype(float), tolerance(eps.dtype, "chain"))

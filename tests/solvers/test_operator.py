"""J, J^T and J J^T as SciPy operators match the explicit J, and work with SciPy's solvers."""

import numpy as np
import pytest
from cases import NETWORKS, network_case
from libraries import make_library
from reference import dense
from scipy.sparse.linalg import cg, eigsh, svds

from revgn import trees
from revgn.arrays import array_namespace, to_host
from revgn.errors import BackendError
from revgn.networks import from_halves
from revgn.solvers import MinimumNorm, apply_adjoint, jacobian_operator, kernel_operator, solve
from revgn.testing import relative_error


def explicit(J):
    return dense.jacobian(J.network, J.params, from_halves(J.network, J.point.input))


@pytest.mark.parametrize("case", NETWORKS[-7:], ids=lambda case: case.name)
def test_operators_match_the_explicit_jacobian(case, numpy_backend):
    J, _ = case.jacobian(numpy_backend)
    A, operator, Theta = explicit(J), jacobian_operator(J), kernel_operator(J)
    assert operator.shape == A.shape
    np.testing.assert_allclose(operator @ np.eye(A.shape[1]), A, atol=1e-12 * np.abs(A).max())
    np.testing.assert_allclose(operator.T @ np.eye(len(A)), A.T, atol=1e-12 * np.abs(A).max())
    np.testing.assert_allclose(Theta @ np.eye(len(A)), A @ A.T, atol=1e-12 * np.abs(A @ A.T).max())


def test_solvers_of_scipy_accept_the_operators(numpy_backend):
    """svds and eigsh give the largest singular value, and cg gives the minimum-norm step."""
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend)
    s = np.linalg.svd(explicit(J), compute_uv=False)
    assert svds(jacobian_operator(J), k=1, return_singular_vectors=False)[0] == pytest.approx(s[0])
    assert eigsh(kernel_operator(J), k=1, return_eigenvectors=False)[0] == pytest.approx(s[0] ** 2)
    multipliers, failed = cg(kernel_operator(J), eps.ravel(), rtol=1e-12)
    assert failed == 0
    by_cg = apply_adjoint(J, multipliers.reshape(eps.shape))
    by_kernel = solve(MinimumNorm(), J, eps)[0]
    assert relative_error(trees.flatten(by_cg), trees.flatten(by_kernel)) < 1e-9


def test_unflatten_inverts_flatten(numpy_backend):
    J, _ = network_case("odd-d").jacobian(numpy_backend)
    vector = trees.flatten(J.params)
    assert vector.shape == (trees.size(J.params),)
    back = trees.unflatten(J.params, vector)
    assert all(np.array_equal(a, b) for a, b in zip(trees.leaves(back), trees.leaves(J.params), strict=True))


@pytest.mark.parametrize(
    "backend", ["numpy", "cupy:stand-in", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
def test_operators_accept_arrays_of_the_library(backend, rng):
    """Products of J, J^T and Theta with vectors, columns and matrices of the array library."""
    J, eps = network_case("odd-d").jacobian(backend)
    A = explicit(network_case("odd-d").jacobian(make_library("numpy"))[0])
    operator, Theta = jacobian_operator(J), kernel_operator(J)
    for op, matrix in ((operator, A), (operator.H, A.T), (operator.T, A.T), (Theta, A @ A.T)):
        assert op.shape == matrix.shape
        for columns in ((), (1,), (3,)):
            x = rng.standard_normal((matrix.shape[1], *columns))
            product = op @ backend.asarray(x)
            assert array_namespace(product) is array_namespace(eps)
            np.testing.assert_allclose(
                to_host(product), matrix @ x, atol=1e-12 * np.abs(matrix).max() * len(x)
            )


@pytest.mark.parametrize("backend", ["strict:device1"], indirect=True)
def test_a_library_without_linear_operators_raises(backend):
    J, _ = network_case("odd-d").jacobian(backend)
    with pytest.raises(BackendError, match="no linear operators"):
        jacobian_operator(J)

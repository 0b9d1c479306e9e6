"""The minimum-norm step matches the SVD of the explicit Jacobian."""

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, NetworkCase, network_case, repeated_rows
from reference import dense
from reference.pinv import pinv

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.networks import Architecture, from_halves
from revgn.solvers import MinimumNorm, apply, solve, tangent_kernel
from revgn.testing import assert_close, relative_error, tolerance
from revgn.trees import norm

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)


def explicit(J):
    return dense.jacobian(J.network, J.params, from_halves(J.network, J.point.input))


@CASES
def test_step_is_the_pseudoinverse(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    D, info = solve(MinimumNorm(), J, eps)
    truth = explicit(J)
    s = np.linalg.svd(truth, compute_uv=False)
    expected = pinv(truth, rtol=1e-7) @ dense.rows(eps)
    # a Gram matrix has a relative error of rounding times (s_1/s)^2 in s, which limits the accuracy
    condition = s[0] / s[s > 1e-7 * s[0]][-1]
    assert_close("D = J^+ eps", dense.flat(D), expected, max(1e-10, 1e-15 * condition**2))
    assert info.rank == (s > 1e-7 * s[0]).sum()
    assert info.order == eps.size
    assert info.rho == pytest.approx(relative_error(apply(J, D), eps), abs=1e-11)


@CASES
@pytest.mark.parametrize("damping", [1e-3, 10.0])
def test_damped_step_matches_the_formula(case, damping, numpy_backend):
    """D = J^T (J J^T + mu I)^-1 eps, with mu relative to the mean diagonal of J J^T."""
    J, eps = case.jacobian(numpy_backend)
    D, info = solve(MinimumNorm(damping), J, eps)
    truth = explicit(J)
    Theta = truth @ truth.T
    mu = damping * np.mean(np.diag(Theta))
    assert info.damping == pytest.approx(mu, rel=1e-12)
    expected = truth.T @ np.linalg.solve(Theta + mu * np.eye(len(Theta)), dense.rows(eps))
    assert_close("D", dense.flat(D), expected, 1e-9)
    assert info.rung == "cholesky"


@CASES
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_info_states_the_singular_values_of_the_jacobian(case, damping, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    _, info = solve(MinimumNorm(damping), J, eps)
    s = np.sqrt(np.abs(np.linalg.eigvalsh(tangent_kernel(J)) + info.damping))
    s_max, s_min = s[-1], s[-info.rank]
    slack = 1e-6 if info.rung == "eigh" else 0.25  # after Cholesky, bounds are estimates
    assert s_max * (1 - slack) <= info.s_max <= s_max * (1 + 1e-9)
    assert s_min * (1 - 1e-6) <= info.s_min <= s_min * (1 + slack)
    assert info.residual < max(1e-8, 1e-15 * (s_max / s_min) ** 2)
    assert info.block_weights == ()


@pytest.mark.parametrize("consistent", [True, False])
def test_repeated_rows(consistent, backend):
    case = NetworkCase("twice", Architecture(2, 16, "tanh"), rows=repeated_rows)
    J, _ = case.jacobian(backend)
    pairs = np.repeat(np.random.default_rng(50).standard_normal((3, 3)), 2, axis=0)
    split = 0.0 if consistent else np.array([[0.5], [-0.5]] * 3)
    D, info = solve(MinimumNorm(), J, backend.asarray(pairs + split))
    assert_close("J D", apply(J, D), backend.asarray(pairs), 1e-8)
    assert (info.rung, info.rank) == ("eigh", 9)
    assert info.residual < 1e-8  # of the solvable part of the equation; rho includes the rest
    missed = np.linalg.norm(split * np.ones((6, 3))) / np.linalg.norm(pairs + split)
    assert info.rho == pytest.approx(missed, abs=1e-8)


def test_rank_of_a_jacobian_with_more_outputs_than_weights(numpy_backend):
    J, eps = network_case("fewer-weights-than-outputs").jacobian(numpy_backend)
    _, info = solve(MinimumNorm(), J, eps)
    weights = sum(p.weight.size for p in J.params)
    assert weights < eps.size
    assert info.rank <= weights
    assert info.rho > 0.1


def test_single_precision_reports_its_rung(numpy_backend):
    """The condition number of the kernel exceeds single precision; rung and rho report the consequence."""
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend, "float32")
    D, info = solve(MinimumNorm(), J, eps)
    assert info.rung in ("cholesky", "cholesky-float64", "eigh")
    assert D[0].weight.dtype == np.float32
    assert info.rho == pytest.approx(relative_error(apply(J, D), eps), rel=1e-3, abs=1e-6)
    assert info.rho < 0.05


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
def test_step_never_increases_the_residual(case, dtype, numpy_backend):
    """|J D - eps| <= |eps|, since J J^+ is a projection, and damping only shrinks J D."""
    J, eps = case.jacobian(numpy_backend, dtype)
    for damping in (0.0, 1e-4):
        assert solve(MinimumNorm(damping), J, eps)[1].rho < 1 + 1e-6


@CASES
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_step_for_centered_logits(case, damping, numpy_backend):
    """The step is the minimum-norm solution for the centered logits, whose Jacobian is (I (x) Q^T) J."""
    J, eps = case.jacobian(numpy_backend)
    n, c = eps.shape
    if c == 1:
        with pytest.raises(ShapeError, match="a single output has no centered logits"):
            solve(MinimumNorm(damping, "centered-logits"), J, eps)
        return
    D, info = solve(MinimumNorm(damping, "centered-logits"), J, eps)
    Q = np.linalg.svd(np.ones((1, c)))[2][1:].T  # an orthonormal basis orthogonal to the ones
    truth = np.kron(np.eye(n), Q.T) @ explicit(J)
    wanted = dense.rows(eps @ Q)
    mu = damping * np.mean(np.sum(truth * truth, axis=1))
    assert info.damping == pytest.approx(mu, rel=1e-12)
    s = np.linalg.svd(truth, compute_uv=False)
    condition = s[0] / s[s > 1e-7 * s[0]][-1]
    if damping:
        expected = truth.T @ np.linalg.solve(truth @ truth.T + mu * np.eye(len(truth)), wanted)
    else:
        expected = pinv(truth, rtol=1e-7) @ wanted
    assert_close("D", dense.flat(D), expected, max(1e-9, 1e-15 * condition**2))
    missed = np.linalg.norm(truth @ expected - wanted) / np.linalg.norm(wanted)
    assert info.rho == pytest.approx(missed, abs=1e-9)
    assert info.order == n * (c - 1)


def test_step_for_centered_logits_is_smaller(backend, dtype):
    J, eps = network_case("relu-same-keep").jacobian(backend, dtype)
    eps = eps - backend.asarray(np.asarray(to_host(eps)).mean(axis=1, keepdims=True), dtype)
    all_outputs, _ = solve(MinimumNorm(), J, eps)
    D, info = solve(MinimumNorm(outputs="centered-logits"), J, eps)
    assert float(norm(D)) < float(norm(all_outputs))
    assert info.rho < tolerance(eps.dtype, "solve")

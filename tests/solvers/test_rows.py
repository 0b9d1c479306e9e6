"""Steps with few rows per sample match the SVD of the explicit Jacobian of these rows."""

from dataclasses import replace

import array_api_compat.numpy as xp
import numpy as np
import pytest
from cases import CONVOLUTIONAL, DEFICIENT, NETWORKS, network_case
from reference import dense
from reference.pinv import pinv

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.losses import CrossEntropy
from revgn.maps import init
from revgn.networks import Architecture, draw_network, from_halves
from revgn.optimizers import Adam, GaussNewton, Linearization, init_state, update
from revgn.solvers import (
    Blocks,
    ConjugateGradients,
    MinimumNorm,
    apply,
    apply_adjoint,
    equation,
    jacobian,
    solve,
)
from revgn.solvers.kernel_rows import pulled_back, rows_adjoint, rows_change
from revgn.solvers.rows import draw_rows
from revgn.testing import assert_close, tolerance

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
KEY = (3, 7)


def explicit(J):
    return dense.jacobian(J.network, J.params, from_halves(J.network, J.point.input))


def of_rows(R, truth):
    """Return R^T J (n m, weights) from R (n, c, m) and J (n c, weights), sample by sample."""
    n, c, m = R.shape
    return np.einsum("ncm,ncw->nmw", R, truth.reshape(n, c, -1)).reshape(n * m, -1)


def centered(eps):
    return eps - np.mean(eps, axis=1, keepdims=True)


@pytest.mark.parametrize("outputs", ["logits", "centered-logits"])
def test_rows_are_orthonormal_and_begin_with_eps(outputs, backend, dtype):
    J, eps = network_case("tanh-same-keep").jacobian(backend, dtype)
    found = equation(MinimumNorm(outputs=outputs, rows=2), J, eps, KEY)
    R, eps = (np.asarray(to_host(X), dtype=np.float64) for X in (found.jacobian.outputs, eps))
    wanted = centered(eps) if outputs == "centered-logits" else eps
    near = {"rtol": 0, "atol": 50 * tolerance(J.point.output.first.dtype, "map")}
    np.testing.assert_allclose(np.einsum("ncm,ncl->nml", R, R), np.broadcast_to(np.eye(2), (6, 2, 2)), **near)
    lengths = np.linalg.norm(wanted, axis=1)
    np.testing.assert_allclose(R[:, :, 0], wanted / lengths[:, None], **near)
    np.testing.assert_allclose(to_host(found.eps), np.stack([lengths, 0 * lengths], axis=1), **near)
    if outputs == "centered-logits":
        np.testing.assert_allclose(R.sum(axis=1), 0 * R[:, 0, :], **near)


@CASES
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 2])
def test_step_is_the_pseudoinverse(case, rows, damping, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    if rows > eps.shape[1]:
        with pytest.raises(ShapeError, match="rows is 2, but a sample has 1 outputs"):
            solve(MinimumNorm(rows=rows), J, eps)
        return
    D, info = solve(MinimumNorm(damping, rows=rows), J, eps)
    R, truth = draw_rows(eps, rows, (0, 0)), explicit(J)
    mine = of_rows(R, truth)
    s = np.linalg.svd(mine, compute_uv=False)
    condition = s[0] / s[s > 1e-7 * s[0]][-1]
    wanted = np.einsum("ncm,nc->nm", R, eps).ravel()
    mu = damping * np.mean(np.sum(mine * mine, axis=1))
    inverse = mine.T @ np.linalg.inv(mine @ mine.T + mu * np.eye(len(mine))) if mu else pinv(mine, rtol=1e-7)
    assert_close("D", dense.flat(D), inverse @ wanted, max(1e-9, 1e-15 * condition**2))
    assert info.order == eps.shape[0] * rows
    assert info.damping == pytest.approx(mu, rel=1e-12)
    missed = np.linalg.norm(mine @ dense.flat(D) - wanted) / np.linalg.norm(wanted)
    assert info.rho == pytest.approx(missed, abs=1e-11)
    of_all = np.linalg.norm(truth @ dense.flat(D) - dense.rows(eps)) / np.linalg.norm(eps)
    assert info.rho_outputs == pytest.approx(of_all, abs=1e-11)
    assert info.rho_outputs >= info.rho - 1e-12


@pytest.mark.parametrize("outputs", ["logits", "centered-logits"])
@pytest.mark.parametrize("solver", [MinimumNorm(0.1), ConjugateGradients(0.1, tolerance=1e-12)])
def test_as_many_rows_as_outputs_constrain_all_outputs(solver, outputs, backend):
    J, eps = network_case("relu-identity-keep").jacobian(backend)
    solver = replace(solver, outputs=outputs)
    all_of = solve(solver, J, eps)
    D, info = solve(replace(solver, rows=3 - (outputs == "centered-logits")), J, eps)
    assert_close("J D", apply(J, D), apply(J, all_of[0]), 1e-9)
    assert (info.rho, info.rho_outputs) == pytest.approx((all_of[1].rho,) * 2, rel=1e-8)
    assert all_of[1].rho_outputs is None


@pytest.mark.parametrize(
    "solver",
    [
        MinimumNorm(0.1, memory=3000),
        ConjugateGradients(0.1, tolerance=1e-12),
        ConjugateGradients(0.1, tolerance=1e-12, preconditioner=Blocks(4, directions=3)),
    ],
    ids=["tiles", "cg", "cg-directions"],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_every_solver_accepts_rows(solver, rows, backend, dtype):
    J, eps = network_case("n>h").jacobian(backend, dtype)
    eps = eps * backend.asarray(np.arange(9)[:, None] != 4, dtype)  # eps is 0 for one sample
    D, info = solve(replace(solver, rows=rows), J, eps)
    expected, of_dense = solve(MinimumNorm(0.1, rows=rows), J, eps)
    limit = max(tolerance(eps.dtype, "solve"), 1e-9)
    assert_close("J D", apply(J, D), apply(J, expected), limit)
    assert info.rho == pytest.approx(of_dense.rho, rel=limit)
    assert info.rho_outputs == pytest.approx(of_dense.rho_outputs, rel=limit)


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("solver", [MinimumNorm(), ConjugateGradients(tolerance=1e-12)])
def test_a_sample_with_zero_eps_does_not_constrain_the_step(solver, rows, damping, numpy_backend):
    """The step equals the step of the other samples, with mu from the mean diagonal over all samples."""
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    n = eps.shape[0]
    eps = eps * (np.arange(n)[:, None] % 3 > 0)
    of = equation(replace(solver, rows=rows), J, eps)
    R, truth = of.jacobian.outputs, explicit(J)
    assert not R[::3].any()
    mine = of_rows(R, truth)
    mu = damping * np.mean(np.sum(mine * mine, axis=1))
    kept = np.repeat(np.arange(n) % 3 > 0, rows)
    K = mine[kept] @ mine[kept].T + mu * np.eye(kept.sum())
    D, info = solve(replace(solver, rows=rows, damping=damping), J, eps)
    expected = mine[kept].T @ np.linalg.solve(K, of.eps.ravel()[kept])
    assert_close("D", dense.flat(D), expected, 1e-7)
    assert np.isfinite(info.rho)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_zero_eps_of_all_samples_gives_a_zero_step(damping, numpy_backend):
    J, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    D, info = solve(MinimumNorm(damping, rows=2), J, 0.0 * eps)
    assert not dense.flat(D).any()
    assert (info.rho, info.rho_outputs) == (0.0, 0.0)


def test_rows_depend_on_seed_and_step(numpy_backend):
    _, eps = network_case("relu-same-keep").jacobian(numpy_backend)
    R = draw_rows(eps, 2, KEY)
    assert np.array_equal(R, draw_rows(eps, 2, KEY))
    for other in ((4, 7), (3, 8)):
        assert np.abs(R - draw_rows(eps, 2, other))[:, :, 1].max() > 0.1
        assert np.array_equal(R[:, :, 0], draw_rows(eps, 2, other)[:, :, 0])
    assert np.array_equal(draw_rows(eps, 1, KEY), draw_rows(eps, 1, (0, 0)))


@pytest.mark.parametrize("count", [2, 4, 6])
def test_any_number_of_rows_is_orthonormal(count, backend):
    """Up to the number of outputs, also if eps is parallel or antiparallel to an axis, or zero."""
    eps = np.random.default_rng(5).standard_normal((6, 6))
    eps[:3, :] = [[2.0, 0, 0, 0, 0, 0], [-3.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    R = np.asarray(to_host(draw_rows(backend.asarray(eps), count, KEY)))
    expected = np.eye(count) * np.any(eps, axis=1)[:, None, None]
    np.testing.assert_allclose(np.einsum("ncm,ncl->nml", R, R), expected, atol=1e-14)


def test_rows_beyond_the_first_are_uniform(numpy_backend):
    """They have the mean, 0, and the covariance of a uniform direction orthogonal to eps."""
    eps = np.tile([[0.0, 3.0, 4.0]], (20000, 1))
    R = draw_rows(eps, 2, KEY)[:, :, 1]
    e = eps[0] / 5.0
    np.testing.assert_allclose(R.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(R.T @ R / len(R), (np.eye(3) - np.outer(e, e)) / 2, atol=0.02)


@pytest.mark.parametrize("name", ["tanh-same-keep", "odd-d", "identity-everywhere"])
@pytest.mark.parametrize("outputs", ["logits", "centered-logits"])
@pytest.mark.parametrize("rows", [1, 2, "all"])
def test_rows_that_are_pulled_back_give_both_products(name, outputs, rows, backend, dtype):
    J, eps = network_case(name).jacobian(backend, dtype)
    J, wanted = equation(MinimumNorm(outputs=outputs, rows=rows), J, eps, KEY)[1:3]
    v, near = backend.asarray(np.random.default_rng(0).standard_normal(wanted.shape), dtype), tolerance
    D = apply_adjoint(J, v)
    assert_close("J^T v", rows_adjoint(pulled_back(J), v), D, near(eps.dtype, "chain"))
    assert_close("J D", rows_change(pulled_back(J), D), apply(J, D), near(eps.dtype, "chain"))


@pytest.mark.parametrize("case", CONVOLUTIONAL, ids=lambda case: case.name)
@pytest.mark.parametrize("rows", [1, "all"])
def test_rows_of_convolutional_networks(case, rows, backend, dtype):
    net, params, x = case.build(backend, dtype)
    z, J = jacobian(net, params, x)
    J, wanted = equation(MinimumNorm(rows=rows), J, z, KEY)[1:3]
    v = backend.asarray(np.random.default_rng(0).standard_normal(wanted.shape), dtype)
    D, near = apply_adjoint(J, v), tolerance(z.dtype, "chain")
    assert_close("J^T v", rows_adjoint(pulled_back(J), v), D, near)
    assert_close("J D", rows_change(pulled_back(J), D), apply(J, D), near)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rows", [1, 2])
def test_number_of_products_of_a_step(rows, momentum, numpy_backend, monkeypatch):
    """A step with m rows takes 3 + 2 m products per coupling, 1 more with momentum, 3 more to measure rho.

    A gradient takes 5. A product is n h d/2 multiplications. The first coupling needs no product for the
    derivatives in its input.
    """
    n, d2, h, couplings = 2, 64, 512, 6
    net = draw_network(
        Architecture(couplings // 2, h, "tanh"), 2 * d2, 4, np.random.default_rng(1), dtype=np.float64
    )
    params, counted = init(net, np.random.default_rng(2), 0.1), []
    x, t = np.random.default_rng(3).standard_normal((n, 2 * d2)), np.eye(4)[:n]
    product = xp.matmul

    def counting(A, B, **to):
        counted.append(A.shape[-2] * A.shape[-1] * B.shape[-1] * (max(*A.shape, *B.shape) >= d2))
        return product(A, B, **to)

    def products(optimizer, measure=False):
        """Return the number of products of the second step."""
        state, weights = init_state(optimizer, net, params), params
        for _ in range(2):
            counted.clear()
            z, J = jacobian(net, weights, x)
            at = Linearization(CrossEntropy(), z, t, J, measure=measure)
            weights, state, *_ = update(optimizer, state, weights, at)
        return sum(counted) / (n * h * d2)

    monkeypatch.setattr(xp, "matmul", counting)
    inner = couplings - 1
    assert products(Adam()) == pytest.approx(3 * couplings + 2 * inner, rel=0.05)
    optimizer = GaussNewton(MinimumNorm(0.1, rows=rows), momentum=momentum)
    expected = 3 * couplings + 2 * rows * inner + couplings * (momentum > 0)
    assert products(optimizer) == pytest.approx(expected, rel=0.1)
    assert products(optimizer, measure=True) == pytest.approx(expected + couplings + 2 * inner, rel=0.1)


@pytest.mark.parametrize("scale", [1e-30, 1e20, 1e30])
def test_rows_do_not_depend_on_the_size_of_eps(scale, numpy_backend):
    """The squares of eps leave the range of single precision."""
    eps = np.random.default_rng(4).standard_normal((5, 3)).astype(np.float32)
    eps[2] = 0.0
    R = draw_rows(eps, 2, (0, 1))
    assert_close("R", draw_rows(np.float32(scale) * eps, 2, (0, 1)), R, 1e-6)
    assert not R[2].any()

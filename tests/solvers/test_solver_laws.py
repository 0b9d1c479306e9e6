"""Every solver satisfies the laws of generalized inverses, and matches dense references."""

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import DEFICIENT, EXACT_SOLVERS, NETWORKS, NetworkCase, network_case
from hypothesis import given
from reference import dense

from revgn.arrays import to_host
from revgn.errors import ShapeError
from revgn.networks import Architecture, from_halves
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, apply, apply_adjoint, jacobian, solve
from revgn.testing import (
    assert_close,
    check_generalized_inverse,
    check_reported_rho,
    check_solver,
    relative_error,
    tolerance,
)
from revgn.trees import axpy

FULL_RANK = [  # two blocks with features of rank n
    network_case(name)
    for name in ("relu-same-keep", "relu-same-rebuild", "tanh-same-keep", "tanh-same-rebuild")
]
SOLVERS = [
    *(case.solver for case in EXACT_SOLVERS),
    BlockWise("uniform", rtol=1e-3, atol=1e-5),
    BlockWise(damping=0.01),
    MinimumNorm(0.1),
    ConjugateGradients(0.1, tolerance=1e-12),
]


@pytest.mark.parametrize("solver", EXACT_SOLVERS, ids=lambda case: case.name)
@pytest.mark.parametrize("case", FULL_RANK[:3], ids=lambda case: case.name)
def test_solver_is_a_generalized_inverse(case, solver, backend, dtype):
    J, eps = well_posed(case).jacobian(backend, dtype)
    check_solver(solver.solver, J, eps)
    _, info = solve(solver.solver, J, eps)
    assert info.rho < tolerance(eps.dtype, "solve")  # with rank n every eps can be realized


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("case", [*NETWORKS[-7:], *DEFICIENT], ids=lambda case: case.name)
def test_reported_rho_is_the_measured_rho(case, solver, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    if isinstance(solver, BlockWise) and isinstance(solver.block_weights, tuple):
        solver = BlockWise((1.0,) + (0.0,) * (len(J.params) // 2 - 1))
    check_reported_rho(solver, J, eps)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_reported_rho_is_the_measured_rho_on_every_backend(solver, backend, dtype):
    check_reported_rho(solver, *network_case("gelu-identity-keep").jacobian(backend, dtype))


@pytest.mark.parametrize("solver", EXACT_SOLVERS, ids=lambda case: case.name)
@pytest.mark.parametrize("case", FULL_RANK, ids=lambda case: case.name)
def test_dense_generalized_inverse_satisfies_its_law(case, solver, numpy_backend):
    """J G J = J, with J from the complex step and G assembled column by column."""
    J, eps = case.jacobian(numpy_backend)
    x = from_halves(J.network, J.point.input)
    dense_J = dense.jacobian(J.network, J.params, x)
    c, n = eps.shape[1], eps.shape[0]
    G = np.array([dense.flat(solve(solver.solver, J, e.reshape(n, c))[0]) for e in np.eye(c * n)]).T
    assert_close("J G J = J", dense_J @ G @ dense_J, dense_J, 1e-9)


@pytest.mark.parametrize("case", FULL_RANK, ids=lambda case: case.name)
def test_minimum_norm_step_is_the_shortest(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    lengths = {of.name: np.linalg.norm(dense.flat(solve(of.solver, J, eps)[0])) for of in EXACT_SOLVERS}
    least = lengths.pop("minimum-norm")
    assert all(least < length for length in lengths.values())


def test_solve_is_linear(backend):
    J, eps = network_case("tanh-same-keep").jacobian(backend)
    other = backend.asarray(np.random.default_rng(30).standard_normal(eps.shape))
    for of in EXACT_SOLVERS:
        D, D_other, both = (solve(of.solver, J, e)[0] for e in (eps, other, 2.0 * eps + other))
        assert_close(of.name, both, axpy(2.0, D, D_other), 1e-9)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_zero_eps_gives_a_zero_step(solver, backend):
    J, eps = network_case("relu-identity-keep").jacobian(backend)
    D, info = solve(solver, J, 0.0 * eps)
    assert all(not np.any(to_host(p.weight)) for p in D)
    assert info.rho == 0.0


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_kept_and_rebuilt_activations_give_the_same_step(solver, backend):
    steps = []
    for activations in ("keep", "rebuild"):
        J, eps = network_case(f"tanh-same-{activations}").jacobian(backend)
        steps.append(solve(solver, J, eps)[0])
    assert_close("step", steps[1], steps[0], 1e-9)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_permuted_samples_give_the_same_step(solver, numpy_backend):
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float64")
    eps = np.random.default_rng(31).standard_normal((6, 3))
    order = np.random.default_rng(32).permutation(6)
    D, _ = solve(solver, jacobian(net, params, x)[1], eps)
    shuffled, _ = solve(solver, jacobian(net, params, x[order])[1], eps[order])
    estimated = isinstance(solver, BlockWise) and solver.damping  # mu by a power iteration
    assert_close("step", shuffled, D, 0.05 if estimated else 1e-9)


@pytest.mark.parametrize("solver", [BlockWise("full-rank"), MinimumNorm(), MinimumNorm(0.1)], ids=repr)
def test_all_backends_give_the_same_step(solver, backend):
    """The tolerance is 1e-8, since a solve multiplies rounding errors by the condition number."""
    J, eps = network_case("gelu-identity-keep").jacobian(backend)
    plain_J, plain_eps = network_case("gelu-identity-keep").jacobian(numpy_library())
    ours, theirs = solve(solver, J, eps)[0], solve(solver, plain_J, plain_eps)[0]
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(to_host(a.weight), b.weight) < 1e-8


@given(
    n=st.integers(1, 6), width=st.integers(1, 4), blocks=st.integers(1, 3), outputs=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_every_eps_is_realized_if_features_have_rank_n(n, width, blocks, outputs, seed):
    outputs = min(outputs, 2 * width)
    case = NetworkCase("any", Architecture(blocks, 40, "relu"), 2 * width, outputs, n)
    library, rng = numpy_library(), np.random.default_rng(seed)
    net, params, _ = case.build(library, "float64")
    _, J = jacobian(net, params, rng.standard_normal((n, 2 * width)))
    eps = rng.standard_normal((n, outputs))
    for solver in (BlockWise("full-rank"), MinimumNorm()):
        D, info = solve(solver, J, eps)
        assert info.rho == pytest.approx(relative_error(apply(J, D), eps), abs=1e-12)
        if isinstance(solver, MinimumNorm) or info.rank == n:
            check_generalized_inverse_loosely(solver, J, seed)


def check_generalized_inverse_loosely(solver, J, seed):
    """Check J G J = J up to 1e-6, since networks of random sizes may have large condition numbers."""
    rng = np.random.default_rng(seed)
    D = tuple(type(p)(rng.standard_normal(p.weight.shape)) for p in J.params)
    eps = apply(J, D)
    assert relative_error(apply(J, solve(solver, J, eps)[0]), eps) < 1e-6


def test_apply_adjoint_is_the_adjoint_of_apply(backend, dtype):
    J, eps = network_case("tanh-same-keep").jacobian(backend, dtype)
    D = apply_adjoint(J, eps)
    left = float(np.vdot(to_host(apply(J, D)), to_host(eps)))
    right = sum(float(np.vdot(to_host(p.weight), to_host(p.weight))) for p in D)
    assert left == pytest.approx(right, rel=tolerance(eps.dtype, "chain"))


@pytest.mark.parametrize("solver", [BlockWise(), MinimumNorm()], ids=repr)
def test_error_names_the_shape_of_a_wrong_eps(solver, numpy_backend):
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend)
    for wrong in (eps[:, :2], eps[:3], eps.T, eps[:, 0]):
        with pytest.raises(ShapeError, match=r"solve: eps has shape .* expected \(6, 3\)"):
            solve(solver, J, wrong)


def test_check_generalized_inverse_fails_for_a_damped_solver(numpy_backend):
    J, _ = network_case("tanh-same-keep").jacobian(numpy_backend)
    with pytest.raises(AssertionError, match="J G J = J"):
        check_generalized_inverse(MinimumNorm(1.0), J)


def well_posed(case):
    """Return the case with more hidden features, so that its kernel can be factored in single precision."""
    return NetworkCase(
        case.name,
        Architecture(2, 64, case.architecture.activation, "same", case.architecture.activations),
        features=16,
        samples=4,
    )


def numpy_library():
    from libraries import make_library

    return make_library("numpy")

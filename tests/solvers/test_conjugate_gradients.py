"""Conjugate gradients give the dense minimum-norm step; parts and preconditioner match their formulas."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, network_case
from reference import dense

from revgn.arrays import array_namespace, to_host
from revgn.errors import UsageError
from revgn.networks import from_halves
from revgn.solvers import (
    Blocks,
    ConjugateGradients,
    MinimumNorm,
    apply,
    apply_adjoint,
    rho,
    solve,
    tangent_kernel,
)
from revgn.solvers.parts import kernel_product, mean_block, product_parts, rotated
from revgn.solvers.preconditioner import factor_preconditioner, precondition
from revgn.testing import assert_close, relative_error, tolerance
from revgn.trees import map_leaves

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
SOLVERS = {
    "blocks": ConjugateGradients(tolerance=1e-11),
    "small-blocks": ConjugateGradients(tolerance=1e-11, preconditioner=Blocks(block_samples=2)),
    "blocks-only": ConjugateGradients(tolerance=1e-11, preconditioner=Blocks(directions=0)),
    "none": ConjugateGradients(tolerance=1e-11, preconditioner=None),
}
EACH = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def at_zero(J):
    """Return J at W = 0."""
    from revgn.solvers import jacobian

    x = array_namespace(J.point.input.first).concat(J.point.input, axis=1)[:, : J.network.features]
    return jacobian(J.network, map_leaves(lambda W: 0.0 * W, J.params), x)[1]


# --- the step ---------------------------------------------------------------------------------------


@CASES
@pytest.mark.parametrize(
    ("solver", "damping"), [*zip(SOLVERS.values(), (0.1, 1e-3, 10.0, 0.1), strict=True)], ids=SOLVERS
)
def test_damped_step_equals_the_dense_step(case, solver, damping, numpy_backend):
    """Also for rank-deficient kernels, since damping makes the equation regular."""
    J, eps = case.jacobian(numpy_backend)
    solver = replace(solver, damping=damping, max_iterations=2000)
    D, info = solve(solver, J, eps)
    expected, by_kernel = solve(MinimumNorm(damping), J, eps)
    assert info.outcome == "converged"
    assert info.damping == pytest.approx(by_kernel.damping, rel=1e-12)
    assert_close("D", D, expected, 1e-8)
    assert info.rho == pytest.approx(by_kernel.rho, abs=1e-9)
    assert info.residual < 1e-10
    assert (info.rung, info.rank, info.order, info.block_weights) == (None, None, eps.size, ())


@EACH
@pytest.mark.parametrize(
    "case", [case for case in NETWORKS if case.name not in ("d=1", "d=2")], ids=lambda case: case.name
)
def test_undamped_step_is_the_pseudoinverse(case, solver, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    D, info = solve(solver, J, eps)
    assert (info.outcome, info.damping) == ("converged", 0.0)
    assert info.rho < 1e-10
    assert_close("D", D, solve(MinimumNorm(), J, eps)[0], 1e-7)


@CASES
def test_residual_meets_the_tolerance(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    counts = []
    for goal in (1e-1, 1e-4, 1e-8):
        D, info = solve(ConjugateGradients(0.01, tolerance=goal, preconditioner=None), J, eps)
        assert info.outcome == "converged"
        assert info.residual <= goal * (1 + 1e-6)
        assert info.rho == pytest.approx(rho(apply(J, D), eps), abs=1e-12)
        counts.append(info.iterations)
    assert counts == sorted(counts)


@pytest.mark.parametrize("outputs", ["logits", "centered-logits"])
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("name", ["relu-same-keep", "gelu-identity-rebuild", "odd-d"])
def test_step_equals_the_dense_step_on_every_backend(name, damping, outputs, backend, dtype):
    J, eps = network_case(name).jacobian(backend, dtype)
    single = dtype == "float32"
    goal, blocks = 1e-4 if single else 1e-11, Blocks(block_samples=4)
    solver = ConjugateGradients(damping, outputs, tolerance=goal, preconditioner=blocks)
    D, info = solve(solver, J, eps)
    expected, _ = solve(MinimumNorm(damping, outputs), J, eps)
    assert info.outcome == "converged"
    assert info.residual <= 2 * solver.tolerance
    assert_close("D", D, expected, (0.2 if not damping else 1e-3) if single else 1e-7)


def test_step_with_combined_outputs_of_each_sample(backend):
    J, eps = network_case("relu-identity-keep").jacobian(backend)
    n, c = eps.shape
    R = backend.asarray(np.random.default_rng(5).standard_normal((n, c, c - 1)))
    mixed = J._replace(outputs=R)
    expected, by_kernel = solve(MinimumNorm(0.1), mixed, eps[:, :2])
    D, info = solve(ConjugateGradients(0.1, tolerance=1e-12), mixed, eps[:, :2])
    assert info.damping == pytest.approx(by_kernel.damping, rel=1e-12)
    assert_close("D", D, expected, 1e-9)


# --- outcomes ---------------------------------------------------------------------------------------


def test_out_of_iterations_is_reported(backend):
    J, eps = network_case("tanh-same-keep").jacobian(backend)
    _, info = solve(ConjugateGradients(tolerance=1e-10, max_iterations=3), J, eps)
    assert (info.outcome, info.iterations) == ("out-of-iterations", 3)
    assert info.residual > 1e-10


@EACH
@pytest.mark.parametrize("case", DEFICIENT[1:], ids=lambda case: case.name)
def test_an_eps_outside_the_range_of_the_kernel_is_reported(case, solver, numpy_backend):
    """Without damping, the iteration stagnates, and the step does not increase the residual."""
    J, eps = case.jacobian(numpy_backend)
    _, info = solve(solver, J, eps)
    assert info.outcome == "stagnated"
    assert info.rho <= 1 + 1e-9


def test_single_precision_reports_a_tolerance_out_of_reach(numpy_backend):
    J, eps = network_case("tanh-same-keep").jacobian(numpy_backend, "float32")
    _, info = solve(ConjugateGradients(tolerance=1e-9), J, eps)
    assert info.outcome == "stagnated"
    assert info.residual > 1e-9


# --- the parts --------------------------------------------------------------------------------------


@CASES
def test_product_equals_the_product_with_the_kernel(case, backend, dtype):
    J, eps = case.jacobian(backend, dtype)
    product = kernel_product(product_parts(J), eps)
    assert_close("Theta v", product, apply(J, apply_adjoint(J, eps)), tolerance(eps.dtype, "chain"))


@CASES
def test_product_with_features_equals_the_product_with_their_gram_matrix(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    parts = product_parts(J)
    bare = tuple(part._replace(gram=None) for part in parts)
    full = tuple(part._replace(gram=part.features @ part.features.T) for part in parts)
    assert_close("Theta v", kernel_product(bare, eps), kernel_product(full, eps), 1e-13)


@CASES
def test_mean_block_matches_the_kernel(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    n, c = eps.shape
    Theta = to_host(tangent_kernel(J)).reshape(n, c, n, c)
    expected = np.mean([Theta[s, :, s, :] for s in range(n)], axis=0)
    assert_close("mean block", np.asarray(to_host(mean_block(product_parts(J)))), expected, 1e-13)


# --- the preconditioner -----------------------------------------------------------------------------


def dense_preconditioner(J, Q, mu, samples, directions):
    """Return P (n c, n c) from the explicit J: leading eigendirections, and blocks of the remainder."""
    x = from_halves(J.network, J.point.input)
    n, c = x.shape[0], Q.shape[0]
    turn = np.kron(np.eye(n), Q.T)
    explicit = turn @ dense.jacobian(J.network, J.params, x)
    columns, start = [], 0
    at = dense.halves_of(J.network, x)
    for layer, W in zip(J.network.body.layers, dense.weights_of(J.params), strict=True):
        A = dense.features(layer, at[1 - layer.half])
        at = dense.coupling(layer, W, at)
        own = explicit[:, start : start + W.size]
        start += W.size
        by_bias = own.reshape(n * c, *W.shape)[:, -1, :]  # the bias feature is 1: these are the cotangents
        w, q = np.linalg.eigh(A.T @ A)
        of_b, m = np.linalg.eigh(by_bias.T @ by_bias)
        for i in range(len(w)):
            for j in range(len(of_b)):
                columns.append((w[i] * of_b[j], own @ np.outer(q[:, i], m[:, j]).ravel()))
    columns.sort(key=lambda column: -column[0])
    F = np.array([column for _, column in columns[:directions]]).reshape(directions, n * c).T
    rest = explicit @ explicit.T - F @ F.T + mu * np.eye(n * c)
    size = -(-n // -(-n // samples))
    group = np.repeat(np.arange(n) // size, c)
    output = np.tile(np.arange(c), n)
    same = (group[:, None] == group) & (output[:, None] == output)
    return F @ F.T + np.where(same, rest, 0.0)


@pytest.mark.parametrize("samples", [100, 3])
@pytest.mark.parametrize("directions", [0, 2])
@pytest.mark.parametrize(
    "name", ["tanh-same-keep", "relu-same-keep", "one-block", "n>h", "first-block-short"]
)
def test_preconditioner_matches_the_dense_reference(name, directions, samples, numpy_backend):
    J, eps = network_case(name).jacobian(numpy_backend)
    J, eps = doubled(J, eps, numpy_backend)
    n, c = eps.shape
    parts = product_parts(J)
    Q = np.linalg.eigh(mean_block(parts))[1]
    mu = 0.05 * float(np.trace(mean_block(parts))) / c
    factored = factor_preconditioner(rotated(parts, Q), mu, samples=samples, directions=directions)
    assert factored.columns.shape == (n * c, directions)
    P = dense_preconditioner(J, Q, mu, samples, directions)
    expected = np.linalg.solve(P, eps.ravel()).reshape(n, c)
    assert_close("P^-1 R", precondition(factored, eps), expected, 1e-9)


def doubled(J, eps, library):
    """Return J and eps for twice as many samples, the second half different, so that blocks have several."""
    from revgn.solvers import jacobian

    x = from_halves(J.network, J.point.input)
    x = np.vstack([x, x[::-1] + 0.5])
    return jacobian(J.network, J.params, x)[1], np.vstack([eps, -eps[::-1]])


@CASES
def test_preconditioner_is_symmetric_and_positive(case, numpy_backend):
    J, eps = case.jacobian(numpy_backend)
    parts = product_parts(J)
    for mu, samples in ((0.0, 100), (0.1, 2)):
        factored = factor_preconditioner(parts, mu, samples=samples, directions=3)
        unit = np.eye(eps.shape[0] * eps.shape[1]).reshape(-1, *eps.shape)
        inverse = np.array([to_host(precondition(factored, e)).ravel() for e in unit])
        assert relative_error(inverse, inverse.T) < 1e-6
        w = np.linalg.eigvalsh((inverse + inverse.T) / 2)
        assert w[0] > -tolerance(inverse.dtype, "map") * w[-1]  # 0 if the kernel has lower rank


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)
def test_preconditioner_is_the_exact_inverse_at_zero(case, numpy_backend):
    """At W = 0 the kernel is K_0 (x) U_0^T U_0 + K_1 (x) U_1^T U_1, which is exactly block diagonal."""
    J, eps = case.jacobian(numpy_backend)
    J = at_zero(J)
    _, info = solve(ConjugateGradients(0.01, tolerance=1e-9, preconditioner=Blocks(directions=0)), J, eps)
    assert info.outcome == "converged"
    assert info.iterations <= 2
    layers, readout = J.network.body.layers, J.network.readout
    n, c = eps.shape
    Theta = np.zeros((n, c, n, c))
    halves = [to_host(half) for half in J.point.input]  # constant through the chain
    for layer in layers:
        A = dense.features(on_host(layer), halves[1 - layer.half])
        U = to_host(readout.first if layer.half == 0 else readout.second)
        Theta += np.einsum("st,op->sotp", A @ A.T, U.T @ U)
    assert_close("kernel at W = 0", to_host(tangent_kernel(J)).reshape(n, c, n, c), Theta, 1e-12)


def on_host(layer):
    class Features:
        projection = to_host(layer.features.projection)
        activation = getattr(layer.features, "activation", "identity")

    return SimpleNamespace(features=Features)


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"damping": -1.0}, "damping"),
        ({"damping": float("nan")}, "damping"),
        ({"tolerance": 0.0}, "tolerance: 0.0"),
        ({"tolerance": float("nan")}, "tolerance: nan"),
        ({"max_iterations": 0}, "max_iterations: 0"),
        (
            {"outputs": "differences"},
            "outputs: .differences. cannot be used",
        ),
    ],
)
def test_error_names_the_invalid_setting(arguments, says):
    with pytest.raises(UsageError, match=says):
        ConjugateGradients(**arguments)


@pytest.mark.parametrize("arguments", [{"block_samples": 0}, {"directions": -1}])
def test_error_names_the_invalid_setting_of_the_preconditioner(arguments):
    with pytest.raises(UsageError, match=f"Blocks: {next(iter(arguments))}"):
        Blocks(**arguments)


def test_combined_outputs_with_centered_logits_raise(numpy_backend):
    J, eps = network_case("one-block").jacobian(numpy_backend)
    with pytest.raises(UsageError, match="already has combined outputs"):
        solve(ConjugateGradients(outputs="centered-logits"), J._replace(outputs=np.eye(3)), eps)

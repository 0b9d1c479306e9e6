"""Units of the damping: with every row twice, an absolute damping gives the same step, as K-FAC's does.

With J' = [J; J] and eps' = [eps; eps], J'^T (J' J'^T + mu I)^-1 eps' = J^T (J J^T + mu/2 I)^-1 eps. The mean
diagonal of the kernel is the same for both, the squared singular values of A are doubled.
"""

from dataclasses import replace

import numpy as np
import pytest
from cases import CONVOLUTIONAL, DEFICIENT, NETWORKS, network_case
from reference import dense

from revgn.losses import SquaredError
from revgn.networks import from_halves
from revgn.optimizers import KFAC, Linearization, direction, init_state
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, jacobian, solve
from revgn.testing import assert_close

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
MU = 0.2
SOLVERS = {
    "minimum-norm": MinimumNorm(MU),
    "by tiles": MinimumNorm(MU, memory=10_000),
    "one row": MinimumNorm(MU, rows=1),
    "cg": ConjugateGradients(MU, tolerance=1e-13),
    "block": BlockWise("uniform", damping=MU),
}


def once_and_twice(case, library):
    net, params, x = case.build(library, "float64")
    z, J = jacobian(net, params, x)
    eps = library.asarray(np.random.default_rng(71).standard_normal(z.shape))
    xp = np if library.name == "numpy" else library.xp
    _, doubled = jacobian(net, params, xp.concatenate([x, x]))
    return (J, eps), (doubled, xp.concatenate([eps, eps]))


@pytest.mark.parametrize("name", SOLVERS)
def test_with_every_row_twice_an_absolute_damping_gives_the_same_step(name, numpy_backend):
    once, twice = once_and_twice(network_case("tanh-same-keep"), numpy_backend)
    solver = replace(SOLVERS[name], damping_unit="absolute")
    expected, _ = solve(solver, *once)
    D, _ = solve(solver, *twice)
    assert_close("D", D, expected, 1e-9)


@pytest.mark.parametrize("name", SOLVERS)
def test_with_every_row_twice_a_relative_damping_is_halved_except_for_the_block_step(name, numpy_backend):
    once, twice = once_and_twice(network_case("tanh-same-keep"), numpy_backend)
    solver = SOLVERS[name]
    share = 1.0 if name == "block" else 0.5
    expected, _ = solve(replace(solver, damping=share * MU), *once)
    D, _ = solve(solver, *twice)
    assert_close("D", D, expected, 1e-9)


@CASES
def test_the_absolute_damping_is_in_units_of_the_mean_of_the_samples(case, numpy_backend):
    """(J^T J / n + mu I)^-1 J^T eps / n, with J explicit."""
    J, eps = case.jacobian(numpy_backend)
    truth, n = dense.jacobian(J.network, J.params, from_halves(J.network, J.point.input)), len(eps)
    K = truth @ truth.T / n + MU * np.eye(len(truth))
    D, info = solve(MinimumNorm(MU, damping_unit="absolute"), J, eps)
    assert_close("D", dense.flat(D), truth.T @ np.linalg.solve(K, dense.rows(eps)) / n, 1e-10)
    assert info.damping == pytest.approx(n * MU)


@pytest.mark.parametrize("unit", ["relative", "absolute"])
def test_of_features(unit, backend, dtype):
    """A^T (A A^T + n mu I)^-1 V, or mu times the largest squared singular value of A."""
    from revgn.linalg import PinvRule, apply_pinv, factor_pinv

    for shape in ((4, 9), (9, 4), (5, 5)):
        rng = np.random.default_rng(72)
        A, V = rng.standard_normal(shape), rng.standard_normal((shape[0], 2))
        added = MU * (shape[0] if unit == "absolute" else np.linalg.norm(A, 2) ** 2)
        pinv = factor_pinv(backend.asarray(A, dtype), PinvRule(damping=MU, is_relative=unit == "relative"))
        X = apply_pinv(pinv, backend.asarray(V, dtype)).solution
        expected = A.T @ np.linalg.solve(A @ A.T + added * np.eye(shape[0]), V)
        assert_close("X", X, backend.asarray(expected, dtype), 1e-4 if dtype == "float32" else 1e-11)
        assert pinv.info.damping == pytest.approx(added, rel=1e-5)


def test_kfac_is_absolute(numpy_backend):
    """With every row twice, K-FAC takes the same step."""
    net, params, x = network_case("tanh-same-keep").build(numpy_backend, "float64")
    t = np.random.default_rng(73).standard_normal((len(x), 3))
    found = []
    for rows, targets in ((x, t), (np.vstack([x, x]), np.vstack([t, t]))):
        z, J = jacobian(net, params, rows)
        at = Linearization(SquaredError(), z, targets, J)
        found.append(direction(KFAC(damping=MU), init_state(KFAC(), net, params), params, at).params)
    assert_close("D", found[1], found[0], 1e-11)


def test_an_absolute_damping_of_the_block_step_counts_samples_and_not_pixels(numpy_backend):
    net, params, x = CONVOLUTIONAL[1].build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    _, info = solve(BlockWise("uniform", damping=MU, damping_unit="absolute"), J, z)
    assert info.damping == pytest.approx(len(x) * MU)

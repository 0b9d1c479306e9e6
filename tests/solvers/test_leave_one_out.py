"""Leave-one-out residuals against n explicit solves without one sample, and the damping that they choose."""

from dataclasses import replace

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, network_case
from reference import dense

from revgn.arrays import to_host
from revgn.errors import RunError, UsageError
from revgn.losses import SquaredError
from revgn.networks import from_halves
from revgn.optimizers import FeatureMetric, GaussNewton, LevenbergMarquardt, Linearization, init_state, update
from revgn.solvers import MinimumNorm, equation, jacobian, solve
from revgn.solvers.kernel import lower_kernel
from revgn.solvers.leave_one_out import CANDIDATES, best_damping, correlations, leave_one_out
from revgn.testing import assert_close, tolerance

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
ROWS = pytest.mark.parametrize("rows", ["all", 1, 2])
CHOSEN = MinimumNorm("leave-one-out")


def explicit(J, eps):
    """R^T J by sample (n, m, weights), and R^T eps (n, m)."""
    truth = dense.jacobian(J.network, J.params, np.asarray(from_halves(J.network, J.point.input)))
    truth = truth.reshape(len(eps), -1, truth.shape[1])
    return truth if J.outputs is None else np.einsum("ncm,ncw->nmw", J.outputs, truth)


def by_solves(truth, eps, mu):
    """Return the residual of eps of each sample, for the damped minimum-norm step of the other samples."""
    found = []
    for s in range(len(eps)):
        others = np.delete(truth, s, axis=0).reshape(-1, truth.shape[2])
        K = others @ others.T + mu * np.eye(len(others))
        D = others.T @ np.linalg.solve(K, np.delete(eps, s, axis=0).ravel())
        found.append(eps[s] - truth[s] @ D)
    return np.array(found)


def constrained(case, rows):
    J, eps = case.jacobian(np_library())
    if rows != "all" and rows > eps.shape[1]:
        pytest.skip("fewer outputs")
    found = equation(MinimumNorm(rows=rows), J, eps, (1, 2))
    return found.jacobian, found.eps


def np_library():
    from libraries import make_library

    return make_library("numpy")


@ROWS
@CASES
def test_residuals_equal_explicit_solves_without_a_sample(case, rows):
    J, eps = constrained(case, rows)
    K = lower_kernel(J)
    w, Q = np.linalg.eigh(np.tril(K) + np.tril(K, -1).T)
    found = leave_one_out(w, Q, eps, np.array([0.01, 3.0]))
    expected = np.stack([by_solves(explicit(J, eps), eps, mu) for mu in (0.01, 3.0)])
    assert_close("e", found, expected, 1e-9)


@ROWS
@pytest.mark.parametrize("name", ["tanh-same-keep", "repeated-rows", "fewer-weights-than-outputs"])
def test_correlations_are_those_of_explicit_predictions(name, rows):
    J, eps = constrained(network_case(name), rows)
    truth = explicit(J, eps)
    mean = np.mean(np.sum(truth * truth, axis=2))
    predicted = (eps - by_solves(truth, eps, mu * mean) for mu in CANDIDATES)
    expected = [np.sum(p * eps) / np.sqrt(np.sum(p * p) * np.sum(eps * eps)) for p in predicted]
    assert_close("r", correlations(lower_kernel(J), eps), np.array(expected), 1e-8)


def test_the_largest_correlation_is_chosen_and_the_usual_damping_where_they_differ_little(backend, dtype):
    def chosen(r):
        return best_damping(backend.asarray(np.broadcast_to(r, (len(CANDIDATES),)).copy(), dtype))

    at = np.log10(CANDIDATES)
    assert chosen(0.0) == chosen(np.nan) == pytest.approx(0.1)
    assert chosen(-0.1 * abs(at - 1.0)) == pytest.approx(10.0)
    assert chosen(-0.1 * abs(at + 3.0)) == pytest.approx(1e-3)
    assert chosen(-0.01 * abs(at + 3.0)) == pytest.approx(0.1)
    assert chosen(np.where(at > 0, np.nan, 0.1 * at)) == pytest.approx(1.0)


def test_a_damping_below_rounding_is_not_chosen(backend, dtype):
    """For 100 equal samples the largest eigenvalue is 100 times the mean diagonal."""
    u = np.ones((100, 1))
    r = np.asarray(to_host(correlations(backend.asarray(u @ u.T, dtype), backend.asarray(u, dtype))))
    assert (r[0] == -1) == (dtype == "float32")
    assert (r[1:] > 0.9).all()


def test_a_kernel_of_zeros_gives_no_correlation(backend, dtype):
    r = correlations(backend.asarray(np.zeros((3, 3)), dtype), backend.asarray(np.ones((3, 1)), dtype))
    assert not np.asarray(to_host(r)).any()


@pytest.mark.parametrize("rows", ["all", 1])
def test_a_solve_takes_the_damping_that_it_chooses(rows, backend, dtype):
    J, eps = network_case("tanh-same-keep").jacobian(backend, dtype)
    found = equation(MinimumNorm(rows=rows), J, eps)
    mu = best_damping(correlations(lower_kernel(found.jacobian), found.eps))
    D, info = solve(MinimumNorm("leave-one-out", rows=rows), J, eps)
    expected, of_number = solve(MinimumNorm(mu, rows=rows), J, eps)
    assert_close("D", D, expected, 0.0)
    assert info.damping == of_number.damping > 0


@pytest.mark.parametrize(("metric", "momentum"), [(None, 0.0), (None, 0.9), (FeatureMetric(every=2), 0.9)])
def test_the_damping_is_chosen_at_every_kth_step_and_kept_in_between(metric, momentum, numpy_backend):
    net, params, _ = network_case("tanh-same-keep").build(numpy_backend, "float64")
    optimizer = GaussNewton(replace(CHOSEN, damping_every=3), 0.3, momentum=momentum, metric=metric)
    state, mean = init_state(optimizer, net, params), np.zeros(len(CANDIDATES))
    for step in range(38):
        rng = np.random.default_rng([70, step])
        z, J = jacobian(net, params, rng.standard_normal((6, net.features)))
        at = Linearization(SquaredError(), z, rng.standard_normal(z.shape), J)
        done = update(optimizer, state, params, at)
        damping, kept = done.state.damping
        if step % 3:
            assert damping == state.damping.damping
        else:
            assert damping == best_damping(kept)
            assert not np.array_equal(kept, state.damping.correlations)
            if metric is None and not optimizer.momentum:
                k = step // 3 + 1  # the mean of the batches so far, then a running mean
                share = max(0.1, 1 / k)
                mean = (1 - share) * mean + share * correlations(lower_kernel(J), z - at.targets)
                assert_close("r", kept, mean, 1e-13)
        number = replace(optimizer, solver=MinimumNorm(damping))
        same = update(number, state._replace(damping=()), params, at)
        assert_close("W", done.params, same.params, 0.0)
        params, state = done.params, done.state


def test_residuals_in_each_precision(backend, dtype):
    J, eps = network_case("relu-identity-keep").jacobian(backend, dtype)
    lower = np.tril(to_host(lower_kernel(J)))  # numbers above the diagonal are undefined
    w, Q = np.linalg.eigh(lower.astype(np.float64))
    mu = np.array([0.5, 0.1])
    found = leave_one_out(*(backend.asarray(x, dtype) for x in (w, Q)), eps, backend.asarray(mu, dtype))
    expected = leave_one_out(w, Q, np.asarray(to_host(eps), dtype=np.float64), mu)
    assert_close(
        "e", np.asarray(to_host(found), dtype=np.float64), expected, 10 * tolerance(eps.dtype, "chain")
    )


def test_what_cannot_be_chosen():
    with pytest.raises(UsageError, match="damping leave-one-out is relative; remove damping_unit"):
        MinimumNorm("leave-one-out", damping_unit="absolute")
    with pytest.raises(UsageError, match="the gain ratio chooses the damping"):
        LevenbergMarquardt(GaussNewton(CHOSEN))
    J, eps = network_case("tanh-same-keep").jacobian(np_library())
    with pytest.raises(RunError, match="which exceed the memory; give the damping as a number"):
        solve(replace(CHOSEN, memory=1000), J, eps)

"""The ladder: a matrix made for each rung reaches it, and the rung is reported."""

import math

import numpy as np
import pytest

from revgn.arrays import read, to_host
from revgn.errors import RevgnError
from revgn.linalg import (
    PAPER_RULE,
    RUNGS,
    CholeskyFactor,
    InverseFactor,
    PinvRule,
    SpectralFactor,
    apply_pinv,
    factor_pinv,
    project,
    solve_factored,
)
from revgn.linalg.factor import begin_factor
from revgn.testing import assert_close, tolerance


def matrix_of(values, rng, rows=None):
    """Matrix with the given singular values and `rows` rows, by default len(values)."""
    k = len(values)
    U = np.linalg.qr(rng.standard_normal((rows or k, k)))[0]
    V = np.linalg.qr(rng.standard_normal((k + 3, k)))[0]
    return U @ np.diag(values) @ V.T


def gram_of(values, rng):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    K = Q @ np.diag(values) @ Q.T
    return (K + K.T) / 2


def factor_matrix(K, library, dtype, rule=None, unit="largest", first_rung="cholesky", invert=False):
    """Call `factor` for a given K as its callers do: K is formed anew in memory that may be destroyed."""

    def form(kind):
        return library.backend.asarray(K, dtype=kind) + 0.0

    like = library.asarray(K, dtype)
    found = {"damping_scale": unit, "first_rung": first_rung, "invert": invert}
    return read(begin_factor(form, K.shape[0], like, rule or PinvRule(), **found))


GOOD = [4.0, 3.0, 2.0, 1.0, 0.5]
BEYOND_SINGLE = [1.0, 0.5, 0.1, 1e-2, 1e-8]
SINGULAR = [4.0, 3.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "dtype", "rung", "rank"),
    [
        (GOOD, "float64", "cholesky", 5),
        (GOOD, "float32", "cholesky", 5),
        (BEYOND_SINGLE, "float64", "cholesky", 5),
        (BEYOND_SINGLE, "float32", "cholesky-float64", 5),
        (SINGULAR, "float64", "eigh", 3),
        (SINGULAR, "float32", "eigh", 3),
        ([2.0], "float64", "cholesky", 1),
        ([0.0, 0.0], "float64", "eigh", 0),
    ],
)
def test_rung_is_reached_and_reported(values, dtype, rung, rank, backend, rng):
    factored, info = factor_matrix(gram_of(values, rng), backend, dtype)
    assert (info.rung, info.rank, info.order) == (rung, rank, len(values))
    assert isinstance(factored, SpectralFactor if rung == "eigh" else CholeskyFactor)


def test_a_caller_may_start_at_a_higher_rung(numpy_backend, rng):
    K = gram_of(GOOD, rng)
    assert factor_matrix(K, numpy_backend, "float32", first_rung="cholesky-float64")[1].rung == RUNGS[1]
    assert factor_matrix(K, numpy_backend, "float64", first_rung="cholesky-float64")[1].rung == "eigh"
    assert factor_matrix(K, numpy_backend, "float32", first_rung="eigh")[1].rung == "eigh"


@pytest.mark.parametrize("values", [GOOD, SINGULAR, BEYOND_SINGLE], ids=["good", "singular", "beyond-single"])
def test_solution_is_the_pseudoinverse(values, backend, dtype, rng):
    K = gram_of(values, rng)
    B = K @ rng.standard_normal((len(values), 3))
    factored, _ = factor_matrix(K, backend, dtype)
    X = to_host(solve_factored(factored, backend.asarray(B, dtype)))
    reached = K @ X
    limit = 1e-3 if dtype == "float32" else 1e-8
    assert np.linalg.norm(reached - B) <= limit * np.linalg.norm(B)
    assert str(X.dtype) == dtype


@pytest.mark.parametrize("unit", ["largest", "mean", "one"])
@pytest.mark.parametrize(
    ("values", "rule"),
    [(GOOD, PinvRule()), (BEYOND_SINGLE, PinvRule()), (SINGULAR, PinvRule(damping=0.1))],
    ids=["good", "beyond-single", "damped"],
)
def test_an_inverted_factor_gives_the_same_solution(values, rule, unit, backend, dtype, rng):
    """A device inverts the factor once, also for the estimates of the singular values."""
    K = gram_of(values, rng)
    factored, info = factor_matrix(K, backend, dtype, rule, unit, invert=True)
    plain, expected = factor_matrix(K, backend, dtype, rule, unit)
    assert isinstance(factored, InverseFactor)
    loose = tolerance(plain.lower.dtype, "solve") / min(values[-1] or 0.1, 1.0)
    assert info._replace(s_max=0, s_min=0) == expected._replace(s_max=0, s_min=0)
    assert (info.s_max, info.s_min) == pytest.approx((expected.s_max, expected.s_min), rel=loose)
    B = backend.asarray(K @ rng.standard_normal((len(values), 3)), dtype)
    X = solve_factored(factored, B)
    assert X.dtype == B.dtype
    assert_close("X", X, solve_factored(plain, B), loose)


@pytest.mark.parametrize("unit", ["largest", "mean"])
@pytest.mark.parametrize("first_rung", ["cholesky", "eigh"])
def test_damping_is_added_in_its_unit(unit, first_rung, backend, rng):
    K = gram_of(SINGULAR, rng)
    factored, info = factor_matrix(K, backend, "float64", PinvRule(damping=0.1), unit, first_rung)
    one = {"largest": 4.0, "mean": 8.0 / 5}[unit]
    assert info.rung == first_rung
    assert info.damping == pytest.approx(0.1 * one, rel=1e-6)
    B = K @ rng.standard_normal((5, 2))
    expected = backend.asarray(np.linalg.solve(K + info.damping * np.eye(5), B))
    X = solve_factored(factored, backend.asarray(B))
    assert_close("damped", X, expected, tolerance(X.dtype, "solve"))


def test_dropped_eigenvectors_do_not_contribute(backend, rng):
    K = gram_of(SINGULAR, rng)
    factored, _ = factor_matrix(K, backend, "float64")
    B = backend.asarray(rng.standard_normal((5, 2)))
    kept = np.linalg.pinv(K, rcond=1e-10, hermitian=True) @ K
    assert_close("project", project(factored, B), backend.asarray(kept @ to_host(B)), 1e-12)
    assert_close("solve", solve_factored(factored, B), solve_factored(factored, project(factored, B)), 1e-11)
    whole, _ = factor_matrix(gram_of(GOOD, rng), backend, "float64")
    assert project(whole, B) is B


def test_rank_counts_the_kept_eigenvalues(backend, rng):
    values = np.array([1.0, 1e-1, 1e-3, 1e-5, 1e-7]) ** 2
    for rtol, rank in ((1e-2, 2), (1e-4, 3), (1e-6, 4)):
        _, info = factor_matrix(gram_of(values, rng), backend, "float64", PinvRule(rtol=rtol))
        assert (info.rung, info.rank) == ("eigh", rank)
    _, info = factor_matrix(gram_of(values, rng), backend, "float64", PinvRule(atol=0.05))
    assert info.rank == 2


def test_truncation_below_single_precision_is_computed_in_double(backend, rng):
    values = np.array([1.0, 1e-1, 1e-2, 1e-4, 3e-5]) ** 2
    for rtol in (5e-5, 1e-6):
        factored, info = factor_matrix(gram_of(values, rng), backend, "float32", PinvRule(rtol=rtol))
        assert info.rank == (4 if rtol == 5e-5 else 5)
        assert "float64" in str(factored.vectors.dtype)
    factored, info = factor_matrix(gram_of(values, rng), backend, "float32", PAPER_RULE)
    assert "float32" in str(factored.vectors.dtype)
    assert info.rank in (2, 3)  # 1e-2 is equal to the cutoff


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("first_rung", ["cholesky", "eigh"])
def test_extreme_singular_values_are_reported(n, first_rung, backend, dtype, rng):
    """Estimates by Cholesky: s_max from below and s_min from above, each to a tenth."""
    A = rng.standard_normal((n, 3 * n))
    s = np.linalg.svd(A, compute_uv=False)
    _, info = factor_matrix(A @ A.T, backend, dtype, first_rung=first_rung)
    slack = 0.1 if first_rung == "cholesky" else 1e-4
    rounding = 1e-4 if dtype == "float32" else 1e-12
    assert s[0] * (1 - slack) <= info.s_max <= s[0] * (1 + rounding)
    assert s[-1] * (1 - rounding) <= info.s_min <= s[-1] * (1 + slack)


@pytest.mark.parametrize("first_rung", ["cholesky", "cholesky-float64", "eigh"])
def test_extreme_singular_values_include_the_damping(first_rung, numpy_backend, rng):
    """sqrt(s^2 + mu) for the extreme s, whichever factorization."""
    K = gram_of([4.0, 1.0, 0.25], rng)
    rule = PinvRule(damping=0.5)
    _, info = factor_matrix(K, numpy_backend, "float32", rule, unit="one", first_rung=first_rung)
    assert info.rung == first_rung
    assert (info.s_max, info.s_min) == pytest.approx((math.sqrt(4.5), math.sqrt(0.75)), rel=1e-4)


class TestNotFinite:
    """NaN must not be returned as a solution: either an error is raised, or the residual is NaN."""

    @pytest.mark.parametrize("rule", [PinvRule(), PAPER_RULE, PinvRule(damping=0.1)])
    @pytest.mark.parametrize("shape", [(4, 8), (8, 4)])
    def test_matrix(self, shape, rule, backend, dtype, rng):
        A = rng.standard_normal(shape)
        A[0, 1] = math.nan
        V = backend.asarray(np.ones((shape[0], 2)), dtype)
        try:
            solution = apply_pinv(factor_pinv(backend.asarray(A, dtype), rule), V)
        except (RevgnError, np.linalg.LinAlgError):
            return
        assert math.isnan(solution.info.residual)

    @pytest.mark.parametrize("shape", [(4, 8), (8, 4)])
    def test_right_side(self, shape, backend, dtype, rng):
        V = np.ones((shape[0], 2))
        V[0, 0] = math.nan
        factored = factor_pinv(backend.asarray(rng.standard_normal(shape), dtype), PinvRule())
        solution = apply_pinv(factored, backend.asarray(V, dtype))
        assert math.isnan(solution.info.residual)

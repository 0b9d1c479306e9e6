"""Conjugate gradients: the correct X, as many iterations as there are eigenvalues, and a true outcome."""

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from revgn.arrays import to_host
from revgn.linalg import OUTCOMES, conjugate_gradients
from revgn.testing import assert_close, relative_error
from revgn.testing.compare import assert_same_kind, snapshot


def identity(R):
    return R


def matrix(values, seed=60):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return (Q * np.asarray(values)) @ Q.T


def solved(library, A, B, P=None, dtype="float64", **limits):
    """Solution for A and B given as host arrays; P is the preconditioner as a matrix."""
    A, B = library.asarray(A, dtype), library.asarray(B, dtype)
    inverse = None if P is None else library.asarray(np.linalg.inv(P), dtype)
    found = conjugate_gradients(
        lambda X: A @ X,
        B,
        identity if inverse is None else (lambda R: inverse @ R),
        **{"tolerance": 1e-11, "max_iterations": 500, **limits},
    )
    assert found.outcome in OUTCOMES
    return found


@pytest.mark.parametrize("columns", [1, 3])
def test_solves(columns, backend):
    values = np.linspace(1.0, 9.0, 12)
    A, B = matrix(values), np.random.default_rng(61).standard_normal((12, columns))
    found = solved(backend, A, B)
    assert_close("X", found.solution, backend.asarray(np.linalg.solve(A, B)), 1e-10)
    assert (found.outcome, found.residual < 1e-11) == ("converged", True)


def test_arguments_are_not_changed(backend):
    B = backend.asarray(np.random.default_rng(61).standard_normal((6, 2)))
    before = snapshot((B,))
    found = conjugate_gradients(lambda X: 2.0 * X, B, identity, tolerance=1e-9, max_iterations=9)
    assert snapshot((B,)) == before
    assert_same_kind("X", found.solution, B)
    assert found.iterations == 1


@given(kinds=st.integers(1, 6), size=st.integers(6, 20), seed=st.integers(0, 10**6))
def test_as_many_iterations_as_distinct_eigenvalues(kinds, size, seed):
    rng = np.random.default_rng(seed)
    A, B = matrix(np.resize(np.linspace(1.0, 3.0, kinds), size), seed), rng.standard_normal((size, 1))
    assert solved(numpy_library(), A, B).iterations <= kinds


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_preconditioner_needs_one_iteration(seed, numpy_backend):
    A = matrix(np.logspace(-6, 2, 15), seed)
    B = np.random.default_rng(seed).standard_normal((15, 1))
    assert solved(numpy_backend, A, B, A, tolerance=1e-7).iterations <= 1


def test_a_preconditioner_saves_iterations_and_keeps_the_solution(backend):
    A, P = matrix(np.logspace(-2, 2, 30)), matrix(np.logspace(-2, 2, 30)) + 0.01 * np.eye(30)
    B = np.random.default_rng(62).standard_normal((30, 1))
    with_it, without = solved(backend, A, B, P), solved(backend, A, B)
    assert_close("X", with_it.solution, backend.asarray(np.linalg.solve(A, B)), 1e-7)
    assert with_it.iterations < without.iterations / 2


def test_the_error_decreases_in_the_norm_of_a(numpy_backend):
    A, B = matrix(np.logspace(-3, 1, 40)), np.random.default_rng(63).standard_normal((40, 1))
    X = np.linalg.solve(A, B)
    gaps = [
        solved(numpy_backend, A, B, tolerance=1e-15, max_iterations=count).solution - X
        for count in range(1, 30)
    ]
    errors = [(gap.T @ A @ gap).item() for gap in gaps]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(errors))


def test_out_of_iterations_is_reported(backend):
    A, B = matrix(np.logspace(-6, 0, 40)), np.random.default_rng(64).standard_normal((40, 1))
    found = solved(backend, A, B, max_iterations=5)
    assert (found.outcome, found.iterations) == ("out-of-iterations", 5)
    assert found.residual > 1e-11


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_residual_is_recomputed(dtype, numpy_backend):
    """The updated residual keeps falling; the reported residual is |B - A X|."""
    A, B = matrix(np.logspace(-2, 2, 30)), np.random.default_rng(65).standard_normal((30, 1))
    found = solved(numpy_backend, A, B, dtype=dtype, tolerance=1e-14, max_iterations=2000)
    assert found.outcome == "stagnated"
    left = relative_error(A.astype(dtype) @ found.solution, B.astype(dtype))
    assert found.residual == pytest.approx(left, rel=0.3)
    assert found.residual < (1e-10 if dtype == "float64" else 1e-2)


def test_lack_of_progress_ends_the_iteration(numpy_backend):
    """Rounding ends all progress long before the iterations are used up."""
    A, B = matrix(np.logspace(-5, 2, 30)), np.random.default_rng(65).standard_normal((30, 1))
    found = solved(numpy_backend, A, B, dtype="float32", tolerance=1e-14, max_iterations=2000)
    assert (found.outcome, found.iterations < 500) == ("stagnated", True)


def test_restarts_from_the_recomputed_residual(numpy_backend):
    """The updated residual drifts in single precision; a restart from B - A X reaches the tolerance."""
    A, B = matrix(np.logspace(-3, 0, 60)), np.random.default_rng(66).standard_normal((60, 1))
    found = solved(numpy_backend, A, B, dtype="float32", tolerance=1e-5, max_iterations=3000)
    assert found.outcome == "converged"
    left = relative_error(A.astype("float32") @ found.solution, B.astype("float32"))
    assert left < 1.5e-5


@pytest.mark.parametrize("P", [None, np.eye(10) + matrix(np.arange(1.0, 11.0), 67)], ids=["plain", "P"])
def test_singular_with_b_outside_the_range_stagnates(P, backend):
    """B is not in the range of A: this is reported, and X is never worse than 0."""
    A, B = (
        matrix([0.0] * 4 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        np.random.default_rng(68).standard_normal((10, 1)),
    )
    found = solved(backend, A, B, P)
    assert found.outcome == "stagnated"
    assert found.residual <= 1.0
    assert found.iterations < 200


def test_singular_with_b_in_the_range_converges(backend):
    A = matrix([0.0] * 4 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    B = A @ np.random.default_rng(69).standard_normal((10, 1))
    found = solved(backend, A, B)
    assert found.outcome == "converged"
    assert_close("X", found.solution, backend.asarray(np.linalg.pinv(A) @ B), 1e-9)


@pytest.mark.parametrize("values", [[-1.0] * 6, [np.nan] * 6, [np.inf] * 6], ids=["negative", "nan", "inf"])
def test_a_matrix_that_is_not_positive_definite_stagnates_at_once(values, numpy_backend):
    A, B = np.diag(values), np.ones((6, 1))
    found = solved(numpy_backend, A, B)
    assert (found.outcome, found.iterations) == ("stagnated", 1)


@pytest.mark.parametrize(
    ("values", "limits", "outcome"),
    [
        (np.logspace(-2, 1, 30), {}, "converged"),
        (np.logspace(-6, 0, 30), {"max_iterations": 10}, "out-of-iterations"),
        (np.append(np.zeros(8), np.linspace(1, 5, 22)), {}, "stagnated"),
        (np.append(-1.0, np.linspace(1, 5, 29)), {}, "stagnated"),
    ],
    ids=["converged", "limited", "singular", "indefinite"],
)
def test_rounds_do_not_change_the_result(values, limits, outcome, stand_in, monkeypatch):
    """A device is waited for once in a round of iterations; those after the last one have no effect."""
    from libraries import make_library

    A, B = matrix(values), np.random.default_rng(71).standard_normal((30, 1))
    found, waits = [], []
    for size in (1, 4, 7):
        monkeypatch.setattr("revgn.linalg.cg._ROUND", size)
        with stand_in.counting() as counts:
            one = solved(make_library("cupy"), A, B, **limits)
        found.append((to_host(one.solution).tolist(), *one[1:]))
        waits.append(sum(counts.waits.values()))
    assert found[0] == found[1] == found[2]
    assert found[0][3] == outcome
    assert waits[0] > waits[1] or found[0][2] <= 1


def test_the_solution_for_zero_is_zero(backend):
    found = solved(backend, np.eye(5), np.zeros((5, 2)))
    assert (found.outcome, found.iterations, found.residual) == ("converged", 0, 0.0)
    assert_close("X", found.solution, backend.asarray(np.zeros((5, 2))), 0.0)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale, numpy_backend):
    """This holds even if squares leave the range of single precision."""
    A, B = matrix(np.linspace(1.0, 4.0, 8)), np.random.default_rng(70).standard_normal((8, 1))
    plain = solved(numpy_backend, A, B, dtype="float32", tolerance=1e-5)
    scaled = solved(numpy_backend, A, scale * B, dtype="float32", tolerance=1e-5)
    assert scaled.iterations == plain.iterations
    assert relative_error(scaled.solution / np.float32(scale), plain.solution) < 1e-5


def numpy_library():
    from libraries import make_library

    return make_library("numpy")

"""Pseudoinverses and their residuals, compared with the singular value decomposition."""

import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from reference.pinv import pinv

from revgn.arrays import cholesky, read, to_host
from revgn.errors import RevgnError, ShapeError, UsageError
from revgn.linalg import (
    PAPER_RULE,
    CholeskyFactor,
    PinvRule,
    apply_pinv,
    begin_apply_pinv,
    begin_pinv,
    factor_pinv,
    gram_rows,
)
from revgn.testing import assert_close, tolerance

SHAPES = [(1, 1), (1, 5), (4, 9), (6, 6), (9, 4), (7, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_least_norm_least_squares(shape, backend, dtype, rng):
    A, V = well_conditioned(rng, *shape), rng.standard_normal((shape[0], 3))
    X, AX, info = apply_pinv(factor_pinv(backend.asarray(A, dtype), PinvRule()), backend.asarray(V, dtype))
    expected, limit = np.linalg.pinv(A) @ V, tolerance(X.dtype, "solve")
    assert_close("X = A^+ V", X, backend.asarray(expected, dtype), limit)
    assert_close("AX", AX, backend.asarray(A @ expected, dtype), limit)
    assert (info.rank, info.order) == (min(shape), min(shape))
    assert info.residual < limit


@pytest.mark.parametrize("shape", SHAPES)
def test_penrose(shape, backend, dtype, rng):
    A = backend.asarray(well_conditioned(rng, *shape), dtype)
    eye = backend.asarray(np.eye(shape[0]), dtype)
    G, AG, _ = apply_pinv(factor_pinv(A, PinvRule()), eye)
    limit = tolerance(A.dtype, "solve")
    assert_close("A G A = A", A @ G @ A, A, limit)
    assert_close("G A G = G", G @ A @ G, G, limit)
    assert_close("A G symmetric", AG, AG.T, limit)
    assert_close("G A symmetric", G @ A, (G @ A).T, limit)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_rank_deficient(shape, backend, dtype, rng):
    A, V = low_rank(rng, *shape, rank=3), rng.standard_normal((shape[0], 2))
    X, AX, info = apply_pinv(factor_pinv(backend.asarray(A, dtype), PinvRule()), backend.asarray(V, dtype))
    expected, limit = pinv(A) @ V, tolerance(X.dtype, "solve")
    assert (info.rung, info.rank) == ("eigh", 3)
    assert_close("X", X, backend.asarray(expected, dtype), limit)
    assert_close("AX", AX, backend.asarray(A @ expected, dtype), limit)
    assert info.residual < limit


@pytest.mark.parametrize("consistent", [True, False])
def test_duplicate_rows(consistent, backend, dtype, rng):
    """Each row occurs twice: equal targets are reached; for different targets, their mean is reached."""
    A = np.repeat(well_conditioned(rng, 3, 8), 2, axis=0)
    V = np.repeat(rng.standard_normal((3, 2)), 2, axis=0)
    if not consistent:
        V[::2] += 1.0
    _, AX, info = apply_pinv(factor_pinv(backend.asarray(A, dtype), PinvRule()), backend.asarray(V, dtype))
    expected = V if consistent else V + 0.5 * np.array([[-1.0], [1.0]] * 3)
    assert_close("AX", AX, backend.asarray(expected, dtype), tolerance(AX.dtype, "solve"))
    assert info.rank == 3


@pytest.mark.parametrize("rtol", [0.5, 0.2, 0.05, 1e-2, 1e-6])
@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_truncation_agrees_with_numpy(shape, rtol, rng):
    A, V = rng.standard_normal(shape) * np.geomspace(1, 1e-3, shape[1]), rng.standard_normal((shape[0], 2))
    s = np.linalg.svd(A, compute_uv=False)
    X, _, info = apply_pinv(factor_pinv(A, PinvRule(rtol=rtol)), V)
    expected = np.linalg.pinv(A, rcond=rtol) @ V
    assert_close("X", X, expected, 1e-9)
    kept = s >= rtol * s[0]
    assert info.rank == kept.sum()
    assert info.s_min == pytest.approx(s[kept][-1], rel=1e-6)
    assert info.s_max == pytest.approx(s[0], rel=1e-12)


def test_truncation_by_an_absolute_cutoff(backend, rng):
    A, V = low_rank(rng, 6, 9, rank=6), rng.standard_normal((6, 2))
    s = np.linalg.svd(A, compute_uv=False)
    cut = float(s[2] + s[3]) / 2
    X, _, info = apply_pinv(factor_pinv(backend.asarray(A), PinvRule(atol=cut)), backend.asarray(V))
    assert info.rank == 3
    assert_close("X", X, backend.asarray(pinv(A, atol=cut) @ V), 1e-10)


def test_the_papers_rule():
    assert PinvRule(rtol=1e-2, atol=1e-5) == PAPER_RULE
    assert PAPER_RULE.truncates
    assert not PinvRule(damping=1.0).truncates


@pytest.mark.parametrize("damping", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 3)])
def test_damped(shape, damping, backend, dtype, rng):
    """X = A^T (A A^T + mu I)^-1 V for wide and tall A, with mu = damping s_1^2."""
    A, V = rng.standard_normal(shape), rng.standard_normal((shape[0], 2))
    rule = PinvRule(damping=damping)
    X, AX, info = apply_pinv(factor_pinv(backend.asarray(A, dtype), rule), backend.asarray(V, dtype))
    s = np.linalg.svd(A, compute_uv=False)
    assert info.damping == pytest.approx(damping * s[0] ** 2, rel=1e-6)
    expected = A.T @ np.linalg.solve(A @ A.T + info.damping * np.eye(len(A)), V)
    assert_close("X", X, backend.asarray(expected, dtype), tolerance(X.dtype, "solve"))
    assert_close("AX", AX, backend.asarray(A @ expected, dtype), tolerance(X.dtype, "solve"))
    assert info.residual < tolerance(X.dtype, "solve")


def test_damped_and_truncated(backend, rng):
    A, V = rng.standard_normal((5, 9)), rng.standard_normal((5, 2))
    rule = PinvRule(rtol=0.4, damping=0.1)
    X, _, info = apply_pinv(factor_pinv(backend.asarray(A), rule), backend.asarray(V))
    assert info.rank < 5
    assert_close("X", X, backend.asarray(pinv(A, rtol=0.4, damping=0.1) @ V), 1e-11)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-4, 1e-6])
def test_residual_is_correct(shape, smallest, numpy_backend, dtype, rng):
    """The reported residual belongs to the returned X, however ill-conditioned A is."""
    A = with_condition(rng, *shape, smallest).astype(dtype)
    V = rng.standard_normal((shape[0], 2)).astype(dtype)
    X, AX, info = apply_pinv(factor_pinv(A, PinvRule()), V)
    A, V, X, AX = (M.astype(np.float64) for M in (A, V, X, AX))
    if shape[0] <= shape[1]:
        U, s, _ = np.linalg.svd(A)
        kept = U[:, : info.rank]
        measured = np.linalg.norm(kept @ (kept.T @ (V - AX))) / np.linalg.norm(V)
    else:
        s = np.linalg.svd(A, compute_uv=False)
        measured = np.linalg.norm(A.T @ (V - AX)) / np.linalg.norm(A.T @ V)
    eps = float(np.finfo(dtype).eps)
    assert info.residual == pytest.approx(measured, rel=0.3, abs=100 * eps)
    assert info.s_min == pytest.approx(s[info.rank - 1], rel=0.05)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_condition_one_thousand_is_accurate(wide, dtype, numpy_backend, rng):
    """Refinement gives A X = V to about eps cond(A); the Gram matrix alone gives eps cond(A)^2."""
    A = with_condition(rng, 6, 9, 1e-3)
    V = rng.standard_normal((6, 2)) if wide else A.T @ rng.standard_normal((6, 2))
    A, V = (A if wide else A.T.copy()).astype(dtype), V.astype(dtype)
    _, AX, info = apply_pinv(factor_pinv(A, PinvRule()), V)
    assert np.linalg.norm(AX - V) <= (1e-9 if dtype == "float64" else 2e-4) * np.linalg.norm(V)
    assert info.rank == 6


@given(
    n=st.integers(1, 9), m=st.integers(1, 9), rank=st.integers(1, 9), columns=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_penrose_for_any_shape_and_rank(n, m, rank, columns, seed):
    rng = np.random.default_rng(seed)
    A = with_rank(rng, n, m, min(rank, n, m))
    X, AX, info = apply_pinv(factor_pinv(A, PinvRule()), V := rng.standard_normal((n, columns)))
    assert np.allclose(AX, A @ X, atol=1e-12)
    assert np.allclose(X, np.linalg.pinv(A, rcond=1e-8) @ V, atol=1e-9)
    assert info.rank == min(rank, n, m)


@pytest.mark.parametrize("name", ["rtol", "atol", "damping"])
@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_rule_rejects_invalid_numbers(name, number):
    with pytest.raises(UsageError, match=name) as raised:
        PinvRule(**{name: number})
    assert isinstance(raised.value, (RevgnError, ValueError))


def test_errors_name_the_shapes():
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\)"):
        factor_pinv(np.ones((2, 3, 4)), PinvRule())
    with pytest.raises(ShapeError, match=r"\(4, 2\).*\(3, 5\)"):
        apply_pinv(factor_pinv(np.ones((3, 5)), PinvRule()), np.ones((4, 2)))


def test_results_do_not_depend_on_the_backend(backend, rng):
    A, V = rng.standard_normal((5, 9)), rng.standard_normal((5, 2))
    X = apply_pinv(factor_pinv(backend.asarray(A), PinvRule()), backend.asarray(V)).solution
    plain = apply_pinv(factor_pinv(A, PinvRule()), V).solution
    assert np.allclose(to_host(X), plain, rtol=0, atol=1e-12)


def well_conditioned(rng, n, m):
    return with_singular_values(rng, n, m, np.linspace(3.0, 1.0, min(n, m)))


def low_rank(rng, n, m, rank):
    return rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))


def with_condition(rng, n, m, smallest):
    return with_singular_values(rng, n, m, np.geomspace(1.0, smallest, min(n, m)))


def with_rank(rng, n, m, rank):
    values = np.zeros(min(n, m))
    values[:rank] = np.linspace(2.0, 1.0, rank)
    return with_singular_values(rng, n, m, values)


def with_singular_values(rng, n, m, values):
    k = len(values)
    U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (n, m))
    return U @ np.diag(values) @ V.T


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", [PinvRule(), PinvRule(atol=1e-12), PinvRule(rtol=1e-12)], ids=repr)
@pytest.mark.parametrize("wide", [True, False])
def test_a_decaying_spectrum_is_truncated_at_the_resolution(wide, rule, dtype, rng):
    """Singular values decay to 1e-20 without a gap; X is no worse than 0, for all rules."""
    n, m = (40, 60) if wide else (60, 40)
    U, V = (np.linalg.qr(rng.standard_normal((k, 40)))[0] for k in (n, m))
    A = (U * 10.0 ** -np.linspace(0, 20, 40)) @ V.T
    B = rng.standard_normal((n, 2)).astype(dtype)
    _, AX, info = apply_pinv(factor_pinv(A.astype(dtype), rule), B)
    assert np.linalg.norm(B - AX) <= np.linalg.norm(B)
    assert info.residual < 1e-2
    assert 1 < info.rank < 40


def test_a_rule_that_keeps_nothing_raises():
    with pytest.raises(UsageError, match="keeps no singular value"):
        PinvRule(rtol=1.0)


@pytest.mark.parametrize("rule", [PinvRule(), PinvRule(rtol=1e-3), PinvRule(damping=0.1)], ids=str)
@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=str)
@pytest.mark.parametrize("condition", [10.0, 3e2])
def test_begin_apply_pinv_gives_the_same_solution(condition, shape, rule, backend, dtype, rng):
    """X is refined if A is ill-conditioned: in single precision, a residual of 1e-3 becomes 1e-6."""
    Q, _ = np.linalg.qr(rng.standard_normal((shape[0], 20)))
    P, _ = np.linalg.qr(rng.standard_normal((shape[1], 20)))
    A = backend.asarray((Q * np.geomspace(1.0, 1.0 / condition, 20)) @ P.T, dtype)
    V = backend.asarray(rng.standard_normal((shape[0], 3)), dtype)
    pinv = read(begin_pinv(A, rule))
    X, AX, begun = begin_apply_pinv(pinv, V)
    expected = apply_pinv(factor_pinv(A, rule), V)
    assert pinv.info == factor_pinv(A, rule).info
    info = read(begun)
    assert info is not None
    assert info._replace(residual=0.0) == expected.info._replace(residual=0.0)
    assert info.residual < (1e-4 if dtype == "float32" else 1e-9)
    slack = 2e-2 if dtype == "float32" else 1e-8
    assert_close("X", X, expected.solution, slack)
    assert_close("AX", AX, expected.realized, slack)


def test_begin_apply_pinv_gives_no_info_for_a_wrong_solution(backend, dtype, rng):
    A = backend.asarray(rng.standard_normal((5, 9)), dtype)
    pinv = factor_pinv(A, PinvRule())
    wrong = replace(pinv, factor=CholeskyFactor(2.0 * cholesky(gram_rows(A))))
    V = backend.asarray(rng.standard_normal((5, 2)), dtype)
    assert read(begin_apply_pinv(wrong, V).info) is None
    nan = V + backend.asarray(math.nan, dtype)
    assert read(begin_apply_pinv(pinv, nan).info) is None

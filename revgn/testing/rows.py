"""The laws of a layer's rows and matrices, which solvers and optimizers use to access its parameters.

A linear map M arranges the weights W as matrices X = M W, numbered by i. In each matrix, the gradient
J_W^T ybar_os for cotangent o of sample s is the sum over positions p of the outer products of features a_sp
(rows of A) and vectors b_osp.

rows        <J_W^T ybar_os, J_W^T ybar_pt> = sum_i <sum_p a_sp b_osp^T, sum_p a_tp b_ptp^T>
matrices    J_W^T ybar = M^T (A^T b), M M^T = I
features    J_W M^T X depends on X through A X, with the features A that were set
halves      a layer that moves one half adds a function of the other half to it
"""

from functools import partial

import numpy as np

from revgn import maps
from revgn._dispatch import has_map
from revgn.arrays import Array, array_namespace, backend_of, to_host
from revgn.maps import Data, Layer, Params
from revgn.testing.compare import Kind, agree, assert_close, draw_like, dtype_of, inner, norm, tolerance
from revgn.trees import flatten, leaves, map_leaves, size, zeros_like


def check_rows(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check the factors of the tangent kernel against J_W^T ybar, sample by sample, for two cotangents ybar.

    This is done with separate cotangents for each sample, (2, n, ..), and with shared ones, (2, 1, ..).
    """
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    n, P = next(leaves(x)).shape[0], maps.positions(layer)
    backend = backend_of(next(leaves(x)))
    for shared in (False, True):
        y_bar = draw_like(np.random.default_rng(seed), map_leaves(partial(_twice, shared=shared), y))
        parts = [
            (to_host(A).astype(float), to_host(b).astype(float))
            for A, b in maps.kernel_parts(layer, params, point, y_bar)
        ]
        for A, b in parts:
            if A.shape[0] != n * P or b.shape[0] != 2 or b.shape[1] not in (P, n * P):
                raise AssertionError(
                    f"{name}: rows are {A.shape} and {b.shape}; expected ({n * P}, m), (2, {n * P}, k)"
                )
        apart = [(A.reshape(n, P, -1), b.reshape(2, -1, P, b.shape[2])) for A, b in parts]
        rows = [np.einsum("spm,ospk->osmk", A, np.broadcast_to(b, (2, n, P, b.shape[3]))) for A, b in apart]
        found = sum(((R := of.reshape(2 * n, -1)) @ R.T for of in rows), np.zeros((2 * n, 2 * n)))
        pulled = []
        for o in range(2):
            for s in range(n):
                only = backend.asarray(np.eye(n)[:, s : s + 1], dtype=dtype_of(x))
                alone = map_leaves(lambda of, o=o, only=only: of[o, ...] * only, y_bar)
                pulled.append(to_host(flatten(maps.vjp_params(layer, params, point, alone))).astype(float))
        explicit = np.array(pulled) @ np.array(pulled).T
        assert_close(f"{name}: kernel_parts = products of vjp_params", found, explicit, limit)
        if has_map(maps.vjp_input, type(layer)):
            x_bar, own = maps.vjp_rows(layer, params, point, y_bar)
            pulled_x = maps.vjp_input(layer, params, point, y_bar)
            assert_close(f"{name}: x_bar of vjp_rows = vjp_input", x_bar, pulled_x, limit)
            flat = tuple(backend.asarray(of.reshape(2, n, -1), dtype=dtype_of(x)) for of in rows)
            assert_close(f"{name}: rows of vjp_rows = sums over kernel_parts", own, flat, limit)


def check_matrices(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check X = M W with M M^T = I, using the rows of J_W, and check the forms of the weights."""
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    rng = np.random.default_rng(seed)
    y_bar, d = draw_like(rng, y), draw_like(rng, params)
    one = map_leaves(lambda of: of[None, ...], y_bar)
    gradients = tuple(A.T @ b[0, :, :] for A, b in maps.kernel_parts(layer, params, point, one))
    by_rows = maps.from_matrices(layer, gradients)
    assert_close(
        f"{name}: from_matrices(A^T b) = vjp_params",
        by_rows,
        maps.vjp_params(layer, params, point, y_bar),
        limit,
    )
    X, Jd = maps.to_matrices(layer, d), maps.jvp_params(layer, params, point, d)
    law = f"{name}: <A^T b, to_matrices(d)> = <y_bar, jvp_params(d)>"
    agree(law, inner(gradients, X), inner(y_bar, Jd), norm(y_bar) * norm(Jd), limit)
    Y = draw_like(rng, X)
    assert_close(
        f"{name}: to_matrices(from_matrices(X)) = X",
        maps.to_matrices(layer, maps.from_matrices(layer, Y)),
        Y,
        limit,
    )
    sizes = [form.rows * form.columns for form in maps.weight_forms(layer)]
    if sizes != [size((of,)) for of in leaves(params)] or len(sizes) != len(X):
        raise AssertionError(f"{name}: weight_forms have {sizes} numbers for {len(X)} matrices")


def check_features(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check that parameters act through the features set by `with_features`, and nothing else changes."""
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    rng = np.random.default_rng(seed)
    X = maps.to_matrices(layer, params)
    R = draw_like(rng, tuple(of @ of.T for of in X))
    turned = tuple(A @ Ri for A, Ri in zip(maps.row_features(layer, point), R, strict=True))
    other = maps.with_features(layer, point, turned)
    assert_close(
        f"{name}: row_features = features set by with_features", maps.row_features(layer, other), turned, 0.0
    )
    through = maps.jvp_params(layer, params, other, maps.from_matrices(layer, X))
    RX = tuple(Ri @ Xi for Ri, Xi in zip(R, X, strict=True))
    direct = maps.jvp_params(layer, params, point, maps.from_matrices(layer, RX))
    assert_close(
        f"{name}: parameters act through with_features", through, direct, limit, norm(direct) + norm(X)
    )
    y_bar = draw_like(rng, y)
    same = maps.vjp_input(layer, params, point, y_bar)
    assert_close(
        f"{name}: with_features keeps vjp_input", maps.vjp_input(layer, params, other, y_bar), same, 0.0
    )


def check_halves(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check that a layer that changes one half is an additive coupling: y_i = x_i + g(x_j; W), y_j = x_j."""
    name = type(layer).__name__
    halves = maps.moved_halves(layer)
    if halves not in ((0,), (1,), (0, 1)):
        raise AssertionError(f"{name}: moved_halves are {halves}; expected (0,), (1,) or (0, 1)")
    if len(halves) == 2:
        return
    still = 1 - halves[0]
    y, point = maps.linearize(layer, params, x)
    rng = np.random.default_rng(seed)
    assert_close(f"{name}: the other half is unchanged", y[still], x[still], 0.0)
    Jd = maps.jvp_params(layer, params, point, draw_like(rng, params))
    assert_close(f"{name}: jvp_params is zero in the other half", Jd[still], zeros_like(Jd[still]), 0.0)
    dx = draw_like(rng, x)
    dx = maps.replaced(still, dx, zeros_like(dx[still]))
    assert_close(
        f"{name}: y_i - x_i does not depend on x_i", maps.jvp_input(layer, params, point, dx), dx, 0.0
    )


def _twice(of: Array, shared: bool) -> Array:
    """Return an array with the shape of two cotangents of y, for each sample or shared by all samples."""
    xp = array_namespace(of)
    of = of[:1, ...] if shared else of
    return xp.stack((of, of))

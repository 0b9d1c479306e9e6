"""Muon against its formulas in dense NumPy, and its orthogonalization against singular values."""

import math

import numpy as np
import pytest
from cases import NetworkCase
from reference import dense

from revgn.arrays import to_host
from revgn.losses import SquaredError
from revgn.networks import Architecture
from revgn.optimizers import Linearization, Muon, init_state, update
from revgn.optimizers.muon import orthogonalized
from revgn.solvers import jacobian
from revgn.testing import assert_close

SHAPES = [(12, 5), (5, 12), (7, 7), (1, 6), (6, 1), (1, 1)]
LR = 0.05


def polynomial(s):
    """A singular value after five steps with the published coefficients."""
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


def drawn(shape, smallest):
    """U, s, V^T of a matrix whose singular values are spread from 1 to `smallest`."""
    rng, rank = np.random.default_rng(50), min(shape)
    U, _ = np.linalg.qr(rng.standard_normal((shape[0], rank)))
    V, _ = np.linalg.qr(rng.standard_normal((shape[1], rank)))
    return U, np.geomspace(1.0, smallest, rank), V.T


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_singular_values_follow_the_polynomial_and_vectors_do_not_change(shape, numpy_backend):
    U, s, Vt = drawn(shape, 0.05)
    expected = (U * polynomial(s / np.linalg.norm(s))) @ Vt
    assert_close("U p(s) V^T", orthogonalized(7.0 * (U * s) @ Vt), expected, 1e-11)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_result_is_nearly_orthogonal(shape, backend, dtype):
    """Singular values in [0.68, 1.21], hence at most 0.32 from U V^T in the spectral norm, at any scale."""
    U, s, Vt = drawn(shape, 0.01)
    X = orthogonalized(backend.asarray(1e-9 * (U * s) @ Vt, dtype))
    assert X.dtype == backend.dtype(dtype)
    X = np.asarray(to_host(X), dtype=np.float64)
    found = np.linalg.svd(X, compute_uv=False)
    assert (found > 0.68).all()
    assert (found < 1.21).all()
    assert np.linalg.norm(X - U @ Vt, 2) < 0.33


def test_singular_values_above_a_five_hundredth_are_mapped_into_the_interval():
    found = polynomial(np.geomspace(2e-3, 1.0, 100_000))
    assert found.min() > 0.68
    assert found.max() < 1.21


def test_zero_stays_zero(backend, dtype):
    assert not to_host(orthogonalized(backend.asarray(np.zeros((4, 3)), dtype))).any()


def by_hand(optimizer, net, params, x, targets):
    """Weights after each step, by dense formulas, with an SVD in place of matrix polynomials."""
    mu, b1, b2 = optimizer.momentum, optimizer.beta1, optimizer.beta2
    weights = dense.weights_of(params)
    m = [np.zeros_like(W[:-1]) for W in weights]
    mean, square = ([np.zeros_like(W[-1]) for W in weights] for _ in range(2))
    for step, t in enumerate(targets):
        z = dense.network(net, weights, x)
        now = tuple(type(p)(W) for p, W in zip(params, weights, strict=True))
        g = dense.jacobian(net, now, x).T @ dense.rows(2.0 * (z - t) / len(x))
        for k, W in enumerate(weights):
            G, g = g[: W.size].reshape(W.shape), g[W.size :]
            m[k] = mu * m[k] + (1 - mu) * G[:-1]
            M = mu * m[k] + (1 - mu) * G[:-1] if optimizer.nesterov else m[k]
            U, s, Vt = np.linalg.svd(M, full_matrices=False)
            scale = math.sqrt(max(1.0, M.shape[1] / M.shape[0]))
            mean[k] = b1 * mean[k] + (1 - b1) * G[-1]
            square[k] = b2 * square[k] + (1 - b2) * G[-1] ** 2
            root = np.sqrt(square[k] / (1 - b2 ** (step + 1))) + optimizer.eps
            D = np.vstack(
                [
                    scale * (U * polynomial(s / np.linalg.norm(s))) @ Vt,
                    scale / math.sqrt(max(M.shape)) * mean[k] / (1 - b1 ** (step + 1)) / root,
                ]
            )
            weights[k] = W - LR * (D + optimizer.weight_decay * W)
        yield np.concatenate([W.ravel() for W in weights])


@pytest.mark.parametrize(
    "optimizer",
    [
        Muon(LR),
        Muon(LR, 0.8, nesterov=False, weight_decay=0.3),
        Muon(LR, 0.0, False, 0.5, 0.7, 1e-3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("hidden", [16, 4, 3])
def test_weights_follow_the_algorithm(optimizer, hidden, numpy_backend):
    """With d/2 = 4 the weights are tall, square and wide."""
    case = NetworkCase("muon", Architecture(2, hidden, "tanh", "identity"))
    net, params, x = case.build(numpy_backend, "float64")
    targets = [
        3.0 * np.random.default_rng([52, step]).standard_normal((case.samples, case.outputs))
        for step in range(4)
    ]
    expected = by_hand(optimizer, net, params, x, targets)
    state = init_state(optimizer, net, params)
    for t, weights in zip(targets, expected, strict=True):
        z, J = jacobian(net, params, x)
        params, state, *_ = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        assert_close("weights", dense.flat(params), weights, 1e-9)  # the polynomial is steep at 0

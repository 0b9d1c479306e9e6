"""Muon against its formulas in dense NumPy, and its orthogonalization against singular values."""

import math

import numpy as np
import pytest
from cases import NetworkCase
from reference import dense

from revgn.losses import SquaredError
from revgn.networks import Architecture
from revgn.optimizers import Linearization, Muon, init_state, update
from revgn.optimizers.polar import RATIONAL
from revgn.solvers import jacobian
from revgn.testing import assert_close

LR = 0.05


def rational(s):
    """A singular value after the default method for polar factors."""
    d, numerators, poles = RATIONAL
    return s * (d + sum(a / (s**2 + c) for a, c in zip(numerators, poles, strict=True)))


def by_hand(optimizer, net, params, x, targets):
    """Weights after each step, by dense formulas, with an SVD in place of matrix functions."""
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
                    scale * (U * rational(s / np.linalg.norm(s))) @ Vt,
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

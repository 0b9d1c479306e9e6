"""SOAP against its algorithm, written out for single basis vectors, with gradients from an explicit J.

The first eigenvectors are taken from the state, since those of a zero eigenvalue are not determined. They
have a test of their own.
"""

import numpy as np
import pytest
from cases import NetworkCase
from reference import dense

from revgn import trees
from revgn.losses import SquaredError
from revgn.networks import Architecture
from revgn.optimizers import SOAP, Adam, Linearization, init_state, update
from revgn.solvers import jacobian
from revgn.testing import assert_close

LR, STEPS = 0.05, 8


def drawn_targets(case):
    return [
        3.0 * np.random.default_rng([54, step]).standard_normal((case.samples, case.outputs))
        for step in range(STEPS)
    ]


def gradients(net, weights, params, x, t):
    """Gradient of each weight, from the explicit J."""
    z = dense.network(net, weights, x)
    now = tuple(type(p)(W) for p, W in zip(params, weights, strict=True))
    g = dense.jacobian(net, now, x).T @ dense.rows(2.0 * (z - t) / len(x))
    for W in weights:
        yield g[: W.size].reshape(W.shape)
        g = g[W.size :]


class Matrix:
    """One weight matrix: algorithm 3 of the paper, with every projection an inner product."""

    def __init__(self, optimizer, shape, sides):
        self.of, self.t = optimizer, 0
        self.turns = [bool(side) for side in sides]
        self.M, self.V = np.zeros(shape), np.zeros(shape)
        self.K = [np.zeros((length, length)) for length in shape]
        self.Q = [side.axes if side else np.eye(length) for side, length in zip(sides, shape, strict=True)]

    def inside(self, G):
        return np.array([[q @ G @ r for r in self.Q[1].T] for q in self.Q[0].T]).reshape(G.shape)

    def step(self, G):
        b1, b2, t = self.of.beta1, self.of.beta2, self.t
        N = np.zeros_like(G)
        if t:
            self.M = b1 * self.M + (1 - b1) * G
            self.V = b2 * self.V + (1 - b2) * self.inside(G) ** 2
            scaled = self.inside(self.M) / (1 - b1**t) / (np.sqrt(self.V / (1 - b2**t)) + self.of.eps)
            for i, q in enumerate(self.Q[0].T):
                for j, r in enumerate(self.Q[1].T):
                    N += scaled[i, j] * np.outer(q, r)
        for side, square in enumerate((G @ G.T, G.T @ G)):
            self.K[side] = b2 * self.K[side] + (1 - b2) * square
            if self.turns[side] and t and t % self.of.every == 0:
                sizes = [q @ self.K[side] @ q for q in self.Q[side].T]
                order = np.argsort(sizes)[::-1]
                self.V = self.V[order] if side == 0 else self.V[:, order]
                self.Q[side] = np.linalg.qr(self.K[side] @ self.Q[side][:, order])[0]
        self.t += 1
        return N


def by_hand(optimizer, net, params, x, targets, sides):
    weights = dense.weights_of(params)
    matrices = [Matrix(optimizer, W[:-1].shape, of) for W, of in zip(weights, sides, strict=True)]
    mean, square = ([np.zeros_like(W[-1]) for W in weights] for _ in range(2))
    b1, b2 = optimizer.beta1, optimizer.beta2
    for step, t in enumerate(targets):
        for k, G in enumerate([*gradients(net, weights, params, x, t)]):
            D = np.zeros_like(G)
            D[:-1] = matrices[k].step(G[:-1])
            if step:
                mean[k] = b1 * mean[k] + (1 - b1) * G[-1]
                square[k] = b2 * square[k] + (1 - b2) * G[-1] ** 2
                D[-1] = mean[k] / (1 - b1**step) / (np.sqrt(square[k] / (1 - b2**step)) + optimizer.eps)
            weights[k] = weights[k] - LR * (D + optimizer.weight_decay * weights[k])
        yield np.concatenate([W.ravel() for W in weights])


@pytest.mark.parametrize(
    "optimizer",
    [
        SOAP(LR, eps=1e-4),
        SOAP(LR, 0.8, 0.9, 1e-3, every=1, weight_decay=0.3),
        SOAP(LR, 0.0, 0.7, 1e-2, every=3, largest_side=4),
    ],
    ids=["usual", "renewed at every step", "one side"],
)
@pytest.mark.parametrize("hidden", [6, 4, 3])
def test_weights_follow_the_algorithm(optimizer, hidden, numpy_backend):
    """With d/2 = 4 the weights are tall, square and wide; the gradients have deficient rank."""
    case = NetworkCase("soap", Architecture(2, hidden, "tanh", "identity"))
    net, params, x = case.build(numpy_backend, "float64")
    start, found, sides = params, [], []
    state = init_state(optimizer, net, params)
    for t in drawn_targets(case):
        z, J = jacobian(net, params, x)
        params, state, *_ = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        sides.append(state.sides)
        found.append(dense.flat(params))
    expected = by_hand(optimizer, net, start, x, drawn_targets(case), sides[0])
    for step, (weights, by_algorithm) in enumerate(zip(found, expected, strict=True)):
        assert_close(f"weights after step {step}", weights, by_algorithm, 1e-7)


@pytest.mark.parametrize("largest_side", [4, 10_000])
def test_the_first_bases_are_eigenvectors_of_the_first_gradient(largest_side, numpy_backend):
    """The largest eigenvalue comes first, and no weight moves."""
    case = NetworkCase("soap", Architecture(2, 6, "tanh", "identity"))
    net, params, x = case.build(numpy_backend, "float64")
    optimizer, (t, *_) = SOAP(largest_side=largest_side), drawn_targets(case)
    z, J = jacobian(net, params, x)
    at = Linearization(SquaredError(), z, t, J)
    moved, state, *_ = update(optimizer, init_state(optimizer, net, params), params, at)
    assert_close("weights", moved, params, 1e-15)
    of_weights = gradients(net, dense.weights_of(params), params, x, t)
    for G, sides in zip(of_weights, state.sides, strict=True):
        for square, side in zip((G[:-1] @ G[:-1].T, G[:-1].T @ G[:-1]), sides, strict=True):
            assert bool(side) == (len(square) <= largest_side)
            if side:
                w, Q = np.linalg.eigvalsh(square)[::-1], side.axes
                assert_close("K", side.mean, (1 - optimizer.beta2) * square, 1e-12)
                assert_close("G G^T Q", square @ Q, Q * w, 1e-12)


def test_without_bases_it_is_adam_one_step_later(numpy_backend):
    case = NetworkCase("soap", Architecture(2, 6, "tanh", "identity"))
    net, start, x = case.build(numpy_backend, "float64")

    def trained(optimizer, targets):
        params, state = start, init_state(optimizer, net, start)
        for t in targets:
            z, J = jacobian(net, params, x)
            params, state, *_ = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        return params

    targets = drawn_targets(case)
    soap = trained(SOAP(LR, 0.8, 0.9, largest_side=1), targets)
    adam = trained(Adam(LR, 0.8, 0.9), targets[1:])
    assert_close("weights", soap, adam, 1e-13)
    assert not trees.is_empty(soap)


def test_the_bases_stay_orthonormal(backend, dtype):
    case = NetworkCase("soap", Architecture(2, 12, "relu", "identity"))
    net, params, x = case.build(backend, dtype)
    optimizer = SOAP(LR, every=1)
    state = init_state(optimizer, net, params)
    for t in drawn_targets(case)[:4]:
        z, J = jacobian(net, params, x)
        at = Linearization(SquaredError(), z, backend.asarray(t, dtype), J)
        params, state, *_ = update(optimizer, state, params, at)
        for _, basis in (side for sides in state.sides for side in sides):
            eye = backend.asarray(np.eye(basis.shape[0]), dtype)
            assert_close("Q^T Q", basis.T @ basis, eye, 1e-5 if dtype == "float32" else 1e-13)

"""Adam and SGD against their algorithms for single numbers, with gradients from the explicit J."""

import math

import numpy as np
import pytest
from cases import network_case
from reference import dense

from revgn.errors import UsageError
from revgn.losses import SquaredError
from revgn.optimizers import SGD, Adam, Linearization, Muon, batch_gradient, init_state, update
from revgn.solvers import jacobian
from revgn.testing import assert_close

STEPS = 6
LR = 0.05
CASE = network_case("tanh-same-keep")


def batch_targets(step):
    """Targets that change from step to step, so that gradients turn."""
    return 3.0 * np.random.default_rng([31, step]).standard_normal((CASE.samples, CASE.outputs))


def linearized(net, params, x, step):
    z, J = jacobian(net, params, x)
    return Linearization(SquaredError(), z, batch_targets(step), J)


def by_update(optimizer, library):
    """Weights and norm of the step after each step."""
    net, params, x = CASE.build(library, "float64")
    state = init_state(optimizer, net, params)
    for step in range(STEPS):
        done = update(optimizer, state, params, linearized(net, params, x, step))
        params, state = done.params, done.state
        assert (done.solve, done.lr, done.length) == (None, LR, LR)
        yield dense.flat(params), float(done.step_norm)


def by_hand(rule, library):
    """The same, computed with `rule(weights, gradient, t)`, which returns the new weights as a list."""
    net, params, x = CASE.build(library, "float64")
    for step in range(STEPS):
        z = dense.network(net, dense.weights_of(params), x)
        wanted = 2.0 * (z - batch_targets(step)) / CASE.samples
        g = dense.jacobian(net, params, x).T @ dense.rows(wanted)
        w = dense.flat(params)
        new = np.array(rule(w.tolist(), g.tolist(), step + 1))
        first, params_new = 0, []
        for p in params:
            params_new.append(type(p)(new[first : first + p.weight.size].reshape(p.weight.shape)))
            first += p.weight.size
        params = tuple(params_new)
        yield new, math.dist(new, w)


def adam_by_hand(b1, b2, eps, decay):
    m, v = {}, {}

    def rule(w, g, t):
        new = []
        for i in range(len(w)):
            m[i] = b1 * m.get(i, 0.0) + (1 - b1) * g[i]
            v[i] = b2 * v.get(i, 0.0) + (1 - b2) * g[i] ** 2
            m_hat = m[i] / (1 - b1**t)
            v_hat = v[i] / (1 - b2**t)
            new.append(w[i] - LR * m_hat / (math.sqrt(v_hat) + eps) - LR * decay * w[i])
        return new

    return rule


def sgd_by_hand(momentum, nesterov, decay):
    m = {}

    def rule(w, g, t):
        new = []
        for i in range(len(w)):
            m[i] = momentum * m.get(i, 0.0) + g[i]
            direction = g[i] + momentum * m[i] if nesterov else m[i]
            new.append(w[i] - LR * direction - LR * decay * w[i])
        return new

    return rule


RULES = [
    (SGD(LR), sgd_by_hand(0.0, False, 0.0)),
    (SGD(LR, weight_decay=0.3), sgd_by_hand(0.0, False, 0.3)),
    (SGD(LR, 0.9), sgd_by_hand(0.9, False, 0.0)),
    (SGD(LR, 0.9, weight_decay=0.3), sgd_by_hand(0.9, False, 0.3)),
    (SGD(LR, 0.9, nesterov=True), sgd_by_hand(0.9, True, 0.0)),
    (SGD(LR, 0.5, nesterov=True, weight_decay=0.3), sgd_by_hand(0.5, True, 0.3)),
    (Adam(LR), adam_by_hand(0.9, 0.999, 1e-8, 0.0)),
    (Adam(LR, 0.5, 0.7, 1e-2), adam_by_hand(0.5, 0.7, 1e-2, 0.0)),
    (Adam(LR, 0.0, 0.0, 1e-3), adam_by_hand(0.0, 0.0, 1e-3, 0.0)),
    (Adam(LR, weight_decay=0.3), adam_by_hand(0.9, 0.999, 1e-8, 0.3)),
]


@pytest.mark.parametrize(("optimizer", "rule"), RULES, ids=[repr(optimizer) for optimizer, _ in RULES])
def test_weights_follow_the_algorithm(optimizer, rule, numpy_backend):
    steps = zip(by_update(optimizer, numpy_backend), by_hand(rule, numpy_backend), strict=True)
    for step, ((weights, step_norm), (expected, distance)) in enumerate(steps):
        assert_close(f"weights after step {step + 1}", weights, expected, 1e-11)
        assert step_norm == pytest.approx(distance, rel=1e-11)


def test_the_gradient_is_the_gradient_of_the_mean_loss(numpy_backend):
    """Against central differences of the loss in ten directions."""
    net, params, x = CASE.build(numpy_backend, "float64")
    g = dense.flat(batch_gradient(linearized(net, params, x, 0)))
    weights, rng = dense.weights_of(params), np.random.default_rng(32)

    def loss(moved):
        return np.mean(np.sum((dense.network(net, moved, x) - batch_targets(0)) ** 2, axis=1))

    for _ in range(10):
        direction = [rng.standard_normal(w.shape) for w in weights]
        ahead = loss([w + 1e-5 * d for w, d in zip(weights, direction, strict=True)])
        behind = loss([w - 1e-5 * d for w, d in zip(weights, direction, strict=True)])
        expected = np.concatenate([d.ravel() for d in direction]) @ g
        assert (ahead - behind) / 2e-5 == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("optimizer", [SGD, Muon])
def test_nesterov_needs_a_momentum(optimizer):
    with pytest.raises(UsageError, match=rf"{optimizer.__name__}: nesterov needs a momentum > 0"):
        optimizer(momentum=0.0, nesterov=True)

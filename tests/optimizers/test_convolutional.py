"""Optimizers on networks whose weights are shared by the pixels of an image, against dense formulas."""

import numpy as np
import pytest
from cases import CONVOLUTIONAL
from reference import images, kfac

from revgn import maps
from revgn.arrays import array_namespace
from revgn.layers import ReadoutParams, ReadoutPoint
from revgn.losses import CrossEntropy, SquaredError, output_step
from revgn.optimizers import (
    KFAC,
    SGD,
    Adam,
    FeatureMetric,
    GaussNewton,
    Linearization,
    Muon,
    Orthogonalized,
    batch_gradient,
    init_state,
    update,
)
from revgn.optimizers.kronecker import curvature_columns
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, jacobian, output_change
from revgn.testing import assert_close
from revgn.trees import axpy, flatten

CASES = [case for case in CONVOLUTIONAL if case.name in ("trained", "frozen", "dense-readout")]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def linearized(case, library, loss=SquaredError(), dtype="float64"):  # noqa: B008
    net, params, x = case.build(library, dtype)
    z, J = jacobian(net, params, x)
    t = library.asarray(np.eye(case.outputs)[np.arange(case.samples) % case.outputs], dtype)
    return x, Linearization(loss, z, t, J)


def row_features_of(at, x):
    """The matrices A (n P, m) of all weights, by the reference."""
    net, params, point = at.jacobian.network, at.jacobian.params, at.jacobian.point
    found = []
    for layer, own, of in zip(net.body.layers, params, point.points, strict=True):
        if own:
            H, W, q, k = layer.features.grid
            U = images.neighbourhoods(of.inputs.reshape(-1, H, W, q), k).reshape(len(x) * H * W, -1)
            C = own[1] if len(own) > 1 else layer.features.projection
            A = images.PHI[layer.features.activation](U @ C)
            found.append(np.hstack([A, np.ones((len(A), 1))]))
            found += [U] * (len(own) - 1)
    return found


@EVERY_CASE
def test_the_metric_is_the_covariance_of_the_rows_at_all_pixels(case, numpy_backend):
    """D = M^-1 J^T (J M^-1 J^T)^-1 eps with M = P / p + floor I for each matrix, P = A^T A / n."""
    x, at = linearized(case, numpy_backend)
    optimizer, params = GaussNewton(MinimumNorm(), metric=FeatureMetric(0.5)), at.jacobian.params
    done = update(optimizer, init_state(optimizer, at.jacobian.network, params), params, at)
    truth = images.jacobian(at.jacobian.network, params, x)
    weights = [W for own in params for W in own]
    solved, start = [], 0
    for A, W in zip(row_features_of(at, x), weights, strict=True):
        P = A.T @ A
        M = np.kron(P / np.mean(np.diag(P)) + 0.5 * np.eye(len(P)), np.eye(W.shape[1]))
        solved.append(np.linalg.solve(M, truth.T[start : start + W.size]))
        start += W.size
    MJ = np.concatenate(solved)
    eps = output_step(at.loss, at.outputs, at.targets)
    expected = MJ @ np.linalg.solve(truth @ MJ, eps.ravel())
    assert_close("D", flatten(axpy(-1.0, done.params, params)), expected, 1e-8)


@EVERY_CASE
def test_kfac_takes_sums_over_pixels_and_means(case, numpy_backend):
    """P = sum over pixels of a a^T / n, Q = mean over pixels of b b^T (Grosse and Martens 2016)."""
    x, at = linearized(case, numpy_backend, CrossEntropy())
    net, params, point = at.jacobian[:3]
    optimizer = KFAC(0.1, 0.01, momentum=0.0)
    done = update(optimizer, init_state(optimizer, net, params), params, at)
    g = [W for own in batch_gradient(at) for W in own]
    D = [W / 0.1 for own in axpy(-1.0, done.params, params) for W in own]
    bar = maps.vjp_input(net.readout, ReadoutParams(), ReadoutPoint(), curvature_columns(at.loss, at.outputs))
    cotangents = []
    for k in reversed(range(len(params))):
        layer, own, of = net.body.layers[k], params[k], point.points[k]
        if own:
            cotangents = [*maps.row_cotangents(layer, own, of, bar), *cotangents]
        bar = maps.vjp_input(layer, own, of, bar)
    for A, b, gradient, step in zip(row_features_of(at, x), cotangents, g, D, strict=True):
        rows = b.reshape(-1, b.shape[2])
        P, Q = A.T @ A / len(x), rows.T @ rows / b.shape[1]
        assert_close("D", step, kfac.solved(P, Q, 0.01, gradient), 1e-8)


OPTIMIZERS = [
    SGD(lr=0.05),
    Adam(lr=0.01),
    Muon(lr=0.01),
    GaussNewton(MinimumNorm(0.1, rows=1), lr=0.5, momentum=0.9),
    GaussNewton(MinimumNorm(0.1, memory=6000), lr=0.5),
    GaussNewton(ConjugateGradients(0.1, rows=1), lr=0.5),
    GaussNewton(BlockWise(damping=1e-2), lr=0.1),
    Orthogonalized(GaussNewton(MinimumNorm(0.1, rows=1), lr=0.01)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda of: type(of).__name__)
def test_every_optimizer_decreases_the_loss_to_first_order(optimizer, backend, dtype):
    """Also on other libraries; rho is measured for the step that is applied."""
    _, at = linearized(CASES[0], backend, CrossEntropy(), dtype)
    net, params, *_ = at.jacobian
    done = update(optimizer, init_state(optimizer, net, params), params, at)
    change = output_change(at.jacobian, axpy(-1.0, done.params, params))
    eps = output_step(at.loss, at.outputs, at.targets)
    assert float(array_namespace(eps).sum(change * eps)) > 0

"""Properties of an optimizer's steps, against dense references."""

import math

import numpy as np
import pytest
from reference import dense

from revgn import trees
from revgn.analysis import (
    cosine,
    gradient_noise,
    kernel_alignment,
    kernel_change,
    solvers_cosine,
    step_excess,
)
from revgn.errors import ShapeError
from revgn.solvers import BlockWise, apply, jacobian, solve


def test_cosine(case, moved):
    _, params, _ = case
    other = moved(params, seed=2, scale=1.0)
    a, b = dense.flat(params), dense.flat(other)
    assert cosine(params, other) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-10)
    assert cosine(params, trees.scale(-2.0, params)) == pytest.approx(-1.0, rel=1e-12)
    assert math.isnan(cosine(params, trees.zeros_like(params)))


def test_excess_is_relative_to_the_shortest_step_with_the_same_effect(case, moved):
    network, params, x = case
    D = moved(trees.zeros_like(params), seed=3, scale=1.0)
    J = jacobian(network, params, x)[1]
    written = dense.jacobian(network, params, x)
    shortest = np.linalg.pinv(written) @ written @ dense.flat(D)
    expected = np.linalg.norm(dense.flat(D)) / np.linalg.norm(shortest)
    assert expected > 1.01
    assert step_excess(J, D) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(step_excess(J, trees.zeros_like(D)))


def test_cosine_between_block_step_and_minimum_norm_step(case):
    network, params, x = case
    J = jacobian(network, params, x)[1]
    eps = np.random.default_rng(4).standard_normal((x.shape[0], apply(J, params).shape[1]))
    block, info = solve(BlockWise(block_weights="uniform"), J, eps)
    shortest = np.linalg.pinv(dense.jacobian(network, params, x)) @ eps.ravel()
    norms = np.linalg.norm(shortest) * np.linalg.norm(dense.flat(block))
    found = solvers_cosine(J, eps)
    assert found == pytest.approx(dense.flat(block) @ shortest / norms, rel=1e-6)
    if info.rho < 1e-8:
        assert found == pytest.approx(1 / step_excess(J, block), rel=1e-6)


def test_gradient_noise_of_known_gradients():
    """|G| = 2 in 50 dimensions, and noise of variance 0.3 per sample: tr(Sigma) / |G|^2 = 15 / 4."""
    rng = np.random.default_rng(0)
    G = np.zeros(50)
    G[0] = 2.0
    drawn = rng.standard_normal((4000, 2, 50)) * np.sqrt(0.3 / 64) + G
    found = [gradient_noise((a,), (b,), 64) for a, b in drawn]
    assert np.mean(found) == pytest.approx(50 * 0.3 / 4, rel=0.02)
    assert math.isnan(gradient_noise((G,), (0 * G,), 64))


def test_change_of_a_kernel(case, moved):
    network, params, x = case
    K, L = (
        each @ each.T
        for each in (dense.jacobian(network, params, x), dense.jacobian(network, moved(params), x))
    )
    expected = math.sqrt(2 * (1 - kernel_alignment(K, L)))
    assert kernel_change(K, L) == pytest.approx(expected, rel=1e-6)
    assert kernel_change(K, 3 * K) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ShapeError, match="kernel_change"):
        kernel_change(K, L[:2])

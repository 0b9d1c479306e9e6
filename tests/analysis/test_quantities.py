"""The registry of quantities, and each quantity against a dense reference."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from reference import dense

from revgn import trees
from revgn.analysis import (
    QUANTITIES,
    Ahead,
    Moment,
    body_kernel_product,
    cka,
    cka_of_kernels,
    cosine,
    estimate_alignment,
    gradient_noise,
    kernel_alignment,
    kernel_change,
    label_alignment,
    make_probe,
    measure,
    representations,
    solvers_cosine,
    step_excess,
)
from revgn.errors import ShapeError
from revgn.layers import Readout
from revgn.losses import SquaredError
from revgn.maps import Halves, forward, init
from revgn.networks import Architecture, draw_network, split
from revgn.solvers import apply_adjoint, jacobian, tangent_kernel
from revgn.store.names import EPOCHS


def measured(network, params, probe):
    return measure(Moment(network, params, probe))


def test_nothing_has_moved_at_initialization(case):
    network, params, x = case
    targets = np.eye(3)[np.arange(x.shape[0]) % 3]
    found = measured(network, params, make_probe(network, params, x, targets))
    same = ("kernel_similarity", "kernel_similarity_probed", "weights_cosine")
    for name in (*same, "features_cka", "branches_cka", "halves_cka", "output_cka"):
        assert found[name] == pytest.approx(1.0, abs=1e-9), name
    assert found["kernel_similarity_probed_error"] == pytest.approx(0.0, abs=1e-9)
    assert found["weights_moved"] == 0.0
    for k in range(len(params)):
        assert found[f"weights_moved_{k}"] == 0.0


def test_quantities_of_the_kernel_match_the_dense_kernel(case, moved):
    network, params, x = case
    c = forward(network, params, x).shape[1]
    targets = np.eye(c)[np.arange(x.shape[0]) % c]
    found = measured(network, moved(params), make_probe(network, params, x, targets))
    J0, J1 = (dense.jacobian(network, each, x) for each in (params, moved(params)))
    K0, K1 = J0 @ J0.T, J1 @ J1.T
    size = np.linalg.norm(K0) * np.linalg.norm(K1)
    assert found["kernel_similarity"] == pytest.approx(np.sum(K0 * K1) / size, rel=1e-10)
    y = (targets - targets.mean(axis=0)).ravel()
    alignment = y @ K1 @ y / (np.linalg.norm(K1) * (y @ y))
    assert found["kernel_alignment"] == pytest.approx(alignment, rel=1e-10)
    values = np.linalg.eigvalsh(K1)
    assert found["kernel_condition"] == pytest.approx(values[-1] / values[0], rel=1e-6)
    flat = [np.concatenate([w.ravel() for w in trees.leaves(each)]) for each in (params, moved(params))]
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert found["weights_moved"] == pytest.approx(expected, rel=1e-12)
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    assert found["weights_cosine"] == pytest.approx(cosine, rel=1e-10)
    for k, (own, before) in enumerate(zip(moved(params), params, strict=True)):
        W, W0 = own.weight, before.weight
        assert found[f"weights_norm_{k}"] == pytest.approx(np.linalg.norm(W), rel=1e-12)
        distance = np.linalg.norm(W - W0) / np.linalg.norm(W0)
        assert found[f"weights_moved_{k}"] == pytest.approx(distance, rel=1e-10)
        cosine = np.sum(W * W0) / np.linalg.norm(W) / np.linalg.norm(W0)
        assert found[f"weights_cosine_{k}"] == pytest.approx(cosine, rel=1e-10)


def test_kernels_can_be_estimated(case, moved):
    """Estimates from many products are close; other quantities do not change; one product has no error."""
    network, params, x = case
    c = forward(network, params, x).shape[1]
    targets = np.eye(c)[np.arange(x.shape[0]) % c]
    exact = measured(network, moved(params), make_probe(network, params, x, targets))
    found = measured(network, moved(params), make_probe(network, params, x, targets, probes=400))
    estimated = {"kernel_similarity", "kernel_alignment"}
    for name in estimated:
        error = found.pop(f"{name}_error")
        assert 0 < error < 0.1 * exact[name]
        assert abs(found[name] - exact[name]) < 4 * error
    assert {name: found[name] for name in found.keys() - estimated} == {
        name: exact[name] for name in found.keys() - estimated
    }
    assert exact.keys() - found.keys() == {"kernel_effective_rank", "kernel_condition"}
    single = measured(network, moved(params), make_probe(network, params, x, targets, probes=1))
    assert math.isnan(single["kernel_similarity_error"])


def test_the_distance_from_zero_weights_is_nan(case):
    network, params, x = case
    zero = trees.map_leaves(np.zeros_like, params)
    found = measured(network, params, make_probe(network, zero, x, np.eye(3)[np.arange(x.shape[0]) % 3]))
    assert math.isnan(found["weights_moved"])
    assert math.isnan(found["weights_cosine"])
    assert math.isnan(found["weights_moved_0"])


def centered_gram(X):
    X = X - X.mean(axis=0)
    return X @ X.T


def test_representations_are_features_branches_halves_and_output(case, moved):
    network, params, x = case
    found = representations(jacobian(network, params, x)[1])
    y = split(x)
    for k, (layer, own) in enumerate(zip(network.body.layers, params, strict=True)):
        after = forward(layer, own, y)
        branch = after[layer.half] - y[layer.half]
        np.testing.assert_allclose(found.branches[k], centered_gram(branch), rtol=1e-9, atol=1e-12)
        half = after[layer.half]
        np.testing.assert_allclose(found.halves[k], centered_gram(half), rtol=1e-9, atol=1e-12)
        y = Halves(*after)
    output = np.concatenate(y, axis=1)
    np.testing.assert_allclose(found.output, centered_gram(output), rtol=1e-9, atol=1e-12)
    other = representations(jacobian(network, moved(params), x)[1])
    probe = make_probe(network, params, x, np.eye(3)[np.arange(x.shape[0]) % 3])
    y0, y1 = (
        np.concatenate(forward(network.body, each, split(x)), axis=1) for each in (params, moved(params))
    )
    record = measured(network, moved(params), probe)
    halves = [cka_of_kernels(a, b) for a, b in zip(other.halves, found.halves, strict=True)]
    assert record["halves_cka"] == pytest.approx(np.mean(halves), rel=1e-8)
    assert record["output_cka"] == pytest.approx(cka(y1, y0), rel=1e-8)
    pairs = [cka_of_kernels(a, b) for a, b in pairwise(other.branches)]
    assert record["between_cka"] == pytest.approx(np.mean(pairs), rel=1e-8)
    assert len(other.features) == len(network.body.layers)


def test_label_alignment_of_a_kernel_made_of_the_labels(numpy_backend):
    """y y^T has alignment 1 with y, and alignment 0 with targets orthogonal to y."""
    rng = np.random.default_rng(0)
    targets = np.eye(3)[rng.integers(3, size=8)]
    y = (targets - targets.mean(axis=0)).ravel()
    assert label_alignment(np.outer(y, y), targets) == pytest.approx(1.0, rel=1e-12)
    z = rng.standard_normal(y.size)
    z -= y * (y @ z) / (y @ y)
    assert label_alignment(np.outer(z, z), targets) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("probes", [0, 3])
def test_nothing_is_aligned_with_targets_that_are_constant(case, moved, probes):
    """The first test rows may all be of one class; the other quantities are measured."""
    network, params, x = case
    probe = make_probe(network, params, x, np.eye(3)[np.zeros(x.shape[0], dtype=int)], probes)
    with np.errstate(invalid="ignore"):
        found = measured(network, moved(params), probe)
    undefined = {"kernel_alignment", "kernel_alignment_error"} if probes else {"kernel_alignment"}
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


def body_jacobian(network, params, x):
    """The dense Jacobian of the d features before the readout, with a row for each sample and feature."""
    d = 2 * network.readout.first.shape[0]
    unread = replace(network, readout=Readout(np.eye(d)[: d // 2], np.eye(d)[d // 2 :]))
    return dense.jacobian(unread, params, x)


def test_the_paper_s_measure_is_a_probed_similarity_of_all_features(case, moved):
    """<Theta_0 v, Theta v> / (|Theta_0 v| |Theta v|); with many v, the similarity of the dense kernels."""
    network, params, x = case
    B0, B1 = (body_jacobian(network, each, x) for each in (params, moved(params)))
    K0, K1 = B0 @ B0.T, B1 @ B1.T
    exact = kernel_alignment(K0, K1)
    products = [body_kernel_product(jacobian(network, each, x)[1]) for each in (params, moved(params))]
    v = np.random.default_rng(0).standard_normal((len(x), len(K0) // len(x)))
    for product, K in zip(products, (K0, K1), strict=True):
        np.testing.assert_allclose(product(v).ravel(), K @ v.ravel(), rtol=1e-9, atol=1e-9)
    found = estimate_alignment(*products, v, 300, np.random.default_rng(1))
    assert 0 < found.error < 0.02
    assert abs(found.value - exact) < 4 * found.error
    targets = np.eye(3)[np.arange(len(x)) % 3]
    found = measured(network, moved(params), make_probe(network, params, x, targets))
    error = found["kernel_similarity_probed_error"]
    assert 0 < error < 0.2
    assert abs(found["kernel_similarity_probed"] - exact) < 5 * error


@pytest.mark.parametrize("probes", [0, 3])
def test_measured_series_are_the_registered_series(case, moved, probes):
    """Each quantity has its series and each series its quantity; quantities of next steps need next steps."""
    network, params, x = case
    c = forward(network, params, x).shape[1]
    t = np.eye(c)[np.arange(len(x)) % c]
    probe = make_probe(network, params, x, t, probes)
    ahead = Ahead(SquaredError(), ((x, t), (x[::-1], t)), (moved(params, 2), moved(params, 3)))
    names = {}
    for quantity in QUANTITIES:
        own = (
            [f"{quantity.name[:-1]}{k}" for k in range(len(params))]
            if quantity.by_coupling
            else [quantity.name]
        )
        names |= dict.fromkeys(own, quantity)
        if quantity.has_error:
            names[f"{quantity.name}_error"] = quantity
    left = (
        {"kernel_effective_rank", "kernel_condition"}
        if probes
        else {f"{name}_error" for name in ("kernel_similarity", "kernel_alignment", "kernel_rate")}
    )
    found = measure(Moment(network, moved(params), probe, ahead))
    assert found.keys() == names.keys() - left
    assert all(EPOCHS.find(name) is not None for name in names)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    alone = measure(Moment(network, moved(params), probe))
    assert alone == {name: found[name] for name in found if not names[name].looks_ahead}


def test_quantities_of_the_next_steps_match_their_functions(case, moved):
    network, params, x = case
    c = forward(network, params, x).shape[1]
    t = np.eye(c)[np.arange(len(x)) % c]
    one, two = moved(params, 2), moved(params, 3)
    ahead = Ahead(SquaredError(), ((x, t), (x[::-1], t)), (one, two))
    found = measure(Moment(network, params, make_probe(network, params, x, t), ahead))
    (z, J), (z2, J2) = (jacobian(network, params, rows) for rows in (x, x[::-1]))
    K, L = (tangent_kernel(jacobian(network, each, x)[1]) for each in (params, one))
    D = trees.axpy(-1.0, one, params)
    g, h = (apply_adjoint(*pair) for pair in ((J, 2 * (z - t) / len(x)), (J2, 2 * (z2 - t) / len(x))))
    assert found["kernel_rate"] == pytest.approx(kernel_change(K, L), rel=1e-9)
    assert found["step_overlap"] == pytest.approx(cosine(D, trees.axpy(-1.0, two, one)), rel=1e-12)
    assert found["step_excess"] == pytest.approx(step_excess(J, D), rel=1e-9)
    assert found["solvers_cosine"] == pytest.approx(solvers_cosine(J, z - t), rel=1e-9)
    assert found["gradient_noise"] == pytest.approx(gradient_noise(g, h, len(x)), rel=1e-9)


def test_too_few_samples_are_refused(case):
    network, params, x = case
    with pytest.raises(ShapeError, match="3 samples; expected at least 4"):
        make_probe(network, params, x[:3], np.eye(3))


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_the_branch_of_a_trained_projection_is_a_w(activation):
    rng = np.random.default_rng(3)
    network = draw_network(Architecture(1, 7, activation, projection="trained"), 6, 2, rng)
    params = init(network, rng, 0.5)
    y = split(x := rng.standard_normal((5, 6)))
    found = representations(jacobian(network, params, x)[1])
    for k, (layer, own) in enumerate(zip(network.body.layers, params, strict=True)):
        after = forward(layer, own, y)
        branch = after[layer.half] - y[layer.half]
        np.testing.assert_allclose(found.branches[k], centered_gram(branch), rtol=1e-9, atol=1e-12)
        y = after

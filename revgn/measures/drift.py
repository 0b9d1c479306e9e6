"""How far training has moved a network: its tangent kernel, its representations, its weights.

All on a fixed probe set, against what they were at the start. In a lazy regime (Chizat, Oyallon and Bach
2019) the kernel and the features hardly move while the loss falls.

Of a coupling y_i = x_i + A_k W_k the features A_k and the branch A_k W_k are compared, besides the half y_i
and the output of all: these carry the input along unchanged, which alone makes them alike.
"""

import math
from typing import NamedTuple

import numpy as np

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError
from revgn.linalg import gram_rows
from revgn.maps import (
    Halves,
    Layer,
    Params,
    forward,
    jvp_params,
    moved_halves,
    row_features,
    vjp_params,
)
from revgn.measures.alignment import centered, cka_of_kernels, kernel_alignment
from revgn.measures.spectrum import (
    Product,
    estimate_alignment,
    estimate_alignment_along,
    estimate_change,
    spectrum,
)
from revgn.measures.steps import cosine, kernel_change
from revgn.networks import ChainParams, Network, join, points_forward, split
from revgn.solvers import Jacobian, apply, apply_adjoint, jacobian, tangent_kernel

_PROBE_SEED = 0  # one draw for all: a probe is compared with itself
_VECTORS = 8  # v of kernel_similarity_probed


class Representations(NamedTuple):
    """Gram matrices (n, n) of a network's representations of its samples, for each coupling and at the end.

    Of a coupling y_i = x_i + A W: `features` of A, `branches` of A W, `halves` of y_i; `output` of the halves
    before the readout. All but the features are centered first (see `revgn.measures.cka`).
    """

    features: tuple[Array, ...]
    branches: tuple[Array, ...]
    halves: tuple[Array, ...]
    output: Array


class Probe(NamedTuple):
    """Samples x (n, d) with targets (n, c), and a network on them at the start.

    With `probes` random vectors kernels are estimated from products with them; there is none here then.
    """

    x: Array
    targets: Array
    params: ChainParams
    kernel: Array | None
    representations: Representations
    probes: int = 0


def make_probe(network: Network, params: ChainParams, x: Array, targets: Array, probes: int = 0) -> Probe:
    """Return a probe of the network at its start; of n samples and c outputs it holds (n c)^2 numbers.

    With `probes` random vectors to estimate kernels by it holds some n^2.

    Raises
    ------
    ShapeError
        If there are fewer than four samples.
    """
    if x.shape[0] < 4:
        raise ShapeError(f"make_probe: {x.shape[0]} samples; expected at least 4")
    J = jacobian(network, params, x)[1]
    kernel = None if probes else tangent_kernel(J)
    return Probe(x, targets, params, kernel, representations(J), probes)


def drift(network: Network, params: ChainParams, probe: Probe) -> dict[str, float]:
    """Return how far the network is from its start.

    kernel_similarity        <Theta, Theta_0> / (|Theta| |Theta_0|)
    kernel_similarity_probed         the paper's measure: <Theta_0 v, Theta v> / (|Theta_0 v| |Theta v|) of 8
                                     random v, Theta here of all d features before the readout
    kernel_similarity_probed_error   its standard error as an estimate of that kernel's similarity
    kernel_alignment         y^T Theta y / (|Theta| |y|^2), y the targets without their means
    kernel_effective_rank, kernel_condition      as of `spectrum`, of exact kernels
    kernel_similarity_error, kernel_alignment_error         standard errors, of estimated ones
    features_cka, branches_cka, halves_cka       unbiased CKA with the start, the mean over couplings
    output_cka                                   of the representation that the readout sees
    between_cka                                  unbiased CKA of each branch with the next, their mean
    weights_moved            |W - W_0| / |W_0|
    weights_cosine           <W, W_0> / (|W| |W_0|)
    weights_norm_K, weights_moved_K, weights_cosine_K       |W| and the same of coupling K alone, from 0

    Notes
    -----
    Cost: that of the kernel, and its eigenvalues: some (n c)^3 operations; or of three products with J and
    its adjoint for each random vector. 16 products with the body's Jacobian and its adjoint.
    """
    J = jacobian(network, params, probe.x)[1]
    before = jacobian(network, probe.params, probe.x)[1]
    now = representations(J)
    return {
        **(_estimated(J, before, probe) if probe.kernel is None else _exact(J, probe, probe.kernel)),
        **_probed(J, before),
        "features_cka": _mean_cka(now.features, probe.representations.features),
        "branches_cka": _mean_cka(now.branches, probe.representations.branches),
        "halves_cka": _mean_cka(now.halves, probe.representations.halves),
        "output_cka": cka_of_kernels(now.output, probe.representations.output),
        "between_cka": _mean_cka(now.branches[1:], now.branches[:-1]),
        "weights_moved": _moved(params, probe.params),
        "weights_cosine": cosine(params, probe.params),
        **_by_coupling(params, probe.params),
    }


def _by_coupling(params: ChainParams, before: ChainParams) -> dict[str, float]:
    found = {}
    for k, (own, own_before) in enumerate(zip(params, before, strict=True)):
        found[f"weights_norm_{k}"] = float(trees.norm(own))
        found[f"weights_moved_{k}"] = _moved(own, own_before)
        found[f"weights_cosine_{k}"] = cosine(own, own_before)
    return found


def _moved(params: Params, before: Params) -> float:
    """Return |W - W_0| / |W_0|, NaN where W_0 is zero."""
    norm_before = float(trees.norm(before))
    return float(trees.norm(trees.axpy(-1.0, before, params))) / norm_before if norm_before else math.nan


def _exact(J: Jacobian, probe: Probe, before: Array) -> dict[str, float]:
    K = tangent_kernel(J)
    of_kernel = spectrum(K)
    return {
        "kernel_similarity": kernel_alignment(K, before),
        "kernel_alignment": label_alignment(K, probe.targets),
        "kernel_effective_rank": of_kernel.effective_rank,
        "kernel_condition": of_kernel.condition,
    }


def _probed(J: Jacobian, before: Jacobian) -> dict[str, float]:
    features = 2 * J.point.output.first.shape[1]
    similarity = estimate_alignment(
        body_kernel_product(J),
        body_kernel_product(before),
        join(J.point.output, features),
        _VECTORS,
        np.random.default_rng(_PROBE_SEED),
    )
    return {
        "kernel_similarity_probed": similarity.value,
        "kernel_similarity_probed_error": similarity.error,
    }


def _estimated(J: Jacobian, before: Jacobian, probe: Probe) -> dict[str, float]:
    rng = np.random.default_rng(_PROBE_SEED)
    now = _kernel_product(J)
    similarity = estimate_alignment(now, _kernel_product(before), probe.targets, probe.probes, rng)
    y = probe.targets - array_namespace(probe.targets).mean(probe.targets, axis=0)
    alignment = estimate_alignment_along(now, y, probe.probes, rng)
    return {
        "kernel_similarity": similarity.value,
        "kernel_similarity_error": similarity.error,
        "kernel_alignment": alignment.value,
        "kernel_alignment_error": alignment.error,
    }


def kernel_rate(probe: Probe, before: Jacobian, after: Jacobian) -> dict[str, float]:
    """Return `kernel_change` on the probe as kernel_rate, and kernel_rate_error where it is estimated."""
    if not probe.probes:
        return {"kernel_rate": kernel_change(tangent_kernel(before), tangent_kernel(after))}
    rng = np.random.default_rng(_PROBE_SEED)
    products = _kernel_product(before), _kernel_product(after)
    rate = estimate_change(*products, probe.targets, probe.probes, rng)
    return {"kernel_rate": rate.value, "kernel_rate_error": rate.error}


def _kernel_product(J: Jacobian) -> Product:
    """Return v -> J J^T v for v (n, c), by which a kernel need not be formed."""
    return lambda v: apply(J, apply_adjoint(J, v))


def representations(J: Jacobian) -> Representations:
    """Return the Gram matrices of features, branches, halves and output at a Jacobian's point."""
    features, branches, halves = [], [], []
    y = J.point.input
    points = points_forward(J.network.body.layers, J.params, J.point)
    for layer, params, point in zip(J.network.body.layers, J.params, points, strict=True):
        is_trained = not trees.is_empty(params)
        if is_trained:
            features.append(gram_rows(_beside(row_features(layer, point))))
            branch = jvp_params(layer, params, point, params)
            branches.append(gram_rows(centered(_moved_part(layer, branch))))
        y = forward(layer, params, y)
        if is_trained:
            halves.append(gram_rows(centered(_moved_part(layer, y))))
    output = join(J.point.output, 2 * J.point.output.first.shape[1])
    return Representations(tuple(features), tuple(branches), tuple(halves), gram_rows(centered(output)))


def label_alignment(K: Array, targets: Array) -> float:
    """Return y^T K y / (|K| |y|^2) for K (n c, n c) in the order of `tangent_kernel`, targets (n, c)."""
    xp = array_namespace(K, targets)
    y = xp.reshape(targets - xp.mean(targets, axis=0), (-1,))
    along = xp.sum(y * (K @ y)) / (xp.sum(y * y) * xp.sqrt(xp.sum(K * K)))
    return float(along)


def body_kernel_product(J: Jacobian) -> Product:
    """Return v -> B B^T v for v (n, d), B the Jacobian of all d features of the body's output, unread."""
    body, params, point = J.network.body, J.params, J.point

    def product(v: Array) -> Array:
        return join(jvp_params(body, params, point, vjp_params(body, params, point, split(v))), v.shape[1])

    return product


def _moved_part(layer: Layer, y: Halves) -> Array:
    """Return the half of y that the layer's parameters move, or both side by side."""
    return _beside(tuple(y[half] for half in moved_halves(layer)))


def _beside(arrays: tuple[Array, ...]) -> Array:
    return arrays[0] if len(arrays) == 1 else array_namespace(*arrays).concat(arrays, axis=1)


def _mean_cka(now: tuple[Array, ...], before: tuple[Array, ...]) -> float:
    return float(np.mean([cka_of_kernels(a, b) for a, b in zip(now, before, strict=True)]))

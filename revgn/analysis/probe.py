"""A network at one moment of its training, evaluated on a fixed set of samples, the probe.

Jacobian, tangent kernel and representations are shared by several quantities. Each is computed once, when it
is first used.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from revgn import trees
from revgn._dispatch import available
from revgn.analysis.alignment import centered
from revgn.analysis.spectrum import Product, Spectrum, spectrum
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError
from revgn.layers import Coupling
from revgn.linalg import gram_rows
from revgn.losses import Loss
from revgn.maps import (
    Halves,
    Layer,
    Params,
    forward,
    jvp_params,
    moved,
    moved_halves,
    row_features,
    vjp_params,
)
from revgn.networks import ChainParams, Network, join, points_forward, split
from revgn.solvers import Jacobian, apply, apply_adjoint, jacobian, tangent_kernel


class Representations(NamedTuple):
    """Gram matrices (n, n) of a network's representations of n samples.

    For each coupling y_i = x_i + A W, `features`, `branches` and `halves` hold the Gram matrices of A, A W
    and y_i. With a trained projection, A is followed by the input of the projection. For convolutions, the
    features of all pixels of a sample are taken together. `output` is the Gram matrix of both halves before
    the readout. All representations except the features are centered first (see `revgn.analysis.cka`).

    A layer without `row_features` has no features here, and one without `moved_halves` no branch and no half.
    """

    features: tuple[Array, ...]
    branches: tuple[Array, ...]
    halves: tuple[Array, ...]
    output: Array


class Probe(NamedTuple):
    """Samples x (n, d) with targets (n, c), and the network at initialization on these samples.

    If `probes` is positive, kernels are estimated from products with this number of random vectors, and
    `kernel` is None. It is also None if a layer lacks a map that the kernel needs.
    """

    x: Array
    targets: Array
    params: ChainParams
    kernel: Array | None
    representations: Representations
    probes: int = 0


def make_probe(network: Network, params: ChainParams, x: Array, targets: Array, probes: int = 0) -> Probe:
    """Return a probe with the network at initialization.

    Notes
    -----
    Memory: (n c)^2 numbers for the kernel, unless it is estimated, and 3 n^2 numbers for each coupling.

    Raises
    ------
    ShapeError
        If there are fewer than four samples.
    """
    if x.shape[0] < 4:
        raise ShapeError(f"make_probe: {x.shape[0]} samples; expected at least 4")
    J = jacobian(network, params, x)[1]
    kernel = None if probes else available(tangent_kernel, J)
    return Probe(x, targets, params, kernel, representations(J), probes)


class Ahead(NamedTuple):
    """The next two steps: batches of inputs (n, d) and targets (n, c), and parameters after each step."""

    loss: Loss
    batches: tuple[tuple[Array, Array], tuple[Array, Array]]
    params: tuple[ChainParams, ChainParams]


@dataclass(frozen=True, eq=False)
class Moment:
    """A network with its parameters at some step of training, on the samples of a probe."""

    network: Network
    params: ChainParams
    probe: Probe
    ahead: Ahead | None = None

    @cached_property
    def jacobian(self) -> Jacobian:
        """Jacobian J at the current parameters."""
        return self.jacobian_at(self.params)

    @cached_property
    def initial_jacobian(self) -> Jacobian:
        """Jacobian J at initialization."""
        return self.jacobian_at(self.probe.params)

    @cached_property
    def kernel(self) -> Array:
        """Tangent kernel at the current parameters."""
        return tangent_kernel(self.jacobian)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Spectrum of the tangent kernel."""
        return spectrum(self.kernel)

    @cached_property
    def representations(self) -> Representations:
        """Representations at the current parameters."""
        return representations(self.jacobian)

    def jacobian_at(self, params: ChainParams) -> Jacobian:
        """Return the Jacobian J at the given parameters."""
        return jacobian(self.network, params, self.probe.x)[1]


def kernel_product(J: Jacobian) -> Product:
    """Return the function v -> J J^T v for v (n, c), a product with the tangent kernel without forming it."""
    return lambda v: apply(J, apply_adjoint(J, v))


def body_kernel_product(J: Jacobian) -> Product:
    """Return the function v -> B B^T v for v (n, d), B the Jacobian of all d features before the readout."""
    body, params, point = J.network.body, J.params, J.point

    def product(v: Array) -> Array:
        return join(jvp_params(body, params, point, vjp_params(body, params, point, split(v))), v.shape[1])

    return product


def representations(J: Jacobian) -> Representations:
    """Return the Gram matrices of features, branches, halves and output at the point of a Jacobian."""
    features, branches, halves = [], [], []
    y = J.point.input
    points = points_forward(J.network.body.layers, J.params, J.point)
    for layer, params, point in zip(J.network.body.layers, J.params, points, strict=True):
        is_trained = not trees.is_empty(params)
        if is_trained and (factors := available(row_features, layer, point)):
            features.append(gram_rows(_beside(tuple(_by_sample(A, y) for A in factors))))
        if is_trained and available(moved_halves, layer) is not None:
            y, branch = _moved_and_branch(layer, params, y)
            branches.append(gram_rows(centered(branch)))
            halves.append(gram_rows(centered(_moved_part(layer, y))))
        else:
            y = forward(layer, params, y)
    output = join(J.point.output, 2 * J.point.output.first.shape[1])
    return Representations(tuple(features), tuple(branches), tuple(halves), gram_rows(centered(output)))


def label_alignment(K: Array, targets: Array) -> float:
    """Return y^T K y / (|K| |y|^2), with y the centered targets (n, c) as a vector.

    K (n c, n c) has the row order of `tangent_kernel`. The value is NaN if all samples have the same targets.
    """
    xp = array_namespace(K, targets)
    y = xp.reshape(targets - xp.mean(targets, axis=0), (-1,))
    along = xp.sum(y * (K @ y)) / (xp.sum(y * y) * xp.sqrt(xp.sum(K * K)))
    return float(along)


def _moved_and_branch(layer: Layer, params: Params, y: Halves) -> tuple[Halves, Array]:
    """Return the output of a layer, and its change of the half that it updates: A W for a coupling."""
    if isinstance(layer, Coupling):
        branch: Array = forward(layer.features, params, y[1 - layer.half])
        return moved(layer.half, y, branch), branch
    after: Halves = forward(layer, params, y)
    return after, _moved_part(layer, after) - _moved_part(layer, y)


def _moved_part(layer: Layer, y: Halves) -> Array:
    """Return the half of y that the layer's parameters change, or both halves side by side."""
    return _beside(tuple(y[half] for half in moved_halves(layer)))


def _by_sample(A: Array, y: Halves) -> Array:
    """Return features A (n P, m) at P positions of a sample as (n, P m)."""
    return array_namespace(A).reshape(A, (y.first.shape[0], -1))


def _beside(arrays: tuple[Array, ...]) -> Array:
    return arrays[0] if len(arrays) == 1 else array_namespace(*arrays).concat(arrays, axis=1)

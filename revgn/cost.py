"""Cost of a step, computed before the step is taken: operations, memory, and bytes read.

Each layer registers `layer_cost`, and each solver and optimizer registers `cost`, in its own file.
`revgn.training.estimate` converts these counts to seconds. Only the dominant matrix products are counted: a
product of (n, d/2) by (d/2, h) counts as n d h operations.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from revgn._dispatch import generic
from revgn.arrays import HOST, Limits


class LayerCost(NamedTuple):
    """Operations of a layer's maps for n samples, and the sizes of its arrays.

    All counts are for one weight matrix of the layer.

    `tangent` counts a jvp or vjp in the input, `params` a jvp or vjp in the parameters, and `gram` the
    product A A^T of the features A. The layer changes the half with number `half` by a weight (rows, width).
    `features` is the number of columns of A, or of its reduced form. `frozen` and `point` are the numbers of
    elements in frozen arrays and in a linearization. The weight is applied at `positions` positions of a
    sample. `is_projection` marks a trained projection; its forward, tangent and point are 0, since they are
    counted for the weight that follows it.
    """

    forward: float
    tangent: float
    params: float
    gram: float
    half: int
    rows: int
    width: int
    features: int
    frozen: int
    point: int
    positions: int = 1
    is_projection: bool = False


class Sizes(NamedTuple):
    """Sizes of a step: number of samples n, constrained outputs per sample, bytes per number, and layers.

    `curvature_rows` is the number of columns of the square root of the loss's curvature at each sample; None
    for identity curvature. With `own_rows`, the constrained outputs are combinations that differ between
    samples; together they span a space of dimension `span`. `starts_at_zero` is true if the initial weights
    W are so small that, after rounding, the first kernel has the same rank as for W = 0. `limits` are the
    limits of the array library.
    """

    samples: int
    outputs: int
    number: int
    layers: tuple[LayerCost, ...]
    curvature_rows: int | None = None
    own_rows: bool = False
    span: int | None = None
    starts_at_zero: bool = False
    limits: Limits = HOST

    @property
    def weights(self) -> int:
        """Number of trained weights."""
        return sum(layer.rows * layer.width for layer in self.layers)

    @property
    def forward(self) -> float:
        """Operations of a forward pass."""
        return sum(layer.forward for layer in self.layers)

    @property
    def jvp(self) -> float:
        """Operations of J D; a gradient J^T v takes the same number."""
        return sum(layer.params + layer.tangent for layer in self.layers) - self.tangents[0]

    @property
    def tangents(self) -> list[float]:
        """Operations of the maps of tangents and cotangents through each layer."""
        return [layer.tangent for layer in self.layers if not layer.is_projection]

    def pull_back(self, rows: int) -> float:
        """Operations to pull `rows` cotangents per sample back through the chain (`revgn.solvers.kernel`)."""
        last = self.tangents[-1] * (1.0 if self.own_rows or self.layers[-1].positions > 1 else 0.5)
        return rows * (sum(self.tangents[1:-1]) + last)

    def rank_bound(self, rows: int) -> int:
        """Upper bound on the rank of J with `rows` constrained outputs per sample, from the feature counts.

        Notes
        -----
        Law: a coupling adds at most min(n, features) times the dimension of its cotangents. They lie in the
        span of the readout and of the features that later couplings compute from the half it changes.
        """
        rank, spans = 0, [self.span or rows] * 2
        for layer in reversed(self.layers):
            rows = min(self.samples * layer.positions, layer.features)
            if layer.is_projection:  # slopes scale the cotangents
                rank += rows * layer.width
                continue
            rank += rows * min(layer.width, spans[layer.half])
            spans[1 - layer.half] += layer.features
        return rank

    def rank_at_zero(self, rows: int) -> int:
        """Largest rank of J at W = 0, where every cotangent lies in the span of the readout.

        Notes
        -----
        Law: the couplings that change one half add min(n, all their features) times the number of outputs. A
        trained projection adds nothing.
        """
        rank = 0
        for half in {layer.half for layer in self.layers}:
            layers = [layer for layer in self.layers if layer.half == half and not layer.is_projection]
            span = min(layers[0].width, self.span or rows)
            most = self.samples * max(layer.positions for layer in layers)
            rank += min(most, sum(layer.features for layer in layers)) * span
        return rank


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a step, or of a part of it.

    Parameters
    ----------
    work, memory : dict
        Operations and bytes of each part of the step. "factor" counts Cholesky factorizations, "eigenvectors"
        eigendecompositions, and every other part matrix products.
    read : float
        Bytes of large arrays that products with a vector read.
    order : int
        Order of the largest matrix that is factored.
    kernel : str or None
        Storage of a tangent kernel during its factorization: "dense" or "tiles".
    disk, moved : int, float
        Bytes stored on disk, and bytes moved to and from it.
    launches : float
        Number of kernel launches of a solver; each takes time on a GPU, however small the kernel is.
    solved : float
        Rows of the triangular solves, which are computed one after the other.
    notes : tuple of str
        Sentences about problems to expect.
    unknown : tuple of str
        Names of structs without a registered cost.
    """

    work: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    read: float = 0.0
    order: int = 0
    kernel: str | None = None
    disk: int = 0
    moved: float = 0.0
    launches: float = 0.0
    solved: float = 0.0
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            _sums(self.work, other.work),
            _sums(self.memory, other.memory),
            self.read + other.read,
            max(self.order, other.order),
            self.kernel or other.kernel,
            self.disk + other.disk,
            self.moved + other.moved,
            self.launches + other.launches,
            self.solved + other.solved,
            tuple(dict.fromkeys((*self.notes, *other.notes))),
            self.unknown + other.unknown,
        )

    def or_else(self, other: "Cost") -> "Cost":
        """Return the cost of the more expensive of two alternatives, with the memory of both."""
        both, larger = self + other, max(self, other, key=lambda each: sum(each.work.values()))
        return replace(larger, memory=both.memory, notes=both.notes, unknown=both.unknown)


@generic
def layer_cost(layer: Any, n: int) -> LayerCost | tuple[LayerCost, ...]:  # type: ignore[empty-body]
    """Return the costs of the maps of a layer, or of a feature map, for n samples.

    A layer with several weight matrices, or none, returns a tuple with the cost of each.
    """


def layer_costs(layer: Any, n: int) -> tuple[LayerCost, ...]:
    """Return the costs of the weight matrices of a layer, or of a feature map, as a tuple."""
    found = layer_cost(layer, n)
    return (found,) if isinstance(found, LayerCost) else found


@generic
def cost(part: Any, sizes: Sizes) -> Cost:  # type: ignore[empty-body]
    """Return the cost that a solver or an optimizer adds to the forward pass of a step.

    An optimizer counts its gradient. Under "weights and steps", it counts the arrays of the size of the
    weights that it stores in addition to the parameters and the step. The result for a struct without an
    implementation holds its name in `unknown`.
    """


@cost.register(object)
def cost_unknown(part: Any, sizes: Sizes) -> Cost:
    return Cost(unknown=(type(part).__name__,))


def cost_of_gradient(sizes: Sizes, copies: int) -> Cost:
    """Return the cost of a gradient and of an optimizer's `copies` of the weights."""
    return Cost({"gradient": sizes.jvp}, {"weights and steps": copies * sizes.weights * sizes.number})


def _sums(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *second)}

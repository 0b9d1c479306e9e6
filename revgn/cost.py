"""The cost of a step, counted before it is taken: operations, bytes held, bytes read.

Each layer registers `layer_cost`, each solver and optimizer `cost`, in its own file, and
`revgn.training.estimate` turns the counts into seconds. The work is that of the dominant matrix products: a
product of (n, d/2) by (d/2, h) is n d h operations.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from revgn._dispatch import generic
from revgn.arrays import HOST, Limits


class LayerCost(NamedTuple):
    """Operations of a layer's maps for n samples, and the sizes of its arrays.

    `tangent` is the work of a jvp or vjp in the input, `params` that of one in the parameters, `gram` that of
    A A^T. The layer moves `half` by a weight (rows, width); `features` is the number of columns of A,
    or of its reduced form. `frozen` and `point` are the numbers in frozen arrays and in a linearization.
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


class Sizes(NamedTuple):
    """The sizes of a step: samples n, constrained outputs of each, bytes of a number, and the layers.

    `curvature_rows` is the number of columns of the loss's curvature root at each sample, None for the
    identity. With `own_rows` the constrained outputs are combinations that differ by sample, which together
    span a space of dimension `span`. `starts_at_zero` tells whether rounding hides the initial weights, so
    that the first kernel has the rank that W = 0 gives. `limits` are those of the library.
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
        """Trained weights."""
        return sum(layer.rows * layer.width for layer in self.layers)

    @property
    def forward(self) -> float:
        """Work of a forward pass."""
        return sum(layer.forward for layer in self.layers)

    @property
    def jvp(self) -> float:
        """Work of J D, which is also that of J^T v: a gradient."""
        return sum(layer.params + layer.tangent for layer in self.layers) - self.layers[0].tangent

    def pull_back(self, rows: int) -> float:
        """Work of pulling `rows` cotangents a sample back through the chain; see `revgn.solvers.kernel`."""
        inner = sum(layer.tangent for layer in self.layers[1:-1])
        return rows * (inner + self.layers[-1].tangent * (1.0 if self.own_rows else 0.5))

    def rank_bound(self, rows: int) -> int:
        """Largest rank of J with `rows` constrained outputs a sample, by the counts of features alone.

        Notes
        -----
        Law: a coupling adds min(n, features) times the dimension of its cotangents. These lie in the span of
        the readout and of the features, of the half at hand, that the couplings behind it have.
        """
        rank, spans = 0, [self.span or rows] * 2
        for layer in reversed(self.layers):
            rank += min(self.samples, layer.features) * min(layer.width, spans[layer.half])
            spans[1 - layer.half] += layer.features
        return rank

    def rank_at_zero(self, rows: int) -> int:
        """Largest rank of J at W = 0, where every cotangent lies in the span of the readout.

        Notes
        -----
        Law: the couplings that move a half add min(n, all their features) times the number of outputs.
        """
        rank = 0
        for half in {layer.half for layer in self.layers}:
            layers = [layer for layer in self.layers if layer.half == half]
            span = min(layers[0].width, self.span or rows)
            rank += min(self.samples, sum(layer.features for layer in layers)) * span
        return rank


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of a step or a part of it.

    `work` are operations and `memory` bytes, both by part: "factor" is work of Cholesky factorizations,
    "eigenvectors" of eigendecompositions, all others of matrix products. `order` is that of the largest
    matrix factored, `read` are bytes of large arrays in products with a vector, `disk` and `moved` bytes on
    disk and to and from it. `launches` are the operations that a solver starts, which take time on a GPU
    however small they are, and `solved` the rows of its triangular solves, which wait for each other.
    `kernel` says how a tangent kernel is factored: "dense" or "tiles". `notes` are sentences on what will go
    wrong, `unknown` the names of structs without a cost.
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
        """Return the cost of one of the two at a time, with the memory of both."""
        both, larger = self + other, max(self, other, key=lambda each: sum(each.work.values()))
        return replace(larger, memory=both.memory, notes=both.notes, unknown=both.unknown)


@generic
def layer_cost(layer: Any, n: int) -> LayerCost:  # type: ignore[empty-body]
    """Counts of the maps of a layer, or of a feature map, for n samples."""


@generic
def cost(part: Any, sizes: Sizes) -> Cost:  # type: ignore[empty-body]
    """Counts of what a solver or an optimizer adds to a step beyond its forward pass.

    An optimizer counts its gradient and, as "weights and steps", the copies of the weights beyond parameters
    and step. One without an implementation is named in `unknown`.
    """


@cost.register(object)
def cost_unknown(part: Any, sizes: Sizes) -> Cost:
    return Cost(unknown=(type(part).__name__,))


def cost_of_gradient(sizes: Sizes, copies: int) -> Cost:
    """Cost of a gradient and of an optimizer's own copies of the weights."""
    return Cost({"gradient": sizes.jvp}, {"weights and steps": copies * sizes.weights * sizes.number})


def _sums(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *second)}

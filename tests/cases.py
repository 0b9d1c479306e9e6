"""Test cases: each layer, network, loss and solver, with the sizes that matter.

Each law is tested for every case, backend and dtype. An entry here adds a new layer to the tests of all laws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from own_layer import Scaling

from revgn.arrays import Grid
from revgn.layers import Coupling, Squeeze, draw_convolution, draw_coupling, draw_readout
from revgn.losses import CrossEntropy, SquaredError
from revgn.maps import Halves, init
from revgn.networks import Architecture, Convolutional, draw_network
from revgn.solvers import BlockWise, Jacobian, MinimumNorm, jacobian
from revgn.trees import map_leaves

# --- layers -----------------------------------------------------------------------------------------

SIZES = {  # samples n, half width d/2, hidden features h
    "n=1": (1, 3, 8),
    "n<h": (5, 3, 16),
    "n=h": (8, 4, 8),
    "n=h+1": (9, 4, 8),
    "n>h+1": (14, 4, 6),
    "d=2": (2, 1, 8),
    "d=2,n>2": (4, 1, 8),  # relu of one number has rank 2 at most; smooth ones are nearly singular
    "n<d/2": (3, 5, 16),
}


def normal_rows(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    return rng.standard_normal((n, width))


def repeated_rows(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    return rng.standard_normal((n, width))[np.arange(n) // 2]


def low_rank_rows(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    return rng.standard_normal((n, 2)) @ rng.standard_normal((2, width))


def zero_rows(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    return np.zeros((n, width))


IMAGES = {  # height, width, channels of a half, size of a neighbourhood
    "3x4": (3, 4, 2, 3),
    "pixel": (1, 1, 3, 3),
    "one-channel": (4, 4, 1, 3),
    "line": (1, 5, 2, 5),
    "1x1": (2, 3, 2, 1),
    "dense": (1, 1, 3, 1),
}


@dataclass(frozen=True)
class ConvolutionCase:
    """A convolution, alone or in a coupling, with images of some size; h features of a pixel, n samples."""

    projection: str
    image: str = "3x4"
    n: int = 5
    hidden: int = 7
    activation: str = "tanh"
    half: int | None = 0  # None: the feature map alone
    rows: Callable[[np.random.Generator, int, int], np.ndarray] = normal_rows

    @property
    def name(self) -> str:
        parts = (self.projection, self.activation, self.half, self.image, f"n={self.n}", f"h={self.hidden}")
        return "-".join(map(str, parts)) + ("" if self.rows is normal_rows else f"-{self.rows.__name__}")

    def build(self, library: Any, dtype: str) -> tuple[Any, Any, Halves]:
        """Layer, parameters large enough to matter (biases too), input."""
        rng, grid = np.random.default_rng(7), Grid(*IMAGES[self.image])
        features = draw_convolution(
            grid, self.hidden, rng, activation=self.activation, projection=self.projection,
            backend=library.backend, dtype=library.dtype(dtype),
        )  # fmt: skip
        layer = features if self.half is None else Coupling(self.half, features)
        params = redraw(init(layer, rng, 1.0), library, dtype, rng, 0.3)
        x = Halves(*(library.asarray(self.rows(rng, self.n, grid.size), dtype) for _ in range(2)))
        return layer, params, x.first if self.half is None else x


CONVOLUTIONS = [
    *(ConvolutionCase(how, half=half) for how in ("frozen", "trained") for half in (0, 1)),
    *(ConvolutionCase(how, hidden=30, half=None) for how in ("frozen", "trained")),  # wide; the map alone
    *(ConvolutionCase("trained", image) for image in IMAGES if image != "3x4"),
    *(ConvolutionCase("frozen", "pixel", hidden=hidden) for hidden in (7, 30)),  # h above n: rank n
    ConvolutionCase("trained", n=1, activation="gelu"),
    ConvolutionCase("trained", activation="relu", rows=repeated_rows),
    ConvolutionCase("frozen", activation="identity", rows=repeated_rows),
    ConvolutionCase("trained", "dense", n=9, rows=low_rank_rows),
    ConvolutionCase("frozen", "1x1", rows=zero_rows),
]


@dataclass(frozen=True)
class LayerCase:
    """A layer of some kind with inputs of some kind."""

    kind: str  # "relu", "tanh", .., "linear" (couplings), "features-..", "readout", "scaling", "squeeze"
    half: int
    size: str
    rows: Callable[[np.random.Generator, int, int], np.ndarray] = normal_rows

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.half}-{self.size}" + (
            "" if self.rows is normal_rows else f"-{self.rows.__name__}"
        )

    def build(self, library: Any, dtype: str) -> tuple[Any, Any, Halves]:
        """Layer, parameters large enough to matter (biases too), input."""
        n, width, hidden = SIZES[self.size]
        rng, backend, kind = np.random.default_rng(7), library.backend, library.dtype(dtype)
        if self.kind == "readout":
            layer = draw_readout(width, min(3, 2 * width), rng, backend=backend, dtype=kind)
        elif self.kind == "squeeze":
            layer = Squeeze(Grid(4, 6, 2), 2)
            width = layer.grid.size
        elif self.kind == "scaling":
            layer = Scaling(width)
        else:
            activation = self.kind.removeprefix("features-")
            layer = draw_coupling(
                self.half, width, hidden, rng, activation=activation, backend=backend, dtype=kind
            )
        layer = layer.features if self.kind.startswith("features-") else layer
        params = redraw(init(layer, rng, 1.0), library, dtype, rng, 0.3)
        x = Halves(*(library.asarray(self.rows(rng, n, width), dtype) for _ in range(2)))
        return layer, params, x.first if self.kind.startswith("features-") else x


def redraw(params: Any, library: Any, dtype: str, rng: np.random.Generator, scale: float) -> Any:
    """Parameters N(0, scale^2), biases as well, on the backend under test."""
    return map_leaves(lambda w: library.asarray(scale * rng.standard_normal(w.shape), dtype), params)


LAYERS = [
    *(LayerCase(kind, half, "n<h") for kind in ("relu", "tanh", "gelu", "identity") for half in (0, 1)),
    *(LayerCase("linear", half, "n<h") for half in (0, 1)),
    *(LayerCase("relu", 0, size) for size in SIZES if size != "n<h"),
    *(LayerCase("tanh", 1, size) for size in ("n=h+1", "n>h+1", "d=2")),
    *(LayerCase("linear", 1, size) for size in SIZES if size != "n<h"),
    LayerCase("identity", 0, "n>h+1"),
    LayerCase("relu", 0, "n<h", repeated_rows),
    LayerCase("relu", 1, "n>h+1", repeated_rows),
    LayerCase("identity", 1, "n<h", low_rank_rows),
    LayerCase("linear", 0, "n<h", low_rank_rows),
    LayerCase("linear", 0, "n>h+1", repeated_rows),
    LayerCase("tanh", 0, "n<h", zero_rows),
    LayerCase("readout", 0, "n<h"),
    LayerCase("readout", 0, "d=2"),
    *(LayerCase(f"features-{kind}", 0, size) for kind in ("relu", "linear") for size in ("n<h", "n>h+1")),
    *(LayerCase("scaling", 0, size) for size in ("n=1", "n<h", "d=2")),
    LayerCase("scaling", 0, "n<h", repeated_rows),
    *CONVOLUTIONS,
    LayerCase("squeeze", 0, "n<h"),
]

TRAINED = (  # maps of a layer's own parameters
    *("weight_forms", "to_matrices", "from_matrices", "row_features", "with_features", "row_cotangents"),
    *("moved_halves", "rank_bound", "factor_params", "solve_params"),
    *("begin_factor_params", "begin_solve_params"),
)
FEATURE_MAPS = ("RandomFeatures", "LinearFeatures", "FrozenConvolution", "TrainedConvolution")
HOLES = {  # maps that a struct does not have, with the reason
    **{
        (struct, name): "fewer outputs than inputs, or nothing to invert: see `lift` and `Network.body`"
        for struct in ("Readout", "Network", *FEATURE_MAPS)
        for name in ("inverse", "linearize_inverse", "jvp_inverse")
    },
    **{(struct, "moved_halves"): "its coupling has it" for struct in FEATURE_MAPS},
    **{
        (struct, name): "nothing is trained"
        for struct in ("Readout", "Squeeze")
        for name in ("jvp_params", "vjp_params", *TRAINED, "positions", "solved")
    },
    **{(struct, "positions"): "one" for struct in ("RandomFeatures", "LinearFeatures", "Chain", "Network")},
    **{
        (struct, name): "computed from other maps"
        for struct in ("RandomFeatures", "LinearFeatures", "Readout", "Squeeze", "Chain", "Network")
        for name in ("jvp", "vjp", "vjp_rows")
    },
    **{("FrozenConvolution", name): "computed from other maps" for name in ("vjp", "vjp_rows")},
    **{
        (struct, "solved"): "all parameters"
        for struct in ("RandomFeatures", "LinearFeatures", "FrozenConvolution", "Chain", "Network")
    },
    **{(struct, name): "its layers have it" for struct in ("Chain", "Network") for name in TRAINED},
}

# --- networks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkCase:
    """A network, its sizes, and how large its weights are."""

    name: str
    architecture: Architecture
    features: int = 8
    outputs: int = 3
    samples: int = 6
    rows: Callable[[np.random.Generator, int, int], np.ndarray] = normal_rows
    scale: float = 0.2
    width: int | None = None  # of a half, if the inputs are padded

    def build(self, library: Any, dtype: str) -> tuple[Any, Any, Any]:
        """Network, parameters, input x (n, d)."""
        rng = np.random.default_rng(11)
        net = draw_network(
            self.architecture,
            self.features,
            self.outputs,
            rng,
            width=self.width,
            backend=library.backend,
            dtype=library.dtype(dtype),
        )
        params = redraw(init(net, rng, 1.0), library, dtype, rng, self.scale)
        return net, params, library.asarray(self.rows(rng, self.samples, self.features), dtype)

    def jacobian(self, library: Any, dtype: str = "float64") -> tuple[Jacobian, Any]:
        """J at the point of the case, and a random output step eps (n, c)."""
        z, J = jacobian(*self.build(library, dtype))
        return J, library.asarray(np.random.default_rng(12).standard_normal(z.shape), dtype)


NETWORKS = [
    NetworkCase(f"{activation}-{first}-{activations}", Architecture(2, 16, activation, first, activations))
    for activation, first in (("relu", "same"), ("relu", "identity"), ("gelu", "identity"), ("tanh", "same"))
    for activations in ("keep", "rebuild")
] + [
    NetworkCase("one-block", Architecture(1, 12, "tanh")),
    NetworkCase("padded", Architecture(2, 16, "tanh"), features=3, outputs=5, width=4),
    NetworkCase("odd-d", Architecture(2, 16, "relu", "identity"), features=7),
    NetworkCase("d=2", Architecture(2, 12, "tanh"), features=2, outputs=2),
    NetworkCase("d=1", Architecture(1, 12, "tanh"), features=1, outputs=1),
    NetworkCase("n=1", Architecture(3, 8, "relu", "identity"), samples=1),
    NetworkCase("identity-everywhere", Architecture(2, 10, "identity"), samples=4),
    NetworkCase("n>h", Architecture(2, 5, "tanh"), samples=9, outputs=2),
]

DEFICIENT = [  # the Jacobian or a block's features lack rank
    NetworkCase("first-block-short", Architecture(2, 24, "relu", "identity"), samples=9),
    NetworkCase("repeated-rows", Architecture(2, 16, "tanh"), rows=repeated_rows),
    NetworkCase("fewer-weights-than-outputs", Architecture(1, 2, "tanh"), features=4, samples=12, outputs=4),
]


def network_case(name: str) -> NetworkCase:
    return next(case for case in [*NETWORKS, *DEFICIENT] if case.name == name)


@dataclass(frozen=True)
class ConvolutionalCase:
    """A convolutional network, the shape of its images, and how large its weights are."""

    name: str
    architecture: Convolutional
    shape: tuple[int, int, int] = (1, 6, 5)
    outputs: int = 3
    samples: int = 3
    scale: float = 0.3

    def build(self, library: Any, dtype: str) -> tuple[Any, Any, Any]:
        """Network, parameters, input x (n, c H W)."""
        rng = np.random.default_rng(11)
        kind = {"backend": library.backend, "dtype": library.dtype(dtype)}
        net = draw_network(self.architecture, self.shape, self.outputs, rng, **kind)
        params = redraw(init(net, rng, 1.0), library, dtype, rng, self.scale)
        x = rng.standard_normal((self.samples, int(np.prod(self.shape))))
        return net, params, library.asarray(x, dtype)


def small(**settings: Any) -> Convolutional:
    """Two stages of one block, of images with four and 16 channels."""
    own = {"channels": 4, "blocks": (1, 1), "hidden": (3, 4), "activation": "tanh"}
    return Convolutional(**{**own, **settings})


CONVOLUTIONAL = [
    ConvolutionalCase("trained", small()),
    ConvolutionalCase("frozen", small(projection="frozen", hidden=(6, 7))),
    ConvolutionalCase("rebuild", small(activations="rebuild"), samples=2),
    ConvolutionalCase("dense-readout", small(readout="dense", activation="gelu", kernel=1)),
    ConvolutionalCase("one-pixel", small(blocks=(1,), hidden=(4,)), shape=(1, 2, 2), outputs=4, samples=4),
    ConvolutionalCase("no-squeeze", small(channels=2, squeeze=1, blocks=(1,), hidden=(3,)), (2, 3, 4), 2, 1),
]


# --- losses -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossCase:
    """A loss with outputs and targets."""

    name: str
    loss: Any
    samples: int = 5
    classes: int = 4
    one_hot: bool = True
    size: float = 1.0

    def build(self, library: Any, dtype: str) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(13)
        z = self.size * rng.standard_normal((self.samples, self.classes))
        t = np.eye(self.classes)[rng.integers(self.classes, size=self.samples)]
        if not self.one_hot:
            t = rng.dirichlet(np.ones(self.classes), size=self.samples)
        return self.loss, library.asarray(z, dtype), library.asarray(t, dtype)


LOSSES = [
    LossCase("squared-error", SquaredError()),
    LossCase("squared-error-n=1", SquaredError(), samples=1),
    LossCase("squared-error-one-output", SquaredError(), classes=1),
    LossCase("cross-entropy", CrossEntropy()),
    LossCase("cross-entropy-n=1", CrossEntropy(), samples=1),
    LossCase("cross-entropy-one-class", CrossEntropy(), classes=1),
    LossCase("cross-entropy-soft", CrossEntropy(), one_hot=False),
    LossCase("cross-entropy-confident", CrossEntropy(), size=10.0),
]

# --- solvers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SolverCase:
    """A solver; `block_weights` are those that it takes."""

    name: str
    solver: Any
    block_weights: tuple[float, ...] = ()


EXACT_SOLVERS = [  # generalized inverses: J G J = J where features have full rank
    SolverCase("uniform", BlockWise(block_weights="uniform"), (0.5, 0.5)),
    SolverCase("last", BlockWise(block_weights="last"), (0.0, 1.0)),
    SolverCase("full-rank", BlockWise(block_weights="full-rank"), (0.5, 0.5)),
    SolverCase("explicit", BlockWise(block_weights=(0.25, 0.75)), (0.25, 0.75)),
    SolverCase("first", BlockWise(block_weights="first"), (1.0, 0.0)),
    SolverCase("minimum-norm", MinimumNorm()),
]

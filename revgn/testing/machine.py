"""All laws on this machine, a first test for a new GPU; `revgn check --math` prints the results."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from revgn.arrays import Array, Backend, Grid, cholesky, to_host
from revgn.errors import UsageError
from revgn.layers import ACTIVATIONS, Activation, Coupling, draw_convolution, draw_coupling, draw_readout
from revgn.losses import CrossEntropy, SquaredError
from revgn.maps import Halves, Layer, init
from revgn.networks import Architecture, Convolutional, draw_network
from revgn.solvers import (
    BlockWise,
    ConjugateGradients,
    MinimumNorm,
    Solver,
    apply,
    apply_adjoint,
    jacobian,
    solve,
    tangent_kernel,
)
from revgn.testing.compare import assert_close, draw_like, measuring, relative_error, tolerance
from revgn.testing.layer import LAWS, laws_of
from revgn.testing.loss import check_loss
from revgn.testing.solver import check_generalized_inverse, check_reported_rho

_SIZES = ((6, 5, 32), (40, 12, 24), (64, 32, 96))  # samples n, half width d/2, features h
_NETWORK = (48, 32, 4)  # samples n, inputs d, outputs c
_IMAGE = (2, 4, 4)  # channels, height and width of d inputs
_CONVOLUTIONAL = Convolutional(channels=8, blocks=(1, 1), hidden=(8, 16), activation="tanh")


KINDS: tuple[Activation | Literal["linear"], ...] = (*ACTIVATIONS, "linear")
Precision = Literal["float32", "float64"]


class Measured(NamedTuple):
    """Result for one law of a layer, network, loss or solver: its largest error, and the tolerance.

    `fault` describes the first check that failed; "" if the law holds.
    """

    subject: str
    law: str
    dtype: str
    error: float
    limit: float
    fault: str

    @property
    def holds(self) -> bool:
        """Whether the law holds."""
        return not self.fault


def check_machine(backend: Backend, dtype: Precision, *, seed: int = 0) -> Iterator[Measured]:
    """Check each law on random layers, networks, losses and solvers, and yield the results.

    Notes
    -----
    Laws: `LAWS`; J G J = J and the reported rho of each solver; Theta = J J^T; conjugate gradients and the
    dense solver give the same step; the Cholesky factorization of an indefinite matrix reports failure.
    """
    if seed < 0:
        raise UsageError(f"seed: {seed} is not at least 0")
    kind: Any = getattr(backend.xp, dtype)
    for subject, law, check in _checks(backend, kind, seed):
        fault = ""
        with measuring() as found:
            try:
                check()
            except AssertionError as error:
                fault = " ".join(str(error).split())
        worst = max(found, key=lambda pair: pair[0] / pair[1] if pair[1] else pair[0], default=(0.0, 0.0))
        yield Measured(subject, law, dtype, *worst, fault)


def _checks(backend: Backend, dtype: Any, seed: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    yield from _of_layers(backend, dtype, seed)
    yield from _of_networks(backend, dtype, seed)
    rng = np.random.default_rng(seed)
    z = backend.asarray(rng.standard_normal((20, 6)), dtype=dtype)
    t = backend.asarray(np.eye(6)[rng.integers(6, size=20)], dtype=dtype)
    for loss in (SquaredError(), CrossEntropy()):
        yield type(loss).__name__, "gradient", partial(check_loss, loss, z, t, seed=seed)
    yield from _of_solvers(backend, dtype, seed)
    yield "Cholesky", "failure is reported", partial(_check_cholesky, backend, dtype)


def _of_layers(backend: Backend, dtype: Any, seed: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    for n, width, hidden in _SIZES:
        for half in (0, 1):
            rng = np.random.default_rng([seed, n, half])
            layers: dict[str, Layer] = {
                activation: draw_coupling(
                    half, width, hidden, rng, activation=activation, backend=backend, dtype=dtype
                )
                for activation in KINDS
            }
            if half == 0:
                layers["readout"] = draw_readout(width, min(4, 2 * width), rng, backend=backend, dtype=dtype)
            for projection in ("frozen", "trained") if width % 6 == 0 else ():
                features = draw_convolution(
                    Grid(2, 3, width // 6, 3), hidden, rng,
                    activation="tanh", projection=projection, backend=backend, dtype=dtype,
                )  # fmt: skip
                layers[f"convolution, {projection} projection"] = Coupling(half, features)
            for name, layer in layers.items():
                params = draw_like(rng, init(layer, rng, 1.0), 0.3)
                x = Halves(*(backend.asarray(rng.standard_normal((n, width)), dtype=dtype) for _ in range(2)))
                for law in laws_of(type(layer)):
                    if (name, law) == ("relu", "tangent"):  # finite differences would cross kinks
                        continue
                    subject = f"{name}, half {half}, n {n}, d {2 * width}, h {hidden}"
                    yield subject, law, partial(_check, law, layer, params, x, "map", seed)


def _of_networks(backend: Backend, dtype: Any, seed: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    n, d, c = _NETWORK
    for activations in ("keep", "rebuild"):
        rng = np.random.default_rng([seed, 1])
        shapes: tuple[tuple[str, Any, Any], ...] = (
            ("network", Architecture(3, 64, "tanh", activations=activations), d),
            ("convolutional network", replace(_CONVOLUTIONAL, activations=activations), _IMAGE),
        )
        for name, shape, features in shapes:
            network = draw_network(shape, features, c, rng, backend=backend, dtype=dtype)
            params = draw_like(rng, init(network, rng, 1.0), 0.1)
            x = backend.asarray(rng.standard_normal((n, d)), dtype=dtype)
            for law in laws_of(type(network)):
                subject = f"{name}, {activations}"
                yield subject, law, partial(_check, law, network, params, x, "chain", seed)


def _of_solvers(backend: Backend, dtype: Any, seed: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    n, d, c = _NETWORK
    rng = np.random.default_rng([seed, 2])
    network = draw_network(Architecture(3, 192, "tanh"), d, c, rng, backend=backend, dtype=dtype)
    params = draw_like(rng, init(network, rng, 1.0), 0.02)
    x = backend.asarray(rng.standard_normal((n, d)), dtype=dtype)
    z, J = jacobian(network, params, x)
    eps = backend.asarray(rng.standard_normal(z.shape), dtype=dtype)
    cg = ConjugateGradients(0.1, tolerance=tolerance(dtype, "solve") / 100, max_iterations=2000)
    solvers: list[tuple[str, Solver]] = [
        ("block step, full-rank", BlockWise("full-rank")),
        ("block step, last", BlockWise("last")),
        ("minimum norm", MinimumNorm()),
    ]
    for name, solver in solvers:
        yield name, "J G J = J", partial(check_generalized_inverse, solver, J, seed=seed)
        yield name, "reported rho", partial(check_reported_rho, solver, J, eps)
    yield "conjugate gradients", "reported rho", partial(check_reported_rho, cg, J, eps)

    def same_step() -> None:
        dense, _ = solve(MinimumNorm(damping=0.1), J, eps)
        free, _ = solve(cg, J, eps)
        assert_close("D by conjugate gradients = D by the kernel", free, dense, tolerance(dtype, "solve"))

    yield "conjugate gradients", "the dense step", same_step
    yield "tangent kernel", "Theta v = J J^T v", partial(_check_kernel, J, eps)


def _check(law: str, layer: Any, params: Any, x: Any, kind: Any, seed: int) -> None:
    of = LAWS[law]
    of.check(layer, params, x, kind=kind if of.kind == "map" else of.kind, seed=seed)


def _check_kernel(J: Any, eps: Array) -> None:
    K, v = to_host(tangent_kernel(J)), to_host(eps)
    product = (K @ v.reshape(-1)).reshape(v.shape)
    direct = to_host(apply(J, apply_adjoint(J, eps)))
    assert_close("Theta v = J J^T v", product, direct, tolerance(eps.dtype, "chain"))


def _check_cholesky(backend: Backend, dtype: Any) -> None:
    K = np.eye(64)
    K[40, 40] = -1.0
    if cholesky(backend.asarray(K, dtype=dtype)) is not None:
        raise AssertionError("Cholesky: a matrix that is not positive definite got a factor")
    K[40, 40] = 1.0
    L = cholesky(backend.asarray(4.0 * K, dtype=dtype))
    if L is None or relative_error(L, 2.0 * K) > tolerance(dtype, "map"):
        raise AssertionError("Cholesky: 4 I did not get the factor 2 I")

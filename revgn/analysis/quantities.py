"""Quantities for the analysis of a network during training: a registry of functions of a `Moment`.

The name of a function is the name of its series in run.h5. The first line of its docstring is the description
of the series in run.h5, in the report and in the reference.

Most quantities compare the network with its initialization; the others describe the next steps. In the lazy
regime (Chizat, Oyallon and Bach 2019) the loss falls while kernel and features hardly change. For a coupling
y_i = x_i + A W, the features A and the branch A W are compared in addition to the changed half y_i and the
output. The changed half and the output contain the input, which alone makes them similar to initialization.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from revgn import trees
from revgn._dispatch import available
from revgn.analysis import alignment, steps
from revgn.analysis.probe import Ahead, Moment, body_kernel_product, kernel_product, label_alignment
from revgn.analysis.spectrum import Estimate, estimate_alignment, estimate_alignment_along, estimate_change
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError
from revgn.losses import gradient, output_step
from revgn.maps import Params
from revgn.networks import ChainParams, join
from revgn.solvers import Jacobian, apply_adjoint, jacobian, tangent_kernel

Value: TypeAlias = float | Estimate | Sequence[float]
Function: TypeAlias = Callable[[Moment], Value | None]

_VECTORS = 8  # number of vectors v in kernel_similarity_probed
_SOLVED_ROWS = 256  # largest number of rows of a batch for which a kernel is formed and factored


class Quantity(NamedTuple):
    """A measured quantity and its series.

    A name NAME_K denotes one series for each coupling: NAME_0, NAME_1 and so on. `function` returns None if
    the quantity is not available, as for some quantities of an estimated kernel. It is also not available if
    a layer lacks a map that it needs. If `has_error` is true, the standard error of an estimate is the series
    NAME_error. If `looks_ahead` is true, the quantity needs the next two steps.
    """

    name: str
    meaning: str
    unit: str
    function: Function
    has_error: bool
    looks_ahead: bool

    @property
    def by_coupling(self) -> bool:
        """Whether there is one series for each coupling."""
        return self.name.endswith("_K")


QUANTITIES: list[Quantity] = []
"""All quantities, in the order of their series."""


def quantity(
    *, unit: str = "1", has_error: bool = False, looks_ahead: bool = False
) -> Callable[[Function], Function]:
    """Register a function of a moment under its name; the first line of its docstring is its description."""

    def register(function: Function) -> Function:
        first = (function.__doc__ or "").partition("\n")[0].rstrip(".")
        meaning = first[:1].lower() + first[1:]
        QUANTITIES.append(Quantity(function.__name__, meaning, unit, function, has_error, looks_ahead))
        return function

    return register


def measure(at: Moment) -> dict[str, float]:
    """Return all quantities at a moment, by the names of their series.

    Quantities of the next steps are included if the moment has next steps.

    Notes
    -----
    Law: the result depends only on the argument, since the random vectors are fixed. A resumed run therefore
    measures the same values.

    Cost: the tangent kernel of n samples and c outputs and its eigenvalues take a few (n c)^3 operations.
    Estimated kernels take three products with J and its adjoint for each random vector instead. In addition,
    there are 16 products with the body's Jacobian and its adjoint. The next steps take two gradients, a
    second kernel, and three solves.
    """
    found: dict[str, float] = {}
    for name, _, _, function, _, looks_ahead in QUANTITIES:
        value = None if looks_ahead and at.ahead is None else available(function, at)
        if isinstance(value, Estimate):
            found |= {name: value.value, f"{name}_error": value.error}
        elif isinstance(value, float):
            found[name] = value
        elif value is not None:
            found |= {f"{name[:-2]}_{k}": of_coupling for k, of_coupling in enumerate(value)}
    return found


@quantity(has_error=True)
def kernel_similarity(at: Moment) -> Value | None:
    """Cosine similarity between the tangent kernel and the tangent kernel at initialization."""
    if at.probe.kernel is not None:
        return alignment.kernel_alignment(at.kernel, at.probe.kernel)
    products = kernel_product(at.jacobian), kernel_product(at.initial_jacobian)
    return _estimated(at, estimate_alignment, *products, at.probe.targets)


@quantity(has_error=True)
def kernel_similarity_probed(at: Moment) -> Value:
    """Kernel of all features before the readout: similarity to initialization, from 8 random vectors.

    The paper compares this kernel. Its published code records <Theta_0 v, Theta v> / (|Theta_0 v| |Theta v|)
    for a single random vector v.
    """
    output = at.jacobian.point.output
    products = body_kernel_product(at.jacobian), body_kernel_product(at.initial_jacobian)
    like = join(output, 2 * output.first.shape[1])
    return estimate_alignment(*products, like, _VECTORS, _rng())


@quantity(has_error=True)
def kernel_alignment(at: Moment) -> Value | None:
    """Alignment of the tangent kernel with the targets."""
    targets = at.probe.targets
    if at.probe.kernel is not None:
        return label_alignment(at.kernel, targets)
    y = targets - array_namespace(targets).mean(targets, axis=0)
    return _estimated(at, estimate_alignment_along, kernel_product(at.jacobian), y)


@quantity()
def kernel_effective_rank(at: Moment) -> Value | None:
    """Effective rank of the tangent kernel: exponential of the entropy of its spectrum."""
    return None if at.probe.kernel is None else at.spectrum.effective_rank


@quantity()
def kernel_condition(at: Moment) -> Value | None:
    """Condition number of the tangent kernel: largest over smallest eigenvalue."""
    return None if at.probe.kernel is None else at.spectrum.condition


@quantity(has_error=True, looks_ahead=True)
def kernel_rate(at: Moment) -> Value | None:
    """Relative change of the tangent kernel in the next step."""
    after = at.jacobian_at(_ahead(at).params[0])
    if at.probe.kernel is not None:
        return steps.kernel_change(at.kernel, tangent_kernel(after))
    products = kernel_product(at.jacobian), kernel_product(after)
    return _estimated(at, estimate_change, *products, at.probe.targets)


@quantity(looks_ahead=True)
def step_overlap(at: Moment) -> Value:
    """Cosine between the next step and the step after it."""
    one, two = _ahead(at).params
    return steps.cosine(trees.axpy(-1.0, one, at.params), trees.axpy(-1.0, two, one))


@quantity(looks_ahead=True)
def step_excess(at: Moment) -> Value:
    """Norm of the next step over the norm of the shortest step with the same effect J D on batch samples."""
    return steps.step_excess(_equation(at)[0], trees.axpy(-1.0, _ahead(at).params[0], at.params))


@quantity(looks_ahead=True)
def solvers_cosine(at: Moment) -> Value | None:
    """Cosine between the block step and the minimum-norm step on the next batch."""
    with suppress(ShapeError):  # the layers form no blocks
        return steps.solvers_cosine(*_equation(at))
    return None


@quantity(looks_ahead=True)
def gradient_noise(at: Moment) -> Value:
    """Gradient noise scale in samples, estimated from the next two batches."""
    loss, batches, _ = _ahead(at)

    def batch_gradient(batch: tuple[Array, Array]) -> ChainParams:
        outputs, J = jacobian(at.network, at.params, batch[0])
        return apply_adjoint(J, gradient(loss, outputs, batch[1]))

    return steps.gradient_noise(
        batch_gradient(batches[0]), batch_gradient(batches[1]), batches[0][0].shape[0]
    )


@quantity()
def features_cka(at: Moment) -> Value | None:
    """Unbiased CKA between the features A and their initialization, mean over couplings."""
    return _mean_cka(at.representations.features, at.probe.representations.features)


@quantity()
def branches_cka(at: Moment) -> Value | None:
    """Unbiased CKA between the branches A W and their initialization, mean over couplings."""
    return _mean_cka(at.representations.branches, at.probe.representations.branches)


@quantity()
def halves_cka(at: Moment) -> Value | None:
    """Unbiased CKA between the changed halves and their initialization, mean over couplings."""
    return _mean_cka(at.representations.halves, at.probe.representations.halves)


@quantity()
def output_cka(at: Moment) -> Value:
    """Unbiased CKA between the readout's input and its initialization."""
    return alignment.cka_of_kernels(at.representations.output, at.probe.representations.output)


@quantity()
def between_cka(at: Moment) -> Value | None:
    """Unbiased CKA between the branches A W of successive couplings, mean over pairs."""
    branches = at.representations.branches
    return _mean_cka(branches[1:], branches[:-1])


@quantity()
def weights_moved(at: Moment) -> Value:
    """Distance of the weights from initialization, relative to the norm of the initial weights."""
    return _moved(at.params, at.probe.params)


@quantity()
def weights_cosine(at: Moment) -> Value:
    """Cosine between the weights and their initialization."""
    return steps.cosine(at.params, at.probe.params)


@quantity()
def weights_norm_K(at: Moment) -> Value:  # noqa: N802
    """Norm of the weights of coupling K, counted from 0."""
    return [float(trees.norm(own)) for own, _ in _couplings(at)]


@quantity()
def weights_moved_K(at: Moment) -> Value:  # noqa: N802
    """Distance of coupling K's weights from initialization, relative to the norm of its initial weights."""
    return [_moved(own, before) for own, before in _couplings(at)]


@quantity()
def weights_cosine_K(at: Moment) -> Value:  # noqa: N802
    """Cosine between the weights of coupling K and their initialization."""
    return [steps.cosine(own, before) for own, before in _couplings(at)]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)  # the same vectors each time, so that values are comparable


def _ahead(at: Moment) -> Ahead:
    assert at.ahead is not None  # `measure` calls these quantities only with next steps
    return at.ahead


def _equation(at: Moment) -> tuple[Jacobian, Array]:
    """Return J and eps on the first rows of the next batch: as many as the probe has, at most 256."""
    loss, ((inputs, targets), _), _ = _ahead(at)
    rows = slice(0, min(at.probe.x.shape[0], _SOLVED_ROWS))
    outputs, J = jacobian(at.network, at.params, inputs[rows, :])
    return J, output_step(loss, outputs, targets[rows, :])


def _estimated(at: Moment, estimate: Callable[..., Estimate], *of: Any) -> Estimate | None:
    return estimate(*of, at.probe.probes, _rng()) if at.probe.probes else None


def _mean_cka(now: Sequence[Array], before: Sequence[Array]) -> float | None:
    if not now:
        return None
    return float(np.mean([alignment.cka_of_kernels(a, b) for a, b in zip(now, before, strict=True)]))


def _couplings(at: Moment) -> Iterator[tuple[Params, Params]]:
    """Yield current and initial weights of each layer that has weights."""
    pairs = zip(at.params, at.probe.params, strict=True)
    return (pair for pair in pairs if not trees.is_empty(pair[0]))


def _moved(params: Params, before: Params) -> float:
    """Return |W - W_0| / |W_0|, or NaN if W_0 is zero."""
    norm_before = float(trees.norm(before))
    return float(trees.norm(trees.axpy(-1.0, before, params))) / norm_before if norm_before else math.nan

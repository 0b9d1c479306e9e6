"""The quantities by which a network in training is analysed: one registry of functions of a `Moment`.

The name of a function is the name of its series in run.h5; the first line of its docstring is the meaning
there, in the report and in the reference. All but those of the next steps compare with initialization: in a
lazy regime (Chizat, Oyallon and Bach 2019) the loss falls, but kernel and features hardly move. Of a coupling
y_i = x_i + A W the features A and the branch A W are compared beside the changed half y_i and the output of
all, which carry the input along and are alike for that alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from revgn import trees
from revgn.analysis import alignment, steps
from revgn.analysis.probe import Ahead, Moment, body_kernel_product, kernel_product, label_alignment
from revgn.analysis.spectrum import Estimate, estimate_alignment, estimate_alignment_along, estimate_change
from revgn.arrays import Array, array_namespace
from revgn.losses import gradient, output_step
from revgn.maps import Params
from revgn.networks import ChainParams, join
from revgn.solvers import Jacobian, apply_adjoint, jacobian, tangent_kernel

Value: TypeAlias = float | Estimate | Sequence[float]
Function: TypeAlias = Callable[[Moment], Value | None]

_VECTORS = 8  # v of kernel_similarity_probed
_SOLVED_ROWS = 256  # at most, of a batch, whose kernel is formed and solved with


class Quantity(NamedTuple):
    """A measured quantity and its series; NAME_K stands for a series for each coupling, NAME_0 and so on.

    `function` returns None where the quantity is not measured, of kernels that are estimated. With
    `has_error` the standard error of an estimate is the series NAME_error; with `looks_ahead` it needs the
    next two steps.
    """

    name: str
    meaning: str
    unit: str
    function: Function
    has_error: bool
    looks_ahead: bool

    @property
    def by_coupling(self) -> bool:
        """Whether there is a series for each coupling."""
        return self.name.endswith("_K")


QUANTITIES: list[Quantity] = []
"""In the order of their series."""


def quantity(
    *, unit: str = "1", has_error: bool = False, looks_ahead: bool = False
) -> Callable[[Function], Function]:
    """Register a function of a moment under its own name, with the first line of its docstring as meaning."""

    def register(function: Function) -> Function:
        first = (function.__doc__ or "").partition("\n")[0].rstrip(".")
        meaning = first[:1].lower() + first[1:]
        QUANTITIES.append(Quantity(function.__name__, meaning, unit, function, has_error, looks_ahead))
        return function

    return register


def measure(at: Moment) -> dict[str, float]:
    """Return all quantities at a moment by the names of their series, those of the next steps if it has them.

    Notes
    -----
    Law: a function of its argument alone, random vectors included, so that a resumed run measures the same.

    Cost: the tangent kernel of n samples and c outputs and its eigenvalues, some (n c)^3 operations; or, of
    estimated kernels, three products with J and its adjoint for each random vector. 16 products with the
    body's Jacobian and its adjoint. Ahead: two gradients, a second kernel, and three solves on the batch.
    """
    found: dict[str, float] = {}
    for name, _, _, function, _, looks_ahead in QUANTITIES:
        value = None if looks_ahead and at.ahead is None else function(at)
        if isinstance(value, Estimate):
            found |= {name: value.value, f"{name}_error": value.error}
        elif isinstance(value, float):
            found[name] = value
        elif value is not None:
            found |= {f"{name[:-2]}_{k}": of_coupling for k, of_coupling in enumerate(value)}
    return found


@quantity(has_error=True)
def kernel_similarity(at: Moment) -> Value:
    """Cosine similarity of the tangent kernel to its initialization."""
    if at.probe.kernel is not None:
        return alignment.kernel_alignment(at.kernel, at.probe.kernel)
    products = kernel_product(at.jacobian), kernel_product(at.initial_jacobian)
    return estimate_alignment(*products, at.probe.targets, at.probe.probes, _rng())


@quantity(has_error=True)
def kernel_similarity_probed(at: Moment) -> Value:
    """The paper's measure: kernel_similarity of all features before the readout, by eight random vectors.

    <Theta_0 v, Theta v> / (|Theta_0 v| |Theta v|) of one v is what the published code records.
    """
    output = at.jacobian.point.output
    products = body_kernel_product(at.jacobian), body_kernel_product(at.initial_jacobian)
    like = join(output, 2 * output.first.shape[1])
    return estimate_alignment(*products, like, _VECTORS, _rng())


@quantity(has_error=True)
def kernel_alignment(at: Moment) -> Value:
    """Alignment of the tangent kernel with the targets."""
    targets = at.probe.targets
    if at.probe.kernel is not None:
        return label_alignment(at.kernel, targets)
    y = targets - array_namespace(targets).mean(targets, axis=0)
    return estimate_alignment_along(kernel_product(at.jacobian), y, at.probe.probes, _rng())


@quantity()
def kernel_effective_rank(at: Moment) -> Value | None:
    """Exponential of the entropy of the tangent kernel's spectrum."""
    return None if at.probe.kernel is None else at.spectrum.effective_rank


@quantity()
def kernel_condition(at: Moment) -> Value | None:
    """Largest over smallest eigenvalue of the tangent kernel."""
    return None if at.probe.kernel is None else at.spectrum.condition


@quantity(has_error=True, looks_ahead=True)
def kernel_rate(at: Moment) -> Value:
    """Relative change of the tangent kernel by the next step."""
    after = at.jacobian_at(_ahead(at).params[0])
    if at.probe.kernel is not None:
        return steps.kernel_change(at.kernel, tangent_kernel(after))
    products = kernel_product(at.jacobian), kernel_product(after)
    return estimate_change(*products, at.probe.targets, at.probe.probes, _rng())


@quantity(looks_ahead=True)
def step_overlap(at: Moment) -> Value:
    """Cosine between the next step and the step after it."""
    one, two = _ahead(at).params
    return steps.cosine(trees.axpy(-1.0, one, at.params), trees.axpy(-1.0, two, one))


@quantity(looks_ahead=True)
def step_excess(at: Moment) -> Value:
    """Norm of the next step over the norm of the minimum-norm step of the same effect."""
    return steps.step_excess(_equation(at)[0], trees.axpy(-1.0, _ahead(at).params[0], at.params))


@quantity(looks_ahead=True)
def solvers_cosine(at: Moment) -> Value:
    """Cosine between the block step and the minimum-norm step."""
    return steps.solvers_cosine(*_equation(at))


@quantity(looks_ahead=True)
def gradient_noise(at: Moment) -> Value:
    """Noise scale of the gradient, from the next two batches, in samples."""
    loss, batches, _ = _ahead(at)

    def batch_gradient(batch: tuple[Array, Array]) -> ChainParams:
        outputs, J = jacobian(at.network, at.params, batch[0])
        return apply_adjoint(J, gradient(loss, outputs, batch[1]))

    return steps.gradient_noise(
        batch_gradient(batches[0]), batch_gradient(batches[1]), batches[0][0].shape[0]
    )


@quantity()
def features_cka(at: Moment) -> Value:
    """Unbiased CKA of the features A with their initialization, mean over couplings."""
    return _mean_cka(at.representations.features, at.probe.representations.features)


@quantity()
def branches_cka(at: Moment) -> Value:
    """Unbiased CKA of the branches A W with their initialization, mean over couplings."""
    return _mean_cka(at.representations.branches, at.probe.representations.branches)


@quantity()
def halves_cka(at: Moment) -> Value:
    """Unbiased CKA of the changed halves with their initialization, mean over couplings."""
    return _mean_cka(at.representations.halves, at.probe.representations.halves)


@quantity()
def output_cka(at: Moment) -> Value:
    """Unbiased CKA of the readout's input with its initialization."""
    return alignment.cka_of_kernels(at.representations.output, at.probe.representations.output)


@quantity()
def between_cka(at: Moment) -> Value:
    """Unbiased CKA of the branches A W of successive couplings, their mean."""
    branches = at.representations.branches
    return _mean_cka(branches[1:], branches[:-1])


@quantity()
def weights_moved(at: Moment) -> Value:
    """Distance of the weights from their initialization, relative to its norm."""
    return _moved(at.params, at.probe.params)


@quantity()
def weights_cosine(at: Moment) -> Value:
    """Cosine between the weights and their initialization."""
    return steps.cosine(at.params, at.probe.params)


@quantity()
def weights_norm_K(at: Moment) -> Value:  # noqa: N802
    """Norm of the weights of coupling K, counted from 0."""
    return [float(trees.norm(own)) for own in at.params]


@quantity()
def weights_moved_K(at: Moment) -> Value:  # noqa: N802
    """Distance weights_moved of coupling K alone."""
    return [_moved(own, before) for own, before in zip(at.params, at.probe.params, strict=True)]


@quantity()
def weights_cosine_K(at: Moment) -> Value:  # noqa: N802
    """Cosine weights_cosine of coupling K alone."""
    return [steps.cosine(own, before) for own, before in zip(at.params, at.probe.params, strict=True)]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)  # the same vectors each time: a probe is compared with itself


def _ahead(at: Moment) -> Ahead:
    assert at.ahead is not None  # as `measure` sees to
    return at.ahead


def _equation(at: Moment) -> tuple[Jacobian, Array]:
    """J and eps on as many rows of the next batch as the probe has, at most 256."""
    loss, ((inputs, targets), _), _ = _ahead(at)
    rows = slice(0, min(at.probe.x.shape[0], _SOLVED_ROWS))
    outputs, J = jacobian(at.network, at.params, inputs[rows, :])
    return J, output_step(loss, outputs, targets[rows, :])


def _mean_cka(now: Sequence[Array], before: Sequence[Array]) -> float:
    return float(np.mean([alignment.cka_of_kernels(a, b) for a, b in zip(now, before, strict=True)]))


def _moved(params: Params, before: Params) -> float:
    """Return |W - W_0| / |W_0|, NaN where W_0 is zero."""
    norm_before = float(trees.norm(before))
    return float(trees.norm(trees.axpy(-1.0, before, params))) / norm_before if norm_before else math.nan

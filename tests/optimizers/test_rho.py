"""rho belongs to the applied step for every wrapper; the reference uses the weights before and after.

If fewer rows than outputs are constrained, rho is over these rows, and rho_outputs is over all outputs.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import network_case
from reference import dense

from revgn import trees
from revgn.losses import CrossEntropy, curvature_root, output_step
from revgn.networks import join
from revgn.optimizers import (
    SGD,
    Adam,
    Backtracking,
    Blend,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Orthogonalized,
    Paced,
    Switch,
    init_state,
    update,
)
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, jacobian
from revgn.testing import assert_close

CASE = network_case("tanh-same-keep")
LR = 0.25
DAMPED = GaussNewton(solver=MinimumNorm(damping=0.1), momentum=0.9, lr=LR)
CENTERED = GaussNewton(solver=MinimumNorm(outputs="centered-logits"), momentum=0.9, lr=LR)
CURVED = GaussNewton(solver=MinimumNorm(damping=0.1), curvature="exact", lr=LR)
EXACT = GaussNewton(lr=LR)
ROWS = GaussNewton(solver=MinimumNorm(damping=0.1, rows=1), momentum=0.9, lr=LR)
CURVED_ROWS = GaussNewton(
    solver=MinimumNorm(damping=0.1, rows=1), curvature="exact", momentum=0.9, metric=FeatureMetric(), lr=LR
)
OPTIMIZERS = {
    "exact": EXACT,
    "block": GaussNewton(solver=BlockWise(), momentum=0.9, lr=LR),
    "damped": DAMPED,
    "metric": GaussNewton(solver=MinimumNorm(damping=0.1), momentum=0.9, metric=FeatureMetric(), lr=LR),
    "centered": CENTERED,
    "cg": GaussNewton(solver=ConjugateGradients(damping=0.1, outputs="centered-logits"), momentum=0.9, lr=LR),
    "curvature": CURVED,
    "rows": ROWS,
    "rows-cg": GaussNewton(solver=ConjugateGradients(damping=0.1, rows=1), momentum=0.9, lr=LR),
    "rows-metric": replace(ROWS, metric=FeatureMetric()),
    "rows-curvature": CURVED_ROWS,
    "rows-orthogonalized": Orthogonalized(inner=ROWS, momentum=0.0),
    "rows-blend": Blend(first=ROWS, second=Adam(lr=1e-3 * LR), share=0.5),
    "rows-levenberg-marquardt": LevenbergMarquardt(inner=CURVED_ROWS),
    "orthogonalized": Orthogonalized(inner=EXACT, momentum=0.0),
    "orthogonalized-centered": Orthogonalized(inner=CENTERED, momentum=0.0),
    "orthogonalized-curvature": Orthogonalized(inner=CURVED, momentum=0.0),
    "orthogonalized-momentum": Orthogonalized(inner=replace(EXACT, momentum=0.0)),
    "blend": Blend(first=EXACT, second=Adam(lr=1e-3 * LR), share=0.5),
    "blend-second": Blend(first=SGD(momentum=0.9, lr=LR), second=DAMPED, share=0.25),
    "orthogonalized-blend": Orthogonalized(
        inner=Blend(first=EXACT, second=SGD(lr=LR), share=0.25), momentum=0.0
    ),
    "bounded": Paced(inner=DAMPED, trust_radius=1e-2),
    "shortened": Paced(inner=Orthogonalized(inner=EXACT, momentum=0.0), trust_radius=1e-2),
    "backtracking": Paced(inner=DAMPED, length=Backtracking(decrease=0.9)),
    "switch": Switch(first=EXACT, second=Orthogonalized(inner=EXACT, momentum=0.0), switch_at=1),
    "levenberg-marquardt": LevenbergMarquardt(inner=DAMPED),
}


def measured(optimizer, at, before, after):
    """|J D - eps| / |eps| of D = (W - W_new) / lr, in the rows of the equation and in all of its outputs."""
    n, c = at.outputs.shape
    J = dense.jacobian(at.jacobian.network, before, join(at.jacobian.point.input, CASE.features))
    JD = (J @ dense.flat(trees.scale(1 / LR, trees.axpy(-1.0, after, before)))).reshape(n, c)
    eps = output_step(at.loss, at.outputs, at.targets)
    if "curvature='exact'" not in repr(optimizer) and (
        "centered" in repr(optimizer) or "rows=1" in repr(optimizer)
    ):
        JD, eps = (z - z.mean(axis=1, keepdims=True) for z in (JD, eps))
    if "curvature='exact'" in repr(optimizer):
        R, eps = curvature_root(at.loss, at.outputs, at.targets)
        JD = np.einsum("ncm,nc->nm", R, JD)
    if "rows=1" not in repr(optimizer):
        return np.linalg.norm(JD - eps) / np.linalg.norm(eps), None
    first = eps / np.linalg.norm(eps, axis=1, keepdims=True)
    missed = JD - eps, np.sum(first * (JD - eps), axis=1)
    return tuple(np.linalg.norm(of) / np.linalg.norm(eps) for of in reversed(missed))


def steps(optimizer, library, count=4, dtype="float64"):
    net, params, x = CASE.build(library, dtype)
    rng, state = np.random.default_rng(71), init_state(optimizer, net, params)
    for _ in range(count):
        x = library.asarray(rng.standard_normal(x.shape), dtype)
        t = np.eye(CASE.outputs)[rng.integers(CASE.outputs, size=CASE.samples)]
        z, J = jacobian(net, params, x)
        at = Linearization(CrossEntropy(), z, library.asarray(t, dtype), J)
        done = update(optimizer, state, params, at)
        yield at, params, done
        params, state = done.params, done.state


def measuring(optimizer, every):
    """Return the optimizer, with Gauss-Newton measuring rho every `every` steps."""
    inner = {
        name: getattr(optimizer, name) for name in ("inner", "first", "second") if hasattr(optimizer, name)
    }
    own = {"rho_every": every} if isinstance(optimizer, GaussNewton) else {}
    return replace(optimizer, **own, **{name: measuring(of, every) for name, of in inner.items()})


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_rho_belongs_to_the_applied_step(optimizer, every, numpy_backend):
    """Measured or not; where it is not known, it is NaN and not measured."""
    for at, before, done in steps(measuring(optimizer, every), numpy_backend):
        rho, of_outputs = measured(optimizer, at, before, done.params)
        info = done.solve
        assert info.is_measured or every > 1
        if info.is_measured or not math.isnan(info.rho):
            assert info.rho == pytest.approx(rho, rel=1e-9, abs=1e-10)
        if of_outputs is None:
            assert info.rho_outputs is None
        elif info.is_measured or not math.isnan(info.rho_outputs):
            assert info.rho_outputs == pytest.approx(of_outputs, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize(
    "name", ["exact", "damped", "metric", "centered", "rows", "rows-metric", "cg", "block"]
)
def test_without_a_wrapper_rho_is_always_known(name, numpy_backend):
    """Where the solution is damped, it follows from the equation and takes no product."""
    infos = [done.solve for *_, done in steps(measuring(OPTIMIZERS[name], 100), numpy_backend)]
    assert not any(math.isnan(info.rho) for info in infos)
    is_damped = name in ("damped", "metric", "rows", "rows-metric")
    assert [info.is_measured for info in infos] == [True, *[not is_damped] * 3]


@pytest.mark.parametrize("name", ["rows-orthogonalized", "orthogonalized", "blend", "bounded"])
def test_rho_behind_a_wrapper_is_known_where_it_is_measured(name, numpy_backend):
    infos = [done.solve for *_, done in steps(measuring(OPTIMIZERS[name], 3), numpy_backend)]
    assert [math.isnan(info.rho) for info in infos] == [False, True, False, True]
    assert [info.is_measured for info in infos] == [True, False, True, False]


@pytest.mark.parametrize("name", ["damped", "rows", "rows-metric", "rows-orthogonalized", "blend"])
def test_measuring_rho_does_not_change_the_weights(name, numpy_backend):
    often, seldom = (
        tuple(done.params for *_, done in steps(measuring(OPTIMIZERS[name], every), numpy_backend))
        for every in (1, 100)
    )
    assert_close("W", often, seldom, 0.0)


@pytest.mark.parametrize("damping", [1e-5, 0.1])
def test_in_single_precision_too(damping, numpy_backend):
    """The number that follows from the equation differs from the measured one by rounding errors."""
    optimizer = replace(ROWS, solver=MinimumNorm(damping, rows=1))
    for often, seldom in zip(
        *(steps(measuring(optimizer, every), numpy_backend, dtype="float32") for every in (1, 100)),
        strict=True,
    ):
        rho = often[2].solve.rho
        assert seldom[2].solve.rho == pytest.approx(rho, rel=1e-3, abs=1e-4)


def blended(inner):
    return Blend(first=inner, second=Adam(lr=1e-3))


@pytest.mark.parametrize(
    "wrap", [lambda inner: inner, lambda inner: Orthogonalized(inner=inner, momentum=0.0), blended]
)
def test_weight_decay_does_not_change_rho(wrap, numpy_backend):
    plain, decayed = (
        next(steps(wrap(replace(CENTERED, weight_decay=decay)), numpy_backend))[2] for decay in (0.0, 0.5)
    )
    assert plain.solve.rho == decayed.solve.rho


def test_rho_of_a_rejected_step_is_one(numpy_backend):
    _, before, done = next(steps(LevenbergMarquardt(inner=replace(DAMPED, lr=1e4)), numpy_backend))
    assert done.params is before
    assert done.solve.rho == 1.0


def test_wrapped_steps_are_not_exact(numpy_backend):
    """The solved direction is exact to rounding error, and `residual` remains the residual of the solve."""
    for name in ("orthogonalized", "blend", "orthogonalized-centered"):
        info = next(steps(OPTIMIZERS[name], numpy_backend))[2].solve
        assert info.rho > 0.1
        assert info.residual < 1e-10

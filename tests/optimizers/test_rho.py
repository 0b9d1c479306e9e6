"""rho is that of the step applied, behind every wrapper: measured from the weights before and after."""

from dataclasses import replace

import numpy as np
import pytest
from cases import network_case
from reference import dense

from revgn import trees
from revgn.losses import CrossEntropy, curvature_root, wanted_change
from revgn.networks import join
from revgn.optimizers import (
    SGD,
    Adam,
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
from revgn.solvers import BlockInverse, ConjugateGradients, MinimumNorm, jacobian

CASE = network_case("tanh-same-keep")
LR = 0.25
DAMPED = GaussNewton(MinimumNorm(0.1), carry=0.9)
CONTRASTS = GaussNewton(MinimumNorm(outputs="contrasts"), carry=0.9)
OPTIMIZERS = {
    "exact": GaussNewton(),
    "block": GaussNewton(BlockInverse(), carry=0.9),
    "damped": DAMPED,
    "metric": GaussNewton(MinimumNorm(0.1), carry=0.9, metric=FeatureMetric()),
    "contrasts": CONTRASTS,
    "cg": GaussNewton(ConjugateGradients(0.1, outputs="contrasts"), carry=0.9),
    "curvature": GaussNewton(MinimumNorm(0.1), curvature="exact"),
    "orthogonalized": Orthogonalized(GaussNewton()),
    "orthogonalized-contrasts": Orthogonalized(CONTRASTS),
    "orthogonalized-curvature": Orthogonalized(GaussNewton(MinimumNorm(0.1), curvature="exact")),
    "blend": Blend(GaussNewton(), Adam(), 1e-3, 0.5),
    "blend-second": Blend(SGD(0.9), DAMPED, 2.0, 0.25),
    "orthogonalized-blend": Orthogonalized(Blend(GaussNewton(), SGD(), 1.0, 0.25)),
    "fixed": Paced(DAMPED),
    "bounded": Paced(DAMPED, trust_radius=1e-2),
    "shortened": Paced(Orthogonalized(GaussNewton()), trust_radius=1e-2),
    "backtracking": Paced(DAMPED, "backtracking", decrease=0.9),
    "switch": Switch(GaussNewton(), Orthogonalized(GaussNewton()), at=1),
    "levenberg-marquardt": LevenbergMarquardt(DAMPED),
}


def measured(optimizer, at, before, after):
    """|J D - eps| / |eps| of D = (W - W_new) / lr, in the rows of the equation that the solver solves."""
    n, c = at.outputs.shape
    J = dense.jacobian(at.jacobian.network, before, join(at.jacobian.point.input, CASE.features))
    JD = (J @ dense.flat(trees.scale(1 / LR, trees.axpy(-1.0, after, before)))).reshape(c, n).T
    eps = wanted_change(at.loss, at.outputs, at.targets)
    if "outputs='contrasts'" in repr(optimizer):
        JD, eps = (z - z.mean(axis=1, keepdims=True) for z in (JD, eps))
    if "curvature='exact'" in repr(optimizer):
        R, eps = curvature_root(at.loss, at.outputs, at.targets)
        JD = np.einsum("ncm,nc->nm", R, JD)
    return np.linalg.norm(JD - eps) / np.linalg.norm(eps)


def steps(optimizer, library, lr, count=4):
    net, params, x = CASE.build(library, "float64")
    rng, state = np.random.default_rng(71), init_state(optimizer, params)
    for _ in range(count):
        x = library.asarray(rng.standard_normal(x.shape))
        t = np.eye(CASE.outputs)[rng.integers(CASE.outputs, size=CASE.samples)]
        at = Linearization(CrossEntropy(), library.asarray(t), *jacobian(net, params, x))
        done = update(optimizer, state, params, at, lr)
        yield at, params, done
        params, state = done.params, done.state


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_rho_is_that_of_the_step_applied(optimizer, numpy_backend):
    for at, before, done in steps(optimizer, numpy_backend, LR):
        expected = measured(optimizer, at, before, done.params)
        assert done.solve.rho == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("optimizer", [DAMPED, Orthogonalized(CONTRASTS)], ids=repr)
def test_weight_decay_does_not_count(optimizer, numpy_backend):
    plain, decayed = (
        next(steps(replace(optimizer, weight_decay=decay), numpy_backend, LR))[2] for decay in (0.0, 0.5)
    )
    assert plain.solve.rho == decayed.solve.rho


def test_a_step_that_is_not_taken_misses_all(numpy_backend):
    _, before, done = next(steps(LevenbergMarquardt(DAMPED), numpy_backend, 1e4))
    assert done.params is before
    assert done.solve.rho == 1.0


def test_wrapped_steps_are_not_exact(numpy_backend):
    """Where the direction that was solved for is, to rounding, and its residual stays that of the solve."""
    for name in ("orthogonalized", "blend", "orthogonalized-contrasts"):
        info = next(steps(OPTIMIZERS[name], numpy_backend, LR))[2].solve
        assert info.rho > 0.1
        assert info.residual < 1e-10

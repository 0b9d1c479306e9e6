"""Arrays of a state are stored row by row, so training from a checkpoint gives the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn.arrays import to_host
from revgn.losses import CrossEntropy
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    SOAP,
    Adam,
    Blend,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Muon,
    Orthogonalized,
    Paced,
    Switch,
    init_state,
    update,
)
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, jacobian
from revgn.testing.compare import snapshot

DAMPED = GaussNewton(solver=MinimumNorm(damping=0.1), momentum=0.9)
OPTIMIZERS = [
    SGD(momentum=0.9),
    Adam(weight_decay=0.1),
    Muon(),
    SOAP(every=1),
    KFAC(),
    KFAC(every=1, momentum=0.0),
    LBFGS(),
    DAMPED,
    GaussNewton(solver=ConjugateGradients(damping=0.1), momentum=0.9),
    GaussNewton(solver=BlockWise(), momentum=1.0),
    GaussNewton(solver=BlockWise(damping=0.1), metric=FeatureMetric(every=2), momentum=0.9),
    LevenbergMarquardt(inner=DAMPED),
    Orthogonalized(inner=DAMPED, momentum=0.0),
    Orthogonalized(inner=replace(DAMPED, momentum=0.0)),
    Blend(first=DAMPED, second=KFAC()),
    Switch(first=KFAC(), second=DAMPED, switch_at=2),
    Paced(inner=KFAC(), trust_radius=0.1),
]


def read_back(tree):
    """The same numbers, in arrays with the layout that a checkpoint restores."""
    return trees.map_leaves(lambda x: x.copy(order="C") if hasattr(x, "flags") else x, tree)


def arrays_of(tree):
    return [(name, x) for name, x in trees.named_leaves(tree) if hasattr(x, "flags")]


def bits_of(tree):
    return [(name, to_host(x).tobytes()) for name, x in arrays_of(tree)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: repr(optimizer)[:60])
@pytest.mark.parametrize("case", ["tanh-same-keep", "n>h"])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True)
def test_state_and_parameters_are_row_major(optimizer, case, backend, dtype):
    network, params, x = network_case(case).build(backend, dtype)
    rng, state = np.random.default_rng(33), init_state(optimizer, network, params)
    c = network.readout.first.shape[1]
    t = backend.asarray(np.eye(c)[rng.integers(c, size=len(x))], dtype)
    for _ in range(4):
        assert [name for name, x in arrays_of((params, state)) if not x.flags.c_contiguous] == []
        z, J = jacobian(network, params, x)
        at = Linearization(CrossEntropy(), z, t, J)
        done = update(optimizer, state, params, at)
        again = update(optimizer, read_back(state), read_back(params), at)
        assert snapshot(done.params) == snapshot(again.params)
        assert bits_of(done.state) == bits_of(again.state)
        params, state = done.params, done.state

"""Networks in float64, moved from where they began, and their Jacobians as they are written."""

import numpy as np
import pytest
from cases import network_case

from revgn import trees
from revgn.solvers import apply_adjoint, jacobian

NAMES = ["relu-same-keep", "gelu-identity-keep", "gelu-identity-rebuild", "odd-d", "one-block"]


@pytest.fixture(params=NAMES)
def case(request, numpy_backend):
    return network_case(request.param).build(numpy_backend, "float64")


@pytest.fixture
def moved():
    def move(params, seed=1, scale=0.1):
        rng = np.random.default_rng(seed)
        return trees.map_leaves(lambda w: w + scale * rng.standard_normal(w.shape), params)

    return move


@pytest.fixture
def dense_jacobian():
    """J (c n, weights), rows output by output as in the kernel."""

    def write_out(network, params, x):
        z, J = jacobian(network, params, x)
        rows = []
        for o in range(z.shape[1]):
            for s in range(z.shape[0]):
                unit = np.zeros(z.shape)
                unit[s, o] = 1.0
                rows.append(np.concatenate([leaf.ravel() for leaf in trees.leaves(apply_adjoint(J, unit))]))
        return np.array(rows)

    return write_out

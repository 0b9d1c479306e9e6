"""Networks in float64, with parameters moved away from initialization."""

import numpy as np
import pytest
from cases import network_case

from revgn import trees

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

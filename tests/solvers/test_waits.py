"""Number of waits and kernel launches of a solve on a GPU."""

import pytest
from cases import NetworkCase
from libraries import make_library

from revgn.networks import Architecture
from revgn.solvers import BlockWise, MinimumNorm, solve


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize(
    ("solver", "waits", "launches"),
    [(BlockWise(), 2, 180), (BlockWise("uniform"), 2, 180), (MinimumNorm(damping=0.1), 3, 150)],
    ids=["block", "block-uniform", "minimum-norm"],
)
def test_waits_do_not_grow_with_the_network(solver, waits, launches, blocks, stand_in):
    """There is one wait for all factors and one for all solutions; a block adds fewer than 180 launches."""
    case = NetworkCase("counted", Architecture(blocks, 40, "relu"), samples=8, features=12)
    J, eps = case.jacobian(make_library("cupy"), "float32")
    with stand_in.counting() as counts:
        _, info = solve(solver, J, eps)
    assert info.rung == "cholesky"
    assert sum(counts.waits.values()) <= waits, counts.waits
    assert sum(counts.launches.values()) <= launches * blocks, counts.launches

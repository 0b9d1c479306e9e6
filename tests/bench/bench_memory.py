"""Peak memory of one optimizer step against depth, with activations kept and rebuilt.

    python tests/bench/bench_memory.py

Prints the peak of a whole step (forward, solve, update) for 4 and 64 blocks, without the two arrays of the
size of the parameters (the step and the new parameters), and the ratio of both peaks.
"""

import tracemalloc
from unittest.mock import patch

import numpy as np

from revgn import trees
from revgn.arrays import pool
from revgn.losses import SquaredError
from revgn.maps import init
from revgn.networks import Architecture, draw_network
from revgn.optimizers import SGD, GaussNewton, Linearization, init_state, update
from revgn.solvers import BlockWise, MinimumNorm, jacobian

ROWS, FEATURES, OUTPUTS, HIDDEN = 512, 4, 1, 1024  # so that parameters are small beside activations
OPTIMIZERS = {
    "sgd": SGD(),
    "block uniform": GaussNewton(BlockWise("uniform")),
    "block full-rank": GaussNewton(BlockWise("full-rank")),
    "minimum norm": GaussNewton(MinimumNorm(0.01)),
}


def peak_beyond_parameters(optimizer, activations, blocks):
    """Bytes at the peak of a step, less the step and the new parameters; the memory pool starts empty."""
    rng = np.random.default_rng(0)
    architecture = Architecture(blocks, HIDDEN, "relu", "same", activations)
    network = draw_network(architecture, FEATURES, OUTPUTS, rng)
    params = init(network, rng, 1e-3)
    state = init_state(optimizer, network, params)
    x, targets = rng.standard_normal((ROWS, FEATURES)), rng.standard_normal((ROWS, OUTPUTS))
    with patch.object(pool, "_POOL", pool._Pool()):
        tracemalloc.start()
        outputs, J = jacobian(network, params, x)
        update(optimizer, state, params, Linearization(SquaredError(), outputs, targets, J))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak - 2 * 8 * trees.size(params)


def main():
    """Print the table."""
    print(f"n {ROWS}, d {FEATURES}, c {OUTPUTS}, h {HIDDEN}, float64; MB at the peak beyond parameters")
    for name, optimizer in OPTIMIZERS.items():
        for activations in ("keep", "rebuild"):
            few, many = (peak_beyond_parameters(optimizer, activations, blocks) for blocks in (4, 64))
            print(
                f"{name:<16} {activations:<8} 4 blocks {few / 1e6:7.2f}   64 blocks {many / 1e6:7.2f}"
                f"   ratio {many / few:.3f}"
            )


if __name__ == "__main__":
    main()

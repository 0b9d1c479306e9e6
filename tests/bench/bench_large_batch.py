"""One exact minimum-norm step for a batch whose kernel cannot be held: matrix-free, with time and memory.

    python tests/bench/bench_large_batch.py [--samples 16384] [--block 16384] [--directions 0] [--damping 0]

Three blocks, 512 features, 10 classes: 16,384 samples make a kernel of order 163,840, 107 GB in single
precision. The step is taken after some of Adam's, since at initialization (W = 0) the kernel's rank is far
below its order. Prints iterations, residual, rho, seconds and the peak memory of the process.
"""

import argparse
import resource
from time import perf_counter

from revgn.data import take_batch
from revgn.errors import DataError
from revgn.losses import output_step
from revgn.settings import build_config
from revgn.solvers import Blocks, ConjugateGradients, jacobian, solve
from revgn.training import build_problem, initial_state, load_data, train


def trained(problem, steps):
    """Parameters after some steps."""
    state = initial_state(problem)
    for event in train(problem, state):
        state = event.state
        if state.step == steps:
            break
    return state.params


def main():
    """Print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=16_384)
    parser.add_argument("--block", type=int, default=16_384)
    parser.add_argument("--directions", type=int, default=0)
    parser.add_argument("--damping", type=float, default=0.0)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--outputs", choices=["logits", "centered-logits"], default="logits")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="of Adam before")
    arguments = parser.parse_args()
    settings = {
        "data": {"name": "fashion-mnist"},
        "network": {"blocks": 3, "hidden": arguments.hidden},
        "optimizer": {"kind": "adam", "lr": 3e-3},
        "training": {"measure_every": 0, "eval_every": 10**6},
    }
    config = build_config(settings)
    try:
        problem = build_problem(config, load_data(config))
    except DataError as error:
        raise SystemExit(f"bench_large_batch: {error}") from None
    params = trained(problem, arguments.steps)
    n, dataset = arguments.samples, problem.dataset
    x, t = take_batch(dataset, dataset.train, slice(0, n), problem.backend, problem.dtype)
    solver = ConjugateGradients(
        damping=arguments.damping,
        outputs=arguments.outputs,
        tolerance=arguments.tolerance,
        max_iterations=arguments.iterations,
        preconditioner=Blocks(arguments.block, arguments.directions),
    )
    started = perf_counter()
    z, J = jacobian(problem.network, params, x)
    _, info = solve(solver, J, output_step(problem.loss, z, t))
    seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"n {n:,}, order {info.order:,}, {arguments.outputs}, damping {arguments.damping:g}, "
        f"blocks of {arguments.block:,} and {arguments.directions:,} directions: {info.outcome} after "
        f"{info.iterations} iterations, residual {info.residual:.2e}, rho {info.rho:.2e}, "
        f"{info.seconds_kernel:.1f} s to make ready and {info.seconds_solve:.1f} s to solve, "
        f"{seconds:.1f} s in all, {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()

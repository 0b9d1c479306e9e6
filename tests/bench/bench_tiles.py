"""Time and peak memory of a minimum-norm step, with a dense kernel and by tiles within several bounds.

    python tests/bench/bench_tiles.py [--samples 2048] [--outputs 10] [--hidden 512] [--memory 500MB 100MB]

Each line is measured in its own process. The peak is the largest memory of the process minus its memory
before the step. It includes features, cotangents, weights and activations in addition to the kernel.
"""

import argparse
import resource
import subprocess
import sys
from time import perf_counter

import numpy as np

from revgn.maps import init
from revgn.networks import Architecture, draw_network
from revgn.settings import parse_size
from revgn.solvers import MinimumNorm, jacobian, solve

FEATURES = 784


def peak():
    """Peak memory of the process in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def step(samples, outputs, hidden, memory):
    """Print a line for one step with the given memory bound, or without one."""
    rng = np.random.default_rng(0)
    network = draw_network(Architecture(2, hidden), FEATURES, outputs, rng, dtype=np.float32)
    params = init(network, rng, 1e-2)
    x = rng.standard_normal((samples, FEATURES), dtype=np.float32)
    _, J = jacobian(network, params, x)
    eps = rng.standard_normal((samples, outputs), dtype=np.float32)
    before, started = peak(), perf_counter()
    _, info = solve(MinimumNorm(0.01, memory=memory), J, eps)
    seconds, size = perf_counter() - started, peak() - before
    bound = "dense" if memory is None else f"{memory / 1e6:.0f} MB"
    print(
        f"{bound:<8} {seconds:7.1f} s (kernel {info.seconds_kernel:.1f}, solve {info.seconds_solve:.1f})   "
        f"peak {size / 1e6:7.0f} MB   rho {info.rho:.6f}   s_max {info.s_max:.6g}   s_min {info.s_min:.6g}",
        flush=True,
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--outputs", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--memory", nargs="*", type=parse_size, default=[10**9, 5 * 10**8, 10**8])
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)  # 0: dense
    arguments = parser.parse_args()
    sizes = arguments.samples, arguments.outputs, arguments.hidden
    if arguments.only is not None:
        step(*sizes, arguments.only or None)
        return
    order = arguments.samples * arguments.outputs
    shape = f"n {sizes[0]}, c {sizes[1]}, d {FEATURES}, h {sizes[2]}"
    print(f"{shape}, float32; kernel {4 * order**2 / 1e6:.0f} MB", flush=True)
    for memory in (0, *arguments.memory):
        subprocess.run([sys.executable, *sys.argv, "--only", str(memory)], check=True)


if __name__ == "__main__":
    main()

"""Iterations of conjugate gradients over a run, for each preconditioner that was tried.

    python tests/bench/bench_cg.py [--batch 256] [--steps 50] [--every 10] [--damping 0.01] [--only NAME ...]

Trains on Fashion-MNIST (3 blocks, 512 hidden features, learning rate 1) by conjugate gradients; every
`--every` steps the same equation is solved again with each preconditioner, to a relative residual of 1e-3.
With --full N one step on N samples follows, after the training: time, iterations, rho and peak memory.

none          nothing
sample        each sample's block (c, c), exactly
kronecker     the kernel at W = 0: K_0 (x) U_0^T U_0 + K_1 (x) U_1^T U_1
mean          as before, with the mean b b^T of each coupling in place of U_i^T U_i, in the eigenbasis of the
              mean block
start-basis   exact blocks for each output, in the eigenbasis of U_0^T U_0
blocks        exact blocks for each output, in the eigenbasis of the mean block
blocks+R      the same, and the R leading eigendirections of the weights (the default of the library)
groups+R      the same with blocks of a quarter of the samples
"""

import argparse
from time import perf_counter

import numpy as np
import scipy.linalg

from revgn import trees
from revgn.arrays import memory_in_use
from revgn.data import batch_indices, take_batch
from revgn.linalg import conjugate_gradients
from revgn.losses import output_step, value
from revgn.settings import build_config
from revgn.solvers import Blocks, ConjugateGradients, jacobian, solve
from revgn.solvers.parts import kernel_product, mean_block, product_parts, rotated
from revgn.solvers.preconditioner import factor_preconditioner, precondition
from revgn.training import build_problem, initial_state, load_data


def by_blocks(Q, blocks, mu):
    """Apply the inverse of one block (n, n) for each column of Q."""
    factors = [scipy.linalg.cho_factor(K + mu * np.eye(len(K), dtype=K.dtype), lower=True) for K in blocks]

    def inverse(R):
        Y = R @ Q
        return np.stack([scipy.linalg.cho_solve(L, Y[:, j]) for j, L in enumerate(factors)], axis=1) @ Q.T

    return inverse


def by_sample(parts, mu):
    """Apply the inverses of the samples' blocks (c, c)."""
    blocks = sum(
        np.sum(A * A, axis=1)[:, None, None] * (b @ np.swapaxes(b, 1, 2)) for A, _, b in parts
    ) + mu * np.eye(parts[0].cotangents.shape[1], dtype="float32")
    inverses = np.linalg.inv(blocks)
    return lambda R: (R[:, None, :] @ inverses)[:, 0, :]


def by_library(parts, Q, mu, samples, directions):
    """Apply the library's preconditioner in the basis Q of outputs."""
    factored = factor_preconditioner(rotated(parts, Q), mu, samples=samples, directions=directions)
    return lambda R: precondition(factored, R @ Q) @ Q.T


def candidates(J, parts, mu):
    """Each preconditioner by name, as a function that makes it."""
    U = J.network.readout.first
    w, start = np.linalg.eigh(U.T @ U)
    basis = np.linalg.eigh(mean_block(parts))[1]
    halves = [layer.half for layer in reversed(J.network.body.layers)]
    grams = [A @ A.T for A, _, _ in parts]
    n = len(grams[0])

    def at_start():
        K = [sum(K for K, half in zip(grams, halves, strict=True) if half == side) for side in (0, 1)]
        return by_blocks(start, [share * K[0] + (1 - share) * K[1] for share in w], mu)

    def with_means():
        sizes = [np.mean(np.sum((basis.T @ b) ** 2, axis=2), axis=0) for _, _, b in parts]  # (c,) each
        blocks = [sum(of[j] * K for of, K in zip(sizes, grams, strict=True)) for j in range(len(w))]
        return by_blocks(basis, blocks, mu)

    made = {
        "none": lambda: lambda R: R,
        "sample": lambda: by_sample(parts, mu),
        "kronecker": at_start,
        "mean": with_means,
        "start-basis": lambda: by_library(parts, start, mu, n, 0),
        "blocks": lambda: by_library(parts, basis, mu, n, 0),
    }
    for r in (n // 16, n // 4):
        made[f"blocks+{r}"] = lambda r=r: by_library(parts, basis, mu, n, r)
        made[f"groups+{r}"] = lambda r=r: by_library(parts, basis, mu, n // 4, r)
    return made


def measure(J, eps, damping, only, limit=400):
    """Iterations to 1e-3 with each preconditioner; ">" if the tolerance was not reached."""
    parts = product_parts(J)
    mu = damping * float(np.trace(mean_block(parts))) / eps.shape[1]
    counts = {}
    for name, make in candidates(J, parts, mu).items():
        if only and name not in only:
            continue
        found = conjugate_gradients(
            lambda v: kernel_product(parts, v) + mu * v, eps, make(), tolerance=1e-3, max_iterations=limit
        )
        counts[name] = str(found.iterations) if found.outcome == "converged" else f">{found.iterations}"
    return counts


def main():
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--damping", type=float, default=0.01)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--full", type=int)
    parser.add_argument("--full-damping", type=float, default=0.0)
    parser.add_argument("--full-tolerance", type=float, default=1e-2)
    parser.add_argument("--block-samples", type=int, default=4096)
    parser.add_argument("--directions", type=int, default=1000)
    arguments = parser.parse_args()
    settings = {
        "data": {"name": "fashion-mnist"},
        "network": {"blocks": 3, "hidden": 512},
        "training": {"batch_size": arguments.batch, "backend": "numpy"},
    }
    problem = build_problem(build_config(settings), load_data(build_config(settings)))
    params = initial_state(problem).params

    def linearized(rows):
        train = problem.dataset.train
        x, targets = take_batch(problem.dataset, train, rows, problem.backend, problem.dtype)
        z, J = jacobian(problem.network, params, x)
        return float(value(problem.loss, z, targets)), J, output_step(problem.loss, z, targets)

    solver, titled = ConjugateGradients(arguments.damping), False
    for step in range(arguments.steps + 1):
        epoch, batch = divmod(step, problem.steps_per_epoch)
        rows = batch_indices(len(problem.dataset.train.targets), arguments.batch, seed=0, epoch=epoch)[batch]
        loss, J, eps = linearized(rows)
        if arguments.every and step % arguments.every == 0:
            counts = measure(J, eps, arguments.damping, arguments.only)
            if not titled:
                print("step   loss", *(f"{name:>12}" for name in counts))
                titled = True
            print(f"{step:4d} {loss:6.3f}", *(f"{count:>12}" for count in counts.values()), flush=True)
        if step < arguments.steps:
            params = trees.axpy(-1.0, solve(solver, J, eps)[0], params)
    if arguments.full:
        _, J, eps = linearized(np.random.default_rng(5).permutation(60_000)[: arguments.full])
        solver = ConjugateGradients(
            arguments.full_damping,
            tolerance=arguments.full_tolerance,
            preconditioner=Blocks(arguments.block_samples, arguments.directions),
        )
        started = perf_counter()
        _, info = solve(solver, J, eps)
        print(
            f"n {arguments.full}: {info.iterations} iterations, {info.outcome}, rho {info.rho:.1e}, "
            f"{perf_counter() - started:.0f} s ({info.seconds_kernel:.0f} s before the first), "
            f"{memory_in_use(problem.backend) / 1e9:.1f} GB at most"
        )


if __name__ == "__main__":
    main()

"""Minimum-norm step by conjugate gradients, which use products with the tangent kernel J J^T.

    D = J^T v        (J J^T + mu I) v = eps

mu is `damping` times the mean diagonal of the kernel, or times n. No array of (n c)^2 elements is formed, so
a batch may contain the whole training set. Without damping, the kernel should have full rank. Otherwise
the iteration stagnates, and the result reports this. Source: Hestenes and Stiefel 1952; Golub and Van Loan,
section 11.5.
"""

import math
from time import perf_counter
from typing import Any

from revgn.arrays import Array, Deferred, array_namespace, eigh, read, synchronize, together
from revgn.cost import Cost, Sizes, cost
from revgn.linalg import begin_norms, conjugate_gradients
from revgn.networks import ChainParams
from revgn.solvers.damping import DAMPING, DAMPING_UNIT, DampingUnit
from revgn.solvers.jacobian import (
    Jacobian,
    SolveInfo,
    apply_adjoint,
    begin_residuals,
    check_output_step,
    combined,
    equation,
    output_change,
    solve,
)
from revgn.solvers.kernel_cost import singular_kernel
from revgn.solvers.outputs import OUTPUTS, Outputs, constrained, equation_of_outputs
from revgn.solvers.parts import kernel_product, mean_block, product_parts, rotated
from revgn.solvers.preconditioner import factor_preconditioner, precondition
from revgn.solvers.rows import ROWS, Rows
from revgn.structs import setting, struct

TOLERANCE = "Relative residual at which conjugate gradients stop."
_LAUNCHES, _LAUNCHES_OF_LAYER = 27, 35  # launches of a solve, and of each layer, without iterations
_LAUNCHES_OF_ITERATION, _LAUNCHES_OF_PRODUCT = 20, 4  # launches of an iteration, and of each layer in it
_LAUNCHES_OF_BLOCKS, _LAUNCHES_OF_APPLICATION = 110, 3  # launches of the preconditioner, and in an iteration
_LAUNCHES_OF_BLOCK, _LAUNCHES_OF_PART = 20, 3.5  # its further launches for an output, and each layer of it


@struct
class Blocks:
    """Preconditioner by diagonal blocks and leading eigendirections; see `revgn.solvers.preconditioner`."""

    block_samples: int = setting(
        "Maximum number of samples in a block of the preconditioner.", default=4096, ge=1
    )
    directions: int | None = setting(
        "Number of leading eigendirections that the preconditioner treats exactly; by default n/16 for n "
        "samples, at most 1,000, and 0 if n < 4,096.",
        default=None,
        ge=0,
    )


@struct
class ConjugateGradients:
    """Minimum-norm step D = J^T (J J^T + mu I)^-1 eps, by preconditioned conjugate gradients."""

    damping: float = setting(DAMPING, default=0.0, ge=0, resumable=True, chosen=True)
    outputs: Outputs = setting(OUTPUTS, default="logits", chosen=True)
    rows: Rows = setting(ROWS, default="all", ge=1, chosen=True)
    tolerance: float = setting(TOLERANCE, default=1e-3, gt=0, lt=1)
    max_iterations: int = setting("Maximum number of iterations.", default=1000, ge=1)
    preconditioner: Blocks | None = setting(
        "Preconditioner of conjugate gradients.", default=Blocks(), family="preconditioner"
    )
    damping_unit: DampingUnit = setting(DAMPING_UNIT, default="relative", resumable=True)


@solve.register(ConjugateGradients)
def solve_conjugate_gradients(
    solver: ConjugateGradients, J: Jacobian, eps: Array
) -> tuple[ChainParams, SolveInfo]:
    solved = equation(solver, J, eps)
    J, eps = solved.jacobian, solved.eps
    check_output_step(J, eps)
    started = perf_counter()
    parts = product_parts(J)
    diagonal, Q = eigh(mean_block(parts))
    if solver.damping_unit == "relative":
        mu = solver.damping * float(array_namespace(eps).mean(diagonal))
    else:
        mu = solver.damping * eps.shape[0]
    held = [*parts]
    del parts  # then the rotation duplicates the cotangents of one coupling at a time, not of all
    parts = tuple(rotated((held.pop(0),), Q)[0] for _ in range(len(held)))

    factored = None
    if solver.preconditioner is not None:
        factored = factor_preconditioner(
            parts,
            mu,
            samples=solver.preconditioner.block_samples,
            directions=direction_count(solver.preconditioner.directions, eps.shape[0]),
        )
    synchronize(eps)
    factored_at = perf_counter()
    found = conjugate_gradients(
        lambda v: kernel_product(parts, v) + mu * v,
        eps @ Q,
        lambda R: R if factored is None else precondition(factored, R),
        tolerance=solver.tolerance,
        max_iterations=solver.max_iterations,
    )
    v = found.solution @ Q.T
    D = apply_adjoint(J, v)
    change = output_change(J, D)
    begun: list[Deferred[Any]] = [
        begin_residuals(solved, change),
        begin_norms(eps - combined(J.outputs, change) - mu * v, eps),
    ]
    (measured, of_outputs), (left, size) = read(together(begun))
    finished = perf_counter()
    return D, SolveInfo(
        rho=measured,
        residual=left / (size or 1.0),
        rung=None,
        rank=None,
        order=eps.shape[0] * eps.shape[1],
        s_max=float("nan"),
        s_min=float("nan"),
        damping=mu,
        block_weights=(),
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
        iterations=found.iterations,
        outcome=found.outcome,
        rho_outputs=of_outputs,
        change=change,
    )


equation.register(ConjugateGradients)(equation_of_outputs)


@cost.register(ConjugateGradients)
def cost_conjugate_gradients(solver: ConjugateGradients, sizes: Sizes) -> Cost:
    m, sizes = constrained(solver, sizes)
    n, layers, size = sizes.samples, sizes.layers, sizes.number
    order = n * m
    moving = layers if sizes.own_rows else layers[:-1]  # layers whose cotangents differ between samples
    iterations = expected_iterations(solver, n)
    work = {"pull-back": sizes.pull_back(m), "solve and rho": 2 * sizes.jvp}
    work["iterations"] = iterations * sum(
        (min(2.0 * n, 4.0 * layer.features) if layer.positions == 1 else 4.0 * layer.features * m)
        * n
        * layer.width
        for layer in layers
    )
    columns = [layer.width * (1 if layer.positions == 1 else layer.features) for layer in moving]
    memory = {"cotangents": order * sum(columns) * size}
    read = iterations * 2.0 * memory["cotangents"]
    launches = iterations * (_LAUNCHES_OF_ITERATION + _LAUNCHES_OF_PRODUCT * len(layers))
    launches += _LAUNCHES + _LAUNCHES_OF_LAYER * len(layers)
    if solver.preconditioner is not None:
        launches += m * (_LAUNCHES_OF_BLOCK + _LAUNCHES_OF_PART * len(layers))
        launches += _LAUNCHES_OF_BLOCKS + _LAUNCHES_OF_APPLICATION * iterations
        g = min(solver.preconditioner.block_samples, n)
        r = direction_count(solver.preconditioner.directions, n)
        read += iterations * order * (2 if r else 1) * (g + r) * size
        work["blocks"] = float(order) * g * (sum(columns) + g / 3)
        work["blocks"] += sum(layer.gram for layer in layers) * g / n
        memory["blocks"] = order * (g + r) * size
        if r:
            bases = sum(min(n, layer.features) ** 3 + layer.width**3 for layer in layers)
            work["directions"] = float(order) * r * (2.0 * g + 2.0 * r)
            work["directions"] += 9.0 * bases
    singular = singular_kernel(solver.damping, m, sizes)
    notes = () if singular is None else (f"{singular}, so conjugate gradients stagnate; use --damping 0.01",)
    return Cost(work, memory, read, order, launches=launches, notes=notes)


def expected_iterations(solver: ConjugateGradients, n: int) -> float:
    """Return the expected number of iterations.

    The formula is fitted to training on Fashion-MNIST (`tests/bench/bench_cg.py`). The number grows with the
    square root of the batch size and with the number of requested digits. It falls with the damping, for
    damping up to 0.1.
    """
    damped = min(max(0.5 - 0.5 * math.log10(solver.damping or 1e-9), 1.0), 3.0)
    few = 7.0 * math.sqrt(n / 256) * damped * math.log10(solver.tolerance) / -3.0
    return min(few * (10 if solver.preconditioner is None else 1), solver.max_iterations)


def direction_count(directions: int | None, n: int) -> int:
    """Return the number of directions that the preconditioner uses for n samples; see `Blocks`."""
    if directions is None:
        return min(1000, n // 16) if n >= 4096 else 0
    return directions

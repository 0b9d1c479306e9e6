"""The minimum-norm step without the kernel: conjugate gradients on products with it.

    D = J^T v        (J J^T + mu I) v = eps

Nothing of order n c squared is formed, so n may be the whole training set. The products are those of
`revgn.solvers.parts`; mu is `damping` times the kernel's mean diagonal, exactly. The preconditioner keeps
iterations few. Without damping the kernel should have full rank: what it cannot reach of eps ends in a
reported stagnation. Source: Hestenes and Stiefel 1952; Golub and Van Loan, section 11.5.
"""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal, get_args

from revgn.arrays import Array, array_namespace, eigh, matmul, synchronize
from revgn.errors import UsageError
from revgn.linalg import PinvRule, conjugate_gradients, norm
from revgn.networks import ChainParams
from revgn.solvers.exactness import check_wanted, rho
from revgn.solvers.jacobian import (
    Jacobian,
    SolveInfo,
    apply,
    apply_adjoint,
    damping_of,
    solve,
    with_damping,
)
from revgn.solvers.minimum_norm import Outputs, contrasts
from revgn.solvers.parts import kernel_product, mean_block, product_parts, rotated
from revgn.solvers.preconditioner import factor_preconditioner, precondition

PreconditionerName = Literal["blocks", "none"]


@dataclass(frozen=True, slots=True)
class ConjugateGradients:
    """D = J^T (J J^T + mu I)^-1 eps, by preconditioned conjugate gradients.

    Parameters
    ----------
    damping : float
        mu relative to the kernel's mean diagonal, as of `MinimumNorm`.
    tolerance : float
        |eps - J D - mu v| / |eps| to be reached.
    max_iterations : int
        Where to give up; the info's `outcome` then says so.
    preconditioner : {"blocks", "none"}
        See `revgn.solvers.preconditioner`.
    block_samples : int
        Samples in a block, at most. Larger blocks cost more, and spare iterations.
    directions : int
        Strongest directions in the weights that the preconditioner takes as they are. None takes n/16, but at
        most 1,000 and below 4,096 samples none, where they cost more than the iterations that they spare.
    outputs : {"logits", "contrasts"}
        As of `MinimumNorm`.

    Raises
    ------
    UsageError
        If a number is out of its range, or a name is none of these.
    """

    damping: float = 0.0
    tolerance: float = 1e-3
    max_iterations: int = 1000
    preconditioner: PreconditionerName = "blocks"
    block_samples: int = 4096
    directions: int | None = None
    outputs: Outputs = "logits"

    def __post_init__(self) -> None:
        PinvRule(damping=self.damping)  # refuses what is not a number >= 0
        for name, choices in (("preconditioner", PreconditionerName), ("outputs", Outputs)):
            if getattr(self, name) not in get_args(choices):
                raise UsageError(
                    f"ConjugateGradients: {name} is {getattr(self, name)!r}; "
                    f"expected {' or '.join(get_args(choices))}"
                )
        if not (0 < self.tolerance < 1 and self.max_iterations >= 1):
            raise UsageError(
                f"ConjugateGradients: tolerance {self.tolerance}, max_iterations {self.max_iterations}; "
                "expected one between 0 and 1, and one that is at least 1"
            )
        if not (self.block_samples >= 1 and (self.directions or 0) >= 0):
            raise UsageError(
                f"ConjugateGradients: block_samples {self.block_samples}, directions {self.directions}; "
                "expected at least 1 and 0"
            )


@solve.register(ConjugateGradients)
def solve_conjugate_gradients(
    solver: ConjugateGradients, J: Jacobian, eps: Array
) -> tuple[ChainParams, SolveInfo]:
    if solver.outputs == "contrasts":
        if J.outputs is not None:
            raise UsageError(
                "solve(ConjugateGradients): J has combined outputs already; take outputs='logits'"
            )
        Q = contrasts(eps)
        J, eps = J._replace(outputs=Q), matmul(eps, Q)
    check_wanted(J, eps)
    started = perf_counter()
    parts = product_parts(J)
    diagonal, Q = eigh(mean_block(parts))
    mu = solver.damping * float(array_namespace(eps).mean(diagonal))
    held = [*parts]
    del parts  # so that one coupling's cotangents are held twice at a time, not all
    parts = tuple(rotated((held.pop(0),), Q)[0] for _ in range(len(held)))

    factored = None
    if solver.preconditioner == "blocks":
        factored = factor_preconditioner(
            parts,
            mu,
            samples=solver.block_samples,
            directions=direction_count(solver.directions, eps.shape[0]),
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
    JD = apply(J, D)
    finished = perf_counter()
    return D, SolveInfo(
        rho=rho(JD, eps),
        residual=norm(eps - JD - mu * v) / (norm(eps) or 1.0),
        rung=None,
        rank=None,
        order=eps.shape[0] * eps.shape[1],
        s_max=float("nan"),
        s_min=float("nan"),
        damping=mu,
        shares=(),
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
        iterations=found.iterations,
        outcome=found.outcome,
    )


@with_damping.register(ConjugateGradients)
def with_damping_conjugate_gradients(solver: ConjugateGradients, damping: float) -> ConjugateGradients:
    return replace(solver, damping=damping)


@damping_of.register(ConjugateGradients)
def damping_of_conjugate_gradients(solver: ConjugateGradients) -> float:
    return solver.damping


def direction_count(directions: int | None, n: int) -> int:
    """Directions that the preconditioner takes for n samples; see `ConjugateGradients`."""
    if directions is None:
        return min(1000, n // 16) if n >= 4096 else 0
    return directions

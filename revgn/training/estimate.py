"""The estimate of a step before it is taken: weights, memory, floating-point work, time.

The counts are those of `revgn.cost`. The time is each count over its speed, and the speeds are measured here in
a fraction of a second: of matrix products, of the factorizations that a step has, of memory and disk.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple

from revgn.arrays import Array, Scratch, array_namespace, cholesky, eigh, nbytes, synchronize
from revgn.cost import Cost, Sizes, cost, layer_cost
from revgn.data import Dataset
from revgn.losses import curvature_root
from revgn.settings import Config, kind_of, mapped, parts_of
from revgn.solvers import Automatic, ConjugateGradients, MinimumNorm, Solver
from revgn.training.problem import Problem, build_problem, kernel_memory

_TIMED_SECONDS = 0.2
_FACTORED = 4096  # largest order of the matrix whose Cholesky factorization is timed
_DECOMPOSED = 512  # and of the one whose eigenvectors are


class Speeds(NamedTuple):
    """Operations per second of products, Cholesky factorizations, eigendecompositions; bytes per second."""

    products: float
    factor: float = math.inf
    eigenvectors: float = math.inf
    read: float = math.inf
    disk: float = math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts of one step, and the speeds of this machine."""

    features: int
    outputs: int
    train_rows: int
    batch_size: int
    steps: int
    parameters: int
    cost: Cost
    speeds: Speeds

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.cost.memory.values())

    @property
    def seconds_per_step(self) -> float:
        """Work and bytes over their speeds; a lower bound, since not all work counts."""
        speeds = self.speeds
        special = {"factor": speeds.factor, "eigenvectors": speeds.eigenvectors}
        seconds = sum(count / special.get(part, speeds.products) for part, count in self.cost.work.items())
        return seconds + self.cost.read / speeds.read + self.cost.moved / speeds.disk


def step_cost(problem: Problem) -> Cost:
    """Count one step of `problem`: the forward pass, and what the optimizer adds."""
    sizes, number = _sizes(problem), problem.dtype_bytes
    points = [layer.point for layer in sizes.layers]
    copies = 2 + (problem.average is not None)  # the weights, their change, their average
    memory = {
        "weights and steps": copies * sizes.weights,
        "frozen arrays": sum(layer.frozen for layer in sizes.layers),
        "activations": sum(points) if problem.network.body.activations == "keep" else max(points),
    }
    own = Cost({"forward": sizes.forward}, {part: count * number for part, count in memory.items()})
    total = own + cost(problem.optimizer, sizes)
    return replace(total, read=total.read + total.memory["weights and steps"])


def estimate_step(problem: Problem) -> Estimate:
    """Count one step of `problem`, and measure the speeds that it depends on."""
    counted = step_cost(problem)
    return _estimate(problem, counted, _speeds(problem, counted))


def choose_solver(config: Config, dataset: Dataset) -> tuple[Config, dict[str, Estimate]]:
    """Settings with the faster solver in place of every automatic one, and the estimates by kind of solver.

    Faster by estimate, on this machine, of those that keep within the memory. Without an automatic solver the
    settings stay, and there are no estimates.

    Raises
    ------
    UsageError
        If settings do not fit the data, as `build_problem` says.
    """
    automatic = [part for part in parts_of(config.optimizer) if isinstance(part, Automatic)]
    if not automatic:
        return config, {}
    configs, estimates, fitting = {}, {}, {}
    for settled in (_minimum_norm, _conjugate_gradients):
        kind = kind_of(settled(automatic[0]))
        configs[kind] = replace(config, optimizer=mapped(_in_place_of_automatic(settled), config.optimizer))
        problem = build_problem(configs[kind], dataset)
        estimates[kind] = found = estimate_step(problem)
        bounds = (kernel_memory(part.memory, problem.backend) for part in automatic)
        of_solver = sum(found.cost.memory.get(part, 0) for part in ("cotangents", "blocks"))
        if all(bound is None or of_solver <= bound for bound in bounds):  # a kernel goes by tiles where it must
            fitting[kind] = found.seconds_per_step
    return configs[min(fitting, key=fitting.__getitem__)], estimates

"""The estimate of a step before it is taken: weights, memory, floating-point work, time.

The counts are those of `revgn.cost`. The time is each count over its speed, and the speeds are measured here
in a fraction of a second: of matrix products, of the factorizations that a step has, of memory and disk.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from revgn._dispatch import has_map
from revgn.arrays import Array, Scratch, cholesky, cholesky_solve, eigh, limits_of, nbytes, synchronize
from revgn.cost import Cost, Sizes, cost, layer_cost
from revgn.data import Dataset
from revgn.losses import curvature_root
from revgn.settings import Config, mapped, parts_of
from revgn.solvers import Automatic, ConjugateGradients, MinimumNorm, kernel_memory
from revgn.training.problem import Problem, build_problem

_TIMED_SECONDS = 0.2
_FACTORED = 4096  # largest order of the matrix whose Cholesky factorization is timed
_DECOMPOSED = 512  # and of the one whose eigenvectors are
_SOLVED = 512  # and of the factor with which systems are solved
_LAUNCHED = 100  # operations that are timed together
_HIDDEN_SCALE = 1e-3  # of initial weights that single precision hides, as measured on digits


class Speeds(NamedTuple):
    """Operations per second of products, Cholesky factorizations, eigendecompositions; bytes per second.

    `launch` is the time that starting an operation takes, and `solve` the time by which a row of a triangular
    solve follows the one before, both in seconds.
    """

    products: float
    factor: float = math.inf
    eigenvectors: float = math.inf
    read: float = math.inf
    disk: float = math.inf
    launch: float = 0.0
    solve: float = 0.0


class Estimate(NamedTuple):
    """Trained weights, the counts of one step, and the speeds of this machine."""

    parameters: int
    cost: Cost
    speeds: Speeds

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.cost.memory.values())

    @property
    def seconds_per_step(self) -> float:
        """Work and bytes over their speeds; a lower bound, since not all work counts.

        Operations are started while others are at work, so that the longer of the two times counts.
        """
        speeds = self.speeds
        special = {"factor": speeds.factor, "eigenvectors": speeds.eigenvectors}
        seconds = sum(count / special.get(part, speeds.products) for part, count in self.cost.work.items())
        seconds += self.cost.read / speeds.read + self.cost.solved * speeds.solve
        return max(seconds, self.cost.launches * speeds.launch) + self.cost.moved / speeds.disk


def step_cost(problem: Problem) -> Cost:
    """Count one step of `problem`: the forward pass, and what the optimizer adds.

    An optimizer or solver without `cost` is named in the result; so is a layer without `layer_cost`, and then
    nothing is counted.
    """
    kinds = dict.fromkeys(type(layer) for layer in problem.network.body.layers)
    if unknown := tuple(kind.__name__ for kind in kinds if not has_map(layer_cost, kind)):
        return Cost(unknown=unknown)
    sizes = _sizes(problem)
    points = [layer.point for layer in sizes.layers]
    copies = 2 + (problem.average is not None)  # the weights, their change, their average
    numbers = {
        "weights and steps": copies * sizes.weights,
        "frozen arrays": sum(layer.frozen for layer in sizes.layers),
        "activations": sum(points) if problem.network.body.activations == "keep" else max(points),
    }
    own = Cost({"forward": sizes.forward}, {part: of * sizes.number for part, of in numbers.items()})
    total = own + cost(problem.optimizer, sizes)
    return replace(total, read=total.read + total.memory["weights and steps"])


def estimate_step(problem: Problem) -> Estimate:
    """Count one step of `problem`, and measure the speeds that its time depends on.

    Raises
    ------
    UnsupportedMapError
        If a layer has no `layer_cost`.
    """
    return _estimates([problem])[0]


def choose_solver(config: Config, dataset: Dataset) -> tuple[Config, dict[str, Estimate]]:
    """Settings with the faster solver in place of every automatic one, and the estimates, its own first.

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

    def with_solver(solver: Callable[[Automatic], Any]) -> Config:
        def swapped(part: Any) -> Any:
            return solver(part) if isinstance(part, Automatic) else part

        return replace(config, optimizer=mapped(swapped, config.optimizer))

    tried = {
        "minimum-norm": with_solver(
            lambda part: MinimumNorm(part.damping, part.outputs, part.rows, part.memory)
        ),
        "cg": with_solver(
            lambda part: ConjugateGradients(part.damping, part.outputs, part.rows, part.tolerance)
        ),
    }
    problems = [build_problem(each, dataset) for each in tried.values()]
    found = dict(zip(tried, _estimates(problems), strict=True))
    bounds = (kernel_memory(part.memory, problems[0].backend) for part in automatic)
    bound = min(filter(None, bounds), default=math.inf)
    fitting = [kind for kind, of in found.items() if _least_memory(of.cost) <= bound]
    taken = min(fitting, key=lambda kind: found[kind].seconds_per_step)
    return tried[taken], {taken: found[taken], **found}


def solver_choice(estimates: dict[str, Estimate]) -> str:
    """Describe the choice of `choose_solver`: "cg: 0.21 s a step by estimate, minimum-norm 0.9 s"."""
    (taken, first), *others = ((kind, f"{of.seconds_per_step:.3g} s") for kind, of in estimates.items())
    return ", ".join([f"{taken}: {first} a step by estimate", *map(" ".join, others)])


def _least_memory(counted: Cost) -> int:
    """Bytes of a solver that cannot be fewer; a kernel is factored by tiles where it does not fit."""
    return counted.memory.get("cotangents", 0) + counted.memory.get("blocks", 0)


def _sizes(problem: Problem) -> Sizes:
    n, c = problem.batch_size, problem.dataset.train.targets.shape[1]
    z, root = problem.backend.asarray(np.full((1, c), 1.0 / c), dtype=problem.dtype), None
    if has_map(curvature_root, type(problem.loss)):
        root, _ = curvature_root(problem.loss, z, z)
    layers = tuple(layer_cost(layer, n) for layer in problem.network.body.layers)
    number, scale = nbytes((1,), z), getattr(problem.config.network, "init_scale", math.inf)
    return Sizes(
        n,
        c,
        number,
        layers,
        curvature_rows=None if root is None else root.shape[-1],
        starts_at_zero=scale <= (_HIDDEN_SCALE if number == 4 else 0.0),
        limits=limits_of(problem.backend),
    )


def _estimates(problems: Sequence[Problem]) -> list[Estimate]:
    """Estimates of problems with the same network and batch, by speeds that are measured once."""
    sizes, counted = _sizes(problems[0]), [step_cost(problem) for problem in problems]
    speeds = _speeds(problems[0], sizes, sum(counted, Cost()))
    return [Estimate(sizes.weights, each, speeds) for each in counted]


def _speeds(problem: Problem, sizes: Sizes, counted: Cost) -> Speeds:
    """Speeds of what a step has, in the problem's precision; eigenvectors are always found in double."""
    order, parts = counted.order, counted.work
    read = _read_speed(problem)
    return Speeds(
        products=_product_speed(problem, sizes),
        factor=_factor_speed(problem, min(order, _FACTORED)) if "factor" in parts else math.inf,
        eigenvectors=_eigen_speed(problem, min(order, _DECOMPOSED)) if "eigenvectors" in parts else math.inf,
        read=read,
        disk=_disk_speed(problem) if counted.moved else math.inf,
        launch=_launch_seconds(problem) if counted.launches else 0.0,
        solve=_solve_seconds(problem, read) if counted.solved else 0.0,
    )


def _product_speed(problem: Problem, sizes: Sizes) -> float:
    """Operations per second of a product in the network's own shape."""
    n, layer = min(sizes.samples, 1024), max(sizes.layers, key=lambda layer: layer.rows)
    x, C = _ones(problem, (n, layer.width)), _ones(problem, (layer.width, layer.rows))
    synchronize(x @ C)
    started, products = perf_counter(), 0
    while perf_counter() - started < _TIMED_SECONDS:
        synchronize(x @ C)
        products += 1
    work: float = 2.0 * n * C.shape[0] * C.shape[1] * products
    return work / (perf_counter() - started)


def _read_speed(problem: Problem) -> float:
    """Bytes per second at which a product with a vector reads a matrix that no cache holds."""
    K = _ones(problem, (4096, 4096))
    return nbytes(K.shape, K) / _fastest(lambda: K @ K[0, :])


def _factor_speed(problem: Problem, order: int) -> float:
    """Operations per second of a Cholesky factorization."""
    K = problem.backend.xp.eye(order, dtype=problem.dtype, device=problem.backend.device)
    return order**3 / 3 / _fastest(lambda: cholesky(K))


def _eigen_speed(problem: Problem, order: int) -> float:
    """Operations per second of an eigendecomposition in double precision, 9 N^3 of them."""
    G = np.random.default_rng(0).standard_normal((order, order))
    K = problem.backend.asarray(G @ G.T, dtype=problem.backend.xp.float64)
    return 9 * order**3 / _fastest(lambda: eigh(K)[1])


def _launch_seconds(problem: Problem) -> float:
    """Seconds to start an operation, by many on a single number."""
    x = _ones(problem, (1,))

    def many() -> Array:
        y = x
        for _ in range(_LAUNCHED):
            y = y + x
        return y

    return _fastest(many) / _LAUNCHED


def _solve_seconds(problem: Problem, read: float) -> float:
    """Seconds that a row of a triangular solve takes beyond the reading of the factor."""
    L = problem.backend.xp.eye(_SOLVED, dtype=problem.dtype, device=problem.backend.device)
    seconds = _fastest(lambda: cholesky_solve(L, L[:, :1])) - nbytes(L.shape, L) / read
    return max(0.0, seconds) / (2 * _SOLVED)


def _disk_speed(problem: Problem) -> float:
    """Bytes per second to and from the temporary folder; the system's cache makes it look its best."""
    array = _ones(problem, (1 << 22,))
    scratch, started = Scratch(room=0), perf_counter()
    scratch.put("", array)
    scratch.get("")
    seconds = perf_counter() - started
    scratch.close()
    return 2 * nbytes(array.shape, array) / seconds


def _ones(problem: Problem, shape: tuple[int, ...]) -> Array:
    ones: Array = problem.backend.xp.ones(shape, dtype=problem.dtype, device=problem.backend.device)
    return ones


def _fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of three calls; the first warms up."""
    seconds = math.inf
    for _ in range(3):
        started = perf_counter()
        synchronize(call())
        seconds = min(seconds, perf_counter() - started)
    return seconds

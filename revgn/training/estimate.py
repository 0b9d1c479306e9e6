"""Estimate of a training step in advance: number of weights, memory, floating-point operations, time.

`revgn.cost` counts the operations and bytes of a step. The time is each count divided by its speed. The
speeds of matrix products, factorizations, memory and disk are measured here, in a fraction of a second.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from revgn._dispatch import has_map
from revgn.arrays import (
    Array,
    Backend,
    Scratch,
    cholesky,
    cholesky_solve,
    eigh,
    limits_of,
    memory_size,
    nbytes,
    synchronize,
)
from revgn.cost import Cost, Sizes, cost, layer_cost, layer_costs
from revgn.data import Dataset
from revgn.losses import curvature_root
from revgn.networks import Padding
from revgn.settings import Config, mapped, parts_of
from revgn.solvers import Automatic, ConjugateGradients, MinimumNorm, kernel_memory
from revgn.training.problem import Problem, build_problem

_TIMED_SECONDS = 0.2
_FACTORED = 4096  # largest order of a matrix for timing the Cholesky factorization
_DECOMPOSED = 512  # largest order of a matrix for timing the eigendecomposition
_MULTIPLIED = 8192  # largest number of rows and columns for timing matrix products
_SOLVED = 512  # order of the factor for timing triangular solves
_LAUNCHED = 100  # number of operations that are timed together
_HIDDEN_SCALE = 1e-3  # in single precision, initial weights up to this scale act as zero (measured on digits)


class Speeds(NamedTuple):
    """Speeds of this machine.

    `products`, `factor` and `eigenvectors` are the operations per second of matrix products, Cholesky
    factorizations and eigendecompositions. `read` and `disk` are bytes per second of memory and disk.
    `launch` is the time to start one operation, and `solve` the time between successive rows of a triangular
    solve, both in seconds.
    """

    products: float
    factor: float = math.inf
    eigenvectors: float = math.inf
    read: float = math.inf
    disk: float = math.inf
    launch: float = 0.0
    solve: float = 0.0


class Estimate(NamedTuple):
    """Number of trained weights, cost of one step, and speeds of this machine."""

    parameters: int
    cost: Cost
    speeds: Speeds

    @property
    def memory_bytes(self) -> int:
        """Memory of a step, the sum over all its parts."""
        return sum(self.cost.memory.values())

    @property
    def seconds_per_step(self) -> float:
        """Estimated time of a step: operations and bytes divided by their speeds.

        It is a lower bound, because not all operations are counted. Operations are launched while others run,
        so the larger of launch time and computing time counts.
        """
        speeds = self.speeds
        special = {"factor": speeds.factor, "eigenvectors": speeds.eigenvectors}
        seconds = sum(count / special.get(part, speeds.products) for part, count in self.cost.work.items())
        seconds += self.cost.read / speeds.read + self.cost.solved * speeds.solve
        return max(seconds, self.cost.launches * speeds.launch) + self.cost.moved / speeds.disk


def step_cost(problem: Problem) -> Cost:
    """Return the cost of one step of `problem`: the forward pass and the optimizer's update.

    Optimizers and solvers without an implementation of `cost` are listed in `unknown`. If a type of layer has
    no `layer_cost`, only such types are listed, and nothing is counted.
    """
    kinds = dict.fromkeys(type(layer) for layer in problem.network.body.layers)
    if unknown := tuple(kind.__name__ for kind in kinds if not has_map(layer_cost, kind)):
        return Cost(unknown=unknown, notes=_padding_note(problem))
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
    read = total.read + total.memory["weights and steps"]
    notes = (*_padding_note(problem), *_memory_note(total, problem.backend), *total.notes)
    return replace(total, read=read, notes=notes)


def _padding_note(problem: Problem) -> tuple[str, ...]:
    """Return a note if another number of zeros is appended to the inputs than the settings request."""
    stem, outputs = problem.network.stem, problem.dataset.train.targets.shape[1]
    if not isinstance(stem, Padding):
        return ()
    wanted = getattr(problem.config.network, "padding", 0)
    added = 2 * stem.width - stem.features
    if wanted is not None:
        what = f"network.padding: {wanted} is rounded up to {added}, since both halves have the same width"
        return (what,) if 0 < wanted < added else ()
    what = "classes" if problem.dataset.task == "classification" else "targets"
    inputs = "1 input is" if stem.features == 1 else f"{stem.features} inputs are"
    return (f"the {inputs} padded with zeros to {2 * stem.width} for {outputs} {what} (network.padding)",)


def _memory_note(counted: Cost, backend: Backend) -> tuple[str, ...]:
    """Return a note if a step needs more memory than there is."""
    needed, room = sum(counted.memory.values()), memory_size(backend)
    if room is None or needed <= room:
        return ()
    where = "the GPU" if backend.name == "cupy" else "this machine"
    larger = ", ".join(sorted(counted.memory, key=lambda part: -counted.memory[part])[:2])
    return (
        f"a step needs {needed / 1e9:.3g} GB of memory, mostly for {larger}, but {where} has "
        f"{room / 1e9:.3g} GB; use fewer --blocks or --hidden features, or a smaller --batch-size",
    )


def estimate_step(problem: Problem) -> Estimate:
    """Return the cost of one step of `problem`, with the measured speeds that determine its time.

    Raises
    ------
    UnsupportedMapError
        If a layer has no `layer_cost`.
    """
    return _estimates([problem])[0]


def estimate_settings(config: Config, dataset: Dataset) -> tuple[Problem, Estimate, dict[str, Estimate]]:
    """Return the problem of settings, its estimate, and the estimates by which `choose_solver` chose.

    Only the shapes of the problem's network are right; see `build_problem`.
    """
    config, by_solver = choose_solver(config, dataset)
    problem = build_problem(config, dataset, shapes_only=True)
    return problem, next(iter(by_solver.values()), None) or estimate_step(problem), by_solver


def choose_solver(config: Config, dataset: Dataset) -> tuple[Config, dict[str, Estimate]]:
    """Replace every automatic solver by the solver with the shorter estimated time per step.

    The time is estimated on this machine, and only solvers within the memory bound are considered.

    Returns
    -------
    The new settings, and the estimates by solver, with the chosen solver first. Without an automatic solver,
    the settings are unchanged and there are no estimates.

    Raises
    ------
    UsageError
        If settings do not fit the data; see `build_problem`.
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
            lambda part: MinimumNorm(
                part.damping, part.outputs, part.rows, part.memory, damping_unit=part.damping_unit
            )
        ),
        "cg": with_solver(
            lambda part: ConjugateGradients(
                part.damping, part.outputs, part.rows, part.tolerance, damping_unit=part.damping_unit
            )
        ),
    }
    problems = [build_problem(each, dataset, shapes_only=True) for each in tried.values()]
    found = dict(zip(tried, _estimates(problems), strict=True))
    bounds = (kernel_memory(part.memory, problems[0].backend) for part in automatic)
    bound = min(filter(None, bounds), default=math.inf)
    fitting = [kind for kind, of in found.items() if _least_memory(of.cost) <= bound]
    taken = min(fitting, key=lambda kind: found[kind].seconds_per_step)
    return tried[taken], {taken: found[taken], **found}


def solver_choice(estimates: dict[str, Estimate]) -> str:
    """Describe the choice of `choose_solver`: "cg: 0.21 s per step (estimated), minimum-norm 0.9 s"."""
    (taken, first), *others = ((kind, f"{of.seconds_per_step:.3g} s") for kind, of in estimates.items())
    return ", ".join([f"{taken}: {first} per step (estimated)", *map(" ".join, others)])


def _least_memory(counted: Cost) -> int:
    """Return the memory that a solver needs at least; a kernel that does not fit is factored in tiles."""
    return counted.memory.get("cotangents", 0) + counted.memory.get("blocks", 0)


def _sizes(problem: Problem) -> Sizes:
    n, c = problem.batch_size, problem.dataset.train.targets.shape[1]
    z, root = problem.backend.asarray(np.full((1, c), 1.0 / c), dtype=problem.dtype), None
    if has_map(curvature_root, type(problem.loss)):
        root, _ = curvature_root(problem.loss, z, z)
    layers = tuple(each for layer in problem.network.body.layers for each in layer_costs(layer, n))
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
    """Return the estimates of problems with the same network and batch; the speeds are measured once."""
    sizes, counted = _sizes(problems[0]), [step_cost(problem) for problem in problems]
    speeds = _speeds(problems[0], sizes, sum(counted, Cost()))
    return [Estimate(sizes.weights, each, speeds) for each in counted]


def _speeds(problem: Problem, sizes: Sizes, counted: Cost) -> Speeds:
    """Measure the speeds that the cost of a step depends on, in the precision of the problem.

    Eigenvectors are always computed in double precision.
    """
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
    """Return the operations per second of a matrix product with the shapes of the network."""
    layer = max(sizes.layers, key=lambda layer: layer.rows)
    n, width, rows = (
        min(size, _MULTIPLIED)
        for size in (min(sizes.samples, 1024) * layer.positions, layer.width, layer.rows)
    )
    x, C = _ones(problem, (n, width)), _ones(problem, (width, rows))
    work: float = 2.0 * n * C.shape[0] * C.shape[1]
    return work / _fastest(lambda: x @ C, _TIMED_SECONDS)


def _read_speed(problem: Problem) -> float:
    """Return the bytes per second of a matrix-vector product, with a matrix larger than the cache."""
    K = _ones(problem, (4096, 4096))
    return nbytes(K.shape, K) / _fastest(lambda: K @ K[0, :])


def _factor_speed(problem: Problem, order: int) -> float:
    """Return the operations per second of a Cholesky factorization."""
    K = problem.backend.xp.eye(order, dtype=problem.dtype, device=problem.backend.device)
    return order**3 / 3 / _fastest(lambda: cholesky(K))


def _eigen_speed(problem: Problem, order: int) -> float:
    """Return the operations per second of an eigendecomposition in double precision, counted as 9 N^3."""
    G = np.random.default_rng(0).standard_normal((order, order))
    K = problem.backend.asarray(G @ G.T, dtype=problem.backend.xp.float64)
    return 9 * order**3 / _fastest(lambda: eigh(K)[1])


def _launch_seconds(problem: Problem) -> float:
    """Return the seconds to start one operation, measured with many operations on a single number."""
    x = _ones(problem, (1,))

    def many() -> Array:
        y = x
        for _ in range(_LAUNCHED):
            y = y + x
        return y

    return _fastest(many) / _LAUNCHED


def _solve_seconds(problem: Problem, read: float) -> float:
    """Return the seconds per row of a triangular solve, without the time to read the factor."""
    L = problem.backend.xp.eye(_SOLVED, dtype=problem.dtype, device=problem.backend.device)
    seconds = _fastest(lambda: cholesky_solve(L, L[:, :1])) - nbytes(L.shape, L) / read
    return max(0.0, seconds) / (2 * _SOLVED)


def _disk_speed(problem: Problem) -> float:
    """Return the bytes per second to and from the temporary folder.

    The cache of the operating system makes this an upper bound.
    """
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


def _fastest(call: Callable[[], Any], least: float = 0.0) -> float:
    """Return the seconds of the fastest call, of at least three that take `least` seconds together.

    The first call is a warm-up. The mean would also count other work of the machine.
    """
    begun, calls, seconds = perf_counter(), 0, math.inf
    while calls < 3 or perf_counter() - begun < least:
        started = perf_counter()
        synchronize(call())
        seconds = min(seconds, perf_counter() - started)
        calls += 1
    return seconds

"""What a step will cost, before it is taken: weights, memory, floating-point work, time.

The work is that of the dominant matrix products; a product of (n, d/2) by (d/2, h) is n d h operations.
What large arrays are only read for, in products with a vector, counts in bytes. The time is the work over the
speed of a matrix product, and bytes over the speed of a product with a vector; both are measured here in a
fraction of a second, as are the speeds of a Cholesky factorization and of the disk where a step has these.
"""

import math
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from revgn.arrays import Array, Scratch, cholesky, nbytes, synchronize
from revgn.data import Dataset
from revgn.layers import LinearFeatures
from revgn.networks import parameter_count
from revgn.solvers import Shares
from revgn.solvers.conjugate_gradients import direction_count
from revgn.solvers.kernel import HELD
from revgn.training.problem import Problem, architecture, build_problem, kernel_memory
from revgn.training.relevance import optimizers_of, unused_settings
from revgn.training.route import KERNEL_PASSES, Route, choose_route
from revgn.training.settings import Config, OptimizerSettings

_TIMED_SECONDS = 0.2
_FACTORED = 4096  # order of the kernel whose factorization is timed, at most


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counts of one step; `memory` bytes by part, `work` floating-point operations by part.

    `route` is how the minimum norm gets by its kernel: "dense", "tiles", or None where there is no kernel.
    """

    features: int
    outputs: int
    train_rows: int
    batch_size: int
    steps: int
    parameters: int
    memory: dict[str, int]
    work: dict[str, float]
    flops_per_second: float
    route: str | None = None
    disk_bytes: int = 0
    moved_bytes: float = 0.0
    factor_flops_per_second: float = math.inf
    disk_bytes_per_second: float = math.inf
    read_bytes: float = 0.0
    read_bytes_per_second: float = math.inf

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.memory.values())

    @property
    def seconds_per_step(self) -> float:
        """Work and bytes over their speeds; a lower bound, since not all work counts."""
        factor = self.work["factor"] if self.route else 0.0
        seconds = (sum(self.work.values()) - factor) / self.flops_per_second
        seconds += factor / self.factor_flops_per_second
        seconds += self.read_bytes / self.read_bytes_per_second
        return seconds + self.moved_bytes / self.disk_bytes_per_second


class _Step(NamedTuple):
    """One plain optimizer's: bytes of memory and operations by part, and bytes that are only read."""

    memory: dict[str, int]
    work: dict[str, float]
    read: float


def estimate_step(problem: Problem) -> Estimate:
    """Count one step of `problem`, and measure the speed of its matrix product.

    Both optimizers of a hybrid count; of a switch both remember, and the one of more work works.
    """
    train_rows, d = problem.dataset.train.inputs.shape
    weights = parameter_count(architecture(problem.config), d)
    settings = problem.config.optimizer
    parts = [_plain_step(part) for part in _parts(problem)]
    memory, work = _sums([part.memory for part in parts]), _sums([part.work for part in parts])
    read = sum(part.read for part in parts)
    size = 4 if problem.config.training.dtype == "float32" else 8
    shared = 2 + (problem.average is not None)  # the weights, their change, their average
    memory["weights and steps"] -= (len(parts) - 1) * shared * weights * size
    memory["frozen arrays"] = parts[0].memory["frozen arrays"]
    if settings.hybrid == "switch":
        _, work, read = max(parts, key=lambda part: sum(part.work.values()))
    elif settings.hybrid == "agreement":
        work["forward"] *= 2  # of the whole batch, then of its halves
    else:
        work["forward"] = parts[0].work["forward"]
    if settings.hybrid != "agreement":
        memory["activations"] = parts[0].memory["activations"]
    if settings.length_rule != "fixed" or settings.trust_change is not None:
        tried = {"fixed": 0, "backtracking": 1, "second-batch": 2}[settings.length_rule]  # at least
        tangent = settings.length_rule == "backtracking" or settings.trust_change is not None
        work["length"] = tried * work["forward"] + 2 * tangent * work["forward"]
    routes = [route for part in _parts(problem) if (route := _route(part)) is not None]
    on_disk = sum(route.disk for route in routes)
    return Estimate(
        features=d,
        outputs=problem.dataset.train.targets.shape[1],
        train_rows=train_rows,
        batch_size=problem.batch_size,
        steps=problem.total_steps,
        parameters=weights,
        memory=memory,
        work=work,
        flops_per_second=_product_speed(problem),
        route=routes[0].name if routes else None,
        disk_bytes=on_disk,
        moved_bytes=sum(route.moved for route in routes),
        factor_flops_per_second=_factor_speed(problem, routes[0].order) if routes else math.inf,
        disk_bytes_per_second=_disk_speed(problem) if on_disk else math.inf,
        read_bytes=read,
        read_bytes_per_second=_read_speed(problem),
    )


def choose_solver(config: Config, dataset: Dataset) -> tuple[Config, dict[str, Estimate]]:
    """Settings with the faster of the minimum norm's solvers in place of "auto", and the estimates by solver.

    Faster by estimate, on this machine, of those that keep within `optimizer.memory`. Settings of the other
    solver go back to their defaults. A solver that is set stays, without an estimate.

    Raises
    ------
    UsageError
        If settings do not fit the data, as `build_problem` says.
    """
    if config.optimizer.solver != "auto":
        return config, {}
    estimates, fitting = {}, {}
    for name in ("dense", "cg"):
        problem = build_problem(_with_solver(config, name), dataset)
        estimates[name] = found = estimate_step(problem)
        bound = kernel_memory(config.optimizer, problem.backend)
        of_solver = sum(found.memory.get(part, 0) for part in ("cotangents", "blocks"))
        if bound is None or of_solver <= bound:  # the dense one goes by tiles where it must
            fitting[name] = found.seconds_per_step
    return _with_solver(config, min(fitting, key=lambda name: fitting[name])), estimates


def solver_choice(config: Config, estimates: dict[str, Estimate]) -> str:
    """What `choose_solver` took, in words: "cg: 0.21 s a step by estimate, dense 0.9 s"."""
    taken = config.optimizer.solver
    others = [f"{name} {of.seconds_per_step:.3g} s" for name, of in estimates.items() if name != taken]
    return f"{taken}: {estimates[taken].seconds_per_step:.3g} s a step by estimate, {', '.join(others)}"


def _with_solver(config: Config, solver: str) -> Config:
    optimizer = msgspec.structs.replace(config.optimizer, solver=solver)
    unused = unused_settings(msgspec.structs.replace(config, optimizer=optimizer))
    defaults = OptimizerSettings()
    changes = {
        name: getattr(defaults, name)
        for section, _, name in (path.partition(".") for path in unused)
        if section == "optimizer"
    }
    return msgspec.structs.replace(config, optimizer=msgspec.structs.replace(optimizer, **changes))


def _parts(problem: Problem) -> list[Problem]:
    """Problems of one plain optimizer each: one, the two of a hybrid, or one on each half of the batch."""
    settings, n = problem.config.optimizer, problem.batch_size
    plain = [msgspec.structs.replace(settings, name=name, hybrid="none") for name in optimizers_of(settings)]
    if settings.hybrid == "agreement":
        configs, sizes = plain * 2, [n // 2, n - n // 2]
    else:
        configs, sizes = plain, [n] * len(plain)
    return [
        replace(problem, config=msgspec.structs.replace(problem.config, optimizer=own), batch_size=size)
        for own, size in zip(configs, sizes, strict=True)
    ]


def _sums(parts: list[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def _plain_step(problem: Problem) -> _Step:
    """What a step of a plain optimizer costs."""
    shape = architecture(problem.config)
    settings = problem.config.optimizer
    n, L = problem.batch_size, shape.blocks
    d = problem.dataset.train.inputs.shape[1]
    d2, c = (d + 1) // 2, problem.dataset.train.targets.shape[1]
    size = 4 if problem.config.training.dtype == "float32" else 8
    weights = parameter_count(shape, d)
    copies = {
        "adam": 6,
        "sgd": 4 if settings.momentum else 3,
        "muon": 5,
        "kfac": 6 if settings.momentum else 4,
        "lbfgs": 6 + 2 * settings.history,
    }.get(settings.name, 3) + (problem.average is not None)
    couplings = [_work(layer, n) for layer in problem.network.body.layers]

    def total(*maps: str) -> float:
        return sum(coupling[name] for coupling in couplings for name in maps)

    points = [coupling["point"] for coupling in couplings]
    stored = sum(points) if shape.activations == "keep" else max(points)
    memory = {
        "weights and steps": copies * weights * size,
        "frozen arrays": int(total("frozen")) * size,
        "activations": int(stored) * size,
    }
    work = {"forward": total("forward")}
    read = float(memory["weights and steps"])
    if settings.name == "muon" or settings.orthogonal:
        small, large = sorted((shape.hidden, d2))
        work["orthogonalize"] = 2 * L * 5 * (4.0 * small**2 * large + 2.0 * small**3)
    if settings.name == "gauss-newton" and settings.metric == "features":
        orders = [coupling["features"] for coupling in couplings]
        work["metric"] = sum(4.0 * n * m**2 + 2.0 * m**2 * d2 for m in orders)
        work["metric"] += sum(4 / 3 * m**3 for m in orders) / settings.metric_every
        memory["metric"] = int(sum(2 * m**2 for m in orders)) * size
        memory["activations"] *= 2  # the features in the metric stand beside those that are not
    if settings.name != "gauss-newton":
        work["gradient"] = total("vjp_params", "tangent") - couplings[0]["tangent"]
        if settings.name == "lbfgs":
            work["line search"] = work["forward"] + work["gradient"]  # of the one length that is mostly tried
        elif settings.name == "kfac":
            orders = [coupling["features"] for coupling in couplings]
            pulled = c * (total("tangent") - couplings[0]["tangent"])
            grams = sum(2.0 * n * order**2 + 2.0 * c * n * d2**2 for order in orders)
            inverses = sum(7 / 3 * (order**3 + d2**3) for order in orders)
            work["factors"] = (pulled + grams + inverses) / settings.factor_every
            work["solve"] = sum(2.0 * order * d2 * (order + d2) for order in orders)
            memory["factors"] = int(sum(4 * (order**2 + d2**2) for order in orders)) * size
            memory["pull-back"] = c * n * max(shape.hidden, d2) * size
    elif settings.inverse == "block":
        ranks = [int(coupling["order"]) for coupling in couplings]
        asked = _asked(settings.shares, ranks, n)
        first = 2 * asked[0]
        solved = [k for block in asked for k in (2 * block, 2 * block + 1)]
        passed = couplings[first + 2 :]  # by what is wanted, and back by what is realized
        work["gram"] = sum(couplings[k]["gram"] for k in solved)
        work["factor"] = sum(ranks[k] ** 3 for k in solved) / 3
        work["sweep"] = sum(couplings[k]["vjp_params"] + couplings[k]["jvp_params"] for k in solved)
        work["sweep"] += couplings[first + 1]["tangent"] + sum(coupling["tangent"] for coupling in passed)
        work["rho"] = sum(coupling["tangent"] for coupling in passed)
        memory["gram"] = sum(ranks[k] ** 2 for k in solved) * size
    else:
        own = settings.curvature == "exact" and not settings.output_damping  # combinations, each sample's own
        m = _outputs(problem)
        N = n * m
        pulled = sum(coupling["tangent"] for coupling in couplings[1:-1])
        work["pull-back"] = m * (pulled + couplings[-1]["tangent"] * (1.0 if own else 0.5))
        work["solve and rho"] = total("vjp_params", "tangent", "tangent", "jvp_params")
        kernels = 2 * L - (0 if own else 1)  # whose cotangents differ from sample to sample
        if settings.solver == "cg":
            orders = [coupling["features"] for coupling in couplings]
            iterations = expected_iterations(settings, n)
            work["iterations"] = iterations * sum(min(2.0 * n, 4.0 * order) * n * d2 for order in orders)
            memory["cotangents"] = kernels * N * d2 * size
            read += iterations * 2 * memory["cotangents"]
            if settings.preconditioner == "blocks":
                g, r = min(settings.block_samples, n), direction_count(settings.directions, n)
                read += iterations * N * (2 if r else 1) * (g + r) * size
                work["blocks"] = float(N) * g * (kernels * d2 + g / 3) + total("gram") * g / n
                if r:
                    eigen = 9.0 * sum(min(n, order) ** 3 + d2**3 for order in orders)
                    work["directions"] = float(N) * r * (2.0 * g + 2.0 * r) + eigen
                memory["blocks"] = N * (g + r) * size
        else:
            route = _route(problem)
            assert route is not None
            work["kernel"] = total("gram") + kernels * float(N) * N * d2
            work["factor"] = route.order**3 / 3
            memory["kernel"] = route.memory
            if route.name == "dense":
                read += (2 * -(-kernels // HELD) + KERNEL_PASSES) * route.memory / 2
            if route.name == "tiles":
                work["pull-back"] += work["forward"]
    return _Step(memory, work, read)


def expected_iterations(settings: OptimizerSettings, n: int) -> float:
    """Iterations of conjugate gradients, as training on Fashion-MNIST took them (`tests/bench/bench_cg.py`).

    They grow with the root of the batch and the digits asked for, and fall with damping until it is 0.1.
    """
    damped = min(max(0.5 - 0.5 * math.log10(settings.damping or 1e-9), 1.0), 3.0)
    few = 7.0 * math.sqrt(n / 256) * damped * math.log10(settings.tolerance) / -3.0
    return min(few * (1 if settings.preconditioner == "blocks" else 10), settings.max_iterations)


def _route(problem: Problem) -> Route | None:
    """How a step of a plain optimizer gets by its kernel, if it has one."""
    settings = problem.config.optimizer
    if (settings.name, settings.inverse, settings.solver) != ("gauss-newton", "minimum-norm", "dense"):
        return None
    n, m = problem.batch_size, _outputs(problem)
    couplings = [_work(layer, n) for layer in problem.network.body.layers]
    d2 = problem.network.readout.first.shape[0]
    width = sum(int(coupling["features"]) + m * d2 for coupling in couplings)
    size = 4 if problem.config.training.dtype == "float32" else 8
    bound = kernel_memory(settings, problem.backend)
    return choose_route(n, m, width, size, bound)


def _outputs(problem: Problem) -> int:
    """Rows of the kernel for each sample: outputs, or their contrasts."""
    settings = problem.config.optimizer
    c: int = problem.dataset.train.targets.shape[1]
    own = settings.curvature == "exact" and not settings.output_damping
    return c - 1 if own or settings.outputs == "contrasts" else c


def _asked(shares: Shares, orders: list[int], n: int) -> list[int]:
    """Blocks that have a share, as far as their features' count tells."""
    blocks = range(len(orders) // 2)
    if shares in ("first", "last"):
        return [0 if shares == "first" else len(blocks) - 1]
    if not isinstance(shares, str):
        return [block for block in blocks if shares[block]]
    able = [block for block in blocks if min(orders[2 * block : 2 * block + 2]) == n]
    return able if able and shares == "full-rank" else list(blocks)


def _work(layer: Any, n: int) -> dict[str, float]:
    """Operations of one coupling's maps for n samples; `tangent` is a jvp or vjp in the input.

    With them the numbers that it stores: `frozen` arrays, and the `point` of a linearization.
    """
    d2, h = layer.features.projection.shape
    if isinstance(layer.features, LinearFeatures):
        narrow, weights = 2.0 * n * d2 * d2, 2.0 * d2 * d2 * h
        order = min(n, d2 + 1)
        return {
            "forward": 2 * narrow + weights,
            "tangent": narrow,
            "jvp_params": narrow + weights,
            "vjp_params": narrow + weights,
            "gram": float(n) * d2 * order,
            "order": order,
            "features": d2 + 1,
            "frozen": d2 * (2 * h + d2),
            "point": n * (d2 + 1) + d2 * d2,
        }
    product = 2.0 * n * d2 * h
    order = min(n, h + 1)
    return {
        "forward": 2 * product,
        "tangent": 2 * product,
        "jvp_params": product,
        "vjp_params": product,
        "gram": float(n) * h * order,
        "order": order,
        "features": h + 1,
        "frozen": d2 * h,
        "point": n * (2 * h + 1),
    }


def _product_speed(problem: Problem) -> float:
    """Operations per second of a product of the network's own shape."""
    layer: Any = problem.network.body.layers[-1]
    d2, h = layer.features.projection.shape
    x = problem.backend.xp.ones(
        (min(problem.batch_size, 1024), d2), dtype=problem.dtype, device=problem.backend.device
    )
    synchronize(x @ layer.features.projection)
    started, products = perf_counter(), 0
    while perf_counter() - started < _TIMED_SECONDS:
        y = x @ layer.features.projection
        synchronize(y)
        products += 1
    work: float = 2.0 * x.shape[0] * d2 * h * products
    return work / (perf_counter() - started)


def _read_speed(problem: Problem) -> float:
    """Bytes per second that a product with a vector reads a matrix at, which no cache holds."""
    K = problem.backend.xp.ones((4096, 4096), dtype=problem.dtype, device=problem.backend.device)
    seconds = math.inf
    for _ in range(3):
        started = perf_counter()
        synchronize(K @ K[0, :])
        seconds = min(seconds, perf_counter() - started)
    return nbytes(K.shape, K) / seconds


def _factor_speed(problem: Problem, order: int) -> float:
    """Operations per second of a Cholesky factorization, of that order as far as time allows."""
    order = min(order, _FACTORED)
    K = problem.backend.xp.eye(order, dtype=problem.dtype, device=problem.backend.device)
    seconds = math.inf
    for _ in range(3):  # the first warms up
        started = perf_counter()
        L = cholesky(K)
        assert L is not None
        synchronize(L)
        seconds = min(seconds, perf_counter() - started)
    return order**3 / 3 / seconds


def _disk_speed(problem: Problem) -> float:
    """Bytes per second to and from the temporary folder; the system's cache makes it look its best."""
    array: Array = problem.backend.xp.ones((1 << 22,), dtype=problem.dtype, device=problem.backend.device)
    scratch, started = Scratch(room=0), perf_counter()
    scratch.put("", array)
    scratch.get("")
    seconds = perf_counter() - started
    scratch.close()
    return 2 * nbytes(array.shape, array) / seconds

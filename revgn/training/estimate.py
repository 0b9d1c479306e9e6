"""What a step will cost, before it is taken: weights, memory, floating-point work, time.

The work is that of the dominant matrix products; a product of (n, d/2) by (d/2, h) is n d h operations.
The time is the work over the speed of such a product, measured here in a fraction of a second, as are the
speeds of a Cholesky factorization and of the disk where the step has these.
"""

import math
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import msgspec

from revgn.arrays import Array, Scratch, cholesky, nbytes, synchronize
from revgn.layers import LinearCoupling
from revgn.maps import Layer
from revgn.networks import parameter_count
from revgn.solvers import Shares
from revgn.training.problem import Problem, architecture, kernel_memory
from revgn.training.relevance import optimizers_of
from revgn.training.route import Route, choose_route

_TIMED_SECONDS = 0.2
_FACTORED = 2048  # order of the kernel whose factorization is timed, at most
_CG_ITERATIONS = 30  # a guess, right for batches of 1,024; the step itself tells


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

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(self.memory.values())

    @property
    def seconds_per_step(self) -> float:
        """Work over speed, and bytes; a lower bound, since of the work only products and factors count."""
        factor = self.work["factor"] if self.route else 0.0
        seconds = (sum(self.work.values()) - factor) / self.flops_per_second
        seconds += factor / self.factor_flops_per_second
        return seconds + self.moved_bytes / self.disk_bytes_per_second


def estimate_step(problem: Problem) -> Estimate:
    """Count one step of `problem`, and measure the speed of its matrix product.

    Both optimizers of a hybrid count; of a switch both remember, and the one of more work works.
    """
    train_rows, d = problem.dataset.train.inputs.shape
    weights = parameter_count(architecture(problem.config), d)
    settings = problem.config.optimizer
    parts = [_plain_step(part) for part in _parts(problem)]
    memory, work = _sums([part[0] for part in parts]), _sums([part[1] for part in parts])
    size = 4 if problem.config.training.dtype == "float32" else 8
    shared = 2 + (problem.average is not None)  # the weights, their change, their average
    memory["weights and steps"] -= (len(parts) - 1) * shared * weights * size
    memory["frozen arrays"] = parts[0][0]["frozen arrays"]
    if settings.hybrid == "switch":
        work = max((part[1] for part in parts), key=lambda part: sum(part.values()))
    elif settings.hybrid == "agreement":
        work["forward"] *= 2  # of the whole batch, then of its halves
    else:
        work["forward"] = parts[0][1]["forward"]
    if settings.hybrid != "agreement":
        memory["activations"] = parts[0][0]["activations"]
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
    )


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


def _plain_step(problem: Problem) -> tuple[dict[str, int], dict[str, float]]:
    """Memory and work of a step of a plain optimizer."""
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
    if settings.name != "gauss-newton":
        work["gradient"] = total("vjp_params", "tangent") - couplings[0]["tangent"]
        if settings.name == "lbfgs":
            work["line search"] = work["forward"] + work["gradient"]  # of the one length that is mostly tried
        elif settings.name == "muon":
            small, large = sorted((shape.hidden, d2))
            work["orthogonalize"] = 2 * L * 5 * (4.0 * small**2 * large + 2.0 * small**3)
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
            products = sum(min(2.0 * n, 4.0 * order) * n * d2 for order in orders) + 4.0 * kernels * N * d2
            work["iterations"] = _CG_ITERATIONS * products
            memory["cotangents"] = kernels * N * d2 * size
            if settings.preconditioner == "blocks":
                g, r = min(settings.block_samples, n), min(settings.directions, n // 4)
                work["blocks"] = float(N) * g * (kernels * d2 + g / 3) + total("gram") * g / n
                work["directions"] = float(N) * r * (2.0 * g + 2.0 * r)
                memory["blocks"] = N * (g + r) * size
        else:
            route = _route(problem)
            assert route is not None
            work["kernel"] = total("gram") + kernels * float(N) * N * d2
            work["factor"] = route.order**3 / 3
            memory["kernel"] = route.memory
            if route.name == "tiles":
                work["pull-back"] += work["forward"]
    return memory, work


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


def _work(layer: Layer, n: int) -> dict[str, float]:
    """Operations of one coupling's maps for n samples; `tangent` is a jvp or vjp in the input.

    With them the numbers that it stores: `frozen` arrays, and the `point` of a linearization.
    """
    d2, h = layer.projection.shape
    if isinstance(layer, LinearCoupling):
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
    layer = problem.network.body.layers[-1]
    d2, h = layer.projection.shape
    x = problem.backend.xp.ones(
        (min(problem.batch_size, 1024), d2), dtype=problem.dtype, device=problem.backend.device
    )
    synchronize(x @ layer.projection)
    started, products = perf_counter(), 0
    while perf_counter() - started < _TIMED_SECONDS:
        y = x @ layer.projection
        synchronize(y)
        products += 1
    work: float = 2.0 * x.shape[0] * d2 * h * products
    return work / (perf_counter() - started)


def _factor_speed(problem: Problem, order: int) -> float:
    """Operations per second of a Cholesky factorization, of that order as far as time allows."""
    order = min(order, _FACTORED)
    K = problem.backend.xp.eye(order, dtype=problem.dtype, device=problem.backend.device)
    seconds = math.inf
    for _ in range(2):  # the first warms up
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

"""How the minimum norm gets by its kernel, from estimates of memory and work: as a whole, or by tiles."""

from typing import NamedTuple

from revgn.solvers import is_dense, plan_tiles

KERNEL_PASSES = 24  # over the tiles of the factor: estimates of its eigenvalues, a solution, a refinement


class Route(NamedTuple):
    """A way to solve with the kernel of that order: bytes in memory, on disk, and moved to and from disk."""

    name: str
    order: int
    memory: int
    disk: int = 0
    moved: float = 0.0


def choose_route(n: int, outputs: int, width: int, size: int, bound: int | None) -> Route:
    """The first of the routes that keeps within the bound, as `revgn.solvers.MinimumNorm` goes.

    Parameters
    ----------
    width : int
        Numbers a sample that tiles are formed from.
    size : int
        Bytes of a number.
    """
    order = n * outputs
    if bound is None or is_dense("cholesky", order, size, bound):
        return Route("dense", order, order**2 * size)
    plan = plan_tiles(n, outputs, width, size, bound)
    memory = plan.at_work + min(plan.room, plan.kernel + plan.sources)
    share = plan.on_disk / (plan.kernel + plan.sources)  # of all that is read
    rows = plan.samples * outputs
    read = share * (size * order**3 / (3 * rows) + KERNEL_PASSES * plan.kernel)
    return Route("tiles", order, memory, plan.on_disk, plan.on_disk + read)

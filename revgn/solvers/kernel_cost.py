"""Operations and memory of the tangent kernel Theta, from the sizes of a network."""

from revgn.cost import LayerCost, Sizes
from revgn.solvers.leave_one_out import Damping

GRADIENTS = 1 << 24  # elements of per-sample rows that may be in memory at a time, even if Theta is smaller
_HIDDEN = 0.8  # observed: below this ratio of rank at W = 0 to order, the kernel is singular for small W too
HELD = 4  # parts that are held in memory, and added to Theta together in one sweep over Theta


def sum_work(n: int, c: int, P: int, m: int, k: int) -> float:
    """Return the operations of a part of Theta, order c n, from rows G (m, k) of each sample."""
    return float(c * n) * m * k * (2.0 * P + c * n)


def pair_work(n: int, c: int, P: int, m: int, k: int) -> float:
    """Return the operations of a part of Theta, order c n, from Gram matrices of all pairs of positions."""
    return float(P * n) ** 2 * (m * (2.0 if P > 1 else 1.0) + float(c) ** 2 * k)


def takes_sums(n: int, c: int, P: int, m: int, k: int) -> bool:
    """Return whether the rows of each sample take fewer operations than all pairs of positions."""
    return P > 1 and sum_work(n, c, P, m, k) < pair_work(n, c, P, m, k)


def kernel_work(sizes: Sizes, rows: int) -> float:
    """Return the operations of Theta with `rows` rows per sample, without the pull-back of the cotangents."""
    n, c, layers = sizes.samples, rows, sizes.layers
    work = 0.0
    for layer in layers:
        if layer.positions > 1:
            of = n, c, layer.positions, layer.features, layer.width
            work += min(sum_work(*of), pair_work(*of))
        else:
            is_same = layer is layers[-1] and not sizes.own_rows  # cotangents are the same for all samples
            work += layer.gram + (0.0 if is_same else float(c * n) ** 2 * layer.width)
    return work


def are_summed(layer: LayerCost, n: int, c: int) -> bool:
    """Return `takes_sums` for a layer."""
    return takes_sums(n, c, layer.positions, layer.features, layer.width)


def rows_memory(sizes: Sizes, rows: int, *, kept: bool) -> int:
    """Return the bytes of the parts of layers with several positions, all at once if they are `kept`."""
    n, c = sizes.samples, rows
    numbers = [
        c * n * of.features * of.width
        if are_summed(of, n, c)
        else n * of.positions * (of.features + c * of.width)
        for of in sizes.layers
        if of.positions > 1
    ]
    if kept:
        return sum(numbers) * sizes.number
    bound = max(GRADIENTS, (c * n) ** 2)
    return sum(min(each, bound) for each in sorted(numbers)[-HELD:]) * sizes.number


def are_few(rows: int, parts: int, outputs: int) -> bool:
    """Return whether the cotangents of `rows` rows of each sample fit in memory for all parts at once.

    They do if they take no more memory than the cotangents of all outputs for HELD parts, which are held
    while the kernel is formed.
    """
    return rows * parts <= HELD * outputs


def singular_kernel(damping: Damping, rows: int, sizes: Sizes) -> str | None:
    """Return the beginning of a note if the undamped kernel is known to be singular, else None."""
    order, rank, when = sizes.samples * rows, sizes.rank_bound(rows), ""
    at_zero = sizes.rank_at_zero(rows)
    if sizes.starts_at_zero and at_zero < min(rank, _HIDDEN * order):
        rank, when = at_zero, " at initialization"
    if damping or rank >= order:
        return None
    return f"without damping, the kernel of order {order:,} is singular (rank at most {rank:,}{when})"

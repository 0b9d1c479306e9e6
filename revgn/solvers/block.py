"""The block step: each block has its own pseudoinverse, applied to eps carried back to the block.

A block is two couplings, F then G, that move the two halves in turn, or one layer that moves both. With v
wanted at its output (v_f on the half that F moves, v_g on the other),

    D_F = A_F^+ v_f         r = A_F D_F
    D_G = A_G^+ (v_g - ((r C_G) * phi'_G) Wb_G)

and v is carried through the block's inverse jvp to the block before. At the output v = eps U^T. Block l
gets the weight tau_l of D_F and D_G. Where A_F has rank n, r = v_f, and the bracket is the very tangent
that the inverse jvp needs next: one product serves both. Source: Buffelli et al. 2024, section 4.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from revgn import maps, trees
from revgn._dispatch import has_map
from revgn.arrays import Array, Deferred, add, read, ready, runs_ahead, subtract, together
from revgn.cost import Cost, Sizes, cost
from revgn.errors import ShapeError, UsageError
from revgn.layers import ReadoutParams, lift
from revgn.linalg import RUNGS, FactorInfo, PinvInfo, PinvRule
from revgn.maps import BegunParamsStep, Factored, Halves, Point
from revgn.networks import ChainParams, points_backward, points_forward
from revgn.solvers.block_weights import BlockWeights, check_block_weights, fixed_weights, full_rank_weights
from revgn.solvers.jacobian import Jacobian, SolveInfo, begin_rho, check_wanted, solve
from revgn.structs import setting, struct
from revgn.trees import is_empty


@struct
class BlockWise:
    """Moore-Penrose in each block, blended by block weights: J G eps = eps where the blocks have rank n."""

    block_weights: BlockWeights = setting(
        "Weights tau_l by which eps is divided among the blocks; see `revgn.solvers.block_weights`.",
        default="full-rank",
    )
    rtol: float | None = setting(
        "Singular values of A below rtol s_1 count as 0; by default only what rounding hides.",
        default=None,
        ge=0,
        lt=1,
    )
    atol: float = setting("Singular values of A below atol count as 0.", default=0.0, ge=0)
    damping: float = setting("Damping, relative to s_1^2 of each A.", default=0.0, ge=0, resumable=True)

    def check(self) -> None:
        """Raise `UsageError` for block weights that do not sum to 1."""
        check_block_weights(self.block_weights)

    @property
    def rule(self) -> PinvRule:
        """Truncation and damping of each A^+."""
        return PinvRule(self.rtol, self.atol, self.damping)


@solve.register(BlockWise)
def solve_block_wise(solver: BlockWise, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    check_wanted(J, eps)
    blocks = blocks_of(J)
    started = perf_counter()
    weights = fixed_weights(solver.block_weights, len(blocks))
    factored: list[Factored | None] = [None] * len(J.params)
    if weights is None:
        ranks, factored = _ranks(solver.rule, J, blocks)
        weights = full_rank_weights(ranks)
    elif runs_ahead(eps) and J.point.points is not None:
        asked = {k for block, weight in zip(blocks, weights, strict=True) if weight for k in block}
        for k, (_, found) in _factored(solver.rule, J, lambda k, _: k in asked).items():
            factored[k] = found
    factored_at = perf_counter()
    v = lift(J.network.readout, eps)
    for at_once in (not runs_ahead(eps), True):
        D, begun, realized = _sweep(solver.rule, J, v, blocks, weights, factored, at_once=at_once)
        JD = maps.forward(J.network.readout, ReadoutParams(), realized)
        numbers: list[Deferred[Any]] = [begin_rho(JD, eps), *begun]
        measured, *infos = read(together(numbers))
        if None not in infos:
            break
    finished = perf_counter()
    return D, SolveInfo(
        rho=measured,
        residual=max(info.residual for info in infos),
        rung=RUNGS[max(RUNGS.index(info.rung) for info in infos)],
        rank=min(info.rank for info in infos),
        order=max(info.order for info in infos),
        s_max=max(info.s_max for info in infos),
        s_min=min(info.s_min for info in infos),
        damping=max(info.damping for info in infos),
        block_weights=weights,
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
    )


@cost.register(BlockWise)
def cost_block_wise(solver: BlockWise, sizes: Sizes) -> Cost:
    n, layers = sizes.samples, sizes.layers
    orders = [min(n, layer.features) for layer in layers]
    weights = fixed_weights(solver.block_weights, len(layers) // 2)
    if weights is None:
        weights = full_rank_weights([min(pair) for pair in zip(orders[::2], orders[1::2], strict=True)])
    asked = [k for k in range(len(layers)) if weights[k // 2]]
    after = sum(layer.tangent for layer in layers[asked[0] + 2 :])  # by v, and back by what is realized
    work = {
        "gram": sum(layers[k].gram for k in asked),
        "factor": sum(orders[k] ** 3 for k in asked) / 3,
        "sweep": sum(2 * layers[k].params for k in asked) + layers[asked[0] + 1].tangent + after,
        "rho": after,
    }
    memory = {"gram": sum(orders[k] ** 2 for k in asked) * sizes.number}
    return Cost(work, memory, order=max(orders[k] for k in asked))


def blocks_of(J: Jacobian) -> list[tuple[int, ...]]:
    """Numbers of the layers of each block; layers without parameters may stand between blocks.

    Raises
    ------
    ShapeError
        If the layers do not come in such blocks.
    UsageError
        If J is of combined outputs: blocks realize all outputs.
    """
    if J.outputs is not None:
        raise UsageError("solve(BlockWise): J has combined outputs; take another solver")
    layers = J.network.body.layers
    halves = [() if is_empty(of) else maps.moved_halves(at) for at, of in zip(layers, J.params, strict=True)]
    blocks, k = [], 0
    while k < len(halves):
        block = halves[k : k + 1] if len(halves[k]) != 1 else halves[k : k + 2]
        if sorted(sum(block, ())) not in ([], [0, 1]):
            raise ShapeError(
                f"solve(BlockWise): the layers move halves {halves}; "
                "expected pairs that move both halves in turn, or layers that move both"
            )
        if halves[k]:
            blocks.append(tuple(range(k, k + len(block))))
        k += len(block)
    return blocks


def _ranks(
    rule: PinvRule, J: Jacobian, blocks: list[tuple[int, ...]]
) -> tuple[list[int], list[Factored | None]]:
    """Each block's lowest rank, and the layers' factors if activations (and so memory) are kept.

    Where a block reaches rank n, 0 stands for the rank of a layer whose bound is below n.
    """
    layers, n = J.network.body.layers, J.point.output.first.shape[0]

    def reaches(k: int, point: Point) -> bool:
        return not has_map(maps.rank_bound, type(layers[k])) or maps.rank_bound(layers[k], point) >= n

    ranks = [0] * len(layers)
    factored: list[Factored | None] = [None] * len(layers)
    for asked in (reaches, lambda k, point: not reaches(k, point)):
        for k, (rank, found) in _factored(rule, J, asked).items():
            ranks[k], factored[k] = rank, found
        of_blocks = [min(ranks[k] for k in block) for block in blocks]
        if max(of_blocks) == n:
            break
    return of_blocks, factored


def _factored(
    rule: PinvRule, J: Jacobian, asked: Callable[[int, Point], bool]
) -> dict[int, tuple[int, Factored | None]]:
    """Ranks of the layers that are asked for, by number, and their factors if activations are kept.

    The factors are then read all at once, else one by one, so that a single one is in memory.
    """
    layers, kept = J.network.body.layers, J.point.points is not None
    points = zip(reversed(range(len(layers))), points_backward(layers, J.params, J.point), strict=True)
    wanted = ((k, point) for k, point in points if not is_empty(J.params[k]) and asked(k, point))
    if not kept:
        return {k: (maps.factor_params(layers[k], point, rule).info.rank, None) for k, point in wanted}
    begun = {k: maps.begin_factor_params(layers[k], point, rule) for k, point in wanted}
    found = read(together(list(begun.values())))
    return {k: (pinv.info.rank, pinv) for k, pinv in zip(begun, found, strict=True)}


def _sweep(
    rule: PinvRule,
    J: Jacobian,
    v: Halves,
    blocks: list[tuple[int, ...]],
    weights: tuple[float, ...],
    factored: list[Factored | None],
    *,
    at_once: bool,
) -> tuple[ChainParams, list[Deferred[PinvInfo | None]], Halves]:
    """Steps, how they were found, and what they realize at the chain's output.

    Backward to the first block with a weight > 0, then forward with what the blocks realize. With `at_once`
    each solution is looked at as soon as it is found, and is right; else a step may have no info.
    """
    layers, params = J.network.body.layers, J.params
    n = v.first.shape[0]

    def least_norm(k: int, point: Point, dy: Halves) -> tuple[BegunParamsStep, FactorInfo | PinvInfo]:
        found = factored[k] or maps.factor_params(layers[k], point, rule)
        if not at_once:
            return maps.begin_solve_params(layers[k], point, found, dy), found.info
        step = maps.solve_params(layers[k], point, found, dy)
        return BegunParamsStep(step.params, step.realized, ready(step.info)), step.info

    steps = list(trees.zeros_like(params))
    infos: list[Deferred[PinvInfo | None]] = []
    realized: dict[int, Halves] = {}  # at the output of each block's last layer, by the block's own step
    first = next(block for block, weight in enumerate(weights) if weight)
    points = points_backward(layers, params, J.point)
    below = len(layers)  # the layer at whose input v is wanted
    for block, weight in reversed(list(zip(blocks, weights, strict=True))[first:]):
        for k in reversed(range(block[-1] + 1, below)):  # layers without parameters
            v = maps.jvp_inverse(layers[k], params[k], next(points), v)
        at = dict(zip(reversed(block), points, strict=False))
        below, g = block[0], block[-1]
        before_g: Halves | None = None
        if weight and len(block) == 1:
            of_both, _ = least_norm(g, at[g], v)
            steps[g] = trees.scale(weight, of_both.params)
            infos.append(of_both.info)
            realized[g] = trees.scale(weight, of_both.realized)
        elif weight:
            f = block[0]
            (half_f,), (half_g,) = maps.moved_halves(layers[f]), maps.moved_halves(layers[g])
            of_f, info_f = least_norm(f, at[f], v)
            after_f = maps.replaced(half_f, v, of_f.realized[half_f])
            left = maps.jvp_inverse(layers[g], params[g], at[g], after_f)
            of_g, _ = least_norm(g, at[g], left)
            steps[f] = trees.scale(weight, of_f.params)
            steps[g] = trees.scale(weight, of_g.params)
            infos += [of_f.info, of_g.info]
            # v_g - left is what r pushes into the half that G moves
            moved_g = add(subtract(v[half_g], left[half_g]), of_g.realized[half_g])
            realized[g] = trees.scale(weight, maps.replaced(half_g, after_f, moved_g))
            if info_f.rank == n and not info_f.damping:
                before_g = maps.replaced(half_f, left, v[half_f])  # r = v_f up to rounding
        if below > blocks[first][0]:
            for k in reversed(block):
                known = before_g if k == g else None
                v = known or maps.jvp_inverse(layers[k], params[k], at[k], v)
    return tuple(steps), infos, _push(J, realized)


def _push(J: Jacobian, realized: dict[int, Halves]) -> Halves:
    """Sum at the chain's output of what the blocks realize at the output of their last layers."""
    layers = J.network.body.layers
    if list(realized) == [len(layers) - 1]:
        return realized[len(layers) - 1]
    total: Halves | None = None
    points = points_forward(layers, J.params, J.point)
    for k, (layer, params, point) in enumerate(zip(layers, J.params, points, strict=True)):
        if total is not None:
            total = maps.jvp_input(layer, params, point, total)
        if k in realized:
            total = realized[k] if total is None else trees.add(total, realized[k])
    assert total is not None
    return total

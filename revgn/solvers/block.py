"""Block step: each block applies its own pseudoinverse to the requested change of the block's output.

A block is two couplings, F then G, that change the two halves in turn, or one layer that changes both halves.
Let v be the requested change of the block's output: v_f on the half that F changes, v_g on the other half. A
coupling has features A, projection C, slopes phi' and weight W; Wb is W without its bias. The steps are

    D_F = A_F^+ v_f         r = A_F D_F
    D_G = A_G^+ (v_g - ((r C_G) * phi'_G) Wb_G)

Here r is the change that F realizes. At the output of the last block, v = eps U^T, with output step eps and
readout U. For the other blocks, v is transported backward by `jvp_inverse`, block by block. The steps D_F and
D_G of block l are multiplied by the block weight tau_l. If A_F has rank n, then r = v_f, and the difference
in parentheses is also a result of `jvp_inverse` for G, which transports v. It is then computed only once.
Source: Buffelli et al. 2024, section 4.

A layer that applies its weights at P positions of a sample has features A with n P rows. They rarely have
rank n P, so that D_F and D_G are least-squares steps; rho states how far J D then is from eps. Trained
projections C are not changed (`revgn.maps.solved`).
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
from revgn.solvers.damping import DampingUnit
from revgn.solvers.jacobian import Jacobian, SolveInfo, begin_rho, check_output_step, solve
from revgn.structs import setting, struct
from revgn.trees import is_empty


@struct
class BlockWise:
    """Block step: the Moore-Penrose step of each block, multiplied by the weight of the block.

    The step D satisfies J D = eps if the features of all blocks with a nonzero weight have rank n, and
    neither truncation nor damping is used. `revgn.solvers.block_weights` describes the block weights.
    """

    block_weights: BlockWeights = setting(
        "Block weights, which divide the output step eps among the blocks: a name, or one number per block.",
        default="full-rank",
    )
    rtol: float | None = setting(
        "Relative cutoff: singular values of a feature matrix A below rtol times the largest one count as 0; "
        "by default the cutoff is at rounding level.",
        default=None,
        ge=0,
        lt=1,
    )
    atol: float = setting(
        "Absolute cutoff: singular values of a feature matrix A below atol count as 0.",
        default=0.0,
        ge=0,
    )
    damping: float = setting(
        "Damping mu of the block step, relative to the squared largest singular value of each feature matrix "
        "A unless damping_unit is absolute.",
        default=0.0,
        ge=0,
        resumable=True,
        chosen=True,
    )
    damping_unit: DampingUnit = setting(
        "Unit of the damping: relative to the squared largest singular value of A, or absolute, in units of "
        "A^T A / n for n samples.",
        default="relative",
        resumable=True,
    )

    def check(self) -> None:
        """Raise `UsageError` unless the block weights are a known name, or numbers that sum to 1."""
        check_block_weights(self.block_weights)

    @property
    def rule(self) -> PinvRule:
        """Truncation and damping of the pseudoinverses A^+."""
        return PinvRule(self.rtol, self.atol, self.damping, self.damping_unit == "relative")


@solve.register(BlockWise)
def solve_block_wise(solver: BlockWise, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    check_output_step(J, eps)
    blocks = blocks_of(J)
    started = perf_counter()
    weights = fixed_weights(solver.block_weights, len(blocks))
    factored: list[Factored | None] = [None] * len(J.params)
    if weights is None:
        ranks, factored = _ranks(solver.rule, J, blocks)
        weights = full_rank_weights(ranks)
    elif runs_ahead(eps) and J.point.points is not None:
        used = {k for block, weight in zip(blocks, weights, strict=True) if weight for k in block}
        for k, (_, found) in _factored(solver.rule, J, lambda k, _: k in used).items():
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
    n, layers = sizes.samples, [layer for layer in sizes.layers if not layer.is_projection]
    orders = [min(n * layer.positions, layer.features) for layer in layers]
    weights = fixed_weights(solver.block_weights, len(layers) // 2)
    if weights is None:
        ranks = [order / layer.positions for order, layer in zip(orders, layers, strict=True)]
        weights = full_rank_weights([min(pair) for pair in zip(ranks[::2], ranks[1::2], strict=True)])
    used = [k for k in range(len(layers)) if weights[k // 2]]
    after = sum(layer.tangent for layer in layers[used[0] + 2 :])  # v backward; realized changes forward
    work = {
        "gram": sum(layers[k].gram for k in used),
        "factor": sum(orders[k] ** 3 for k in used) / 3,
        "sweep": sum(2 * layers[k].params for k in used) + layers[used[0] + 1].tangent + after,
        "rho": after,
    }
    memory = {"gram": sum(orders[k] ** 2 for k in used) * sizes.number}
    return Cost(work, memory, order=max(orders[k] for k in used))


def blocks_of(J: Jacobian) -> list[tuple[int, ...]]:
    """Return the indices of the layers of each block. Layers without parameters may lie between blocks.

    Raises
    ------
    ShapeError
        If the layers do not form blocks.
    UsageError
        If J has combined outputs; the block step constrains all outputs.
    """
    if J.outputs is not None:
        raise UsageError(
            "solve(BlockWise): J has combined outputs, but the block step constrains all outputs; "
            "use MinimumNorm or ConjugateGradients"
        )
    layers = J.network.body.layers
    halves = [() if is_empty(of) else maps.moved_halves(at) for at, of in zip(layers, J.params, strict=True)]
    blocks, k = [], 0
    while k < len(halves):
        block = halves[k : k + 1] if len(halves[k]) != 1 else halves[k : k + 2]
        if sorted(sum(block, ())) not in ([], [0, 1]):
            raise ShapeError(
                f"solve(BlockWise): the layers change the halves {halves}; "
                "expected pairs of layers that change both halves in turn, or layers that change both"
            )
        if halves[k]:
            blocks.append(tuple(range(k, k + len(block))))
        k += len(block)
    return blocks


def _ranks(
    rule: PinvRule, J: Jacobian, blocks: list[tuple[int, ...]]
) -> tuple[list[float], list[Factored | None]]:
    """Return the lowest rank of each block, and the factored pseudoinverse of each layer, or None.

    A rank is divided by the layer's number of positions; it is full if it is n. Factors are returned if
    activations are kept. Layers whose rank bound is below n are factored only if no block has rank n;
    otherwise their rank is given as 0.
    """
    layers, n = J.network.body.layers, J.point.output.first.shape[0]
    per_sample = [maps.positions(layer) for layer in layers]

    def can_reach(k: int, point: Point) -> bool:
        is_unknown = not has_map(maps.rank_bound, type(layers[k]))
        return is_unknown or maps.rank_bound(layers[k], point) >= n * per_sample[k]

    ranks = [0.0] * len(layers)
    factored: list[Factored | None] = [None] * len(layers)
    for is_selected in (can_reach, lambda k, point: not can_reach(k, point)):
        for k, (rank, found) in _factored(rule, J, is_selected).items():
            ranks[k], factored[k] = rank / per_sample[k], found
        of_blocks = [min(ranks[k] for k in block) for block in blocks]
        if max(of_blocks) == n:
            break
    return of_blocks, factored


def _factored(
    rule: PinvRule, J: Jacobian, is_selected: Callable[[int, Point], bool]
) -> dict[int, tuple[int, Factored | None]]:
    """Return rank and factored pseudoinverse of each selected layer, by the index of the layer.

    If activations are kept, the ranks of all factors are read from the device at once. If activations are
    rebuilt, one factor at a time is in memory, and None is returned in place of each.
    """
    layers, kept = J.network.body.layers, J.point.points is not None
    points = zip(reversed(range(len(layers))), points_backward(layers, J.params, J.point), strict=True)
    selected = ((k, point) for k, point in points if not is_empty(J.params[k]) and is_selected(k, point))
    if not kept:
        return {k: (maps.factor_params(layers[k], point, rule).info.rank, None) for k, point in selected}
    begun = {k: maps.begin_factor_params(layers[k], point, rule) for k, point in selected}
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
    """Return the steps, the infos of their solutions, and the realized change of the chain's output.

    The sweep goes backward to the first block with a weight > 0, then forward with the realized changes. With
    `at_once`, each solution is checked, and corrected if necessary, when it is computed. Otherwise a solution
    may be inaccurate; its info then reads as None.
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
    realized: dict[int, Halves] = {}  # change of the output of each block by the block's own step
    first = next(block for block, weight in enumerate(weights) if weight)
    points = points_backward(layers, params, J.point)
    below = len(layers)  # v is the requested change of the input of this layer
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
            # v_g - left is the change that r causes in the half that G changes
            moved_g = add(subtract(v[half_g], left[half_g]), of_g.realized[half_g])
            realized[g] = trees.scale(weight, maps.replaced(half_g, after_f, moved_g))
            if info_f.rank == n * maps.positions(layers[f]) and not info_f.damping:
                before_g = maps.replaced(half_f, left, v[half_f])  # r = v_f up to rounding
        if below > blocks[first][0]:
            for k in reversed(block):
                known = before_g if k == g else None
                v = known or maps.jvp_inverse(layers[k], params[k], at[k], v)
    return tuple(steps), infos, _push(J, realized)


def _push(J: Jacobian, realized: dict[int, Halves]) -> Halves:
    """Return the total change of the chain's output, from the change of each block's output."""
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

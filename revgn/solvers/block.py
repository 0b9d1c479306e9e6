"""The block step: each block has its own pseudoinverse, applied to eps carried back to the block.

A block is two couplings, F then G, that move the two halves in turn. With v wanted at its output
(v_f on the half that F moves, v_g on the other),

    D_F = A_F^+ v_f         r = A_F D_F
    D_G = A_G^+ (v_g - ((r C_G) * phi'_G) Wb_G)

and v is carried through the block's inverse jvp to the block before. At the output v = eps U^T. Block l
gets the weight tau_l of D_F and D_G. Where A_F has rank n, r = v_f, and the bracket is the very tangent
that the inverse jvp needs next: one product serves both. Source: Buffelli et al. 2024, section 4.
"""

from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import NamedTuple

from revgn import trees
from revgn._dispatch import has_map
from revgn.arrays import Array, add, subtract, synchronize
from revgn.cost import Cost, Sizes, cost
from revgn.errors import ShapeError, UsageError
from revgn.layers import ReadoutParams, lift
from revgn.linalg import RUNGS, Pinv, PinvInfo, PinvRule
from revgn.maps import (
    Halves,
    ParamsStep,
    Point,
    factor_params,
    forward,
    jvp_input,
    jvp_inverse,
    rank_bound,
    replaced,
    solve_params,
)
from revgn.networks import ChainParams, points_backward, points_forward
from revgn.solvers.block_weights import BlockWeights, check_block_weights, fixed_weights, full_rank_weights
from revgn.solvers.exactness import check_wanted, rho
from revgn.solvers.jacobian import Jacobian, SolveInfo, damping_of, solve, with_damping
from revgn.structs import setting, struct


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
    check_blocks(J)
    started = perf_counter()
    weights = fixed_weights(solver.block_weights, len(J.params) // 2)
    factored: list[Pinv | None] = [None] * len(J.params)
    if weights is None:
        ranks, factored = _ranks(solver.rule, J)
        weights = full_rank_weights(ranks)
    synchronize(eps)
    factored_at = perf_counter()
    D, infos, realized = _sweep(solver.rule, J, lift(J.network.readout, eps), weights, factored)
    measured = rho(forward(J.network.readout, ReadoutParams(), realized), eps)
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


@with_damping.register(BlockWise)
def with_damping_block_wise(solver: BlockWise, damping: float) -> BlockWise:
    return replace(solver, damping=damping)


@damping_of.register(BlockWise)
def damping_of_block_wise(solver: BlockWise) -> float:
    return solver.damping


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


def check_blocks(J: Jacobian) -> None:
    """Raise `ShapeError` unless the chain is made of pairs of couplings that move different halves.

    `UsageError` where J has combined outputs: blocks realize all outputs.
    """
    if J.outputs is not None:
        raise UsageError("solve(BlockWise): J has combined outputs; take another solver")
    halves = [getattr(layer, "half", None) for layer in J.network.body.layers]
    if (
        None in halves
        or len(halves) % 2
        or any(f == g for f, g in zip(halves[::2], halves[1::2], strict=True))
    ):
        raise ShapeError(
            f"solve(BlockWise): the couplings move halves {halves}; "
            "expected pairs that move both halves in turn"
        )


def _ranks(rule: PinvRule, J: Jacobian) -> tuple[list[int], list[Pinv | None]]:
    """Each block's lower feature rank, and the couplings' factors if activations (and so memory) are kept.

    Where another block reaches rank n, a bound is enough for one that cannot.
    """
    layers = J.network.body.layers
    kept, n = J.point.points is not None, J.point.output.first.shape[0]
    ranks = [0] * len(layers)
    factored: list[Pinv | None] = [None] * len(layers)
    points = zip(reversed(range(len(layers))), points_backward(layers, J.params, J.point), strict=True)
    best = 0
    for k, point in points:
        if best == n and has_map(rank_bound, type(layers[k])) and rank_bound(layers[k], point) < n:
            continue
        pinv = factor_params(layers[k], point, rule)
        ranks[k] = pinv.info.rank
        factored[k] = pinv if kept else None
        if k % 2 == 0:
            best = max(best, min(ranks[k], ranks[k + 1]))
    return [min(pair) for pair in zip(ranks[::2], ranks[1::2], strict=True)], factored


class _Swept(NamedTuple):
    """The steps, how they were found, and what they realize at the output of the chain."""

    steps: ChainParams
    infos: list[PinvInfo]
    realized: Halves


def _sweep(
    rule: PinvRule, J: Jacobian, v: Halves, weights: tuple[float, ...], factored: list[Pinv | None]
) -> _Swept:
    """Go backward to the first block with a weight > 0, then forward with what the blocks realize."""
    layers, params = J.network.body.layers, J.params

    def least_norm(k: int, point: Point, dy: Array) -> ParamsStep:
        pinv = factored[k]
        return solve_params(layers[k], point, pinv or factor_params(layers[k], point, rule), dy)

    steps = list(trees.zeros_like(params))
    infos: list[PinvInfo] = []
    realized: list[Halves | None] = [None] * len(weights)  # at the output of each block, by its own step
    first = next(block for block, weight in enumerate(weights) if weight)
    points = points_backward(layers, params, J.point)
    for block in reversed(range(first, len(weights))):
        f, g = 2 * block, 2 * block + 1
        half_f, half_g = layers[f].half, layers[g].half
        at_g, at_f = islice(points, 2)
        before_g: Halves | None = None
        if weights[block]:
            of_f = least_norm(f, at_f, v[half_f])
            left = jvp_inverse(layers[g], params[g], at_g, replaced(half_f, v, of_f.realized))
            of_g = least_norm(g, at_g, left[half_g])
            steps[f] = trees.scale(weights[block], of_f.params)
            steps[g] = trees.scale(weights[block], of_g.params)
            infos += [of_f.info, of_g.info]
            # v_g - left is what r pushes into the half that G moves
            of_both = add(subtract(v[half_g], left[half_g]), of_g.realized)
            moved_by_both = replaced(half_g, replaced(half_f, v, of_f.realized), of_both)
            realized[block] = Halves(*trees.scale(weights[block], moved_by_both))
            if of_f.info.rank == v.first.shape[0] and not of_f.info.damping:
                before_g = replaced(half_f, left, v[half_f])  # r = v_f up to rounding
        if block > first:
            if before_g is None:
                before_g = jvp_inverse(layers[g], params[g], at_g, v)
            v = jvp_inverse(layers[f], params[f], at_f, before_g)
    return _Swept(tuple(steps), infos, _push(J, realized))


def _push(J: Jacobian, realized: list[Halves | None]) -> Halves:
    """Carry to the chain's output what the blocks realize at their own, and add it up."""
    total = realized[-1]
    if total is not None and not any(realized[:-1]):
        return total
    total = None
    points = points_forward(J.network.body.layers, J.params, J.point)
    for k, (layer, params, point) in enumerate(zip(J.network.body.layers, J.params, points, strict=True)):
        if total is not None:
            total = jvp_input(layer, params, point, total)
        own = realized[k // 2] if k % 2 else None
        if own is not None:
            total = own if total is None else trees.add(total, own)
    assert total is not None
    return total

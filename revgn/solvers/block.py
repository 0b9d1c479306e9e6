"""The block inverse: each block by its own pseudoinverse, what it is asked for carried back to it.

A block is two couplings, F then G, that move the two halves in turn. With v wanted at its output
(v_f on the half that F moves, v_g on the other),

    D_F = A_F^+ v_f         r = A_F D_F
    D_G = A_G^+ (v_g - ((r C_G) * phi'_G) Wb_G)

and v is carried through the block's inverse jvp to the block before. At the output v = eps U^T. Block l
gets the share tau_l of D_F and D_G. Where A_F has rank n, r = v_f, and the bracket is the very tangent
that the inverse jvp needs next: one product serves both. Source: Buffelli et al. 2024, section 4.
"""

from dataclasses import dataclass, replace
from itertools import islice
from time import perf_counter
from typing import NamedTuple

from revgn import trees
from revgn._dispatch import has_map
from revgn.arrays import Array, add, subtract, synchronize
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
from revgn.solvers.exactness import check_wanted, rho
from revgn.solvers.jacobian import Jacobian, SolveInfo, damping_of, solve, with_damping
from revgn.solvers.shares import Shares, check_shares, fixed_shares, full_rank_shares


@dataclass(frozen=True, slots=True)
class BlockInverse:
    """Moore-Penrose in each block, blended by shares tau_l: J G eps = eps where the blocks have rank n.

    Parameters
    ----------
    shares : {"full-rank", "uniform", "first", "last"} or tuple of float
        tau_l, see `revgn.solvers.shares`.
    rule : PinvRule
        How each A^+ is truncated and damped; its damping is relative to s_1^2 of each coupling's A.
    """

    shares: Shares = "full-rank"
    rule: PinvRule = PinvRule()

    def __post_init__(self) -> None:
        check_shares(self.shares)


@solve.register(BlockInverse)
def solve_block_inverse(solver: BlockInverse, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    check_wanted(J, eps)
    check_blocks(J)
    started = perf_counter()
    shares = fixed_shares(solver.shares, len(J.params) // 2)
    factored: list[Pinv | None] = [None] * len(J.params)
    if shares is None:
        ranks, factored = _ranks(solver.rule, J)
        shares = full_rank_shares(ranks)
    synchronize(eps)
    factored_at = perf_counter()
    D, infos, realized = _sweep(solver.rule, J, lift(J.network.readout, eps), shares, factored)
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
        shares=shares,
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
    )


@with_damping.register(BlockInverse)
def with_damping_block_inverse(solver: BlockInverse, damping: float) -> BlockInverse:
    return replace(solver, rule=replace(solver.rule, damping=damping))


@damping_of.register(BlockInverse)
def damping_of_block_inverse(solver: BlockInverse) -> float:
    return solver.rule.damping


def check_blocks(J: Jacobian) -> None:
    """Raise `ShapeError` unless the chain is made of pairs of couplings that move different halves.

    `UsageError` where J is of combined outputs or of some couplings only: blocks realize all outputs.
    """
    if J.outputs is not None or J.trained is not None:
        raise UsageError("solve(BlockInverse): J has combined outputs or couplings that are not trained")
    halves = [getattr(layer, "half", None) for layer in J.network.body.layers]
    if (
        None in halves
        or len(halves) % 2
        or any(f == g for f, g in zip(halves[::2], halves[1::2], strict=True))
    ):
        raise ShapeError(
            f"solve(BlockInverse): the couplings move halves {halves}; "
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
    rule: PinvRule, J: Jacobian, v: Halves, shares: tuple[float, ...], factored: list[Pinv | None]
) -> _Swept:
    """Go backward through the blocks, down to the first with a share; then forward with what they realize."""
    layers, params = J.network.body.layers, J.params

    def least_norm(k: int, point: Point, dy: Array) -> ParamsStep:
        pinv = factored[k]
        return solve_params(layers[k], point, pinv or factor_params(layers[k], point, rule), dy)

    steps = list(trees.zeros_like(params))
    infos: list[PinvInfo] = []
    realized: list[Halves | None] = [None] * len(shares)  # at the output of each block, by its own step
    first = next(block for block, share in enumerate(shares) if share)
    points = points_backward(layers, params, J.point)
    for block in reversed(range(first, len(shares))):
        f, g = 2 * block, 2 * block + 1
        half_f, half_g = layers[f].half, layers[g].half
        at_g, at_f = islice(points, 2)
        before_g: Halves | None = None
        if shares[block]:
            of_f = least_norm(f, at_f, v[half_f])
            left = jvp_inverse(layers[g], params[g], at_g, replaced(half_f, v, of_f.realized))
            of_g = least_norm(g, at_g, left[half_g])
            steps[f] = trees.scale(shares[block], of_f.params)
            steps[g] = trees.scale(shares[block], of_g.params)
            infos += [of_f.info, of_g.info]
            # v_g - left is what r pushes into the half that G moves
            of_both = add(subtract(v[half_g], left[half_g]), of_g.realized)
            moved_by_both = replaced(half_g, replaced(half_f, v, of_f.realized), of_both)
            realized[block] = Halves(*trees.scale(shares[block], moved_by_both))
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

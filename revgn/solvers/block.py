"""The block inverse: each block by its own pseudoinverse, what it is asked for carried back to it.

A block is two couplings, F then G, that move the two halves in turn. With v wanted at its output
(v_f on the half that F moves, v_g on the other),

    D_F = A_F^+ v_f         r = A_F D_F
    D_G = A_G^+ (v_g - ((r C_G) * phi'_G) Wb_G)

and v is carried through the block's inverse jvp to the block before. At the output v = eps U^T. Block l
gets the share tau_l of D_F and D_G. Where A_F has rank n, r = v_f, and the bracket is the very tangent
that the inverse jvp needs next: one product serves both. Source: Buffelli et al. 2024, section 4.
"""

from dataclasses import dataclass
from itertools import islice
from time import perf_counter

from revgn import trees
from revgn.arrays import Array, synchronize
from revgn.errors import ShapeError
from revgn.layers import lift
from revgn.linalg import RUNGS, Pinv, PinvInfo, PinvRule
from revgn.maps import Halves, ParamsStep, Point, factor_params, jvp_inverse, replaced, solve_params
from revgn.networks import ChainParams, points_backward
from revgn.solvers.exactness import check_wanted, rho
from revgn.solvers.jacobian import Jacobian, SolveInfo, apply, solve
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
    factored: tuple[Pinv, ...] | None = None
    if shares is None:
        ranks, factored = _ranks(solver.rule, J)
        shares = full_rank_shares(ranks)
    synchronize(eps)
    factored_at = perf_counter()
    D, infos = _sweep(solver.rule, J, lift(J.network.readout, eps), shares, factored)
    measured = rho(apply(J, D), eps)
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


def check_blocks(J: Jacobian) -> None:
    """Raise `ShapeError` unless the chain is made of pairs of couplings that move different halves."""
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


def _ranks(rule: PinvRule, J: Jacobian) -> tuple[list[int], tuple[Pinv, ...] | None]:
    """Each block's lower feature rank, and the couplings' factors if activations (and so memory) are kept."""
    layers = J.network.body.layers
    kept = J.point.points is not None
    ranks: list[int] = []
    factored: list[Pinv] = []
    for layer, point in zip(reversed(layers), points_backward(layers, J.params, J.point), strict=True):
        pinv = factor_params(layer, point, rule)
        ranks.insert(0, pinv.info.rank)
        if kept:
            factored.insert(0, pinv)
    of_blocks = [min(pair) for pair in zip(ranks[::2], ranks[1::2], strict=True)]
    return of_blocks, tuple(factored) if kept else None


def _sweep(
    rule: PinvRule, J: Jacobian, v: Halves, shares: tuple[float, ...], factored: tuple[Pinv, ...] | None
) -> tuple[ChainParams, list[PinvInfo]]:
    """Go backward through the blocks, down to the first that has a share."""
    layers, params = J.network.body.layers, J.params

    def least_norm(k: int, point: Point, dy: Array) -> ParamsStep:
        pinv = factored[k] if factored else factor_params(layers[k], point, rule)
        return solve_params(layers[k], point, pinv, dy)

    steps = list(trees.zeros_like(params))
    infos: list[PinvInfo] = []
    first = next(block for block, share in enumerate(shares) if share)
    points = points_backward(layers, params, J.point)
    for block in reversed(range(first, len(shares))):
        f, g = 2 * block, 2 * block + 1
        at_g, at_f = islice(points, 2)
        before_g = jvp_inverse(layers[g], params[g], at_g, v)
        if shares[block]:
            of_f = least_norm(f, at_f, v[layers[f].half])
            wanted = before_g
            if of_f.info.rank < v.first.shape[0] or of_f.info.damping:
                wanted = jvp_inverse(layers[g], params[g], at_g, replaced(layers[f].half, v, of_f.realized))
            of_g = least_norm(g, at_g, wanted[layers[g].half])
            steps[f] = trees.scale(shares[block], of_f.params)
            steps[g] = trees.scale(shares[block], of_g.params)
            infos += [of_f.info, of_g.info]
        if block > first:
            v = jvp_inverse(layers[f], params[f], at_f, before_g)
    return tuple(steps), infos

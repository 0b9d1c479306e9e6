"""Block weights tau_l, which divide the output step eps among the L blocks. They sum to 1.

- uniform    1/L for each block (Buffelli et al. 2024, equation 14)
- first      1 for the first block, 0 for all others
- last       1 for the last block, 0 for all others
- full-rank  equal weights for the blocks whose features have rank n, 0 for all others: a block of lower rank
             cannot realize its part of eps. If no block has rank n, the blocks of the highest rank are used.
- numbers    one number for each block
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from revgn.errors import UsageError

BlockWeightsName = Literal["uniform", "first", "last", "full-rank"]
BlockWeights = BlockWeightsName | tuple[float, ...]


def check_block_weights(weights: BlockWeights) -> None:
    """Raise `UsageError` unless `weights` is a known name, or numbers that sum to 1."""
    if isinstance(weights, str):
        if weights not in get_args(BlockWeightsName):
            raise UsageError(
                f"block_weights: {weights!r} is not a known name; "
                "expected uniform, first, last, full-rank, or one number for each block"
            )
    elif not abs(math.fsum(weights) - 1.0) <= 1e-9:
        raise UsageError(f"block_weights: {weights} sum to {math.fsum(weights):g}; expected 1")


def fixed_weights(weights: BlockWeights, blocks: int) -> tuple[float, ...] | None:
    """Return the weights of the blocks, or None if they depend on the ranks of the blocks.

    Raises
    ------
    UsageError
        If the number of given weights differs from the number of blocks.
    """
    if weights == "uniform":
        return (1.0 / blocks,) * blocks
    if weights == "first":
        return (1.0,) + (0.0,) * (blocks - 1)
    if weights == "last":
        return (0.0,) * (blocks - 1) + (1.0,)
    if isinstance(weights, str):
        return None
    if len(weights) != blocks:
        raise UsageError(f"block_weights: {len(weights)} numbers for {blocks} blocks; expected one for each")
    return tuple(weights)


def full_rank_weights(ranks: Sequence[float]) -> tuple[float, ...]:
    """Return equal weights for the blocks of the highest rank, and 0 for all others.

    Parameters
    ----------
    ranks : sequence of numbers
        For each block, the lowest rank of its couplings, divided by their number of positions.
    """
    best = max(ranks)
    count = sum(rank == best for rank in ranks)
    return tuple(1.0 / count if rank == best else 0.0 for rank in ranks)

"""Weights tau_l that divide eps among the blocks; they sum to 1.

- uniform    1/L each (Buffelli et al. 2024, equation 14)
- first      all to the first block
- last       all to the last block
- full-rank  uniform over the blocks whose features reach rank n: what a block of lower rank cannot
             realize is never counted as done; where no block reaches n, over those of the highest rank
- numbers    one for each block
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from revgn.errors import UsageError

BlockWeightsName = Literal["uniform", "first", "last", "full-rank"]
BlockWeights = BlockWeightsName | tuple[float, ...]


def check_block_weights(weights: BlockWeights) -> None:
    """Raise `UsageError` unless `weights` has a name, or is numbers that sum to 1."""
    if isinstance(weights, str):
        if weights not in get_args(BlockWeightsName):
            raise UsageError(
                f"block_weights: {weights!r} is not one of uniform, first, last, full-rank, or numbers"
            )
    elif not abs(math.fsum(weights) - 1.0) <= 1e-9:
        raise UsageError(f"block_weights: {weights} sum to {math.fsum(weights):g}; expected 1")


def fixed_weights(weights: BlockWeights, blocks: int) -> tuple[float, ...] | None:
    """Weights of the blocks, or None where they depend on ranks.

    Raises
    ------
    UsageError
        If numbers were given, but not one for each block.
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


def full_rank_weights(ranks: Sequence[int]) -> tuple[float, ...]:
    """Uniform over the blocks of the highest rank, given each block's lower rank of its two couplings."""
    best = max(ranks)
    count = sum(rank == best for rank in ranks)
    return tuple(1.0 / count if rank == best else 0.0 for rank in ranks)

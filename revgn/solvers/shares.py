"""How much of the wanted change each block is asked for: shares tau_l that sum to 1.

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

SharesName = Literal["uniform", "first", "last", "full-rank"]
Shares = SharesName | tuple[float, ...]


def check_shares(shares: Shares) -> None:
    """Raise `UsageError` unless `shares` has a name, or is numbers that sum to 1."""
    if isinstance(shares, str):
        if shares not in get_args(SharesName):
            raise UsageError(f"shares: {shares!r} is not one of uniform, first, last, full-rank, or numbers")
    elif not abs(math.fsum(shares) - 1.0) <= 1e-9:
        raise UsageError(f"shares: {shares} sum to {math.fsum(shares):g}; expected 1")


def fixed_shares(shares: Shares, blocks: int) -> tuple[float, ...] | None:
    """Shares of the blocks, or None where they depend on ranks.

    Raises
    ------
    UsageError
        If numbers were given, but not one for each block.
    """
    if shares == "uniform":
        return (1.0 / blocks,) * blocks
    if shares == "first":
        return (1.0,) + (0.0,) * (blocks - 1)
    if shares == "last":
        return (0.0,) * (blocks - 1) + (1.0,)
    if isinstance(shares, str):
        return None
    if len(shares) != blocks:
        raise UsageError(f"shares: {len(shares)} numbers for {blocks} blocks; expected one for each")
    return tuple(shares)


def full_rank_shares(ranks: Sequence[int]) -> tuple[float, ...]:
    """Uniform over the blocks of the highest rank, given each block's lower rank of its two couplings."""
    best = max(ranks)
    count = sum(rank == best for rank in ranks)
    return tuple(1.0 / count if rank == best else 0.0 for rank in ranks)

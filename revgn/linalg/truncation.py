"""Treatment of small singular values: truncation, damping, and the resolution of a Gram matrix."""

import math
from dataclasses import dataclass

from revgn.arrays import Array, DType, array_namespace
from revgn.errors import UsageError


@dataclass(frozen=True, slots=True)
class PinvRule:
    """Treatment of small singular values s in a pseudoinverse, where s_1 is the largest one.

    Parameters
    ----------
    rtol, atol : float or None
        Keep s >= max(rtol s_1, atol). Values that a Gram matrix cannot resolve are always dropped. With n
        the order of the smaller Gram matrix, these are s^2 < max(10, sqrt(n)) eps s_1^2, where eps is the
        machine epsilon of the Gram matrix (usually of double precision), and s < n eps s_1, where eps is the
        machine epsilon of the matrix itself.
    damping : float
        Replace 1/s by s / (s^2 + damping s_1^2), or by s / (s^2 + damping n) for a matrix of n rows if the
        damping is not relative.
    is_relative : bool
        Whether the damping is relative to s_1^2.

    Raises
    ------
    UsageError
        If a number is negative, infinite or NaN, or rtol is 1 or more.
    """

    rtol: float | None = None
    atol: float = 0.0
    damping: float = 0.0
    is_relative: bool = True

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "damping"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"PinvRule: {name} is {value}; expected a number >= 0")

        if self.rtol is not None and self.rtol >= 1:
            raise UsageError(
                f"PinvRule: rtol is {self.rtol}, which keeps no singular value; expected a number < 1"
            )

    @property
    def truncates(self) -> bool:
        """Whether the rule drops singular values that can be resolved."""
        return self.rtol is not None or self.atol > 0


PAPER_RULE = PinvRule(rtol=1e-2, atol=1e-5)
"""The truncation of the paper's runs (Buffelli et al. 2024, section 5)."""


def machine_epsilon(dtype: DType, like: Array) -> float:
    """Distance from 1 to the next larger number of `dtype`, a dtype of the namespace of `like`."""
    return float(array_namespace(like).finfo(dtype).eps)


def resolution(order: int, eps: float) -> float:
    """Smallest eigenvalue, relative to the largest, that a Gram matrix of this order can resolve.

    Its rounding errors add up like a random walk, to sqrt(order) eps; the result is at least 10 eps.
    """
    return max(10.0, math.sqrt(order)) * eps


def relative_cutoff(rule: PinvRule, order: int, eps: float, own_eps: float) -> float:
    """Cutoff for singular values relative to the largest: `rule.rtol`, or the resolution if that is larger.

    `rule.atol` is applied separately.

    Parameters
    ----------
    eps, own_eps : float
        Machine epsilon of the Gram matrix, and of the matrix from which it is formed.
    """
    return max(rule.rtol or 0.0, math.sqrt(resolution(order, eps)), order * own_eps)

from typing import Any

import numpy as np
from cupy._errstate import errstate

__all__ = ["empty_pinned", "errstate"]


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """Array of NumPy in memory from which a device copies without a wait."""
    return np.empty(shape, dtype, order)

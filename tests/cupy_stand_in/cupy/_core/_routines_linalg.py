"""The type in which matrix products of single precision are computed, which is stored and changes nothing."""

from typing import Any

import numpy as np

COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 1, 7
_TYPES: dict[str, int] = {}


def get_compute_type(dtype: Any) -> int:
    return _TYPES.get(np.dtype(dtype).char, COMPUTE_TYPE_DEFAULT)


def set_compute_type(dtype: Any, compute_type: int) -> None:
    _TYPES[np.dtype(dtype).char] = compute_type

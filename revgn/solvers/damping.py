"""Settings of the damping that all solvers of the minimum-norm step share."""

from typing import Literal

DampingUnit = Literal["relative", "absolute"]

DAMPING = (
    "Damping mu, relative to the mean diagonal of the tangent kernel J J^T unless damping_unit is absolute."
)
DAMPING_UNIT = (
    "Unit of the damping: relative to the mean diagonal of J J^T, or absolute, in units of J^T J / n for n "
    "samples, which adds n mu to J J^T."
)

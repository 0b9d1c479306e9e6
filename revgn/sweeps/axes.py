"""The axes of a sweep: a setting and the values it takes.

0.1,0.3,1         these values
0..4              the whole numbers from 0 to 4
0.1..0.9:5        5 numbers at equal distances
log:1e-3..1:7     7 numbers at equal ratios
0.1..0.9          any number between (for --random and --search); log:1e-3..1 likewise, uniform in log
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from revgn.errors import UsageError
from revgn.settings import parse_value

NONE = "none"  # in a file, which has no word for it
_RANGE = re.compile(r"(log:)?([^:]+?)\.\.([^:]+?)(?::(\d+))?")
_DIGITS = 6  # significant ones of a number that is drawn or lies on a grid


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting by its dotted path, and its values; without values any number from `low` to `high`."""

    path: str
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False

    @property
    def is_continuous(self) -> bool:
        """Whether there are no values to count."""
        return not self.values


def parse_axis(path: str, given: Any) -> Axis:
    """Return the axis of a list of values, or of a text as above; `UsageError` if there is no value."""
    if not isinstance(given, str):
        listed = given if isinstance(given, list | tuple) else (given,)
        values = tuple(None if value == NONE else value for value in listed)
        if not values:
            raise UsageError(f"grid {path}: has no value")
        return Axis(path, values)
    found = _RANGE.fullmatch(given.strip())
    if found is None:
        if "[" in given:  # a value that is a list of its own, such as shares
            return Axis(path, (parse_value(given),))
        return Axis(path, tuple(parse_value(part.strip()) for part in given.split(",")))
    return _range(path, given, found)


def draw(axis: Axis, rng: np.random.Generator) -> Any:
    """Return one of the values, or a number of the range."""
    if not axis.is_continuous:
        return axis.values[int(rng.integers(len(axis.values)))]
    return at(axis, float(rng.random()))


def at(axis: Axis, share: float) -> float:
    """Return the number at that share, 0 to 1, of a range's way."""
    if axis.log:
        number = axis.low * (axis.high / axis.low) ** share
    else:
        number = axis.low + (axis.high - axis.low) * share
    return float(f"{number:.{_DIGITS}g}")


def _range(path: str, text: str, found: re.Match[str]) -> Axis:
    log, low, high, count = bool(found[1]), *(parse_value(found[k].strip()) for k in (2, 3)), found[4]
    if not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high)):
        raise UsageError(f"grid {path}: {text!r} is no range; expected numbers, as in 0..4 or log:1e-3..1:7")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
        bounds = "0 < low < high" if log else "low < high"
        raise UsageError(f"grid {path}: {text!r} is no range; expected {bounds}, both finite")
    if count is None and not log and isinstance(low, int) and isinstance(high, int):
        if high - low >= 100_000:
            raise UsageError(f"grid {path}: {text!r} are {high - low + 1} values; expected 100,000 at most")
        return Axis(path, tuple(range(low, high + 1)))
    axis = Axis(path, (), float(low), float(high), log)
    if count is None:
        return axis
    if not 2 <= int(count) <= 100_000:
        raise UsageError(f"grid {path}: {text!r} has {count} values; expected 2 to 100,000")
    return Axis(path, tuple(at(axis, k / (int(count) - 1)) for k in range(int(count))))

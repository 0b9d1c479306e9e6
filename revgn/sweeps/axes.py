"""The axes of a sweep: each is a setting and its values.

0.1,0.3,1         the values listed
0..4              the integers from 0 to 4
0.1..0.9:5        5 numbers, equally spaced
log:1e-3..1:7     7 numbers, equally spaced on a logarithmic scale
0.1..0.9          any number in the range (for --random and --search), uniformly distributed
log:1e-3..1       likewise, with a uniformly distributed logarithm

Numbers of a range are rounded for a setting that takes only whole numbers, such as `hidden`.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from revgn.errors import UsageError
from revgn.settings import named_settings, parse_value

NONE = "none"  # represents None in a TOML file
_RANGE = re.compile(r"(log:)?([^:]+?)\.\.([^:]+?)(?::(\d+))?")
_DIGITS = 6  # significant digits of a number from a range


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting, given by its dotted path, and its values; without values any number from `low` to `high`."""

    path: str
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    whole: bool = False  # whether the numbers of the range are rounded

    def __post_init__(self) -> None:
        try:
            json.dumps(self.values)
        except TypeError:  # as for a date of TOML
            bad = ", ".join(map(str, self.values))
            raise UsageError(f"grid {self.path}: {bad}: expected numbers, text or lists of these") from None

    @property
    def is_continuous(self) -> bool:
        """Whether the axis is a range of numbers rather than a list of values."""
        return not self.values


def parse_axis(path: str, given: Any) -> Axis:
    """Return the axis for a list of values or a text as above; an axis without values raises `UsageError`."""
    if not isinstance(given, str):
        listed = given if isinstance(given, list | tuple) else (given,)
        values = tuple(None if value == NONE else value for value in listed)
        if not values:
            raise UsageError(f"grid {path}: has no value; expected at least one")
        return Axis(path, values)
    found = _RANGE.fullmatch(given.strip())
    if found is None or _are_paths(found):
        if "[" in given:  # a single value that is itself a list, such as block weights
            return Axis(path, (parse_value(given),))
        return Axis(path, tuple(parse_value(part.strip()) for part in given.split(",")))
    return _range(path, given, found)


def draw(axis: Axis, rng: np.random.Generator) -> Any:
    """Draw one of the values, or a number from the range."""
    if not axis.is_continuous:
        return axis.values[int(rng.integers(len(axis.values)))]
    return at(axis, float(rng.random()))


def at(axis: Axis, share: float) -> float:
    """Return the number at the fraction `share`, between 0 and 1, of a range; an integer if it is whole."""
    if axis.log:
        number = axis.low * (axis.high / axis.low) ** share
    else:
        number = axis.low + (axis.high - axis.low) * share
    return round(number) if axis.whole else float(f"{number:.{_DIGITS}g}")


def is_whole(name: str) -> bool:
    """Return whether a setting, given by path or name, takes whole numbers and no others."""
    settings = named_settings().get(name.rpartition(".")[2], ())
    return bool(settings) and all(_numbers_in(of.type) == {int} for of in settings)


def _numbers_in(kind: Any) -> set[Any]:
    """Return which of the types int and float are part of a type."""
    return {kind} if kind in (int, float) else {each for part in get_args(kind) for each in _numbers_in(part)}


def _are_paths(found: re.Match[str]) -> bool:
    """Return whether a text that looks like a range is a list of paths, as in ../a.csv,../b.csv."""
    return "/" in found[0] and not any(isinstance(parse_value(found[k].strip()), int | float) for k in (2, 3))


def _range(path: str, text: str, found: re.Match[str]) -> Axis:
    log, low, high, count = bool(found[1]), *(parse_value(found[k].strip()) for k in (2, 3)), found[4]
    if not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high)):
        raise UsageError(
            f"grid {path}: {text!r} is not a range; expected numbers, as in 0..4 or log:1e-3..1:7"
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
        bounds = "0 < low < high" if log else "low < high"
        raise UsageError(f"grid {path}: {text!r} is not a range; expected {bounds}, both finite")
    if count is None and not log and isinstance(low, int) and isinstance(high, int):
        if high - low >= 100_000:
            raise UsageError(f"grid {path}: {text!r} has {high - low + 1} values; expected at most 100,000")
        return Axis(path, tuple(range(low, high + 1)))
    axis = Axis(path, (), float(low), float(high), log, is_whole(path))
    if axis.whole and math.ceil(low) > high:
        raise UsageError(f"grid {path}: {text!r} contains no whole number, and {path} takes no others")
    if count is None:
        return axis
    if not 2 <= int(count) <= 100_000:
        raise UsageError(f"grid {path}: {text!r} has {count} values; expected 2 to 100,000")
    return Axis(path, tuple(dict.fromkeys(at(axis, k / (int(count) - 1)) for k in range(int(count)))))

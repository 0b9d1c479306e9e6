"""Tick labels with powers of ten as plain text, 2×10⁻³.

matplotlib's own labels are formulas, and typesetting them takes half of the time of a plot.
"""

import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIMES = "\N{MULTIPLICATION SIGN}"
_NEAR_OVERFLOW = 1e280  # from here on, the margin of an axis may end beyond the largest number
_RAISED = str.maketrans("-\N{MINUS SIGN}0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def label_in_plain_text(ax: "Axes") -> None:
    """Label both linear axes in plain text; a factor of all labels is written as ×10⁶."""
    from matplotlib.ticker import ScalarFormatter

    class Plain(ScalarFormatter):
        def get_offset(self) -> str:
            return plain_offset(super().get_offset())

    ax.xaxis.set_major_formatter(Plain())
    ax.yaxis.set_major_formatter(Plain())


def set_log_scale(ax: "Axes", name: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with labels in plain text; ticks and limits are finite."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator

    class Finite(LogLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            with np.errstate(over="ignore"):
                ticks = np.asarray(super().tick_values(vmin, vmax))
            return ticks[np.isfinite(ticks)]

    class Powers(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain_power(super().__call__(x, pos))

    axis = ax.xaxis if name == "x" else ax.yaxis
    if axis.get_data_interval()[1] > _NEAR_OVERFLOW:
        (ax.set_xmargin if name == "x" else ax.set_ymargin)(0.0)
    (ax.set_xscale if name == "x" else ax.set_yscale)("log")
    axis.set_major_locator(Finite())
    axis.set_minor_locator(Finite(subs="auto"))
    axis.set_major_formatter(Powers())
    axis.set_minor_formatter(Powers(labelOnlyBase=False))


def plain_power(formula: str) -> str:
    r"""Return a formula such as ``$\mathdefault{2\times10^{-3}}$`` as plain text: 2×10⁻³."""
    inner = formula.removeprefix(r"$\mathdefault{").removesuffix("}$").replace(r"\times", _TIMES)
    return re.sub(r"\^\{(-?\d+)\}", lambda found: found[1].translate(_RAISED), inner)


def plain_offset(text: str) -> str:
    """Return the factor and the summand of all labels, such as "1e6+2.5e3", as ×10⁶+2.5×10³."""
    return re.sub(
        "(?:^1)?e([-\N{MINUS SIGN}]?\\d+)", lambda found: f"{_TIMES}10{found[1].translate(_RAISED)}", text
    )

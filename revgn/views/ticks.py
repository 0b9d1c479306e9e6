"""Tick labels with powers of ten as plain text, 2×10⁻³.

matplotlib's own labels are formulas, and typesetting them takes half of the time of a plot.
"""

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIMES = "\N{MULTIPLICATION SIGN}"
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
    """Make an axis logarithmic, with labels in plain text."""
    from matplotlib.ticker import LogFormatterSciNotation

    class Powers(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain_power(super().__call__(x, pos))

    (ax.set_xscale if name == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if name == "x" else ax.yaxis
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

"""The shared set-up of plots."""

import re

import pytest

from revgn.views.canvas import canvas
from revgn.views.ticks import set_log_scale

LONG = "optimizer gauss-newton, lr 0.2, weight decay 0.01, constant, block, block weights uniform, rtol 0.01"


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize(
    "labels", [("a", "b"), (LONG, "short"), tuple(f"{LONG} 1e-0{k}, damped" for k in range(7))]
)
def test_the_legend_stays_within_the_figure(panels, labels, tmp_path):
    with canvas(tmp_path / "plot.png", panels, "title") as axes:
        for label in labels:
            axes[0].plot([0, 1], label=label)
    figure = axes[0].figure
    (legend,) = figure.legends
    inside, whole = legend.get_window_extent(), figure.bbox
    assert inside.x0 >= whole.x0
    assert inside.x1 <= whole.x1
    assert inside.y0 >= whole.y0
    assert inside.y1 <= axes[0].get_window_extent().y0
    texts = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert texts == list(labels)


def test_a_name_is_no_formula(tmp_path):
    """A dollar sign in a file name begins no formula of matplotlib."""
    with canvas(tmp_path / "plot.svg", 1, "title") as axes:
        for label in (r"a$\nowhere$.csv", "b$.csv"):
            axes[0].plot([0, 1], label=label)
    written = (tmp_path / "plot.svg").read_text()
    assert r"a$\nowhere$.csv" in written
    assert ">b$.csv<" in written


@pytest.mark.parametrize(("values", "power"), [([5.5e-7, 2e-6], "10⁻⁶"), ([0, 3e7], "10⁷")])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_large_and_small_values_are_powers_of_ten(values, power, scale, tmp_path):
    """The text of an axis has neither the e of computers nor the prefixes of units, and is no formula."""
    with canvas(tmp_path / "plot.svg", 1, "title") as (ax,):
        ax.plot(values)
        if scale == "log":
            set_log_scale(ax, "y")
    texts = [*ax.get_yticklabels(which="both"), ax.yaxis.get_offset_text()]
    shown = " ".join(text.get_text() for text in texts)
    assert power in shown
    assert not re.search(r"\d[eunμµmkMG]|\$", shown)

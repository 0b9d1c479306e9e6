"""Tick labels: powers of ten in plain text, with the values of matplotlib's own labels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from revgn.views.ticks import label_in_plain_text, plain_offset, plain_power, set_log_scale

TIMES = "\N{MULTIPLICATION SIGN}"


def labels(axis):
    axis.figure.draw_without_rendering()
    return [label.get_text() for label in axis.get_ticklabels(which="both") if label.get_text()]


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("limits", [(2e-4, 30.0), (0.3, 0.8)])
def test_a_logarithmic_axis_has_the_labels_of_matplotlib_in_plain_text(name, limits):
    of = []
    for scale in (set_log_scale, lambda ax, name: ax.set(**{f"{name}scale": "log"})):
        ax = Figure().subplots()
        scale(ax, name)
        ax.set(**{f"{name}lim": limits})
        of.append(labels(getattr(ax, f"{name}axis")))
    assert of[0] == [plain_power(label) for label in of[1]]
    assert ("10⁻³" if limits[1] > 1 else f"4{TIMES}10⁻¹") in of[0]
    assert "$" not in "".join(of[0])


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("largest", [1e274, 1e300, 1.7e308])
def test_a_logarithmic_axis_of_huge_values_is_finite(name, largest):
    ax = Figure().subplots()
    ax.plot(*(([0.3, largest], [0.3, 0.6]) if name == "x" else ([0.3, 0.6], [0.3, largest])))
    set_log_scale(ax, name)
    axis = getattr(ax, f"{name}axis")
    assert {label[:2] for label in labels(axis)} == {"10"}
    assert np.isfinite([*axis.get_view_interval(), *axis.get_majorticklocs()]).all()
    assert axis.get_view_interval()[1] >= 0.999 * largest


def test_a_factor_of_all_labels_is_a_power_of_ten():
    ax = Figure().subplots()
    label_in_plain_text(ax)
    ax.set(xlim=(0, 5e7), ylim=(0, 2e-5))
    assert "1" in labels(ax.xaxis)
    offsets = [axis.get_offset_text().get_text() for axis in (ax.xaxis, ax.yaxis)]
    assert offsets == [f"{TIMES}10⁷", f"{TIMES}10⁻⁵"]
    assert plain_offset("1e6+2.5e3") == f"{TIMES}10⁶+2.5{TIMES}10³"
    assert plain_offset("") == ""

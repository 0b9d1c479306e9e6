"""The shared set-up of plots."""

import pytest

from revgn.views.canvas import canvas

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

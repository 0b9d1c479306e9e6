"""Activations kept or rebuilt: the points of a chain of reversible layers, forward and backward.

Kept, all points are stored at the forward pass. Rebuilt, only input and output are: walking forward
linearizes again from the input, walking backward inverts layer by layer from the output, so memory
does not grow with depth. Both give the same numbers, up to the rounding of the inverse.
"""

from collections.abc import Iterator
from typing import NamedTuple

from revgn.maps import Halves, Layer, Params, Point, forward, linearize, linearize_inverse


class Trajectory(NamedTuple):
    """A pass through a chain: its input, its output, and its points if they were kept."""

    input: Halves
    output: Halves
    points: tuple[Point, ...] | None


def walk(layers: tuple[Layer, ...], params: tuple[Params, ...], x: Halves, keep: bool) -> Trajectory:
    """Go through the layers from x, keeping the points or not."""
    y, points = x, []
    for layer, layer_params in zip(layers, params, strict=True):
        if keep:
            y, point = linearize(layer, layer_params, y)
            points.append(point)
        else:
            y = forward(layer, layer_params, y)
    return Trajectory(x, y, tuple(points) if keep else None)


def points_forward(
    layers: tuple[Layer, ...], params: tuple[Params, ...], trajectory: Trajectory
) -> Iterator[Point]:
    """Yield the points of the layers, first to last."""
    if trajectory.points is not None:
        yield from trajectory.points
        return
    y = trajectory.input
    for layer, layer_params in zip(layers, params, strict=True):
        y, point = linearize(layer, layer_params, y)
        yield point


def points_backward(
    layers: tuple[Layer, ...], params: tuple[Params, ...], trajectory: Trajectory
) -> Iterator[Point]:
    """Yield the points of the layers, last to first."""
    if trajectory.points is not None:
        yield from reversed(trajectory.points)
        return
    y = trajectory.output
    for layer, layer_params in zip(reversed(layers), reversed(params), strict=True):
        y, point = linearize_inverse(layer, layer_params, y)
        yield point

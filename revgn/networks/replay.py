"""Linearization points of a chain of reversible layers, from stored or rebuilt activations.

If activations are kept, the forward pass `walk` stores the points of all layers. If they are rebuilt, it
stores only the input and the output. `points_forward` then linearizes the layers again from the input, and
`points_backward` inverts them layer by layer from the output. Memory does not grow with depth in this case.
Both ways give the same points, up to the rounding error of the inverse.
"""

from collections.abc import Iterator
from typing import NamedTuple

from revgn.maps import Halves, Layer, Params, Point, forward, linearize, linearize_inverse


class Trajectory(NamedTuple):
    """Forward pass through a chain: input, output, and the points of all layers if they were kept."""

    input: Halves
    output: Halves
    points: tuple[Point, ...] | None


def walk(layers: tuple[Layer, ...], params: tuple[Params, ...], x: Halves, keep: bool) -> Trajectory:
    """Apply the layers to x and return the trajectory, with the points of all layers if `keep`."""
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
    """Yield the points of the layers, from the first layer to the last."""
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
    """Yield the points of the layers, from the last layer to the first."""
    if trajectory.points is not None:
        yield from reversed(trajectory.points)
        return
    y = trajectory.output
    for layer, layer_params in zip(reversed(layers), reversed(params), strict=True):
        y, point = linearize_inverse(layer, layer_params, y)
        yield point

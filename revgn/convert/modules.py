"""Reversible networks as plain PyTorch modules, with the names and layouts that are usual in PyTorch.

This file needs only PyTorch, not revgn: copy it to use a converted network elsewhere. The halves are
(n, w) for vectors and (n, q, H, W) for images. For example, a network of two blocks for 64 features and 10
classes:

    couplings = [Coupling(k % 2, dense(32, 512)) for k in range(4)]
    network = Reversible(Split(64, 32), couplings, Readout(32, 10))
    network.load_state_dict(torch.load("network.pt"))
"""

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

Halves = tuple[Tensor, Tensor]
ACTIVATIONS = {"relu": nn.ReLU, "identity": nn.Identity, "tanh": nn.Tanh, "gelu": nn.GELU}


class Reversible(nn.Module):
    """Reversible network: stem, layers that map halves to halves, and readout."""

    def __init__(self, stem: nn.Module, layers: Iterable[nn.Module], readout: nn.Module) -> None:
        super().__init__()
        self.stem, self.layers, self.readout = stem, nn.ModuleList(layers), readout

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs z (n, c) of inputs x (n, d)."""
        halves = self.stem(x)
        for layer in self.layers:
            halves = layer(halves)
        return self.readout(halves)


class Coupling(nn.Module):
    """Additive coupling: adds `features` of the other half to half number `half`."""

    def __init__(self, half: int, features: nn.Module) -> None:
        super().__init__()
        self.half, self.features = half, features

    def forward(self, halves: Halves) -> Halves:
        """Return the halves after the coupling."""
        first, second = halves
        if self.half == 0:
            return first + self.features(second), second
        return first, second + self.features(first)


def dense(width: int, hidden: int, activation: str = "relu") -> nn.Sequential:
    """Return features of vectors: a projection without bias, an activation, and a linear layer."""
    first, last = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width)
    return _features(first, activation, last)


def convolution(channels: int, hidden: int, kernel: int = 3, activation: str = "relu") -> nn.Sequential:
    """Return features of images: a convolution without bias, an activation, and a 1 x 1 convolution."""
    first = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
    return _features(first, activation, nn.Conv2d(hidden, channels, 1))


class Squeeze(nn.Module):
    """Squeeze: squares of f x f pixels become one pixel, with channels ordered by row, column, channel."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, halves: Halves) -> Halves:
        """Return the halves after the squeeze."""
        return squeezed(halves[0], self.factor), squeezed(halves[1], self.factor)


class Readout(nn.Module):
    """Linear map of both halves without bias; of their means over the pixels if `pooled`.

    `width` is the number of values that are read from a half: its columns for vectors, its channels for
    images if `pooled`, and otherwise all values of an image, ordered by pixel.
    """

    def __init__(self, width: int, outputs: int, pooled: bool = False) -> None:
        super().__init__()
        self.pooled, self.linear = pooled, nn.Linear(2 * width, outputs, bias=False)

    def forward(self, halves: Halves) -> Tensor:
        """Return the outputs of both halves."""
        return self.linear(torch.cat([self._columns(half) for half in halves], dim=1))

    def _columns(self, half: Tensor) -> Tensor:
        if half.ndim == 2:
            return half
        return half.mean((2, 3)) if self.pooled else half.permute(0, 2, 3, 1).flatten(1)


class Split(nn.Module):
    """Stem for vectors: splits them after ceil(d/2) columns and pads both halves with zeros to `width`."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features, self.width = features, width

    def forward(self, x: Tensor) -> Halves:
        """Return the halves of x (n, d)."""
        middle = (self.features + 1) // 2
        first, second = x[:, :middle], x[:, middle:]
        return pad(first, (0, self.width - first.shape[1])), pad(second, (0, self.width - second.shape[1]))


class ImageStem(nn.Module):
    """Stem for images (n, c H W): pads them, merges pixels, and splits the channels into halves.

    The images are padded with zeros to `size` = (f H', f W'), each square of f x f pixels becomes one pixel,
    and each half is padded with zeros to `width` channels.
    """

    def __init__(
        self, shape: tuple[int, int, int], size: tuple[int, int], width: int, factor: int = 1
    ) -> None:
        super().__init__()
        self.shape, self.size, self.width, self.factor = shape, size, width, factor

    def forward(self, x: Tensor) -> Halves:
        """Return the halves (n, width, H', W') of x."""
        (_, height, width), (high, wide) = self.shape, self.size
        images = pad(x.reshape(-1, *self.shape), (0, wide - width, 0, high - height))
        pixels = squeezed(images, self.factor)
        middle = (pixels.shape[1] + 1) // 2
        first, second = pixels[:, :middle], pixels[:, middle:]
        zeros = [(0, 0, 0, 0, 0, self.width - half.shape[1]) for half in (first, second)]
        return pad(first, zeros[0]), pad(second, zeros[1])


def squeezed(images: Tensor, factor: int) -> Tensor:
    """Return images (n, q, H, W) with each square of f x f pixels as one pixel of f f q channels."""
    n, q, height, width = images.shape
    f = factor
    apart = images.reshape(n, q, height // f, f, width // f, f).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, f * f * q, height // f, width // f)


def _features(first: nn.Module, activation: str, last: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(hidden=first, activation=ACTIVATIONS[activation](), output=last))

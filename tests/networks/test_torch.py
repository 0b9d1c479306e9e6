"""Convolutional networks against PyTorch's convolutions and derivatives; skipped without PyTorch."""

import numpy as np
import pytest
from cases import CONVOLUTIONAL

from revgn.solvers import apply_adjoint, jacobian, tangent_kernel
from revgn.testing import assert_close
from revgn.trees import flatten

torch = pytest.importorskip("torch")
PHI = {"tanh": torch.tanh, "gelu": torch.nn.functional.gelu}


def branch(features, own, u):
    """phi(conv(u)) W as a convolution and a 1 x 1 convolution, channels first."""
    H, W, q, k = features.grid
    images = u.reshape(-1, H, W, q).permute(0, 3, 1, 2)
    C = own[1] if len(own) > 1 else torch.as_tensor(features.projection)
    kernel = C.reshape(k, k, q, -1).permute(3, 2, 0, 1)
    hidden = PHI[features.activation](torch.nn.functional.conv2d(images, kernel, padding=k // 2))
    changed = torch.nn.functional.conv2d(hidden, own[0][:-1].T[:, :, None, None], own[0][-1])
    return changed.permute(0, 2, 3, 1).reshape(len(u), -1)


def squeezed(images, f):
    """(n, c, H, W) to (n, f f c, H/f, W/f), ordered by row, column and channel."""
    n, c, H, W = images.shape
    apart = torch.nn.functional.pixel_unshuffle(images, f).reshape(n, c, f * f, H // f, W // f)
    return apart.transpose(1, 2).reshape(n, f * f * c, H // f, W // f)


def network(net, params, x):
    stem = net.stem
    H, W, q, _ = stem.grid
    f = stem.factor
    images = x.reshape(-1, stem.channels, stem.height, stem.width)
    images = torch.nn.functional.pad(images, (0, f * W - stem.width, 0, f * H - stem.height))
    pixels = squeezed(images, f).permute(0, 2, 3, 1)
    middle = (pixels.shape[3] + 1) // 2
    parts = pixels[..., :middle], pixels[..., middle:]
    halves = [torch.nn.functional.pad(p, (0, q - p.shape[3])).reshape(len(x), -1) for p in parts]
    for layer, own in zip(net.body.layers, params, strict=True):
        if own:
            halves[layer.half] = halves[layer.half] + branch(layer.features, own, halves[1 - layer.half])
        else:
            H, W, q, _ = layer.grid
            halves = [
                squeezed(half.reshape(-1, H, W, q).permute(0, 3, 1, 2), layer.factor)
                .permute(0, 2, 3, 1)
                .reshape(len(x), -1)
                for half in halves
            ]
    means = [half.reshape(len(x), net.readout.pixels, -1).mean(1) for half in halves]
    U = torch.as_tensor(net.readout.first), torch.as_tensor(net.readout.second)
    return means[0] @ U[0] + means[1] @ U[1]


@pytest.mark.parametrize("case", CONVOLUTIONAL, ids=lambda case: case.name)
def test_outputs_gradients_and_kernel_match_pytorch(case, numpy_backend, rng):
    net, params, x = case.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    ours = [[torch.tensor(W, requires_grad=True) for W in own] for own in params]
    weights = [W for own in ours for W in own]
    theirs = network(net, ours, torch.tensor(x))
    assert_close("z", z, theirs.detach().numpy(), 1e-12)

    def pulled(z_bar):
        parts = torch.autograd.grad(theirs, weights, torch.tensor(z_bar), retain_graph=True)
        return np.concatenate([part.numpy().ravel() for part in parts])

    z_bar = rng.standard_normal(z.shape)
    assert_close("J^T z_bar", flatten(apply_adjoint(J, z_bar)), pulled(z_bar), 1e-12)
    rows = np.array([pulled(row.reshape(z.shape)) for row in np.eye(z.size)])
    assert_close("Theta", tangent_kernel(J), rows @ rows.T, 1e-12)

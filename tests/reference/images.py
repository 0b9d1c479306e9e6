"""A convolutional network by its formulas, pixel by pixel, and its Jacobian by the complex step."""

import numpy as np

from reference.dense import PHI, E


def neighbourhoods(images, k):
    """(n, H, W, q) to (n, H, W, k k q), one pixel after the other."""
    n, H, W, q = images.shape
    r = k // 2
    found = np.zeros((n, H, W, k, k, q), images.dtype)
    for y in range(H):
        for x in range(W):
            for dy in range(k):
                for dx in range(k):
                    row, column = y + dy - r, x + dx - r
                    if 0 <= row < H and 0 <= column < W:
                        found[:, y, x, dy, dx] = images[:, row, column]
    return found.reshape(n, H, W, -1)


def branch(features, own, u):
    """A(u) W for u (n, H W q)."""
    H, W, q, k = features.grid
    C = own[1] if len(own) > 1 else np.asarray(features.projection)
    rows = neighbourhoods(u.reshape(-1, H, W, q), k)
    phi = PHI[features.activation](rows @ C)
    return (phi @ own[0][:-1] + own[0][-1]).reshape(len(u), -1)


def squeeze(layer, half):
    H, W, q, _ = layer.grid
    f, images = layer.factor, half.reshape(-1, H, W, q)
    parts = [images[:, dy::f, dx::f, :] for dy in range(f) for dx in range(f)]
    return np.concatenate(parts, axis=3).reshape(len(half), -1)


def halves_of(stem, x):
    n, f = len(x), stem.factor
    H, W, q, _ = stem.grid
    images = np.zeros((n, f * H, f * W, stem.channels), x.dtype)
    images[:, : stem.height, : stem.width] = np.moveaxis(
        x.reshape(n, stem.channels, stem.height, stem.width), 1, 3
    )
    pixels = [images[:, dy::f, dx::f, :] for dy in range(f) for dx in range(f)]
    pixels = np.concatenate(pixels, axis=3)
    middle = (pixels.shape[3] + 1) // 2
    halves = []
    for part in (pixels[..., :middle], pixels[..., middle:]):
        half = np.zeros((n, H, W, q), x.dtype)
        half[..., : part.shape[3]] = part
        halves.append(half.reshape(n, -1))
    return halves


def network(net, params, x):
    halves = halves_of(net.stem, x)
    for layer, own in zip(net.body.layers, params, strict=True):
        if own:
            halves = list(halves)
            halves[layer.half] = halves[layer.half] + branch(layer.features, own, halves[1 - layer.half])
        else:
            halves = [squeeze(layer, half) for half in halves]
    P, readout = net.readout.pixels, net.readout
    means = [half.reshape(len(x), P, -1).mean(axis=1) for half in halves]
    return means[0] @ np.asarray(readout.first) + means[1] @ np.asarray(readout.second)


def jacobian(net, params, x):
    """J (n c, weights), with the rows and columns of `dense.jacobian`."""
    columns = []
    for k, own in enumerate(params):
        for i, W in enumerate(own):
            for index in np.ndindex(*W.shape):
                moved = [[np.asarray(w, dtype=complex) for w in of] for of in params]
                moved[k][i] = moved[k][i].copy()
                moved[k][i][index] += 1j * E
                columns.append(network(net, moved, x).imag.ravel() / E)
    return np.array(columns).T

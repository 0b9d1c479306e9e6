"""The step of the paper's published code (Buffelli et al. 2024), in plain NumPy for cross-entropy.

For each block l, with v = (p - y) U^T carried back to its output,

    D_F = A_F^+ v_F        r = A_F D_F        D_G = A_G^+ (v_G - ((r C_G) * phi'_G) W_G)

and all weights W <- W - lr D. Every block takes the full v: L blocks move the outputs by about L lr v.
"""

import numpy as np

from reference import dense
from reference.pinv import pinv

SLOPE = {"relu": lambda u: (u > 0).astype(float), "identity": np.ones_like}


def step(net, weights, x, y, lr):
    """Weights after one step with the published code's learning rate."""
    layers, new = net.body.layers, [W.copy() for W in weights]
    at = [dense.halves_of(net, x)]
    for layer, W in zip(layers, weights, strict=True):
        at.append(dense.coupling(layer, W, at[-1]))
    U = np.vstack([net.readout.first, net.readout.second])
    v = np.hsplit((_softmax(np.hstack(at[-1]) @ U) - y) @ U.T, 2)
    for f in reversed(range(0, len(layers), 2)):
        F, G, W_G = layers[f], layers[f + 1], weights[f + 1]
        A_F = dense.features(F, at[f][1 - F.half])
        A_G = dense.features(G, at[f + 1][1 - G.half])
        D_F = pinv(A_F, rtol=1e-2, atol=1e-5) @ v[F.half]
        r = A_F @ D_F
        slope = SLOPE[dense.activation_of(G)](at[f + 1][1 - G.half] @ G.features.projection)
        pushed = ((r @ G.features.projection) * slope) @ W_G[:-1]
        D_G = pinv(A_G, rtol=1e-2, atol=1e-5) @ (v[G.half] - pushed)
        new[f] -= lr * D_F
        new[f + 1] -= lr * D_G
        J = dense.block_derivatives(layers[f : f + 2], weights[f : f + 2], at[f])
        v = np.hsplit(np.linalg.solve(J, np.hstack(v)[:, :, None])[:, :, 0], 2)
    return new


def _softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)

"""The block step, word by word.

    D_F = A_F^+ v_0        r = A_F D_F        D_G = A_G^+ (v_1 - (what r does to the half that G moves))

and v is carried back by the inverse of the block's dense Jacobian, sample by sample.
"""

import numpy as np

from reference import dense
from reference.pinv import pinv


def block_step(net, params, x, eps, block_weights, **rule):
    """Weights' steps, one matrix for each coupling."""
    weights, layers = dense.weights_of(params), net.body.layers
    at = [dense.halves_of(net, x)]
    for layer, W in zip(layers, weights, strict=True):
        at.append(dense.coupling(layer, W, at[-1]))

    U = np.vstack([net.readout.first, net.readout.second])
    v = np.hsplit(eps @ U.T, 2)
    steps = [np.zeros_like(W) for W in weights]
    for block in reversed(range(len(block_weights))):
        f, g = 2 * block, 2 * block + 1
        F, G = layers[f], layers[g]
        A_F = dense.features(F, at[f][1 - F.half])
        A_G = dense.features(G, at[g][1 - G.half])
        D_F = pinv(A_F, **rule) @ v[F.half]
        r = A_F @ D_F
        moved = [h.astype(complex) for h in at[g]]
        moved[F.half] = moved[F.half] + 1j * dense.E * r
        carried = dense.coupling(G, weights[g], moved)[G.half].imag / dense.E
        D_G = pinv(A_G, **rule) @ (v[G.half] - carried)
        steps[f], steps[g] = block_weights[block] * D_F, block_weights[block] * D_G

        J = dense.block_derivatives(layers[f : g + 1], weights[f : g + 1], at[f])
        v = np.hsplit(np.linalg.solve(J, np.hstack(v)[:, :, None])[:, :, 0], 2)
    return steps

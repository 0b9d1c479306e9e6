"""K-FAC's step, word by word: each coupling's Kronecker product formed and solved as one dense system.

    (P + pi sqrt(mu) I) (x) (Q + sqrt(mu)/pi I) vec D = vec g
    P = A^T A / n        Q = sum_s B_s^T H_s B_s / n

with B_s the dense derivative of sample s's outputs in the half that the coupling moved, H_s its curvature.
"""

import numpy as np

from reference import dense


def hessians(kind, z):
    """Second derivatives (n, c, c) of each sample's loss in its outputs."""
    n, c = z.shape
    if kind == "squared-error":
        return np.broadcast_to(2.0 * np.eye(c), (n, c, c))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return np.array([np.diag(row) - np.outer(row, row) for row in p])


def factors(net, params, x, kind):
    """P and Q of each coupling, P of all h + 1 features however they are stored."""
    weights, layers = dense.weights_of(params), net.body.layers
    H = hessians(kind, dense.network(net, weights, x))
    U = [np.asarray(net.readout.first), np.asarray(net.readout.second)]
    halves, found = dense.halves_of(net, x), []
    for k, (layer, W) in enumerate(zip(layers, weights, strict=True)):
        A = dense.features(layer, halves[1 - layer.half])
        halves = dense.coupling(layer, W, halves)
        B = np.empty((*H.shape[:2], W.shape[1]))
        for j in range(W.shape[1]):
            moved = [h.astype(complex) for h in halves]
            moved[layer.half][:, j] += 1j * dense.E
            first, second = dense.chain(layers[k + 1 :], weights[k + 1 :], moved)
            B[:, :, j] = (first @ U[0] + second @ U[1]).imag / dense.E
        found.append((A.T @ A / len(x), np.einsum("noi,nop,npj->ij", B, H, B) / len(x)))
    return found


def solved(P, Q, mu, G):
    """D of one coupling's gradient G."""
    pi = np.sqrt(np.mean(np.diag(P)) / np.mean(np.diag(Q))) if Q.any() else 1.0
    damped = P + pi * np.sqrt(mu) * np.eye(len(P)), Q + np.sqrt(mu) / pi * np.eye(len(Q))
    return np.linalg.solve(np.kron(*damped), G.ravel()).reshape(G.shape)

"""A network by its formulas, and its Jacobian by the complex step.

f(x + i e d) = f(x) + i e J d + O(e^2): the imaginary part over e is J d without any subtraction, so with
e = 1e-30 it is right to the last digit (Squire and Trapp 1998).
"""

import numpy as np
import scipy.special

E = 1e-30

PHI = {
    "relu": lambda x: np.where(x.real > 0, x, 0.0),
    "identity": lambda x: x,
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1.0 + scipy.special.erf(x / np.sqrt(2.0))),
}


def activation_of(layer):
    return getattr(layer.features, "activation", "identity")


def features(layer, u):
    """A(u) = [phi(u C), 1]."""
    phi = PHI[activation_of(layer)](u @ np.asarray(layer.features.projection))
    return np.hstack([phi, np.ones((len(u), 1))])


def coupling(layer, W, halves):
    y = list(halves)
    y[layer.half] = halves[layer.half] + features(layer, halves[1 - layer.half]) @ W
    return y


def chain(layers, weights, halves):
    for layer, W in zip(layers, weights, strict=True):
        halves = coupling(layer, W, halves)
    return halves


def halves_of(net, x):
    """The halves of x; each is padded with zero columns if the network pads its inputs."""
    if net.stem is not None:
        middle, width = (x.shape[1] + 1) // 2, net.stem.width
        return [np.pad(half, ((0, 0), (0, width - half.shape[1]))) for half in np.split(x, [middle], axis=1)]
    if x.shape[1] % 2:
        x = np.hstack([x, np.zeros((len(x), 1))])
    return np.hsplit(x, 2)


def network(net, weights, x):
    first, second = chain(net.body.layers, weights, halves_of(net, x))
    return first @ np.asarray(net.readout.first) + second @ np.asarray(net.readout.second)


def weights_of(params):
    return [np.asarray(p.weight, dtype=np.float64) for p in params]


def jacobian(net, params, x):
    """J (n c, weights); row s c + o is output o of sample s, columns in the order of the parameters."""
    weights = weights_of(params)
    columns = []
    for k, W in enumerate(weights):
        for index in np.ndindex(*W.shape):
            moved = [*weights[:k], W.astype(complex), *weights[k + 1 :]]
            moved[k][index] += 1j * E
            columns.append(network(net, moved, x).imag.ravel() / E)
    return np.array(columns).T


def block_derivatives(layers, weights, halves):
    """For each sample the Jacobian (d, d) of a chain's output in its input."""
    d2 = halves[0].shape[1]
    J = np.empty((len(halves[0]), 2 * d2, 2 * d2))
    for i in range(2 * d2):
        moved = [h.astype(complex) for h in halves]
        moved[i // d2][:, i % d2] += 1j * E
        J[:, :, i] = np.hstack(chain(layers, weights, moved)).imag / E
    return J


def flat(params):
    """Parameters as one vector, in the order of the columns of `jacobian`."""
    return np.concatenate([np.asarray(p.weight, dtype=np.float64).ravel() for p in params])


def rows(eps):
    """eps (n, c) as a vector in the order of the rows of `jacobian`."""
    return np.asarray(eps, dtype=np.float64).ravel()

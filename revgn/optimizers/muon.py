"""Muon: momentum with equalized singular values (Jordan et al. 2024).

    m <- mu m + (1 - mu) g        M = m, or (1 - mu) g + mu m  (Nesterov)
    W <- W - lr ( s msign(M) + weight_decay W )        s = sqrt(max(1, (d/2) / h))

g is the gradient with respect to a weight matrix W (h, d/2), and mu the momentum. msign(M) = U V^T for the
singular value decomposition M = U S V^T; it is the steepest-descent direction in the spectral norm. It is
approximated as described in `revgn.optimizers.polar`. The scale s is taken from the reference implementation,
where weights have the shape (outputs, inputs); here they have the shape (inputs, outputs).

The bias rows of each weight (the last row, for a coupling) are vectors, and msign would only rescale them.
Adam updates them instead, with the learning rate times s / sqrt(max(h, d/2)). This factor is the root mean
square of the elements of s msign(M), so the same learning rate is suitable for matrices and biases.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace, blockwise, empty
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.errors import UsageError
from revgn.maps import WeightForm, weight_forms
from revgn.networks import ChainParams, Network
from revgn.optimizers.adam import Adam, AdamState, adam_direction, init_adam
from revgn.optimizers.optimizer import Direction, Linearization, batch_gradient, direction, init_state
from revgn.optimizers.polar import Polar, cost_of_polar_factors, polar_factor, polar_setting
from revgn.structs import setting, struct


@struct
class Muon:
    """Muon for weight matrices, Adam for biases, with decoupled weight decay.

    Notes
    -----
    Cost: one gradient, and a polar factor of each weight (see `revgn.optimizers.polar`).
    """

    lr: float = setting("Learning rate.", default=0.02, gt=0, resumable=True)
    momentum: float = setting("Momentum.", default=0.95, ge=0, lt=1)
    nesterov: bool = setting("Use Nesterov momentum.", default=True)
    beta1: float = setting(
        "Adam for biases: decay of the running mean of the gradient.", default=0.9, ge=0, lt=1
    )
    beta2: float = setting(
        "Adam for biases: decay of the running mean of the squared gradient.", default=0.999, ge=0, lt=1
    )
    eps: float = setting(
        "Adam for biases: constant added to the denominator for numerical stability.", default=1e-8, gt=0
    )
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)
    polar: Polar = polar_setting()

    def check(self) -> None:
        """Raise `UsageError` if Nesterov momentum is set and the momentum is 0."""
        if self.nesterov and not self.momentum:
            raise UsageError("Muon: nesterov needs a momentum > 0")


class MuonState(NamedTuple):
    """Running mean m of the gradient without its bias rows, and Adam's state for the bias rows."""

    momentum: ChainParams
    bias: AdamState


@init_state.register(Muon)
def init_muon(optimizer: Muon, network: Network, params: ChainParams) -> MuonState:
    matrices, biases = matrices_and_biases(network, trees.zeros_like(params))
    return MuonState(matrices, init_adam(Adam(), network, biases))


@direction.register(Muon)
def direction_muon(
    optimizer: Muon, state: MuonState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    network = at.jacobian.network
    g, g_bias = matrices_and_biases(network, batch_gradient(at))
    m, M = running_mean(optimizer.momentum, state.momentum, g, nesterov=optimizer.nesterov)
    betas = optimizer.beta1, optimizer.beta2
    of_bias, bias_state = adam_direction(*betas, optimizer.eps, state.bias, g_bias)

    def joined(form: WeightForm, W: Array, Mi: Array, bi: Array) -> Array:
        s = spectral_scale(Mi)
        D = with_bias(polar_factor(optimizer.polar, Mi), s, bi, s / math.sqrt(max(Mi.shape)))
        return array_namespace(D).reshape(D, W.shape)

    D = map_weights(joined, network, params, M, of_bias)
    return Direction(D, MuonState(m, bias_state), None)


@cost.register(Muon)
def cost_muon(optimizer: Muon, sizes: Sizes) -> Cost:
    return cost_of_gradient(sizes, copies=3) + cost_of_polar_factors(optimizer.polar, sizes)


def running_mean(
    mu: float, m: ChainParams, g: ChainParams, *, nesterov: bool = True
) -> tuple[ChainParams, ChainParams]:
    """Return the running mean m <- mu m + (1 - mu) g, and the direction: m, or mu m + (1 - mu) g."""

    def step(mi: Array, gi: Array) -> tuple[Array, Array]:
        mi = mu * mi + (1 - mu) * gi
        return mi, mu * mi + (1 - mu) * gi if nesterov else mi

    m, M = trees.elementwise(step, m, g)
    return m, M


def spectral_scale(M: Array) -> float:
    """Return s = sqrt(max(1, (d/2) / h)) for M (h, d/2); h counts as 1 if there are only bias rows."""
    h, d2 = M.shape
    return math.sqrt(max(1.0, d2 / max(1, h)))


def with_bias(M: Array, s: float, bias: Array, of_bias: float | Array) -> Array:
    """Return the weight [s M; of_bias bias] (h+1, d/2)."""
    h = M.shape[0]
    W = empty((h + bias.shape[0], M.shape[1]), M)
    blockwise(lambda Mi: (s * Mi,), M, out=(W[:h, :],))
    blockwise(lambda bi: (of_bias * bi,), bias, out=(W[h:, :],))
    return W


def map_weights(function: Callable[..., Array], network: Network, *of: ChainParams) -> ChainParams:
    """Apply `function(form, *arrays)` to each weight of parameters or changes, and return the results."""
    layers = zip(network.body.layers, of[0], strict=True)
    forms = iter([form for layer, own in layers if not trees.is_empty(own) for form in weight_forms(layer)])
    return trees.map_leaves(lambda *arrays: function(next(forms), *arrays), *of)


def matrix_and_bias(form: WeightForm, W: Array) -> tuple[Array, Array]:
    """Return W as a matrix without its bias rows (h, d/2), and the bias rows."""
    W = array_namespace(W).reshape(W, (form.rows, form.columns))
    h = form.rows - form.bias_rows
    return W[:h, :], W[h:, :]


def matrices_and_biases(network: Network, of: ChainParams) -> tuple[ChainParams, ChainParams]:
    """Return the weights without their bias rows, and the bias rows."""
    matrices = map_weights(lambda form, W: matrix_and_bias(form, W)[0], network, of)
    return matrices, map_weights(lambda form, W: matrix_and_bias(form, W)[1], network, of)

"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321, algorithm 3).

    M <- b1 M + (1 - b1) G        V <- b2 V + (1 - b2) G'^2        G' = Q^T G R,  M' = Q^T M R
    W <- W - lr ( Q (M'/(1 - b1^t) / (sqrt(V/(1 - b2^t)) + eps)) R^T + weight_decay W )
    K <- b2 K + (1 - b2) G G^T        L <- b2 L + (1 - b2) G^T G

G is the gradient with respect to a weight matrix W (h, d/2) without its bias rows, and t = 1, 2, ... counts
the steps. Q and R hold the eigenvectors of K (h, h) and L (d/2, d/2). After every k-th step they are renewed
by one power iteration Q <- qr(K Q), with the columns of Q sorted by decreasing diag(Q^T K Q). V is reordered
in the same way.

The first gradient only determines K, L and their eigenvectors, and the first step is only the weight decay:
in the eigenvectors of its own K and L the gradient would be diagonal. A side longer than `largest_side` keeps
its own axes, as if Q were I. The bias rows of each weight are vectors, for which Adam is used.
"""

from collections.abc import Callable
from typing import NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace, eigh, matmul, row_major, zeros
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.linalg import gram_columns, gram_rows
from revgn.maps import WeightForm
from revgn.networks import ChainParams, Network
from revgn.optimizers.adam import Adam, AdamState, adam_direction, init_adam
from revgn.optimizers.muon import map_weights, matrices_and_biases
from revgn.optimizers.optimizer import Direction, Linearization, batch_gradient, direction, init_state
from revgn.structs import setting, struct


@struct
class SOAP:
    """SOAP for weight matrices, Adam for biases, with decoupled weight decay.

    Notes
    -----
    Cost: one gradient; per step and weight (m, k), 2 m k (m + k) operations for K and L and 6 m k (m + k) for
    the rotations of G, M and back; per renewal, 10/3 (m^3 + k^3) for the power iteration and its QR
    decomposition. The state holds M, V and four matrices, two of order m and two of order k, for each weight.
    """

    lr: float = setting("Learning rate.", default=3e-3, gt=0, resumable=True)
    beta1: float = setting("Decay b1 of the running mean of the gradient.", default=0.95, ge=0, lt=1)
    beta2: float = setting(
        "Decay b2 of the running means of the squared gradient, K and L.", default=0.95, ge=0, lt=1
    )
    eps: float = setting("Constant added to the denominator for numerical stability.", default=1e-8, gt=0)
    every: int = setting("Number of steps between renewals of the eigenvectors.", default=10, ge=1)
    largest_side: int = setting(
        "Largest number of rows or columns of a weight for which eigenvectors are computed.",
        default=10_000,
        ge=1,
    )
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)


class Side(NamedTuple):
    """Running mean K or L of one side of a weight, and its axes Q or R, the eigenvectors."""

    mean: Array
    axes: Array


Sides = tuple[Side | tuple[()], Side | tuple[()]]  # () for a side that keeps its own axes


class SOAPState(NamedTuple):
    """Number of updates, M and V without bias rows, sides of each weight, and Adam's state for biases."""

    updates: int
    mean: ChainParams
    square: ChainParams
    sides: tuple[Sides, ...]
    bias: AdamState


@init_state.register(SOAP)
def init_soap(optimizer: SOAP, network: Network, params: ChainParams) -> SOAPState:
    matrices, biases = matrices_and_biases(network, trees.zeros_like(params))

    def blank(side: int, like: Array) -> Side | tuple[()]:
        return Side(*(zeros((side, side), like) for _ in Side._fields)) if _turns(optimizer, side) else ()

    sides = tuple((blank(M.shape[0], M), blank(M.shape[1], M)) for M in trees.leaves(matrices))
    return SOAPState(0, matrices, trees.zeros_like(matrices), sides, init_adam(Adam(), network, biases))


@direction.register(SOAP)
def direction_soap(
    optimizer: SOAP, state: SOAPState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    network, t = at.jacobian.network, state.updates
    g, g_bias = matrices_and_biases(network, batch_gradient(at))
    sides = [_collected(optimizer.beta2, of, G) for of, G in zip(state.sides, trees.leaves(g), strict=True)]
    if not t:
        first = tuple((_decomposed(left), _decomposed(right)) for left, right in sides)
        return Direction(trees.zeros_like(params), state._replace(updates=1, sides=first), None)
    b1, b2 = optimizer.beta1, optimizer.beta2
    turned = _each(_into, state.sides, g)
    mean, square = trees.elementwise(
        lambda m, v, G, inside: (b1 * m + (1 - b1) * G, b2 * v + (1 - b2) * (inside * inside)),
        *(state.mean, state.square, g, turned),
    )
    unbias1, unbias2 = 1 / (1 - b1**t), 1 / (1 - b2**t)
    (N,) = trees.elementwise(
        lambda m, v: ((unbias1 * m) / (array_namespace(v).sqrt(unbias2 * v) + optimizer.eps),),
        *(_each(_into, state.sides, mean), square),
    )
    outside = _each(_out_of, state.sides, N)
    of_bias, bias = adam_direction(b1, b2, optimizer.eps, state.bias, g_bias)
    if t % optimizer.every == 0:
        renewed = [_renewed(of, V) for of, V in zip(sides, trees.leaves(square), strict=True)]
        sides, ordered = [of for of, _ in renewed], iter([V for _, V in renewed])
        square = trees.map_leaves(lambda _: next(ordered), square)

    def joined(form: WeightForm, W: Array, X: Array, b: Array) -> Array:
        xp = array_namespace(X)
        return xp.reshape(xp.concat((X, b), axis=0), W.shape)

    D = map_weights(joined, network, params, outside, of_bias)
    return Direction(D, SOAPState(t + 1, mean, square, tuple(sides), bias), None)


@cost.register(SOAP)
def cost_soap(optimizer: SOAP, sizes: Sizes) -> Cost:
    grams = turns = bases = 0.0
    squares = 0
    for layer in sizes.layers:
        shape = layer.rows - 1, layer.width
        for side in filter(lambda side: _turns(optimizer, side), shape):
            grams += 2.0 * side * shape[0] * shape[1]
            turns += 6.0 * side * shape[0] * shape[1]  # rotations of G, of M, and back
            bases += 10 / 3 * side**3 / optimizer.every
            squares += 2 * side**2
    work = {"grams": grams, "rotations": turns, "eigenvectors by QR": bases}
    memory = {"eigenvectors": squares * sizes.number}
    return cost_of_gradient(sizes, copies=4) + Cost(work, memory)


def _turns(optimizer: SOAP, side: int) -> bool:
    """Return whether a side of this length has a basis of its own."""
    return 0 < side <= optimizer.largest_side


def _collected(b2: float, sides: Sides, G: Array) -> Sides:
    """Return the sides with G G^T and G^T G in their running means."""
    left, right = sides
    left = left and left._replace(mean=b2 * left.mean + (1 - b2) * gram_rows(G))
    right = right and right._replace(mean=b2 * right.mean + (1 - b2) * gram_columns(G))
    return left, right


def _decomposed(side: Side | tuple[()]) -> Side | tuple[()]:
    """Return a side with its eigenvectors, sorted by decreasing eigenvalue."""
    if not side:
        return ()
    _, Q = eigh(array_namespace(side.mean).asarray(side.mean, copy=True))
    return side._replace(axes=row_major(Q[:, ::-1]))


def _renewed(sides: Sides, V: Array) -> tuple[Sides, Array]:
    """Return the sides after one power iteration, and V in the order of the new basis vectors."""
    new: list[Side | tuple[()]] = []
    for axis, side in enumerate(sides):
        if side:
            xp, (K, Q) = array_namespace(V), side
            KQ = matmul(K, Q)
            order = xp.argsort(-xp.sum(Q * KQ, axis=0))
            V = xp.take(V, order, axis=axis)
            side = Side(K, row_major(xp.linalg.qr(xp.take(KQ, order, axis=1))[0]))
        new.append(side)
    return (new[0], new[1]), row_major(V)


def _each(
    turn: Callable[[Sides, Array], Array], sides: tuple[Sides, ...], matrices: ChainParams
) -> ChainParams:
    """Return `turn(sides, X)` for each matrix X and its sides."""
    of_each = iter(sides)
    return trees.map_leaves(lambda X: turn(next(of_each), X), matrices)


def _into(sides: Sides, X: Array) -> Array:
    """Return Q^T X R."""
    left, right = sides
    X = matmul(left.axes.T, X) if left else X
    return matmul(X, right.axes) if right else X


def _out_of(sides: Sides, X: Array) -> Array:
    """Return Q X R^T."""
    left, right = sides
    X = matmul(left.axes, X) if left else X
    return matmul(X, right.axes.T) if right else X

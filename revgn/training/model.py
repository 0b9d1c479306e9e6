"""A network as it is used after training: without training data, optimizer and schedule."""

from collections.abc import Iterator
from dataclasses import dataclass

from revgn.arrays import Array, Backend, DType, select_backend, unwarned
from revgn.data import Interface, PlacedPart, interface_of, take_rows
from revgn.losses import Loss
from revgn.maps import forward
from revgn.networks import ChainParams, Network
from revgn.settings import Config
from revgn.training.problem import Problem, choose_loss, draw_network_of, with_parts

EVAL_ROWS = 2048  # rows evaluated at once


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network with its loss and with the interface that gives its inputs and outputs their meaning."""

    config: Config
    network: Network
    loss: Loss
    interface: Interface
    backend: Backend
    dtype: DType


def build_model(config: Config, interface: Interface, *, shapes_only: bool = False) -> Model:
    """Return the network that settings describe, for inputs and outputs of a known meaning.

    `shapes_only` is as for `build_problem`.

    Raises
    ------
    UsageError
        If network or loss are user-defined, or do not fit the interface.
    BackendError
        If the backend is not available.
    """
    backend = select_backend(config.training.backend)
    with_parts(config, None, None, config.optimizer)
    network = draw_network_of(config, interface, len(interface.classes), backend, shapes_only=shapes_only)
    dtype = getattr(backend.xp, config.training.dtype)
    return Model(config, network, choose_loss(config, interface), interface, backend, dtype)


def model_of(problem: Problem) -> Model:
    """Return the part of a training problem that is needed after training."""
    interface = interface_of(problem.dataset)
    return Model(problem.config, problem.network, problem.loss, interface, problem.backend, problem.dtype)


def outputs_in_pieces(
    network: Network, params: ChainParams, part: PlacedPart, rows: int | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield outputs z (m, c) and targets t (m, c) of the first `rows` rows, or of all, piece by piece.

    Notes
    -----
    Memory: rows that are on the host are copied to the device piece by piece.
    """
    n = part.inputs.shape[0] if rows is None else min(rows, part.inputs.shape[0])
    for start in range(0, n, EVAL_ROWS):
        with unwarned():  # the numbers are checked, or shown, by the caller
            inputs, targets = take_rows(part, slice(start, min(start + EVAL_ROWS, n)))
            outputs = forward(network, params, inputs)
        yield outputs, targets

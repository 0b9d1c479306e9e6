"""Look ahead: what the next two steps would be like, from a state alone and without taking them."""

from revgn import trees
from revgn.losses import gradient, output_step
from revgn.measures import (
    Probe,
    cosine,
    gradient_noise,
    inverses_cosine,
    kernel_rate,
    step_excess,
)
from revgn.networks import ChainParams
from revgn.solvers import apply_adjoint, jacobian
from revgn.training.problem import Problem, TrainState
from revgn.training.step import Batch, Record, is_finite, train_step

_SOLVED_ROWS = 256  # at most, of a batch, whose kernel is formed and solved with


def look_ahead(problem: Problem, state: TrainState, probe: Probe, coming: tuple[Batch, ...]) -> Record:
    """Return what two steps on the batches to come would be like.

    step_overlap      cosine between the two
    step_excess       of the first, on as many rows of its batch as the probe has, at most 256
    solvers_cosine    of the output step on those rows
    gradient_noise    from the gradients of the two batches
    kernel_rate       `kernel_change` of the first step, on the probe; where that estimates kernels, with the
                      standard error kernel_rate_error

    Nothing where a step is not finite.

    Notes
    -----
    Law: a function of its arguments alone, so that a run taken up again measures the same.
    Cost: two steps, two gradients, two kernels of the probe and two solves on it.
    """
    first, second = coming
    one, record = train_step(problem, state, first)
    two, other = train_step(problem, one, second)
    if not (is_finite(record) and is_finite(other)):
        return {}
    rows = slice(0, min(probe.x.shape[0], _SOLVED_ROWS))
    outputs, J = jacobian(problem.network, state.params, first[0][rows, :])
    eps = output_step(problem.loss, outputs, first[1][rows, :])
    D = trees.axpy(-1.0, one.params, state.params)
    G, H = _gradient(problem, state, first), _gradient(problem, state, second)
    return {
        "step_overlap": cosine(D, trees.axpy(-1.0, two.params, one.params)),
        "step_excess": step_excess(J, D),
        "solvers_cosine": inverses_cosine(J, eps),
        "gradient_noise": gradient_noise(G, H, problem.batch_size),
        **kernel_rate(probe, *(jacobian(problem.network, each.params, probe.x)[1] for each in (state, one))),
    }


def _gradient(problem: Problem, state: TrainState, batch: Batch) -> ChainParams:
    outputs, J = jacobian(problem.network, state.params, batch[0])
    return apply_adjoint(J, gradient(problem.loss, outputs, batch[1]))

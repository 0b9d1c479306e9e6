"""The estimate of a step in advance: exact counts, and plausible times."""

from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np
import pytest
from cases import NetworkCase
from libraries import make_library

from revgn import trees
from revgn.cost import Cost, Sizes, cost, layer_costs
from revgn.data import Dataset, Part, load_dataset, take_batch
from revgn.errors import UnsupportedMapError, UsageError
from revgn.networks import Architecture
from revgn.optimizers import Adam, Blend, GaussNewton, Paced
from revgn.settings import FAMILIES, build_config, config_toml, parse_toml
from revgn.solvers import (
    Automatic,
    ConjugateGradients,
    MinimumNorm,
    conjugate_gradients,
    jacobian,
    solve,
    tangent_kernel,
)
from revgn.solvers.conjugate_gradients import expected_iterations
from revgn.training import (
    Estimate,
    Speeds,
    StepDone,
    build_problem,
    choose_solver,
    estimate,
    estimate_step,
    initial_state,
    solver_choice,
    step_cost,
    train,
)

WRAPPERS = {
    "blend": {},
    "orthogonalized": {},
    "levenberg-marquardt": {},
    "switch": {"switch_at": 3, "first": "lbfgs"},
    "paced": {"length": "backtracking"},
}
OPTIMIZERS = [
    *({"kind": kind} | WRAPPERS.get(kind, {}) for kind in FAMILIES["optimizer"]),
    {"solver": "block"},
    {"solver": "cg"},
    {"metric": "features"},
    {"curvature": "exact", "momentum": 0.5},
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("revgn.training.estimate._TIMED_SECONDS", 0.001)


@pytest.mark.parametrize("features", [1, 5, 64])
@pytest.mark.parametrize(("blocks", "hidden"), [(1, 1), (2, 32), (3, 7)])
@pytest.mark.parametrize("first_block", ["same", "identity"])
def test_weights_are_counted(features, blocks, hidden, first_block, make_problem, digits):
    def narrow(part):
        return Part(part.inputs[:, :features], part.targets[:, : min(features, 10)])

    fields = (narrow(digits.train), narrow(digits.test), digits.shift[:features], digits.scale[:features])
    dataset = Dataset("narrow", "classification", *fields, None, digits.classes, "", "")
    changes = {"network.blocks": blocks, "network.hidden": hidden, "network.first_block": first_block}
    problem = make_problem(changes, dataset)
    assert estimate_step(problem).parameters == trees.size(initial_state(problem).params)


@pytest.mark.parametrize("changes", OPTIMIZERS, ids=str)
def test_a_larger_problem_costs_more(changes, make_problem):
    """Every optimizer and solver has a cost."""
    changes = {"optimizer": changes, "network.first_block": "identity"}
    small = step_cost(make_problem(changes))
    assert not small.unknown
    assert all(part > 0 for part in (*small.memory.values(), *small.work.values()))
    for more in ({"training.batch_size": 128}, {"network.blocks": 4}, {"network.hidden": 200}):
        large = step_cost(make_problem(changes | more))
        assert sum(large.work.values()) > sum(small.work.values())
        in_both = small.memory.keys() & large.memory.keys()  # only few layers keep cotangents
        assert sum(map(large.memory.get, in_both)) > sum(map(small.memory.get, in_both))
    double = step_cost(make_problem(changes | {"training.dtype": "float64"}))
    assert double.memory == {part: 2 * size for part, size in small.memory.items()}


@dataclass(frozen=True)
class Own:
    """A user-defined optimizer, solver or layer without a cost."""


def test_structs_without_a_cost_are_named(make_problem):
    problem = make_problem()
    found = step_cost(replace(problem, optimizer=Own()))
    assert (found.unknown, set(found.work)) == (("Own",), {"forward"})
    assert step_cost(replace(problem, optimizer=GaussNewton(solver=Own()))).unknown == ("Own",)
    body = replace(problem.network.body, layers=(*problem.network.body.layers, Own()))
    strange = replace(problem, network=replace(problem.network, body=body))
    assert step_cost(strange) == Cost(unknown=("Own",))
    with pytest.raises(UnsupportedMapError, match=r"layer_cost\(Own\)"):
        estimate_step(strange)


def test_an_average_is_one_more_copy_of_the_weights(make_problem):
    plain, averaged = (
        estimate_step(make_problem({"training.average": average})) for average in ("none", "tail")
    )
    assert averaged.memory_bytes - plain.memory_bytes == 4 * plain.parameters


def test_a_wrapper_costs_its_parts(make_problem):
    """One forward pass; the sum of both optimizers for a blend, the larger of the two for a switch."""

    def step(**changes):
        return step_cost(make_problem({"optimizer": changes}))

    newton, adam, blend = step(), step(kind="adam"), step(kind="blend")
    assert blend.work == newton.work | {"gradient": adam.work["gradient"]}
    assert sum(newton.memory.values()) < sum(blend.memory.values())
    switch = step(kind="switch", switch_at=3)
    assert (switch.work, switch.memory) == (newton.work, blend.memory)
    paced = step(kind="paced", trust_radius=1.0)
    assert paced == newton
    paced = step(kind="paced", length="backtracking")
    assert paced.work["length"] == newton.work["forward"] + adam.work["gradient"]


def test_rebuilt_activations_take_less_memory(make_problem):
    kept, rebuilt = (
        step_cost(make_problem({"network.activations": how, "network.blocks": 6}))
        for how in ("keep", "rebuild")
    )
    assert rebuilt.memory["activations"] * 12 == kept.memory["activations"]


def test_the_number_of_rows_of_the_kernel(make_problem):
    """The rows that the solver constrains, or the rows of the curvature's square root."""

    def order(**changes):
        return step_cost(make_problem({"optimizer": changes})).order

    assert order() == 64 * 10
    assert order(solver={"outputs": "centered-logits"}) == order(curvature="exact") == 64 * 9
    assert order(curvature="exact", output_damping=0.1) == 64 * 10
    assert order(solver={"rows": 1}) == order(solver={"rows": 1}, curvature="exact") == 64
    assert order(solver={"kind": "cg", "rows": 2}) == 64 * 2


def test_the_memory_of_the_kernel(make_problem):
    """It is formed as a whole if it fits, otherwise in tiles within the memory bound."""
    dense, in_memory, on_disk = (
        step_cost(make_problem({"optimizer.solver.memory": size, "optimizer.solver.damping": 0.1}))
        for size in (None, "1.6MB", "500kB")
    )
    assert (dense.kernel, dense.memory["kernel"], dense.disk) == ("dense", 4 * 640**2, 0)
    assert (in_memory.kernel, on_disk.kernel) == ("tiles", "tiles")
    assert in_memory.memory["kernel"] <= 1.6e6
    assert (in_memory.disk, in_memory.moved) == (0, 0)
    assert on_disk.memory["kernel"] == 500_000
    assert on_disk.moved > on_disk.disk > 500_000
    assert in_memory.work == on_disk.work
    assert in_memory.work["factor"] == dense.work["factor"] == 640**3 / 3
    assert in_memory.work["pull-back"] == dense.work["pull-back"] + dense.work["forward"]
    for changes in ({"optimizer.kind": "adam"}, {"optimizer.solver.kind": "cg"}):
        assert step_cost(make_problem(changes)).kernel is None


def sizes_of(problem):
    n, c = problem.batch_size, problem.dataset.train.targets.shape[1]
    return Sizes(
        n, c, 8, tuple(each for layer in problem.network.body.layers for each in layer_costs(layer, n))
    )


@pytest.mark.parametrize("changes", [{"hidden": 5}, {"hidden": 40, "first_block": "identity"}, {"blocks": 3}])
def test_ranks_are_bounded(changes, make_problem):
    """The bounds hold, and are sharp except for the column of ones that the features of a half share."""
    network = {"hidden": 5, "activation": "tanh"} | changes
    problem = make_problem({"network": network, "training.dtype": "float64"})
    sizes, data = sizes_of(problem), problem.dataset
    x, _ = take_batch(data, data.train, slice(0, problem.batch_size), problem.backend, problem.dtype)

    def rank(scale):
        params = trees.map_leaves(
            lambda W: scale * np.random.default_rng(2).standard_normal(W.shape), initial_state(problem).params
        )
        return np.linalg.matrix_rank(tangent_kernel(jacobian(problem.network, params, x)[1]), hermitian=True)

    assert 0.8 * min(sizes.rank_bound(10), 640) <= rank(0.3) <= sizes.rank_bound(10)
    assert 0.8 * min(sizes.rank_at_zero(10), 640) <= rank(0.0) <= sizes.rank_at_zero(10)


def test_a_singular_kernel_is_predicted(make_problem):
    """--hidden 16 on 256 digits: 2,176 weights, of rank 1,632 at most, for a kernel of order 2,560."""
    digits = load_dataset("digits", subset=256)

    def found(**changes):
        base = {"training.batch_size": 256, "network.init_scale": 0.1, "network.hidden": 16}
        changes = {name.replace("__", "."): value for name, value in changes.items()}
        return step_cost(make_problem(base | changes, digits))

    singular, damped = found(), found(optimizer__solver__damping=0.01)
    assert singular.order == 2560
    (note,) = singular.notes
    assert "the kernel of order 2,560 is singular (rank at most 1,632), so Cholesky" in note
    assert "--damping 0.01" in note
    assert "--hidden" in note
    assert singular.work["eigenvectors"] == 9 * 2560**3
    assert singular.work["factor"] == 3 * damped.work["factor"]  # a second factorization, in double precision
    assert singular.work["kernel"] == 5 * damped.work["kernel"]
    assert damped.notes == ()
    assert "eigenvectors" not in damped.work
    double = found(training__dtype="float64")
    assert double.work["factor"] == damped.work["factor"]
    assert double.work["kernel"] == 2 * damped.work["kernel"]
    assert "the first step fails" in found(optimizer__solver__memory="100MB").notes[0]
    assert "stagnate" in found(optimizer__solver__kind="cg").notes[0]
    assert found(network__hidden=24).notes == ()
    (note,) = found(network__hidden=24, network__init_scale=1e-3).notes
    assert "(rank at most 1,000 at initialization)" in note
    assert found(network__hidden=64, network__init_scale=1e-3).notes == ()


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ({"network.hidden": 4, "network.init_scale": 0.1}, 2),
        ({"network.hidden": 11}, 2),
        ({"network.hidden": 11, "training.dtype": "float64"}, 0),
        ({"network.hidden": 8, "optimizer.solver.damping": 0.01}, 0),
        ({"network.hidden": 64}, 0),
    ],
    ids=str,
)
def test_the_predicted_factorization_is_used(changes, rung, make_problem):
    problem = make_problem(changes)
    first = next(event for event in train(problem, initial_state(problem)) if isinstance(event, StepDone))
    assert (first.record["rung"] == 2) == (rung == 2) == ("eigenvectors" in step_cost(problem).work)


def test_too_little_memory_is_noted(make_problem, monkeypatch):
    problem = make_problem({"network": {"blocks": 8, "hidden": 64}})
    needed = estimate_step(problem).memory_bytes
    for room, is_noted in ((None, False), (needed, False), (needed - 1, True)):
        monkeypatch.setattr("revgn.training.estimate.memory_size", lambda backend, room=room: room)
        notes = step_cost(problem).notes
        assert any(text.startswith("a step needs ") for text in notes) is is_noted


def test_huge_layers_are_timed_with_smaller_products(make_problem):
    """The two matrices would take 4 TB."""
    problem = make_problem({})
    sizes = estimate._sizes(problem)
    layer = sizes.layers[0]._replace(width=10**6, rows=10**6)
    assert estimate._product_speed(problem, sizes._replace(layers=(layer,))) > 0


@pytest.mark.parametrize("positions", [1, 9])
def test_the_fastest_product_counts(positions, make_problem, monkeypatch):
    """Other work of the machine delays some of the products; a convolution has a row per position."""
    problem, now = make_problem({}), [0.0]
    durations = chain([0.4, 0.01], repeat(0.4))

    def synchronize(x):
        now[0] += next(durations)

    monkeypatch.setattr("revgn.training.estimate.perf_counter", lambda: now[0])
    monkeypatch.setattr("revgn.training.estimate.synchronize", synchronize)
    sizes = estimate._sizes(problem)
    layer = max(sizes.layers, key=lambda layer: layer.rows)._replace(positions=positions)
    sizes = sizes._replace(layers=(layer,))
    work = 2 * sizes.samples * positions * layer.width * layer.rows
    assert estimate._product_speed(problem, sizes) == pytest.approx(work / 0.01)


def test_the_time_is_each_count_over_its_own_speed():
    work = {"kernel": 6.0, "factor": 12.0, "eigenvectors": 8.0}
    speeds = Speeds(products=3.0, factor=4.0, eigenvectors=2.0, read=6.0, disk=10.0)
    estimate = Estimate(1, Cost(work, read=24.0, moved=20.0), speeds)
    assert estimate.seconds_per_step == 6 / 3 + 12 / 4 + 8 / 2 + 24 / 6 + 20 / 10


@pytest.mark.parametrize(
    "solver", [MinimumNorm(0.1), ConjugateGradients(0.1, preconditioner=None), ConjugateGradients(0.1)]
)
@pytest.mark.parametrize(("blocks", "outputs"), [(1, 4), (2, 10), (6, 10)])
def test_launches_are_estimated_within_a_third(solver, blocks, outputs, stand_in, monkeypatch):
    """Operations that a solver starts on a GPU, counted by the stand-in for CuPy."""
    case = NetworkCase("counted", Architecture(blocks, 48), 32, outputs, 24)
    J, eps = case.jacobian(make_library("cupy"), "float32")
    with stand_in.counting() as counts:
        _, info = solve(solver, J, eps)
    monkeypatch.setattr(conjugate_gradients, "expected_iterations", lambda *_: info.iterations)
    layers = tuple(each for layer in J.network.body.layers for each in layer_costs(layer, 24))
    estimated = cost(solver, Sizes(24, outputs, 4, layers)).launches
    assert estimated == pytest.approx(sum(counts.launches.values()), rel=1 / 3)


def test_the_longer_of_computing_and_starting_time_counts():
    speeds = Speeds(products=1.0, read=1.0, launch=2.0, solve=3.0)
    busy = Estimate(0, Cost({"product": 5.0}, read=1.0, launches=1, solved=2), speeds)
    assert busy.seconds_per_step == 5 + 1 + 2 * 3
    waiting = Estimate(0, Cost({"product": 5.0}, read=1.0, launches=10, solved=2, moved=4.0), speeds)
    assert waiting.seconds_per_step == 10 * 2


AUTO = {"kind": "auto", "damping": 0.1, "tolerance": 1e-2, "memory": 10**9}


def chosen(monkeypatch, digits, *, products, reads, factors=1e12, batch=200, **changes):
    """The choice on a machine with these speeds, and the estimates."""
    for name, speed in (("product", products), ("read", reads), ("factor", factors)):
        monkeypatch.setattr(f"revgn.training.estimate._{name}_speed", lambda *_, speed=speed: speed)
    optimizer = {"solver": AUTO | changes}
    config = build_config(
        {"optimizer": optimizer, "network": {"hidden": 32}, "training": {"batch_size": batch}}
    )
    return choose_solver(config, digits)


def test_the_faster_solver_is_chosen(monkeypatch, digits):
    """CG if the Cholesky factorization is slow; the kernel, with its own settings, if memory is slow."""
    config, estimates = chosen(monkeypatch, digits, products=1e10, reads=1e12, factors=1e6)
    assert config.optimizer.solver == ConjugateGradients(damping=0.1, tolerance=1e-2)
    assert estimates["cg"].seconds_per_step < estimates["minimum-norm"].seconds_per_step
    assert solver_choice(estimates).startswith("cg: ")
    assert ", minimum-norm " in solver_choice(estimates)
    config, _ = chosen(monkeypatch, digits, products=1e15, reads=1e6, batch=16, damping=1e-9, tolerance=1e-9)
    assert config.optimizer.solver == MinimumNorm(damping=1e-9, memory=10**9)
    assert build_config(parse_toml(config_toml(config), "chosen")) == config


def test_a_solver_that_does_not_fit_into_memory_is_not_chosen(monkeypatch, digits):
    config, estimates = chosen(monkeypatch, digits, products=1e10, reads=1e12, factors=1e6, memory=200_000)
    assert estimates["cg"].seconds_per_step < estimates["minimum-norm"].seconds_per_step
    assert isinstance(config.optimizer.solver, MinimumNorm)
    assert estimates["minimum-norm"].cost.kernel == "tiles"


def test_every_automatic_solver_is_replaced(digits):
    inner = GaussNewton(solver=Automatic(damping=0.1))
    config = replace(build_config(), optimizer=Blend(Paced(inner, trust_radius=1.0).inner, inner))
    taken, estimates = choose_solver(config, digits)
    assert type(taken.optimizer.first.solver) is type(taken.optimizer.second.solver) is not Automatic
    assert set(estimates) == {"minimum-norm", "cg"}


def test_a_given_solver_is_not_replaced(digits):
    for optimizer in (GaussNewton(), GaussNewton(solver=ConjugateGradients()), Adam()):
        config = replace(build_config(), optimizer=optimizer)
        assert choose_solver(config, digits) == (config, {})
    with pytest.raises(UsageError, match="auto must be replaced by another solver; call choose_solver first"):
        build_problem(build_config({"optimizer": {"solver": "auto"}}), digits)


def test_iterations_grow_with_the_batch_and_fall_with_damping():
    def expected(n=1024, **settings):
        return expected_iterations(ConjugateGradients(**settings), n)

    assert expected(damping=0.1) == pytest.approx(14)
    assert expected(n=4096, tolerance=1e-2) == pytest.approx(56)
    assert expected(n=256, damping=0.1) < expected(damping=0.1) < expected(damping=0.01) < expected()
    assert expected(preconditioner=None) > expected()
    assert expected(max_iterations=3) == 3

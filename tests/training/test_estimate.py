"""The estimate before the first step: exact where it counts, plausible where it guesses."""

import pytest
from revgn.training.settings import OptimizerSettings

from revgn import trees
from revgn.data import Dataset, Part
from revgn.errors import UsageError
from revgn.settings import build_config, config_toml, parse_toml
from revgn.training import Estimate, build_problem, choose_solver, estimate_step, initial_state, solver_choice
from revgn.training.estimate import expected_iterations


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("revgn.training.estimate._TIMED_SECONDS", 0.001)


@pytest.mark.parametrize("features", [1, 2, 5, 64])
@pytest.mark.parametrize(("blocks", "hidden"), [(1, 1), (2, 32), (3, 7)])
@pytest.mark.parametrize("first_block", ["same", "identity"])
def test_weights_are_counted(features, blocks, hidden, first_block, make_problem, digits):
    def narrow(part):
        return Part(part.inputs[:, :features], part.targets[:, : min(features, 10)])

    fields = (narrow(digits.train), narrow(digits.test), digits.shift[:features], digits.scale[:features])
    dataset = Dataset("narrow", "classification", *fields, None, digits.classes, "", "")
    changes = {"network.blocks": blocks, "network.hidden": hidden, "network.first_block": first_block}
    problem = make_problem(changes, dataset)
    estimate = estimate_step(problem)
    assert estimate.parameters == trees.size(initial_state(problem).params)
    assert (estimate.features, estimate.outputs) == (features, min(features, 10))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer.inverse": "block"},
        {"optimizer.solver": "cg"},
        {"optimizer.metric": "features"},
        {"optimizer.orthogonal": True},
        *({"optimizer.name": name} for name in ("adam", "sgd", "muon", "kfac", "lbfgs")),
        {"optimizer.hybrid": "switch", "optimizer.second": "lbfgs", "optimizer.switch_at": 3},
        {"optimizer.hybrid": "agreement", "optimizer.length_rule": "backtracking"},
    ],
    ids=str,
)
@pytest.mark.parametrize("first_block", ["same", "identity"])
def test_more_costs_more(changes, first_block, make_problem):
    changes = changes | {"network.first_block": first_block}
    small = estimate_step(make_problem(changes))
    assert (small.train_rows, small.batch_size, small.steps) == (200, 64, 7)
    assert small.memory_bytes == sum(small.memory.values())
    assert all(part > 0 for part in (*small.memory.values(), *small.work.values()))
    assert small.seconds_per_step > 0
    for more in ({"training.batch_size": 128}, {"network.blocks": 4}, {"network.hidden": 200}):
        large = estimate_step(make_problem(changes | more))
        assert sum(large.work.values()) > sum(small.work.values())
        assert large.memory_bytes > small.memory_bytes
    double = estimate_step(make_problem(changes | {"training.dtype": "float64"}))
    assert double.memory_bytes == 2 * small.memory_bytes


def test_an_average_is_one_more_copy_of_the_weights(make_problem):
    plain, averaged = (
        estimate_step(make_problem({"training.average": average})) for average in ("none", "tail")
    )
    assert averaged.memory_bytes - plain.memory_bytes == 4 * plain.parameters


def test_a_hybrid_costs_its_parts(make_problem):
    """One forward pass; the work of both, or in turn the larger; the halves of an agreement together."""

    def step(**changes):
        changes = {f"optimizer.{name}": value for name, value in changes.items()}
        return estimate_step(make_problem(changes))

    newton, adam = step(), step(name="adam")
    blend = step(hybrid="blend", second="adam")
    assert sum(blend.work.values()) == sum(newton.work.values()) + adam.work["gradient"]
    assert newton.memory_bytes < blend.memory_bytes < newton.memory_bytes + adam.memory_bytes
    switch = step(hybrid="switch", second="adam", switch_at=3)
    assert switch.work == newton.work
    agreement = step(hybrid="agreement")
    assert agreement.memory["kernel"] == newton.memory["kernel"] / 2
    assert agreement.work["forward"] == pytest.approx(2 * newton.work["forward"])
    paced = step(length_rule="second-batch")
    assert paced.work["length"] == 2 * newton.work["forward"]
    assert step(trust_radius=1.0).work == newton.work
    averaged = estimate_step(
        make_problem(
            {"optimizer.hybrid": "blend", "optimizer.second": "adam", "training.average": "exponential"}
        )
    )
    assert averaged.memory_bytes - blend.memory_bytes == 4 * blend.parameters


def test_rebuilt_activations_take_less(make_problem):
    kept, rebuilt = (
        estimate_step(make_problem({"network.activations": how, "network.blocks": 6}))
        for how in ("keep", "rebuild")
    )
    assert rebuilt.memory["activations"] * 12 == kept.memory["activations"]


def test_the_kernel_s_route(make_problem):
    """As a whole where it fits, else by tiles, whose memory is the bound until they need less."""
    dense = estimate_step(make_problem())
    assert (dense.route, dense.memory["kernel"], dense.disk_bytes) == ("dense", 4 * 640**2, 0)
    in_memory, on_disk = (
        estimate_step(make_problem({"optimizer.memory": size})) for size in ("1.6MB", "500kB")
    )
    assert (in_memory.route, on_disk.route) == ("tiles", "tiles")
    assert in_memory.memory["kernel"] <= 1.6e6
    assert (in_memory.disk_bytes, in_memory.moved_bytes) == (0, 0)
    assert on_disk.memory["kernel"] == 500_000
    assert on_disk.moved_bytes > on_disk.disk_bytes > 500_000
    assert in_memory.work == on_disk.work
    assert in_memory.work["factor"] == dense.work["factor"]
    assert in_memory.work["pull-back"] == dense.work["pull-back"] + dense.work["forward"]
    for changes in ({"optimizer.name": "adam"}, {"optimizer.inverse": "block"}, {"optimizer.solver": "cg"}):
        assert estimate_step(make_problem(changes)).route is None


def test_time_is_work_over_its_own_speed():
    estimate = Estimate(
        1, 1, 1, 1, 1, 1, {}, {"kernel": 6.0, "factor": 12.0}, 3.0, "tiles", 5, 20.0, 4.0, 10.0, 24.0, 6.0
    )
    assert estimate.seconds_per_step == 6 / 3 + 12 / 4 + 20 / 10 + 24 / 6


AUTO = {"solver": "auto", "damping": 0.1, "tolerance": 1e-2, "memory": 10**9}


def chosen(monkeypatch, digits, *, products, reads, factors=1e12, batch=200, **changes):
    """What is chosen on a machine of these speeds, with the estimates."""
    for name, speed in (("product", products), ("read", reads), ("factor", factors)):
        monkeypatch.setattr(f"revgn.training.estimate._{name}_speed", lambda *_, speed=speed: speed)
    training = {"batch_size": batch}
    config = build_config({"optimizer": AUTO | changes, "network": {"hidden": 32}, "training": training})
    return choose_solver(config, digits)


def test_the_faster_solver_is_chosen(monkeypatch, digits):
    """Cholesky slow: conjugate gradients; many iterations: the kernel, with its own settings only."""
    config, estimates = chosen(monkeypatch, digits, products=1e10, reads=1e12, factors=1e6)
    assert config.optimizer.solver == "cg"
    assert (config.optimizer.tolerance, config.optimizer.memory) == (1e-2, None)
    assert estimates["cg"].seconds_per_step < estimates["dense"].seconds_per_step
    assert solver_choice(config, estimates).startswith("cg: ")
    config, estimates = chosen(
        monkeypatch, digits, products=1e15, reads=1e8, batch=16, preconditioner="none", tolerance=1e-9
    )
    assert config.optimizer.solver == "dense"
    assert config.optimizer.memory == 10**9
    assert (config.optimizer.tolerance, config.optimizer.preconditioner) == (1e-3, "blocks")
    assert build_config(parse_toml(config_toml(config), "chosen")) == config
    assert build_problem(config, digits).optimizer.solver.memory == 10**9


def test_what_does_not_fit_is_not_chosen(monkeypatch, digits):
    config, estimates = chosen(monkeypatch, digits, products=1e10, reads=1e12, factors=1e6, memory=200_000)
    assert estimates["cg"].seconds_per_step < estimates["dense"].seconds_per_step
    assert (config.optimizer.solver, estimates["dense"].route) == ("dense", "tiles")


def test_a_solver_that_is_set_stays(digits):
    for settings in ({}, {"solver": "cg"}, {"inverse": "block"}, {"name": "adam"}):
        config = build_config({"optimizer": settings})
        assert choose_solver(config, digits) == (config, {})
    with pytest.raises(UsageError, match="auto is not chosen yet; let choose_solver do it"):
        build_problem(build_config({"optimizer": {"solver": "auto"}}), digits)


def test_iterations_grow_with_the_batch_and_fall_with_damping():
    def expected(n=1024, **settings):
        return expected_iterations(OptimizerSettings(**settings), n)

    assert expected(damping=0.1) == pytest.approx(14)
    assert expected(n=4096, tolerance=1e-2) == pytest.approx(56)
    assert expected(n=256, damping=0.1) < expected(damping=0.1) < expected(damping=0.01) < expected()
    assert expected(preconditioner="none") > expected()
    assert expected(max_iterations=3) == 3

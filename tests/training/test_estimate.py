"""The estimate before the first step: exact where it counts, plausible where it guesses."""

import pytest

from revgn import trees
from revgn.data import Dataset, Part
from revgn.training import estimate_step, initial_state


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

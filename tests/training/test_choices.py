"""Defaults that are chosen from the data: their values by size and task, and what is never changed."""

import numpy as np
import pytest

from revgn.launch import start_run
from revgn.optimizers import LBFGS, Adam, Cosine, GaussNewton, LevenbergMarquardt, Orthogonalized, StepDecay
from revgn.settings import build_config, config_dict, fields_at, flat, merge_settings, nested
from revgn.solvers import BlockWise, MinimumNorm
from revgn.store import open_run
from revgn.training import choose_defaults


def table_of(tmp_path, rows, classes=3):
    """The data settings of a table with so many training rows, 0 classes for a regression."""
    rng = np.random.default_rng(rows)
    x, t = rng.standard_normal((rows, 4)), 50.0 + 10.0 * rng.standard_normal(rows)
    labels = np.arange(rows) % classes if classes else t
    path = tmp_path / f"{rows}-{classes}.npz"
    np.savez(path, x=x, y=labels, x_test=x[:9], y_test=labels[:9])
    return {"data": {"name": str(path)}}


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"),
    [(20, 20, 200), (200, 32, 34), (1437, 64, 10), (3000, 128, 9), (9000, 256, 6), (20_000, 256, 5)],
)
def test_batch_size_and_epochs_by_the_number_of_rows(rows, batch_size, epochs, tmp_path):
    config = choose_defaults(table_of(tmp_path, rows)).config
    assert (config.training.batch_size, config.training.epochs) == (batch_size, epochs)
    given = choose_defaults(table_of(tmp_path, rows) | {"training": {"batch_size": 10}})
    assert given.config.training.epochs == max(5, -(-200 // (rows // 10)))
    assert (
        "training.epochs" not in choose_defaults(table_of(tmp_path, rows) | {"training": {"steps": 3}}).chosen
    )


def test_classes(tmp_path):
    """All centered logits for few data and a kernel of at most 1,200 rows, otherwise one row per sample."""
    few, many = table_of(tmp_path, 1000), table_of(tmp_path, 6000)
    all_rows = MinimumNorm(0.1, outputs="centered-logits")
    one_row = MinimumNorm(0.1, rows=1)
    for settings, solver in (
        (few, all_rows),
        (many, one_row),
        (few | {"training": {"batch_size": 700}}, one_row),
    ):
        config = choose_defaults(settings).config
        assert config.optimizer == GaussNewton(solver, 0.5, momentum=0.9)
        assert config.training.schedule == Cosine()
        assert not config.data.standardize_targets


def test_a_regression(tmp_path):
    chosen = choose_defaults(table_of(tmp_path, 6000, classes=0))
    assert chosen.config.optimizer == GaussNewton(MinimumNorm(0.1), 0.5, momentum=0.9)
    assert chosen.config.data.standardize_targets
    assert float(chosen.dataset.target_shift[0]) == pytest.approx(50.0, abs=1.0)


@pytest.mark.parametrize(
    ("given", "optimizer"),
    [
        ({"optimizer": "adam"}, Adam()),
        ({"optimizer": {"kind": "lbfgs"}}, LBFGS()),
        ({"optimizer": "levenberg-marquardt"}, LevenbergMarquardt()),
        ({"optimizer": {"solver": "block"}}, GaussNewton(BlockWise(damping=1e-3))),
        ({"optimizer": {"solver": {"kind": "block", "rtol": 0.01}}}, GaussNewton(BlockWise(rtol=0.01))),
        ({"optimizer": "orthogonalized"}, Orthogonalized()),
        (
            {"optimizer": {"curvature": "exact"}},
            GaussNewton(MinimumNorm(0.1), 0.5, momentum=0.9, curvature="exact", output_damping=0.1),
        ),
        (
            {"optimizer": {"solver": {"rows": 2, "damping": "leave-one-out"}}},
            GaussNewton(MinimumNorm("leave-one-out", rows=2), 0.5, momentum=0.9),
        ),
    ],
    ids=str,
)
def test_optimizers_that_are_named_keep_their_own_defaults(given, optimizer, tmp_path):
    assert choose_defaults(table_of(tmp_path, 300) | given).config.optimizer == optimizer


def test_on_the_full_batch_the_step_is_the_exact_one(tmp_path):
    settings = table_of(tmp_path, 100) | {"training": {"batch_size": "full"}}
    config = choose_defaults(settings).config
    assert config.optimizer == GaussNewton(MinimumNorm(0.01, outputs="centered-logits"))
    assert config.training.schedule == build_config({}).training.schedule
    assert config.training.epochs == 5
    lbfgs = choose_defaults(table_of(tmp_path, 100) | {"optimizer": "lbfgs"}).config
    assert lbfgs.training.batch_size == "full"


OWN = {
    "data.standardize_targets": False,
    "training.batch_size": 17,
    "training.epochs": 3,
    "training.schedule.kind": "step",
    "optimizer.lr": 1.0,
    "optimizer.momentum": 0.0,
    "optimizer.solver.damping": 0.0,
    "optimizer.solver.rows": "all",
}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("rows", [300, 6000])
def test_what_is_given_is_never_changed(rows, classes, tmp_path):
    """Also where it is the fixed default."""
    data = table_of(tmp_path, rows, classes)
    free = choose_defaults(data)
    for path in free.chosen:
        assert path in OWN or path == "optimizer.solver.outputs"
    for path, value in OWN.items():
        if path == "data.standardize_targets" and classes:
            continue
        found = choose_defaults(merge_settings(nested(path, value), data))
        assert path not in found.chosen
        assert flat(config_dict(found.config))[path] == value
        assert set(free.chosen) - {path} - {"training.epochs"} <= set(found.chosen)
    every = merge_settings(*(nested(path, value) for path, value in OWN.items() if value is not False), data)
    assert set(choose_defaults(every).chosen) <= {"data.standardize_targets", "optimizer.solver.outputs"}


def test_a_schedule_keeps_its_settings(tmp_path):
    data = table_of(tmp_path, 300)
    warmed = choose_defaults(data | {"training": {"schedule": {"warmup": 7}}}).config
    assert warmed.training.schedule == Cosine(warmup=7)
    other = choose_defaults(data | {"training": {"schedule": {"kind": "step", "every": 3}}}).config
    assert other.training.schedule == StepDecay(every=3)


def test_with_a_preset_nothing_is_chosen(tmp_path):
    data = table_of(tmp_path, 300, classes=0)
    config, _, chosen = found = choose_defaults(data | {"preset": "plain"})
    assert (chosen, str(found)) == ({}, "")
    assert config == build_config(data, {"preset": "plain"})
    assert config.optimizer == GaussNewton()


def test_choices_are_announced_and_stored_in_the_run(tmp_path):
    """The run's settings are explicit: with them, nothing is left to choose."""
    said = []
    settings = table_of(tmp_path, 200, classes=0) | {"network": {"hidden": 8}, "training": {"epochs": 1}}
    start_run(settings, tmp_path / "run", announce=said.append)
    run = open_run(tmp_path / "run")
    stored = flat(run.config)
    assert stored["optimizer.solver.damping"] == 0.1
    assert stored["training.batch_size"] == 32
    (line,) = said
    assert line.startswith("chosen for 200 rows of 200-0.npz: data.standardize_targets = true, training.")
    assert line.endswith("optimizer.solver.damping = 0.1 (--preset plain chooses nothing)")
    again = choose_defaults(run.config)
    assert again.chosen == {}
    assert again.config == build_config(run.config)


@pytest.mark.parametrize(
    "settings",
    [
        {"data": {"name": "auto-mpg"}},
        {"data": {"name": "auto-mpg"}, "network": {"hidden": 9}, "training": {"batch_size": 20}},
        {"data": {"name": "auto-mpg"}, "network": {"hidden": 64}, "optimizer": {"solver": "block"}},
        {"network": {"hidden": 16}, "training": {"steps": 60}},
        {"network": {"hidden": 4}, "training": {"batch_size": 60, "steps": 60}},  # n c = 540, p = 640
        {"network": {"hidden": 64}, "training": {"batch_size": 8, "steps": 60}},
        {
            "network": {"hidden": 64},
            "training": {"batch_size": 64, "steps": 60},
            "optimizer": {"solver": "block"},
        },
    ],
    ids=[
        "regression",
        "narrow regression",
        "block regression",
        "narrow",
        "threshold",
        "small batch",
        "block",
    ],
)
def test_the_loss_falls_for_regressions_narrow_networks_and_small_batches(settings, tmp_path):
    few = {"training": {"measure_every": 0, "eval_every": 1000}, "network": {"hidden": 64}}
    start_run(merge_settings(settings, few), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.epochs["test_loss"][-1] < 0.35 * run.epochs["test_loss"][0]
    assert run.steps["rung"].max() == 0  # no eigendecomposition


def test_the_settings_that_say_so_are_those_that_are_chosen(tmp_path):
    """Over all kinds of data, solvers and optimizers, the chosen settings are those with `chosen`."""
    data = [table_of(tmp_path, 1000), table_of(tmp_path, 6000), table_of(tmp_path, 1000, classes=0)]
    optimizers = [
        {},
        {"optimizer": "adam"},
        *({"optimizer": {"solver": of}} for of in ("block", "cg", "auto")),
    ]
    found, flagged = set(), set()
    for settings in (one | other for one in data for other in optimizers):
        config, _, chosen = choose_defaults(settings)
        fields = fields_at(config_dict(config))
        names = {
            path: (
                fields[parent].struct if (parent := path.rpartition(".")[0]) in fields else parent,
                field.of.name,
            )
            for path, field in fields.items()
        }
        found |= {names[path.removesuffix(".kind")] for path in chosen}
        flagged |= {names[path] for path, field in fields.items() if field.of.chosen}
    assert found == flagged


def test_the_exact_curvature_does_not_diverge_by_default(tmp_path):
    """Without output damping, the loss diverged within eight steps for all seeds that were tried."""
    few = {"data": {"subset": 500}, "network": {"hidden": 64}, "training": {"steps": 12}}
    outcome = start_run(few | {"optimizer": {"curvature": "exact"}}, tmp_path / "run")
    losses = open_run(tmp_path / "run").steps["loss"]
    assert outcome.status == "finished"
    assert losses[-1] < 0.5 * losses[0]
    assert (
        choose_defaults({"optimizer": {"curvature": "exact"}, "data": {"name": "auto-mpg"}}).chosen.get(
            "optimizer.output_damping"
        )
        is None
    )

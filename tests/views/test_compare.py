"""Comparison of runs: settings that differ, and means and standard deviations over seeds."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from revgn.settings import build_config, config_dict, settings_by_name
from revgn.store import create_run, open_run
from revgn.views import compare_runs, duplicates_in_words
from revgn.views.compare import metric_label, metric_text, order_in_words, selection_warning, shown_metrics
from revgn.views.groups import group_runs


@pytest.fixture
def make_run(tmp_path, provenance):
    def make(name, epochs, steps=(), status="finished", data=provenance.data_sha256, **settings):
        named = {name.replace("__", "."): value for name, value in settings.items()}
        config = config_dict(build_config(settings_by_name(named)))
        about = replace(provenance, config=config, data_sha256=data)
        with create_run(tmp_path / name, about) as writer:
            for number, record in enumerate(steps, start=1):
                writer.record_step({"step": number, **record})
            for number, record in enumerate(epochs):
                writer.record_epoch({"epoch": number, "step": number, **record})
            writer.close(status)
        return open_run(tmp_path / name)

    return make


def rise(*accuracies):
    return [{"train_loss": 1 - a, "test_loss": 2 - a, "test_accuracy": a, "seconds": 3.0} for a in accuracies]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("train_loss", 0.023651, "training loss 0.02365"),
        ("last_train_loss", 12345.6, "last training loss 1.235e+04"),
        ("train_accuracy", 1.0, "training accuracy 100.00%"),
        ("test_accuracy", 0.99166, "test accuracy 99.17%"),
        ("last_test_rmse", 3.0, "last test RMSE 3"),
        ("validation_r2", -0.5, "validation R^2 -0.5"),
        ("r2", math.nan, "R^2 nan"),
        ("seconds", 2.0, "training time (s) 2"),
    ],
)
def test_a_metric_in_words(name, value, expected):
    assert f"{metric_label(name)} {metric_text(name, value)}" == expected


def test_runs_that_differ_in_their_seed_are_one_row(make_run):
    runs = [
        make_run(
            f"{lr}-{seed}", rise(0.1, lr + seed / 10), [{"rho": seed}], optimizer__lr=lr, training__seed=seed
        )
        for lr in (0.3, 0.5)
        for seed in (0, 1, 2)
    ]
    found = compare_runs(runs)
    assert [row.settings for row in found.rows] == [{"optimizer.lr": 0.5}, {"optimizer.lr": 0.3}]
    assert found.judged == "test_accuracy"
    best = found.rows[0]
    assert best.statuses == {"finished": 3}
    assert best.metrics["test_accuracy"].mean == pytest.approx(0.6)
    assert best.metrics["test_accuracy"].std == pytest.approx(np.std([0.5, 0.6, 0.7], ddof=1))
    assert best.metrics["rho"].mean == 1.0
    assert best.metrics["seconds"].mean == 3.0


def test_a_seed_counts_once(make_run, tmp_path):
    """A copy of a run, or a shorter run with the same seed, is in no mean, and is named."""
    runs = [
        make_run(f"s{seed}", rise(0.1, seed / 10), [{"rho": 0.5}], training__seed=seed) for seed in (5, 7)
    ]
    shutil.copytree(tmp_path / "s5", tmp_path / "copy")
    shorter = make_run("shorter", rise(0.9), training__seed=7)
    assert duplicates_in_words(runs) == ""
    for repeated, name in ((open_run(tmp_path / "copy"), "copy"), (shorter, "shorter")):
        (row,) = compare_runs([*runs, repeated]).rows
        spread = row.metrics["test_accuracy"]
        assert (spread.mean, spread.count) == (pytest.approx(0.6), 2)
        assert spread.std == pytest.approx(np.std([0.5, 0.7], ddof=1))
        assert row.statuses == {"finished": 2}
        told = duplicates_in_words([repeated, *runs])
        assert told.endswith("repeats the seed of another run with the same settings and is not counted")
        if name == "shorter":
            assert told.startswith(f"{tmp_path / name}: ")


def test_runs_on_other_data_are_a_row_of_their_own(make_run):
    """The checksum tells them apart where the settings do not."""
    runs = [
        make_run(
            f"{data}{seed}", rise(0.1, accuracy), data=data * 32, training__seed=seed, data__name="a.csv"
        )
        for data, seed, accuracy in (("ab", 0, 0.9), ("ab", 1, 0.8), ("cd", 0, 0.5), ("cd", 1, 0.3))
    ]
    rows = compare_runs(runs).rows
    assert [row.settings for row in rows] == [{"data_sha256": 4 * "ab"}, {"data_sha256": 4 * "cd"}]
    assert [row.metrics["test_accuracy"].mean for row in rows] == pytest.approx([0.85, 0.4])
    assert duplicates_in_words(runs) == ""
    assert [group.label for group in group_runs(runs)] == ["data sha256 abababab", "data sha256 cdcdcdcd"]
    other = make_run("other", rise(0.2), data="ef" * 32, data__name="b.csv")
    assert [group.label for group in group_runs([runs[0], other])] == ["a.csv", "b.csv"]


def test_the_validation_accuracy_selects_the_best_evaluation(make_run):
    epochs = [
        {"train_loss": 3.0, "validation_accuracy": 0.5, "test_accuracy": 0.6, "test_loss": 1.0},
        {"train_loss": 2.0, "validation_accuracy": 0.9, "test_accuracy": 0.7, "test_loss": 1.0},
        {"train_loss": 1.0, "validation_accuracy": 0.8, "test_accuracy": 0.8, "test_loss": 1.0},
    ]
    found = compare_runs([make_run("a", epochs)])
    metrics = found.rows[0].metrics
    assert found.judged == "validation_accuracy"
    assert (metrics["test_accuracy"].mean, metrics["last_test_accuracy"].mean) == (0.7, 0.8)
    assert (found.rows[0].score, metrics["best_epoch"].mean) == (0.9, 1.0)
    assert (metrics["train_loss"].mean, metrics["last_train_loss"].mean) == (2.0, 1.0)
    assert math.isnan(metrics["test_accuracy"].std)


def test_without_validation_rows_the_last_evaluation_counts(make_run):
    """The test set selects no evaluation; that it orders the runs is told."""
    runs = [make_run(f"{lr}", rise(0.1, lr + 0.3, lr), optimizer__lr=lr) for lr in (0.5, 0.6)]
    found = compare_runs(runs)
    metrics = {name: spread.mean for name, spread in found.rows[0].metrics.items()}
    assert (found.judged, found.rows[0].judged, found.rows[0].score) == (
        "test_accuracy",
        "test_accuracy",
        0.6,
    )
    assert (metrics["test_accuracy"], metrics["last_test_accuracy"]) == (0.6, 0.6)
    assert (metrics["test_loss"], metrics["train_loss"]) == (1.4, 0.4)
    assert "best_epoch" not in metrics
    assert (
        order_in_words(found) == "best first, by test accuracy; metrics are from each run's last evaluation"
    )
    assert "the test set orders the runs" in selection_warning(found)
    assert selection_warning(compare_runs(runs[:1])) == ""
    assert "last_test_accuracy" not in shown_metrics(found.rows)


def test_the_order_of_rows_is_told(make_run):
    own = {"validation_accuracy": 0.5, "validation_accuracy_average": 0.6, "test_loss_average": 1.0}
    validated = [make_run(f"v{lr}", [rise(lr)[0] | own], optimizer__lr=lr) for lr in (0.1, 0.2)]
    found = compare_runs(validated)
    best = "each run's best evaluation on its validation set"
    assert order_in_words(found) == (
        f"best first, by validation accuracy of the averaged weights; metrics are from {best}"
    )
    assert selection_warning(found) == ""
    mixed = compare_runs([*validated, make_run("t", rise(0.3), optimizer__lr=0.3)])
    assert order_in_words(mixed) == (
        f"best first, by validation accuracy of the averaged weights or test accuracy; "
        f"metrics are from {best}, or from its last one if it has none"
    )
    assert selection_warning(mixed) == (
        "the rows are ranked by different metrics: test accuracy, validation accuracy of the averaged weights"
    )
    assert "last_test_accuracy" in shown_metrics(mixed.rows)


def test_a_run_that_averages_is_judged_by_the_averaged_weights(make_run):
    epochs = [
        {"train_loss": 3.0, "validation_accuracy": 0.9, "test_accuracy": 0.6, "test_loss": 1.0},
        {
            "train_loss": 2.0,
            "validation_accuracy": 0.8,
            "test_accuracy": 0.7,
            "test_loss": 1.0,
            "train_loss_average": 1.5,
            "validation_accuracy_average": 0.95,
            "test_accuracy_average": 0.75,
            "test_loss_average": 0.5,
        },
    ]
    found = compare_runs([make_run("a", epochs, training__average="tail")])
    metrics = {name: spread.mean for name, spread in found.rows[0].metrics.items()}
    assert (found.judged, found.rows[0].score) == ("validation_accuracy_average", 0.95)
    assert (metrics["validation_accuracy"], metrics["test_accuracy"]) == (0.95, 0.75)
    assert (metrics["test_loss"], metrics["last_test_accuracy"], metrics["train_loss"]) == (0.5, 0.75, 1.5)
    assert metrics["best_epoch"] == 1.0


def test_runs_without_accuracy_are_ordered_by_loss(make_run):
    runs = [
        make_run(f"{h}", [{"train_loss": loss, "test_loss": loss}], network__hidden=h)
        for h, loss in ((8, 2.0), (16, 1.0), (32, 3.0))
    ]
    found = compare_runs(runs)
    assert [row.settings["network.hidden"] for row in found.rows] == [16, 8, 32]
    assert found.judged == "test_loss"


def test_settings_that_a_run_does_not_use_do_not_count_as_different(make_run):
    """Adam has no damping: it neither splits the row of Adam nor appears in it."""
    runs = [
        make_run("a", rise(0.1), optimizer="adam"),
        make_run("b", rise(0.2), damping=0.1),
        make_run("c", rise(0.3), damping=0.2),
    ]
    rows = compare_runs(runs).rows
    assert len(rows) == 3
    adam = rows[-1].settings
    assert adam["optimizer.kind"] == "adam"
    assert "optimizer.solver.damping" not in adam


def test_failed_and_diverged_runs_come_last(make_run):
    runs = [
        make_run("a", [], status="failed", optimizer__lr=1.0),
        make_run("b", rise(0.1), optimizer__lr=2.0),
        make_run("c", [{"train_loss": math.inf, "test_loss": math.inf}], optimizer__lr=3.0),
    ]
    found = compare_runs(runs)
    assert found.rows[0].settings == {"optimizer.lr": 2.0}
    failed = next(row for row in found.rows if row.settings == {"optimizer.lr": 1.0})
    assert (failed.statuses, failed.metrics, failed.score) == ({"failed": 1}, {}, -math.inf)

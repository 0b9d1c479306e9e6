"""Confusion of classes, accuracy of each class, and errors of each target, in evaluations of runs."""

import numpy as np
import pytest
from launch_cases import config

import revgn
from revgn.launch import evaluate_run, predict, rebuild, start_run
from revgn.store import open_run


def test_the_confusion_counts_rows_by_class_and_predicted_class(finished):
    found = evaluate_run(finished)
    digits = revgn.load_dataset("digits", subset=200)
    for part in ("train", "test"):
        rows = getattr(digits, part)
        truth = rows.targets.argmax(axis=1)
        predicted = predict(finished, rows.inputs).predicted
        expected = [[int(np.sum((truth == i) & (predicted == j))) for j in range(10)] for i in range(10)]
        assert found[f"{part}_confusion"] == expected
        by_class = {str(k): expected[k][k] / sum(expected[k]) for k in range(10)}
        assert found[f"{part}_class_accuracy"] == pytest.approx(by_class)
        assert found[f"{part}_accuracy"] == pytest.approx(np.mean(truth == predicted))
    both = np.array(found["train_confusion"]) + np.array(found["test_confusion"])
    assert found["all_confusion"] == both.tolist()
    assert (found["task"], found["classes"]) == ("classification", [str(k) for k in range(10)])
    assert {name for name in evaluate_run(finished, parts=("test",)) if name.endswith("rows")} == {
        "test_rows",
        "all_rows",
    }


def test_a_class_without_rows_has_no_accuracy(finished, tmp_path):
    digits = revgn.load_dataset("digits")
    labels = digits.test.targets.argmax(axis=1)
    x, y = digits.test.inputs[labels < 5], labels[labels < 5]
    np.savez(tmp_path / "few.npz", x=x.astype(np.uint8), y=y)
    found = evaluate_run(finished, {"name": str(tmp_path / "few.npz")})
    assert found["all_class_accuracy"]["7"] is None
    assert sum(map(sum, found["all_confusion"])) == found["all_rows"] == y.size


@pytest.mark.parametrize("is_standardized", [False, True])
def test_errors_are_in_the_unit_of_the_targets(tmp_path, is_standardized):
    """Two targets of different units, on all sets; the metrics of the run are the same."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 4))
    y = np.column_stack((x[:, 0] + 0.1 * x[:, 1] ** 2, 3 * x[:, 1] - x[:, 2])) * (
        [50.0, 2.0] if is_standardized else 1
    )
    np.savez(tmp_path / "g.npz", x=x, y=y)
    settings = {"name": str(tmp_path / "g.npz"), "subset": None, "hidden": 16, "damping": 0.1}
    own = config(**settings, standardize_targets=is_standardized, dtype="float64", validation=0.2)
    start_run(own, tmp_path / "run")
    found, run = evaluate_run(tmp_path / "run"), open_run(tmp_path / "run")
    dataset = revgn.load_data(own)
    for part in ("train", "validation", "test"):
        rows = getattr(dataset, part)
        errors = predict(run, rows.inputs).values - rows.targets
        rmse = np.sqrt(np.mean(errors**2, axis=0))
        r2 = 1 - np.mean(errors**2, axis=0) / np.var(rows.targets, axis=0)
        for k, name in enumerate(("target0", "target1")):
            assert found[f"{part}_targets"][name] == pytest.approx({"rmse": rmse[k], "r2": r2[k]}, rel=1e-9)
        assert found[f"{part}_rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-9)
        assert found[f"{part}_r2"] == pytest.approx(r2.mean(), rel=1e-9)
        for name in ("rmse", "r2"):
            assert run.epochs[f"{part}_{name}"][-1] == pytest.approx(found[f"{part}_{name}"], rel=1e-9)
    assert not {"test_accuracy", "test_confusion"} & found.keys()
    assert (rebuild(run).target_scale is None) == (not is_standardized)

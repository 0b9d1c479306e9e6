"""Plots of metrics against a setting: points, lines, and rejected arguments."""

from dataclasses import replace

import numpy as np
import pytest

from revgn.errors import UsageError
from revgn.settings import build_config, config_dict
from revgn.store import create_run, open_run
from revgn.views import draw_response
from revgn.views.groups import group_runs
from revgn.views.response import _lines


@pytest.fixture(scope="module")
def runs(tmp_path_factory, provenance):
    """Runs of two optimizers with three learning rates and two seeds each."""
    found, parent = [], tmp_path_factory.mktemp("runs")
    for name in ("sgd", "adam"):
        for lr in (0.1, 0.01, 1.0):
            for seed in range(2):
                config = config_dict(
                    build_config({"optimizer": {"kind": name, "lr": lr}, "training": {"seed": seed}})
                )
                folder = parent / f"{name}-{lr}-{seed}"
                with create_run(folder, replace(provenance, config=config)) as writer:
                    accuracy = 0.5 + 0.1 * lr + 0.01 * seed
                    writer.record_epoch({"epoch": 1, "step": 4, "test_accuracy": accuracy, "test_loss": 1.0})
                found.append(open_run(folder))
    return found


def test_each_optimizer_is_one_line_sorted_by_the_setting(runs, tmp_path):
    for by in (None, "optimizer.kind"):
        lines = _lines(group_runs(runs), "optimizer.lr", by)
        assert list(lines) == ["sgd", "adam"]
        for line in lines.values():
            assert [value for value, _ in line] == [0.01, 0.1, 1.0]
            assert all(len(group.runs) == 2 for _, group in line)
    path = tmp_path / "response.svg"
    draw_response(runs, path, "optimizer.lr")
    text = path.read_text()
    for word in ("optimizer.lr", "test accuracy (%)", "sgd", "adam"):
        assert f">{word}<" in text
    draw_response(runs, path, "optimizer.lr", what=["test_loss"], log="y")
    assert ">test loss<" in path.read_text()


def test_points_are_means_over_seeds_with_standard_deviations(runs, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    bars = []
    draw = Axes.errorbar
    monkeypatch.setattr(
        Axes, "errorbar", lambda ax, *args, **how: bars.append(args) or draw(ax, *args, **how)
    )
    draw_response(runs, tmp_path / "response.png", "optimizer.lr")
    for x, mean, deviation in bars:
        np.testing.assert_allclose(x, [0.01, 0.1, 1.0])
        np.testing.assert_allclose(mean, [50.6, 51.5, 60.5])
        np.testing.assert_allclose(deviation, 100 * np.std([0.5, 0.51], ddof=1))
    assert len(bars) == 2


def test_losses_of_diverged_runs_are_drawn(tmp_path, provenance):
    runs = []
    for lr, loss in ((0.1, 1.0), (0.9, 1e274)):
        config = config_dict(build_config({"optimizer": {"kind": "sgd", "lr": lr}}))
        with create_run(tmp_path / f"{lr}", replace(provenance, config=config)) as writer:
            writer.record_epoch({"epoch": 1, "step": 4, "train_loss": loss, "test_loss": loss})
        runs.append(open_run(tmp_path / f"{lr}"))
    draw_response(runs, tmp_path / "response.svg", "optimizer.lr", what=["train_loss"], log="y")
    assert ">10²" in (tmp_path / "response.svg").read_text()


def test_runs_without_the_setting_are_left_out(runs):
    """Adam has no setting `momentum`."""
    assert list(_lines(group_runs(runs[:2] + runs[6:]), "momentum", "optimizer.kind")) == ["sgd"]


def test_runs_that_are_left_out_are_counted(runs, tmp_path, provenance):
    """A full batch is no number, and one run was not measured yet."""
    config = config_dict(build_config({"optimizer": {"kind": "sgd", "lr": 0.5}}))
    with create_run(tmp_path / "new", replace(provenance, config=config)):
        pass
    path, new = tmp_path / "response.png", open_run(tmp_path / "new")
    assert draw_response(runs, path, "optimizer.lr") == 0
    assert draw_response([*runs, new], path, "optimizer.lr") == 1
    assert draw_response(runs, path, "momentum", by="optimizer.kind") == 6


def test_runs_without_measurements_are_rejected(tmp_path, provenance):
    with create_run(tmp_path / "run", replace(provenance, config=config_dict(build_config()))):
        pass
    with pytest.raises(UsageError, match="nothing was measured in these runs yet"):
        draw_response([open_run(tmp_path / "run")], tmp_path / "response.png", "optimizer.lr")


@pytest.mark.parametrize(
    ("setting", "what", "message"),
    [
        ("optimizer.rate", (), "optimizer.rate is not a number in any of the runs"),
        ("optimizer.kind", (), "is not a number"),
        ("training.seed", (), "a point is a mean over seeds; choose a setting other than the seed"),
        ("optimizer.lr", ("rho",), "'rho' was not measured in these runs; available are test_accuracy"),
    ],
)
def test_invalid_arguments_are_rejected(setting, what, message, runs, tmp_path):
    with pytest.raises(UsageError, match=message):
        draw_response(runs, tmp_path / "response.png", setting, what=what)
    assert not (tmp_path / "response.png").exists()

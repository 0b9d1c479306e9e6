"""Plots of curves: file formats, labels, means over seeds, and runs of any length."""

from dataclasses import replace

import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.settings import build_config, config_dict
from revgn.store import create_run, open_run
from revgn.views import draw_curves
from revgn.views.curves import AXIS_LABELS, _finish, curve_of

SIGNATURES = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-", ".svg": b"<?xml", ".PNG": b"\x89PNG\r\n"}


def maker(parent, provenance):
    def make(folder, evaluations=3, classes=True, seed=0, shift=0.0, **optimizer):
        config = config_dict(build_config({"optimizer": optimizer, "training": {"seed": seed}}))
        with create_run(parent / folder, replace(provenance, config=config)) as writer:
            for number in range(evaluations):
                losses = {"train_loss": 2.0**-number, "test_loss": 3.0**-number + shift}
                counts = {"step": 4 * number, "samples": 64 * number, "seconds": 0.5 * number}
                hits = {"train_accuracy": 0.1 * number, "test_accuracy": 0.2 * number} if classes else {}
                writer.record_epoch({"epoch": number, **losses, **counts, **hits})
                writer.record_step({"step": number + 1, "rho": 1e-7, "seconds": 0.25, "epoch": number})
        return open_run(parent / folder)

    return make


@pytest.fixture
def make_run(tmp_path, provenance):
    return maker(tmp_path, provenance)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, provenance):
    """Two runs with different optimizers, for tests that only read them."""
    make = maker(tmp_path_factory.mktemp("pair"), provenance)
    return [make("a"), make("b", kind="adam")]


@pytest.fixture(scope="module")
def many(tmp_path_factory, provenance):
    """25 runs with different learning rates."""
    make = maker(tmp_path_factory.mktemp("many"), provenance)
    return [make(f"r{number}", lr=0.99 - number / 200) for number in range(25)]


@pytest.mark.parametrize("ending", SIGNATURES)
def test_file_formats(ending, pair, tmp_path):
    path = tmp_path / f"curves{ending}"
    draw_curves(pair, path)
    content = path.read_bytes()
    assert content.startswith(SIGNATURES[ending])
    assert len(content) > 5000


@pytest.mark.parametrize("axis", ["epoch", "step", "seconds", "samples"])
def test_text_stays_text(axis, pair, tmp_path):
    path = tmp_path / "curves.svg"
    draw_curves(pair, path, axis=axis)
    text = path.read_text()
    for word in ("loss", "accuracy", "adam, lr 0.001", AXIS_LABELS[axis]):
        assert f">{word}<" in text


def test_one_run_a_regression_run_and_runs_without_evaluations(make_run, tmp_path):
    path = tmp_path / "curves.svg"
    draw_curves([make_run("one")], path)
    assert ">accuracy<" in path.read_text()
    draw_curves([make_run("numbers", classes=False)], path)
    assert ">accuracy<" not in path.read_text()
    draw_curves([make_run("nothing", evaluations=0)], path)
    draw_curves([make_run(f"nothing-{number}", evaluations=0) for number in range(2)], path)
    draw_curves([make_run(f"many-{number}", evaluations=1) for number in range(9)], path)


@pytest.mark.parametrize("largest", [1e274, 1e300])
def test_losses_of_diverged_runs_are_drawn(largest, make_run, tmp_path):
    runs = [make_run(f"s{seed}", seed=seed, shift=largest) for seed in (0, 1)]
    for each in (runs[:1], runs):
        draw_curves(each, tmp_path / "curves.svg", what=["loss"])
        assert ">10²" in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize("name", ["curves.jpg", "curves"])
def test_other_endings_are_refused(name, pair, tmp_path):
    with pytest.raises(UsageError, match=r"expected \.png, \.pdf or \.svg"):
        draw_curves(pair, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_missing_folder_raises_an_error(pair, tmp_path):
    with pytest.raises(RunError, match=r"cannot be written: No such file or directory"):
        draw_curves(pair, tmp_path / "nowhere" / "curves.png")


def test_runs_that_differ_in_their_seed_are_drawn_as_mean_and_band(make_run, tmp_path):
    runs = [make_run(f"s{seed}", seed=seed, shift=seed) for seed in (0, 1, 2)]
    curve = curve_of(runs, "test_loss", "epoch")
    np.testing.assert_allclose(curve.mean, 1 + 3.0 ** -np.arange(3))
    np.testing.assert_allclose(curve.high - curve.low, 2.0)
    assert curve.runs == 3
    short = make_run("short", evaluations=2, seed=3)
    assert curve_of([*runs, short], "test_loss", "samples").x.tolist() == [0.0, 64.0]
    assert curve_of(runs, "rho", "seconds").x.tolist() == [0.25, 0.5, 0.75]
    assert curve_of(runs, "cg_iterations", "epoch") is None
    path = tmp_path / "curves.svg"
    draw_curves([*runs, make_run("b", kind="adam")], path)
    text = path.read_text()
    assert ">adam, lr 0.001<" in text
    assert text.count(">gauss-newton, lr 1.0") == 1
    assert "bands: lowest to highest value" in text
    draw_curves(runs, path, each=True)
    assert ">seed 2<" in path.read_text()


def test_many_groups_stay_readable(many, tmp_path):
    path = tmp_path / "curves.svg"
    for count in (24, 25):
        draw_curves(many[:count], path)
        text = path.read_text()
        assert text.count(">lr 0.") == (24 if count == 24 else 0)
        assert (f">test set, {count} different settings<" in text) == (count > 24)


def test_the_title_of_many_groups_says_what_is_drawn(many, make_run, tmp_path):
    for what, more, title in (
        (["rho"], [], "25 different settings"),
        (["loss", "rho"], [], "loss: test set, 25 different settings"),
        (
            ["loss"],
            [make_run("again", lr=0.99, seed=1)],
            "test set, 25 different settings, curves: mean over seeds",
        ),
    ):
        draw_curves([*many, *more], tmp_path / "curves.svg", what=what)
        assert f">{title}<" in (tmp_path / "curves.svg").read_text()


def test_any_series_over_any_axis(pair, tmp_path):
    path, (run, _) = tmp_path / "curves.svg", pair
    draw_curves([run], path, what=("loss", "rho", "seconds", "samples"))
    for word in ("loss", "relative residual rho", "samples"):
        assert f">{word}<" in path.read_text()
    scales = {"auto": (1, 0), "none": (0, 0), "x": (0, 1), "y": (1, 0), "xy": (1, 1)}
    for log, (is_loss_log, is_step_log) in scales.items():
        draw_curves([run], path, what=("loss",), log=log, axis="step")
        text = path.read_text()
        assert (">10⁻¹<" in text, ">0.2<" in text) == (is_loss_log, not is_loss_log)
        assert (">4×10⁰<" in text, ">0<" in text) == (is_step_log, not is_step_log)  # noqa: RUF001
    with pytest.raises(UsageError, match="there is no series 'rh'; did you mean rho"):
        draw_curves([run], path, what=("rh",))
    with pytest.raises(UsageError, match="'cg_iterations' was not measured in this run"):
        draw_curves([run], path, what=("cg_iterations",))


def test_the_accuracy_axis_leaves_out_chance_accuracy_at_initialization():
    from matplotlib.figure import Figure

    for values, low in (((0.1, 0.8, 0.9), 0.795), ((0.1, 0.9), 0.1)):
        ax = Figure().subplots()
        ax.plot(range(len(values)), values)
        _finish(ax, "test_accuracy", "epoch", "auto")
        assert ax.get_ylim()[0] == pytest.approx(low, abs=0.05 if len(values) == 2 else 1e-9)

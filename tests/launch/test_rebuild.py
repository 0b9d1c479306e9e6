"""Rebuilding the network of a run from its checkpoints."""

import numpy as np
import pytest

import revgn
from revgn.arrays import cupy_absence
from revgn.errors import BackendError, RunError, UsageError
from revgn.launch import (
    analyse_run,
    check_run,
    evaluate_run,
    open_predictor,
    predict,
    rebuild,
    resume_run,
    run_spectrum,
    start_run,
)
from revgn.settings import build_config, merge_settings, nested
from revgn.store import open_run
from revgn.views import draw_curves, summarize, to_pandas, to_xarray


def settings(**changes):
    base = {
        "data": {"subset": 200},
        "network": {"hidden": 16, "blocks": 1},
        "optimizer": {"kind": "adam", "lr": 1e-2},
        "training": {"batch_size": 50, "steps": 8, "eval_every": 2, "checkpoint_every": 2},
    }
    return merge_settings(*(nested(path.replace("__", "."), value) for path, value in changes.items()), base)


def accuracy(rebuilt):
    test = revgn.load_dataset("digits").test
    x = ((test.inputs - rebuilt.shift) * rebuilt.scale).astype(np.float32)
    outputs = revgn.forward(rebuilt.network, rebuilt.params, x)
    return np.mean(outputs.argmax(axis=1) == test.targets.argmax(axis=1))


def _refusal(run):
    with pytest.raises(UsageError) as caught:
        resume_run(run, {})
    return str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        _refusal,
        check_run,
        evaluate_run,
        lambda run: rebuild(run).step,
        lambda run: predict(run, np.ones((1, 64))).labels,
        lambda run: open_predictor(run).step,
        lambda run: analyse_run(run, rows=4).keys(),
        lambda run: run_spectrum(run).size,
        lambda run: to_xarray(run).sizes,
        lambda run: to_pandas(run).index.tolist(),
        summarize,
    ],
)
def test_a_run_may_be_given_by_its_folder(finished_with_kernel, use):
    expected = use(open_run(finished_with_kernel))
    assert use(finished_with_kernel) == use(str(finished_with_kernel)) == expected


@pytest.fixture(scope="module")
def finished_with_kernel(tmp_path_factory):
    pytest.importorskip("xarray")
    pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("finished") / "run"
    start_run(build_config(settings(training__steps=1, training__analyse_rows=4)), folder)
    return folder


def test_a_rebuilt_network_reproduces_the_evaluation_of_the_run(tmp_path):
    start_run(build_config(settings(training__average="exponential")), tmp_path / "run")
    run = open_run(tmp_path / "run")
    recorded = dict(zip(run.epochs["step"], run.epochs["test_accuracy"], strict=True))
    assert run.checkpoints[-1] == 8
    assert len(run.checkpoints) >= 2
    for step in run.checkpoints:
        rebuilt = rebuild(run, step)
        assert rebuilt.step == step
        assert accuracy(rebuilt) == pytest.approx(recorded[step], abs=1e-6)
    assert rebuild(run).step == 8
    best = rebuild(run, "best")
    assert recorded[best.step] == max(recorded.values())
    averaged = rebuild(run, weights="average")
    assert accuracy(averaged) == pytest.approx(run.epochs["test_accuracy_average"][-1], abs=1e-6)


def test_a_network_is_rebuilt_on_the_host(tmp_path):
    """NumPy is the default backend, also for a run on a GPU; another backend can be requested."""
    start_run(build_config(settings()), tmp_path / "run")
    run = open_run(tmp_path / "run")
    run.config["training"]["backend"] = "cupy"
    assert all(isinstance(leaf, np.ndarray) for leaf in revgn.trees.leaves(rebuild(run).params))
    if cupy_absence() is None:
        pytest.skip("CuPy works here")
    with pytest.raises(BackendError, match="backend cupy"):
        rebuild(run, backend="cupy")


def test_outputs_of_standardized_targets(tmp_path):
    """Predictions are z / target_scale + target_shift, also in an evaluation on other data."""
    data = {"data__name": "auto-mpg", "data__subset": None, "data__standardize_targets": True}
    start_run(build_config(settings(**data, training__dtype="float64")), tmp_path / "run")
    run = open_run(tmp_path / "run")
    rebuilt, cars = rebuild(run), revgn.load_dataset("auto-mpg")
    z = revgn.forward(rebuilt.network, rebuilt.params, (cars.test.inputs - rebuilt.shift) * rebuilt.scale)
    miles = z / rebuilt.target_scale + rebuilt.target_shift
    unexplained = ((miles - cars.test.targets) ** 2).mean() / cars.train.targets.var()
    assert unexplained == pytest.approx(run.epochs["test_loss"][-1], rel=1e-9)
    rows = np.hstack((cars.test.inputs, cars.test.targets))[:40]
    header = ",".join([*cars.columns, "mpg"])
    np.savetxt(tmp_path / "own.csv", rows, delimiter=",", header=header, comments="")
    found = evaluate_run(tmp_path / "run", {"name": str(tmp_path / "own.csv"), "target": "mpg"})
    squares = (miles[:40] - cars.test.targets[:40]) ** 2
    assert found["all_loss"] == pytest.approx(squares.mean() / cars.train.targets.var(), rel=1e-9)
    assert settings_of_digits_have_none(tmp_path)


def settings_of_digits_have_none(folder):
    start_run(build_config(settings(training__steps=1)), folder / "digits")
    rebuilt = rebuild(open_run(folder / "digits"))
    return rebuilt.target_shift is None and rebuilt.target_scale is None


def test_the_spectrum_of_an_analysed_run(tmp_path):
    """Its effective rank equals the recorded one, and the spectrum can be plotted."""
    folders = [tmp_path / f"run{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        start_run(build_config(settings(training__analyse_rows=6, training__seed=seed)), folder)
    run = open_run(folders[0])
    values = run_spectrum(run)
    assert values.shape == (60,)
    assert np.all(np.diff(values) <= 0)
    shares = values[values > 0] / values.sum()
    rank = np.exp(-np.sum(shares * np.log(shares)))
    assert rank == pytest.approx(run.epochs["kernel_effective_rank"][-1], rel=1e-4)
    runs = [run, open_run(folders[1])]
    spectra = {each.folder: run_spectrum(each) for each in runs}
    draw_curves(runs, tmp_path / "s.svg", what=("spectrum", "kernel_similarity"), spectra=spectra)
    text = (tmp_path / "s.svg").read_text()
    assert ">eigenvalue of the tangent kernel<" in text
    assert ">kernel similarity<" in text
    start_run(build_config(settings()), tmp_path / "plain")
    with pytest.raises(UsageError, match="was trained without --analyse-rows, which a spectrum requires"):
        run_spectrum(open_run(tmp_path / "plain"))
    with pytest.raises(UsageError, match="a spectrum requires the eigenvalues of the runs"):
        draw_curves(runs, tmp_path / "t.svg", what=("spectrum",))


def test_missing_checkpoints_weights_and_data_are_reported(tmp_path):
    start_run(build_config(settings()), tmp_path / "run")
    run = open_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"has no checkpoint of step 3; available: [\d, ]*8"):
        rebuild(run, 3)
    with pytest.raises(UsageError, match="the checkpoint of step 8 has no averaged weights"):
        rebuild(run, weights="average")
    run.attributes["data_sha256"] = "0" * 64
    assert rebuild(run).step == 8  # the data are not needed
    (tmp_path / "run" / "network.h5").unlink()
    with pytest.raises(RunError, match="the data differ from the data of the run"):
        rebuild(run)

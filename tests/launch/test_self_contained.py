"""A run is used without its data, anywhere; to go on training, the data are found under a new name."""

import shutil

import h5py
import numpy as np
import pytest
from launch_cases import config, save_table

import revgn
from revgn.arrays import ShapesOnly
from revgn.errors import DataError, RunError, UsageError
from revgn.launch import analyse_run, check_run, evaluate_run, predict, rebuild, resume_run, start_run
from revgn.networks import draw_network, frozen_arrays
from revgn.store import load_network, open_run
from revgn.testing.compare import snapshot
from revgn.training import build_problem, load_data


def on_table(data, **changes):
    """Settings for the table in a folder, with linear and random features."""
    network = {"hidden": 8, "first_block": "identity"}
    return config(name=str(data / "g.npz"), subset=None, damping=0.1, batch_size=20, **network, **changes)


@pytest.fixture
def trained(tmp_path):
    """Return the folder of a run on a table, and the folder of its data."""
    (tmp_path / "data").mkdir()
    save_table(tmp_path / "data" / "g.npz")
    start_run(on_table(tmp_path / "data", steps=4), tmp_path / "run")
    return tmp_path / "run", tmp_path / "data"


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    """Return the folder of the run elsewhere, with no data in reach, and the new path of the data."""
    folder, data = trained
    (tmp_path / "far").mkdir()
    (tmp_path / "away").mkdir()
    shutil.move(data / "g.npz", tmp_path / "far" / "h.npz")
    shutil.copytree(folder, tmp_path / "away" / "copy")
    shutil.rmtree(folder)
    shutil.rmtree(data)
    monkeypatch.chdir(tmp_path / "away")
    return tmp_path / "away" / "copy", tmp_path / "far" / "h.npz"


def test_the_network_is_used_without_the_data(moved):
    folder, data = moved
    x = np.load(data)["x"]
    run = open_run(folder)
    found = predict(folder, x)
    rebuilt = rebuild(run)
    z = revgn.forward(rebuilt.network, rebuilt.params, ((x - rebuilt.shift) * rebuilt.scale).astype("f4"))
    np.testing.assert_array_equal(found.predicted, z.argmax(axis=1))
    assert found.names == ("0", "1", "2")
    metrics = evaluate_run(folder, {"name": str(data)})
    assert metrics["test_loss"] == run.epochs["test_loss"][-1]
    assert metrics["train_loss"] == run.epochs["train_loss"][-1]


def test_nothing_is_drawn_to_use_a_run(trained, monkeypatch):
    """The projections of the network and the weights are stored; a network of 147 million takes seconds."""
    folder, _ = trained
    before = rebuild(folder)
    generators = []

    def draw(network, features, outputs, rng, **more):
        generators.append(type(rng))
        return draw_network(network, features, outputs, rng, **more)

    monkeypatch.setattr("revgn.training.problem.draw_network", draw)
    evaluate_run(folder)
    resume_run(folder, {"training": {"steps": 6}})
    monkeypatch.setattr(np.random, "default_rng", None)
    after = rebuild(folder, before.step)
    assert generators == [ShapesOnly] * 3
    assert snapshot(after.params) == snapshot(before.params)
    np.testing.assert_equal(frozen_arrays(after.network), frozen_arrays(before.network))


def test_training_needs_the_data_and_takes_them_under_a_new_name(moved):
    folder, data = moved
    for use in (resume_run, lambda folder, _: evaluate_run(folder)):
        with pytest.raises(
            DataError, match=r"g\.npz: there is no such file; name the data of the run with --data"
        ):
            use(folder, {"training": {"steps": 6}})
    with pytest.raises(DataError, match=r"g\.npz: there is no such file"):
        analyse_run(open_run(folder))
    assert {finding.what: finding.outcome for finding in check_run(folder)}["data"] == "skipped"
    for use in (
        lambda name: resume_run(folder, {"data": {"name": name}, "training": {"steps": 6}}),
        lambda name: analyse_run(open_run(folder), data=name),
    ):
        with pytest.raises(DataError, match=r"nowhere\.npz: there is no such file$"):
            use("nowhere.npz")
    assert analyse_run(open_run(folder), rows=8, data=str(data)).keys() == {*open_run(folder).checkpoints}
    assert resume_run(folder, {"data": {"name": str(data)}, "training": {"steps": 6}}).step == 6
    assert open_run(folder).config["data"]["name"] == str(data)
    assert resume_run(folder, {"training": {"steps": 7}}).step == 7


def test_a_folder_of_images_may_move(tmp_path, monkeypatch):
    """A run is resumed from any folder, and with the new place of its images."""
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (24, 4, 4), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    monkeypatch.chdir(tmp_path)
    start_run(config(name="pictures", subset=None, hidden=8, batch_size=8, steps=2), "run")
    folder = tmp_path / "run"
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert resume_run(folder, {"training": {"steps": 3}}).step == 3
    (tmp_path / "pictures").rename(tmp_path / "photos")
    with pytest.raises(DataError, match=r"pictures: there is no such folder; name the data .* --data FOLDER"):
        resume_run(folder, {"training": {"steps": 4}})
    moved = {"name": str(tmp_path / "photos")}
    assert resume_run(folder, {"data": moved, "training": {"steps": 4}}).step == 4


def test_data_moved_within_their_folder_are_found_by_their_checksum(trained):
    """Of the files of the same size and ending, the one with the checksum of the run is taken."""
    folder, data = trained
    (data / "g.npz").rename(data / "z.npz")
    save_table(data / "a.npz", seed=1)  # other numbers in a file of the same size
    assert (data / "a.npz").stat().st_size == (data / "z.npz").stat().st_size
    recorded = open_run(folder).epochs["test_loss"][-1]
    assert evaluate_run(folder)["test_loss"] == recorded
    notes = []
    assert resume_run(folder, {"training": {"steps": 6}}, note=notes.append).step == 6
    assert f"{data / 'g.npz'}: there is no such file; {data / 'z.npz'} holds the same data" in notes
    assert open_run(folder).config["data"]["name"] == str(data / "z.npz")


def test_other_data_are_refused_under_any_name(trained):
    folder, data = trained
    save_table(data / "other.npz", seed=1)
    with pytest.raises(RunError, match=r"other\.npz: the data differ from the data of the run"):
        resume_run(folder, {"data": {"name": str(data / "other.npz")}, "training": {"steps": 6}})
    with pytest.raises(RunError, match="the data differ from the data of the run"):
        analyse_run(open_run(folder), rows=8, data=str(data / "other.npz"))
    save_table(data / "g.npz", seed=1)
    with pytest.raises(RunError, match=r"g\.npz: the data differ from the data of the run"):
        evaluate_run(folder)


def test_stored_frozen_arrays_replace_those_that_are_drawn_differently(trained, monkeypatch):
    """As if NumPy had other random numbers: evaluations and training go on with the arrays of the run."""
    folder, data = trained
    uninterrupted = folder.with_name("long")
    start_run(on_table(data, steps=6), uninterrupted)
    frozen = frozen_arrays(rebuild(open_run(folder)).network)
    monkeypatch.setattr("revgn.training.problem._NETWORK", 77)
    own = on_table(data)
    drawn = frozen_arrays(build_problem(own, load_data(own)).network)
    assert not np.array_equal(drawn["readout/first"], frozen["readout/first"])
    for path, array in frozen_arrays(rebuild(open_run(folder)).network).items():
        np.testing.assert_array_equal(array, frozen[path])
    assert evaluate_run(folder)["test_loss"] == open_run(folder).epochs["test_loss"][-1]
    resume_run(folder, {"training": {"steps": 6}})
    np.testing.assert_array_equal(open_run(folder).steps["loss"], open_run(uninterrupted).steps["loss"])


def test_a_network_that_the_settings_do_not_describe_is_an_error(trained):
    folder, _ = trained
    with h5py.File(folder / "network.h5", "r+") as file:
        del file["frozen/readout/first"]
    with pytest.raises(RunError, match=r"cannot be built .* only the network has .*readout/first"):
        rebuild(open_run(folder))


def test_a_run_without_the_file_is_used_with_its_data(trained):
    """Runs before 0.2 have no network.h5; a resumed one gets it."""
    folder, data = trained
    before = predict(folder, np.load(data / "g.npz")["x"])
    (folder / "network.h5").unlink()
    np.testing.assert_array_equal(predict(folder, np.load(data / "g.npz")["x"]).values, before.values)
    (data / "g.npz").rename(data / "h.npz")
    with pytest.raises(DataError, match="there is no such file"):
        predict(folder, np.zeros((1, 6)))
    resume_run(folder, {"data": {"name": str(data / "h.npz")}, "training": {"steps": 6}})
    assert load_network(folder).interface.classes == ("0", "1", "2")
    (data / "h.npz").unlink()
    assert predict(folder, np.zeros((1, 6))).values.shape == (1, 3)


def test_columns_are_matched_by_name(tmp_path):
    """An evaluation takes the columns of a table in any order; a missing one is named."""
    cars = revgn.load_dataset("auto-mpg")
    own = config(name="auto-mpg", subset=None, steps=2, dtype="float64", optimizer="adam")
    start_run(own, tmp_path / "run")
    names = [*cars.columns, "mpg"]
    table = np.hstack((cars.test.inputs, cars.test.targets))[:40]
    mixed = [7, 3, 0, 5, 6, 1, 4, 2]

    def write(file, columns):
        header = ",".join(names[k] for k in columns)
        np.savetxt(tmp_path / file, table[:, columns], delimiter=",", header=header, comments="")
        return {"name": str(tmp_path / file), "target": "mpg"}

    one, other = (
        evaluate_run(tmp_path / "run", write(file, columns))
        for file, columns in (("a.csv", range(8)), ("b.csv", mixed))
    )
    assert one["all_loss"] == pytest.approx(other["all_loss"], rel=1e-12)
    with pytest.raises(UsageError, match=r"c\.csv: lacks input columns .*: cylinders, weight; it has"):
        evaluate_run(tmp_path / "run", write("c.csv", [7, 1, 2, 4, 5, 6]))

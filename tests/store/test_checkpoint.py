import random
from dataclasses import replace

import h5py
import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.store import create_run, latest_checkpoint, load_checkpoint, open_run, reopen_run, save_checkpoint
from revgn.store.checkpoint import best_checkpoint
from revgn.store.files import SEAL_BYTES
from revgn.store.names import checkpoint_path

ARRAYS = {
    "params/0/weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "params/1/weight": np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7))),
    "carry": np.array([np.nan, -0.0, np.inf]),
    "count": np.array(3, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=">f4"),
    "kept": np.array([True, False]),
    "strided": np.arange(20, dtype=np.uint16)[::3],
}
ATTRIBUTES = {
    "epoch": 3,
    "lr": 0.1,
    "beta": float("nan"),
    "low": -float("inf"),
    "stage": "größer",
    "step": -1,
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "step_00000012.h5"
    save_checkpoint(path, 12, ARRAYS, ATTRIBUTES)
    return path


def assert_saved(checkpoint):
    assert checkpoint.step == 12
    assert checkpoint.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        found = checkpoint.arrays[name]
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert {n: (type(v), repr(v)) for n, v in checkpoint.attributes.items()} == {
        n: (type(v), repr(v)) for n, v in ATTRIBUTES.items()
    }


def assert_found_or_harmless(path):
    """Return whether the damage was detected."""
    try:
        checkpoint = load_checkpoint(path)
    except RunError as error:
        line = str(error)
    else:
        assert_saved(checkpoint)
        return False
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return True


def test_round_trip(path):
    checkpoint = load_checkpoint(path)
    assert checkpoint.path == path
    assert_saved(checkpoint)


def test_an_empty_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "c.h5", 0, {}, {})
    checkpoint = load_checkpoint(tmp_path / "c.h5")
    assert (checkpoint.step, checkpoint.arrays, checkpoint.attributes) == (0, {}, {})


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "a/./b"])
def test_names_that_hdf5_would_change_are_rejected(tmp_path, name):
    with pytest.raises(UsageError, match=r"has a part that is empty or '\.'"):
        save_checkpoint(tmp_path / "c.h5", 0, {name: np.zeros(1)}, {})


def test_flipped_bits_are_detected_or_harmless(path):
    image = path.read_bytes()
    draw = random.Random(1)
    for bit in draw.sample(range(8 * len(image)), 50):
        damaged = bytearray(image)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert_found_or_harmless(path)


def test_flipped_bits_of_arrays_names_and_attributes_are_detected(path):
    image = path.read_bytes()
    weight = ARRAYS["params/0/weight"].tobytes()
    places = {text: image.index(text) for text in (weight, b"weight", b"carry", b"stage", "größer".encode())}
    draw = random.Random(2)
    for text, place in places.items():
        for bit in draw.sample(range(8 * len(text)), 10):
            damaged = bytearray(image)
            damaged[place + bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            assert assert_found_or_harmless(path)


def test_truncated_files_are_detected(path):
    image = path.read_bytes()
    for length in [0, *random.Random(3).sample(range(len(image)), 30), len(image) - SEAL_BYTES - 1]:
        path.write_bytes(image[:length])
        assert assert_found_or_harmless(path) or length >= len(image) - SEAL_BYTES
    path.write_bytes(image[:-1])  # an incomplete seal counts as no seal
    assert_saved(load_checkpoint(path))


def test_changes_made_with_h5py_are_detected(path):
    image = path.read_bytes()

    def rename(file):
        file["state"].move("carry", "carries")

    def retype(file):
        data = file["state/count"][...].view(np.uint64)
        del file["state/count"]
        file["state/count"] = data

    def add(file):
        file["state/more"] = 1.0

    def attribute(file):
        file["state"].attrs["epoch"] = 4

    def step(file):
        file.attrs["step"] = 13

    for change in (rename, retype, add, attribute, step):
        path.write_bytes(image)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(RunError, match="the checksum differs"):
            load_checkpoint(path)
    path.write_bytes(image)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 5
    with pytest.raises(RunError, match="has format 5"):
        load_checkpoint(path)


def names(folder):
    return sorted(path.stem for path in (folder / "checkpoints").iterdir())


def save(writer, step, score=None, average=None):
    given = {"raw": score, "average": average}
    scores = {weights: value for weights, value in given.items() if value is not None}
    return writer.save_checkpoint(step=step, arrays={"w": np.full(9, float(step))}, scores=scores)


def test_the_last_two_and_the_best_are_kept(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step, score in enumerate([0.5, 0.9, float("nan"), 0.7, None], start=1):
            save(writer, step, score)
        assert names(folder) == ["step_00000002", "step_00000004", "step_00000005"]
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        save(writer, 6, 0.8)
        assert names(folder) == ["step_00000002", "step_00000005", "step_00000006"]
        path = save(writer, 123456789, 0.95)
        assert names(folder) == ["step_00000006", "step_123456789"]
    assert load_checkpoint(path).attributes == {"score": 0.95}


def test_the_best_checkpoints_of_raw_and_averaged_weights_are_kept(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step, scores in enumerate([(0.1,), (0.9, 0.2), (0.3, 0.8), (0.4, 0.5), (0.5, 0.6)], start=1):
            save(writer, step, *scores)
    assert names(folder) == [f"step_0000000{step}" for step in (2, 3, 4, 5)]
    assert best_checkpoint(folder).step == 2
    assert best_checkpoint(folder, "average").step == 3


def test_checkpoints_beyond_the_step_of_resumption_are_deleted(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step in (10, 20, 30):
            save(writer, step)
        assert names(folder) == ["step_00000020", "step_00000030"]
        for path in (folder / "checkpoints").iterdir():
            path.write_bytes(b"")
        save(writer, 15)
        assert names(folder) == ["step_00000015"]


def test_a_damaged_checkpoint_is_skipped(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        with pytest.raises(RunError, match="has no usable checkpoint"):
            latest_checkpoint(folder)
        first, second = (save(writer, step) for step in (10, 20))
    checkpoint, passed_over = latest_checkpoint(folder)
    assert (checkpoint.step, passed_over) == (20, [])
    second.write_bytes(second.read_bytes()[:-100])
    checkpoint, passed_over = latest_checkpoint(folder)
    assert checkpoint.arrays["w"].tolist() == [10.0] * 9
    assert len(passed_over) == 1
    assert str(second) in passed_over[0]
    first.unlink()
    says = r"has no usable checkpoint; .*step_00000020\.h5.*; revgn train .*config\.toml trains again"
    with pytest.raises(RunError, match=says):
        latest_checkpoint(folder)


def test_a_users_copy_of_a_checkpoint_is_left_alone(tmp_path, provenance):
    """It is not resumed from, and not pruned."""
    writer = create_run(tmp_path / "run", provenance)
    writer.save_checkpoint(step=1, arrays=ARRAYS, scores={})
    copy = tmp_path / "run" / "checkpoints" / "step_00000001_mine.h5"
    copy.write_bytes(checkpoint_path(tmp_path / "run", 1).read_bytes())
    for step in (2, 3, 4):
        writer.save_checkpoint(step=step, arrays=ARRAYS, scores={})
    writer.close("finished")
    assert open_run(tmp_path / "run").checkpoints == [3, 4]
    assert latest_checkpoint(tmp_path / "run")[0].step == 4
    assert copy.exists()

import io
import pickle
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.data import load_dataset
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
X, LABELS = rng.standard_normal((10, 4)), np.arange(10) % 3
TEST_X, TEST_LABELS = rng.standard_normal((3, 4)), np.array([2, 0, 1])
ALL = {"x_train": X, "y_train": LABELS, "x_test": TEST_X, "y_test": TEST_LABELS}


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_npz(path, arrays):
    np.savez(path, **arrays)


@pytest.fixture(params=["npz", "h5"])
def save(request, tmp_path):
    def save_arrays(**arrays):
        path = tmp_path / f"own.{request.param}"
        (write_npz if request.param == "npz" else write_h5)(path, arrays)
        return str(path)

    return save_arrays


def test_all_four_arrays_under_the_usual_names(save):
    dataset = load_dataset(save(**ALL))
    assert (dataset.task, dataset.classes, dataset.image_shape) == ("classification", ("0", "1", "2"), None)
    np.testing.assert_array_equal(dataset.train.inputs, X)
    np.testing.assert_array_equal(dataset.train.targets, np.eye(3)[LABELS])
    np.testing.assert_array_equal(dataset.test.inputs, TEST_X)
    np.testing.assert_array_equal(dataset.test.targets, np.eye(3)[TEST_LABELS])


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "targets"), ("x_train", "y_train")])
def test_without_a_test_set_one_is_split_off(save, names):
    dataset = load_dataset(save(**dict(zip(names, (X, LABELS), strict=True))), test_fraction=0.3)
    assert (dataset.train.inputs.shape, dataset.test.inputs.shape) == ((7, 4), (3, 4))
    together = np.concatenate((dataset.train.inputs, dataset.test.inputs))
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(X, axis=0))


def test_arrays_with_other_names_need_settings(save):
    path = save(a=X, b=LABELS, c=TEST_X, d=TEST_LABELS)
    options = {"inputs": "a", "targets": "b", "test_inputs": "c", "test_targets": "d"}
    np.testing.assert_array_equal(load_dataset(path, **options).test.inputs, TEST_X)
    with pytest.raises(DataError, match=r"set inputs and targets to two of its arrays: a, b, c, d"):
        load_dataset(path)
    with pytest.raises(DataError, match="has no array 'z'; it holds a, b, c, d"):
        load_dataset(path, inputs="z", targets="b")
    with pytest.raises(UsageError, match="together"):
        load_dataset(path, inputs="a")
    with pytest.raises(UsageError, match="together"):
        load_dataset(path, inputs="a", targets="b", test_inputs="c")


def test_string_labels_become_sorted_classes(save):
    words = np.array([b"cat", b"ant", b"dog"])[LABELS]
    dataset = load_dataset(save(x=X, y=words))
    assert dataset.classes == ("ant", "cat", "dog")
    total = dataset.train.targets.sum(axis=0) + dataset.test.targets.sum(axis=0)
    np.testing.assert_array_equal(total, [3, 4, 3])


def test_variable_length_strings_and_groups_of_h5(tmp_path):
    path = tmp_path / "own.h5"
    write_h5(path, {"deep/er/x": X, "deep/y": [["no", "yes"][k % 2] for k in range(10)]})
    dataset = load_dataset(str(path), inputs="deep/er/x", targets="deep/y")
    assert dataset.classes == ("no", "yes")
    with pytest.raises(DataError, match="deep is a group"):
        load_dataset(str(path), inputs="deep", targets="deep/y")


def test_an_h5_that_claims_more_than_it_holds_allocates_nothing(tmp_path):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", shape=(1 << 40, 4), chunks=(1024, 4), dtype="f8")
        file["y"] = LABELS
    with pytest.raises(DataError, match="more than the file can hold"):
        load_dataset(str(path))


def test_a_pickled_object_in_an_npz_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object), y=[0])
    with pytest.raises(DataError, match=r"cannot be read .*allow_pickle"):
        load_dataset(str(path))


def test_an_npz_that_claims_more_than_it_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 45, 4)}
    )
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header.getvalue() + bytes(64))
        file.writestr("y.npy", header.getvalue())
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(str(path))


@pytest.mark.parametrize("name", ["own.npz", "own.h5"])
def test_an_array_larger_than_memory_is_not_unpacked(tmp_path, name, monkeypatch):
    """80 MB of zeros in a file of about 100 kB, on a machine with 50 MB."""
    path = tmp_path / name
    arrays = {"x": np.zeros((100_000, 100)), "y": np.arange(100_000) % 2}
    if name == "own.npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, compression="gzip")
    monkeypatch.setattr("revgn.data.archives.memory_size", lambda backend: 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"x: 0\.08 GB when unpacked, but this machine has 0\.05 GB"):
            load_dataset(str(path))
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["own.npz", "own.h5"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"words", pickle.dumps([1])])
def test_a_file_of_another_kind_gives_an_error_of_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_dataset(str(path))
    assert "\n" not in str(caught.value)


def test_an_npy_file_named_as_an_archive_is_refused(tmp_path):
    np.save(tmp_path / "own.npy", X)
    (tmp_path / "own.npy").rename(tmp_path / "own.npz")
    with pytest.raises(DataError, match="a single array"):
        load_dataset(str(tmp_path / "own.npz"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), cut=st.booleans())
def test_a_damaged_npz_loads_or_is_a_data_error(tmp_path, data, cut):
    path = tmp_path / "fuzz.npz"
    np.savez(path, x=X, y=LABELS)
    stored = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(stored) - 1))
    if cut:
        del stored[place:]
    else:
        stored[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(stored)
    line = ""
    try:
        load_dataset(str(path))
    except (DataError, UsageError) as error:
        line = str(error)
    assert "\n" not in line

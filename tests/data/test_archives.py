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
from revgn.data.archives import array_paths
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
    for names in ({"inputs": "a", "targets": "a"}, {"test_inputs": "c", "test_targets": "c"}):
        with pytest.raises(UsageError, match=r"inputs and .*targets are the same array '[ac]'"):
            load_dataset(path, **{"inputs": "a", "targets": "b"} | names)
    with pytest.raises(UsageError, match="has no array 'z'; it holds a, b, c, d"):
        load_dataset(path, inputs="z", targets="b")
    with pytest.raises(UsageError, match="set both inputs and targets, or neither"):
        load_dataset(path, inputs="a")
    many = save(**{f"x{number:02d}": X for number in range(13)})
    with pytest.raises(UsageError, match=r"it holds x00, x01, .*, x11, \.\.\.$"):
        load_dataset(many, inputs="z", targets="x00")
    with pytest.raises(UsageError, match="set both test_inputs and test_targets, or neither"):
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
    with pytest.raises(DataError, match=r"set inputs and targets to two of its arrays: deep/er/x, deep/y$"):
        load_dataset(str(path))
    with pytest.raises(UsageError, match=r"has no array 'x'; it holds deep/er/x, deep/y$"):
        load_dataset(str(path), inputs="x", targets="deep/y")
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
    with pytest.raises(
        DataError, match=r"x holds Python objects; save x.astype\(float\) or x.astype\(str\)"
    ) as caught:
        load_dataset(str(path))
    assert "allow_pickle" not in str(caught.value)


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
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04", "cannot be read; the file is damaged, incomplete or of another kind"),
        (b"\x89HDF\r\n\x1a\n", "cannot be read; the file is damaged"),
        (b"words", "set target to the column to predict"),
        (pickle.dumps([1]), "is a pickle, which could run any code"),
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b"SQLite format 3\0", "is an SQLite file"),
        (b'{"a": 1}\n{"a": 2}\n', "is JSON"),
        (b' [{"a": 1}]', "is JSON; expected a .csv, .npz or .h5 file"),
        (b"<!DOCTYPE html>", "is HTML, perhaps the error page of a download"),
        (b"@RELATION weather\n", "is an ARFF file"),
        (b"\xd0\xcf\x11\xe0\xa1", "is an Excel file; save it as .csv"),
        (bytes(range(128)), "neither text nor"),
    ],
)
def test_a_file_of_another_kind_gives_an_error_of_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=message) as caught:
        load_dataset(str(path))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "head", ["par1,par2,y", "[a],[b],y", "{a},{b},y", "arrow1,b,y", "sqlite,b,y", "Matlab 5,b,y"]
)
def test_the_name_of_a_column_does_not_make_a_table_another_kind(tmp_path, head):
    (tmp_path / "own.csv").write_text("\n".join([head, *(f"{k},{k * k},{k % 2}" for k in range(20))]))
    dataset = load_dataset(str(tmp_path / "own.csv"), target="y")
    assert dataset.columns == tuple(head.split(",")[:2])
    (tmp_path / "own.json").write_text(head)
    if head.startswith(("[", "{")):
        with pytest.raises(DataError, match="is JSON"):
            load_dataset(str(tmp_path / "own.json"))


@pytest.mark.parametrize("name", ["own.npz", "own.h5"])
def test_no_message_of_a_library_is_shown(tmp_path, name):
    """Files that end too early."""
    save_arrays = write_npz if name == "own.npz" else write_h5
    save_arrays(tmp_path / name, ALL)
    whole = (tmp_path / name).read_bytes()
    for size in (len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(DataError) as caught:
            load_dataset(str(tmp_path / name))
        said = str(caught.value).removeprefix(str(tmp_path / name))
        assert said == ": cannot be read; the file is damaged, incomplete or of another kind"


def test_the_kind_of_a_file_follows_from_its_content(tmp_path):
    write_h5(tmp_path / "a.npz", {"x": X, "y": LABELS})
    with (tmp_path / "b.h5").open("wb") as file:
        np.savez(file, x=X, y=LABELS)
    with h5py.File(tmp_path / "c.h5", "w", userblock_size=512) as file:
        file["x"], file["y"] = X, LABELS
    rows = "".join(
        f"{','.join(map(str, row))},{label}\n" for row, label in zip(X.tolist(), LABELS, strict=True)
    )
    (tmp_path / "d.h5").write_text(f"a,b,c,d,y\n{rows}")
    sums = {load_dataset(str(tmp_path / name)).checksum for name in ("a.npz", "b.h5", "c.h5")}
    assert sums == {load_dataset(str(tmp_path / "d.h5"), target="y").checksum}


def test_a_zip_archive_without_arrays_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "book.npz", "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match="is a zip archive without arrays; save a table of Excel as"):
        load_dataset(str(tmp_path / "book.npz"))


def virtual(path, source, inner="x"):
    layout = h5py.VirtualLayout(X.shape, X.dtype)
    layout[:] = h5py.VirtualSource(source, inner, X.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout, fillvalue=7.0)
        file["y"] = LABELS


def test_a_virtual_data_set_without_its_source_is_refused(tmp_path, monkeypatch):
    """HDF5 would return the fill value."""
    write_h5(tmp_path / "source.h5", {"x": X})
    virtual(tmp_path / "own.h5", "source.h5")
    monkeypatch.chdir("/")
    together = load_dataset(str(tmp_path / "own.h5"))
    write_h5(tmp_path / "plain.h5", {"x": X, "y": LABELS})
    assert together.checksum == load_dataset(str(tmp_path / "plain.h5")).checksum
    virtual(tmp_path / "other.h5", "source.h5", "z")
    with pytest.raises(DataError, match=r"the numbers of x are in .*source.h5, which has no data set z"):
        load_dataset(str(tmp_path / "other.h5"))
    (tmp_path / "source.h5").unlink()
    with pytest.raises(DataError, match=r"the numbers of x are in the file source.h5, which is missing"):
        load_dataset(str(tmp_path / "own.h5"))


def test_links_and_external_files_that_are_missing_are_named(tmp_path):
    path = str(tmp_path / "own.h5")
    for link in (h5py.SoftLink("/nowhere"), h5py.ExternalLink("gone.h5", "/x")):
        write_h5(path, {"x": link, "y": LABELS})
        with pytest.raises(DataError, match="x is a link whose target is missing"):
            load_dataset(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", X.shape, X.dtype, external=[("raw.bin", 0, X.nbytes)])
        file["y"] = LABELS
    with pytest.raises(DataError, match=r"in the file raw.bin, which is missing"):
        load_dataset(path)


def test_a_data_set_that_was_never_written_is_refused(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.create_dataset("x", X.shape, X.dtype)
        file["y"] = LABELS
    with pytest.raises(DataError, match="all 4 inputs are constant in the 8 training rows"):
        load_dataset(str(tmp_path / "own.h5"))


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("data", "target", "data_test", "target_test"),
        ("features", "labels", "features_test", "labels_test"),
    ],
)
def test_usual_names_of_others_are_found(save, names):
    dataset = load_dataset(save(**dict(zip(names, ALL.values(), strict=True))), for_training=False)
    assert dataset.checksum == load_dataset(save(**ALL)).checksum
    assert dataset.warnings == ()


def test_arrays_that_are_not_used_are_named(save):
    path = save(inputs=X, targets=LABELS, test_inputs=TEST_X, ids=LABELS)
    dataset = load_dataset(path, for_training=False)
    assert dataset.test.inputs.shape == (2, 4)
    assert dataset.warnings == (
        "test_inputs is not used, since the file has no test targets; training rows are held out as the test "
        "set",
        "ids of the file is not used",
    )
    chosen = load_dataset(path, inputs="inputs", targets="targets", for_training=False)
    assert chosen.warnings == ()


def test_rows_with_missing_values_are_left_out_only_if_asked(save):
    x, test_x = X.copy(), TEST_X.copy()
    x[[2, 5], [1, 3]] = test_x[0, 0] = np.nan
    path = save(**ALL | {"x_train": x, "x_test": test_x})
    with pytest.raises(
        DataError, match=r"in 2 of 10 rows \(1 in input column 1, 1 in input column 3\), first in row 2"
    ):
        load_dataset(path)
    dataset = load_dataset(path, drop_missing=True, for_training=False)
    np.testing.assert_array_equal(dataset.train.inputs, np.delete(X, [2, 5], axis=0))
    np.testing.assert_array_equal(dataset.test.inputs, TEST_X[1:])
    assert [text[:35] for text in dataset.warnings] == [
        "training set: 2 of 10 rows are left",
        "test set: 1 of 3 rows are left out,",
    ]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8", "<i8", ">i4", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_of_any_dtype_and_order(save, dtype, order):
    x = np.array(rng.integers(0, 2, (10, 4)) + np.eye(10, 4), dtype=dtype, order=order)
    dataset = load_dataset(save(x_train=x, y_train=LABELS, x_test=x, y_test=LABELS))
    assert dataset.train.inputs.dtype == (np.uint8 if dtype == "u1" else np.float64)
    np.testing.assert_array_equal(dataset.train.inputs, x)


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


def test_a_link_to_nothing_is_left_out(tmp_path):
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["g/y"] = np.zeros((2, 1)), np.zeros(2)
        file["soft"], file["outside"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("gone.h5", "/x")
        assert array_paths(file) == ["x", "g/y"]

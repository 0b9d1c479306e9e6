"""Inputs of files for a trained network: the columns or arrays that are taken, and those that are refused."""

import h5py
import numpy as np
import pytest

from revgn.data import DataSettings, Interface
from revgn.data.dataset import ImageShape
from revgn.data.inputs import flat_inputs, read_inputs
from revgn.errors import DataError, RevgnError, UsageError

X = np.random.default_rng(0).standard_normal((7, 3)).round(4)


def interface(d=3, columns=(), targets=(), task="classification", image_shape=None):
    arrays = np.zeros(d), np.ones(d)
    return Interface("own", task, *arrays, image_shape, ("a", "b"), columns, targets, None, None)


NAMED = interface(columns=("u", "v", "w"), targets=("kind",))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("revgn.data.inputs.PIECE", 3)


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def rows(path, of, **settings):
    """All inputs and targets of a file."""
    pieces = list(read_inputs(path, of, DataSettings(str(path), **settings)))
    targets = None if pieces[0].targets is None else np.concatenate([piece.targets for piece in pieces])
    return np.concatenate([piece.inputs for piece in pieces]), targets


def lines(columns, numbers=X, separator=","):
    return "\n".join([separator.join(columns), *(separator.join(map(str, row)) for row in numbers)])


@pytest.mark.usefixtures("small_pieces")
def test_columns_are_taken_by_name(table):
    mixed = np.column_stack((np.arange(7), X[:, [2, 0, 1]]))
    found, targets = rows(table(lines(["id", "w", "u", "v"], mixed)), NAMED)
    np.testing.assert_array_equal(found, X)
    assert targets is None


@pytest.mark.usefixtures("small_pieces")
def test_columns_without_names_are_taken_by_position(table):
    with_names, without = lines(["p", "q", "r"]), "\n".join(lines("pqr").splitlines()[1:])
    for text, of in ((with_names, interface()), (without, interface()), (without, NAMED)):
        np.testing.assert_array_equal(rows(table(text), of)[0], X)


def test_targets_are_returned_beside(table):
    text = "kind;u;v;w\nant;1,5;2;3\nbe,e;4;5;6\n"
    found, targets = rows(table(text), NAMED)
    np.testing.assert_array_equal(found, [[1.5, 2, 3], [4, 5, 6]])
    assert targets.tolist() == [["ant"], ["be,e"]]
    of = interface(columns=("u",), d=1, targets=("y",), task="regression")
    found, targets = rows(table("u;y\n1;2,5\n2;\n3;word\n"), of)
    np.testing.assert_array_equal(targets, [[2.5], [np.nan], [np.nan]])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("u,v\n1,2\n", UsageError, "lacks input columns of the run: w; it has u, v"),
        ("1,2\n3,4\n", UsageError, "has 2 input columns, but the network has 3 inputs"),
        ("u,v,w\n1,2,3\n1,,3\n", DataError, "line 3, column 'v': the number is missing or not finite"),
        ("u,v,w\n1,inf,3\n", DataError, "line 2, column 'v': the number is missing or not finite"),
        ("u,v,w\n1,red,3\n", DataError, "line 2, column 'v': 'red' is not a number; the network expects"),
        ("u,v,w\n1,2\n", DataError, "line 2 has 2 cells, but the header has 3"),
        ("1,2,3\n1,2\n", DataError, "line 2 has 2 cells, but the header has 3"),
        ("u,v,w\n", DataError, "has no rows"),
        ("", DataError, "the file is empty"),
        ("u,v,v,w\n1,2,2,3\n", DataError, "two columns are named 'v'"),
    ],
)
def test_tables_that_cannot_be_used(table, text, error, message):
    with pytest.raises(error, match=message):
        rows(table(text), NAMED)


@pytest.fixture(params=[".npz", ".h5"])
def save(request, tmp_path):
    """Save arrays by name in an archive or in an HDF5 file."""

    def write(**arrays):
        path = tmp_path / f"own{request.param}"
        if request.param == ".npz":
            np.savez_compressed(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array
        return path

    return write


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("names", [("x",), ("x_test",), ("Inputs",), ("anything",)])
def test_arrays_of_usual_names_and_the_only_one(save, names):
    np.testing.assert_array_equal(rows(save(**{names[0]: X}), interface())[0], X)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("x", [X, X.astype("f4"), np.asfortranarray(X), (X * 9).astype("i8"), X > 0])
def test_numbers_of_any_kind_in_any_order(save, x):
    y = np.array([*"aababba"])
    found, targets = rows(save(x=x, y=y), interface())
    np.testing.assert_array_equal(found, x.astype(np.float64), strict=True)
    assert targets.tolist() == y.tolist()


def test_an_array_that_is_named(save):
    path = save(x=X, other=X + 1, wrong=X[:, :2])
    np.testing.assert_array_equal(rows(path, interface(), inputs="other")[0], X + 1)
    with pytest.raises(UsageError, match="has no array 'nothing'; it holds "):
        rows(path, interface(), inputs="nothing")
    with pytest.raises(UsageError, match=r"inputs have shape \(7, 2\), but the network expects \(n, 3\)"):
        rows(path, interface(), inputs="wrong")


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("n", [0, 3, 6, 8])
def test_another_number_of_targets_than_inputs_is_refused(save, n):
    path = save(x=X, y=np.zeros(n))
    with pytest.raises(DataError) as refused:
        rows(path, interface())
    assert str(refused.value) == f"{path}: has 7 inputs, but {n} targets"


@pytest.mark.usefixtures("small_pieces")
def test_a_single_array_and_a_nested_one(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(rows(tmp_path / "x.npy", interface())[0], X)
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["group/inner"] = X
    np.testing.assert_array_equal(rows(tmp_path / "deep.h5", interface())[0], X)


def test_arrays_that_cannot_be_used(save, tmp_path):
    with pytest.raises(UsageError, match="has no array of a usual name; set inputs to one of "):
        rows(save(one=X, two=X), interface())
    bad = X.copy()
    bad[4, 1] = np.nan
    with pytest.raises(DataError, match=r"the input in row 4, column 1 \(from 0\) is not finite"):
        rows(save(x=bad), interface())
    with pytest.raises(DataError, match="has no rows"):
        rows(save(x=X[:0]), interface())
    with pytest.raises(DataError, match="expected real numbers"):
        rows(save(x=np.array([["a", "b", "c"]])), interface())
    with pytest.raises(UsageError, match="there is no such file"):
        rows(tmp_path / "none.npz", interface())
    np.savez(tmp_path / "objects.npz", x=np.array([[1, None, 2]]))
    with pytest.raises(DataError, match=r"objects\.npz: x: has shape \(1, 3\) and dtype object"):
        rows(tmp_path / "objects.npz", interface())


def test_numbers_that_are_not_in_the_h5_file_are_refused(tmp_path):
    """HDF5 would return the fill value."""
    path, source = tmp_path / "own.h5", tmp_path / "source.h5"
    layout = h5py.VirtualLayout(X.shape, X.dtype)
    layout[:] = h5py.VirtualSource("source.h5", "x", X.shape)
    with h5py.File(source, "w") as file:
        file["x"] = X
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout, fillvalue=7.0)
    np.testing.assert_array_equal(rows(path, interface())[0], X)
    source.unlink()
    with pytest.raises(DataError, match=r"the numbers of x are in the file source\.h5, which is missing"):
        rows(path, interface())
    with h5py.File(path, "w") as file:
        file.create_dataset("x", X.shape, X.dtype, external=[("raw.bin", 0, X.nbytes)])
    with pytest.raises(DataError, match=r"the numbers of x are in the file raw\.bin, which is missing"):
        rows(path, interface())
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**9, 3), X.dtype, chunks=(1000, 3))
    with pytest.raises(DataError, match=r"x declares the shape \(1000000000, 3\), more than the file can"):
        rows(path, interface())
    with h5py.File(path, "w") as file:
        file["x"] = 1.0
    with pytest.raises(DataError, match="x is a single value; expected rows of numbers"):
        rows(path, interface())


def test_a_damaged_archive_is_one_clear_error(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).standard_normal((4000, 3)))
    content = path.read_bytes()
    for at in range(100, len(content), len(content) // 9):
        path.write_bytes(content[:at] + b"\x00\xff" * 20 + content[at + 40 :])
        with pytest.raises(RevgnError) as caught:
            rows(path, interface())
        assert "\n" not in str(caught.value)


def test_settings_of_another_kind_of_file_are_refused(save, table, tmp_path):
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "images").mkdir()
    for path, settings, message in (
        (table(lines("pqr")), {"inputs": "x"}, "inputs: has no effect, since .* is a table"),
        (
            save(x=X),
            {"separator": ";"},
            "separator: has no effect, since .* is an .* file, which has no named",
        ),
        (tmp_path / "a.npy", {"targets": "y"}, "targets: has no effect, since .* is a single array"),
        (tmp_path / "images", {"decimal": ","}, "decimal: has no effect, since .* is images"),
    ):
        with pytest.raises(UsageError, match=message):
            rows(path, interface(), **settings)


def test_images_with_channels_first_and_last():
    shape = ImageShape(3, 2, 4)
    of = interface(d=24, image_shape=shape)
    first = np.arange(48, dtype=np.uint8).reshape(2, *shape)
    for images in (first, first.transpose(0, 2, 3, 1), first.reshape(2, 24)):
        found = flat_inputs(images, of, "here")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, first.reshape(2, 24))
    for wrong in (first[:, :1], first[0], first.reshape(-1)):
        with pytest.raises(UsageError, match=r"expects \(n, 24\) or images \(n, 3, 2, 4\)"):
            flat_inputs(wrong, of, "here")


@pytest.mark.parametrize("shape", [(4, 9, 1), (1, 9, 4), (4, 9), (9, 1, 4), (36, 1), (1, 3, 12)])
def test_images_of_another_shape_are_refused(shape):
    """The number of pixels alone does not make an image."""
    of = interface(36, image_shape=ImageShape(1, 6, 6))
    with pytest.raises(UsageError, match=r"but the network expects \(n, 36\) or images \(n, 1, 6, 6\)"):
        flat_inputs(np.zeros((2, *shape)), of, "new")
    for right in ((36,), (6, 6), (1, 6, 6), (6, 6, 1)):
        assert flat_inputs(np.zeros((2, *right)), of, "new").shape == (2, 36)


def test_images_of_a_folder(tmp_path, monkeypatch):
    """Files are sorted by path; folders that are all named after classes are the targets."""
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("revgn.data.inputs._IMAGES", 2)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 2, 4, 3), dtype=np.uint8)
    of = interface(d=24, image_shape=ImageShape(3, 2, 4))
    for name, image in zip(("b/1.png", "a/2.png", "a/10.png", "a/.hidden.png"), pixels, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    for hidden in (tmp_path / ".ipynb_checkpoints", tmp_path / "a" / ".cache" / "small"):
        hidden.mkdir(parents=True)
        Image.fromarray(pixels[0]).save(hidden / "1.png")
    pieces = list(read_inputs(tmp_path, of, DataSettings()))
    assert [piece.files for piece in pieces] == [("a/10.png", "a/2.png"), ("b/1.png",)]
    assert np.concatenate([piece.targets for piece in pieces]).tolist() == ["a", "a", "b"]
    found = np.concatenate([piece.inputs for piece in pieces])
    np.testing.assert_array_equal(found, pixels[[2, 1, 0]].transpose(0, 3, 1, 2).reshape(3, 24))
    (tmp_path / "b").rename(tmp_path / "other")
    assert [piece.targets for piece in read_inputs(tmp_path, of, DataSettings())] == [None, None]
    (single,) = read_inputs(tmp_path / "a" / "2.png", of, DataSettings())
    assert single.files == ("2.png",)
    np.testing.assert_array_equal(single.inputs[0], pixels[1].transpose(2, 0, 1).reshape(24))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder without PNG or JPEG images"):
        list(read_inputs(tmp_path / "empty", of, DataSettings()))

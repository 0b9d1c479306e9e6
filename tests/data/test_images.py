import numpy as np
import pytest

from revgn.arrays import select_backend
from revgn.data import load_dataset, take_batch, with_layout
from revgn.data.images import channels_first, channels_last, stored_images
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (40, 5, 7, 3), dtype=np.uint8)  # (n, height, width, channels)
LABELS = np.arange(40) % 2


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((9, 5, 7), "auto", ((5, 7, 1), "channels-first")),
        ((9, 3, 5, 7), "auto", ((5, 7, 3), "channels-first")),
        ((9, 5, 7, 3), "auto", ((5, 7, 3), "channels-last")),
        ((9, 5, 1, 3), "auto", ((5, 1, 3), "channels-last")),
        ((9, 3, 5, 1), "auto", None),
        ((9, 4, 5, 7), "auto", None),
        ((9, 12), "auto", None),
        ((9, 3, 5, 1), "channels-first", ((5, 1, 3), "channels-first")),
        ((9, 3, 5, 1), "channels-last", ((3, 5, 1), "channels-last")),
        ((9, 4, 5, 7), "channels-last", ((4, 5, 7), "channels-last")),
    ],
)
def test_the_axes_of_stored_images(shape, layout, expected):
    assert stored_images(shape, layout, "own:") == expected


def test_a_layout_needs_four_axes():
    with pytest.raises(
        DataError, match=r"own: inputs have shape \(9, 12\); layout channels-last needs four axes"
    ):
        stored_images((9, 12), "channels-last", "own:")


def test_the_two_orders_are_each_other_s_inverse():
    shape = (5, 7, 3)
    flat = IMAGES.reshape(40, -1)
    first = channels_first(flat, shape)
    np.testing.assert_array_equal(first.reshape(40, 3, 5, 7), IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(channels_last(first, shape), flat)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_both_orders_in_a_file_give_the_same_data_set(suffix, tmp_path):
    found = []
    for name, images in (("last", IMAGES), ("first", IMAGES.transpose(0, 3, 1, 2))):
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".npz":
            np.savez(path, x=images, y=LABELS)
        else:
            import h5py

            with h5py.File(path, "w") as file:
                file["x"], file["y"] = images, LABELS
        found.append(load_dataset(str(path)))
    last, first = found
    assert last.image_shape == first.image_shape == (5, 7, 3)
    assert last.checksum == first.checksum
    np.testing.assert_array_equal(last.train.inputs, first.train.inputs)
    assert last.source.endswith("images channels last")
    assert first.source.endswith("images channels first")
    np.testing.assert_array_equal(load_dataset(str(path), layout="channels-first").shift, first.shift)
    assert load_dataset(str(path), layout="channels-last").image_shape == (3, 5, 7)


@pytest.mark.parametrize("name", ["digits", "own.csv"])
def test_only_files_of_arrays_have_a_layout(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="layout: has no effect, since "):
        load_dataset(name, layout="channels-last")


def test_a_normalized_image_has_the_same_numbers_in_both_orders(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=IMAGES, y=LABELS)
    first = load_dataset(str(path), validation=0.2)
    last = with_layout(first, "channels-last")
    assert (last.image_shape, last.layout, last.checksum) == (
        first.image_shape,
        "channels-last",
        first.checksum,
    )
    backend = select_backend("numpy")
    for name in ("train", "validation", "test"):
        whole = [
            take_batch(data, getattr(data, name), None, backend, np.float64)[0] for data in (first, last)
        ]
        np.testing.assert_array_equal(channels_last(whole[0], first.image_shape), whole[1])
    again = with_layout(last, "channels-first")
    np.testing.assert_array_equal(again.train.inputs, first.train.inputs)
    np.testing.assert_array_equal(again.scale, first.scale)


def test_grey_images_and_tables_are_not_copied():
    digits, cars = load_dataset("digits"), load_dataset("auto-mpg")
    assert with_layout(digits, "channels-last").train is digits.train
    assert with_layout(cars, "channels-last") is cars

import numpy as np
import pytest

from revgn.data import load_dataset
from revgn.data.images import stored_images
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (40, 5, 7, 3), dtype=np.uint8)  # (n, height, width, channels)
LABELS = np.arange(40) % 2


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((9, 5, 7), "auto", ((1, 5, 7), "channels-first")),
        ((9, 3, 5, 7), "auto", ((3, 5, 7), "channels-first")),
        ((9, 5, 7, 3), "auto", ((3, 5, 7), "channels-last")),
        ((9, 5, 1, 3), "auto", ((3, 5, 1), "channels-last")),
        ((9, 3, 5, 1), "auto", None),
        ((9, 4, 5, 7), "auto", None),
        ((9, 12), "auto", None),
        ((9, 3, 5, 1), "channels-first", ((3, 5, 1), "channels-first")),
        ((9, 3, 5, 1), "channels-last", ((1, 3, 5), "channels-last")),
        ((9, 4, 5, 7), "channels-last", ((7, 4, 5), "channels-last")),
    ],
)
def test_the_axes_of_stored_images(shape, layout, expected):
    assert stored_images(shape, layout, "own:") == expected


def test_a_layout_needs_four_axes():
    with pytest.raises(
        DataError, match=r"own: inputs have shape \(9, 12\); layout channels-last needs four axes"
    ):
        stored_images((9, 12), "channels-last", "own:")


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
    assert last.image_shape == first.image_shape == (3, 5, 7)
    assert last.checksum == first.checksum
    np.testing.assert_array_equal(last.train.inputs, first.train.inputs)
    assert last.source.endswith("images channels last")
    assert first.source.endswith("images channels first")
    np.testing.assert_array_equal(load_dataset(str(path), layout="channels-first").shift, first.shift)
    assert load_dataset(str(path), layout="channels-last").image_shape == (7, 3, 5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("digits", "a known data set"), ("own.csv", "a table, which has columns instead of arrays and images")],
)
def test_only_files_of_arrays_have_a_layout(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match=f"layout: has no effect, since {name} is {kind}$"):
        load_dataset(name, layout="channels-last")


@pytest.mark.parametrize("shape", [(100, 3, 8, 3), (100, 8, 8, 4)])
def test_images_of_ambiguous_axes_are_warned_of(shape, tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.random.default_rng(0).random(shape), y=np.arange(100) % 3)
    found = load_dataset(str(path))
    (warning,) = found.warnings
    assert found.image_shape is None
    assert f"shape {shape}, in which the axis of channels is unclear" in warning
    assert "set layout to channels-first or channels-last" in warning
    assert load_dataset(str(path), layout="channels-last").warnings == ()

"""A folder of images by class, with train and test or without, and everything that can be wrong with it."""

import shutil

import numpy as np
import pytest
from PIL import Image

from revgn.data import load_dataset
from revgn.data.folders import read_folder
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)


def save(path, mode="RGB", size=(8, 6)):
    """Save an image of random pixels; size is (width, height). Return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (size[1], size[0], *((3,) if mode == "RGB" else ())), dtype=np.uint8)
    Image.fromarray(pixels, mode if mode == "L" else None).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Two classes with 6 and 4 images of 8 x 6 pixels."""
    for number in range(10):
        save(tmp_path / "pictures" / ("dog" if number % 5 < 2 else "cat") / f"{number}.png")
    (tmp_path / "pictures" / "cat" / ".DS_Store").write_bytes(b"hidden")
    for name in ("Thumbs.db", "desktop.ini"):
        (tmp_path / "pictures" / "cat" / name).write_bytes(b"of Windows")
    (tmp_path / "pictures" / "notes.txt").write_text("beside the classes")
    return tmp_path / "pictures"


def test_images_are_read_with_their_classes(folder):
    pixels = {path: np.asarray(Image.open(path)) for path in folder.rglob("*.png")}
    train, test, classes = read_folder(folder)
    assert (train.inputs.shape, train.inputs.dtype, test, classes) == (
        (10, 6, 8, 3),
        np.uint8,
        None,
        ("cat", "dog"),
    )
    of_class = [{x.tobytes() for x, y in zip(*train, strict=True) if y == label} for label in (0, 1)]
    for path, image in pixels.items():
        assert image.tobytes() in of_class[path.parent.name == "dog"]
    assert len(set(train.targets[:4])) == 2  # in random order
    np.testing.assert_array_equal(read_folder(folder)[0].inputs, train.inputs)


def test_a_folder_is_a_data_set(folder):
    found = load_dataset(str(folder), test_fraction=0.3)
    assert (found.name, found.task, found.classes, found.image_shape) == (
        "pictures",
        "classification",
        ("cat", "dog"),
        (3, 6, 8),
    )
    assert (found.train.inputs.shape, found.test.inputs.shape) == ((7, 144), (3, 144))
    with pytest.raises(UsageError, match=r"task: .*pictures has classes"):
        load_dataset(str(folder), task="regression")
    with pytest.raises(UsageError, match="layout: "):
        load_dataset(str(folder), layout="channels-last")


def test_a_test_set_of_its_own(tmp_path):
    first = [save(tmp_path / "train" / name / "1.png", "L", (3, 5)) for name in ("b", "a")]
    held = save(tmp_path / "test" / "b" / "1.PNG", "L", (3, 5))
    found = load_dataset(str(tmp_path))
    assert (found.classes, found.image_shape) == (("a", "b"), (1, 5, 3))
    np.testing.assert_array_equal(found.test.inputs, held.reshape(1, 15))
    np.testing.assert_array_equal(found.test.targets, [[0, 1]])
    rows = {x.tobytes(): y.tolist() for x, y in zip(found.train.inputs, found.train.targets, strict=True)}
    assert rows == {first[0].tobytes(): [0, 1], first[1].tobytes(): [1, 0]}


def test_images_as_small_as_their_channels_are_channels_last(tmp_path):
    pixels = [save(tmp_path / name, size=(4, 3)) for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png")]
    found = load_dataset(str(tmp_path), test_fraction=0.25)
    assert found.image_shape == (3, 3, 4)
    both = {x.tobytes() for part in (found.train, found.test) for x in part.inputs}
    assert both == {x.transpose(2, 0, 1).tobytes() for x in pixels}


def test_jpeg_files_are_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 6), (250, 10, 10)).save(tmp_path / name / "1.jpeg")
    train, _, _ = read_folder(tmp_path)
    assert abs(train.inputs.astype(int) - [250, 10, 10]).max() < 8


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def no_image(path):
    path.write_bytes(b"text")


def a_gif(path):
    Image.new("L", (8, 6)).save(path, format="GIF")


def a_palette(path):
    Image.new("P", (8, 6)).save(path)


def deep(path):
    Image.new("I;16", (8, 6)).save(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "cannot be read"),
        (no_image, "cannot be read"),
        (a_gif, "cannot be read"),
        (a_palette, "has the mode P; expected L"),
        (deep, "has the mode I;16; expected L"),
        (lambda path: save(path, size=(6, 8)), r"has the shape \(8, 6, 3\), but .*png has \(6, 8, 3\)"),
        (lambda path: save(path, "L"), r"has the shape \(6, 8\), but .*png has \(6, 8, 3\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(spoil, message, folder):
    path = folder / "dog" / "0.png"
    others = [other for other in folder.rglob("*.png") if other != path]
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        read_folder(folder)
    assert any(str(caught.value).startswith(f"{file}: ") for file in (path, *others))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "dog"), "pictures: holds cat; expected one folder per class"),
        (lambda folder: save(folder / "cat.png"), r"cat\.png: lies outside the folders of the classes"),
        (lambda folder: (folder / "bird").mkdir(), "bird: holds no images"),
        (lambda folder: (folder / "cat" / "labels.csv").touch(), r"labels\.csv: is not a PNG or JPEG file"),
        (lambda folder: (folder / "cat" / "more.png").mkdir(), r"more\.png: is not a PNG or JPEG file"),
        (
            lambda folder: (folder / "train").mkdir(),
            "pictures: holds cat, dog, train; expected train and test",
        ),
    ],
)
def test_folders_that_are_not_classes_are_named(spoil, message, folder):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_folder(folder)


def test_a_test_set_has_the_classes_of_the_training_set(tmp_path):
    for name in ("train/a", "train/b", "test/c"):
        save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match=r"test/c: the training set has no class 'c'"):
        read_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "c")
    with pytest.raises(DataError, match="test: holds no images"):
        read_folder(tmp_path)


def test_images_that_exceed_the_memory_are_not_read(folder, monkeypatch):
    monkeypatch.setattr("revgn.data.archives.memory_size", lambda backend: 1000)
    with pytest.raises(DataError, match=r"the images: 1\.44e-06 GB when unpacked"):
        read_folder(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(DataError, match="has more pixels than can be read safely"):
        read_folder(folder)


def test_pillow_is_named_where_it_is_missing(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match=r"Pillow is not installed \(pip install 'revgn\[images\]'\)"):
        read_folder(folder)

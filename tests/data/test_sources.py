import gzip
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from revgn.data import dataset_names, describe, fetch, list_datasets, load_dataset, places
from revgn.errors import DataError, UsageError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty data folder, and no other folders to search."""
    known = {name: replace(known, folders=()) for name, known in places.KNOWN.items()}
    monkeypatch.setattr(places, "KNOWN", known)
    monkeypatch.setenv("REVGN_DATA", str(tmp_path))
    return tmp_path


def write_mnist(folder, counts=(60000, 10000), highest=9):
    folder.mkdir()
    for part, count in zip(("train", "t10k"), counts, strict=True):
        labels = (np.arange(count) % 10).clip(0, highest).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = labels
        for kind, array in {"images-idx3": images, "labels-idx1": labels}.items():
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            stored = gzip.compress(head + array.tobytes(), compresslevel=1)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(stored)


def test_the_digits_match_their_published_properties():
    digits = load_dataset("digits")
    assert digits.checksum == "d3aaf5380a280d95956836437058b5e3e6a6c376e6b26386b5780835077a75d2"
    assert digits.train.inputs.shape == (1437, 64)
    assert digits.test.inputs.shape == (360, 64)
    assert (digits.image_shape, digits.classes, digits.task) == (
        (1, 8, 8),
        tuple("0123456789"),
        "classification",
    )
    counts = [142, 146, 141, 147, 145, 146, 145, 143, 138, 144]
    np.testing.assert_array_equal(digits.train.targets.sum(axis=0), counts)
    np.testing.assert_array_equal(digits.test.targets.sum(axis=0), [36] * 10)
    pixels = np.concatenate((digits.train.inputs, digits.test.inputs))
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 16)
    # The mean that scikit-learn's copy of the same 1797 images has.
    assert abs(pixels.mean() - 4.884164) < 1e-5


def test_a_changed_digit_is_detected(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    for path in fetch("digits"):
        (folder / path.name).write_bytes(path.read_bytes())
    assert load_dataset("digits", folder=str(tmp_path)).source.endswith(str(folder))
    labels = bytearray(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()))
    labels[8] = (labels[8] + 1) % 10
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(DataError, match="differ from the files that ship with revgn"):
        load_dataset("digits", folder=str(tmp_path))


def test_auto_mpg_matches_its_published_properties(tmp_path):
    cars = load_dataset("auto-mpg")
    assert cars.checksum == "09f80d81905df241c096b7b85eb19fc42a4e8f137d07b39cb89146616212eb28"
    assert (cars.train.inputs.shape, cars.test.inputs.shape) == ((314, 7), (78, 7))
    assert (cars.task, cars.classes, cars.image_shape) == ("regression", ("mpg",), None)
    everything = np.concatenate((cars.train.targets, cars.test.targets))
    assert (everything.min(), everything.max()) == (9.0, 46.6)
    assert everything.mean() == pytest.approx(23.445918)  # the published mean of the 392 complete rows
    folder = tmp_path / "auto-mpg"
    folder.mkdir()
    (path,) = fetch("auto-mpg")
    for old, new, message in (
        ("8,307", "9,307", "differ from the files that ship"),
        ("\n8,307,130,3504,12,70,1,18", "", "392"),
    ):
        (folder / path.name).write_text(path.read_text().replace(old, new))
        with pytest.raises(DataError, match=message):
            load_dataset("auto-mpg", folder=str(tmp_path))


def test_standardized_targets():
    raw = load_dataset("auto-mpg", subset=100)
    cars = load_dataset("auto-mpg", subset=100, standardize_targets=True)
    np.testing.assert_array_equal(cars.train.targets, raw.train.targets)
    assert (raw.target_shift, raw.target_scale) == (None, None)
    np.testing.assert_allclose(cars.target_shift, raw.train.targets.mean(axis=0))
    np.testing.assert_allclose(cars.target_scale, 1 / raw.train.targets.std(axis=0))
    with pytest.raises(UsageError, match="standardize_targets: digits has classes"):
        load_dataset("digits", standardize_targets=True)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_from_the_debian_package(tmp_path):
    fashion = load_dataset("fashion-mnist", folder=str(tmp_path), subset=1024, download=False)
    assert fashion.train.inputs.shape == (1024, 784)
    assert fashion.test.inputs.shape == (10000, 784)
    np.testing.assert_array_equal(fashion.test.targets.sum(axis=0), [1000] * 10)
    assert (fashion.image_shape, fashion.classes[9]) == ((1, 28, 28), "Ankle boot")
    assert fashion.checksum == "cbde39ee324a22c7a014c7eb83604f092e5fe7420a69cd0c85ef7cccd7820c0e"


def test_mnist_from_the_data_folder(empty):
    write_mnist(empty / "mnist")
    mnist = load_dataset("mnist")
    assert mnist.train.inputs.shape == (60000, 784)
    np.testing.assert_array_equal(mnist.test.targets.argmax(axis=1), mnist.test.inputs[:, 0])
    entry = next(entry for entry in list_datasets() if entry["name"] == "mnist")
    assert entry["place"] == str(empty / "mnist")
    assert entry["bytes"] > 0


@pytest.mark.parametrize(
    ("counts", "label", "message"),
    [((20, 10), 9, r"shape \(20, 1, 28, 28\), expected \(60000"), ((60000, 9999), 9, r"\(9999, 1, 28, 28\)")],
)
def test_mnist_of_another_size_is_refused(empty, counts, label, message):
    write_mnist(empty / "mnist", counts, label)
    with pytest.raises(DataError, match=message):
        load_dataset("mnist")


def test_a_label_past_the_classes_is_refused(empty, monkeypatch):
    write_mnist(empty / "mnist", (20, 10))
    few = {"mnist": replace(places.KNOWN["mnist"], rows=(20, 10), classes=tuple("01234567"))}
    monkeypatch.setattr(places, "KNOWN", few)
    monkeypatch.setattr("revgn.data.sources.KNOWN", few)
    with pytest.raises(
        DataError, match=r"label '8' in row 8 \(from 0\) is not one of the 8 classes '0' to '7'"
    ):
        load_dataset("mnist")


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10"])
def test_a_missing_data_set_gives_an_error_of_one_line_with_its_source(empty, monkeypatch, name):
    with pytest.raises(DataError, match="downloads are off") as caught:
        load_dataset(name, download=False)
    line = str(caught.value)
    assert "\n" not in line
    assert str(empty / name) in line
    assert "https://" in line
    assert ("cifar-10-binary.tar.gz" if name == "cifar10" else "train-images-idx3-ubyte.gz") in line
    assert ("dataset-fashion-mnist" in line) == (name == "fashion-mnist")

    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match="pooch is not installed"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("error", "message"),
    [(OSError, "the download failed; is there a connection"), (ValueError, "is not the published one")],
)
def test_a_failed_download_gives_an_error_of_one_line(empty, monkeypatch, error, message):
    pooch = pytest.importorskip("pooch")

    def fail(url, known_hash, fname, path):
        raise error("no\nnetwork")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError, match=message) as caught:
        fetch("mnist")
    assert "\n" not in str(caught.value)


def test_downloaded_files_are_in_the_data_folder_and_checked(empty, monkeypatch):
    pooch = pytest.importorskip("pooch")
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        path.mkdir(exist_ok=True)
        (path / fname).touch()

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    paths = fetch("mnist")
    assert [path.parent for path in paths] == [empty / "mnist"] * 4
    assert asked[0] == (
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
        "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    )
    assert fetch("mnist") == paths
    assert len(asked) == 4


def test_the_data_folder_is_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("REVGN_DATA", str(tmp_path / "variable"))
    for folder, place in [(str(tmp_path / "given"), "given"), (None, "variable")]:
        with pytest.raises(DataError, match=str(tmp_path / place / "mnist")):
            load_dataset("mnist", folder=folder, download=False)
    monkeypatch.delenv("REVGN_DATA")
    with pytest.raises(DataError, match=str(tmp_path / "cache" / "revgn" / "mnist")):
        load_dataset("mnist", download=False)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mnst", {}, UsageError, "did you mean mnist"),
        ("own.xyz", {}, UsageError, "neither a known name, nor a .npz/.h5/.hdf5/.csv/.tsv/.txt/.gz file"),
        ("nowhere.npz", {}, UsageError, "no such file"),
        ("digits", {"target": "y"}, UsageError, "target: has no effect, since digits is a known data set"),
        ("digits", {"drop_missing": True}, UsageError, "drop_missing: has no effect"),
        (
            "digits",
            {"test_fraction": 0.3},
            UsageError,
            "test_fraction: has no effect, since digits is a known",
        ),
        ("digits", {"separator": ";"}, UsageError, "separator: has no effect"),
        ("digits", {"task": "regression"}, UsageError, "digits has classes; it is not a regression"),
        ("auto-mpg", {"task": "classification"}, UsageError, "auto-mpg has numbers as targets"),
        ("digits", {"subset": 1438}, UsageError, "1437 training rows"),
    ],
)
def test_settings_that_do_not_fit_give_an_error_of_one_line(name, options, error, message):
    with pytest.raises(error, match=message):
        load_dataset(name, **options)


def test_only_known_data_sets_can_be_fetched():
    with pytest.raises(UsageError, match="'own' is not one of digits, auto-mpg, fashion-mnist"):
        fetch("own")


def test_a_description_consists_of_numbers_and_strings():
    described = describe("digits", subset=100)
    assert (described["train_rows"], described["test_rows"], described["inputs"]) == (100, 360, 64)
    assert described["image_shape"] == [1, 8, 8]
    assert described["checksum"] == load_dataset("digits").checksum
    assert "CC BY 4.0" in described["source"]
    assert dataset_names() == ("digits", "auto-mpg", "fashion-mnist", "mnist", "cifar10")

import codecs
import io
import os
import pickle
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from revgn.data import load_dataset, places
from revgn.data.cifar import BINARY, PICKLED, read_cifar
from revgn.errors import DataError

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (6, 4, 3072), dtype=np.uint8)
LABELS = rng.integers(0, 10, (6, 4), dtype=np.uint8)
LABELS[0] = [0, 9, 3, 3]


def binary(k):
    return np.column_stack((LABELS[k], PIXELS[k])).tobytes()


def pickled(k):
    batch = {b"batch_label": b"some", b"labels": LABELS[k].tolist(), b"data": PIXELS[k], b"filenames": [b"a"]}
    return pickle.dumps(batch, protocol=4)


def python2(k):
    """The pickle as Python 2 and its NumPy write it: byte strings, and the name of an old module."""
    raw = PIXELS[k].tobytes()
    return (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x04M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tbU\x06labels]("
        + b"".join(b"K" + bytes((label,)) for label in LABELS[k].tolist())
        + b"eu."
    )


def write(folder, members):
    for name, stored in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(stored)
    return tuple(folder / name for name in members)


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, stored in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(stored)
            tar.addfile(info, io.BytesIO(stored))
    return (path,)


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "tar"])
@pytest.mark.parametrize(
    ("names", "encode"),
    [(BINARY, binary), (PICKLED, pickled), (PICKLED, python2)],
    ids=["binary", "pickle", "python2"],
)
def test_all_versions_hold_the_same_images(tmp_path, names, encode, packed):
    members = {name: encode(k) for k, name in enumerate(names)}
    paths = archive(tmp_path / "c.tar.gz", members) if packed else write(tmp_path, members)
    train, test = read_cifar(paths)
    np.testing.assert_array_equal(train.inputs, PIXELS[:5].reshape(20, 3, 32, 32))
    np.testing.assert_array_equal(train.targets, LABELS[:5].ravel())
    np.testing.assert_array_equal(test.inputs, PIXELS[5].reshape(4, 3, 32, 32))
    np.testing.assert_array_equal(test.targets, LABELS[5])


def test_a_pickle_in_column_order_is_read_correctly(tmp_path):
    members = {name: pickled(k) for k, name in enumerate(PICKLED)}
    members[PICKLED[0]] = pickle.dumps({b"data": np.asfortranarray(PIXELS[0]), b"labels": [1, 2, 3, 4]}, 4)
    train, _ = read_cifar(write(tmp_path, members))
    np.testing.assert_array_equal(train.inputs[:4].reshape(4, -1), PIXELS[0])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_that_python_3_pickled_again_are_read(tmp_path, protocol, key, order):
    """Old protocols write bytes as text, protocol 5 writes arrays as buffers; keys depend on the reader."""
    members = {
        name: pickle.dumps(
            {key("data"): np.array(PIXELS[k], order=order), key("labels"): LABELS[k].tolist()}, protocol
        )
        for k, name in enumerate(PICKLED)
    }
    train, test = read_cifar(write(tmp_path, members))
    np.testing.assert_array_equal(train.inputs, PIXELS[:5].reshape(20, 3, 32, 32))
    np.testing.assert_array_equal(train.targets, LABELS[:5].ravel())
    np.testing.assert_array_equal(test.inputs, PIXELS[5].reshape(4, 3, 32, 32))


class Evil:
    def __reduce__(self):
        return os.system, ("echo broken > pwned",)


def hostile_shape():
    return python2(0).replace(b"K\x04M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (pickle.dumps(Evil()), "posix.system|nt.system"),
        (pickle.dumps({b"data": Evil(), b"labels": []}), "contains"),
        (pickle.dumps(np.float64), "contains numpy.float64"),
        (pickle.dumps(codecs.decode), "contains _codecs.decode"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8tR.", "cannot be read"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"ab.", "cannot be read"),
        (pickled(0)[:-30], "cannot be read"),
        (b"", "cannot be read"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "not a CIFAR-10 batch"),
        (hostile_shape(), "not a CIFAR-10 batch"),
        (b"}r\xff\xff\xff\x7f.", "as bytes"),
        (pickle.dumps({b"data": PIXELS[0], b"labels": [0, 1, 2]}, 4), "n labels"),
        (pickle.dumps({b"data": PIXELS[0], b"labels": [0, 1, 2, 10]}, 4), "0..9"),
        (pickle.dumps({b"data": PIXELS[0], b"labels": [0, 1, 2, []]}, 4), "0..9"),
        (pickle.dumps({b"data": PIXELS[0].astype(float), b"labels": [0, 1, 2, 3]}, 4), "as bytes"),
        (pickle.dumps([1, 2]), "not a CIFAR-10 batch"),
    ],
)
def test_a_bad_pickle_is_refused_and_runs_no_code(tmp_path, monkeypatch, stored, message):
    monkeypatch.chdir(tmp_path)
    paths = write(tmp_path, {name: pickled(k) for k, name in enumerate(PICKLED)} | {PICKLED[2]: stored})
    with pytest.raises(DataError, match=message) as caught:
        read_cifar(paths)
    assert "data_batch_3" in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("stored", [b"", binary(0)[:-1], bytes(3072)])
def test_a_truncated_binary_batch_is_named(tmp_path, stored):
    paths = write(tmp_path, {name: binary(k) for k, name in enumerate(BINARY)} | {BINARY[5]: stored})
    with pytest.raises(DataError, match=r"test_batch\.bin.*whole rows"):
        read_cifar(paths)


def test_a_bad_archive_gives_an_error_of_one_line(tmp_path):
    members = {name: binary(k) for k, name in enumerate(BINARY)}
    whole = archive(tmp_path / "whole.tar.gz", members)[0].read_bytes()
    for content, message in [(whole[: len(whole) // 2], "cannot be read"), (b"no tar", "cannot be read")]:
        (tmp_path / "bad.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_cifar((tmp_path / "bad.tar.gz",))
    del members[BINARY[3]]
    with pytest.raises(DataError, match=r"data_batch_4\.bin is missing"):
        read_cifar(archive(tmp_path / "short.tar.gz", members))


def test_paths_and_links_in_an_archive_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(binary(0))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo(BINARY[0])
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(link)
    with pytest.raises(DataError, match="is not a file"):
        read_cifar((tmp_path / "evil.tar.gz",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.tar.gz", "secret"]


def test_the_whole_data_set_loads_from_the_data_folder(tmp_path, monkeypatch):
    write(tmp_path / "cifar10", {name: binary(k) for k, name in enumerate(BINARY)})
    with pytest.raises(DataError, match="expected"):
        load_dataset("cifar10", folder=str(tmp_path), download=False)
    known = {"cifar10": replace(places.KNOWN["cifar10"], rows=(20, 4))}
    monkeypatch.setattr(places, "KNOWN", known)
    monkeypatch.setattr("revgn.data.sources.KNOWN", known)
    dataset = load_dataset("cifar10", folder=str(tmp_path), download=False)
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.classes[0] == "airplane"
    assert dataset.shift.shape == (3072,)
    assert np.unique(dataset.shift).size == 3
    np.testing.assert_array_equal(dataset.train.inputs, PIXELS[:5].reshape(20, -1))
    np.testing.assert_array_equal(dataset.train.targets.argmax(axis=1), LABELS[:5].ravel())

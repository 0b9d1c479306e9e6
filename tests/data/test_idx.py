import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.data.idx import read_idx
from revgn.errors import DataError


def idx(array, shape=None):
    shape = array.shape if shape is None else shape
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_written_array_is_read_back(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (idx(IMAGES)[:9], "not an IDX file"),
        (b"\0\0\x0d" + idx(IMAGES)[3:], "not an IDX file"),
        (idx(IMAGES[0]), "in 3 dimensions"),
        (idx(IMAGES)[:-1], "more than its 75 bytes can hold"),
        (idx(IMAGES) + b"\0", "but there are more"),
        (gzip.compress(idx(IMAGES)[:-1], mtime=0), "truncated"),
        (gzip.compress(idx(IMAGES) + b"\0", mtime=0), "but there are more"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-20], "truncated"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-8] + bytes(8), "cannot be read"),
        (b"\x1f\x8bgarbage", "cannot be read"),
    ],
)
def test_a_broken_file_gives_an_error_of_one_line_with_its_name(tmp_path, stored, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(stored)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_hostile_header_allocates_nothing(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(idx(IMAGES, shape=(2**32 - 1, 2**16, 28))))
    tracemalloc.start()
    with pytest.raises(DataError, match="can hold"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_gzip_bomb_is_not_unpacked_past_its_header(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(idx(IMAGES) + bytes(50 << 20)))
    tracemalloc.start()
    with pytest.raises(DataError, match="more"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nothing-here"):
        read_idx(tmp_path / "nothing-here", 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40), st.sampled_from([b"", b"\0\0\x08\x01", b"\x1f\x8b\x08\0"]), st.booleans())
def test_any_bytes_are_an_array_or_a_data_error(tmp_path, content, start, zipped):
    path = tmp_path / "fuzz"
    path.write_bytes(gzip.compress(start + content, mtime=0) if zipped else start + content)
    line = ""
    try:
        assert read_idx(path, 1).dtype == np.uint8
    except DataError as error:
        line = str(error)
    assert "\n" not in line

"""The file network.h5: what comes back is what was stored, and damage is one clear error."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.data import Interface
from revgn.data.dataset import ImageShape
from revgn.errors import RunError
from revgn.store import (
    StoredNetwork,
    create_run,
    has_network,
    load_network,
    open_run,
    reopen_run,
    save_network,
)
from revgn.store.files import SEAL_BYTES

TABLE = Interface(
    name="cars.csv",
    task="regression",
    shift=np.array([1.5, -2.0]),
    scale=np.array([0.1, 1e300]),
    image_shape=None,
    classes=("mpg", "größe, in m²"),
    columns=("weight", "model year"),
    target_names=("mpg", "größe, in m²"),
    target_shift=np.array([23.5, 0.0]),
    target_scale=np.array([0.125, 1.0]),
)
IMAGES = Interface(
    name="pictures",
    task="classification",
    shift=np.zeros(12),
    scale=np.ones(12),
    image_shape=ImageShape(3, 2, 2),
    classes=("ant", "bee"),
    columns=(),
    target_names=(),
    target_shift=None,
    target_scale=None,
)
FROZEN = {
    "body/layers/0/features/projection": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32),
    "readout/first": np.eye(3, 2),
    "body/layers/0/features/like": np.zeros(0),
}


@pytest.mark.parametrize("interface", [TABLE, IMAGES], ids=["table", "images"])
def test_what_was_stored_comes_back(tmp_path, interface):
    save_network(tmp_path, StoredNetwork(interface, FROZEN, 1234))
    found = load_network(tmp_path)
    assert found.data_bytes == 1234
    for name in ("name", "task", "image_shape", "classes", "columns", "target_names"):
        assert getattr(found.interface, name) == getattr(interface, name)
    assert type(found.interface.image_shape) is type(interface.image_shape)
    for name in ("shift", "scale", "target_shift", "target_scale"):
        stored, wanted = getattr(found.interface, name), getattr(interface, name)
        assert (stored is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_array_equal(stored, wanted, strict=True)
    assert found.frozen.keys() == FROZEN.keys()
    for path, array in FROZEN.items():
        np.testing.assert_array_equal(found.frozen[path], array, strict=True)


def test_a_run_has_it_before_its_first_snapshot(tmp_path, provenance, monkeypatch):
    """There is no run.h5 without it; a run that cannot be created leaves neither."""
    there = []

    def full(writer):
        there.append((has_network(writer.folder), (writer.folder / "run.h5").exists()))
        raise RunError("the disk is full")

    stored = StoredNetwork(TABLE, FROZEN)
    with monkeypatch.context() as patched:
        patched.setattr("revgn.store.writer.RunWriter.snapshot", full)
        with pytest.raises(RunError, match="full"):
            create_run(tmp_path / "run", provenance, stored)
    assert there == [(True, False)]
    assert not (tmp_path / "run").exists()
    create_run(tmp_path / "run", provenance, stored).close("finished")
    assert load_network(tmp_path / "run").interface.classes == TABLE.classes


def test_a_run_of_an_older_version_gets_it_when_it_is_continued(tmp_path, provenance):
    create_run(tmp_path / "run", provenance).close("interrupted")
    assert load_network(tmp_path / "run") is None
    reopen_run(tmp_path / "run", provenance, StoredNetwork(IMAGES, FROZEN)).close("finished")
    assert load_network(tmp_path / "run").interface.image_shape == (3, 2, 2)
    assert open_run(tmp_path / "run").status == "finished"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_found(tmp_path, where, bit, cut):
    save_network(tmp_path, StoredNetwork(TABLE, FROZEN))
    path = tmp_path / "network.h5"
    content = bytearray(path.read_bytes())
    at = int(where * (len(content) - SEAL_BYTES - 1))  # damage of the seal itself removes it
    flipped = bytes([content[at] ^ (1 << bit)])
    path.write_bytes(content[:at] if cut else content[:at] + flipped + content[at + 1 :])
    with pytest.raises(RunError, match=r"network\.h5: ") as caught:
        load_network(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_newer_format_is_named(tmp_path):
    import h5py

    save_network(tmp_path, StoredNetwork(TABLE, FROZEN))
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(RunError, match=r"network\.h5: has format 99, which requires a newer revgn"):
        load_network(tmp_path)

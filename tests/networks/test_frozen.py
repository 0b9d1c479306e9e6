"""Frozen arrays of networks by path, and networks with other frozen arrays."""

import numpy as np
import pytest

import revgn
from revgn.arrays import row_major, select_backend
from revgn.errors import ShapeError
from revgn.networks import Convolutional, draw_network, frozen_arrays, with_frozen

NUMPY = select_backend("numpy")
ARCHITECTURES = {
    "dense": (revgn.Architecture(blocks=1, hidden=6), 5),
    "linear": (revgn.Architecture(blocks=1, hidden=6, first_block="identity"), 4),
    "convolutional": (Convolutional(4, (1, 1), (3, 3), squeeze=1, projection="frozen"), (2, 4, 4)),
}


@pytest.fixture(params=ARCHITECTURES)
def draw(request):
    architecture, features = ARCHITECTURES[request.param]
    return lambda seed: draw_network(architecture, features, 3, np.random.default_rng(seed))


def test_a_network_with_the_frozen_arrays_of_another_is_the_other(draw):
    one, other = draw(0), draw(1)
    arrays = frozen_arrays(other)
    found = with_frozen(one, arrays, NUMPY)
    params = revgn.init(other, np.random.default_rng(2), 0.1)
    x = np.random.default_rng(3).standard_normal((4, other.features))
    np.testing.assert_array_equal(revgn.forward(found, params, x), revgn.forward(other, params, x))
    assert not np.array_equal(revgn.forward(one, params, x), revgn.forward(other, params, x))
    assert {path: array.tobytes() for path, array in frozen_arrays(found).items()} == {
        path: array.tobytes() for path, array in arrays.items()
    }


def test_equal_arrays_are_kept_with_their_layout(draw):
    network = draw(0)
    copies = {path: array.copy() for path, array in frozen_arrays(network).items()}
    assert with_frozen(network, copies, NUMPY) is network


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_arrays_are_drawn_row_by_row(kind, stand_in):
    """Like arrays from a file: the last bits of a product depend on the layout. CuPy's QR has another one."""
    architecture, features = ARCHITECTURES[kind]
    backend = select_backend("cupy")
    network = draw_network(architecture, features, 3, np.random.default_rng(0), backend=backend)
    for path, array in frozen_arrays(network).items():
        assert row_major(array) is array, path


def test_arrays_of_another_structure_are_rejected(draw):
    network = draw(0)
    arrays = frozen_arrays(network)
    path = next(name for name in arrays if name.startswith("readout"))
    with pytest.raises(ShapeError, match=rf"only the network has a frozen array {path}"):
        with_frozen(network, {name: arrays[name] for name in arrays.keys() - {path}}, NUMPY)
    with pytest.raises(ShapeError, match="only the file has a frozen array other"):
        with_frozen(network, arrays | {"other": np.zeros(1)}, NUMPY)
    with pytest.raises(ShapeError, match=rf"{path} has shape \(1, 3\) and dtype float64; the network has"):
        with_frozen(network, arrays | {path: np.zeros((1, 3))}, NUMPY)
    with pytest.raises(ShapeError, match=r"dtype float32; the network has .* and float64"):
        with_frozen(network, arrays | {path: arrays[path].astype(np.float32)}, NUMPY)

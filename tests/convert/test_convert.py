"""Networks from and to PyTorch: the same outputs, and the same bits back."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import revgn
from revgn import convert, trees
from revgn.arrays import select_backend
from revgn.errors import ShapeError, UsageError
from revgn.networks import Architecture, Convolutional, draw_network, frozen_arrays
from revgn.testing import relative_error

CASES = {
    "dense": (Architecture(blocks=2, hidden=24), 10, None),
    "odd": (Architecture(blocks=1, hidden=5, activation="tanh"), 7, None),
    "gelu": (Architecture(blocks=1, hidden=16, activation="gelu"), 8, None),
    "identity": (Architecture(blocks=1, hidden=3, activation="identity"), 8, None),
    "factored": (Architecture(blocks=1, hidden=16, first_block="identity"), 8, None),
    "trained": (Architecture(blocks=2, hidden=12, projection="trained"), 9, None),
    "padded": (Architecture(blocks=1, hidden=12), 3, 6),
    "pooled": (Convolutional(channels=8, blocks=(1, 1), hidden=(6, 9), squeeze=1), (2, 6, 6), None),
    "pixels": (Convolutional(channels=26, blocks=(1,), hidden=(7,), readout="dense"), (3, 5, 7), None),
    "frozen": (Convolutional(channels=8, blocks=(1,), hidden=(6,), projection="frozen"), (1, 8, 4), None),
    "wide": (Convolutional(channels=4, blocks=(1, 1), hidden=(6, 6), kernel=5, squeeze=1), (1, 8, 8), None),
}
EACH = pytest.mark.parametrize("case", CASES)
PRECISION = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])


def network_of(case, dtype="float64", seed=0, outputs=4):
    """A network of a case, with weights of size one half, and inputs of five samples."""
    rng = np.random.default_rng(seed)
    architecture, features, width = CASES[case]
    backend = select_backend("numpy")
    network = draw_network(
        architecture, features, outputs, rng, width=width, backend=backend, dtype=np.dtype(dtype)
    )
    params = revgn.init(network, rng, 0.5)
    return network, params, rng.standard_normal((5, network.features)).astype(dtype)


def same(first, second):
    """Whether two networks with their parameters have the same bits."""
    (network, params), (other, others) = first, second
    one, two = frozen_arrays(network), frozen_arrays(other)
    assert one.keys() == two.keys()
    pairs = [(one[name], two[name]) for name in one]
    pairs += zip(trees.leaves(params), trees.leaves(others), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@EACH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_bit_by_bit(case, dtype):
    """Also into a network that was drawn from another seed: frozen arrays are taken as well."""
    network, params, x = network_of(case, dtype)
    arrays = convert.to_arrays(network, params)
    assert same(convert.from_torch(network, arrays), (network, params))
    other = network_of(case, dtype, seed=1)[0]
    found, again = convert.from_torch(other, arrays)
    assert found.readout.first.dtype == dtype
    np.testing.assert_allclose(
        revgn.forward(found, again, x),
        revgn.forward(network, params, x),
        rtol=1e-4 if dtype == "float32" else 1e-12,
    )


def test_another_structure_is_an_error():
    network, params, _ = network_of("dense")
    arrays = convert.to_arrays(network, params)
    lacking = {name: array for name, array in arrays.items() if name != "layers.1.features.output.bias"}
    with pytest.raises(ShapeError, match=r"the state dict has no layers\.1\.features\.output\.bias; "):
        convert.from_torch(network, lacking)
    with pytest.raises(ShapeError, match=r"the network has no layers\.9\.x; "):
        convert.from_torch(network, arrays | {"layers.9.x": np.zeros(1)})
    with pytest.raises(
        ShapeError, match=r"readout\.linear\.weight has shape \(2, 2\); the network has \(4, 10\)"
    ):
        convert.from_torch(network, arrays | {"readout.linear.weight": np.zeros((2, 2))})


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="requires that PyTorch is missing")
def test_without_pytorch_the_extra_is_named():
    network, params, _ = network_of("dense")
    with pytest.raises(UsageError, match=r"torch is not installed; pip install 'revgn\[torch\]'"):
        convert.to_torch(network, params)


def test_the_classes_need_only_pytorch():
    """Users copy the file."""
    path = Path(convert.__file__).with_name("modules.py")
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in found if isinstance(node, ast.ImportFrom)}
    assert names == {"collections", "collections.abc", "torch", "torch.nn.functional"}


@EACH
@PRECISION
def test_outputs_are_those_of_pytorch(case, dtype, tolerance):
    torch = pytest.importorskip("torch")
    network, params, x = network_of(case, dtype)
    module = convert.to_torch(network, params)
    assert {parameter.dtype for parameter in module.parameters()} == {getattr(torch, dtype)}
    with torch.no_grad():
        outputs = module(torch.from_numpy(x)).numpy()
    assert relative_error(outputs, revgn.forward(network, params, x)) < tolerance
    assert same(convert.from_torch(network, module), (network, params))
    assert module.state_dict().keys() == convert.to_arrays(network, params).keys()


@EACH
def test_gradients_are_those_of_pytorch(case):
    """Of all trained weights; frozen ones have none."""
    torch = pytest.importorskip("torch")
    network, params, x = network_of(case)
    module = convert.to_torch(network, params)
    z_bar = np.random.default_rng(1).standard_normal((5, 4))
    module(torch.from_numpy(x)).backward(torch.from_numpy(z_bar))
    expected = convert.to_arrays(
        network, revgn.vjp_params(network, params, revgn.linearize(network, params, x)[1], z_bar)
    )
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert relative_error(parameter.grad.numpy(), expected[name]) < 1e-10, name
        else:
            assert name.endswith(("hidden.weight", "readout.linear.weight"))
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert len(frozen) == len([name for name in frozen_arrays(network) if "projection" in name]) + 1


def test_a_trained_module_comes_back(tmp_path):
    """Trained in PyTorch, saved, and read again; the classes alone rebuild the module."""
    torch = pytest.importorskip("torch")
    from revgn.convert.modules import Coupling, Readout, Reversible, Split, dense

    network, params, x = network_of("dense")
    module = convert.to_torch(network, params)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01)
    module(torch.from_numpy(x)).square().mean().backward()
    optimizer.step()
    torch.save(module.state_dict(), tmp_path / "network.pt")
    state = torch.load(tmp_path / "network.pt")
    found, again = convert.from_torch(network, state)
    with torch.no_grad():
        outputs = module(torch.from_numpy(x)).numpy()
    assert relative_error(revgn.forward(found, again, x), outputs) < 1e-12
    assert relative_error(revgn.forward(network, params, x), outputs) > 1e-6
    plain = Reversible(
        Split(10, 5), [Coupling(k % 2, dense(5, 24)) for k in range(4)], Readout(5, 4)
    ).double()
    plain.load_state_dict(state)
    with torch.no_grad():
        np.testing.assert_array_equal(plain(torch.from_numpy(x)).numpy(), outputs)

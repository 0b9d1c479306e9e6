"""Trees of parameters as vectors."""

from typing import NamedTuple

import numpy as np
import pytest

from revgn import trees
from revgn.arrays import to_host
from revgn.layers import CouplingParams, ReadoutParams


class Pair(NamedTuple):
    left: object
    right: object


@pytest.fixture
def tree(backend, dtype):
    rng = np.random.default_rng(60)
    return (
        CouplingParams(backend.asarray(rng.standard_normal((3, 2)), dtype)),
        ReadoutParams(),
        Pair(backend.asarray(rng.standard_normal(2), dtype), (backend.asarray(np.ones((1, 1)), dtype),)),
    )


def flat(tree):
    return np.concatenate([to_host(x).astype(float).ravel() for x in trees.leaves(tree)])


def test_structure_is_kept(tree):
    doubled = trees.map_leaves(lambda x: 2.0 * x, tree)
    assert [type(node) for node in doubled] == [CouplingParams, ReadoutParams, Pair]
    assert type(doubled[2].right) is tuple
    assert np.allclose(flat(doubled), 2 * flat(tree))


def test_leaves_have_names(tree):
    assert [name for name, _ in trees.named_leaves(tree)] == ["0/weight", "2/left", "2/right/0"]
    assert [id(x) for _, x in trees.named_leaves(tree)] == [id(x) for x in trees.leaves(tree)]
    assert [name for name, _ in trees.named_leaves(tree[0])] == ["weight"]


def test_vector_space(tree, dtype):
    x, other = flat(tree), trees.scale(-0.5, tree)
    close = {"rtol": 1e-6 if dtype == "float32" else 1e-14}
    assert np.allclose(flat(trees.axpy(3.0, other, tree)), -0.5 * x, **close)
    assert float(trees.dot(tree, other)) == pytest.approx(-0.5 * (x @ x), rel=1e-6)
    assert float(trees.norm(tree)) == pytest.approx(np.linalg.norm(x), rel=1e-6)
    assert trees.dot(tree, other).ndim == 0
    assert not np.any(flat(trees.zeros_like(tree)))
    assert trees.zeros_like(tree)[0].weight.dtype == tree[0].weight.dtype


def test_size(tree):
    assert trees.size(tree) == 9


def test_trees_of_different_length_raise(tree):
    with pytest.raises(ValueError, match="zip"):
        trees.axpy(1.0, tree, tree[:2])


def test_arguments_are_not_changed(tree):
    before = flat(tree)
    trees.axpy(2.0, tree, tree)
    trees.scale(2.0, tree)
    trees.zeros_like(tree)
    assert np.array_equal(flat(tree), before)

"""Memory does not grow with depth where activations are rebuilt."""

import pytest
from bench.bench_memory import OPTIMIZERS, peak_beyond_parameters


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_memory_does_not_grow_with_depth(name):
    few, many = (peak_beyond_parameters(OPTIMIZERS[name], "rebuild", blocks) for blocks in (2, 8))
    assert many < 1.1 * few


def test_memory_of_kept_activations_grows_with_depth():
    few, many = (peak_beyond_parameters(OPTIMIZERS["sgd"], "keep", blocks) for blocks in (2, 8))
    assert many > 2 * few

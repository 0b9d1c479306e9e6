"""Rebuilt activations keep memory flat in depth."""

import pytest
from bench.bench_memory import OPTIMIZERS, peak_beyond_parameters


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_memory_is_flat_in_depth(name):
    few, many = (peak_beyond_parameters(OPTIMIZERS[name], "rebuild", blocks) for blocks in (2, 8))
    assert many < 1.1 * few


def test_kept_activations_grow_with_depth():
    few, many = (peak_beyond_parameters(OPTIMIZERS["sgd"], "keep", blocks) for blocks in (2, 8))
    assert many > 2 * few
